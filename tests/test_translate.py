"""A whole run: what fails costs itself alone, what is written is whole, what is missing is done next time."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from backend_helpers import needs_backend
from bundle_helpers import make_bundle, sample
from frame_helpers import (
    FakePipeline,
    Picture,
    mjpeg_server,
    open_sink,
    picture,
    read_video,
    run,
    write_folder,
    write_video,
)

from getgan.errors import ConfigError, DataError, DeviceError
from getgan.runtime.bundle import Bundle
from getgan.runtime.images import read_image, write_image
from getgan.runtime.media.frames import Pending
from getgan.runtime.media.plate import BACKGROUND
from getgan.runtime.media.sidebyside import GAP
from getgan.runtime.media.sources import open_source
from getgan.runtime.media.video import VideoFile
from getgan.runtime.pipeline import Pipeline, Result
from getgan.runtime.session import open_session
from getgan.runtime.summary import Failure, Progress, Stages, ranges
from getgan.runtime.translate import translate

HELPER = Path(__file__).with_name("frame_helpers.py")


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# --- folders --------------------------------------------------------------------------------------------


def test_a_folder_is_mirrored(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["2.png", "10.png", "얼굴/a.jpg"])
    progress: list[Progress] = []
    summary = run(tmp_path / "in", tmp_path / "out", progress=progress)
    assert tree(tmp_path / "out") == ["10.png", "2.png", "얼굴/a.jpg.png"]
    assert read_image(tmp_path / "out" / "2.png")[0, 0, 0] == 255 - 50
    assert (summary.translated, summary.skipped, summary.failed, summary.exit_code) == (3, 0, 0, 0)
    assert [p.done for p in progress] == [1, 2, 3]
    assert progress[0].total == 3 and progress[0].rate > 0 and progress[0].eta is not None
    assert progress[-1].eta == 0


def test_bad_files_cost_themselves_alone(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["1.png", "3.png", "5.jpg"])
    (tmp_path / "in" / "2.png").write_bytes((tmp_path / "in" / "1.png").read_bytes()[:-30])  # cut off
    (tmp_path / "in" / "4.png").write_bytes(b"%PDF-1.7 no picture")  # renamed
    (tmp_path / "in" / "6.jpg").write_bytes((tmp_path / "in" / "1.png").read_bytes())  # renamed, and sound
    (tmp_path / "in" / "7\n.png").touch()
    write_image(tmp_path / "in" / "8.png", picture(0))  # the guard refuses its picture
    told: list[Failure] = []
    summary = run(tmp_path / "in", tmp_path / "out", told=told)
    assert tree(tmp_path / "out") == ["1.png", "3.png", "5.jpg.png", "6.jpg.png"]
    assert [failure.name for failure in told] == ["2.png", "4.png", "7\\n.png", "8.png"]
    reasons = ("cut off", "is no image that getgan reads", "empty file", "all NaN")
    assert [failure.refused for failure in told] == [False, False, False, True]
    for failure, reason in zip(told, reasons, strict=True):
        assert reason in failure.reason and "\n" not in failure.reason
    assert (summary.translated, summary.failed, summary.refused) == (4, 3, 1)
    assert (summary.frames, summary.exit_code) == (8, 1)
    assert summary.failures == tuple(told)
    assert json.loads(summary.to_json())["failures"][0]["name"] == "2.png"


def test_names_that_are_no_unicode_are_translated_and_reported(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["a.png"])
    os.rename(tmp_path / "in" / "a.png", os.fsencode(tmp_path / "in") + b"/\xe9.png")
    (tmp_path / "in" / "bad\udcff.png").touch()
    summary = run(tmp_path / "in", tmp_path / "out")
    assert os.listdir(os.fsencode(tmp_path / "out")) == [b"\xe9.png"]
    assert summary.failures[0].name == "bad\\udcff.png"
    summary.to_json().encode()
    summary.text().encode()


def test_the_second_run_does_what_is_missing(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["1.png", "2.png", "3.png"])
    run(tmp_path / "in", tmp_path / "out")
    (tmp_path / "out" / "2.png").unlink()
    (tmp_path / "out" / "3.png").unlink()
    pipeline = FakePipeline()
    summary = run(tmp_path / "in", tmp_path / "out", pipeline)
    assert (summary.translated, summary.skipped, pipeline.seen, summary.exit_code) == (2, 1, 2, 0)
    again = run(tmp_path / "in", tmp_path / "out", pipeline, overwrite=True)
    assert (again.translated, again.skipped) == (3, 0)
    nothing = run(tmp_path / "in", tmp_path / "out")
    assert (nothing.translated, nothing.skipped, nothing.rate) == (0, 3, 0.0)
    assert "3 skipped" in nothing.text() and "median" not in nothing.text()


def test_one_image_to_one_file(tmp_path: Path) -> None:
    write_folder(tmp_path, ["a.bmp"])
    summary = run(tmp_path / "a.bmp", tmp_path / "deep" / "face.jpg", view="side-by-side")
    assert summary.translated == 1
    assert read_image(tmp_path / "deep" / "face.jpg").shape == (24, 64 + GAP, 3)


def test_times_and_rate_are_of_translated_frames(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["1.png", "2.png", "3.png", "4.png"])
    run(tmp_path / "in" / "1.png", tmp_path / "out")
    start = time.perf_counter()
    summary = run(tmp_path / "in", tmp_path / "out", FakePipeline(0.05))
    took = time.perf_counter() - start
    assert 3 / took <= summary.rate <= 3 / 0.15
    stages = summary.stages
    assert (stages.pre, stages.network, stages.post) == (0.001, 0.9, 0.002)
    assert 0 < stages.decode < 0.05 and 0 < stages.encode < 0.5
    assert Stages(0.1, 0.1, 0.6, 0.1, 0.1).overhead == pytest.approx(0.4)
    assert "median ms: decode" in summary.text() and "network 900.0" in summary.text()


def test_a_backend_that_breaks_stops_the_run(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["1.png", "2.png", "3.png"])

    class Broken(FakePipeline):
        def translate(self, frames: object, /) -> list[Result]:
            if self.seen:
                raise DeviceError("the GPU fell off the bus; dmesg")
            return super().translate(frames)  # type: ignore[arg-type]

    summary = run(tmp_path / "in", tmp_path / "out", Broken())
    assert (summary.translated, summary.stopped) == (1, "the GPU fell off the bus; dmesg")
    assert summary.exit_code == 1 and "stopped: the GPU fell" in summary.text()
    assert tree(tmp_path / "out") == ["1.png"]


def test_a_frame_that_the_pipeline_does_not_take_is_one_failure(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["1.png", "2.png"])

    class Picky(FakePipeline):
        def translate(self, frames: object, /) -> list[Result]:
            self.seen += 1
            if self.seen == 1:
                raise DataError("found 1x1 pixels; wanted 8 or more")
            return super().translate(frames)  # type: ignore[arg-type]

    summary = run(tmp_path / "in", tmp_path / "out", Picky())
    assert (summary.translated, summary.failed) == (1, 1)


def test_a_bug_is_not_hidden(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", 3)

    class Buggy(FakePipeline):
        def translate(self, frames: object, /) -> list[Result]:
            if self.seen:
                raise ZeroDivisionError
            return super().translate(frames)  # type: ignore[arg-type]

    with pytest.raises(ZeroDivisionError):
        run(tmp_path / "clip.mp4", tmp_path / "out" / "o.mp4", Buggy())
    assert tree(tmp_path / "out") == ["o.partial.mp4", "o.partial.mp4.getgan.json"]


@needs_backend
def test_the_real_pipeline_translates_bad_and_good_files(tmp_path: Path) -> None:
    inputs = tmp_path / "in"
    inputs.mkdir()
    write_image(inputs / "1.png", sample(48, width=64))
    write_image(inputs / "2.jpg", sample(300, 1, width=200))
    write_image(inputs / "3-dot.png", picture(9, 1, 1))
    write_image(inputs / "4-long.png", picture(9, 3, 100_000))
    (inputs / "5.png").write_bytes(b"GIF89a")
    bundle = Bundle.open(make_bundle(tmp_path / "bundle"))
    with open_session(bundle, threads=1) as session:
        source = open_source(str(inputs))
        sink = open_sink(tmp_path / "out", source)
        summary = translate(source, sink, Pipeline(session, bundle.manifest.contract))
    assert {"1.png", "2.jpg.png"} <= set(tree(tmp_path / "out"))
    assert "5.png" in {failure.name for failure in summary.failures}
    assert summary.frames == 5 and not summary.stopped
    assert read_image(tmp_path / "out" / "2.jpg.png").shape[1] >= 200
    assert 0 < summary.stages.network < 1


# --- videos and cameras ---------------------------------------------------------------------------------


def test_a_video_becomes_a_video_or_pictures(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", 12)
    summary = run(tmp_path / "clip.mp4", tmp_path / "o.avi")
    assert (summary.translated, summary.exit_code) == (12, 0)
    frames = read_video(tmp_path / "o.avi")
    assert len(frames) == 12 and abs(float(frames[5].mean()) - (255 - 110)) < 5
    with pytest.raises(ConfigError, match=r"o.avi exists; wanted a new name, or --overwrite"):
        run(tmp_path / "clip.mp4", tmp_path / "o.avi")
    again = run(tmp_path / "clip.mp4", tmp_path / "o.avi", overwrite=True)
    assert (again.translated, again.skipped) == (12, 0)
    run(tmp_path / "clip.mp4", tmp_path / "frames")
    (tmp_path / "frames" / "clip.mp4-000003.png").unlink()
    resumed = run(tmp_path / "clip.mp4", tmp_path / "frames")
    assert (resumed.translated, resumed.skipped) == (1, 11)
    assert len(tree(tmp_path / "frames")) == 12


def test_a_video_that_is_cut_off_keeps_its_first_frames(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", 60, size=(160, 120))
    data = (tmp_path / "clip.avi").read_bytes()
    (tmp_path / "clip.avi").write_bytes(data[: len(data) // 2])
    summary = run(tmp_path / "clip.avi", tmp_path / "out" / "o.mp4")
    assert "is cut off or damaged after frame" in summary.stopped and summary.exit_code == 1
    assert len(read_video(tmp_path / "out" / "o.mp4")) == summary.translated > 5
    assert tree(tmp_path / "out") == ["o.mp4", "o.mp4.getgan.json"]


def test_refused_frames_of_a_video_are_plates_and_told_once(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", 9)

    class Blinking(FakePipeline):
        def translate(self, frames: object, /) -> list[Result]:
            (result,) = super().translate(frames)  # type: ignore[arg-type]
            return [Result(None, "all NaN", None, result.timings)] if 3 <= self.seen <= 5 else [result]

    told: list[Failure] = []
    summary = run(tmp_path / "clip.avi", tmp_path / "o.avi", Blinking(), told=told)
    assert (summary.translated, summary.refused, len(told), summary.exit_code) == (6, 3, 1, 3)
    assert [failure.name for failure in summary.failures] == [f"clip.avi frame {n}" for n in (2, 3, 4)]
    assert told[0].name == "clip.avi frame 2" and "frames without a picture: 2-4\n" in summary.text() + "\n"
    frames = read_video(tmp_path / "o.avi")
    assert [abs(float(frame[:4, :4].mean()) - BACKGROUND) < 3 for frame in frames] == [
        n in (2, 3, 4) for n in range(9)
    ]


def test_a_frame_that_cannot_be_decoded_shows_no_face_before_it(tmp_path: Path) -> None:
    """Frame 0 and frames 4 to 6 of the source cannot be had."""
    write_video(tmp_path / "clip.avi", 9)

    class Torn(VideoFile):
        def __iter__(self) -> Iterator[Pending]:
            for pending in super().__iter__():
                torn = pending.index in (0, 4, 5, 6)
                yield replace(pending, read=self._torn) if torn else pending

        def _torn(self) -> Picture:
            raise DataError("frame cannot be decoded; copy the file again")

    told: list[Failure] = []
    source = Torn(tmp_path / "clip.avi")
    sink = open_sink(tmp_path / "o.avi", source)
    summary = translate(source, sink, FakePipeline(), on_failure=told.append)
    assert (summary.translated, summary.failed, len(told)) == (5, 4, 2)
    assert "frames without a picture: 0, 4-6" in summary.text()
    frames = read_video(tmp_path / "o.avi")
    shown = [abs(float(frame[:4, :4].mean()) - BACKGROUND) >= 3 for frame in frames]
    assert shown == [n not in (0, 4, 5, 6) for n in range(9)]
    assert all(abs(float(frames[n].mean()) - (245 - 20 * n)) < 5 for n in range(9) if shown[n])


def test_a_camera_drops_frames_and_what_it_saw_is_kept_when_it_goes(tmp_path: Path) -> None:
    with mjpeg_server(40, fps=50.0) as url:
        summary = run(url, tmp_path / "out" / "o.avi", FakePipeline(0.1), timeout=2.0)
    assert "went away after 40 frames" in summary.stopped and summary.exit_code == 1
    assert summary.dropped >= 20 and 3 <= summary.translated <= 15
    assert 35 <= summary.translated + summary.dropped <= 40
    # 40 frames in 0.8 s, at the 25 per second that such a stream states: the clock is kept.
    assert 12 <= len(read_video(tmp_path / "out" / "o.avi")) <= 45
    assert f"{summary.dropped} dropped" in summary.text()


def test_two_runs_of_a_camera_do_not_meet(tmp_path: Path) -> None:
    with mjpeg_server(4, fps=20.0) as url:
        first = run(url, tmp_path / "out", timeout=2.0)
    time.sleep(1.0)  # the name holds the second
    with mjpeg_server(4, fps=20.0) as url:
        second = run(url, tmp_path / "out", timeout=2.0)
    assert second.skipped == 0
    assert len(tree(tmp_path / "out")) == first.translated + second.translated


def test_many_gaps_are_told_in_few_words() -> None:
    assert ranges([0, 4, 5, 6, 9]) == "0, 4-6, 9"
    text = ranges(range(0, 1000, 2))
    assert text.startswith("0, 2, 4") and text.endswith("38, and more")


# --- full disks -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_stops_with_one_line(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["1.png"])
    generator = np.random.default_rng(0)
    for n in (2, 3, 4):
        write_image(tmp_path / "in" / f"{n}.png", generator.integers(1, 255, (64, 64, 3), np.uint8))
    told: list[Failure] = []
    with file_size_limit(4096):
        summary = run(tmp_path / "in", tmp_path / "out", told=told)
    assert tree(tmp_path / "out") == ["1.png"]
    assert "cannot write" in summary.stopped and "File too large" in summary.stopped
    assert (summary.translated, summary.failed, told, summary.exit_code) == (1, 0, [], 1)
    resumed = run(tmp_path / "in", tmp_path / "out")
    assert (resumed.translated, resumed.skipped, resumed.exit_code) == (3, 1, 0)


def test_a_full_disk_keeps_what_can_be_read_of_a_video(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_video(tmp_path / "clip.avi", 40, size=(160, 120))
    for suffix in (".mp4", ".avi"):
        with file_size_limit(8192):
            summary = run(tmp_path / "clip.avi", tmp_path / "out" / f"o{suffix}")
        found = re.search(
            r"is not whole: only (\d+) of 40 frames can be read back, and are in", summary.stopped
        )
        assert found and summary.exit_code == 1, summary.stopped
        assert len(read_video(tmp_path / "out" / f"o{suffix}")) == int(found[1]) > 0
    assert capfd.readouterr().err == ""


# --- Ctrl-C ---------------------------------------------------------------------------------------------


def interrupted(
    source: Path | str, output: Path, ready: Path, number: int, *, later: float = 0.0
) -> subprocess.CompletedProcess[str]:
    """Start a run with 0.1 s per picture, and send it a signal as soon as `ready` exists, or `later` (s)."""
    command = [sys.executable, str(HELPER), str(source), str(output), "0.1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20.0
    while not list(ready.parent.glob(ready.name)) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(later)
    process.send_signal(number)
    out, err = process.communicate(timeout=10.0)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_in_the_middle_of_a_folder(number: int, tmp_path: Path) -> None:
    write_folder(tmp_path / "in", [f"{n}.png" for n in range(60)])
    done = interrupted(tmp_path / "in", tmp_path / "out", tmp_path / "out" / "2.png", number)
    assert done.returncode == 130, done.stderr
    assert done.stderr == ""
    assert "interrupted: what is written is whole" in done.stdout
    written = tree(tmp_path / "out")
    assert 3 <= len(written) < 60 and not [name for name in written if name.startswith(".")]
    for name in written:
        assert read_image(tmp_path / "out" / name).shape == (24, 32, 3)
    summary = run(tmp_path / "in", tmp_path / "out")
    assert (summary.skipped, summary.translated) == (len(written), 60 - len(written))


def test_a_stop_in_a_video_leaves_its_first_part_and_in_a_camera_what_it_saw(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", 200)
    out = tmp_path / "out"
    done = interrupted(tmp_path / "clip.avi", out / "o.avi", out / ".getgan-*.avi", signal.SIGINT)
    assert (done.returncode, done.stderr, tree(out)) == (
        130,
        "",
        ["o.partial.avi", "o.partial.avi.getgan.json"],
    )
    assert "o.avi was not finished: its first" in done.stdout and read_video(out / "o.partial.avi")
    for path in out.iterdir():
        path.unlink()
    with mjpeg_server(1000) as url:
        done = interrupted(url, out / "cam.avi", out / ".getgan-*.avi", signal.SIGINT, later=0.5)
    assert (done.returncode, done.stderr, tree(out)) == (130, "", ["cam.avi", "cam.avi.getgan.json"])
    assert read_video(out / "cam.avi")


def test_a_stop_while_a_camera_is_silent(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with mjpeg_server(8, then="hang") as url:
        start = time.monotonic()
        done = interrupted(url, out, out / "camera-*.png", signal.SIGINT)
    assert done.returncode == 130, done.stderr
    assert time.monotonic() - start < 5.0  # the reader still waits for the camera
    assert done.stderr == "" and 1 <= len(tree(out)) <= 8
