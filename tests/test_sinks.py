"""Pictures that land where the input says, never on each other, never on the input, never half."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from frame_helpers import (
    RECIPE,
    STAMP,
    mjpeg_server,
    open_sink,
    picture,
    read_video,
    run,
    write_folder,
    write_video,
)

from getgan.errors import ConfigError, DataError, OutputError
from getgan.runtime.images import read_image
from getgan.runtime.media.encoding import codec_for
from getgan.runtime.media.frames import Frame, Pending, Pictures
from getgan.runtime.media.outputs import Views
from getgan.runtime.media.plate import BACKGROUND, plate
from getgan.runtime.media.record import Stamp
from getgan.runtime.media.sidebyside import GAP, side_by_side
from getgan.runtime.media.sinks import ImageFolderSink, output_name
from getgan.runtime.media.sources import ImageFiles, open_source
from getgan.runtime.media.video import VideoFile
from getgan.runtime.media.videowriter import HOLD_S, Closed, VideoSink


def still(name: str, value: int = 50) -> Frame:
    return Frame(picture(value), name, 0, sha256=f"{value:064x}")


def moment(index: int, fps: float = 10.0, value: int = 50) -> Frame:
    return Frame(picture(value), "clip.mp4", index, index / fps)


def moment_lost(index: int, fps: float = 10.0) -> Pending:
    return Pending("clip.mp4", index, index / fps, picture)


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
        sink.put(still(name), Pictures(picture(number)))
        assert sink.has(pending(still(name)))
    assert tree(tmp_path) == sorted(output_name(name) for name in names)
    assert [int(read_image(tmp_path / output_name(name))[0, 0, 0]) for name in names] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("first", "second"), [("a.jpg", "a.jpg.png"), ("A.png", "a.png"), ("\u00e9.png", "e\u0301.png")]
)
def test_two_inputs_for_one_output_are_told(first: str, second: str, tmp_path: Path) -> None:
    sink = ImageFolderSink(tmp_path, STAMP, [first, second])
    sink.put(still(first), Pictures(picture()))
    with pytest.raises(DataError, match=r"is that of .* too; rename one of the two"):
        sink.put(still(second), Pictures(picture()))
    assert len(tree(tmp_path)) == 1


def test_a_name_that_becomes_too_long_is_that_files_trouble(tmp_path: Path) -> None:
    sink = ImageFolderSink(tmp_path, STAMP)
    frame = still("x" * 250 + ".jpg")
    assert not sink.has(pending(frame))
    with pytest.raises(DataError, match="too long; rename it"):
        sink.put(frame, Pictures(picture()))
    assert tree(tmp_path) == []


def test_frames_of_a_video_get_numbers(tmp_path: Path) -> None:
    sink = ImageFolderSink(tmp_path, STAMP)
    sink.put(moment(3), Pictures(picture()))
    sink.lose(pending(moment(12)), "refused")
    assert tree(tmp_path) == ["clip.mp4-000003.png"]


def test_side_by_side_has_one_height() -> None:
    both = side_by_side(picture(10, 24, 32), picture(200, 48, 48), whole=False)
    assert both.shape == (48, 64 + GAP + 48, 3)
    assert (both[:, :64] == 10).all() and (both[:, 64 + GAP :] == 200).all()
    assert side_by_side(picture(1, 1, 1), picture(2, 64, 64), whole=True).shape == (64, 64 + GAP + 64, 3)


def test_both_views_of_a_folder_a_file_and_a_video(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["a.png"])
    write_video(tmp_path / "clip.mp4")
    for source, output in (
        (ImageFiles(tmp_path / "in"), tmp_path / "out"),
        (ImageFiles(tmp_path / "in" / "a.png"), tmp_path / "one" / "b.jpg"),
    ):
        sink = open_sink(output, source, view="both")
        sink.put(still("a.png"), Pictures(picture()))
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
    sink.put(moment(0), Pictures(picture()))
    sink.close(keep=True)
    assert tree(tmp_path / "v") == [
        "o-side-by-side.avi",
        "o-side-by-side.avi.getgan.json",
        "o.avi",
        "o.avi.getgan.json",
    ]


def test_all_views_hold_the_map_of_what_hides_the_face(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["a.png"])
    write_video(tmp_path / "clip.mp4", 3)
    run(tmp_path / "in", tmp_path / "out", view="all")
    assert tree(tmp_path / "out") == ["occlusion/a.png", "output/a.png", "side-by-side/a.png"]
    shown = read_image(tmp_path / "out" / "occlusion" / "a.png")
    assert shown.shape[1] >= 216 and shown[0, 0].tolist() == [50, 50, 50]  # large enough for its label
    plain = msgspec.structs.replace(RECIPE, label=False)
    run(tmp_path / "in" / "a.png", tmp_path / "map.png", view="occlusion", recipe=plain)
    assert (read_image(tmp_path / "map.png") == 50).all()
    run(tmp_path / "clip.mp4", tmp_path / "v" / "o.avi", view="all")
    assert {"o.avi", "o-side-by-side.avi", "o-occlusion.avi"} <= set(tree(tmp_path / "v"))
    assert run(tmp_path / "in", tmp_path / "out", view="all").skipped == 1


def test_a_bundle_without_a_map_says_so(tmp_path: Path) -> None:
    frame, stamp = still("a.png"), Stamp(RECIPE, "occlusion")
    with pytest.raises(DataError, match="bundle exported with --occlusion"):
        ImageFolderSink(tmp_path, stamp).put(frame, Pictures(picture()))
    assert tree(tmp_path) == []


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
        ("o.wmv", video, "cannot write a video as .wmv; wanted one of .mp4"),
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
def test_a_file_of_somebody_else_is_never_overwritten(view: Views, overwrite: bool, tmp_path: Path) -> None:
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


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize(("height", "width"), [(24, 32), (25, 33), (1, 1)])
def test_a_video_is_written_whole_and_in_its_size(
    suffix: str, height: int, width: int, tmp_path: Path
) -> None:
    path = tmp_path / f"o{suffix}"
    sink = VideoSink(path, 10.0)
    for n in range(12):
        sink.put(moment(n).time, picture(20 * n, height, width))
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
        sink.put(moment(0).time, picture())
    sink.close(keep=True)
    assert tree(tmp_path) == []


def test_colours_of_a_video_stay(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "o.avi", 10.0)
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 255
    sink.put(moment(0).time, red)
    sink.close(keep=True)
    (source,) = [item.read() for item in VideoFile(tmp_path / "o.avi")]
    assert source[..., 0].mean() > 240 and source[..., 1:].mean() < 15


PLATE = BACKGROUND  # the grey of a frame without a face; its words are thin in so small a video


def levels(path: Path) -> list[int]:
    """The grey of each frame's corner, to the nearest multiple of 20, and PLATE for that of a plate."""
    corners = [float(frame[:4, :4].mean()) for frame in read_video(path)]
    return [PLATE if abs(level - PLATE) < 3 else round(level / 20) * 20 for level in corners]


