"""A recording survives its writer: kill -9 costs its last moments, and a later run finds the rest."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from frame_helpers import picture, read_video, write_video

from getgan.errors import OutputError
from getgan.files import LEFTOVER_S
from getgan.runtime.media.encoding import CODECS, WRITE_SUFFIXES, codec_for
from getgan.runtime.media.outputs import plan_output
from getgan.runtime.media.recording import recover_recordings
from getgan.runtime.media.sources import open_source
from getgan.runtime.media.videowriter import VideoSink

WRITER = """
import os, sys
from pathlib import Path
import numpy as np
from getgan.runtime.media.frames import Frame
from getgan.runtime.media.sources import open_source
from getgan.runtime.media.videowriter import VideoSink
sink = VideoSink(Path(sys.argv[1]), 10.0)
noise = np.random.default_rng(0)
for n in range(int(sys.argv[2])):
    image = noise.integers(0, 255, (240, 320, 3), np.uint8)
    image[:60] = 5 * n
    sink.put(n / 10.0, image)
print("written", flush=True)
if sys.argv[3] == "wait":
    sys.stdin.read()
os.kill(os.getpid(), 9)
"""


def tree(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def make_old(folder: Path) -> None:
    """As if the files had lain there for a while."""
    then = time.time() - LEFTOVER_S - 1
    for path in folder.iterdir():
        os.utime(path, (then, then))


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".avi"])
def test_a_killed_recording_is_recovered(suffix: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / f"얼굴: a{suffix}"), "40", "now"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == -9 and done.stdout == "written\n", done.stderr
    assert [name.rpartition(".tmp.")[2] for name in tree(tmp_path)] == [f"얼굴: a{suffix}.avi"]
    assert recover_recordings(tmp_path) == []  # so young a file may be of a writer that has not locked it yet
    make_old(tmp_path)
    (told,) = recover_recordings(tmp_path)
    place = tmp_path / f"얼굴: a.recovered{suffix}"
    assert tree(tmp_path) == [place.name]
    frames = read_video(place)
    assert told == f"found a recording whose run was killed: its {len(frames)} frames are in {place}"
    assert len(frames) >= 30  # the last 256 kB were in a buffer
    assert all(abs(float(frame[:50].mean()) - 5 * n) < 6 for n, frame in enumerate(frames))
    assert recover_recordings(tmp_path) == []


def test_the_next_run_into_the_folder_recovers_it_and_says_so(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run([sys.executable, "-c", WRITER, str(out / "o.webm"), "40", "now"], capture_output=True)
    make_old(out)
    write_video(tmp_path / "clip.mp4", 5)
    source = open_source(str(tmp_path / "clip.mp4"))
    with contextlib.closing(source), contextlib.closing(plan_output(out, source)) as plan:
        (note,) = plan.notes
        assert note.startswith("found a recording whose run was killed: its ")
    assert tree(out) == ["o.recovered.webm"]


def test_names_that_are_no_unicode_are_told(tmp_path: Path) -> None:
    """OpenCV 5 ends the process with a segmentation fault over such a name."""
    sink = VideoSink(tmp_path / "\udce9.mp4", 10.0)
    with pytest.raises(OutputError, match=r"\\udce9\.mp4: its name is no UTF-8"):
        sink.put(0.0, picture())
    assert sink.close(keep=True).paths == ()
    (tmp_path / ".getgan-0123456789abcdef.tmp.\udce9.mp4.avi").write_bytes(b"RIFF")
    make_old(tmp_path)
    assert recover_recordings(tmp_path) == [] and len(tree(tmp_path)) == 1


def test_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "o.mp4"), "12", "wait"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == "written\n"
        make_old(tmp_path)
        before = tree(tmp_path)
        assert recover_recordings(tmp_path) == []
        assert tree(tmp_path) == before
        writer.communicate("")
    make_old(tmp_path)
    assert len(recover_recordings(tmp_path)) == 1
    assert tree(tmp_path) == ["o.recovered.mp4"]


def test_what_holds_no_frame_is_removed_and_strangers_stay(tmp_path: Path) -> None:
    hexes = "0123456789abcdef"
    (tmp_path / f".getgan-{hexes}.tmp.o.mp4.avi").write_bytes(b"RIFF")  # killed at its start
    (tmp_path / f".getgan-{hexes}.tmp.mp4").write_bytes(b"half a copy of a recording")
    strangers = [f".getgan-{hexes}.tmp.o.txt.avi", "o.avi", ".getgan-0.tmp.o.mp4.avi"]
    for name in strangers:
        (tmp_path / name).write_bytes(b"RIFF")
    make_old(tmp_path)
    (told,) = recover_recordings(tmp_path)
    assert told.startswith("removed a recording whose run was killed before its first frame")
    assert tree(tmp_path) == sorted(strangers)


def test_a_recovered_video_takes_a_free_name(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "o.mp4", 10.0)
    sink.put(0.0, picture())
    assert sink.close(keep=True).complaint == ""
    os.rename(tmp_path / "o.mp4", tmp_path / "o.recovered.mp4")
    before = (tmp_path / "o.recovered.mp4").read_bytes()
    subprocess.run([sys.executable, "-c", WRITER, str(tmp_path / "o.mp4"), "40", "now"], capture_output=True)
    make_old(tmp_path)
    assert len(recover_recordings(tmp_path)) == 1
    assert tree(tmp_path) == ["o.recovered-2.mp4", "o.recovered.mp4"]
    assert (tmp_path / "o.recovered.mp4").read_bytes() == before


@pytest.mark.parametrize("suffix", WRITE_SUFFIXES)
def test_the_container_holds_the_codec_that_is_named(suffix: str, tmp_path: Path) -> None:
    import cv2

    sink = VideoSink(tmp_path / f"o{suffix}", 10.0)
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    image = np.repeat(np.repeat(ramp[None, :, None], 48, 0), 3, 2)
    for n in range(30):
        sink.put(n / 10.0, np.roll(image, n, 1))
    assert sink.close(keep=True).complaint == ""
    capture = cv2.VideoCapture(str(tmp_path / f"o{suffix}"), cv2.CAP_FFMPEG)
    code = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode()
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 30 and abs(capture.get(cv2.CAP_PROP_FPS) - 10.0) < 0.01
    assert capture.set(cv2.CAP_PROP_POS_FRAMES, 17)  # it can be jumped about in
    done, frame = capture.read()
    capture.release()
    assert done and abs(frame.astype(int) - np.roll(image, 17, 1)).mean() < 6
    codec = codec_for(suffix)
    assert codec in CODECS[suffix]
    codes = {"H.264": "h264", "VP8": "VP80", "MPEG-4": "FMP4", "Motion JPEG": "MJPG"}
    assert code == codes[codec.name]
    assert codec_for(".webm").browser
