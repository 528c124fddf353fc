"""No command opens a connection, looks a name up, or writes where it was not asked to; CI is not set."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from backend_helpers import INSTALLED, needs_backend
from bundle_helpers import make_bundle, sample
from frame_helpers import mjpeg_server
from guard_helpers import make_guarded
from watch_helpers import Machine, Seen

from getgan.runtime.devices import library_version
from getgan.runtime.images import write_image
from getgan.runtime.media.videowriter import VideoSink

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINT = ROOT / "examples" / "getgan-64.safetensors"
SMALL = (
    "--set",
    "data.size=32",
    "--set",
    "data.count=4",
    "--set",
    "model.ngf=4",
    "--set",
    "optim.iterations=2",
)

needs_strace = pytest.mark.skipif(
    not shutil.which("strace"), reason="strace is not installed: apt install strace"
)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A bundle, one with a guard, a folder of pictures, a video."""
    folder = tmp_path / "inputs"
    make_bundle(folder / "bundle")
    make_guarded(folder / "guarded")
    (folder / "scans").mkdir()
    write_image(folder / "scans" / "a.png", sample())
    write_image(folder / "scans" / "b.jpg", sample(seed=1))
    clip = VideoSink(folder / "clip.avi", 10.0)
    for index in range(3):
        clip.put(index / 10.0, sample(seed=index))
    clip.close(keep=True)
    return folder


def check(seen: Seen, machine: Machine, codes: tuple[int, ...] = (0,)) -> None:
    assert seen.done.returncode in codes, seen.done.stderr
    assert seen.network == []
    check_files(seen, machine)


def check_files(seen: Seen, machine: Machine) -> None:
    caches = (machine.home / ".cache", machine.home / ".cache" / "getgan")  # docs/running.md names it
    # The last one is no file: a build tells the system to end it first when memory runs out.
    places = (machine.out, machine.tmp, Path("/dev/null"), caches[1], Path("/proc/self/oom_score_adj"))
    # A lock of multiprocessing's, which PyTorch's exporter imports: an empty file whose name is gone at once.
    files = [p for p in seen.files if not str(p).startswith("/dev/shm/sem.")]
    assert [p for p in files if p not in caches and not any(map(p.is_relative_to, places))] == []
    assert [p for p in seen.left if p not in caches and not p.is_relative_to(caches[1])] == []


# LoadGen writes its logs itself.
SCENARIO = ["--scenario", "SingleStream"] if library_version("mlcommons-loadgen") else []

GUARD_SHARE = ["--draws", "1", "--scans", "40", "--unseen", "1", "--pictures", "1", "--rounds", "0"]


def commands(inputs: Path, out: Path) -> dict[str, list[list[str | Path]]]:
    """Every command, by name, with what it needs before it."""
    bundle, exported = inputs / "bundle", out / "bundle"
    on_each: list[list[str | Path]] = [
        ["run", bundle, inputs / "scans", "-o", out / name, "--backend", name, "--precision", "fp32"]
        for name in INSTALLED
    ]
    return {
        "version": [["--version"], ["help", "running"]],
        "inspect": [["inspect", bundle], ["inspect", CHECKPOINT]],
        "faces": [
            ["faces", "-o", out / "sheet.png", "--size", "32", "--count", "1"],
            ["faces", "-o", out / "data", "--dataset", "--size", "32", "--count", "1"],
        ],
        "run": [
            *on_each,
            ["run", bundle, inputs / "clip.avi", "-o", out / "clip.mp4"],
        ],
        "doctor": [["doctor", bundle]],
        "drift": [
            ["run", inputs / "guarded", inputs / "scans", "-o", out / "cards"],
            ["drift", inputs / "guarded", inputs / "scans", "-o", out / "drift.html"],
            ["drift", inputs / "guarded"],
        ],
        "build": [
            ["build", bundle, "--store", out / "engines", "--size", "32x32", "--target", "tensorrt-rtx"],
            ["engines", "--store", out / "engines", "--remove-old"],
        ],
        "export": [["export", CHECKPOINT, "-o", exported, "--occlusion"], ["verify", exported, CHECKPOINT]],
        "train": [
            ["train", "-o", out / "train", "--no-guard", *SMALL],
            ["calibrate", out / "train" / "last.safetensors", "--faces", "40"],
        ],
        "evaluate": [["evaluate", CHECKPOINT, "-o", out / "page", "--scenes", "4", "--seeds", "0"]],
        "demo": [["demo", CHECKPOINT, "-o", out / "demo"]],
        "bench": [
            ["bench", "run", bundle, "--duration", "0.1", "--repeats", "1", "-o", out / "report", *SCENARIO],
            ["bench", "page", out / "report", "-o", out / "page.html"],
            ["bench", "compare", out / "report", out / "report"],
            ["bench", "runtime", bundle, "--rounds", "1"],
            ["bench", "train", "--size", "32", "--ngf", "4", "--rounds", "1"],
            ["bench", "recognise", "--size", "16", "--rounds", "1"],
            ["bench", "gpu", bundle],
            ["bench", "guard", CHECKPOINT, *GUARD_SHARE],
        ],
    }


