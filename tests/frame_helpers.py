"""Pictures, videos, a network camera on loopback, and a pipeline that answers at once.

As a command, `python frame_helpers.py INPUT OUTPUT SECONDS` translates with a slow pipeline, for the tests
that stop it.
"""

from __future__ import annotations

import contextlib
import http.server
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from getgan.runtime.images import bytes_from_image, write_image
from getgan.runtime.media.capture import quiet_opencv
from getgan.runtime.media.frames import Pending, Source
from getgan.runtime.media.outputs import Views, plan_output
from getgan.runtime.media.record import Recipe, Stamp
from getgan.runtime.media.sinks import Sink
from getgan.runtime.media.sources import open_source
from getgan.runtime.pipeline import Result, Timings
from getgan.runtime.summary import Failure, Progress, Summary
from getgan.runtime.translate import translate

Picture = NDArray[np.uint8]
RECIPE = Recipe(
    getgan="0",
    bundle="b" * 64,
    precision="fp32",
    backend="fake 1",
    device="cpu",
    size=32,
    fit="fit",
    output_size="input",
    label=True,
    threads=1,
    region="",
)
STAMP = Stamp(RECIPE)

quiet_opencv()  # before the videos that the tests write themselves: FFmpeg asks once


class FakePipeline:
    """Gives the negative of a picture; refuses those whose first pixel is black, as the guard would."""

    preferred_batch = 1

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.seen = 0

    def translate(self, frames: Sequence[Picture], /) -> list[Result]:
        self.seen += len(frames)
        time.sleep(self.seconds)
        timings = Timings(0.001, 0.9, 0.002)
        return [
            Result(255 - f, "", f[:, :, 0], timings)
            if f[0, 0].any()
            else Result(None, "all NaN", None, timings)
            for f in frames
        ]


def picture(value: int = 100, height: int = 24, width: int = 32) -> Picture:
    """One grey."""
    return np.full((height, width, 3), value, np.uint8)


def write_folder(folder: Path, names: Sequence[str]) -> None:
    """One picture per name, the first of grey 50, the second 51, ..."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(folder / name, picture(50 + number))


def write_video(path: Path, frames: int = 12, *, fps: float = 10.0, size: tuple[int, int] = (32, 24)) -> None:
    """Frame n is of grey 20 n + 10."""
    code = cv2.VideoWriter.fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, fps, size)
    assert writer.isOpened()
    for n in range(frames):
        writer.write(picture(20 * n % 240 + 10, size[1], size[0]))
    writer.release()


def read_video(path: Path) -> list[Picture]:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    frames: list[Picture] = []
    while True:
        done, image = capture.read()
        if not done:
            capture.release()
            return frames
        frames.append(np.asarray(image, np.uint8))


def run(
    source: Path | str,
    output: Path,
    pipeline: FakePipeline | None = None,
    *,
    view: Views = "output",
    overwrite: bool = False,
    timeout: float = 5.0,
    recipe: Recipe | None = None,
    told: list[Failure] | None = None,
    progress: list[Progress] | None = None,
) -> Summary:
    """The whole job."""
    opened = open_source(str(source), timeout=timeout)
    with contextlib.closing(plan_output(output, opened, view=view, overwrite=overwrite)) as plan:
        return translate(
            opened,
            plan.open(recipe or RECIPE),
            pipeline or FakePipeline(),
            on_failure=(told if told is not None else []).append,
            on_progress=(progress if progress is not None else []).append,
        )


def arrived(source: Source) -> Iterator[Pending]:
    """Its frames, without the moments in which a camera is silent."""
    return (pending for pending in source if pending is not None)


def open_sink(output: Path, source: Source, *, view: Views = "output", overwrite: bool = False) -> Sink:
    """A sink whose output nobody else asks for."""
    with contextlib.closing(plan_output(output, source, view=view, overwrite=overwrite)) as plan:
        return plan.open(RECIPE)


@contextlib.contextmanager
def mjpeg_server(
    frames: int,
    *,
    fps: float = 50.0,
    then: str = "close",
    body: bytes = b"",
    paths: list[str] | None = None,
    noise: bool = False,
) -> Iterator[str]:
    """A camera on loopback that sends so many JPEGs and then closes, or says no more ("hang").

    Frame n is of grey 10 + n % 200, or of noise, which makes a recording large. body: sent in their place.
    paths: gets what was asked for. Gives its URL.
    """
    white = np.random.default_rng(0).integers(1, 255, (240, 320, 3), np.uint8)
    over = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if paths is not None:
                paths.append(self.path)
            self.send_response(200)
            if body:
                self.end_headers()
                self.wfile.write(body)
                return
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            with contextlib.suppress(OSError):  # the reader left
                for n in range(frames):
                    shown = np.roll(white, n, axis=1) if noise else picture(10 + n % 200, 48, 64)
                    jpeg = bytes_from_image(shown, ".jpg")
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    self.wfile.write(head.encode() + jpeg + b"\r\n")
                    if over.wait(1.0 / fps):
                        return
                if then == "hang":
                    over.wait(30.0)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/cam.mjpg"
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    summary = run(sys.argv[1], Path(sys.argv[2]), FakePipeline(float(sys.argv[3])))
    print(summary.text())
    sys.exit(summary.exit_code)
