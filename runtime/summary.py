"""What a translation did: counts, failures, times."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from getgan.printing import json_text
from getgan.runtime.console import clock

MAX_FAILURES = 1000  # kept with their reasons; a camera may fail for days
MAX_RANGES = 20  # of frames without a picture, in the closing lines; the JSON has all that are kept
MAX_TIMES = 10_000  # the last frames, of which the medians are


REFUSED_EXIT_CODE = 3


@dataclass(frozen=True)
class Failure:
    """A frame without an output, and why, in one line."""

    name: str
    reason: str
    refused: bool = False  # by the guard: the picture cannot be shown, and nothing is wrong with the machine
    frame: int | None = None  # 0-based, of a video or a camera


@dataclass(frozen=True)
class Stages:
    """Median seconds per translated frame of each stage; all 0 if there was none."""

    decode: float
    pre: float
    network: float
    post: float
    encode: float

    @property
    def overhead(self) -> float:
        """The share of all but the network, 0..1."""
        total = self.decode + self.pre + self.network + self.post + self.encode
        return (total - self.network) / total if total else 0.0


@dataclass(frozen=True)
class Progress:
    """How far it is."""

    done: int  # frames translated, skipped, failed or refused
    total: int | None
    failed: int
    refused: int
    rate: float  # translated frames per second; 0 = none yet
    eta: float | None  # seconds; None = not known

    def text(self) -> str:
        """One short line."""
        total = "" if self.total is None else f"/{self.total}"
        failed = f", {self.failed} failed" if self.failed else ""
        failed += f", {self.refused} refused" if self.refused else ""
        eta = "" if self.eta is None else f", {clock(self.eta)} left"
        return f"{self.done}{total}, {self.rate:.2f}/s{eta}{failed}"


@dataclass(frozen=True)
class Summary:
    """How a translation ended."""

    frames: int  # that the source gave: translated + skipped + failed + refused
    translated: int
    skipped: int  # the same picture stood there already
    failed: int
    refused: int  # by the guard
    dropped: int  # frames of a camera that nobody had time for
    seconds: float
    rate: float  # translated frames per second, from the first one on
    stages: Stages
    failures: tuple[Failure, ...] = ()  # the first MAX_FAILURES
    stopped: str = ""  # why it ended early: a full disk, a camera that went away, a file that is cut off
    interrupted: bool = False  # Ctrl-C, SIGTERM, SIGHUP

    @property
    def exit_code(self) -> int:
        """0: every frame has its output; 1: a fault; 3: the guard refused some; 130: interrupted."""
        if self.interrupted:
            return 130
        if self.failed or self.stopped:
            return 1
        return REFUSED_EXIT_CODE if self.refused else 0

    def text(self) -> str:
        """For people; the failures were told as they happened."""
        parts = [f"{self.translated} translated"]
        parts += [f"{self.skipped} skipped (there already)"] if self.skipped else []
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.refused} refused by the guard"] if self.refused else []
        parts += [f"{self.dropped} dropped (came faster than they were translated)"] if self.dropped else []
        lines = [f"{', '.join(parts)} in {self.seconds:.1f} s ({self.rate:.2f}/s)"]
        if self.translated:
            times = asdict(self.stages).items()
            stages = ", ".join(f"{name} {1000 * seconds:.1f}" for name, seconds in times)
            lines.append(f"median ms: {stages} (all but the network {100 * self.stages.overhead:.1f} %)")
        frames = [failure.frame for failure in self.failures if failure.frame is not None]
        if frames:
            lines.append(f"frames without a picture: {ranges(frames)}")
        if self.stopped:
            lines.append(f"stopped: {self.stopped}")
        if self.interrupted:
            lines.append("interrupted: what is written is whole; the same command does what is missing")
        return "\n".join(lines)

    def to_json(self) -> str:
        """For machines."""
        return json_text(asdict(self) | {"exit_code": self.exit_code})


def ranges(numbers: Iterable[int]) -> str:
    """Rising numbers in words, at most MAX_RANGES parts: 2-4, 9."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    parts = [str(first) if first == last else f"{first}-{last}" for first, last in runs[:MAX_RANGES]]
    return ", ".join(parts + (["and more"] if len(runs) > MAX_RANGES else []))


@dataclass
class Times:
    """Collects the stages of the last MAX_TIMES frames."""

    rows: deque[tuple[float, ...]] = field(default_factory=lambda: deque(maxlen=MAX_TIMES))

    def add(self, row: Iterable[float]) -> None:
        """Seconds in the order of `Stages`."""
        self.rows.append(tuple(row))

    def stages(self) -> Stages:
        """Their medians."""
        if not self.rows:
            return Stages(0.0, 0.0, 0.0, 0.0, 0.0)
        return Stages(*(statistics.median(column) for column in zip(*self.rows, strict=True)))
