"""Video files out: written under a temporary name, read back, and only then put in place."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from getgan.errors import OutputError
from getgan.runtime.media.frames import Frame, Image, Pending
from getgan.runtime.media.sidebyside import side_by_side
from getgan.runtime.media.video import quiet_opencv

if TYPE_CHECKING:
    import cv2

# The codecs that every OpenCV wheel can write; H.264 is in none of them.
WRITE_SUFFIXES = {".mp4": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
# OpenCV does not say that a write failed, so that a full disk must be seen before it is full.
MIN_FREE_BYTES = 32 << 20
CHECK_EVERY = 25  # frames; asking takes microseconds, a frame of video at most some 100 kB


class VideoSink:
    """One video file at a constant rate that keeps the source's clock.

    A frame is shown until the next one's time. Where the guard refused a picture, black is shown, never
    the face before. The first picture decides the size; odd sizes get one more row or column, as the codecs
    take even ones only.
    """

    def __init__(self, path: Path, fps: float, *, side_by_side: bool = False) -> None:
        self._path = path
        self._fps = fps
        self._side_by_side = side_by_side
        self._temporary = path.parent / f".getgan-{secrets.token_hex(8)}.tmp{path.suffix}"
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)  # width, height
        self._shown: Image | None = None  # BGR; None = black
        self._written = 0

    def put(self, frame: Frame, picture: Image) -> None:
        """Show the picture from the frame's time on; OutputError if the codec or the disk refuses."""
        if self._writer is None:
            self._open(self._view(frame, picture))
        self._show(frame.time, self._fitted(self._view(frame, picture)))

    def lose(self, pending: Pending, reason: str) -> None:
        """Show from the frame's time on that it has no picture."""
        if self._writer is not None:
            self._show(pending.time, None)

    def _show(self, time: float | None, picture: Image | None) -> None:
        place = round((time or 0.0) * self._fps)
        while self._written < place:
            self._write()
        self._shown = picture
        if self._written == place:
            self._write()

    def close(self, *, keep: bool) -> list[Path]:
        """Put the video in place if it has frames that can be read back, else remove it; what was put."""
        if self._writer is None:
            return []
        self._writer.release()
        self._writer = None
        try:
            if keep and self._written:
                self._check()
                with open(self._temporary, "rb") as file:
                    os.fsync(file.fileno())
                os.replace(self._temporary, self._path)
                return [self._path]
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {error.strerror}; check its folder") from error
        finally:
            with contextlib.suppress(FileNotFoundError):
                self._temporary.unlink()
        return []

    def _view(self, frame: Frame, picture: Image) -> Image:
        return side_by_side(frame.image, picture) if self._side_by_side else picture

    def _open(self, first: Image) -> None:
        import cv2

        quiet_opencv()
        height, width = first.shape[:2]
        self._size = (width + width % 2, height + height % 2)
        code = cv2.VideoWriter.fourcc(*WRITE_SUFFIXES[self._path.suffix.lower()])
        writer = cv2.VideoWriter(str(self._temporary), cv2.CAP_FFMPEG, code, self._fps, self._size)
        if not writer.isOpened():
            with contextlib.suppress(FileNotFoundError):
                self._temporary.unlink()
            raise OutputError(
                f"cannot write {self._path} as {width}x{height} video; wanted a codec and a folder that take "
                "it: try .avi, a smaller size or a folder of pictures, and getgan doctor"
            )
        self._writer = writer

    def _fitted(self, picture: Image) -> Image:
        """BGR in the video's size."""
        import cv2

        width, height = self._size
        down, right = height - picture.shape[0], width - picture.shape[1]
        if 0 <= down <= 1 and 0 <= right <= 1:
            picture = np.pad(picture, ((0, down), (0, right), (0, 0)), mode="edge")
        else:
            resized = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
            picture = np.asarray(resized, np.uint8)
        return np.ascontiguousarray(picture[:, :, ::-1])

    def _write(self) -> None:
        assert self._writer is not None
        if self._written % CHECK_EVERY == 0:
            free = shutil.disk_usage(self._path.parent).free
            if free < MIN_FREE_BYTES:
                raise OutputError(
                    f"cannot write {self._path}: {free:,} bytes are free, wanted {MIN_FREE_BYTES:,}; "
                    f"free space in {self._path.parent}, then run the same command again"
                )
        width, height = self._size
        self._writer.write(np.zeros((height, width, 3), np.uint8) if self._shown is None else self._shown)
        self._written += 1

    def _check(self) -> None:
        """OutputError unless the file has all frames."""
        import cv2

        capture = cv2.VideoCapture(str(self._temporary), cv2.CAP_FFMPEG)
        found = 0
        while capture.grab():
            found += 1
        capture.release()
        if found != self._written:
            raise OutputError(
                f"cannot write {self._path}: only {found} of {self._written} frames can be read back; "
                f"free space in {self._path.parent} or choose another folder, then run the same command again"
            )
