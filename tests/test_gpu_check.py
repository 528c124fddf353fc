"""The check of a GPU: measured with the CPU's ways in the GPU's place, and what it says without one."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from backend_helpers import needs_onnxruntime
from bundle_helpers import make_bundle, network, sample
from engine_helpers import needs_rtx

from getgan.benchmarks import gpu_measure
from getgan.benchmarks.gpu_check import GpuOptions, batches_from
from getgan.benchmarks.gpu_contenders import Contender, EngineContender, Frames, TorchContender, torch_name
from getgan.benchmarks.gpu_limits import operations, seconds_from_trtexec, trtexec_seconds
from getgan.benchmarks.gpu_measure import BLOCK, measure
from getgan.benchmarks.gpu_report import GpuReport, Way
from getgan.benchmarks.gpu_ways import GateFailed, Ways
from getgan.benchmarks.percentiles import WANTED
from getgan.benchmarks.untrained import write_untrained
from getgan.errors import DeviceError, UsageError
from getgan.export.reference import PyTorchReference
from getgan.models.checkpoint import load_checkpoint
from getgan.runtime.backends import Candidate, Unsuitable
from getgan.runtime.backends.onnxruntime import OnnxRuntime
from getgan.runtime.bundle import Bundle
from getgan.runtime.devices import Gpu, machine
from getgan.runtime.engines import builder
from getgan.runtime.firstrun import graph_of
from getgan.runtime.manifest import Precision
from getgan.runtime.pixels import image_from_tensor, tensor_from_images
from getgan.runtime.selftest import golden_of

GPU = Gpu(0, "NVIDIA H100", 81_000, "580.1", "9.0")
needs_no_gpu = pytest.mark.skipif(bool(machine().gpus), reason="this machine has an NVIDIA GPU")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("net") / "net.safetensors"
    write_untrained(path, ngf=4, size=64)
    return path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    graphs: dict[Precision, bytes] = {"fp16": network(half=True)}
    folder = tmp_path_factory.mktemp("small") / "bundle"
    return Bundle.open(make_bundle(folder, graphs=graphs, precisions=("fp32", "bf16", "fp16")))


def on_cpu(bundle: Bundle) -> EngineContender:
    way = Candidate("onnxruntime", "cpu", "fp32")
    engine = OnnxRuntime().open(graph_of(bundle, bundle.manifest.variant("fp32")), way, 1)
    return EngineContender("onnxruntime cuda fp32", engine, bundle.manifest.contract.range)


class Wrong:
    """Gives the picture back as it came, or fails."""

    version = "1"

    def __init__(self, name: str, fails: bool) -> None:
        self.name, self._fails = name, fails

    def faces(self, frames: Frames) -> Frames:
        if self._fails:
            raise DeviceError("is broken")
        return frames

    def device_seconds(self, frames: Frames, rounds: int) -> list[float] | None:
        return [0.001] * rounds

    def close(self) -> None: ...


def report_of(*ways: Way) -> GpuReport:
    return GpuReport(
        network="tiny",
        size=64,
        gpu=GPU,
        system="Linux",
        python="3.12",
        libraries={"tensorrt": "11.4"},
        ways=ways,
        operations=1e9,
        peak=1e13,
    )


@needs_onnxruntime
def test_ways_are_judged_by_the_golden_picture_and_measured_in_turn(bundle: Bundle) -> None:
    figures = {variant.name: variant.figures for variant in bundle.manifest.variants}
    contenders: list[Contender] = [
        on_cpu(bundle),
        Wrong("tensorrt fp32", False),
        Wrong("tensorrt-rtx fp32", True),
    ]
    ours, wrong, broken = measure(contenders, golden_of(bundle), figures, 2, 1)
    assert (ours.wrong, ours.unavailable, ours.calls, ours.batch) == ("", "", BLOCK, 2)
    assert ours.max_levels is not None and ours.max_levels <= 1
    assert ours.p50 and ours.p99 and ours.p50 <= ours.p99
    assert ours.per_second and ours.device is None  # no GPU's clock
    assert "wanted at least" in wrong.wrong and wrong.device == 0.001
    assert (broken.unavailable, broken.p50) == ("is broken", None)
    assert report_of(ours, broken).passed
    assert not report_of(ours, wrong).passed
    kept = Way("tensorrt fp16", 0, unavailable="failed its gate: 3 levels", wrong="its gate failed")
    assert not report_of(ours, kept).passed
    assert not report_of(broken, Way("pytorch fp32 eager", 1)).passed  # nothing of ours ran
    for each in contenders:
        each.close()


@needs_onnxruntime
def test_what_a_new_shape_costs_is_no_part_of_the_rate(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU picks its kernels at the first call of a shape: half a second, seen with ONNX Runtime's CUDA."""
    clock: list[float] = [0.0]
    seen: set[int] = set()

    class Preparing(EngineContender):
        def faces(self, frames: Frames) -> Frames:
            clock[0] += 0.01 if len(frames) in seen else 10.0
            seen.add(len(frames))
            return frames

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    opened = on_cpu(bundle)
    contender = Preparing("onnxruntime cuda fp32", opened.engine, (-1.0, 1.0))
    (way,) = measure([contender], golden_of(bundle), {"fp32": bundle.manifest.variants[0].figures}, 2, 1)
    assert way.per_second == pytest.approx(gpu_measure.MANY * 2 / 0.01)
    assert way.p99 == pytest.approx(0.01)
    opened.close()


