"""Measured pictures against the calibration's: since when they differ, and in what, in everybody's words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from getgan.printing import counted
from getgan.runtime.drift.compare import LARGE, cliffs_delta, kolmogorov_smirnov
from getgan.runtime.drift.series import FEWEST, SURE, Point, Series, change_in, series_of
from getgan.runtime.guard.statistics import ATTRIBUTES, Statistics

LOW, HIGH = 5, 95  # the quantiles, in percent, between which most of the calibration lies
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
class Finding:
    """One attribute."""

    name: str
    measured: str  # how
    median: float
    reference: tuple[float, float, float]  # of the calibration: what 5 %, 50 % and 95 % lie below
    units: int  # that were tested: those since the change
    of: int  # all that have a value
    distance: float  # Kolmogorov-Smirnov, 0..1
    p: float | None  # None = too few units
    delta: float  # Cliff's, -1..1; below 0: smaller than in the calibration
    since: str  # "3 May 2026", "file 12"; "" = all of them
    drifted: bool
    beyond: bool  # every one of them lies beyond all of the calibration
    words: str


@dataclass(frozen=True)
class Missing:
    """An attribute that was not compared."""

    name: str
    why: str


def findings_of(
    points: Sequence[Point], statistics: Statistics, *, timed: bool, unit: str = "file"
) -> tuple[Finding, ...]:
    """One for each attribute that was measured, here and in the calibration; points in order of time.

    unit: what the points' units are called.
    """
    found = []
    for number, name in enumerate(ATTRIBUTES):
        series = series_of(points, number, timed=timed)
        reference = statistics.attributes[number].astype(np.float64)
        if not _why_not(name, series, reference):
            found.append(_finding(name, series, reference, unit))
    return tuple(found)


def missing_of(points: Sequence[Point], statistics: Statistics) -> tuple[Missing, ...]:
    """Each attribute that has no finding, and why."""
    reasons = [
        (name, _why_not(name, series_of(points, number, timed=False), statistics.attributes[number]))
        for number, name in enumerate(ATTRIBUTES)
    ]
    return tuple(Missing(name, why) for name, why in reasons if why)


def sentences_of(findings: Sequence[Finding]) -> list[str]:
    """What drifted, the farthest first; what differs since the same moment in one sentence."""
    drifted = sorted((f for f in findings if f.drifted), key=lambda f: -abs(f.delta))
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in drifted:
        groups.setdefault((finding.since, _things(finding.name)), []).append(finding)
    return [_sentence(group) for group in groups.values()]


def _why_not(name: str, series: Series, reference: NDArray[np.floating[Any]]) -> str:
    """Why an attribute cannot be compared; "" = it can."""
    if name == "hidden" and not len(series.values):
        return "there is no occlusion map: the bundle was exported without --occlusion"
    # A guard from before there was a pose, or whose calibration saw no head, or no map. Grey scans have no
    # colour at all, and that is a measurement.
    if name in ("hidden", "face pose") and not reference.any():
        return "the calibration did not record it: calibrate again"
    if not len(series.values):
        return "no head was found in a face" if name == "face pose" else "no picture has a number for it"
    if reference[0] == reference[-1] and (series.values == reference[0]).all():
        return f"it is {reference[0]:.3g} in the whole calibration, and here"
    return ""


def _finding(name: str, series: Series, reference: NDArray[np.float64], unit: str) -> Finding:
    whole = _compared(name, series, 0, reference, unit)
    start = change_in(series, lambda values: cliffs_delta(values, reference) / LARGE, drifted=whole.drifted)
    later = _compared(name, series, start, reference, unit) if start else whole
    found = later if later.drifted else whole
    return replace(found, words=_words(found, unit))


def _compared(name: str, series: Series, start: int, reference: NDArray[np.float64], unit: str) -> Finding:
    """The series from start on, without words."""
    values = series.values[start:]
    distance, p = kolmogorov_smirnov(values, reference)
    delta = cliffs_delta(values, reference)
    tested = len(values) >= FEWEST
    low, middle, high = (float(reference[place]) for place in (LOW, 50, HIGH))
    return Finding(
        name=name,
        measured=MEANING[name][0],
        median=float(np.median(values)),
        reference=(low, middle, high),
        units=len(values),
        of=len(series.values),
        distance=distance,
        p=p if tested else None,
        delta=delta,
        since=series.since(start, unit),
        drifted=tested and p < SURE and abs(delta) >= LARGE,
        beyond=bool(values.max() < reference[0] if delta < 0 else values.min() > reference[-1]),
        words="",
    )


def _words(finding: Finding, unit: str) -> str:
    if finding.drifted:
        return _sentence([finding])
    what = f"the {_things(finding.name)}' {finding.name.removeprefix('face ')}"
    if finding.p is None:
        few = counted(finding.units, unit)
        return f"{what} was not tested: {few} {'is' if finding.units == 1 else 'are'} too few"
    return f"{what} shows no drift"


def _sentence(findings: Sequence[Finding]) -> str:
    """Of what drifted since one moment; in what all lie beyond the calibration comes first."""
    parts: list[str] = []
    for beyond, than in ((True, "any"), (False, "most")):
        how = [MEANING[f.name][1 if f.delta < 0 else 2] for f in findings if f.beyond is beyond]
        if how:
            where = "there" if parts else "in the calibration"
            parts.append(f"{_listed(how)} than {than} {where}")
    since = f"since {findings[0].since} " if findings[0].since else ""
    return f"{since}these {_things(findings[0].name)} are {', and '.join(parts)}"


def _listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def _things(name: str) -> str:
    return "faces" if name.startswith("face") else "pictures"
