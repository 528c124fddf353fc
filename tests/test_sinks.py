"""Pictures that land where the input says, never on each other, never on the input, never half."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from frame_helpers import (
    STAMP,
    mjpeg_server,
    open_sink,
    picture,
    read_video,
    write_folder,
    write_video,
)

from getgan.errors import ConfigError, DataError, OutputError
from getgan.runtime.images import read_image
from getgan.runtime.media.frames import Frame, Pending
from getgan.runtime.media.sidebyside import GAP, side_by_side
from getgan.runtime.media.sinks import ImageFolderSink, View, output_name
from getgan.runtime.media.sources import ImageFiles, open_source
from getgan.runtime.media.video import VideoFile
from getgan.runtime.media.videowriter import VideoSink


def still(name: str, value: int = 50) -> Frame:
    return Frame(picture(value), name, 0, sha256=f"{value:064x}")


def moment(index: int, fps: float = 10.0, value: int = 50) -> Frame:
    return Frame(picture(value), "clip.mp4", index, index / fps)


def pending(frame: Frame) -> Pending:
    return Pending(frame.name, frame.index, frame.time, lambda: frame.image, lambda: frame.sha256)


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# --- image files ----------------------------------------------------------------------------------------


def test_names_that_share_a_stem_do_not_overwrite_each_other(tmp_path: Path) -> None:
    names = ["a.bmp", "a.jpg", "a.png", "a.tiff", "sub/a.png", "sub/얼굴.JPEG"]
    sink = ImageFolderSink(tmp_path, STAMP, names)
    for number, name in enumerate(names):
        assert not sink.has(pending(still(name)))
        sink.put(still(name), picture(number))
        assert sink.has(pending(still(name)))
    assert tree(tmp_path) == sorted(output_name(name) for name in names)
    assert [int(read_image(tmp_path / output_name(name))[0, 0, 0]) for name in names] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("first", "second"), [("a.jpg", "a.jpg.png"), ("A.png", "a.png"), ("\u00e9.png", "e\u0301.png")]
)
def test_two_inputs_for_one_output_are_told(first: str, second: str, tmp_path: Path) -> None:
    sink = ImageFolderSink(tmp_path, STAMP, [first, second])
    sink.put(still(first), picture())
    with pytest.raises(DataError, match=r"is that of .* too; rename one of the two"):
        sink.put(still(second), picture())
    assert len(tree(tmp_path)) == 1


def test_a_name_that_becomes_too_long_is_that_files_trouble(tmp_path: Path) -> None:
    sink = ImageFolderSink(tmp_path, STAMP)
    frame = still("x" * 250 + ".jpg")
    assert not sink.has(pending(frame))
    with pytest.raises(DataError, match="too long; rename it"):
        sink.put(frame, picture())
    assert tree(tmp_path) == []


def test_frames_of_a_video_get_numbers(tmp_path: Path) -> None:
    sink = ImageFolderSink(tmp_path, STAMP)
    sink.put(moment(3), picture())
    sink.lose(pending(moment(12)), "refused")
    assert tree(tmp_path) == ["clip.mp4-000003.png"]


def test_side_by_side_has_one_height() -> None:
    both = side_by_side(picture(10, 24, 32), picture(200, 48, 48))
    assert both.shape == (48, 64 + GAP + 48, 3)
    assert (both[:, :64] == 10).all() and (both[:, 64 + GAP :] == 200).all()
    assert side_by_side(picture(1, 1, 1), picture(2, 64, 64)).shape == (64, 64 + GAP + 64, 3)


def test_both_views_of_a_folder_a_file_and_a_video(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["a.png"])
    write_video(tmp_path / "clip.mp4")
    for source, output in (
        (ImageFiles(tmp_path / "in"), tmp_path / "out"),
        (ImageFiles(tmp_path / "in" / "a.png"), tmp_path / "one" / "b.jpg"),
    ):
        sink = open_sink(output, source, view="both")
        sink.put(still("a.png"), picture())
        sink.close(keep=True)
    assert tree(tmp_path / "out") == ["output/a.png", "side-by-side/a.png"]
    assert tree(tmp_path / "one") == [
        "b-side-by-side.jpg",
        "b-side-by-side.jpg.getgan.json",
        "b.jpg",
        "b.jpg.getgan.json",
    ]
    assert read_image(tmp_path / "out" / "side-by-side" / "a.png").shape == (24, 64 + GAP, 3)
    sink = open_sink(tmp_path / "v" / "o.avi", VideoFile(tmp_path / "clip.mp4"), view="both")
    sink.put(moment(0), picture())
    sink.close(keep=True)
    assert tree(tmp_path / "v") == [
        "o-side-by-side.avi",
        "o-side-by-side.avi.getgan.json",
        "o.avi",
        "o.avi.getgan.json",
    ]


# --- what an output argument means ----------------------------------------------------------------------


def test_an_output_that_does_not_fit_the_input(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["a.png", "b.png"])
    write_video(tmp_path / "clip.mp4")
    folder, video = ImageFiles(tmp_path / "in"), VideoFile(tmp_path / "clip.mp4")
    (tmp_path / "file").touch()
    for output, source, message in (
        ("o.mp4", folder, "wanted a folder"),
        ("o.png", folder, "for many pictures"),
        ("o.png", video, "for many pictures"),
        ("o.webm", video, "cannot write a video as .webm; wanted one of .mp4"),
        ("file", folder, "is a file; wanted a folder"),
        ("o.GIF", folder, "cannot write .GIF files; wanted a folder, or one of .png"),
    ):
        with pytest.raises(ConfigError, match=message):
            open_sink(tmp_path / output, source)
    (tmp_path / "dir.mp4").mkdir()
    assert isinstance(open_sink(tmp_path / "dir.mp4", folder), ImageFolderSink)  # what is there wins


@pytest.mark.parametrize("output", ["in", "in/out", "in/../in", "link", "link/out"])
def test_output_among_the_input_is_refused(output: str, tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["a.png"])
    (tmp_path / "link").symlink_to(tmp_path / "in")
    with pytest.raises(ConfigError, match="lies in the input folder"):
        open_sink(tmp_path / output, ImageFiles(tmp_path / "in"))
    assert tree(tmp_path / "in") == ["a.png"]


def test_an_output_folder_around_the_input(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["a.png"])
    open_sink(tmp_path, ImageFiles(tmp_path / "in"))
    write_folder(tmp_path / "in", ["in/a.png"])  # its output would be in/a.png
    with pytest.raises(ConfigError, match="lies in the input folder; wanted another"):
        open_sink(tmp_path, ImageFiles(tmp_path / "in"))
    write_folder(tmp_path / "output", ["a.png"])
    with pytest.raises(ConfigError, match="lies in the input folder"):
        open_sink(tmp_path, ImageFiles(tmp_path / "output"), view="both")


def test_a_file_is_not_its_own_output(tmp_path: Path) -> None:
    write_folder(tmp_path, ["a.png", "b-side-by-side.png"])
    write_video(tmp_path / "clip.mp4")
    image = ImageFiles(tmp_path / "a.png")
    for output in (tmp_path, tmp_path / "a.png", tmp_path / "x" / ".." / "a.png"):
        with pytest.raises(ConfigError, match="is the input"):
            open_sink(output, image)
    with pytest.raises(ConfigError, match="is the input"):
        open_sink(tmp_path / "clip.mp4", VideoFile(tmp_path / "clip.mp4"))
    with pytest.raises(ConfigError, match="is the input"):
        open_sink(tmp_path / "b.png", ImageFiles(tmp_path / "b-side-by-side.png"), view="both")


@pytest.mark.parametrize("view", ["output", "both"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_of_somebody_else_is_never_overwritten(view: View, overwrite: bool, tmp_path: Path) -> None:
    write_folder(tmp_path, ["a.png", "o.png"])
    source = ImageFiles(tmp_path / "a.png")
    before = (tmp_path / "o.png").read_bytes()
    with pytest.raises(ConfigError, match=r"o\.png exists, and is not a file that getgan wrote"):
        open_sink(tmp_path / "o.png", source, view=view, overwrite=overwrite)
    assert (tmp_path / "o.png").read_bytes() == before


def test_an_unwritable_output_is_found_before_the_work(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["a.png"])
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot write into .*file/out.*choose another folder"):
        open_sink(tmp_path / "file" / "out", ImageFiles(tmp_path / "in"))
    with pytest.raises(OutputError, match="cannot write into /proc"):
        open_sink(Path("/proc/out"), ImageFiles(tmp_path / "in"))


def test_a_cameras_video_never_overwrites_by_chance(tmp_path: Path) -> None:
    with mjpeg_server(5, then="hang") as url:
        camera = open_source(url, timeout=2.0)
        (tmp_path / "o.mp4").write_bytes(b"of yesterday")
        with pytest.raises(ConfigError, match="exists; wanted a new name"):
            open_sink(tmp_path / "o.mp4", camera)
        with pytest.raises(ConfigError, match="not a file that getgan wrote"):
            open_sink(tmp_path / "o.mp4", camera, overwrite=True)
        camera.close()


# --- videos ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mov", ".mkv"])
@pytest.mark.parametrize(("height", "width"), [(24, 32), (25, 33), (1, 1)])
def test_a_video_is_written_whole_and_in_its_size(
    suffix: str, height: int, width: int, tmp_path: Path
) -> None:
    path = tmp_path / f"o{suffix}"
    sink = VideoSink(path, 10.0)
    for n in range(12):
        sink.put(moment(n), picture(20 * n, height, width))
    assert not path.exists()
    sink.close(keep=True)
    frames = read_video(path)
    assert len(frames) == 12
    assert frames[0].shape == (height + height % 2, width + width % 2, 3)
    assert abs(float(frames[7].mean()) - 140) < 5
    assert tree(tmp_path) == [path.name]


def test_a_video_without_a_frame_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getgan.runtime.media.videowriter.MIN_FREE_BYTES", 1 << 62)
    sink = VideoSink(tmp_path / "o.avi", 10.0)
    with pytest.raises(OutputError, match="bytes are free"):
        sink.put(moment(0), picture())
    sink.close(keep=True)
    assert tree(tmp_path) == []


def test_colours_of_a_video_stay(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "o.avi", 10.0)
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 255
    sink.put(moment(0), red)
    sink.close(keep=True)
    (source,) = [item.read() for item in VideoFile(tmp_path / "o.avi")]
    assert source[..., 0].mean() > 240 and source[..., 1:].mean() < 15


def test_a_video_keeps_time(tmp_path: Path) -> None:
    """A slow camera's frames are shown until the next; two in one place cost one; a refused one is black."""
    sink = VideoSink(tmp_path / "o.avi", 10.0)
    sink.lose(Pending("c", 0, 0.0, picture), "refused")
    for seconds, value in ((0.2, 100), (0.5, 200), (0.51, 40)):
        sink.put(Frame(picture(), "c", 1, seconds), picture(value))
    sink.lose(Pending("c", 2, 0.8, picture), "refused")
    sink.put(Frame(picture(), "c", 3, 1.0), picture(220))
    sink.close(keep=True)
    shown = [round(float(frame.mean()) / 20) * 20 for frame in read_video(tmp_path / "o.avi")]
    assert shown == [0, 0, 100, 100, 100, 200, 40, 40, 0, 0, 220]


