"""Runs that are killed at random moments, again and again: nothing is lost, doubled or of another input.

Six kills in the quick tests; fifty for each kind of output with `pytest -m slow tests/test_kills.py`.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from frame_helpers import RECIPE, mjpeg_server, read_video, run, write_folder, write_video

from getgan.files import LEFTOVER_S
from getgan.runtime.images import read_image
from getgan.runtime.media.record import made_of

HELPER = Path(__file__).with_name("frame_helpers.py")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
FRAMES = 60

kills = pytest.mark.parametrize("count", [6, pytest.param(50, marks=pytest.mark.slow)])


def kill_one(source: Path | str, output: Path, chance: random.Random, *, camera: bool = False) -> int:
    """Start a run with 10 ms per picture and end it at a random moment; its exit code.

    camera: not before it records, since a run that was stopped before its first frame has no recording.
    """
    command = [sys.executable, str(HELPER), str(source), str(output), "0.01"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    # Half of the moments lie in the start, half in the work.
    deadline = time.monotonic() + 30.0
    pattern = f".getgan-*.{output.name}.avi" if camera else ".getgan*"
    if camera or chance.random() < 0.75:
        while not list(output.parent.rglob(pattern)) and time.monotonic() < deadline:
            time.sleep(0.005)
    time.sleep(chance.uniform(0.0, 0.5))
    process.send_signal(chance.choice(SIGNALS))
    _, errors = process.communicate(timeout=30)
    assert "Traceback" not in errors or "KeyboardInterrupt" in errors, errors
    return process.returncode


def age(folder: Path) -> None:
    """Make temporary files old enough for the next run to look at them."""
    old = time.time() - 2 * LEFTOVER_S
    for path in folder.rglob(".getgan-*"):
        os.utime(path, (old, old))


@kills
def test_a_folder(count: int, tmp_path: Path) -> None:
    write_folder(tmp_path / "in", [f"{n}.png" for n in range(FRAMES)])
    out, chance = tmp_path / "out", random.Random(count)
    for _ in range(count):
        kill_one(tmp_path / "in", out, chance)
        for path in out.glob("[0-9]*.png"):
            source = tmp_path / "in" / path.name
            made = made_of(path)
            assert made is not None and made.recipe == RECIPE, path
            assert made.input == hashlib.sha256(source.read_bytes()).hexdigest()
            assert (read_image(path) == 255 - read_image(source)).all()
        age(out)
        if len(list(out.glob("[0-9]*.png"))) == FRAMES:
            for path in out.glob("*[13579].png"):
                path.unlink()
    written = len(list(out.glob("*.png")))
    summary = run(tmp_path / "in", out)
    assert (summary.skipped, summary.translated, summary.exit_code) == (written, FRAMES - written, 0)
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in (tmp_path / "in").iterdir())


@kills
def test_a_video_into_pictures(count: int, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", FRAMES)
    out, chance = tmp_path / "out", random.Random(count)
    for _ in range(count):
        kill_one(tmp_path / "clip.avi", out, chance)
        for path in out.glob("clip*.png"):
            number, made = int(path.stem[-6:]), made_of(path)
            assert made is not None and made.frame == number, path
            shade = 255 - (20 * number % 240 + 10)
            assert abs(float(read_image(path).mean()) - shade) < 6
        age(out)
    written = len(list(out.glob("*.png")))
    summary = run(tmp_path / "clip.avi", out)
    assert (summary.skipped, summary.translated, summary.exit_code) == (written, FRAMES - written, 0)
    assert len(list(out.iterdir())) == FRAMES


@kills
def test_a_video_file(count: int, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", FRAMES)
    out, chance = tmp_path / "out" / "o.avi", random.Random(count)
    for _ in range(count):
        code = kill_one(tmp_path / "clip.avi", out, chance)
        whole = list(out.parent.glob("o.avi"))
        for path in whole:
            assert len(read_video(path)) == FRAMES
            assert code == -signal.SIGKILL or made_of(path) is not None
            path.unlink()
        for path in out.parent.glob("o.*.avi"):  # o.partial.avi, o.recovered.avi, ...
            assert_start_of_the_clip(path)
            path.unlink()
        age(out.parent)
    summary = run(tmp_path / "clip.avi", out, overwrite=True)
    assert (summary.translated, summary.exit_code) == (FRAMES, 0)
    assert not list(out.parent.glob(".getgan*"))


@kills
def test_a_camera(count: int, tmp_path: Path) -> None:
    chance = random.Random(count)
    folder = tmp_path / "out"
    kept = killed = 0
    for number in range(count):
        out = folder / f"cam-{number}.avi"
        with mjpeg_server(10_000, fps=200.0, noise=True) as url:
            code = kill_one(url, out, chance, camera=True)
        if code == 130:
            assert made_of(out) is not None and len(read_video(out)) >= 1
            kept += 1
        else:
            assert code == -signal.SIGKILL and not out.exists()
            (left,) = folder.glob(f".getgan-*.{out.name}.avi")
            killed += left.stat().st_size > 300_000  # the last 256 kB may have been in a buffer
        age(folder)
    with mjpeg_server(10, fps=100.0) as url:
        run(url, folder / "last.avi", timeout=1.0)
    assert not list(folder.glob(".getgan*"))
    recovered = list(folder.glob("*.recovered.avi"))
    assert len(recovered) >= killed
    for path in recovered:
        assert len(read_video(path)) >= 1
    assert kept and (killed or count < 50)


def assert_start_of_the_clip(path: Path) -> None:
    frames = read_video(path)
    assert frames
    for number, frame in enumerate(frames):
        assert abs(float(frame.mean()) - (255 - (20 * number % 240 + 10))) < 6, (path, number)
