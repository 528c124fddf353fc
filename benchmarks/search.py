"""The highest rate at which a queue does not grow, by bisection."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

from getgan.benchmarks.load import Answer, Load
from getgan.benchmarks.schema import Trial

TOLERANCE = 0.02
# A rate that is e too high leaves the last quarter of n queries n * e * 7/8 periods behind: with 60 queries
# 2 % are one period.
QUERIES = 60
PATIENCE = 5.0  # periods; who waits longer is in a queue that grows
MAX_TRIALS = 24


def search_rate(
    trial: Callable[[float], Trial], guess: float, tolerance: float = TOLERANCE
) -> tuple[float | None, tuple[Trial, ...]]:
    """The highest rate that was kept up with, to within `tolerance` of one that was not; and all trials.

    guess: near it, if known; the search widens by itself. None = no rate that was tried was kept up with.
    """
    trials: list[Trial] = []

    def kept_up(rate: float) -> bool:
        trials.append(trial(rate))
        return trials[-1].kept_up

    low: float | None = None
    high: float | None = None
    rate, step = guess, 1.0 + 2.0 * tolerance
    while len(trials) < MAX_TRIALS and (low is None or high is None):
        if kept_up(rate):
            low, rate = rate, rate * step
        else:
            high, rate = rate, rate / step
        step *= step  # 4 %, 8 %, 17 %, 37 %, ...
    while low and high and high / low > 1.0 + tolerance and len(trials) < MAX_TRIALS:
        middle = math.sqrt(low * high)
        if kept_up(middle):
            low = middle
        else:
            high = middle
    return low, tuple(trials)


def judged(rate: float, load: Load[Answer], p99: float) -> Trial:
    """Kept up: every query had its turn, and in the last quarter the median waited one period at most."""
    waits = [query.started - query.intended for query in load.queries]
    last = statistics.median(waits[-max(1, len(waits) // 4) :]) if waits else math.inf
    return Trial(rate, not load.unserved and last <= 1.0 / rate, last, p99)