def test_pytorch_gives_the_reference_s_picture_in_both_precisions(checkpoint: Path) -> None:
    generator = load_checkpoint(checkpoint)
    frames = np.stack([sample(64, 1), sample(64, 2)])
    right = PyTorchReference(generator).infer(tensor_from_images(frames))["face"]
    faces = np.stack([image_from_tensor(face) for face in right])
    kinds: tuple[tuple[Precision, int], ...] = (("fp32", 1), ("fp16", 4))
    for precision, levels in kinds:
        contender = TorchContender(generator, "cpu", precision, (-1.0, 1.0))
        found = contender.faces(frames)
        assert found.dtype == np.uint8 and found.shape == frames.shape
        assert np.abs(found.astype(int) - faces).max() <= levels
        assert contender.device_seconds(frames, 1) is None
        assert contender.name == torch_name(precision, compiled=False)


def test_operations_grow_with_the_pixels(checkpoint: Path) -> None:
    generator = load_checkpoint(checkpoint)
    small, large = operations(generator, 64), operations(generator, 128)
    assert small > 1e6 and large == pytest.approx(4 * small)


def test_the_table_and_its_json() -> None:
    report = report_of(
        Way(
            "tensorrt fp16-frames",
            1,
            "TensorRT 11.4",
            "",
            1,
            63.2,
            0.999,
            "",
            400,
            0.0007,
            0.0011,
            0.0006,
            0.00058,
            3200.0,
        ),
        Way(
            "pytorch fp32 eager",
            1,
            "torch 2.13",
            "",
            0,
            None,
            1.0,
            "",
            400,
            0.0049,
            0.0052,
            0.0047,
            None,
            210.0,
        ),
        Way("tensorrt-rtx fp16-frames", 0, unavailable="TensorRT-RTX is not installed"),
    )
    text = report.text()
    assert "NVIDIA H100, driver 580.1, Linux" in text
    row = next(line for line in text.splitlines() if line.startswith("tensorrt fp16-frames"))
    assert row.split() == [
        "tensorrt",
        "fp16-frames",
        "1",
        "0.700",
        "1.100",
        "0.600",
        "0.580",
        "3200.0",
        "7.00",
        "63.2",
        "dB,",
        "1",
        "levels",
    ]
    assert "TensorRT-RTX is not installed" in text
    assert "tensorrt fp16-frames, batch 1: 17 % over the network alone; 17 % of the measured FP16" in text
    told = json.loads(report.to_json())
    assert told["passed"] and told["ways"][0]["p50"] == 0.0007 and told["gpu"]["name"] == "NVIDIA H100"


