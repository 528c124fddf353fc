"""What two reports differ by, as text and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from getgan.printing import json_text

LEVEL = 0.95
Figure = Literal["p50", "p99", "throughput"]
Verdict = Literal["regression", "improvement", "no change", "undecided"]


@dataclass(frozen=True)
class Change:
    """One figure of one row; `ratio` is B over A."""

    contestant: str
    setting: str  # in words
    figure: Figure
    before: float  # seconds, or pictures per second
    after: float
    ratio: float
    low: float  # LEVEL interval of the ratio
    high: float
    slower: float  # share by which B is worse, below 0 = better
    verdict: Verdict
    judged: bool  # a peer's change is shown and never a regression of ours


@dataclass(frozen=True)
class Comparison:
    """What `getgan bench compare` found."""

    before: str  # when it was measured, and with which getgan
    after: str
    regression: float  # share
    different: tuple[str, ...]  # what --anyway let pass
    libraries: tuple[str, ...]  # versions that changed
    changes: tuple[Change, ...]
    pictures: tuple[str, ...]  # getgan's ways whose pictures got so much worse that a flag says so
    notes: tuple[str, ...]  # of quality, memory, opening and flags, which have no interval
    unpaired: tuple[str, ...]  # rows of one report alone
    lost: tuple[str, ...]  # those of getgan in A alone, which --anyway lets pass

    @property
    def passed(self) -> bool:
        """No regression."""
        worse = any(each.verdict == "regression" for each in self.changes)
        return not (self.pictures or self.lost or worse)

    def text(self) -> str:
        """For people."""
        return "\n".join(self._lines())

    def to_json(self) -> str:
        """For machines."""
        return json_text({"passed": self.passed, "level": LEVEL, **dataclasses.asdict(self)})

    def _lines(self) -> Iterator[str]:
        yield f"A  {self.before}"
        yield f"B  {self.after}"
        for line in self.different:
            yield f"beware: {line}"
        for line in self.libraries:
            yield f"changed: {line}"
        yield ""
        yield f"{'':62}{'A':>10}{'B':>10}{'B/A':>8}   95 % interval"
        for each in self.changes:
            row = f"{each.contestant}, {each.setting}"
            scale, unit = (1.0, "/s") if each.figure == "throughput" else (1e3, "ms")
            figures = f"{scale * each.before:>10.2f}{scale * each.after:>10.2f}{each.ratio:>8.3f}"
            verdict = each.verdict if each.judged else f"{each.verdict}, a peer"
            name = f"{row[:50]:50} {'rate' if each.figure == 'throughput' else each.figure:5}{unit:4}"
            yield f"{name:62}{figures}   {each.low:.3f} to {each.high:.3f}  {verdict}"
        yield ""
        yield from self.notes
        for line in self.unpaired:
            yield f"not compared: {line}"
        yield self._verdict()

    def _verdict(self) -> str:
        found = [each for each in self.changes if each.verdict == "regression"]
        unsure = sum(each.verdict == "undecided" for each in self.changes)
        allowed = f"{100 * self.regression:g} %"
        judged = sum(each.judged for each in self.changes)
        parts = [f"{len(found)} of {judged} figures got worse by more than {allowed}"]
        if found:
            worst = max(found, key=lambda each: each.slower)
            where = f"{worst.contestant}, {worst.setting}, {worst.figure}"
            parts.append(f"worst: {where}, by {100 * worst.slower:.1f} %")
        parts += [f"other pictures: {each}" for each in self.pictures]
        parts += [f"did not run in B: {each.removesuffix(', in A alone')}" for each in self.lost]
        if unsure:
            parts.append(
                f"{unsure} are past it, but their intervals do not rule out no change: measure more repeats"
            )
        return ("no regression: " if self.passed else "REGRESSION: ") + "; ".join(parts)