def test_a_change_of_size_is_scaled(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "o.avi", 10.0)
    sink.put(moment(0), picture(90, 24, 32))
    sink.put(moment(1), picture(90, 48, 64))
    sink.close(keep=True)
    assert [frame.shape for frame in read_video(tmp_path / "o.avi")] == [(24, 32, 3)] * 2


def test_a_video_that_is_not_kept_leaves_nothing(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "o.mp4", 10.0)
    sink.put(moment(0), picture())
    assert len(tree(tmp_path)) == 1
    sink.close(keep=False)
    sink.close(keep=True)
    assert tree(tmp_path) == []


def test_a_video_that_cannot_be_read_back_is_no_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lossy:  # OpenCV's writer on a full disk: it says nothing
        def __init__(self, *arguments: object) -> None:
            self._real = Real(*arguments)
            self._count = 0

        def write(self, image: np.ndarray) -> None:
            self._count += 1
            if self._count < 5:
                self._real.write(image)

        def isOpened(self) -> bool:
            return self._real.isOpened()

        def release(self) -> None:
            self._real.release()

        fourcc = cv2.VideoWriter.fourcc

    Real = cv2.VideoWriter
    monkeypatch.setattr(cv2, "VideoWriter", Lossy)
    sink = VideoSink(tmp_path / "o.avi", 10.0)
    for n in range(12):
        sink.put(moment(n), picture())
    with pytest.raises(OutputError, match="only 4 of 12 frames can be read back; free space"):
        sink.close(keep=True)
    assert tree(tmp_path) == []


def test_a_disk_that_is_nearly_full_stops_a_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = VideoSink(tmp_path / "o.avi", 10.0)
    sink.put(moment(0), picture())
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(OutputError, match="1,000 bytes are free, wanted 33,554,432"):
        for n in range(1, 60):
            sink.put(moment(n), picture())
    sink.close(keep=False)
    assert tree(tmp_path) == []


def test_a_size_that_no_codec_takes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sink = VideoSink(tmp_path / "o.mp4", 10.0)
    with pytest.raises(OutputError, match="as 100000x3 video; wanted a codec"):
        sink.put(moment(0), picture(1, 3, 100_000))
    sink.close(keep=False)
    assert tree(tmp_path) == []
    assert capfd.readouterr().err == ""