def codes(command: list[str | Path]) -> tuple[int, ...]:
    """1 is a missed target of the benchmark, or no library that builds; 4 are cards: all is well here."""
    return {"bench": (0, 1), "build": (0, 1), "run": (0, 4), "demo": (0, 4)}.get(str(command[0]), (0,))


@needs_backend
@pytest.mark.parametrize("name", ["version", "inspect", "faces", "run", "doctor", "drift", "build"])
def test_as_python_sees_it(name: str, machine: Machine, inputs: Path) -> None:
    for command in commands(inputs, machine.out)[name]:
        check(machine.audited("-m", "getgan", *command), machine, codes(command))


@needs_strace
@needs_backend
@pytest.mark.slow
@pytest.mark.parametrize("name", list(commands(Path(), Path())))
def test_as_the_system_sees_it(name: str, machine: Machine, inputs: Path) -> None:
    for command in commands(inputs, machine.out)[name]:
        check(machine.traced("-m", "getgan", *command), machine, codes(command))


def test_every_command_is_in_the_list() -> None:
    from getgan.cli import app, bench

    listed = [command for group in commands(Path(), Path()).values() for command in group]
    names = {info.name or info.callback.__name__ for info in app.registered_commands if info.callback}
    assert names <= {command[0] for command in listed}
    assert {info.name for info in bench.registered_commands} == {c[1] for c in listed if c[0] == "bench"}


@needs_strace
@needs_backend
def test_a_stream_is_the_only_address(machine: Machine, inputs: Path) -> None:
    with mjpeg_server(5) as url:
        seen = machine.traced(
            "-m", "getgan", "run", inputs / "bundle", url, "-o", machine.out / "faces", alone=False
        )
    assert "camera-" in seen.done.stderr  # one flat colour is refused; it was read
    port = url.rpartition(":")[2].partition("/")[0]
    found = [line for line in seen.network if line.startswith("connect(")]
    assert found
    pattern = rf"connect\(.*sin_port=htons\({port}\), sin_addr=inet_addr\(\"127\.0\.0\.1\"\)"
    assert [line for line in found if not re.match(pattern, line)] == []
    assert {line.partition(",")[0] for line in seen.network if line.startswith("socket(")} == {
        "socket(AF_INET"
    }
    check_files(seen, machine)


@needs_strace
@needs_backend
def test_a_camera_that_is_not_there_is_looked_for_on_this_machine(machine: Machine, inputs: Path) -> None:
    check(
        machine.traced("-m", "getgan", "run", inputs / "bundle", "63", "-o", machine.out / "x"), machine, (1,)
    )


# --- the libraries ------------------------------------------------------------------------------------


def imported(machine: Machine, code: str, **environment: str) -> list[str]:
    """What `python -c code` leaves in an empty home and temporary folder, and what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=machine.environment | environment,
        cwd=machine.cwd,
        capture_output=True,
        text=True,
        check=True,
    )
    left = [path.name for place in (machine.home, machine.tmp) for path in place.rglob("*")]
    return left + done.stdout.split()


@pytest.mark.skipif("openvino" not in INSTALLED, reason="openvino is not installed")
def test_openvino_takes_its_stand_in(machine: Machine) -> None:
    code = "import getgan, openvino.tools.ovc as ovc; print(type(ovc.telemetry).__module__)"
    assert imported(machine, code) == ["openvino.tools.ovc.telemetry_stub"]


@pytest.mark.skipif("onnxruntime" not in INSTALLED, reason="onnxruntime is not installed")
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="this system does not list threads there")
@pytest.mark.parametrize("wish", ["", "0", "1"])
def test_onnx_runtime_has_no_thread_to_report_from(wish: str, machine: Machine) -> None:
    code = "import os, getgan, {}; print(len(os.listdir('/proc/self/task')))"
    without = imported(machine, code.format("numpy"))
    assert imported(machine, code.format("onnxruntime"), ORT_DISABLE_TELEMETRY=wish) == without


# --- the watch itself ---------------------------------------------------------------------------------

LEAK = (
    "import pathlib, socket\n"
    "pathlib.Path.home().joinpath('id').write_text('x')\n"
    "try:\n    socket.create_connection(('localhost', 9))\nexcept OSError:\n    pass\n"
)


def test_the_audit_sees_a_leak(machine: Machine) -> None:
    seen = machine.audited("-c", LEAK)
    assert seen.done.returncode == 0
    assert [line.split()[0] for line in seen.network] == ["socket.getaddrinfo"]  # refused, so no connect
    assert seen.files == seen.left == [machine.home / "id"]


@needs_strace
def test_strace_sees_a_leak(machine: Machine) -> None:
    seen = machine.traced("-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {LEAK!r}])")
    assert any(line.startswith("socket(AF_INET") for line in seen.network)
    assert any(line.startswith("connect(") for line in seen.network)
    assert machine.home / "id" in seen.files and seen.left == [machine.home / "id"]
