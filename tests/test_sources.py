"""What an input argument means, and that a bad file costs itself alone."""

from __future__ import annotations

import itertools
import os
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from frame_helpers import arrived, mjpeg_server, picture, write_folder, write_video

from getgan.errors import ConfigError, DataError
from getgan.printing import one_line
from getgan.runtime.images import write_image
from getgan.runtime.media.camera import Camera
from getgan.runtime.media.encoding import count_frames
from getgan.runtime.media.sources import ImageFiles, open_source
from getgan.runtime.media.video import DEFAULT_FPS, VideoFile, _Clock, usable_fps


def one_line_error(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


# --- what an argument means -----------------------------------------------------------------------------


def test_an_existing_path_wins_over_a_camera_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "0", ["a.png"])
    monkeypatch.chdir(tmp_path)
    source = open_source("0")
    assert isinstance(source, ImageFiles)
    assert source.names == ["a.png"]
    with pytest.raises(DataError, match="camera 97 does not open"):
        open_source("97", timeout=1.0)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("gone.png", DataError, "no such file"),
        ("ftp://host/a.mp4", ConfigError, "found a ftp:// address; wanted one of rtsp"),
        ("http://host:99999/x", ConfigError, "impossible address"),
        ("rtsp://[host/x", ConfigError, "impossible address"),
        ("-1", DataError, "no such file"),
        ("", DataError, "no such file"),
        ("x" * 5000, DataError, "no such file"),
    ],
)
def test_what_it_cannot_mean(text: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        open_source(text)
    one_line_error(caught)


def test_other_files_are_refused(tmp_path: Path) -> None:
    for name in ("notes.txt", "scan.dcm", "noext"):
        (tmp_path / name).write_bytes(b"hello")
        with pytest.raises(DataError, match=r"wanted one of \.png"):
            open_source(str(tmp_path / name))
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(DataError, match="wanted one of"):
        open_source(str(tmp_path / "pipe.mp4"))
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(DataError, match="cannot be read"):
        open_source(str(tmp_path / "loop"))


def test_text_on_a_terminal_is_one_line() -> None:
    assert one_line("a\nb\x1b[2J\udcff ü") == "a\\nb\\x1b[2J\\udcff ü"


# --- folders --------------------------------------------------------------------------------------------


def test_a_folder_is_read_in_natural_order_with_its_subfolders(tmp_path: Path) -> None:
    names = ["b10.png", "b2.PNG", "얼굴/ü.jpg", "sub/deep/1.tiff", ".hidden/a.png", "._b2.png"]
    write_folder(tmp_path, names)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "folder.png").mkdir()
    source = ImageFiles(tmp_path)
    assert list(source.names) == ["b2.PNG", "b10.png", "sub/deep/1.tiff", "얼굴/ü.jpg"]
    frames = [pending.frame() for pending in arrived(source)]
    assert [frame.index for frame in frames] == [0] * 4  # each is the first of its file
    assert source.total == 4
    assert source.notes == ("left out as no images: notes.txt (1 in all)",)
    assert frames[0].image[0, 0].tolist() == [51, 51, 51]
    assert all(frame.image.dtype == np.uint8 and frame.image.shape == (24, 32, 3) for frame in frames)


def test_links_that_lead_in_circles_end(tmp_path: Path) -> None:
    write_folder(tmp_path, ["a.png", "sub/b.png"])
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    (tmp_path / "linked.png").symlink_to(tmp_path / "a.png")
    source = ImageFiles(tmp_path)
    assert list(source.names) == ["a.png", "linked.png", "self.png", "sub/b.png"]
    bad = next(pending for pending in source if pending.name == "self.png")
    with pytest.raises(DataError, match="no such file"):
        bad.read()


def test_an_empty_folder_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "scan.dcm").touch()
    with pytest.raises(DataError, match=r"holds no image \(1 other files\); wanted PNG, JPEG"):
        ImageFiles(tmp_path)


