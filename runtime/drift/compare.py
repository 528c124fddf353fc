"""Two samples compared: whether they differ (Kolmogorov-Smirnov, by permutation), and how much (Cliff's)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDS = 999  # of the permutation: p is 0.001 at least
MOST = 400  # values of a sample; of more, so many spread evenly over the sorted ones
LARGE = 0.474  # Romano and others, 2006: a Cliff's delta beyond it is a large effect
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


def _distance(steps: Numbers, last: NDArray[np.bool_]) -> float:
    return float(np.abs(np.cumsum(steps)[last]).max())


def _thinned(values: Numbers) -> Numbers:
    if len(values) <= MOST:
        return np.asarray(values)
    places = np.linspace(0, len(values) - 1, MOST).round().astype(int)
    return np.asarray(np.sort(values)[places])
