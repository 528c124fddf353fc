"""The job: every frame of a source through the pipeline into a sink, whatever single frames do."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Protocol

from getgan.errors import DataError, GetganError, OutputError
from getgan.runtime.media.frames import Frame, Image, Source, one_line
from getgan.runtime.media.sinks import Sink
from getgan.runtime.pipeline import Result
from getgan.runtime.summary import MAX_FAILURES, Failure, Progress, Summary, Times


class Translator(Protocol):
    """What this module needs of `pipeline.Pipeline`."""

    def translate(self, frames: Sequence[Image], /) -> Sequence[Result]:
        """One result per frame, in order; DataError for a frame that it cannot take."""


def translate(
    source: Source,
    sink: Sink,
    pipeline: Translator,
    *,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_failure: Callable[[Failure], None] = lambda failure: None,
) -> Summary:
    """Translate all frames that have no output yet, or with overwrite all; closes source and sink.

    A frame that fails (damaged file, picture refused by the guard) is told to on_failure and counted, the
    others are still done. A full disk, a lost camera, a backend that breaks and Ctrl-C end it; the summary
    says which. on_failure is not called again for a video's frame that fails as the one before did.
    """
    job = _Job(source, sink, pipeline, overwrite, on_progress, on_failure)
    with _stop_on_sigterm():
        return job.run()


class _Job:
    """Counts and clocks of one translation."""

    def __init__(
        self,
        source: Source,
        sink: Sink,
        pipeline: Translator,
        overwrite: bool,
        on_progress: Callable[[Progress], None],
        on_failure: Callable[[Failure], None],
    ) -> None:
        self._source = source
        self._sink = sink
        self._pipeline = pipeline
        self._overwrite = overwrite
        self._on_progress = on_progress
        self._on_failure = on_failure
        self._translated = self._skipped = self._failed = 0
        self._failures: list[Failure] = []
        self._last_reason = ""
        self._times = Times()
        self._start = time.perf_counter()
        self._work_start: float | None = None  # skipping is quick, and no part of the rate

    def run(self) -> Summary:
        """Work until the end, whatever kind of end it is, and leave only whole files."""
        stopped, interrupted = "", False
        keep = self._source.live  # what a camera saw cannot be had again; a video can be translated again
        try:
            self._work()
            keep = True
        except DataError as error:  # the source ended before its time: what came before is all there is
            stopped, keep = one_line(error), True
        except GetganError as error:
            stopped = one_line(error)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            self._source.close()
            try:
                self._sink.close(keep=keep)
            except OutputError as error:
                stopped = stopped or one_line(error)
        return self._summary(stopped, interrupted)

    def _work(self) -> None:
        for pending in self._source:
            frame: Frame | None = None
            try:
                if not self._overwrite and self._sink.has(pending):
                    self._skipped += 1
                    self._report()
                    continue
                # No threads that read ahead and write behind. Measured on 2 cores, OpenVINO bf16, 91 ms of
                # network: they win nothing for 256x256 PNG, 8 % for 1024x768 (129 to 119 ms).
                start = time.perf_counter()
                self._work_start = self._work_start or start
                frame = pending.frame()
                decoded = time.perf_counter()
                (result,) = self._pipeline.translate([frame.image])
                self._put(frame, decoded - start, result)
            except DataError as error:
                self._fail(pending.name, error, frame)

    def _put(self, frame: Frame, decode: float, result: Result) -> None:
        if result.image is None:
            raise DataError(f"the picture was refused: {result.fault}; the frame has no output")
        start = time.perf_counter()
        self._sink.put(frame, result.image)
        timings = result.timings
        self._times.add((decode, timings.pre, timings.network, timings.post, time.perf_counter() - start))
        self._translated += 1
        self._last_reason = ""
        self._report()

    def _fail(self, name: str, error: DataError, frame: Frame | None) -> None:
        if frame is not None:
            self._sink.put(frame, None)
        failure = Failure(one_line(name), one_line(error))
        self._failed += 1
        if len(self._failures) < MAX_FAILURES:
            self._failures.append(failure)
        # A black camera refuses 30 pictures a second for one reason.
        if self._source.fps is None or failure.reason != self._last_reason:
            self._on_failure(failure)
        self._last_reason = failure.reason
        self._report()

    def _report(self) -> None:
        done = self._translated + self._skipped + self._failed
        total, rate = self._source.total, self._rate()
        # A container's number of frames may be too small by a few.
        left = None if total is None or not rate else max(0, total - done) / rate
        self._on_progress(Progress(done, total, self._failed, rate, left))

    def _rate(self) -> float:
        if self._work_start is None or not self._translated:
            return 0.0
        return self._translated / (time.perf_counter() - self._work_start)

    def _summary(self, stopped: str, interrupted: bool) -> Summary:
        return Summary(
            frames=self._translated + self._skipped + self._failed,
            translated=self._translated,
            skipped=self._skipped,
            failed=self._failed,
            dropped=self._source.dropped,
            seconds=time.perf_counter() - self._start,
            rate=self._rate(),
            stages=self._times.stages(),
            failures=tuple(self._failures),
            stopped=stopped,
            interrupted=interrupted,
        )


@contextlib.contextmanager
def _stop_on_sigterm() -> Iterator[None]:
    """Let SIGTERM (systemd, timeout, docker stop) end the job as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return

    def interrupt(number: int, stack: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
