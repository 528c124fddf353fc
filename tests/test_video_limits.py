"""What a video costs is bounded by the size that it states: it is decoded in a process with limits."""

from __future__ import annotations

import gc
import os
import signal
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from frame_helpers import arrived, picture, run, write_video

from getgan.errors import DataError
from getgan.runtime.images import bytes_from_image
from getgan.runtime.media.sources import open_source
from getgan.runtime.media.video import VideoFile
from getgan.runtime.worker import Worker


def grey_jpeg(height: int, width: int) -> bytes:
    """All blocks of all three channels alike, two bits for each: 16,000x16,000 pixels are 3 MB."""

    def segment(marker: int, data: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data

    one_code = bytes([1, *[0] * 15, 0])  # the bit 0 means: no change, and nothing follows
    return (
        b"\xff\xd8"
        + segment(0xDB, bytes([0, *[1] * 64]))
        + segment(0xC0, struct.pack(">BHHB", 8, height, width, 3) + b"\1\x11\0\2\x11\0\3\x11\0")
        + segment(0xC4, b"\x00" + one_code + b"\x10" + one_code)
        + segment(0xDA, b"\3\1\0\2\0\3\0\0\x3f\0")
        + bytes(3 * (height // 8) * (width // 8) // 4)
        + b"\xff\xd9"
    )


def avi(path: Path, frames: list[bytes], side: int, codec: bytes = b"MJPG") -> Path:
    """Encoded frames in a container that states side x side pixels, 10 frames per second."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)

    about = struct.pack("<14I", 100_000, 0, 0, 0, len(frames), 0, 1, 0, side, side, 0, 0, 0, 0)
    stream = (
        b"vids" + codec + struct.pack("<10I4H", 0, 0, 0, 1, 10, 0, len(frames), 0, 0, 0, 0, 0, side, side)
    )
    form = struct.pack("<IiiHH4s5I", 40, side, side, 1, 24, codec, side * side * 3, 0, 0, 0, 0)
    head = chunk(b"avih", about) + chunk(b"LIST", b"strl" + chunk(b"strh", stream) + chunk(b"strf", form))
    body = b"movi" + b"".join(chunk(b"00dc", frame) for frame in frames)
    path.write_bytes(chunk(b"RIFF", b"AVI " + chunk(b"LIST", b"hdrl" + head) + chunk(b"LIST", body)))
    return path


def memory_mb(source: VideoFile) -> int:
    """The most that the process of its decoder had."""
    lines = Path(f"/proc/{child_of(source)}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) >> 10


def child_of(source: VideoFile) -> int:
    process = source._decoder._worker._process
    assert process is not None
    return process.pid


def ended(process: int) -> bool:
    deadline = time.monotonic() + 10.0
    while Path(f"/proc/{process}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not Path(f"/proc/{process}").exists()


@pytest.mark.parametrize("codec", [b"MJPG", b"MPNG"])
def test_frames_far_above_the_stated_size_are_lost_and_the_others_are_not(
    codec: bytes, tmp_path: Path
) -> None:
    """Without limits FFmpeg took 810 MB for these JPEGs, 1,530 for the PNGs, and three seconds for each."""
    kind = ".jpg" if codec == b"MJPG" else ".png"
    small, bomb = bytes_from_image(picture(90, 64, 64), kind), grey_jpeg(16_000, 16_000)
    if codec == b"MPNG":  # states the size, and lacks the rest
        start = small.index(b"IHDR") + 4
        bomb = small[:start] + struct.pack(">II", 16_000, 16_000) + small[start + 8 :]
    source = VideoFile(avi(tmp_path / "a.avi", [small, small, bomb, bomb, small], 64, codec))
    found = []
    for pending in arrived(source):
        try:
            found.append(round(float(pending.read().mean()) / 10))
        except DataError as error:
            assert "frame cannot be decoded" in str(error)
            found.append(0)
    assert found == [9, 9, 0, 0, 9]
    assert memory_mb(source) < 400
    source.close()


def test_frames_of_the_stated_size_are_decoded_however_large(tmp_path: Path) -> None:
    frames = [grey_jpeg(4_000, 4_000)] * 3
    source = VideoFile(avi(tmp_path / "a.avi", frames, 4_000))
    assert [pending.read().shape for pending in arrived(source)] == [(4_000, 4_000, 3)] * 3
    source.close()


def test_a_decoder_that_dies_ends_the_video_and_what_came_before_is_kept(tmp_path: Path) -> None:
    write_video(tmp_path / "a.avi", 12)
    source = open_source(str(tmp_path / "a.avi"))
    assert isinstance(source, VideoFile)
    frames = arrived(source)
    assert next(frames).read().shape == (24, 32, 3)
    os.kill(child_of(source), signal.SIGKILL)
    with pytest.raises(DataError, match=r"a\.avi: its decoder broke down, or a frame cost far more"):
        list(frames)
    source.close()


def test_one_that_nobody_wants_any_more_ends(tmp_path: Path) -> None:
    write_video(tmp_path / "a.avi", 3)
    for close in (True, False):
        source = VideoFile(tmp_path / "a.avi")
        process = child_of(source)
        if close:
            source.close()
            source.close()
        del source
        gc.collect()
        assert ended(process)


def test_frames_that_are_there_already_are_not_even_decoded(tmp_path: Path) -> None:
    write_video(tmp_path / "a.avi", 6)
    assert run(tmp_path / "a.avi", tmp_path / "out").translated == 6
    (tmp_path / "out" / "a.avi-000003.png").unlink()
    summary = run(tmp_path / "a.avi", tmp_path / "out")
    assert (summary.translated, summary.skipped) == (1, 5)
    again = VideoFile(tmp_path / "a.avi")
    levels = [int(pending.read().mean()) for pending in arrived(again) if pending.index in (1, 2, 4)]
    again.close()
    assert np.allclose(levels, [30, 50, 90], atol=4)


@pytest.mark.parametrize(
    "answer",
    ["exec('while True: pass')", "__import__('time').sleep(60)", "({}, bytearray(1 << 28))", "1 / 0"],
)
def test_a_worker_that_hangs_or_takes_too_much_ends(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "from getgan.runtime.worker import serve\n"
        f"def answer(request, data): return (request, data) if data else {answer}\n"
        "serve(answer, memory=1 << 27, busy_seconds=0.2)"
    )
    monkeypatch.setattr("getgan.runtime.worker.START", program)
    worker = Worker("")
    for _ in range(2):  # and the next request starts another
        assert worker.ask({"a": 1}, b"data") == ({"a": 1, "bytes": 4}, b"data")
        with pytest.raises(EOFError):
            worker.ask({})
    worker.close()


def test_what_a_library_prints_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import os\n"
        "from getgan.runtime.worker import serve\n"
        "def answer(request, data):\n"
        "    os.write(1, b'5\\n')\n"
        "    print({'bytes': 10**15})\n"
        "    return request, data\n"
        "serve(answer, memory=1 << 27, busy_seconds=5)"
    )
    monkeypatch.setattr("getgan.runtime.worker.START", program)
    worker = Worker("")
    for _ in range(2):
        assert worker.ask({"a": 1}, b"data") == ({"a": 1, "bytes": 4}, b"data")
    worker.close()
