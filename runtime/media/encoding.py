"""How video is encoded here, and how it gets from the recording into its container, undecoded.

While a video is made it is an AVI file, because that can be read up to its end after its writer was killed:
an .mp4 without its last bytes, the index, cannot be read at all. At the end its packets are copied into the
container that was asked for; the pictures stay bit for bit what they were.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from getgan.errors import OutputError
from getgan.runtime.media.capture import open_video, quiet_opencv, quiet_stderr
from getgan.runtime.media.frames import Image

if TYPE_CHECKING:
    import cv2

RECORDING_SUFFIX = ".avi"
WEBP_MAX_SIDE = 16383
WEBP_QUALITY = 80  # 36 dB on a noisy face, 8 kB at 256x256; half the bytes of OpenCV's own VP8


@dataclass(frozen=True)
class Codec:
    """One way to encode, with its names in an AVI file and in the container."""

    name: str
    recording: str  # fourcc
    container: str  # fourcc
    browser: bool  # whether browsers play it in this container


H264 = Codec("H.264", "H264", "avc1", browser=True)
VP8 = Codec("VP8", "VP80", "VP80", browser=True)
MPEG4 = Codec("MPEG-4", "mp4v", "mp4v", browser=False)
MJPEG = Codec("Motion JPEG", "MJPG", "MJPG", browser=False)
# The first that works is taken. H.264 is in no wheel of OpenCV, but in many systems' own packages. VP9 in
# .mp4 would be in the wheels, but OpenCV has no setting for its speed: 70 ms of one core per frame of
# 256x256 and 340 ms of 640x480, beside 14 ms for a fast network. MPEG-4 takes 0.8 and 4 ms, VP8 as below
# 5.5 and 24 ms.
CODECS: dict[str, tuple[Codec, ...]] = {
    ".mp4": (H264, MPEG4),
    ".mov": (H264, MPEG4),
    ".webm": (VP8,),
    ".mkv": (H264, MPEG4),
    ".avi": (MJPEG,),
}
WRITE_SUFFIXES = tuple(CODECS)


class WebpEncoder:
    """A cv2.VideoWriter of VP8 out of key frames alone, each the body of a WebP picture.

    Three times as fast as OpenCV's own VP8 encoder with half the bytes, and every frame can be jumped to.
    """

    def __init__(self, writer: cv2.VideoWriter) -> None:
        self._writer = writer

    def write(self, image: Image) -> None:
        """One more frame, BGR uint8 (H, W, 3) of even sides; a full disk is not told."""
        import cv2

        done, data = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, WEBP_QUALITY])
        if not done:
            raise OutputError(f"cannot encode {image.shape[1]}x{image.shape[0]} pixels as VP8; try .mp4")
        self._writer.set(cv2.VIDEOWRITER_PROP_KEY_FLAG, 1)
        # One row: of a column OpenCV 4 takes the first byte alone.
        self._writer.write(np.frombuffer(_vp8_of_webp(data.tobytes()), np.uint8)[None])

    def release(self) -> None:
        """End the file."""
        self._writer.release()


def open_encoder(
    path: Path, codec: Codec, fps: float, size: tuple[int, int]
) -> cv2.VideoWriter | WebpEncoder | None:
    """An encoder into a recording; size is (width, height). None if OpenCV cannot."""
    import cv2

    if codec is VP8 and max(size) > WEBP_MAX_SIDE:
        return None
    raw = [cv2.VIDEOWRITER_PROP_RAW_VIDEO, 1] if codec is VP8 else []
    writer = _writer(path, codec.recording, fps, size, raw)
    if writer is not None and codec is VP8:
        return WebpEncoder(writer)
    return writer


@lru_cache(maxsize=len(CODECS))
def codec_for(suffix: str) -> Codec:
    """The best codec that really works here for a container: the others are tried by writing a few frames."""
    candidates = CODECS[suffix]
    for codec in candidates[:-1]:
        if _works(codec, suffix):
            return codec
    return candidates[-1]


def copy_packets(recording: Path, target: Path, codec: Codec) -> None:
    """A recording's frames into another container, without decoding; OutputError if OpenCV cannot.

    What it lost on the way is for the caller to count: OpenCV does not tell.
    """
    import cv2

    capture = open_video(recording)
    capture.set(cv2.CAP_PROP_FORMAT, -1)  # packets, not pictures
    size = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    rate = capture.get(cv2.CAP_PROP_FPS)
    raw = [cv2.VIDEOWRITER_PROP_RAW_VIDEO, 1]
    writer = _writer(target, codec.container, rate, size, raw)
    if writer is None:
        capture.release()
        raise OutputError(f"cannot write {codec.name} as {target.suffix}; try .avi, and getgan doctor")
    try:
        while True:
            done, packet = capture.read()
            if not done or packet is None:
                return
            writer.set(cv2.VIDEOWRITER_PROP_KEY_FLAG, capture.get(cv2.CAP_PROP_LRF_HAS_KEY_FRAME))
            writer.write(packet)
    finally:
        writer.release()
        capture.release()


def count_frames(path: Path) -> int:
    """How many frames can be decoded; 0 if it is no video."""
    capture = open_video(path)
    found = 0
    while capture.grab():
        found += 1
    capture.release()
    return found


def _writer(
    path: Path, fourcc: str, fps: float, size: tuple[int, int], settings: list[int]
) -> cv2.VideoWriter | None:
    import cv2

    quiet_opencv()
    code = cv2.VideoWriter.fourcc(*fourcc)
    with quiet_stderr():  # of each tag in a .webm it says that WebM knows no tags
        writer = cv2.VideoWriter(str(path.absolute()), cv2.CAP_FFMPEG, code, fps, size, settings)
    return writer if writer.isOpened() else None


def _vp8_of_webp(data: bytes) -> bytes:
    """The VP8 key frame in a lossy WebP file: a RIFF chunk called "VP8 "."""
    if data[:4] != b"RIFF" or data[12:16] != b"VP8 ":
        raise OutputError("this OpenCV writes WebP in another way than is known here; try .mp4")
    length = int.from_bytes(data[16:20], "little")
    return data[20 : 20 + length]


def _works(codec: Codec, suffix: str, frames: int = 12) -> bool:
    """Whether so many frames come back, each brighter than the one before, as they were written."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            recording, target = Path(folder) / f"a{RECORDING_SUFFIX}", Path(folder) / f"b{suffix}"
            encoder = open_encoder(recording, codec, 25.0, (64, 64))
            if encoder is None:
                return False
            for level in range(frames):
                encoder.write(np.full((64, 64, 3), 20 * level, np.uint8))
            encoder.release()
            copy_packets(recording, target, codec)
            levels = [float(image.mean()) for image in _images(target)]
    except (OSError, OutputError):
        return False
    return len(levels) == frames and levels == sorted(levels)


def _images(path: Path) -> list[Image]:
    capture = open_video(path)
    images: list[Image] = []
    while True:
        done, image = capture.read()
        if not done or image is None:
            capture.release()
            return images
        images.append(np.asarray(image, np.uint8))
