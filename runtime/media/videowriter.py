"""Video files out: recorded under a temporary name, read back, and only then put in place."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from getgan.errors import OutputError
from getgan.runtime.media.encoding import WebpEncoder, codec_for, open_encoder
from getgan.runtime.media.frames import Image
from getgan.runtime.media.plate import plate
from getgan.runtime.media.recording import MIN_FREE_BYTES, Recording

if TYPE_CHECKING:
    import cv2

CHECK_EVERY = 25  # frames; asking takes microseconds, a frame of video at most some 100 kB
# A face is shown until the next one's time, but no longer: a camera that is silent shows nobody.
HOLD_S = 2.0
LOST = "frame lost"


@dataclass(frozen=True)
class Closed:
    """What became of a video."""

    paths: tuple[Path, ...] = ()
    complaint: str = ""  # why it is not the whole video, and where it is


class VideoSink:
    """One video file at a constant rate that keeps the source's clock.

    A frame is shown until the next one's time. Where there is no picture (refused by the guard, not to be
    decoded, nothing from the camera for HOLD_S) a plate says so: never the face before. The first picture
    decides the size; odd sizes get one more row or column, as the codecs take even ones only.
    """

    def __init__(self, path: Path, fps: float, *, may_replace: Callable[[], bool] = lambda: False) -> None:
        """may_replace: asked in the end whether what then lies at path may go."""
        self._path = path
        self._fps = fps
        self._may_replace = may_replace
        self._recording: Recording | None = None
        self._encoder: cv2.VideoWriter | WebpEncoder | None = None
        self._size = (0, 0)  # width, height
        self._shown: Image | str = LOST  # BGR, or a plate's words
        self._shown_from = 0
        self._early: list[tuple[int, str]] = []  # plates from the start on, before the size is known
        self._written = 0

    def put(self, time: float | None, picture: Image) -> None:
        """Show the picture from its time (s) on; OutputError if the codec or the disk refuses."""
        if self._encoder is None:
            self._open(picture)
            for place, words in self._early:
                self._show(place, words)
        self._show(self._place(time), self._fitted(picture))

    def lose(self, time: float | None, reason: str) -> None:
        """Show from that time on that there is no picture; reason: one or two words for the plate."""
        place = self._place(time)
        if self._encoder is not None:
            self._show(place, reason)
        elif not self._early or self._early[-1][1] != reason:
            self._early.append((place, reason))

    def close(self, *, keep: bool) -> Closed:
        """Put the video in place, with keep False as NAME.partial.SUFFIX: one that can be read is never lost.

        OutputError if it cannot be put anywhere; it says where it is.
        """
        if self._encoder is None or self._recording is None:
            return Closed()
        self._encoder.release()
        self._encoder = None
        try:
            kept = self._recording.keep(self._written, whole=keep, replace=self._may_replace())
        finally:
            self._recording.close()
        if kept is None:
            if not self._written:
                return Closed()
            return Closed(
                (),
                f"cannot write {self._path}: none of {self._written} frames can be read back; free space in "
                f"{self._path.parent} or choose another folder, then run the same command again",
            )
        if kept.frames < self._written:
            why = (
                f"{self._path} is not whole: only {kept.frames} of {self._written} frames can be read back, "
                f"and are in {kept.path}; free space in {self._path.parent} or choose another folder"
            )
        elif not keep:
            why = f"{self._path} was not finished: its first {kept.frames} frames are in {kept.path}"
        elif kept.path != self._path:
            why = f"{self._path} could not be made: all {kept.frames} frames are in {kept.path}"
        else:
            why = ""
        return Closed((kept.path,), why)

    def _place(self, time: float | None) -> int:
        return round((time or 0.0) * self._fps)

    def _show(self, place: int, shown: Image | str) -> None:
        while self._written < place:
            if self._written - self._shown_from >= HOLD_S * self._fps and not isinstance(self._shown, str):
                self._shown = LOST
            self._write()
        self._shown, self._shown_from = shown, place
        if self._written == place:
            self._write()

    def _open(self, first: Image) -> None:
        height, width = first.shape[:2]
        self._size = (width + width % 2, height + height % 2)
        codec = codec_for(self._path.suffix.lower())
        recording = Recording(self._path)
        try:
            self._encoder = open_encoder(recording.path, codec, self._fps, self._size)
        finally:
            if self._encoder is None:
                recording.remove()
        if self._encoder is None:
            raise OutputError(
                f"cannot write {self._path} as {width}x{height} video; wanted a codec and a folder that take "
                "it: try .avi, a smaller size or a folder of pictures, and getgan doctor"
            )
        self._recording = recording

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
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), np.uint8)

    def _write(self) -> None:
        assert self._encoder is not None
        if self._written % CHECK_EVERY == 0:
            free = shutil.disk_usage(self._path.parent).free
            if free < MIN_FREE_BYTES:
                raise OutputError(
                    f"cannot write {self._path}: {free:,} bytes are free, wanted {MIN_FREE_BYTES:,}; "
                    f"free space in {self._path.parent}, then run the same command again"
                )
        width, height = self._size
        shown = plate(self._shown, height, width) if isinstance(self._shown, str) else self._shown
        self._encoder.write(shown)
        self._written += 1
