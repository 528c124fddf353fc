"""The doctor: what is there really ran, what is broken is named with the command that repairs it."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from backend_helpers import INSTALLED, needs_onnxruntime
from bundle_helpers import make_bundle, replace_file
from guard_helpers import make_guarded, scan

from getgan.runtime.backends import Candidate
from getgan.runtime.backends.catalog import candidates
from getgan.runtime.cache import cache_folder
from getgan.runtime.devices import Gpu, Library, Machine, library_version
from getgan.runtime.doctor import backends as doctor_backends
from getgan.runtime.doctor import files as doctor_files
from getgan.runtime.doctor import machine as doctor_machine
from getgan.runtime.doctor import probe
from getgan.runtime.doctor.check import Check
from getgan.runtime.doctor.diagnosis import check_lines, diagnose
from getgan.runtime.doctor.probe import Probe, probe_here
from getgan.runtime.images import bytes_from_image

GPU = Gpu(0, "NVIDIA T4", 15_000, "550.1", "7.5")
CPU_FP32 = Candidate("onnxruntime", "cpu", "fp32")


def machine(
    flags: tuple[str, ...] | None = ("avx2",), memory: int | None = 8000, gpus: tuple[Gpu, ...] = ()
) -> Machine:
    libraries = (Library("numpy", "2.0"),)
    return Machine(
        "Linux x86_64", "3.11", "A CPU", 4, flags, "no cpuinfo", memory, libraries, gpus, "no driver"
    )


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give pip's view of what is installed."""

    def install(**versions: str) -> None:
        def version(name: str) -> str:
            if (key := name.replace("-", "_")) in versions:
                return versions[key]
            raise importlib.metadata.PackageNotFoundError(name)

        monkeypatch.setattr(importlib.metadata, "version", version)

    return install


def named(checks: list[Check], name: str) -> Check:
    (found,) = [check for check in checks if check.name == name]
    return found


# --- the real machine -----------------------------------------------------------------------------------


def test_a_real_diagnosis_with_a_bundle(tmp_path: Path) -> None:
    heard: list[Check] = []
    diagnosis = diagnose(make_bundle(tmp_path / "bundle"), threads=1, on_check=heard.append)
    assert tuple(heard) == diagnosis.checks
    for library, name in (("onnxruntime", "onnxruntime cpu fp32"), ("openvino", "openvino cpu fp32")):
        if library in INSTALLED:
            ran = named(heard, name)
            assert ran.status == "ok" and library_version(library).split("-")[0] in ran.found
            assert "max error" in ran.found
            on_bundle = named(heard, f"bundle on {name}")
            assert on_bundle.status == "ok" and "pictures/s at 32x32; golden image:" in on_bundle.found
    assert named(heard, "bundle").status == "ok"
    assert named(heard, "video .mp4").status == named(heard, "video .avi").status == "ok"
    for check in heard:
        assert bool(check.repair) == (check.status in ("warn", "fault")), check
        assert "\n" not in check.found
    parsed = json.loads(diagnosis.to_json())
    assert parsed["exit_code"] == diagnosis.exit_code
    assert [check["name"] for check in parsed["checks"]] == [check.name for check in heard]
    assert len(diagnosis.text().splitlines()) >= len(heard)