def test_an_unreadable_folder_is_a_failure_among_the_others(tmp_path: Path) -> None:
    write_folder(tmp_path, ["a.png", "shut/b.png"])
    (tmp_path / "shut").chmod(0)
    tmp_path.chmod(0o755)
    # As another user: root may read everything.
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from getgan.runtime.media.sources import ImageFiles\n"
        # The other user may not read Python itself.
        "from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "for pending in ImageFiles(Path(sys.argv[1])):\n"
        "    try: print(pending.name, pending.read().shape)\n"
        "    except Exception as error: print(type(error).__name__, error)\n"
    )
    for parent in tmp_path.parents:
        if "pytest-of-" in str(parent):
            parent.chmod(0o755)  # pytest's own folders are private
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True)
    (tmp_path / "shut").chmod(0o755)
    first, second = done.stdout.splitlines()
    assert first == "a.png (24, 32, 3)", done.stderr
    assert second.startswith("DataError") and "folder cannot be read (Permission denied)" in second


def huge_png(width: int, height: int) -> bytes:
    """A sound header and end with next to nothing between."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_sizes_at_both_ends(tmp_path: Path) -> None:
    write_image(tmp_path / "1-dot.png", picture(9, 1, 1))
    write_image(tmp_path / "2-long.png", picture(9, 3, 100_000))
    (tmp_path / "3-huge.png").write_bytes(huge_png(12_000, 12_000))
    dot, long, huge = ImageFiles(tmp_path)
    assert dot.read().shape == (1, 1, 3)
    assert long.read().shape == (3, 100_000, 3)
    with pytest.raises(DataError, match="found 12000x12000 pixels; wanted at most 25 megapixels"):
        huge.read()


# --- videos ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mov", ".mkv"])
def test_a_video_gives_its_frames_with_their_times(suffix: str, tmp_path: Path) -> None:
    write_video(tmp_path / f"clip{suffix}", 12, fps=10.0)
    source = open_source(str(tmp_path / f"clip{suffix}"))
    assert (source.total, source.fps, source.live) == (12, 10.0, False)
    frames = [pending.frame() for pending in arrived(source)]
    source.close()
    assert [frame.time for frame in frames] == pytest.approx([n / 10.0 for n in range(12)])
    assert {frame.name for frame in frames} == {f"clip{suffix}"}
    assert frames[0].image.shape == (24, 32, 3)
    assert abs(float(frames[5].image.mean()) - 110) < 4


def test_a_videos_colours_are_rgb(tmp_path: Path) -> None:
    red = np.zeros((24, 32, 3), np.uint8)
    red[..., 2] = 255  # BGR
    import cv2

    writer = cv2.VideoWriter(
        str(tmp_path / "a.avi"), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 5, (32, 24)
    )
    writer.write(red)
    writer.release()
    (frame,) = [pending.read() for pending in VideoFile(tmp_path / "a.avi")]
    assert frame[..., 0].mean() > 240 and frame[..., 2].mean() < 15


def test_a_video_that_is_cut_off_gives_what_it_has(tmp_path: Path) -> None:
    for suffix in (".avi", ".mkv"):
        path = tmp_path / f"clip{suffix}"
        write_video(path, 60, size=(160, 120))
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        read = 0
        with pytest.raises(DataError, match=r"cut off or damaged after frame \d+ of 60") as caught:
            for pending in VideoFile(path):
                assert pending.read().shape == (120, 160, 3)
                read += 1
        assert 5 < read < 57
        one_line_error(caught)


def test_a_video_goes_on_after_a_frame_that_cannot_be_decoded(tmp_path: Path) -> None:
    import cv2

    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 25, (160, 120))
    noise = np.random.default_rng(0)
    for n in range(60):
        image = noise.integers(0, 255, (120, 160, 3), np.uint8)
        image[:60] = 4 * n
        writer.write(image)
    writer.release()
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 6000] = bytes(6000)
    path.write_bytes(data)
    good, lost = [], []
    for pending in VideoFile(path):
        try:
            level = float(pending.read()[:50].mean())
        except DataError as error:
            assert "frame cannot be decoded" in str(error)
            lost.append(pending.index)
        else:
            good.append((pending.index, level))
        assert pending.time == pytest.approx(pending.index / 25)
    assert 1 <= len(lost) <= 3 and 15 < lost[0] < 45
    assert sorted([index for index, _ in good] + lost) == list(range(60))
    whole = [(index, level) for index, level in good if index < lost[0] - 2 or index > lost[-1] + 15]
    off = {index: level - 4 * index for index, level in whole if abs(level - 4 * index) > 6}
    assert not off and len(whole) > 25


def test_a_video_keeps_the_times_that_it_states() -> None:
    clock = _Clock(10.0)
    assert [clock.at(seconds) for seconds in (5.0, 5.1, 5.3, 8.3)] == pytest.approx([0.0, 0.1, 0.3, 3.3])
    assert clock.at(7.0) == pytest.approx(3.4)  # backwards
    assert clock.at(7.2) == pytest.approx(3.6)  # and on from there
    assert clock.at(90_000.0) == pytest.approx(3.7)  # hours of nothing
    assert clock.at(float("nan")) == pytest.approx(3.8)


def test_a_video_without_its_index_or_of_something_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_video(tmp_path / "cut.mp4")
    data = (tmp_path / "cut.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    (tmp_path / "renamed.mp4").write_bytes(b"hello" * 99)
    (tmp_path / "empty.avi").touch()
    for name in ("cut.mp4", "renamed.mp4", "empty.avi"):
        with pytest.raises(DataError, match="cannot be opened as a video") as caught:
            open_source(str(tmp_path / name))
        one_line_error(caught)
    assert capfd.readouterr().err == ""  # FFmpeg's own lines would hide ours


@pytest.mark.parametrize(
    "name", ["http:a.mp4", "concat:a.mp4|b.mp4", "a-%03d.mp4", "subfile,,:a.mp4", "-i.mp4"]
)
def test_a_name_is_a_name_and_no_protocol(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "clip.mp4", 5)
    os.rename(tmp_path / "clip.mp4", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    source = open_source(name)
    assert len([pending.read() for pending in arrived(source)]) == 5
    source.close()


def test_a_video_whose_name_is_no_unicode_is_told(tmp_path: Path) -> None:
    """OpenCV 5 ends the process with a segmentation fault over such a name."""
    write_video(tmp_path / "clip.mp4", 5)
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xe9.mp4")
    os.rename(tmp_path / "clip.mp4", name)
    with pytest.raises(DataError, match=r"\\udce9\.mp4: its name is no UTF-8.*rename it"):
        open_source(name)


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile neighbour.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\nneighbour.mp4\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n",
        '<?xml version="1.0"?><MPD type="static"><Period><AdaptationSet><Representation bandwidth="1">'
        "<BaseURL>neighbour.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 26\n",
    ],
)
def test_a_playlist_that_is_called_a_video_reads_nothing_else(text: str, tmp_path: Path) -> None:
    write_video(tmp_path / "neighbour.mp4", 5)
    asked: list[str] = []
    with mjpeg_server(5, paths=asked) as url:
        (tmp_path / "list.mp4").write_text(text.replace("{url}", url))
        with pytest.raises(DataError, match="cannot be opened as a video"):
            open_source(str(tmp_path / "list.mp4"))
        assert asked == []


def test_the_options_of_the_environment_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own go on working, but for the limits; and they are there again afterwards."""
    write_video(tmp_path / "clip.mp4", 5)
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "format_whitelist;concat|ignore_editlist;1")
    assert count_frames(tmp_path / "clip.mp4") == 5
    assert os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] == "format_whitelist;concat|ignore_editlist;1"
    monkeypatch.delenv("OPENCV_FFMPEG_CAPTURE_OPTIONS")
    assert count_frames(tmp_path / "clip.mp4") == 5
    assert "OPENCV_FFMPEG_CAPTURE_OPTIONS" not in os.environ


