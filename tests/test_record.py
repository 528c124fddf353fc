"""Whose face a file shows: known by the input's hash, the bundle and the options, never by a name."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from frame_helpers import RECIPE, STAMP, FakePipeline, picture, run, write_folder, write_video
from PIL import Image as Pillow

from getgan.errors import ConfigError, DataError, OutputError
from getgan.files import LEFTOVER_S, remove_leftovers, temporary_beside, try_lock, write_bytes_atomic
from getgan.runtime.images import bytes_from_image, read_image, write_image
from getgan.runtime.media.frames import Frame, Pending, Pictures
from getgan.runtime.media.lock import OutputLock
from getgan.runtime.media.outputs import Views
from getgan.runtime.media.pngtext import add_texts, take_text
from getgan.runtime.media.record import DIGITAL_SOURCE_TYPE, Recipe, Stamp, made_of, png_with_record
from getgan.runtime.media.sinks import ImageFolderSink
from getgan.runtime.pipeline import Result
from getgan.runtime.summary import Failure, Summary

HELPER = Path(__file__).with_name("frame_helpers.py")
OTHER: dict[str, object] = {
    "getgan": "9",
    "bundle": "c" * 64,
    "precision": "bf16",
    "backend": "fake 2",
    "device": "cuda",
    "size": 64,
    "fit": "crop",
    "output_size": "network",
    "label": False,
    "threads": 2,
    "region": "1,2,3,4",
    "guard": "off",
}


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def patient(folder: Path, value: int) -> Path:
    """Scans of one patient, with the names that every machine gives."""
    for number in range(3):
        folder.mkdir(exist_ok=True)
        write_image(folder / f"IMG_{number}.png", picture(value + number))
    return folder


# --- another person's pictures --------------------------------------------------------------------------


def test_a_second_patient_of_the_same_names_never_passes_for_the_first(tmp_path: Path) -> None:
    first, second = patient(tmp_path / "a", 50), patient(tmp_path / "b", 150)
    run(first, tmp_path / "out")
    before = contents(tmp_path / "out")
    told: list[Failure] = []
    summary = run(second, tmp_path / "out", told=told)
    assert (summary.translated, summary.skipped, summary.failed, summary.exit_code) == (0, 0, 3, 1)
    assert all("is there already and is the face of another picture" in each.reason for each in told)
    assert contents(tmp_path / "out") == before
    again = run(first, tmp_path / "out")
    assert (again.skipped, again.exit_code) == (3, 0)
    replaced = run(second, tmp_path / "out", overwrite=True)
    assert (replaced.translated, replaced.exit_code) == (3, 0)
    assert int(read_image(tmp_path / "out" / "IMG_0.png")[0, 0, 0]) == 255 - 150


@pytest.mark.parametrize("field", Recipe.__struct_fields__)
def test_every_option_that_decides_a_pixel_is_compared(field: str, tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["a.png"])
    run(tmp_path / "in", tmp_path / "out")
    told: list[Failure] = []
    other = msgspec.structs.replace(RECIPE, **{field: OTHER[field]})
    summary = run(tmp_path / "in", tmp_path / "out", recipe=other, told=told)
    assert (summary.skipped, summary.failed) == (0, 1)
    assert f"was made with {field} " in told[0].reason and "--overwrite" in told[0].reason


def test_views_are_told_apart(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["a.png"])
    views: tuple[Views, ...] = ("output", "side-by-side")
    run(tmp_path / "in", tmp_path / "out", view=views[0])
    assert run(tmp_path / "in", tmp_path / "out", view=views[1]).failed == 1
    both = run(tmp_path / "in", tmp_path / "both", view="both")
    (tmp_path / "both" / "side-by-side" / "a.png").unlink()
    again = run(tmp_path / "in", tmp_path / "both", view="both")
    assert (both.translated, again.translated, again.failed) == (1, 1, 0)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_raw_scan_in_the_outputs_place_is_no_face(overwrite: bool, tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["a.png", "b.png", "c.png", "d.png"])
    run(tmp_path / "in", tmp_path / "made")
    out = tmp_path / "out"
    out.mkdir()
    write_image(out / "a.png", picture(7))  # a foreign picture
    face = (tmp_path / "made" / "b.png").read_bytes()
    (out / "b.png").write_bytes(face[:-20])  # cut off
    with Pillow.open(BytesIO(face)) as opened:  # another program's copy, which kept our text
        text = take_text(face, "getgan")
        assert text is not None
        plain = BytesIO()
        opened.save(plain, "PNG")
    (out / "c.png").write_bytes(add_texts(plain.getvalue(), {"getgan": text[0]}))
    (out / "d.png").symlink_to(tmp_path / "made" / "d.png")
    before = contents(out)
    told: list[Failure] = []
    summary = run(tmp_path / "in", out, overwrite=overwrite, told=told)
    assert (summary.translated, summary.skipped, summary.failed) == (0, 0, 4)
    assert all("not a file that getgan wrote and nobody changed" in each.reason for each in told)
    assert contents(out) == before


def test_a_file_that_appears_while_its_picture_is_made_stays(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["a.png"])

    class Slow(FakePipeline):
        def translate(self, frames: object, /) -> list[Result]:
            (tmp_path / "out" / "a.png").write_bytes(b"of somebody else")
            return super().translate(frames)  # type: ignore[arg-type]

    summary = run(tmp_path / "in", tmp_path / "out", Slow())
    assert (summary.translated, summary.failed) == (0, 1)
    assert (tmp_path / "out" / "a.png").read_bytes() == b"of somebody else"
    with pytest.raises(OutputError, match=r"File exists.*appeared meanwhile"):
        write_bytes_atomic(tmp_path / "out" / "a.png", b"new", replace=False)
    assert list(contents(tmp_path / "out")) == ["a.png"]


# --- labels ---------------------------------------------------------------------------------------------


def test_unlabelled_pictures_of_an_interrupted_overwrite_are_not_skipped(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", [f"{n}.png" for n in range(5)])
    unlabelled = msgspec.structs.replace(RECIPE, label=False)
    run(tmp_path / "in", tmp_path / "out", recipe=unlabelled)

    class Interrupted(FakePipeline):
        def translate(self, frames: object, /) -> list[Result]:
            if self.seen == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().translate(frames)  # type: ignore[arg-type]

    stopped = run(tmp_path / "in", tmp_path / "out", Interrupted(), overwrite=True)
    assert stopped.interrupted and stopped.translated == 2
    again = run(tmp_path / "in", tmp_path / "out")
    assert (again.skipped, again.failed) == (2, 3)
    assert "label False, wanted label True" in again.failures[0].reason
    done = run(tmp_path / "in", tmp_path / "out", overwrite=True)
    assert done.translated == 5 and run(tmp_path / "in", tmp_path / "out").skipped == 5


def test_an_input_that_fails_now_does_not_keep_its_old_face(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["a.png", "b.png", "c.png"])
    run(tmp_path / "in", tmp_path / "out")
    write_image(tmp_path / "in" / "a.png", picture(0))  # the guard refuses it
    (tmp_path / "in" / "b.png").write_bytes(b"no picture")
    told: list[Failure] = []
    summary = run(tmp_path / "in", tmp_path / "out", told=told)
    assert (summary.skipped, summary.failed, summary.refused) == (1, 2, 0)
    assert all("is the face of another picture" in each.reason for each in told)
    told.clear()
    summary = run(tmp_path / "in", tmp_path / "out", overwrite=True, told=told)
    assert (summary.translated, summary.failed, summary.refused) == (1, 1, 1)
    assert "the older a.png was removed" in told[0].reason
    assert "the older b.png was removed" in told[1].reason
    assert list(contents(tmp_path / "out")) == ["c.png"]
    assert summary.exit_code == 1


def test_what_lies_beside_a_removed_face_stays(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["a.png"])
    run(tmp_path / "in", tmp_path / "out")
    foreign = tmp_path / "out" / "a.png.getgan.json"
    foreign.write_text("of somebody")
    write_image(tmp_path / "in" / "a.png", picture(0))  # the guard refuses it now
    summary = run(tmp_path / "in", tmp_path / "out", overwrite=True)
    assert "the older a.png was removed" in summary.failures[0].reason
    assert list(contents(tmp_path / "out")) == [foreign.name]


def test_refusals_alone_have_their_own_exit_code(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["a.png"])
    write_image(tmp_path / "in" / "b.png", picture(0))
    summary = run(tmp_path / "in", tmp_path / "out")
    assert (summary.translated, summary.refused, summary.failed, summary.exit_code) == (1, 1, 0, 3)
    assert "1 translated, 1 refused (flat or broken)" in summary.text()
    assert json.loads(summary.to_json())["failures"][0]["refused"] is True


# --- what is in the file --------------------------------------------------------------------------------


def test_a_png_says_that_it_was_made_by_a_model_and_nothing_of_the_patient(tmp_path: Path) -> None:
    write_folder(tmp_path / "Kim^Minji", ["Kim^Minji.png"])
    run(tmp_path / "Kim^Minji", tmp_path / "out")
    path = tmp_path / "out" / "Kim^Minji.png"
    with Pillow.open(path) as opened:
        opened.load()
        texts = dict(opened.info)
        assert np.asarray(opened)[0, 0].tolist() == [205] * 3
    assert DIGITAL_SOURCE_TYPE in texts["XML:com.adobe.xmp"]
    assert texts["Comment"] == "AI-generated, not diagnostic"
    record = json.loads(texts["getgan"])
    assert record["ai_generated"] is True and record["recipe"]["label"] is True
    assert b"Kim" not in path.read_bytes() and str(tmp_path).encode() not in path.read_bytes()
    made = made_of(path)
    assert made is not None and made.input == record["input"]


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".tif"])
def test_other_kinds_have_their_record_beside_them(suffix: str, tmp_path: Path) -> None:
    write_folder(tmp_path, ["a.png", "b.png"])
    out = tmp_path / f"face{suffix}"
    run(tmp_path / "a.png", out)
    made = made_of(out)
    assert made is not None and made.frame == 0
    assert run(tmp_path / "a.png", out).skipped == 1
    assert run(tmp_path / "b.png", out).failed == 1
    assert run(tmp_path / "b.png", out, overwrite=True).translated == 1
    out.write_bytes(out.read_bytes() + b"\0")
    assert made_of(out) is None
    with pytest.raises(ConfigError, match="never overwritten"):
        run(tmp_path / "b.png", out, overwrite=True)


def test_a_video_has_its_record_beside_it(tmp_path: Path) -> None:
    write_video(tmp_path / "a.avi", 4)
    write_video(tmp_path / "b.avi", 5)
    run(tmp_path / "a.avi", tmp_path / "o.avi")
    made = made_of(tmp_path / "o.avi")
    assert made is not None and len(made.input) == 64
    run(tmp_path / "a.avi", tmp_path / "frames")
    told: list[Failure] = []
    (tmp_path / "b.avi").replace(tmp_path / "a.avi")  # another clip of that name
    summary = run(tmp_path / "a.avi", tmp_path / "frames", told=told)
    assert (summary.skipped, summary.failed, summary.translated) == (0, 4, 1)
    assert "the face of another picture" in told[0].reason


def test_a_video_does_not_replace_a_foreign_file_beside_it(tmp_path: Path) -> None:
    write_video(tmp_path / "a.avi", 4)
    foreign = tmp_path / "o.avi.getgan.json"
    foreign.write_text("of somebody")
    summary = run(tmp_path / "a.avi", tmp_path / "o.avi")
    assert "is no record of getgan's" in summary.stopped and summary.exit_code == 1
    assert foreign.read_text() == "of somebody" and (tmp_path / "o.avi").exists()


def test_texts_of_a_png() -> None:
    data = bytes_from_image(picture())
    marked = add_texts(data, {"a": "한글", "b": "x"})
    assert take_text(marked, "a") == ("한글", add_texts(data, {"b": "x"}))
    assert take_text(data, "a") is None
    assert take_text(marked + b"more", "a") is None
    assert take_text(marked[:-1], "a") is None
    assert take_text(add_texts(marked, {"a": "again"}), "a") is None
    decoded = cv2.imdecode(np.frombuffer(marked, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None and (decoded == picture()).all()


def test_a_record_that_was_altered_is_none(tmp_path: Path) -> None:
    data = png_with_record(bytes_from_image(picture()), STAMP.made("1" * 64, 0))
    path = tmp_path / "a.png"
    path.write_bytes(data)
    assert made_of(path) is not None
    assert Stamp(RECIPE).stands(path, "1" * 64, 0)
    with pytest.raises(DataError, match="another picture"):
        Stamp(RECIPE).stands(path, "", 0)  # a camera's frame is never a file's
    for place in range(0, len(data), 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert made_of(path) is None, place


# --- two runs at once, and runs that were killed --------------------------------------------------------


def slow_run(source: Path, output: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(HELPER), str(source), str(output), "0.05"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30.0
    while not (output / "1.png").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return process


def test_two_runs_do_not_write_into_one_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", [f"{n}.png" for n in range(100)])
    first = slow_run(tmp_path / "in", tmp_path / "out")
    try:
        with pytest.raises(ConfigError, match=rf"another getgan run \(process {first.pid}\) is writing into"):
            run(tmp_path / "in", tmp_path / "out")
        first.kill()  # its lock ends with it
    finally:
        first.communicate(timeout=30)
    summary = run(tmp_path / "in", tmp_path / "out")
    assert summary.skipped >= 1 and summary.skipped + summary.translated == 100
    assert sorted(contents(tmp_path / "out")) == sorted(contents(tmp_path / "in"))


def test_a_lock_is_let_go_of(tmp_path: Path) -> None:
    for output, folder in ((tmp_path, True), (tmp_path / ("x" * 250), False)):
        lock = OutputLock(output, folder=folder)
        with pytest.raises(ConfigError, match="another getgan run"):
            OutputLock(output, folder=folder)
        lock.close()
        lock.close()
        OutputLock(output, folder=folder).close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["sub/a.png"])
    folder = tmp_path / "out" / "sub"
    folder.mkdir(parents=True)
    old = time.time() - 2 * LEFTOVER_S
    left, alive, young = (temporary_beside(folder / "a.png") for _ in range(3))
    foreign = folder / ".getgan-notes.tmp"
    for path in (left, alive, young, foreign):
        path.write_bytes(b"half")
    for path in (left, alive, foreign):
        os.utime(path, (old, old))
    with open(alive, "rb") as writer:
        assert try_lock(writer)
        run(tmp_path / "in", tmp_path / "out")
        assert sorted(p.name for p in folder.iterdir()) == sorted(
            ["a.png", alive.name, young.name, foreign.name]
        )
    remove_leftovers(folder)
    assert not alive.exists() and young.exists() and foreign.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_between_two_frames(number: int, tmp_path: Path) -> None:
    write_folder(tmp_path / "in", [f"{n}.png" for n in range(20)])

    class Signalled(FakePipeline):
        def translate(self, frames: object, /) -> list[Result]:
            if self.seen == 2:
                os.kill(os.getpid(), number)
            return super().translate(frames)  # type: ignore[arg-type]

    before = signal.getsignal(number)
    summary: Summary = run(tmp_path / "in", tmp_path / "out", Signalled())
    assert (summary.translated, summary.interrupted, summary.exit_code) == (3, True, 130)
    assert len(contents(tmp_path / "out")) == 3
    assert signal.getsignal(number) == before


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """nohup lets a run outlive its terminal in this way."""
    write_folder(tmp_path / "in", [f"{n}.png" for n in range(5)])

    class Signalled(FakePipeline):
        def translate(self, frames: object, /) -> list[Result]:
            os.kill(os.getpid(), signal.SIGHUP)
            return super().translate(frames)  # type: ignore[arg-type]

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        summary = run(tmp_path / "in", tmp_path / "out", Signalled())
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (summary.translated, summary.exit_code) == (5, 0)


# --- clips among pictures -------------------------------------------------------------------------------


def clip(name: str, index: int, sha256: str = "c" * 64) -> Frame:
    return Frame(picture(60 + index), name, index, index / 10.0, sha256)


def test_a_clips_frame_and_a_picture_of_that_name_do_not_replace_each_other(tmp_path: Path) -> None:
    sink = ImageFolderSink(tmp_path, Stamp(RECIPE, overwrite=True), ["x.dcm", "x.dcm-000000.png"])
    with pytest.raises(DataError, match=r"is that of x.dcm-000000.png too"):
        sink.put(clip("x.dcm", 0), Pictures(picture(1)))
    other = ImageFolderSink(tmp_path, Stamp(RECIPE, overwrite=True))
    other.put(clip("x.dcm", 0), Pictures(picture(1)))
    with pytest.raises(DataError, match=r"is that of x.dcm too"):
        other.put(Frame(picture(), "x.dcm-000000.png", 0, sha256="d" * 64), Pictures(picture(2)))
    assert int(read_image(tmp_path / "x.dcm-000000.png")[0, 0, 0]) == 1


@pytest.mark.parametrize("overwrite", [False, True])
def test_frames_of_an_older_clip_do_not_stay_among_those_of_a_shorter_one(
    overwrite: bool, tmp_path: Path
) -> None:
    first = ImageFolderSink(tmp_path, STAMP)
    for index in range(5):
        first.put(clip("a.dcm", index), Pictures(picture(1)))
    (tmp_path / "a.dcm-000009.png").write_bytes(b"of somebody else")
    second = ImageFolderSink(tmp_path, Stamp(RECIPE, overwrite=overwrite))
    for index in range(2):
        frame = clip("a.dcm", index, "d" * 64)
        if overwrite:
            second.put(frame, Pictures(picture(2)))
        else:
            with pytest.raises(DataError, match="face of another picture"):
                second.put(frame, Pictures(picture(2)))
    second.close(keep=True)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [f"a.dcm-{n:06d}.png" for n in ((0, 1, 9) if overwrite else (0, 1, 2, 3, 4, 9))]


def test_a_clip_that_cannot_be_opened_any_more_keeps_no_frames(tmp_path: Path) -> None:
    stamp = Stamp(RECIPE, overwrite=True)
    before = ImageFolderSink(tmp_path, stamp)
    for index in range(3):
        before.put(clip("a.dcm", index), Pictures(picture(1)))
    sink = ImageFolderSink(tmp_path, stamp, ["a.dcm"])
    damaged = Pending("a.dcm", 0, None, picture)
    assert sink.lose(damaged, "frame lost") == "3 older frames of it were removed"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["shut/", "/etc/passwd.png", "../in/a.png", "a/../../b.png"])
def test_no_name_leads_out_of_the_output(name: str, tmp_path: Path) -> None:
    inside = tmp_path / "out"
    sink = ImageFolderSink(inside, Stamp(RECIPE, overwrite=True))
    lost = Pending(name, 0, None, picture)
    with pytest.raises(DataError, match="no picture's name below"):
        sink.has(lost)
    assert sink.lose(lost, "frame lost") == ""


def test_a_folder_that_cannot_be_read_costs_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "in", ["a.png", "shut.png"])
    (tmp_path / "in" / "shut").mkdir()
    walk = os.walk

    def refusing(top: Path, onerror: Callable[[OSError], None]) -> Iterator[tuple[str, list[str], list[str]]]:
        onerror(PermissionError(13, "Permission denied", str(top / "shut")))
        for place, folders, files in walk(top):
            folders[:] = [name for name in folders if name != "shut"]
            yield str(place), folders, files

    monkeypatch.setattr(os, "walk", refusing)
    for _ in range(2):
        told: list[Failure] = []
        summary = run(tmp_path / "in", tmp_path / "out", overwrite=True, told=told)
        assert (summary.translated, summary.failed) == (2, 1)
        assert told[0].name == "shut/" and "folder cannot be read" in told[0].reason
    assert sorted(contents(tmp_path / "out")) == ["a.png", "shut.png"]
    assert sorted(contents(tmp_path / "in")) == ["a.png", "shut.png"]


def test_an_overwritten_jpeg_is_never_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, ["a.png"])
    out = tmp_path / "face.jpg"
    run(tmp_path / "a.png", out)
    other = msgspec.structs.replace(RECIPE, size=64)
    written = write_bytes_atomic

    def killed_after_the_record(path: Path, data: bytes, *, replace: bool = True) -> None:
        written(path, data, replace=replace)
        raise SystemExit

    monkeypatch.setattr("getgan.runtime.media.sinks.write_bytes_atomic", killed_after_the_record)
    with pytest.raises(SystemExit):
        run(tmp_path / "a.png", out, overwrite=True, recipe=other)
    monkeypatch.undo()
    assert run(tmp_path / "a.png", out, overwrite=True, recipe=other).translated == 1
    foreign = tmp_path / "b.jpg.getgan.json"
    foreign.write_text("{}")
    summary = run(tmp_path / "a.png", tmp_path / "b.jpg")
    assert summary.failed == 1 and foreign.read_text() == "{}"
    assert "no record of getgan's" in summary.failures[0].reason


@pytest.mark.parametrize("way", ["symbolic", "hard", "text"])
def test_a_foreign_file_in_the_locks_place_is_not_touched(way: str, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("of somebody")
    lock = tmp_path / ".getgan.lock"
    if way == "text":
        lock = notes.replace(lock)
    else:
        lock.symlink_to(notes) if way == "symbolic" else lock.hardlink_to(notes)
    with pytest.raises(ConfigError, match="is no lock of getgan's"):
        OutputLock(tmp_path, folder=True)
    assert lock.read_text() == "of somebody"


def test_a_video_that_is_exchanged_while_it_is_read_ends_the_run(tmp_path: Path) -> None:
    write_video(tmp_path / "a.avi", 30)
    write_video(tmp_path / "b.avi", 30, size=(64, 48))

    class Exchanging(FakePipeline):
        def translate(self, frames: object, /) -> list[Result]:
            if self.seen == 5:
                (tmp_path / "a.avi").write_bytes((tmp_path / "b.avi").read_bytes())
            return super().translate(frames)  # type: ignore[arg-type]

    summary = run(tmp_path / "a.avi", tmp_path / "out", Exchanging())
    assert "was changed or replaced while it was read" in summary.stopped
    assert (summary.translated, summary.exit_code) == (6, 1)
    for path in (tmp_path / "out").iterdir():
        assert read_image(path).shape == (24, 32, 3)  # of the first clip, each of them


def test_a_pipe_or_bad_text_beside_a_picture_is_no_record(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg", picture())
    beside = tmp_path / "a.jpg.getgan.json"
    os.mkfifo(beside)
    assert made_of(tmp_path / "a.jpg") is None
    beside.unlink()
    beside.write_bytes(b'{"made_by": "\xff"}')
    assert made_of(tmp_path / "a.jpg") is None


def test_many_records_cost_no_memory(tmp_path: Path) -> None:
    data = add_texts(bytes_from_image(picture()), {"big": "x" * 4_000_000})
    for _ in range(60):
        data = add_texts(data, {"getgan": "{}"})
    tracemalloc.start()
    try:
        assert take_text(data, "getgan") is None
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


# --- rough edges: one file's fault is one file's --------------------------------------------------------


def test_an_output_that_cannot_be_written_costs_itself_alone(tmp_path: Path) -> None:
    long = "d" * 200
    write_folder(tmp_path / "in", ["1.png", "2.png", "x.jpg", "x.jpg.png/inner.png", "z.png"])
    (tmp_path / "out" / "2.png").mkdir(parents=True)
    deep = tmp_path / "in"
    for _ in range(12):  # with the output's longer name it passes 4,096 bytes, or the input's does
        deep = deep / long
    os.makedirs(deep, exist_ok=True)
    write_image(deep / "deep.png", picture(80))
    summary = run(tmp_path / "in", tmp_path / "out")
    assert not summary.stopped
    names = {failure.name for failure in summary.failures}
    assert "2.png" in names and ({"x.jpg", "x.jpg.png/inner.png"} & names)
    assert (tmp_path / "out" / "z.png").is_file() and (tmp_path / "out" / "1.png").is_file()
    assert summary.exit_code == 1


def test_an_input_whose_path_is_too_long_costs_itself_alone(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["a.png"])
    home = os.getcwd()
    place = tmp_path / "in"
    try:
        os.chdir(place)
        for _ in range(22):  # only by steps can one get there
            os.mkdir("e" * 200)
            os.chdir("e" * 200)
        Path("far.png").write_bytes(bytes_from_image(picture()))
    finally:
        os.chdir(home)
    summary = run(tmp_path / "in", tmp_path / "out")
    assert summary.translated >= 1 and not summary.stopped
    assert summary.failed == 1 and summary.exit_code == 1
