"""What this machine offers: CPU, cores, instruction sets, installed backends, NVIDIA GPUs."""

from __future__ import annotations

import contextlib
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Instruction sets that decide how fast a network runs, by their names in /proc/cpuinfo.
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "asimd", "asimdhp", "bf16")
BF16_FLAGS = ("avx512_bf16", "amx_bf16")
# Beside the backends' distributions.
OTHERS = ("cuda-bindings", "numpy", "opencv-python", "opencv-python-headless")
NVML = "nvidia-ml-py"


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU, as its driver states it."""

    index: int  # CUDA's, in the order of the PCI bus
    name: str
    memory_mb: int  # 0 = its driver does not tell, as on an integrated one
    driver: str
    compute_capability: str


@dataclass(frozen=True)
class Library:
    """An installed distribution."""

    name: str
    version: str


@dataclass(frozen=True)
class Machine:
    """What was found; a note says why something is unknown."""

    system: str
    python: str
    cpu: str
    cores: int  # that this process may use
    flags: tuple[str, ...] | None  # those of FLAGS that the CPU has; None = unknown
    flags_note: str
    memory_mb: int | None  # of the machine
    libraries: tuple[Library, ...]
    gpus: tuple[Gpu, ...]
    gpus_note: str

    def version(self, library: str) -> str:
        """The installed version of a backend's distribution or one of OTHERS, "" if it is not installed."""
        return next((found.version for found in self.libraries if found.name == library), "")

    def processor(self, device: str) -> str:
        """What decides which machine code a device runs: the CPU's name and flags, or the GPU and driver."""
        if device == "cpu":
            return f"{self.cpu}, {self.flags}"
        index = int(device.removeprefix("cuda:"))
        return next((str(gpu) for gpu in self.gpus if gpu.index == index), device)


def machine() -> Machine:
    """Look; no backend's library is imported and no program started."""
    from getgan.runtime.backends.catalog import DISTRIBUTIONS  # the backends' files import this one

    names = dict.fromkeys((*DISTRIBUTIONS, *OTHERS))
    flags, flags_note = cpu_flags()
    gpus, gpus_note = nvidia_gpus()
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        cpu=_cpu_name(),
        cores=available_cores(),
        flags=flags,
        flags_note=flags_note,
        memory_mb=_memory_mb(),
        libraries=tuple(Library(name, found) for name in names if (found := library_version(name))),
        gpus=gpus,
        gpus_note=gpus_note,
    )


def library_version(name: str) -> str:
    """The version of an installed distribution, "" if it is not installed; nothing of it is imported."""
    import importlib.metadata  # 40 ms, for e-mail's headers: a graph's first run needs none of it

    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def available_cores() -> int:
    """Physical cores that this process may use: its affinity, hyper-threads counted once, its cgroup's quota.

    A second thread on one core wins nothing for a convolution that already fills the core's units.
    """
    try:
        allowed = sorted(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1
    cores = len({_siblings(cpu) for cpu in allowed})
    quota = _cgroup_cpus()
    return max(1, cores if quota is None else min(cores, math.ceil(quota)))


def cpu_flags() -> tuple[tuple[str, ...] | None, str]:
    """Those of FLAGS that this CPU has; None and the reason where the system does not tell."""
    text = _read("/proc/cpuinfo")
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            present = set(value.split())
            return tuple(flag for flag in FLAGS if flag in present), ""
    return None, f"{platform.system()} does not list them in /proc/cpuinfo"


def nvidia_gpus() -> tuple[tuple[Gpu, ...], str]:
    """The GPUs that CUDA sees, numbered as with CUDA_DEVICE_ORDER=PCI_BUS_ID; without any, the reason."""
    try:
        import pynvml
    except ImportError:
        return (), f"{NVML} is not installed, so no GPU was looked for: pip install {NVML}"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return (), f"no NVIDIA driver that answers ({error})"
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(n) for n in range(pynvml.nvmlDeviceGetCount())]
        handles.sort(key=lambda handle: str(pynvml.nvmlDeviceGetPciInfo(handle).busId))
        uuids = [str(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles]
        names = os.environ.get("CUDA_VISIBLE_DEVICES")
        seen = [handles[n] for n in visible(uuids, names)]
        gpus = tuple(_gpu(pynvml, index, handle) for index, handle in enumerate(seen))
    except pynvml.NVMLError as error:
        return (), f"the NVIDIA driver fails: {error}"
    finally:
        pynvml.nvmlShutdown()
    if handles and not gpus:
        return (), f"CUDA_VISIBLE_DEVICES={names} hides every GPU"
    return gpus, "" if gpus else "the NVIDIA driver lists no GPU"


def visible(uuids: Sequence[str], names: str | None) -> list[int]:
    """Which GPUs CUDA_VISIBLE_DEVICES leaves, in its order; as for CUDA, a wrong name ends the list."""
    if names is None:
        return list(range(len(uuids)))
    found: list[int] = []
    for name in names.split(","):
        name = name.strip()
        fitting = [n for n, uuid in enumerate(uuids) if name == str(n) or (name and uuid.startswith(name))]
        if len(fitting) != 1 or fitting[0] in found:
            break
        found += fitting
    return found


def _gpu(pynvml: Any, index: int, handle: Any) -> Gpu:
    memory = 0
    with contextlib.suppress(pynvml.NVMLError):
        memory = int(pynvml.nvmlDeviceGetMemoryInfo(handle).total) >> 20
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    name, driver = str(pynvml.nvmlDeviceGetName(handle)), str(pynvml.nvmlSystemGetDriverVersion())
    return Gpu(index, name, memory, driver, f"{major}.{minor}")


def _cpu_name() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()
    return platform.processor() or platform.machine() or "unknown"


def _memory_mb() -> int | None:
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) // 1024
    return None


def _siblings(cpu: int) -> str:
    """The hyper-threads of a CPU's core as one text; the CPU alone where the system does not tell."""
    return _read(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").strip() or str(cpu)


def _cgroup_cpus() -> float | None:
    """CPUs' worth of time that a container's quota allows (cgroup v2, then v1); None = no quota."""
    found: list[float] = []
    for line in _read("/proc/self/cgroup").splitlines():
        _, controllers, place = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            # Any group above may be the tighter one.
            folder = Path("/sys/fs/cgroup") / place.lstrip("/")
            for group in (folder, *folder.parents):
                quota, _, period = _read(str(group / "cpu.max")).partition(" ")
                found += _ratio(quota, period)
                if group == Path("/sys/fs/cgroup"):
                    break
        elif "cpu" in controllers.split(","):
            for root in (Path("/sys/fs/cgroup/cpu") / place.lstrip("/"), Path("/sys/fs/cgroup/cpu")):
                quota = _read(str(root / "cpu.cfs_quota_us"))
                found += _ratio(quota, _read(str(root / "cpu.cfs_period_us")))
    return min(found, default=None)


def _ratio(quota: str, period: str) -> list[float]:
    with contextlib.suppress(ValueError):  # "max", or an empty text
        if float(quota) > 0 and float(period) > 0:
            return [float(quota) / float(period)]
    return []


def _read(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace")
    return ""