def test_a_stream_reads_no_file_of_this_machine(tmp_path: Path) -> None:
    """A list that a server sends names a file here, once as it is and once as a playlist."""
    write_video(tmp_path / "own.mp4", 5)
    for text in (
        f"ffconcat version 1.0\nfile file:{tmp_path}/own.mp4\n",
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\nfile://{tmp_path}/own.mp4\n#EXT-X-ENDLIST\n",
    ):
        with mjpeg_server(0, body=text.encode()) as url, pytest.raises(DataError, match="does not open"):
            open_source(url, timeout=2.0)


def test_a_rate_that_no_camera_has() -> None:
    assert [usable_fps(fps) for fps in (0.0, -1.0, 90_000.0, float("nan"))] == [DEFAULT_FPS] * 4
    assert usable_fps(29.97) == 29.97


# --- cameras --------------------------------------------------------------------------------------------


def test_the_newest_frame_wins() -> None:
    with mjpeg_server(100, fps=100.0) as url:
        camera = open_source(url, timeout=3.0)
        assert camera.live and camera.total is None
        indices, lags = [], []
        for pending in arrived(camera):
            time.sleep(0.1)  # a slow network
            frame = pending.frame()
            assert abs(float(frame.image.mean()) - (10 + frame.index)) < 3  # this very frame
            indices.append(frame.index)
            lags.append(frame.time)
            if len(indices) == 5:
                break
        camera.close()
    assert indices == sorted(set(indices))
    assert indices[-1] >= 12  # 0.4 s later: queued frames would give number 4
    assert camera.dropped >= indices[-1] - len(indices) + 1


