"""The runtime's benchmark: figures that follow from the times, an equal peer, nothing left over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from bundle_helpers import make_bundle

from getgan.benchmarks.figures import Figure, figures_text
from getgan.benchmarks.install import measure_install
from getgan.benchmarks.latency import OURS, PEER, Case, Latency, Worker, measure_latency
from getgan.benchmarks.processes import run_getgan
from getgan.benchmarks.report import RuntimeReport
from getgan.benchmarks.runtime import RuntimeOptions, measure_runtime
from getgan.benchmarks.untrained import write_untrained
from getgan.errors import BundleError, ConfigError, DeviceError, OutputError
from getgan.models.checkpoint import load_checkpoint
from getgan.models.getgan import GetGanConfig
from getgan.runtime.bundle import Bundle
from getgan.runtime.devices import library_version

pytestmark = pytest.mark.skipif(
    not library_version("onnxruntime"), reason="the peer is ONNX Runtime, which is not installed"
)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of our own, for this process and those it starts."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[RuntimeReport, list[tuple[str, float]]]:
    """One run on a tiny bundle, and what it told on the way."""
    bundle = make_bundle(tmp_path_factory.mktemp("bundles") / "tiny")
    told: list[tuple[str, float]] = []
    options = RuntimeOptions(bundle=bundle, threads=1, rounds=2)
    return measure_runtime(options, lambda what, share: told.append((what, share))), told


def case(name: str, *seconds: float, unavailable: str = "") -> Case:
    return Case(name, "1.0", seconds, tuple(0.0 for _ in seconds), 0.0, unavailable)


def figure(report: RuntimeReport, start: str) -> Figure:
    (found,) = [figure for figure in report.figures if figure.name.startswith(start)]
    return found


# --- figures from times ---------------------------------------------------------------------------------


def test_a_speedup_is_the_peers_time_over_ours_of_the_same_round() -> None:
    latency = Latency(256, 2, (case("openvino bf16", 1.0, 2.0, 4.0), case(PEER, 4.0, 4.0, 4.0)))
    assert latency.speedups("openvino bf16") == (4.0, 2.0, 1.0)
    row = next(line for line in latency.text().splitlines() if line.startswith("openvino bf16"))
    assert "2000.0 ms" in row and "2.00x" in row


def test_without_the_peer_or_the_case_there_is_no_speedup() -> None:
    nothing = case("openvino bf16", unavailable="this CPU has no bf16 instructions")
    latency = Latency(256, 2, (nothing, case(PEER, 4.0)))
    assert latency.speedups("openvino bf16") == ()
    assert "not offered here: this CPU has no bf16" in latency.text()
    alone = Latency(256, 2, (case("openvino fp32", 1.0), case(PEER, unavailable="not installed")))
    assert alone.speedups("openvino fp32") == ()


@pytest.mark.parametrize(
    ("value", "target", "at_least", "expected", "passed"),
    [
        (2.0, 2.0, True, False, True),
        (1.99, 2.0, True, False, False),
        (5.0, 5.0, False, False, True),
        (5.1, 5.0, False, False, False),
        (9.0, None, False, False, None),
        (None, 2.0, True, False, None),  # this machine does not offer it
        (None, 2.0, True, True, False),  # it should have
    ],
)
def test_a_figure_is_judged_by_its_target(
    value: float | None, target: float | None, at_least: bool, expected: bool, passed: bool | None
) -> None:
    judged = Figure("speed", "x", value, target, at_least, expected)
    assert judged.passed is passed
    assert ("MISSED" in figures_text([judged])) == (passed is False)
    assert (" met" in figures_text([judged])) == (passed is True)


# --- a real run -----------------------------------------------------------------------------------------


def test_a_run_measures_everything(measured: tuple[RuntimeReport, list[tuple[str, float]]]) -> None:
    report, told = measured
    shares = [share for _, share in told]
    assert shares == sorted(shares) and shares[-1] == 1.0 and {what for what, _ in told} > {"fresh processes"}
    assert [case.name for case in report.latency.cases] == [*OURS, PEER]
    for found in report.latency.cases:
        assert bool(found.unavailable) != (len(found.seconds) == 2 == len(found.idle))
        if not found.unavailable:
            assert min(found.seconds) > 0
            # The same network on the same picture; bf16 is off by more, and by no other picture's difference.
            assert found.max_error < (0.2 if "bf16" in found.name else 1e-3)
    sizes = [(cost.width, cost.height, cost.frames) for cost in report.frames]
    assert sizes == [(32, 32, 2), (640, 480, 2), (1920, 1080, 2)]
    assert all(0 < cost.pipeline_share < cost.stages.overhead < 1 for cost in report.frames)
    assert len(report.starts.first_picture) == len(report.starts.help) == len(report.starts.peak_mb) == 2
    # A process with numpy, OpenCV and a backend: our own peak, or other units, would be outside.
    assert 40 < min(report.starts.peak_mb) <= max(report.starts.peak_mb) < 400
    assert report.export is None and figure(report, "export with gate").passed is None


def test_json_and_text_say_the_same(measured: tuple[RuntimeReport, list[tuple[str, float]]]) -> None:
    report, _ = measured
    document = json.loads(report.to_json())
    assert document["schema"] == 1 and document["size"] == 32 and document["threads"] == 1
    assert document["passed"] == report.passed == all(f["passed"] is not False for f in document["figures"])
    cases = {case["name"]: case for case in document["latency"]["cases"]}
    for name, speedups in document["speedups"].items():
        times = zip(cases[name]["seconds"], cases[PEER]["seconds"], strict=False)
        assert speedups == [theirs / ours for ours, theirs in times]
    text = report.text()
    assert not report.comparable and "The targets are for GET-GAN, ngf 64, 256x256, 2 threads" in text
    assert "The targets are for" not in replace(report, comparable=True).text()
    assert report.machine.cpu in text and "process start to first picture" in text
    assert all(found["name"] in text for found in document["figures"])


@pytest.mark.parametrize(
    ("flags", "passed"), [(("avx2", "avx512_bf16"), False), (("avx2",), None), (None, None)]
)
def test_bf16_that_does_not_run_is_missed_where_the_cpu_has_it(
    flags: tuple[str, ...] | None,
    passed: bool | None,
    measured: tuple[RuntimeReport, list[tuple[str, float]]],
) -> None:
    cases = (
        case(OURS[0], unavailable="bundle holds no bf16"),
        *(case(name, 2.0) for name in (*OURS[1:], PEER)),
    )
    report = measured[0]
    other = replace(report, machine=replace(report.machine, flags=flags), latency=Latency(32, 1, cases))
    found = figure(other, "y_* openvino bf16")
    assert found.value is None and found.passed is passed and "bundle holds no bf16" in found.note
    assert figure(other, "y_* openvino fp32").value == 1.0 and figure(other, "y_* openvino fp32").passed


def test_a_precision_that_the_bundle_lacks_is_said_so(tmp_path: Path) -> None:
    bundle = Bundle.open(make_bundle(tmp_path / "fp32-only", precisions=("fp32",)))
    latency = measure_latency(bundle, tmp_path, size=32, threads=1, rounds=1)
    assert "bf16" in latency.cases[0].unavailable and latency.speedups("openvino bf16") == ()
    assert len(latency.speedups("onnxruntime fp32")) == 1


def test_a_random_network_is_a_checkpoint_of_the_asked_size(tmp_path: Path) -> None:
    about = write_untrained(tmp_path / "net.safetensors", ngf=2, size=64)
    checkpoint = load_checkpoint(tmp_path / "net.safetensors")
    assert checkpoint.contract.size == 64 and checkpoint.config == GetGanConfig(ngf=2)
    assert checkpoint.provenance.notes == about and "last layer scaled by 0.3" in about
    write_untrained(tmp_path / "again.safetensors", ngf=2, size=64)
    again = (tmp_path / "again.safetensors").read_bytes()
    assert again == (tmp_path / "net.safetensors").read_bytes()


@pytest.mark.slow
def test_without_a_bundle_the_export_is_measured_too(temporary: Path) -> None:
    report = measure_runtime(RuntimeOptions(size=32, ngf=2, threads=1, rounds=1))
    assert report.export is not None and report.export.seconds > 1 and report.export.peak_mb > 200
    assert figure(report, "export with gate").value == report.export.seconds
    assert "untrained GET-GAN, ngf 2" in report.text() and report.size == 32
    assert list(temporary.iterdir()) == []


# --- what cannot work -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (RuntimeOptions(rounds=0), ConfigError, "found 0 rounds; wanted 1 or more"),
        (RuntimeOptions(threads=-1), ConfigError, "found -1 threads; wanted 0"),
        (RuntimeOptions(size=30), ConfigError, "found size 30; wanted a multiple of 4 from 32"),
        (RuntimeOptions(size=4096), ConfigError, "from 32 to 2048"),
        (RuntimeOptions(ngf=0), ConfigError, "ngf"),
        (RuntimeOptions(bundle=Path("nowhere")), BundleError, "nowhere: is missing; wanted a bundle"),
    ],
)
def test_a_wrong_option_is_told_at_once(
    options: RuntimeOptions, error: type[Exception], words: str, temporary: Path
) -> None:
    start = time.monotonic()
    with pytest.raises(error, match=words):
        measure_runtime(options)
    assert time.monotonic() - start < 5
    assert list(temporary.iterdir()) == []


def test_a_size_that_the_bundle_cannot_take(tmp_path: Path, temporary: Path) -> None:
    with pytest.raises(ConfigError, match="found size 30; wanted a multiple of 4"):
        measure_runtime(RuntimeOptions(bundle=make_bundle(tmp_path / "b"), size=30))
    assert list(temporary.iterdir()) == []


def test_a_temporary_folder_that_cannot_be_written(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(OutputError, match=r"cannot write a temporary folder \(No such file.*set TMPDIR"):
        measure_runtime(RuntimeOptions(bundle=make_bundle(tmp_path / "b")))


def test_a_command_that_fails_says_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"`getgan inspect` ended with exit code 1: .*nowhere"):
        run_getgan(tmp_path, "inspect", "nowhere.safetensors")


def test_a_worker_that_dies_says_how(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    arguments = [
        str(bundle),
        "32",
        "1",
        str(tmp_path / "face.npy"),
        "plain",
        str(bundle / "graphs/fp32.onnx"),
    ]
    with Worker("peer", arguments, tmp_path) as worker:
        worker.run()
        os.kill(worker.process.pid, signal.SIGKILL)
        with pytest.raises(DeviceError, match="the process of peer ended with -9"):
            worker.run()
    arguments[5] = str(tmp_path / "no.onnx")
    with (
        pytest.raises(DeviceError, match=r"the process of peer ended with 1: .*no\.onnx"),
        Worker("peer", arguments, tmp_path),
    ):
        pass


def test_a_distribution_that_is_not_installed_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no-such-thing is not installed by pip here; .*pip install"):
        measure_install("no-such-thing")


def test_an_installation_is_a_distribution_and_what_it_needs() -> None:
    found = measure_install("onnxruntime")
    sizes = {package.name: package.mb for package in found.packages}
    assert {"onnxruntime", "numpy", "protobuf"} <= sizes.keys() and "torch" not in sizes
    assert sizes["onnxruntime"] > 10 and found.mb == pytest.approx(sum(sizes.values()))
    assert [package.mb for package in found.packages] == sorted(sizes.values(), reverse=True)


# --- nothing is left over -------------------------------------------------------------------------------


def processes_with(text: str) -> list[str]:
    """Command lines of living processes with this text."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it is gone
            continue
        if text in line:
            found.append(line)
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds processes in /proc")
def test_ctrl_c_leaves_neither_process_nor_file(tmp_path: Path, temporary: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    code = (
        "from pathlib import Path\n"
        "from getgan.benchmarks.runtime import RuntimeOptions, measure_runtime\n"
        f"options = RuntimeOptions(bundle=Path({str(bundle)!r}), threads=1, rounds=500)\n"
        "measure_runtime(options, lambda what, share: print(what, flush=True))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "inferences in turn\n"
    assert list(temporary.iterdir()) and len(processes_with(f"{bundle} 32 1")) >= 2
    interrupt(process)
    assert processes_with(str(bundle)) == []
    assert list(temporary.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds processes in /proc")
def test_ctrl_c_ends_the_command_that_is_measured(tmp_path: Path) -> None:
    arguments = ("bench", "train", "--size", "32", "--ngf", "2", "--threads", "1", "--rounds", "987654")
    code = (
        "from pathlib import Path\nfrom getgan.benchmarks.processes import run_getgan\n"
        f"run_getgan(Path({str(tmp_path)!r}), *{arguments!r})\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    measured = "-m getgan " + " ".join(arguments)  # of the launcher and of the command itself
    wait_until(lambda: len(processes_with(measured)) == 2)
    interrupt(process)
    assert processes_with(measured) == []


def interrupt(process: subprocess.Popen[str]) -> None:
    """Ctrl-C, for this process alone."""
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in said


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert true()


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds processes in /proc")
def test_a_worker_ends_when_nobody_is_there_to_ask(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    code = (
        "import os\nfrom pathlib import Path\nfrom getgan.benchmarks.latency import Worker\n"
        f"bundle, folder = {str(bundle)!r}, Path({str(tmp_path)!r})\n"
        "graph, face = bundle + '/graphs/fp32.onnx', str(folder / 'face.npy')\n"
        "with Worker('peer', [bundle, '32', '1', face, 'plain', graph], folder):\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -signal.SIGKILL
    wait_until(lambda: processes_with(str(bundle)) == [])
