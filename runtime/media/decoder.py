"""A video file decoded in a process of its own: what it states of its frames says nothing of what they cost.

An AVI that states 64x64 pixels may hold JPEGs of 16,000x16,000, and FFmpeg decodes whatever a packet holds.
As a command, `python -m getgan.runtime.media.decoder` answers for one file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from getgan.errors import DataError
from getgan.runtime.images import MAX_PIXELS
from getgan.runtime.media.frames import Image
from getgan.runtime.worker import Answer, Worker, limit_memory, serve

BUSY_SECONDS = 10  # of all threads, for one frame and what they begin; one of 25 megapixels takes 0.5
# What the process may take to open a file; then for the file's own frames: OpenCV and FFmpeg at work, and as
# many frames as a decoder keeps (16 for reference, one for each thread), at 10 bit without subsampling.
OPEN_BYTES = 1 << 30
WORK_BYTES, KEPT_FRAMES, PIXEL_BYTES = 256 << 20, 24, 6
MAX_THREADS = 8  # each keeps frames


class Decoder:
    """The open file; DataError wherever its process ends over it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._worker = Worker("getgan.runtime.media.decoder")
        about = self._ask({"open": os.fspath(path.absolute())})[0]
        self.opened: bool = about["opened"]
        self.width: float = about["width"]
        self.height: float = about["height"]
        self.fps: float = about["fps"]
        self.frames: float = about["frames"]  # as the container states it, if it does
        self._wanted = True  # whether the frame before was
        self._frame: tuple[dict[str, Any], bytes] | None = None

    def grab(self) -> float | None:
        """The time in seconds of the next frame; None where none can be decoded, and behind the last one."""
        # With its picture, if there is use for it: one way and back less.
        about, data = self._ask({"grab": True, "retrieve": self._wanted})
        self._frame = (about, data) if self._wanted else None
        self._wanted = False
        seconds: float | None = about["seconds"]
        return seconds

    def retrieve(self) -> Image | None:
        """That frame, BGR (H, W, C), or None."""
        self._wanted = True
        self._frame = self._frame or self._ask({"retrieve": True})
        about, data = self._frame
        return np.frombuffer(data, np.uint8).reshape(about["shape"]) if "shape" in about else None

    def close(self) -> None:
        """End the process."""
        self._worker.close()

    def _ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        try:
            return self._worker.ask(request)
        except OSError as error:
            raise DataError(f"{self._path}: its decoder cannot be started ({error.strerror})") from error
        except EOFError:
            raise DataError(
                f"{self._path}: its decoder broke down, or a frame cost far more than its size allows; copy "
                "the file again, or convert it with: ffmpeg -i IN -c:v mjpeg OUT.avi"
            ) from None


class _Server:
    def __init__(self) -> None:
        os.environ.setdefault("OPENCV_FFMPEG_THREADS", str(min(MAX_THREADS, os.cpu_count() or 1)))

    def answer(self, request: dict[str, Any], data: bytes) -> Answer:
        import cv2

        from getgan.runtime.media.capture import open_video

        if "open" in request:
            self._capture = capture = open_video(Path(request["open"]))
            width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
            pixels = int(min(width * height, MAX_PIXELS))
            limit_memory(WORK_BYTES + pixels * PIXEL_BYTES * KEPT_FRAMES)
            return {
                "opened": capture.isOpened(),
                "width": width,
                "height": height,
                "fps": capture.get(cv2.CAP_PROP_FPS),
                "frames": capture.get(cv2.CAP_PROP_FRAME_COUNT),
            }, b""
        about: dict[str, Any] = {"seconds": None}
        if "grab" in request:
            if not self._capture.grab():
                return about, b""
            about["seconds"] = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
        if not request["retrieve"]:
            return about, b""
        try:
            done, image = self._capture.retrieve()
        except cv2.error:  # no memory for it
            return about, b""
        if not done or image.size > 4 * MAX_PIXELS:
            return about, b""
        return {**about, "shape": image.shape}, np.ascontiguousarray(image, np.uint8).reshape(-1).data


if __name__ == "__main__":
    serve(_Server().answer, memory=OPEN_BYTES, busy_seconds=BUSY_SECONDS)
