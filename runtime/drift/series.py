"""What was measured, unit by unit and in order, and where in it a change begins."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from getgan.runtime.drift.compare import change_of
from getgan.runtime.guard.statistics import ATTRIBUTES

FEWEST = 5  # units: of fewer a test says nothing
# p of each test, the attributes' and those of the two shares: all together are wrong once in twenty.
SURE = 0.05 / (len(ATTRIBUTES) + 2)
CHANGED = 0.02  # p of the change in a series that drifted
DAY = 86400
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """What was measured of one picture."""

    moment: float | None  # seconds since 1970; None = not known
    unit: str  # pictures of one file or run are alike, and count as one
    kind: str  # the guard's verdict
    values: tuple[float, ...]  # as ATTRIBUTES; NaN = there was no face


@dataclass(frozen=True)
class Series:
    """One number of every unit that has it, in order."""

    values: Values
    places: tuple[int, ...]  # of each among all units, from 0 on
    moments: Values | None  # None: only the order is known

    def since(self, start: int, unit: str) -> str:
        """When or where the unit of this index was, in words; "" = it is the first."""
        if not start:
            return ""
        return f"{unit} {self.places[start] + 1}" if self.moments is None else date_of(self.moments[start])


def series_of(points: Sequence[Point], attribute: int, *, timed: bool) -> Series:
    """The median of each unit, in the order of their first pictures, without those that have none."""
    return _series(points, lambda point: point.values[attribute], np.median, timed=timed)


def shares_in(points: Sequence[Point], kind: str, *, timed: bool) -> Series:
    """Of each unit's pictures the share that has this verdict, 0..1."""
    return _series(points, lambda point: float(point.kind == kind), np.mean, timed=timed)


def _series(
    points: Sequence[Point],
    measured: Callable[[Point], float],
    middle: Callable[[Sequence[float]], np.floating[Any]],
    *,
    timed: bool,
) -> Series:
    units: dict[str, list[Point]] = {}
    for point in points:
        units.setdefault(point.unit, []).append(point)
    rows = []
    for place, group in enumerate(units.values()):
        if known := [value for value in map(measured, group) if math.isfinite(value)]:
            rows.append((float(middle(known)), place, group[0].moment or 0.0))
    values, places, moments = zip(*rows, strict=True) if rows else ((), (), ())
    return Series(np.array(values), places, np.array(moments) if timed else None)


def change_in(series: Series, away: Callable[[Values], float], *, drifted: bool) -> int:
    """From which unit on the series has left what is usual; 0 = nowhere, or it was never there.

    away: how far values are from what is usual; beyond -1 or 1 is far. drifted: the whole series is. Where it
    is not, the change itself must be as sure as any finding, as the part after it was sought out: of 160 sets
    of 100 pictures drawn from a calibration's quantiles three drifted where 0.02 was enough, and none so.
    """
    starts: Sequence[int] = range(1, len(series.values))
    if series.moments is not None:  # a day is not divided
        starts = [int(n) + 1 for n in np.flatnonzero(np.diff(series.moments // DAY))]
    start, p = change_of(series.values, starts, FEWEST)
    if p >= (CHANGED if drifted else SURE):
        return 0
    before, after = away(series.values[:start]), away(series.values[start:])
    return start if abs(after) >= 1.0 and math.copysign(before, before * after) < 1.0 else 0


def date_of(moment: float) -> str:
    """3 May 2026, here."""
    when = time.localtime(moment)
    return f"{when.tm_mday} {MONTHS[when.tm_mon - 1]} {when.tm_year}"