def test_a_cameras_clock_starts_with_its_first_frame_in_use() -> None:
    with mjpeg_server(60, fps=50.0) as url:
        camera = open_source(url, timeout=3.0)
        time.sleep(0.4)  # a network is loaded
        first, second = itertools.islice(arrived(camera), 2)
        camera.close()
    assert first.time == 0.0 and first.index >= 8
    assert second.time is not None and 0.0 < second.time < 0.3
    assert camera.dropped <= 3


def test_a_camera_that_goes_away_says_so() -> None:
    with mjpeg_server(10) as url:
        camera = Camera(url, timeout=2.0)
        seen = 0
        with pytest.raises(DataError, match="went away after 10 frames; check the address") as caught:
            for _ in camera:
                seen += 1
        camera.close()
    assert seen >= 1
    one_line_error(caught)


def test_a_camera_that_falls_silent_is_given_up_after_the_timeout() -> None:
    with mjpeg_server(5, then="hang") as url:
        camera = Camera(url, timeout=0.7)
        start = time.monotonic()
        with pytest.raises(DataError, match=r"went away|sent nothing for 0\.7 s"):
            for _ in camera:
                pass
        assert time.monotonic() - start < 4.0
        camera.close()


def test_a_driver_that_hangs_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    over = threading.Event()

    class Stuck:
        def __init__(self, *_: object) -> None:
            over.wait(20.0)

        def isOpened(self) -> bool:
            return False

        def release(self) -> None:
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Stuck)
    start = time.monotonic()
    with pytest.raises(DataError, match=r"camera 0 did not open within 0.1 s"):
        Camera(0, timeout=0.1)
    assert time.monotonic() - start < 5.0
    over.set()


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://doctor:secret",
        "rtsp://doctor:secret@host:x/cam",
        "rtsp:/doctor:secret@host/cam",
        "doctor:secret@host/cam",
        "rtsp://doctor:secret@ho\u2100st/cam",
        "rtps://doctor:secret@host/cam",
        "rtsp://doctor:sec/ret@host/cam",
    ],
)
def test_a_password_in_a_mistyped_address_is_not_shown(text: str) -> None:
    with pytest.raises((ConfigError, DataError)) as caught:
        open_source(text, timeout=0.5)
    assert "sec" not in one_line_error(caught)


def test_what_opencv_says_of_an_address_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    def fail(where: str, *_: object) -> cv2.VideoCapture:
        raise cv2.error(f"cannot open {where}")

    monkeypatch.setattr(cv2, "VideoCapture", fail)
    with pytest.raises(DataError, match="stream rtsp://host: OpenCV failed") as caught:
        Camera("rtsp://doctor:secret@host/cam", timeout=0.5)
    assert "secret" not in one_line_error(caught)


def test_a_password_is_not_shown() -> None:
    with pytest.raises(DataError) as caught:
        open_source("rtsp://doctor:secret@127.0.0.1:9/cam?token=secret", timeout=1.0)
    assert "stream rtsp://127.0.0.1:9 does not open" in str(caught.value)
    assert "secret" not in str(caught.value)