TRTEXEC = """[I] === Performance summary ===
[I] Throughput: 1600 qps
[I] Latency: min = 0.60 ms, max = 0.9 ms, median = 0.61 ms, percentile(99%) = 0.7 ms
[I] GPU Compute Time: min = 0.58 ms, max = 0.88 ms, median = 0.5901 ms, percentile(99%) = 0.69 ms
"""


def test_trtexec_is_read() -> None:
    assert seconds_from_trtexec(TRTEXEC) == pytest.approx(0.0005901)
    with pytest.raises(DeviceError, match=r"trtexec gives no time: \[E\] no engine$"):
        seconds_from_trtexec("[I] hello\n[E] no engine\n")


def test_trtexec_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="trtexec is not here"):
        trtexec_seconds(tmp_path / "plan", "image", (1, 3, 64, 64))
    program = tmp_path / "trtexec"
    program.write_text(f'#!{sys.executable}\nimport sys\nprint("""{TRTEXEC}""", *sys.argv)\n')
    program.chmod(0o755)
    assert trtexec_seconds(tmp_path / "plan", "image", (1, 3, 64, 64)) == pytest.approx(0.0005901)
    program.write_text(f"#!{sys.executable}\nimport sys\nprint('[E]', *sys.argv[1:])\n")
    with pytest.raises(
        DeviceError, match=r"\[E\] --loadEngine=.*plan --shapes=image:1x3x64x64 --useCudaGraph"
    ):
        trtexec_seconds(tmp_path / "plan", "image", (1, 3, 64, 64))


@needs_no_gpu
def test_every_way_says_why_it_does_not_run_here(bundle: Bundle, tmp_path: Path) -> None:
    without = replace(machine(), gpus=(), gpus_note="no driver")
    every = Ways(bundle, None, "cuda:0", without, (64, 64), (1,), tmp_path)
    found = dict(every.all())
    assert {"tensorrt fp16", "tensorrt-rtx fp16", "onnxruntime cuda fp32", "pytorch fp32 eager"} <= {*found}
    assert not any("bf16" in name for name in found)
    for name in ("tensorrt fp16", "onnxruntime cuda fp16", "pytorch fp16 channels_last torch.compile"):
        with pytest.raises((Unsuitable, DeviceError)):
            found[name]()


@needs_rtx
@needs_no_gpu
def test_an_engine_that_fails_its_gate_is_no_missing_library(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The build is real; the GPU that would prove it is a name, so its gate's process finds none."""
    with_gpu = replace(machine(), gpus=(GPU,))
    monkeypatch.setattr(builder, "machine", lambda: with_gpu)
    height, width = golden_of(bundle).input.shape[:2]
    every = Ways(bundle, None, "cuda:0", with_gpu, (height, width), (1,), tmp_path)
    with pytest.raises(GateFailed, match="failed its gate: "):
        dict(every.all())["tensorrt-rtx fp32"]()


def test_a_p99_has_the_calls_that_it_wants() -> None:
    assert GpuOptions().blocks * BLOCK >= WANTED["p99"]


def test_batches() -> None:
    assert batches_from("16,1,4") == (1, 4, 16)
    for text in ("", "0", "1,", "x", "257"):
        with pytest.raises(UsageError, match="wanted numbers from 1 to 256"):
            batches_from(text)


@needs_no_gpu
def test_without_a_gpu_it_says_so_in_one_line() -> None:
    for command in (["getgan.benchmarks.gpu_check"], ["getgan", "bench", "gpu"]):
        done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        assert "found no cuda:0 (" in line and line.endswith("wanted an NVIDIA GPU to measure")
