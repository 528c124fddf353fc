"""Figures from times: percentiles, what the repeats differ by, growth with time, resampled intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from getgan.benchmarks.schema import Growth, Percentiles, Spread

# Queries that MLPerf LoadGen wants before it states a percentile (early stopping, 99 % confidence): 64 for
# p90, 130 for p95, 662 for p99; its formula gives 6,636 for p99.9.
WANTED = {"p90": 64, "p95": 130, "p99": 662, "p99.9": 6636}


def percentiles(seconds: Sequence[float] | NDArray[np.float64]) -> Percentiles:
    """Of every query; there must be one."""
    times = np.asarray(seconds, np.float64)
    p50, p90, p95, p99, p999 = (float(p) for p in np.percentile(times, (50, 90, 95, 99, 99.9)))
    enough = len(times) >= WANTED["p99.9"]
    return Percentiles(
        count=len(times),
        mean=float(times.mean()),
        p50=p50,
        p90=p90,
        p95=p95,
        p99=p99,
        p999=p999 if enough else None,
        max=float(times.max()),
    )


def too_few(count: int) -> tuple[str, ...]:
    """The percentiles for which so many queries are too few."""
    return tuple(name for name, wanted in WANTED.items() if count < wanted)


def spread(values: Sequence[float]) -> Spread:
    """Of one figure's repeats; there must be one."""
    return Spread(float(np.median(values)), min(values), max(values))


def growth_per_hour(seconds: Sequence[float], values: Sequence[float]) -> float | None:
    """The slope of the line through the values (least squares); None = under three of them, or no time."""
    if len(seconds) < 3 or max(seconds) == min(seconds):
        return None
    slope, _ = np.polyfit(np.asarray(seconds), np.asarray(values), 1)
    return float(slope) * 3600.0


def growth(what: str, seconds: Sequence[float], megabytes: Sequence[float]) -> Growth | None:
    """Of a run's memory; None without readings."""
    if not megabytes:
        return None
    return Growth(
        what="host" if what == "host" else "device",
        first_mb=megabytes[0],
        last_mb=megabytes[-1],
        peak_mb=max(megabytes),
        mb_per_hour=growth_per_hour(seconds, megabytes),
    )
