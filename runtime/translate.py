"""The job: every frame of a source through the pipeline into a sink, whatever single frames do."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import FrameType
from typing import Protocol

from getgan.errors import DataError, GetganError, OutputError
from getgan.printing import one_line
from getgan.runtime.guard.judge import ASPECT, DARK, HIDDEN, OTHER
from getgan.runtime.guard.looks import LOOKS
from getgan.runtime.interrupts import signals_go_to
from getgan.runtime.media.frames import Frame, Image, Pending, Pictures, Source
from getgan.runtime.media.record import Made, Taken
from getgan.runtime.media.sinks import Sink
from getgan.runtime.media.videowriter import LOST
from getgan.runtime.pipeline import Result
from getgan.runtime.summary import MAX_FAILURES, Failure, Progress, Summary, Times

# Of a refused picture's codes. The two ways to be turned have one.
REASONS = {"aspect": ASPECT, "dark": DARK, "hidden": HIDDEN, "other": OTHER} | {
    look.code: " or ".join(dict.fromkeys(each.reason for each in LOOKS if each.code == look.code))
    for look in LOOKS
}


def reason_of(code: str) -> str:
    """A refusal's code in words; the code itself if another version of getgan wrote it."""
    return REASONS.get(code, code)


class Translator(Protocol):
    """What this module needs of `pipeline.Pipeline`."""

    @property
    def preferred_batch(self) -> int:
        """So many frames in one call take less time; 1 = they do not."""

    def translate(self, frames: Sequence[Image], /) -> Sequence[Result]:
        """One result per frame, in order; DataError for a frame that it cannot take."""


def translate(
    source: Source,
    sink: Sink,
    pipeline: Translator,
    *,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_failure: Callable[[Failure], None] = lambda failure: None,
    on_result: Callable[[Result], None] = lambda result: None,
) -> Summary:
    """Translate all frames whose output does not stand there yet; closes source and sink.

    A frame that fails (damaged file, an output that is another picture's), that is refused as broken, or that
    the guard takes for no face scan is told to on_failure and counted, the others are still done. A full
    disk, a lost camera, a backend that breaks and a signal end it; the summary says which. on_failure is not
    called again for a video's frame that fails as the one before did. on_result hears of every frame that
    went through the network.
    """
    job = _Job(source, sink, pipeline, on_progress, on_failure, on_result)
    with signals_go_to(job.stop):
        return job.run()


@dataclass(frozen=True)
class _Waiting:
    """A frame before the network."""

    pending: Pending
    frame: Frame | DataError | Made
    seconds: float = 0.0  # of decoding


