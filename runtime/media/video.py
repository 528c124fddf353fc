"""Video files in, frame by frame: uint8 (H, W, 3) RGB."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from getgan.errors import DataError
from getgan.runtime.images import MAX_PIXELS
from getgan.runtime.media.capture import check_name
from getgan.runtime.media.decoder import Decoder
from getgan.runtime.media.frames import Image, Pending
from getgan.runtime.media.record import sha256_of_file

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv")
DEFAULT_FPS = 25.0  # where a video or a camera states none, or one that no camera has
MAX_FPS = 120.0  # a few bytes state 240 and long pauses, and each frame of a pause is written
# Containers round the number of frames; a file that is cut off lacks more than this.
COUNT_SLACK_FRAMES = 3
COUNT_SLACK_SHARE = 0.02
MAX_TRIES = 250  # frames in a row that cannot be decoded: then it is the end
MAX_GAP_S = 4.0  # between two frames; a longer one is a mistake, and would be as much video of no picture


class VideoFile:
    """The frames of a video file. DataError if it is damaged, empty, or larger than images may be."""

    live = False
    dropped = 0
    single = False
    region = ""
    whole = True
    notes = ()

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names = (path.name,)
        self._digest = ""
        if not os.access(path, os.R_OK):
            raise DataError(f"{path}: cannot be read; check its permissions")
        check_name(path, DataError)
        self._identity = _identity(path)
        self._decoder = Decoder(path)
        try:
            if not self._decoder.opened:
                raise DataError(
                    f"{path}: cannot be opened as a video: it is cut off, damaged, or of a codec that this "
                    "OpenCV lacks; copy it again, or convert it with: ffmpeg -i IN -c:v mjpeg OUT.avi"
                )
            check_frame_size(str(path), self._decoder.width, self._decoder.height)
        except DataError:
            self.close()
            raise
        self.fps: float = usable_fps(self._decoder.fps)
        count = self._decoder.frames
        self.total: int | None = int(count) if 0 < count < 1e9 else None

    def __iter__(self) -> Iterator[Pending]:
        index = tries = 0
        clock = _Clock(self.fps)
        while tries < MAX_TRIES:
            stated = self._decoder.grab()
            if stated is None:  # one that cannot be decoded, or the end
                tries += 1
                continue
            for _ in range(tries):
                yield self._pending(index, clock.lost(), _undecodable)
                index += 1
            tries = 0
            self._check_unchanged()
            yield self._pending(index, clock.at(stated), self._retrieve)
            index += 1
        if index == 0:
            raise DataError(f"{self.path}: holds no frame that can be decoded; copy it again")
        if self.total is not None and self.total - index > max(
            COUNT_SLACK_FRAMES, COUNT_SLACK_SHARE * self.total
        ):
            raise DataError(
                f"{self.path}: is cut off or damaged after frame {index} of {self.total}; "
                "what comes before is translated: copy the file again for the rest"
            )

    def claims(self, path: Path) -> bool:
        """See Source."""
        return path.resolve() == self.path.resolve()

    def close(self) -> None:
        """Close the file."""
        self._decoder.close()

    def _sha256(self) -> str:
        """Of the whole file, hashed when it is first asked for; DataError if it is not the one opened."""
        if not self._digest:
            try:
                digest = sha256_of_file(self.path)
            except OSError as error:
                raise DataError(f"cannot be read again ({error.strerror}); copy the file again") from error
            self._check_unchanged()
            self._digest = digest
        return self._digest

    def _check_unchanged(self) -> None:
        """DataError unless the file is the one that was opened: its hash is to be of what is decoded."""
        try:
            same = _identity(self.path) == self._identity
        except OSError:
            same = False
        if not same:
            raise DataError(f"{self.path}: was changed or replaced while it was read; run it again")

    def _pending(self, index: int, time: float, read: Callable[[], Image]) -> Pending:
        return Pending(self.path.name, index, time, read, self._sha256)

    def _retrieve(self) -> Image:
        image = self._decoder.retrieve()
        self._check_unchanged()  # after decoding: until here it was that file
        return _undecodable() if image is None else rgb_from_capture(self.path.name, image)


class _Clock:
    """Each frame's time as the container states it, or one step after the last where that makes no sense."""

    def __init__(self, fps: float) -> None:
        self._step = 1.0 / fps
        self._last: float | None = None
        self._shift = 0.0  # of the stated times, to our first frame at 0

    def at(self, stated: float) -> float:
        """The time of a frame that is there."""
        if self._last is None:
            self._last, self._shift = 0.0, stated
        elif 0.0 < stated - self._shift - self._last <= MAX_GAP_S:
            self._last = stated - self._shift
        else:
            self._last += self._step
            self._shift = stated - self._last
        return self._last

    def lost(self) -> float:
        """The time of a frame that is lost."""
        if self._last is None:
            self._last = 0.0
        else:
            self._last += self._step
        return self._last


def _undecodable() -> Image:
    raise DataError("frame cannot be decoded; copy the file again")


def _identity(path: Path) -> tuple[int, ...]:
    """What changes when a file is written or replaced; OSError."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def rgb_from_capture(name: str, image: Image) -> Image:
    """OpenCV's BGR frame, uint8 (H, W, 3), as RGB; DataError above MAX_PIXELS or with other channels."""
    import cv2

    if image.ndim != 3 or image.shape[2] != 3:
        raise DataError(f"{name}: found a frame of shape {image.shape}; wanted colour (H, W, 3)")
    check_frame_size(name, image.shape[1], image.shape[0])
    # 0.7 ms at 1920x1080; numpy's copy of image[:, :, ::-1] takes 8.
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def check_frame_size(name: str, width: float, height: float) -> None:
    """DataError if frames are larger than images may be; 0 = not known yet."""
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{name}: found frames of {width:.0f}x{height:.0f} pixels; wanted at most "
            f"{MAX_PIXELS // 10**6} megapixels"
        )


def usable_fps(stated: float) -> float:
    """The stated frames per second, or DEFAULT_FPS for what no camera has (0, NaN, a time base)."""
    return stated if 0.0 < stated <= MAX_FPS else DEFAULT_FPS
