"""Measured pictures against the calibration's: since when they differ, and in what, in everybody's words."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from getgan.runtime.drift.compare import LARGE, cliffs_delta, kolmogorov_smirnov
from getgan.runtime.guard.statistics import ATTRIBUTES, Statistics

FEWEST = 5  # units: of fewer a test says nothing
SURE = 0.05 / len(ATTRIBUTES)  # p of each, so that all together are wrong once in twenty
LOW, HIGH = 5, 95  # the quantiles, in percent, between which most of the calibration lies
DAY = 86400
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# What is measured, and what a smaller and a larger value is called.
MEANING = {
    "score": ("distance from the calibration, 1 = the guard's limit", "nearer", "farther from the usual"),
    "brightness": ("mean brightness, 0 to 255", "darker", "brighter"),
    "contrast": ("standard deviation of the brightness", "flatter", "richer in contrast"),
    "colour": ("mean distance of the largest from the smallest of R, G, B", "greyer", "more coloured"),
    "head": (
        "share of the picture above half the brightness of its brightest hundredth",
        "smaller in what is bright (the head)",
        "larger in what is bright (the head)",
    ),
    "hidden": ("share that the occlusion map says is hidden", "less hidden", "more hidden"),
    "face brightness": ("mean brightness of the face, 0 to 255", "darker", "brighter"),
    "face warmth": ("mean red less mean blue of the face", "bluer", "redder"),
    "face pose": (
        "how far the features lie to the right of the head's middle, in half widths of the head",
        "turned farther to the picture's left",
        "turned farther to the picture's right",
    ),
}


@dataclass(frozen=True)
class Point:
    """What was measured of one picture."""

    moment: float | None  # seconds since 1970; None = not known
    unit: str  # pictures of one file or run are alike, and count as one
    kind: str  # the guard's verdict
    values: tuple[float, ...]  # as ATTRIBUTES; NaN = there was no face


@dataclass(frozen=True)
class Finding:
    """One attribute."""

    name: str
    measured: str  # how
    median: float
    reference: tuple[float, float, float]  # of the calibration: what 5 %, 50 % and 95 % lie below
    units: int  # that were tested
    distance: float  # Kolmogorov-Smirnov, 0..1
    p: float | None  # None = too few units
    delta: float  # Cliff's, -1..1; below 0: smaller than in the calibration
    since: str  # "3 May 2026", "picture 12"; "" = all of them
    drifted: bool
    words: str


@dataclass(frozen=True)
class Series:
    """One attribute of every unit, in order."""

    values: NDArray[np.float64]
    moments: NDArray[np.float64] | None  # None: only the order is known


def series_of(points: Sequence[Point], attribute: int, *, timed: bool) -> Series:
    """The median of each unit, in the order of their first pictures, without those that have none."""
    groups: dict[str, list[Point]] = {}
    for point in points:
        if math.isfinite(point.values[attribute]):
            groups.setdefault(point.unit, []).append(point)
    values = [float(np.median([point.values[attribute] for point in group])) for group in groups.values()]
    moments = [group[0].moment or 0.0 for group in groups.values()]
    return Series(np.array(values), np.array(moments) if timed else None)


def findings_of(points: Sequence[Point], statistics: Statistics, *, timed: bool) -> tuple[Finding, ...]:
    """One for each attribute that was measured, here and in the calibration; points in order of time."""
    found = []
    for number, name in enumerate(ATTRIBUTES):
        if name in unrecorded(statistics):
            continue
        series = series_of(points, number, timed=timed)
        reference = statistics.attributes[number].astype(np.float64)
        constant = reference[0] == reference[-1]
        if len(series.values) and not (constant and not (series.values != reference[0]).any()):
            found.append(_finding(name, series, reference))
    return tuple(found)


def unrecorded(statistics: Statistics) -> tuple[str, ...]:
    """What the calibration did not measure: the pose, if it is older, or saw no head in any face."""
    pose = ATTRIBUTES.index("face pose")
    return () if statistics.attributes[pose].any() else (ATTRIBUTES[pose],)


def _finding(name: str, series: Series, reference: NDArray[np.float64]) -> Finding:
    low, middle, high = reference[LOW], reference[50], reference[HIGH]
    start = _since(series, float(low), float(high))
    values = series.values[start:]
    distance, p = kolmogorov_smirnov(values, reference)
    delta = cliffs_delta(values, reference)
    tested = len(values) >= FEWEST
    drifted = tested and p < SURE and abs(delta) >= LARGE
    since = ""
    if drifted and start:
        since = f"picture {start + 1}" if series.moments is None else date_of(series.moments[start])
    return Finding(
        name=name,
        measured=MEANING[name][0],
        median=float(np.median(values)),
        reference=(float(low), float(middle), float(high)),
        units=len(values),
        distance=distance,
        p=p if tested else None,
        delta=delta,
        since=since,
        drifted=drifted,
        words=_words(name, values, reference, delta, since, tested=tested, drifted=drifted),
    )


def _since(series: Series, low: float, high: float) -> int:
    """From which unit on all days (or units) lie outside what is usual, on one side; 0 = no such change."""
    if series.moments is None:
        groups = np.arange(len(series.values))
    else:
        groups = (series.moments // DAY).astype(np.int64)
    starts = np.flatnonzero(np.diff(groups, prepend=groups[0] - 1))
    ends = [*starts[1:], len(groups)]
    medians = [float(np.median(series.values[a:b])) for a, b in zip(starts, ends, strict=True)]
    for outside in ([m < low for m in medians], [m > high for m in medians]):
        run = 0
        while run < len(outside) and outside[len(outside) - 1 - run]:
            run += 1
        start = int(starts[len(starts) - run]) if run else 0
        if run and len(series.values) - start >= FEWEST:
            return start
    return 0


def _words(
    name: str,
    values: NDArray[np.float64],
    reference: NDArray[np.float64],
    delta: float,
    since: str,
    *,
    tested: bool,
    drifted: bool,
) -> str:
    things = "faces" if name.startswith("face") else "pictures"
    if not drifted:
        few = "" if tested else f" (only {len(values)} files or runs: too few for a test)"
        return f"the {things}' {name.removeprefix('face ')} is as in the calibration{few}"
    beyond = values.max() < reference[0] if delta < 0 else values.min() > reference[-1]
    than = "than any in the calibration" if beyond else "than most in the calibration"
    how = MEANING[name][1 if delta < 0 else 2]
    return f"{f'since {since} ' if since else ''}these {things} are {how} {than}"


def date_of(moment: float) -> str:
    """3 May 2026, here."""
    when = time.localtime(moment)
    return f"{when.tm_mday} {MONTHS[when.tm_mon - 1]} {when.tm_year}"