def test_a_video_keeps_time(tmp_path: Path) -> None:
    """A slow camera's frames are shown until the next; two in one place cost one; a plate is no face."""
    sink = VideoSink(tmp_path / "o.avi", 10.0)
    sink.lose(0.0, "refused")
    for seconds, value in ((0.2, 100), (0.5, 200), (0.51, 60)):
        sink.put(seconds, picture(value))
    sink.lose(0.8, "refused")
    sink.put(1.0, picture(220))
    assert sink.close(keep=True) == Closed((tmp_path / "o.avi",))
    shown = levels(tmp_path / "o.avi")
    assert shown == [PLATE, PLATE, 100, 100, 100, 200, 60, 60, PLATE, PLATE, 220]


def test_a_silent_camera_shows_nobody(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "o.avi", 10.0)
    sink.put(0.0, picture(100))
    sink.put(2.5, picture(200))
    sink.close(keep=True)
    held = round(HOLD_S * 10)
    assert levels(tmp_path / "o.avi") == [100] * held + [PLATE] * (25 - held) + [200]


def test_the_plates_before_the_first_face_say_why(tmp_path: Path) -> None:
    """Nothing for 0.2 s, then lost, then refused twice: three plates of three kinds, and then the face."""
    sink = VideoSink(tmp_path / "o.avi", 10.0)
    for place, words in ((2, "frame lost"), (3, "refused"), (4, "refused")):
        sink.lose(moment_lost(place).time, words)
    sink.put(moment(5).time, picture(220, 120, 320))
    sink.close(keep=True)
    frames = [frame.astype(int) for frame in read_video(tmp_path / "o.avi")]
    refused, lost = (plate(words, 120, 320).astype(int) for words in ("refused", "frame lost"))
    for frame, wanted, other in zip(
        frames, [lost] * 3 + [refused] * 2, [refused] * 3 + [lost] * 2, strict=False
    ):
        assert 2 * abs(frame - wanted).mean() < abs(frame - other).mean()
    assert len(frames) == 6 and frames[5].mean() > 200


