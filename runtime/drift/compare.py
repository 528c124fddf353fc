"""Whether two samples differ and how much, where a series changes, and whether a share keeps a promise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDS = 999  # of the permutation: p is 0.001 at least
MOST = 400  # values of a sample; of more, so many spread evenly over the sorted ones
LARGE = 0.474  # Romano and others, 2006: a Cliff's delta beyond it is a large effect
BETS = np.arange(1, 100) / 100.0  # shares of what one has, staked on each unit
Numbers = NDArray[np.floating[Any]]


def cliffs_delta(found: Numbers, reference: Numbers) -> float:
    """-1..1: how much more often a value of found is the larger one of a pair than the smaller one."""
    return float(np.sign(found[:, None] - reference[None, :]).mean())


def kolmogorov_smirnov(found: Numbers, reference: Numbers, seed: int = 0) -> tuple[float, float]:
    """The largest distance between the two distributions, 0..1, and its p.

    p: the share of random divisions of all values into two such samples that are as far apart or farther.
    """
    found, reference = _thinned(found), _thinned(reference)
    values = np.concatenate([found, reference])
    order = np.argsort(values, kind="stable")
    last = np.append(np.diff(values[order]) > 0.0, True)  # of equal values: only there both have counted all
    steps = np.concatenate(
        [np.full(len(found), 1.0 / len(found)), np.full(len(reference), -1.0 / len(reference))]
    )
    true = _distance(steps[order], last)
    rng = np.random.default_rng(seed)
    reached = sum(_distance(rng.permutation(steps), last) >= true - 1e-12 for _ in range(ROUNDS))
    return true, (reached + 1) / (ROUNDS + 1)


def change_of(values: Numbers, starts: Sequence[int], fewest: int, seed: int = 0) -> tuple[int, float]:
    """Where what comes after differs most from what came before, and its p, by permutation.

    By ranks (Pettitt, 1979), so that one value, however far or near, moves it by little; each division by its
    own deviation, or else only those in the middle would be found: where the last 6 of 100 values lie three
    deviations lower, but for one of them, in 20 % of series with p below 0.05, and so in 95 %. starts: the
    indices before which the series may be divided; what comes after has `fewest` values at least. (0, 1.0)
    where none is left.
    """
    count = len(values)
    places = np.array([start for start in starts if 0 < start <= count - fewest], np.int64)
    if not len(places):
        return 0, 1.0
    ordered = np.sort(values)
    # Twice the mean rank among equals, less its mean over all: whole numbers, and their sum is 0.
    below, upto = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    ranks = below + upto - count
    deviation = np.sqrt(places * (count - places))  # but for a factor

    def apart(ranks: NDArray[np.int64]) -> Numbers:
        return np.asarray(np.abs(np.cumsum(ranks)[places - 1]) / deviation)

    found = apart(ranks)
    rng = np.random.default_rng(seed)
    reached = sum(apart(rng.permutation(ranks)).max() >= found.max() - 1e-9 for _ in range(ROUNDS))
    return int(places[found.argmax()]), float(reached + 1) / (ROUNDS + 1)


def p_of_share(shares: Numbers, promised: float) -> float:
    """How likely so many shares, each 0..1, are so large if `promised` at most is expected of each.

    Of shares that are 0 or 1 exactly (the binomial distribution). Of others at most so likely, whatever their
    distribution: the inverse of what a fair game against the promise would have won, on the average over BETS
    (Waudby-Smith and Ramdas, 2024). Eight shares of 0.27 against 0.01 have a p below 1e-9 by it, and of 0.004
    by Hoeffding's inequality.
    """
    count, mean = len(shares), float(shares.mean())
    if mean <= promised:
        return 1.0
    if promised <= 0.0:
        return 0.0
    if np.isin(shares, (0.0, 1.0)).all():
        odds, logs = math.log(promised), math.log1p(-promised)
        reached = range(round(float(shares.sum())), count + 1)
        return min(1.0, sum(math.exp(_log_choose(count, k) + k * odds + (count - k) * logs) for k in reached))
    won = np.log1p(BETS[:, None] * (shares[None, :] / promised - 1.0)).sum(axis=1)
    most = float(won.max())
    return min(1.0, math.exp(-most) / float(np.exp(won - most).mean()))


def cohens_h(share: float, promised: float) -> float:
    """How far two shares are apart, in units in which a step is as easily seen near 0 as at one half."""
    return 2.0 * (math.asin(math.sqrt(share)) - math.asin(math.sqrt(promised)))


def _log_choose(count: int, chosen: int) -> float:
    return math.lgamma(count + 1) - math.lgamma(chosen + 1) - math.lgamma(count - chosen + 1)


def _distance(steps: Numbers, last: NDArray[np.bool_]) -> float:
    return float(np.abs(np.cumsum(steps)[last]).max())


def _thinned(values: Numbers) -> Numbers:
    if len(values) <= MOST:
        return np.asarray(values)
    places = np.linspace(0, len(values) - 1, MOST).round().astype(int)
    return np.asarray(np.sort(values)[places])