class _Job:
    """Counts and clocks of one translation."""

    def __init__(
        self,
        source: Source,
        sink: Sink,
        pipeline: Translator,
        on_progress: Callable[[Progress], None],
        on_failure: Callable[[Failure], None],
        on_result: Callable[[Result], None],
    ) -> None:
        self._source = source
        self._sink = sink
        self._pipeline = pipeline
        self._on_progress = on_progress
        self._on_failure = on_failure
        self._on_result = on_result
        self._translated = self._skipped = self._failed = self._refused = 0
        self._unusual = self._not_face = self._marked = self._aspect = self._written = 0
        self._failures: list[Failure] = []
        self._last_reason = ""
        self._times = Times()
        self._start = time.perf_counter()
        self._work_start: float | None = None  # skipping is quick, and no part of the rate
        self._signalled = False

    def run(self) -> Summary:
        """Work until the end, whatever kind of end it is, and leave only whole files."""
        stopped, keep = "", self._source.live  # what a camera saw cannot be had again
        try:
            keep = self._work() or keep
        except DataError as error:  # the source ended before its time: what came before is all there is
            stopped, keep = one_line(error), True
        except GetganError as error:
            stopped = one_line(error)
        finally:
            self._source.close()
            try:
                self._sink.close(keep=keep)
            except OutputError as error:
                stopped = "; ".join(part for part in (stopped, one_line(error)) if part)
        return self._summary(stopped)

    def _work(self) -> bool:
        """Whether the source came to its end, and no signal before it."""
        waiting: list[_Waiting] = []
        try:
            for pending in self._source:
                if self._signalled:
                    return False
                if pending is None:
                    continue
                waiting.append(self._decoded(pending))
                # A camera's picture waits for no other.
                if self._source.live or len(waiting) >= self._pipeline.preferred_batch:
                    self._finish(waiting)
                    waiting = []
        except DataError:  # the source's: what it gave before is done
            self._finish(waiting)
            raise
        self._finish(waiting)
        return True

    def _decoded(self, pending: Pending) -> _Waiting:
        """Decoded now, since a video goes on; not at all where the output stands there."""
        try:
            if found := self._sink.has(pending):
                return _Waiting(pending, found)
            # No threads that read ahead and write behind. Measured on 2 cores, OpenVINO bf16, 91 ms of
            # network: they win nothing for 256x256 PNG, 8 % for 1024x768 (129 to 119 ms).
            start = time.perf_counter()
            self._work_start = self._work_start or start
            return _Waiting(pending, pending.frame(), time.perf_counter() - start)
        except DataError as error:
            return _Waiting(pending, error)

    def _finish(self, waiting: Sequence[_Waiting]) -> None:
        """Translate them together; then write, count and tell one after the other."""
        results = iter(self._results([each.frame.image for each in waiting if isinstance(each.frame, Frame)]))
        for each in waiting:
            try:
                if isinstance(each.frame, Made):
                    self._stands(each.pending, each.frame)
                elif isinstance(each.frame, Frame):
                    self._put(each, each.frame, next(results))
                else:
                    raise each.frame
            except DataError as error:
                self._fail(each.pending, error, refused=isinstance(error, _Refused))
            self._report()

    def _results(self, images: Sequence[Image]) -> Sequence[Result | DataError]:
        """Of each picture; one that cannot be taken costs itself alone."""
        try:
            return self._pipeline.translate(images) if images else []
        except DataError as error:
            if len(images) == 1:
                return [error]
            return [found for image in images for found in self._results([image])]

    def _put(self, waiting: _Waiting, frame: Frame, result: Result | DataError) -> None:
        if isinstance(result, DataError):
            raise result
        self._on_result(result)
        if result.image is None:
            raise _Refused(result.fault)
        start, timings, verdict = time.perf_counter(), result.timings, result.verdict
        kind, code = (verdict.kind, verdict.code) if verdict else ("", "")
        self._sink.put(frame, Pictures(result.image, result.occlusion, kind, code, card=result.card))
        encode = time.perf_counter() - start
        self._times.add((waiting.seconds, timings.pre, timings.network, timings.post, encode, timings.looks))
        self._written += 1
        if verdict is not None and verdict.kind == "refused":
            self._no_face(waiting.pending, code, verdict.reason, marked=not result.card)
            return
        self._translated += 1
        self._unusual += kind == "unusual"
        self._last_reason = ""

    def _stands(self, pending: Pending, made: Made) -> None:
        """Its output is there already; a card's reason is told again, as its record holds it."""
        if made.verdict == "refused":
            marked = made.recipe.guard == "mark"
            self._no_face(pending, made.reason, reason_of(made.reason), marked=marked)
            return
        self._skipped += 1
        self._last_reason = ""

    def _no_face(self, pending: Pending, code: str, reason: str, *, marked: bool) -> None:
        self._not_face += 1
        self._marked += marked
        self._aspect += code == "aspect"
        self._tell(replace(self._failure(pending, reason), not_face=True, marked=marked))

    def _fail(self, pending: Pending, error: DataError, *, refused: bool) -> None:
        note = "" if isinstance(error, Taken) else self._sink.lose(pending, "refused" if refused else LOST)
        reason = one_line(f"{error}; {note}" if note else error)
        if refused:
            self._refused += 1
        else:
            self._failed += 1
        self._tell(self._failure(pending, reason, refused=refused))

    @staticmethod
    def _failure(pending: Pending, reason: str, *, refused: bool = False) -> Failure:
        frame = None if pending.time is None else pending.index
        name = pending.name if frame is None else f"{pending.name} frame {frame}"
        return Failure(one_line(name), reason, refused, frame)

    def _tell(self, failure: Failure) -> None:
        if len(self._failures) < MAX_FAILURES:
            self._failures.append(failure)
        # A black camera refuses 30 pictures a second for one reason.
        if self._source.fps is None or failure.reason != self._last_reason:
            self._on_failure(failure)
        self._last_reason = failure.reason

    def _report(self) -> None:
        done = self._done()
        total, rate = self._source.total, self._rate()
        # A container's number of frames may be too small by a few.
        left = None if total is None or not rate else max(0, total - done) / rate
        self._on_progress(Progress(done, total, self._failed, self._refused, rate, left, self._not_face))

    def _done(self) -> int:
        return self._translated + self._skipped + self._failed + self._refused + self._not_face

    def _rate(self) -> float:
        if self._work_start is None or not self._written:
            return 0.0
        return self._written / (time.perf_counter() - self._work_start)

    def _summary(self, stopped: str) -> Summary:
        return Summary(
            frames=self._done(),
            translated=self._translated,
            skipped=self._skipped,
            failed=self._failed,
            refused=self._refused,
            dropped=self._source.dropped,
            seconds=time.perf_counter() - self._start,
            rate=self._rate(),
            stages=self._times.stages(),
            failures=tuple(self._failures),
            stopped=stopped,
            interrupted=self._signalled,
            unusual=self._unusual,
            aspect=self._aspect,
            marked=self._marked,
            not_face=self._not_face,
        )

    def stop(self, number: int, stack: FrameType | None) -> None:
        """A signal sets a flag: looked at between frames, and five times a second while a camera is silent.

        An exception out of a handler could strike anywhere: between a frame's writing and its being counted,
        while a video is put in place, while a lock is taken.
        """
        self._signalled = True


class _Refused(DataError):
    """The network's picture is broken, or the input is of one flat colour."""
