"""What the doctor says of TensorRT: one clear line without it, and whether each library really loads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from bundle_helpers import make_bundle
from engine_helpers import needs_rtx

from getgan.runtime.devices import Gpu, Library, Machine, machine
from getgan.runtime.doctor import backends as doctor_backends
from getgan.runtime.doctor import tensorrt as doctor_tensorrt
from getgan.runtime.doctor.check import Check
from getgan.runtime.doctor.tensorrt import Trial, try_elsewhere
from getgan.runtime.engines.fingerprint import Flavour

GPU = Gpu(0, "NVIDIA RTX A2000", 6000, "580.1", "8.6")
RTX = Library("tensorrt-rtx-cu13", "1.7.1.116")
CUDA = Library("cuda-bindings", "13.5.0")
LOADED = Trial("1.7.1.116", gpus=1)


def with_gpu(*libraries: Library) -> Machine:
    return replace(machine(), gpus=(GPU,), libraries=libraries)


def without_gpu(*libraries: Library) -> Machine:
    return replace(machine(), gpus=(), libraries=libraries)


def checked(monkeypatch: pytest.MonkeyPatch, this: Machine, trial: Trial = LOADED) -> list[Check]:
    tried: list[Flavour] = []

    def tell(flavour: Flavour) -> Trial:
        tried.append(flavour)
        return trial

    monkeypatch.setattr(doctor_tensorrt, "try_elsewhere", tell)
    found = list(doctor_tensorrt.checks(this))
    assert tried == ["tensorrt-rtx"] * (RTX in this.libraries)
    return found


def test_without_a_gpu_and_without_it_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Check("tensorrt", "none", "not installed, and no NVIDIA GPU that would need it")
    assert checked(monkeypatch, without_gpu()) == [line]


def test_a_gpu_without_it_is_told_how(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = checked(monkeypatch, with_gpu())
    assert (found.name, found.status) == ("tensorrt", "warn")
    assert found.repair.startswith("pip install tensorrt-rtx-cu13, or pip install tensorrt (on a Jetson")


@pytest.mark.parametrize(
    ("this", "trial", "status", "words"),
    [
        (without_gpu(RTX), Trial("1.7.1.116"), "ok", "1.7.1.116, without a GPU: it runs no engine here"),
        (with_gpu(RTX, CUDA), LOADED, "ok", "1.7.1.116 and its libraries, 1 GPUs"),
        (with_gpu(RTX), LOADED, "warn", "1.7.1.116, without cuda-bindings: it runs no engine"),
        (with_gpu(RTX, CUDA), Trial("1.7.1.116"), "fault", "1.7.1.116, but CUDA sees none of the 1 GPUs"),
        (
            with_gpu(RTX, CUDA),
            Trial(fault="libtensorrt_rtx.so.1: cannot open shared object file"),
            "fault",
            "1.7.1.116 does not load: libtensorrt_rtx.so.1: cannot open shared object file",
        ),
        (without_gpu(RTX), Trial(fault="broken"), "warn", "1.7.1.116 does not load: broken"),
    ],
)
def test_what_the_library_does(
    monkeypatch: pytest.MonkeyPatch, this: Machine, trial: Trial, status: str, words: str
) -> None:
    found = checked(monkeypatch, this, trial)[0]
    assert (found.name, found.status, found.found) == ("tensorrt-rtx", status, words)
    assert bool(found.repair) == (status in ("warn", "fault"))
    if "libtensorrt" in words:
        assert "(libtensorrt_rtx.so.1 is missing): pip install tensorrt-rtx-cu13" in found.repair


@needs_rtx
def test_the_real_library_is_tried_in_its_own_process() -> None:
    """With a GPU it makes what engines are opened with; without one it is loaded and no more."""
    found = try_elsewhere("tensorrt-rtx")
    assert found.version and found.fault == ""


def test_a_library_that_is_not_there() -> None:
    if any(
        library.name.startswith("tensorrt") for library in machine().libraries if "rtx" not in library.name
    ):
        pytest.skip("TensorRT is installed")
    assert try_elsewhere("tensorrt").fault.startswith("TensorRT is not installed: pip install tensorrt")


def test_a_bundle_without_an_engine_is_told_of_and_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert doctor_tensorrt.ways(without_gpu(RTX, CUDA)) == doctor_tensorrt.ways(with_gpu(RTX)) == []
    this = with_gpu(RTX, CUDA)
    monkeypatch.setattr(doctor_backends, "machine", lambda: this)
    ways = doctor_tensorrt.ways(this)
    assert [str(way) for way in ways] == ["tensorrt cuda:0 fp16", "tensorrt cuda:0 fp32"]
    bundle = make_bundle(tmp_path / "bundle", precisions=("fp32",))
    checks = {check.name: check for check in doctor_backends.bundle_checks(bundle, ways, 1)}
    assert checks["bundle on tensorrt cuda:0 fp16"].found == "the bundle holds no fp16"
    lacking = checks["bundle on tensorrt cuda:0 fp32"]
    assert lacking.status == "none" and lacking.found.endswith("holds no engine of it: getgan build BUNDLE")
