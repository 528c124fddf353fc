"""What a guard's benchmark found: verdicts by kind of picture, and how well each score tells."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean

import msgspec
import numpy as np

from getgan.benchmarks.guardcost import Cost
from getgan.printing import json_text

RECALL = 0.95  # of unseen scans that pass, where it is counted what else passes with them
CONFIDENCE = 0.99  # of the band of false alarms
AIMS = {"near": 0.95, "far": 0.99}  # AUROC


class Scores(msgspec.Struct, frozen=True):
    """Of the pictures of one kind in one draw."""

    kinds: tuple[str, ...]  # verdicts
    scores: tuple[float, ...]
    energies: tuple[float, ...]  # minus the log of the sum of the exponentials of the channels' means
    cycles: tuple[float, ...]  # mean of |x - H(face)|; none without the network back


class Span(msgspec.Struct, frozen=True):
    """A figure over the draws. Of five draws the median lies between lowest and highest with 94 %."""

    mean: float
    low: float
    high: float

    def text(self) -> str:
        """Short where all draws agree."""
        return f"{self.mean:.3f} ({self.low:.3f}-{self.high:.3f})"


class Row(msgspec.Struct, frozen=True):
    """One kind of picture."""

    name: str
    group: str
    pictures: int  # over all draws
    ok: Span
    unusual: Span
    refused: Span
    auroc: Span  # of the score, against unseen scans
    passing: Span  # share that passes where RECALL of unseen scans do
    energy: Span  # AUROC
    cycle: Span | None  # AUROC


class GuardReport(msgspec.Struct, frozen=True):
    """Everything, over all draws."""

    network: str
    load: float | None
    draws: int
    scans: int
    unseen: int
    share: float
    false_alarms: tuple[int, ...]  # unseen scans that are not ok, of each draw
    band: tuple[int, int]  # where their sum lies with CONFIDENCE if the share is the promised one
    rows: tuple[Row, ...]
    costs: tuple[Cost, ...]

    def group(self, name: str) -> float:
        """Mean AUROC of a group."""
        return fmean(row.auroc.mean for row in self.rows if row.group == name)

    def text(self) -> str:
        """Tables for people, as they stand in the docs."""
        low, high = self.band
        alarms, count = sum(self.false_alarms), self.unseen * self.draws
        lines = [
            f"{self.network}; {self.draws} calibrations of {self.scans} scans, mean (lowest-highest)",
            f"false alarms: {alarms} of {count} unseen scans ({alarms / count:.2%}; promised "
            f"{self.share:.2%}, so {low} to {high} with {CONFIDENCE:.0%}), by calibration "
            f"{', '.join(map(str, self.false_alarms))}",
            "",
            "| shown | group | ok | unusual | refused | AUROC | passes at 95 % recall | AUROC of energy "
            "| AUROC of cycle error |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for row in self.rows:
            cycle = "-" if row.cycle is None else f"{row.cycle.mean:.3f}"
            shares = " | ".join(f"{share.mean:.3f}" for share in (row.ok, row.unusual, row.refused))
            lines.append(
                f"| {row.name} | {row.group} | {shares} | {row.auroc.text()} | {row.passing.text()} "
                f"| {row.energy.mean:.3f} | {cycle} |"
            )
        lines.append("")
        for group, aim in AIMS.items():
            worst = min((row for row in self.rows if row.group == group), key=lambda row: row.auroc.mean)
            lines.append(
                f"{group}: AUROC {self.group(group):.3f} on the average (aim {aim}), least "
                f"{worst.auroc.mean:.3f} ({worst.name})"
            )
        if self.costs:
            load = "" if self.load is None else f", load {self.load:.1f}"
            lines += ["", f"time with features over time without, in turn, fastest tenth (median){load}:"]
            lines += [cost.text() for cost in self.costs]
        return "\n".join(lines)

    def to_json(self) -> str:
        """For a machine."""
        groups = {group: self.group(group) for group in AIMS}
        return json_text({"schema": 1, **msgspec.to_builtins(self), "auroc_by_group": groups})


def row_of(name: str, group: str, draws: Sequence[Scores], known: Sequence[Scores]) -> Row:
    """known: the unseen scans of the same draws."""

    def share(kind: str) -> Span:
        return _span(scores.kinds.count(kind) / len(scores.kinds) for scores in draws)

    def against(figure: Callable[[Scores], Sequence[float]]) -> Span:
        return _span(auroc(figure(a), figure(b)) for a, b in zip(draws, known, strict=True))

    return Row(
        name=name,
        group=group,
        pictures=sum(len(scores.kinds) for scores in draws),
        ok=share("ok"),
        unusual=share("unusual"),
        refused=share("refused"),
        auroc=against(lambda each: each.scores),
        passing=_span(
            float((np.array(a.scores) <= np.quantile(b.scores, RECALL)).mean())
            for a, b in zip(draws, known, strict=True)
        ),
        energy=against(lambda each: each.energies),
        cycle=against(lambda each: each.cycles) if known[0].cycles else None,
    )


def auroc(strange: Sequence[float], known: Sequence[float]) -> float:
    """How often a strange picture's score is above a known one's; equal ones count half."""
    ordered = np.sort(known)
    below = np.searchsorted(ordered, strange, "left") + np.searchsorted(ordered, strange, "right")
    return float(below.mean() / (2 * len(ordered)))


def binomial_band(count: int, share: float) -> tuple[int, int]:
    """The central CONFIDENCE of how many of `count` happen, each with probability `share`."""
    tail = (1.0 - CONFIDENCE) / 2.0
    low, total, number = -1, 0.0, -1
    while total < 1.0 - tail and number < count:
        number += 1
        logarithm = math.lgamma(count + 1) - math.lgamma(number + 1) - math.lgamma(count - number + 1)
        total += math.exp(logarithm + number * math.log(share) + (count - number) * math.log1p(-share))
        if low < 0 and total > tail:
            low = number
    return low, number


def _span(values: Iterable[float]) -> Span:
    found = list(values)
    return Span(fmean(found), min(found), max(found))