def test_an_altered_bundle_is_a_fault(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    (bundle / "graphs" / "fp32.onnx").write_bytes(b"another graph")
    (found,) = doctor_backends.bundle_checks(bundle, [CPU_FP32], 1)
    assert found.status == "fault" and "graphs/fp32.onnx" in found.found and found.repair
    (found,) = doctor_backends.bundle_checks(tmp_path / "gone", [CPU_FP32], 1)
    assert found.status == "fault"


@needs_onnxruntime
def test_a_bundle_whose_picture_differs_here_is_a_fault(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    replace_file(bundle, "golden/face.output.png", (bundle / "golden/noise.output.png").read_bytes())
    good, unguarded, bad, absent = doctor_backends.bundle_checks(
        bundle, [CPU_FP32, Candidate("onnxruntime", "cpu", "fp16")], 1
    )
    assert good.status == "ok"
    assert unguarded.status == "warn" and "any picture becomes a face" in unguarded.found
    assert bad.status == "fault" and "comes out differently" in bad.found and "getgan verify" in bad.repair
    assert absent.status == "none"


@needs_onnxruntime
def test_a_guard_is_told_and_refuses_its_picture(tmp_path: Path) -> None:
    bundle = make_guarded(tmp_path / "bundle")
    _, guard, ran = doctor_backends.bundle_checks(bundle, [CPU_FP32], 1)
    assert guard.status == "ok" and "240 pictures (test scans)" in guard.found
    assert "1.00 times as wide as high (others want --fit crop, --region" in guard.found
    assert ran.status == "ok" and "refuses a picture without a face, as it must" in ran.found
    replace_file(bundle, "golden/refused.png", bytes_from_image(scan(1)))
    _, guard, ran = doctor_backends.bundle_checks(bundle, [CPU_FP32], 1)
    assert ran.status == "fault" and "must refuse" in ran.found
    replace_file(bundle, "guard.npz", b"cut")
    _, guard, ran = doctor_backends.bundle_checks(bundle, [CPU_FP32], 1)
    assert guard.status == "fault" and "damaged guard" in guard.found


def test_text_shows_the_repair_below_the_fault() -> None:
    lines = check_lines(Check("gpu", "fault", "broken", "mend it"), 8)
    assert lines == ["fault gpu       broken", " " * 16 + "→ mend it"]


# --- the probe ------------------------------------------------------------------------------------------


def test_the_shipped_graphs_are_what_their_script_makes() -> None:
    pytest.importorskip("onnx")
    from getgan.export.probegraphs import probe_model

    assert probe.probe_graph("fp32") == probe.probe_graph("bf16") == probe_model(half=False)
    assert probe.probe_graph("fp16") == probe_model(half=True)


@needs_onnxruntime
def test_a_backend_that_computes_wrongly_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert probe_here(CPU_FP32).ok
    right = probe._by_numpy
    monkeypatch.setattr(probe, "_by_numpy", lambda image, weights: right(image, weights) + 2e-5)
    wrong = probe_here(CPU_FP32)
    assert not wrong.ok and wrong.found.startswith("computes wrongly: onnxruntime")


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import os; os.abort()", "was killed by signal 6"),
        ("print('hello'); raise SystemExit(3)", "ended with 3"),
        ("raise ImportError('no libfoo')", "no libfoo"),
        ("import time; time.sleep(20)", "did not end within"),
    ],
)
def test_a_backend_that_dies_does_not_take_the_doctor_along(
    program: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{program}"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(probe, "TIMEOUT_S", 1.0)
    result = probe.probe(CPU_FP32)
    assert not result.ok and message in result.found and "\n" not in result.found
    check = doctor_backends._checked(CPU_FP32, result)
    assert (check.status, check.repair) == ("fault", "pip install --force-reinstall onnxruntime")


def test_what_is_installed_again_is_what_is_there(installed: Callable[..., None]) -> None:
    """onnxruntime beside onnxruntime-gpu would overwrite it."""
    for versions, name in (({}, "onnxruntime"), ({"onnxruntime_gpu": "1.32"}, "onnxruntime-gpu")):
        installed(**versions)
        check = doctor_backends._checked(CPU_FP32, Probe(False, "computes wrongly"))
        assert check.repair == f"pip install --force-reinstall {name}"


def test_a_missing_cuda_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real provider file that really lacks a library, where a compiler is at hand."""
    capi = tmp_path / "onnxruntime" / "capi"
    capi.mkdir(parents=True)
    compiler = shutil.which("gcc") or shutil.which("cc")
    provider = capi / "libonnxruntime_providers_cuda.so"
    if compiler:
        for target, needs in ((tmp_path / "libcudnn.so.9", []), (provider, [tmp_path / "libcudnn.so.9"])):
            source = tmp_path / "empty.c"
            source.write_text("")
            name = ["-Wl,-soname,libcudnn.so.9"] if target != provider else ["-Wl,--no-as-needed"]
            subprocess.run([compiler, "-shared", "-o", target, *name, source, *needs], check=True)
        (tmp_path / "libcudnn.so.9").unlink()
    else:
        provider.touch()

        def refuse(path: str) -> None:
            raise OSError("libcudnn.so.9: cannot open shared object file: No such file or directory")

        monkeypatch.setattr(ctypes, "CDLL", refuse)
    spec = types.SimpleNamespace(submodule_search_locations=[str(capi.parent)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    assert doctor_backends.missing_cuda_library() == "libcudnn.so.9"
    cuda = Candidate("onnxruntime", "cuda:0", "fp32")
    check = doctor_backends._checked(cuda, Probe(False, "fell back to CPU"))
    assert check.status == "fault" and "does not find libcudnn.so.9" in check.found
    assert check.repair == "pip install -U 'onnxruntime-gpu[cuda,cudnn]'"


def test_sonames_in_loader_messages() -> None:
    said = "libcublasLt.so.12: cannot open shared object file: No such file or directory"
    assert doctor_backends.missing_soname(said) == "libcublasLt.so.12"
    assert doctor_backends.missing_soname("x.so: undefined symbol: Provider_GetHost") == ""


def test_each_gpu_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def note(candidate: Candidate) -> Probe:
        tried.append(candidate.device)
        return Probe(True, "fine")

    monkeypatch.setattr(doctor_backends, "probe", note)
    checks = [check for _, check in doctor_backends.checks(machine(gpus=(GPU, GPU)))]
    on_one = sum(way.backend != "tensorrt" for way in candidates(["cuda:0"]))
    assert tried.count("cuda:0") == tried.count("cuda:1") == on_one > 0
    assert tried.count("cpu") == len(candidates(["cpu"]))
    assert named(checks, "onnxruntime cuda:1 fp16").status == "ok"


# --- machines that are not this one ---------------------------------------------------------------------


def machine_checks(this: Machine) -> list[Check]:
    return list(doctor_machine.checks(this))


def test_both_onnxruntimes_are_a_fault_with_two_commands(installed: Callable[..., None]) -> None:
    installed(onnxruntime="1.20", onnxruntime_gpu="1.20", opencv_python="5.0")
    found = named(machine_checks(machine(gpus=(GPU,))), "onnxruntime")
    assert found.status == "fault"
    assert found.repair == "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
    found = named(machine_checks(machine()), "onnxruntime")
    assert found.repair.endswith("pip install onnxruntime")


def test_a_gpu_that_nothing_uses_is_a_warning(installed: Callable[..., None]) -> None:
    installed(onnxruntime="1.20")
    checks = machine_checks(machine(gpus=(GPU,)))
    assert named(checks, "onnxruntime").status == "warn"
    assert "NVIDIA T4" in named(checks, "gpu").found
    assert named(machine_checks(machine()), "onnxruntime").status == "ok"
    assert named(machine_checks(machine()), "gpu").found == "no driver"


def test_no_backend_at_all_is_a_fault(installed: Callable[..., None]) -> None:
    installed(numpy="2.0")
    checks = machine_checks(machine())
    assert named(checks, "backends").status == "fault"
    assert named(checks, "backends").repair == "pip install openvino onnxruntime"
    assert named(checks, "onnxruntime").status == "none"


def test_two_opencvs_are_a_warning(installed: Callable[..., None]) -> None:
    installed(opencv_python="5.0", opencv_python_headless="4.9", openvino="2026")
    found = named(machine_checks(machine()), "opencv")
    assert found.status == "warn"
    assert found.repair.startswith("pip uninstall -y opencv-python opencv-python-headless && pip install")


def test_an_opencv_that_does_not_load_is_a_fault(
    installed: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(opencv_python="5.0")
    monkeypatch.setitem(sys.modules, "cv2", None)
    found = named(machine_checks(machine()), "opencv")
    assert found.status == "fault" and found.repair.endswith("pip install opencv-python-headless")
    assert doctor_files.video_check(".mp4").status == "fault"


@pytest.mark.parametrize(
    ("flags", "status", "words"),
    [
        ((), "warn", "several times slower"),
        (("avx2",), "ok", "no bf16"),
        (("avx2", "avx512f", "avx512_bf16"), "ok", "bf16 in half the time"),
        (("asimd",), "ok", "fp32"),
        (None, "ok", "unknown: no cpuinfo"),
    ],
)
def test_what_the_cpu_means(flags: tuple[str, ...] | None, status: str, words: str) -> None:
    found = named(machine_checks(machine(flags=flags)), "cpu")
    assert found.status == status and words in found.found


def test_little_memory_is_a_warning() -> None:
    assert named(machine_checks(machine(memory=900)), "memory").status == "warn"
    assert named(machine_checks(machine(memory=None)), "memory").status == "ok"


def test_a_jetson_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = tmp_path / "nv_tegra_release"
    release.write_text("# R36 (release), REVISION: 4.3\nmore\n")
    monkeypatch.setattr(doctor_machine, "JETSON_RELEASE", release)
    assert "Jetson (# R36 (release), REVISION: 4.3)" in named(machine_checks(machine()), "system").found


# --- folders and cameras --------------------------------------------------------------------------------


def test_a_folder_that_is_not_there_yet_and_one_that_cannot_be(tmp_path: Path) -> None:
    found = doctor_files.folder_check("cache", tmp_path / "a" / "b", "x")
    assert found.status == "ok" and found.found.startswith(f"{tmp_path / 'a' / 'b'}, made when needed, ")
    assert list(tmp_path.iterdir()) == []
    assert "made when needed" not in doctor_files.folder_check("temp", tmp_path, "x").found
    (tmp_path / "file").touch()
    found = doctor_files.folder_check("cache", tmp_path / "file" / "getgan", "set XDG_CACHE_HOME")
    assert (found.status, found.repair) == ("fault", "set XDG_CACHE_HOME")
    assert doctor_files.folder_check("cache", Path("/proc/getgan"), "x").status == "fault"


@pytest.mark.parametrize(("free", "status"), [(1000, "fault"), (100 << 20, "warn"), (2 << 30, "ok")])
def test_free_space(free: int, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert doctor_files.folder_check("temp", tmp_path, "x").status == status


def test_the_cache_folder_obeys_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/getgan")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_folder() == Path("/home/me/.cache/getgan")


def test_cameras_are_listed_by_number_and_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices, names = tmp_path / "dev", tmp_path / "names"
    devices.mkdir()
    assert doctor_files.cameras_check(devices, names).status == "none"
    for number in (10, 2):
        (devices / f"video{number}").touch()
    (devices / "videox").touch()
    (names / "video2").mkdir(parents=True)
    (names / "video2" / "name").write_text("Frame grabber\n")
    found = doctor_files.cameras_check(devices, names)
    assert (found.status, found.found) == ("ok", "2 (Frame grabber), 10 (name unknown)")
    monkeypatch.setattr(os, "access", lambda path, mode: path.name != "video2")
    found = doctor_files.cameras_check(devices, names)
    assert found.status == "warn" and "usermod -aG video" in found.repair
    assert "no permission for" in found.found
