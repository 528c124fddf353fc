"""What is measured of each picture beside its score, so that a drift of a device has a name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from getgan.runtime.guard.pose import face_pose
from getgan.runtime.guard.statistics import ATTRIBUTES, POINTS, Floats
from getgan.runtime.guard.tone import Picture, brightness


def measure(view: Picture, score: float, hidden: float, face: Picture | None) -> tuple[float, ...]:
    """One number per name of ATTRIBUTES, of the network's view, uint8 (H, W, 3) RGB.

    hidden: the share that the occlusion map says is hidden, NaN without a map. face: what the network made of
    it; None = nothing that is shown, and its attributes are NaN.
    """
    # OpenCV's, for numpy takes 5 ms of a 256x256 picture to go through three channels that lie side by side.
    import cv2

    level = brightness(view)
    bright = float(np.percentile(level, 99.0)) / 2.0
    made = (np.nan, np.nan, np.nan)
    if face is not None:
        red, _, blue, _ = cv2.mean(face)
        made = (float(cv2.mean(brightness(face))[0]), float(red - blue), face_pose(face))
    first, second, third = cv2.split(view)
    most, least = cv2.max(cv2.max(first, second), third), cv2.min(cv2.min(first, second), third)
    mean, deviation = cv2.meanStdDev(level)
    return (
        float(score),
        float(mean[0, 0]),
        float(deviation[0, 0]),
        float(cv2.mean(cv2.subtract(most, least))[0]),
        float(np.count_nonzero(level > bright) / level.size),
        float(hidden),
        *made,
    )


def quantiles_of(rows: Sequence[Sequence[float]] | NDArray[np.floating[Any]]) -> Floats:
    """(N, A) of `measure` -> (A, POINTS), for Statistics; what is NaN does not count."""
    table = np.asarray(rows, np.float64)
    shares = np.linspace(0.0, 1.0, POINTS)
    found = np.zeros((len(ATTRIBUTES), POINTS))
    for number, column in enumerate(table.T):
        known = column[np.isfinite(column)]
        if len(known):
            found[number] = np.quantile(known, shares)
    return np.maximum.accumulate(found, axis=1).astype(np.float32)
