"""What a translation did: counts, failures, times."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from getgan.printing import counted, json_text
from getgan.runtime.console import clock

MAX_FAILURES = 1000  # kept with their reasons; a camera may fail for days
MAX_RANGES = 20  # of frames without a picture, in the closing lines; the JSON has all that are kept
MAX_TIMES = 10_000  # the last frames, of which the medians are


REFUSED_EXIT_CODE = 3
NOT_FACE_EXIT_CODE = 4


@dataclass(frozen=True)
class Failure:
    """A frame without an output or with a card in its place, and why, in one line."""

    name: str
    reason: str
    refused: bool = False  # the network's picture is broken, or the input is of one flat colour
    frame: int | None = None  # 0-based, of a video or a camera
    not_face: bool = False  # the guard says that it is no face scan, and a card or a banner says so
    marked: bool = False  # a banner: the face is shown all the same

    def text(self) -> str:
        """One line: what became of it, its name and why."""
        kind = "refused" if self.refused else "failed"
        if self.not_face:
            kind = "shown with a banner" if self.marked else "no face"
        return f"{kind}: {self.name}: {self.reason}"


@dataclass(frozen=True)
class Stages:
    """Median seconds per translated frame of each stage; all 0 if there was none."""

    decode: float
    pre: float
    network: float
    post: float
    encode: float
    looks: float = 0.0  # further network runs, for the guard

    @property
    def overhead(self) -> float:
        """The share of all but the network, 0..1."""
        network = self.network + self.looks
        total = self.decode + self.pre + network + self.post + self.encode
        return (total - network) / total if total else 0.0


@dataclass(frozen=True)
class Progress:
    """How far it is."""

    done: int  # frames translated, skipped, failed, refused or no face scans
    total: int | None
    failed: int
    refused: int
    rate: float  # written frames per second; 0 = none yet
    eta: float | None  # seconds; None = not known
    not_face: int = 0

    def text(self) -> str:
        """One short line."""
        total = "" if self.total is None else f"/{self.total}"
        failed = f", {self.failed} failed" if self.failed else ""
        failed += f", {self.refused} refused" if self.refused else ""
        failed += f", {counted(self.not_face, 'no face scan')}" if self.not_face else ""
        eta = "" if self.eta is None else f", {clock(self.eta)} left"
        return f"{self.done}{total}, {self.rate:.2f}/s{eta}{failed}"


@dataclass(frozen=True)
class Summary:
    """How a translation ended."""

    frames: int  # that the source gave: translated + skipped + failed + refused + not_face
    translated: int
    skipped: int  # the same face stood there already
    failed: int
    refused: int  # the network's picture was broken, or the input of one flat colour
    dropped: int  # frames of a camera that nobody had time for
    seconds: float
    rate: float  # written frames per second, from the first one on
    stages: Stages
    failures: tuple[Failure, ...] = ()  # the first MAX_FAILURES
    stopped: str = ""  # why it ended early: a full disk, a camera that went away, a file that is cut off
    interrupted: bool = False  # Ctrl-C, SIGTERM, SIGHUP
    unusual: int = 0  # of the translated: with the calibration's brightness and colours
    not_face: int = 0  # what the guard took for no face scan, now or when the picture there was made
    marked: int = 0  # of these: faces with a banner and not cards
    aspect: int = 0  # of these: they would be known in a shape that the calibration had

    @property
    def exit_code(self) -> int:
        """0: each frame has its face; 1: a fault; 3: some broken; 4: some no face scans; 130: interrupted."""
        if self.interrupted:
            return 130
        if self.failed or self.stopped:
            return 1
        if self.refused:
            return REFUSED_EXIT_CODE
        return NOT_FACE_EXIT_CODE if self.not_face else 0

    def text(self) -> str:
        """For people; the failures were told as they happened."""
        parts = [f"{self.translated} translated"]
        parts += [f"{self.skipped} skipped (there already)"] if self.skipped else []
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.refused} refused (flat or broken)"] if self.refused else []
        for count, how in (
            (self.not_face - self.marked, "no face shown"),
            (self.marked, "face shown with a banner"),
        ):
            parts += [f"{counted(count, 'no face scan')} ({how})"] if count else []
        parts += [f"{self.dropped} dropped (came faster than they were translated)"] if self.dropped else []
        lines = [f"{', '.join(parts)} in {self.seconds:.1f} s ({self.rate:.2f}/s)"]
        if self.translated:
            times = [(name, s) for name, s in asdict(self.stages).items() if s or name != "looks"]
            stages = ", ".join(f"{name} {1000 * seconds:.1f}" for name, seconds in times)
            lines.append(f"median ms: {stages} (all but the network {100 * self.stages.overhead:.1f} %)")
        if self.unusual:
            lines.append(
                f"unusual: {self.unusual} of the translated had brightness or colours unlike those of the "
                "calibration, and were translated with its own; getgan drift shows since when"
            )
        if self.aspect:
            lines.append(
                f"too wide or too tall: {counted(self.aspect, 'picture')}, which would be known in a shape "
                "that the calibration had; show the whole head in one by --fit crop or --region, or "
                "calibrate with own scans of this shape: getgan help guard"
            )
        for not_face, what in ((False, "without a picture"), (True, "that are no face scans")):
            frames = [each.frame for each in self.failures if each.not_face is not_face]
            if numbers := [frame for frame in frames if frame is not None]:
                lines.append(f"frames {what}: {ranges(numbers)}")
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
