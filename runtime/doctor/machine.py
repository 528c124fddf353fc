"""The doctor's look at the machine: system, CPU, memory, GPUs, libraries."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from getgan.runtime.backends.catalog import BACKENDS, DISTRIBUTIONS
from getgan.runtime.devices import BF16_FLAGS, Machine, library_version
from getgan.runtime.doctor.check import Check

MIN_MEMORY_MB = 2000  # a GET-GAN (ngf 64, 256x256) takes 300; the system and a browser want the rest
OPENCVS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
OTHERS = (
    "numpy",
    "msgspec",
    "nvidia-ml-py",
    "cuda-bindings",
    "torch",
)
JETSON_RELEASE = Path("/etc/nv_tegra_release")


def checks(this: Machine) -> Iterator[Check]:
    """One after the other."""
    yield _system(this)
    yield _cpu(this)
    yield _memory(this)
    yield _gpus(this)
    yield _libraries()
    yield _opencv()
    yield _onnxruntime(bool(this.gpus))
    yield _backends(bool(this.gpus))


def _system(this: Machine) -> Check:
    where = " in a virtual environment" if sys.prefix != sys.base_prefix else ""
    board = _first_line(JETSON_RELEASE)
    jetson = f", Jetson ({board})" if board else ""
    return Check("system", "ok", f"Python {this.python}{where}, {this.system}{jetson}")


def _cpu(this: Machine) -> Check:
    cores = f"{this.cpu}, {this.cores} cores for this process"
    if this.flags is None:
        return Check("cpu", "ok", f"{cores}, instruction sets unknown: {this.flags_note}")
    flags = set(this.flags)
    listed = f"{cores}, {' '.join(this.flags) or 'no vector instructions that matter'}"
    if flags & {"asimd"}:
        return Check("cpu", "ok", f"{listed}: fp32")
    if "avx2" not in flags:
        return Check(
            "cpu", "warn", f"{listed}: fp32, several times slower", "use a CPU with AVX2 (2013 or later)"
        )
    if flags & set(BF16_FLAGS):
        return Check("cpu", "ok", f"{listed}: fp32, and bf16 in half the time")
    return Check("cpu", "ok", f"{listed}: fp32; no bf16, which takes half the time on CPUs that have it")


def _memory(this: Machine) -> Check:
    if this.memory_mb is None:
        return Check("memory", "ok", "unknown: the system does not tell")
    if this.memory_mb < MIN_MEMORY_MB:
        repair = "close other programs, or use a machine with more memory"
        return Check("memory", "warn", f"{this.memory_mb:,} MB, wanted {MIN_MEMORY_MB:,}", repair)
    return Check("memory", "ok", f"{this.memory_mb:,} MB")


def _gpus(this: Machine) -> Check:
    if not this.gpus:
        return Check("gpu", "none", this.gpus_note)
    listed = [
        f"cuda:{gpu.index} {gpu.name}, {gpu.memory_mb:,} MB, compute capability {gpu.compute_capability}, "
        f"driver {gpu.driver}"
        for gpu in this.gpus
    ]
    return Check("gpu", "ok", "; ".join(listed))


def _libraries() -> Check:
    names = (*DISTRIBUTIONS, *OTHERS, *OPENCVS)
    found = [f"{name} {version}" for name in names if (version := library_version(name))]
    return Check("libraries", "ok", ", ".join(found))


def _opencv() -> Check:
    found = [name for name in OPENCVS if library_version(name)]
    try:
        import cv2
    except (ImportError, OSError) as error:
        # The usual cause on a server: the package with a GUI wants libGL.
        swap = f"{_uninstall(found)}pip install opencv-python-headless"
        return Check("opencv", "fault", f"cannot be imported: {error}", swap)
    if len(found) > 1:
        repair = f"{_uninstall(found)}pip install {found[0]}"
        return Check("opencv", "warn", f"{' and '.join(found)} overwrite each other", repair)
    return Check("opencv", "ok", f"{cv2.__version__}{'' if found else ', not installed by pip'}")


def _onnxruntime(has_gpu: bool) -> Check:
    cpu, gpu = library_version("onnxruntime"), library_version("onnxruntime-gpu")
    if cpu and gpu:
        repair = _uninstall(["onnxruntime", "onnxruntime-gpu"])
        repair += f"pip install onnxruntime{'-gpu' if has_gpu else ''}"
        found = f"onnxruntime {cpu} and onnxruntime-gpu {gpu} overwrite each other: the GPU gets lost"
        return Check("onnxruntime", "fault", found, repair)
    if cpu and has_gpu:
        repair = "pip uninstall -y onnxruntime && pip install 'onnxruntime-gpu[cuda,cudnn]'"
        return Check("onnxruntime", "warn", f"onnxruntime {cpu} does not use the GPU", repair)
    if gpu and not has_gpu:
        return Check("onnxruntime", "ok", f"onnxruntime-gpu {gpu}, without a GPU: the CPU is used")
    return Check("onnxruntime", "ok" if cpu or gpu else "none", f"{cpu or gpu or 'not installed'}")


def _backends(has_gpu: bool) -> Check:
    usable = [each for each in BACKENDS if has_gpu or each.candidates("cpu")]
    found = [name for each in usable for name in each.distributions if library_version(name)]
    if found:
        return Check("backends", "ok", " and ".join(found))
    repair = "pip install openvino onnxruntime"
    return Check("backends", "fault", "neither OpenVINO nor ONNX Runtime: nothing can run a bundle", repair)


def _uninstall(names: list[str]) -> str:
    return f"pip uninstall -y {' '.join(names)} && " if names else ""


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip().split("\n")[0][:80]
    except OSError:
        return ""