def test_a_plate_is_dark_and_its_words_can_be_read() -> None:
    for height, width in ((256, 256), (480, 640), (24, 32)):
        card = plate("refused", height, width)
        assert card.shape == (height, width, 3) and card.dtype == np.uint8
        assert card[0, 0].tolist() == [BACKGROUND] * 3
    assert plate("refused", 2, 2).shape == (2, 2, 3)
    words = plate("refused", 256, 256)
    assert words.max() > 200 and 0.005 < (words > 150).mean() < 0.1
    assert (words != plate("frame lost", 256, 256)).any()


def test_a_change_of_size_is_scaled(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "o.avi", 10.0)
    sink.put(moment(0).time, picture(90, 24, 32))
    sink.put(moment(1).time, picture(90, 48, 64))
    sink.close(keep=True)
    assert [frame.shape for frame in read_video(tmp_path / "o.avi")] == [(24, 32, 3)] * 2


def test_a_video_that_was_stopped_is_kept_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "o.partial.mp4").write_bytes(b"of yesterday")
    sink = VideoSink(tmp_path / "o.mp4", 10.0)
    for n in range(7):
        sink.put(moment(n).time, picture(20 * n))
    assert len(tree(tmp_path)) == 2
    closed = sink.close(keep=False)
    place = tmp_path / "o.partial-2.mp4"
    assert closed.paths == (place,)
    assert closed.complaint == f"{tmp_path / 'o.mp4'} was not finished: its first 7 frames are in {place}"
    assert sink.close(keep=True) == Closed()
    assert tree(tmp_path) == ["o.partial-2.mp4", "o.partial.mp4"]
    assert len(read_video(place)) == 7
    assert (tmp_path / "o.partial.mp4").read_bytes() == b"of yesterday"


