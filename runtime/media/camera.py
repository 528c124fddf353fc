"""Cameras and network streams: a thread reads as fast as they send, and only the newest frame is kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np

from getgan.errors import DataError
from getgan.printing import counted
from getgan.runtime.media.capture import STREAM_OPTIONS, open_limited, quiet_opencv
from getgan.runtime.media.frames import Image, Pending
from getgan.runtime.media.video import check_frame_size, rgb_from_capture, usable_fps

if TYPE_CHECKING:
    import cv2

URL_SCHEMES = ("rtsp", "rtsps", "http", "https")
SILENCE_S = 0.2  # after which an iteration says that nothing came
TIMEOUT_S = 5.0  # a camera that sends nothing for so long is gone


class Camera:
    """A webcam (its number) or a stream (its URL). Opens at once; DataError if that fails.

    Opening and reading happen on a daemon thread: a camera that hangs in its driver then holds up neither
    Ctrl-C nor the end of the program. Frames nobody had time for are counted in `dropped`.
    """

    live = True
    total = None
    names = ()
    single = False
    region = ""
    whole = True
    notes = ()

    def __init__(self, where: int | str, timeout: float = TIMEOUT_S) -> None:
        self._where = where
        self._timeout = timeout
        # The start is in the name: frames of two runs do not overwrite each other.
        self._name = time.strftime("camera-%Y%m%d-%H%M%S")
        self.fps: float = 0.0
        self.dropped = 0
        self._condition = threading.Condition()
        self._newest: tuple[int, float, Image] | None = None
        self._opened = False
        self._ended = ""  # why no more frames come
        self._stop = False
        self._thread = threading.Thread(target=self._read, name="getgan-camera", daemon=True)
        self._thread.start()
        with self._condition:
            # FFmpeg's own limit comes first; this one is for drivers that know none.
            self._condition.wait_for(lambda: self._opened or self._ended, timeout + 2.0)
            if not self._opened:
                self._stop = True
                raise DataError(
                    self._ended or f"{self.shown} did not open within {timeout:g} s; {self._advice}"
                )

    @property
    def shown(self) -> str:
        """The camera in words, without a password: that may stand anywhere in its URL but the host."""
        if isinstance(self._where, int):
            return f"camera {self._where}"
        parts = urlsplit(self._where)
        port = f":{parts.port}" if parts.port else ""
        return f"stream {parts.scheme}://{parts.hostname or ''}{port}"

    def __iter__(self) -> Iterator[Pending | None]:
        start: float | None = None  # the camera may have run for seconds while a network was loaded
        self.dropped = 0
        last = time.monotonic()
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._newest is not None or self._ended, SILENCE_S)
                newest, self._newest = self._newest, None
                if newest is None and (self._ended or time.monotonic() - last > self._timeout):
                    silent = f"{self.shown} sent nothing for {self._timeout:g} s"
                    raise DataError(self._ended or f"{silent}; {self._advice}")
            if newest is None:
                yield None
                continue
            index, seconds, image = newest
            start = seconds if start is None else start
            yield Pending(self._name, index, seconds - start, partial(rgb_from_capture, self.shown, image))
            last = time.monotonic()

    def claims(self, path: Path) -> bool:
        """No file is a camera."""
        return False

    def close(self) -> None:
        """Stop reading; a reader that hangs in its driver is left to end with the program."""
        self._stop = True
        self._thread.join(timeout=1.0)

    @property
    def _advice(self) -> str:
        if isinstance(self._where, int):
            return "check its cable, ls /dev/video*, and that no other program has it open"
        return "check the address and the network: ffplay URL"

    def _read(self) -> None:
        import cv2

        try:
            capture = self._open()
            try:
                ended = self._read_all(capture)
            finally:
                capture.release()
        except DataError as error:
            ended = str(error)
        except cv2.error:  # its text may hold the address, and that a password
            ended = f"{self.shown}: OpenCV failed; {self._advice}"
        with self._condition:
            self._ended = ended
            self._condition.notify_all()

    def _open(self) -> cv2.VideoCapture:
        import cv2

        quiet_opencv()
        if isinstance(self._where, int):
            return cv2.VideoCapture(self._where)
        limit = int(self._timeout * 1000)
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit]
        return open_limited(self._where, STREAM_OPTIONS, limits)

    def _read_all(self, capture: cv2.VideoCapture) -> str:
        """Read until the end; returns why it is the end."""
        import cv2

        if not capture.isOpened():
            return f"{self.shown} does not open; {self._advice}"
        size = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        check_frame_size(self.shown, *size)
        with self._condition:
            self.fps = usable_fps(capture.get(cv2.CAP_PROP_FPS))
            self._opened = True
            self._condition.notify_all()
        index = 0
        while not self._stop:
            done, image = capture.read()
            if not done or image is None:
                return f"{self.shown} went away after {counted(index, 'frame')}; {self._advice}"
            with self._condition:
                self.dropped += self._newest is not None
                self._newest = (index, time.monotonic(), np.asarray(image, np.uint8))
                self._condition.notify_all()
            index += 1
        return f"{self.shown} was closed"