def test_both_views_of_a_stopped_video_are_told(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4")
    sink = open_sink(tmp_path / "v" / "o.avi", VideoFile(tmp_path / "clip.mp4"), view="both")
    sink.put(moment(0), Pictures(picture()))
    with pytest.raises(OutputError, match=r"in .*o\.partial\.avi; .* in .*o-side-by-side\.partial\.avi"):
        sink.close(keep=False)


class Lossy:
    """OpenCV's writer on a full disk: only so many frames get there, and it says nothing."""

    fourcc = cv2.VideoWriter.fourcc
    real = cv2.VideoWriter
    room = 4

    def __init__(self, *arguments: object) -> None:
        self._real = Lossy.real(*arguments)
        self._count = 0

    def write(self, image: np.ndarray) -> None:
        self._count += 1
        if self._count <= Lossy.room:
            self._real.write(image)

    def isOpened(self) -> bool:
        return bool(self._real.isOpened())

    def release(self) -> None:
        self._real.release()

    def set(self, what: int, value: float) -> None:
        self._real.set(what, value)


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_what_can_be_read_back_of_a_video_is_kept(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec_for(suffix)  # tried before the disk is full
    monkeypatch.setattr(cv2, "VideoWriter", Lossy)
    path = tmp_path / f"o{suffix}"
    sink = VideoSink(path, 10.0)
    for n in range(12):
        sink.put(moment(n).time, picture())
    closed = sink.close(keep=True)
    assert f"only 4 of 12 frames can be read back, and are in {path}; free space" in closed.complaint
    assert tree(tmp_path) == [f"o{suffix}"] and len(read_video(path)) == 4


def test_a_video_of_which_nothing_can_be_read_back_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "VideoWriter", Lossy)
    monkeypatch.setattr(Lossy, "room", 0)
    sink = VideoSink(tmp_path / "o.avi", 10.0)
    sink.put(moment(0).time, picture())
    closed = sink.close(keep=True)
    assert closed.paths == () and "none of 1 frames can be read back; free space in" in closed.complaint
    assert tree(tmp_path) == []


def test_a_recording_without_room_for_its_copy_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = VideoSink(tmp_path / "o.mp4", 10.0)
    for n in range(5):
        sink.put(moment(n).time, picture(20 * n))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    closed = sink.close(keep=True)
    assert closed.paths == (tmp_path / "o.avi",)
    assert f"o.mp4 could not be made: all 5 frames are in {tmp_path / 'o.avi'}" in closed.complaint
    assert tree(tmp_path) == ["o.avi"] and len(read_video(tmp_path / "o.avi")) == 5


def test_a_video_that_appeared_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "o.mp4", 10.0)
    sink.put(moment(0).time, picture())
    (tmp_path / "o.mp4").write_bytes(b"of somebody")
    closed = sink.close(keep=True)
    assert closed.paths == (tmp_path / "o-2.mp4",) and "o-2.mp4" in closed.complaint
    assert (tmp_path / "o.mp4").read_bytes() == b"of somebody"
    sink = VideoSink(tmp_path / "o.mp4", 10.0, may_replace=lambda: True)
    sink.put(moment(0).time, picture())
    assert sink.close(keep=True) == Closed((tmp_path / "o.mp4",))


def test_what_is_replaced_is_looked_at_in_the_end(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", 3)
    run(tmp_path / "clip.mp4", tmp_path / "o.avi")
    source = VideoFile(tmp_path / "clip.mp4")
    sink = open_sink(tmp_path / "o.avi", source, overwrite=True)
    sink.put(moment(0), Pictures(picture()))
    (tmp_path / "o.avi").write_bytes(b"of somebody")
    with pytest.raises(OutputError, match=r"are in .*o-2\.avi"):
        sink.close(keep=True)
    assert (tmp_path / "o.avi").read_bytes() == b"of somebody"


def test_a_long_name_is_recorded_too(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".mp4")
    sink = VideoSink(path, 10.0)
    sink.put(moment(0).time, picture())
    assert sink.close(keep=True) == Closed((path,))
    sink = VideoSink(path, 10.0)
    sink.put(moment(0).time, picture())
    with pytest.raises(OutputError, match=r"its frames are in .*\.tmp\.video\.mp4\.avi: rename it"):
        sink.close(keep=False)  # .partial does not fit
    assert len(tree(tmp_path)) == 2


def test_a_disk_that_is_nearly_full_stops_a_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = VideoSink(tmp_path / "o.avi", 10.0)
    sink.put(moment(0).time, picture())
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(OutputError, match="1,000 bytes are free, wanted 33,554,432"):
        for n in range(1, 60):
            sink.put(moment(n).time, picture())
    assert sink.close(keep=False).paths == (tmp_path / "o.partial.avi",)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_a_size_that_no_codec_takes(suffix: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sink = VideoSink(tmp_path / f"o{suffix}", 10.0)
    with pytest.raises(OutputError, match="as 100000x3 video; wanted a codec"):
        sink.put(moment(0).time, picture(1, 3, 100_000))
    sink.close(keep=False)
    assert tree(tmp_path) == []
    assert capfd.readouterr().err == ""
