"""Brightness and colour of the calibration, put on another picture: gain, gamma and palette of a device."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from getgan.runtime.guard.statistics import Floats, Statistics

Picture = NDArray[np.uint8]  # (H, W, 3) RGB


class ToneCount:
    """Counts brightness and colour over pictures, one after the other, so that none need be kept."""

    def __init__(self) -> None:
        self._counts = np.zeros(256, np.float64)
        self._sums = np.zeros((256, 3), np.float64)

    def add(self, picture: Picture) -> None:
        """Uint8 (H, W, 3) RGB."""
        level = brightness(picture).ravel()
        self._counts += np.bincount(level, minlength=256)
        for channel in range(3):
            values = picture[:, :, channel].ravel().astype(np.float64)
            self._sums[:, channel] += np.bincount(level, values, minlength=256)

    def tone(self) -> tuple[Floats, Floats]:
        """`brightness` and `palette` of Statistics."""
        share = np.cumsum(self._counts) / max(self._counts.sum(), 1.0)
        # The level below which i/255 of all pixels lie.
        quantiles = np.searchsorted(share, np.linspace(1e-9, 1.0 - 1e-9, 256)).clip(0, 255)
        seen = np.flatnonzero(self._counts)
        means = self._sums[seen] / self._counts[seen, None] if len(seen) else np.zeros((1, 3))
        levels = seen if len(seen) else np.zeros(1)
        palette = np.stack([np.interp(np.arange(256), levels, means[:, c]) for c in range(3)], axis=1)
        return np.maximum.accumulate(quantiles).astype(np.float32), palette.astype(np.float32)


def tone_of(pictures: Iterable[Picture]) -> tuple[Floats, Floats]:
    """`brightness` and `palette` of Statistics, of uint8 (H, W, 3) RGB pictures."""
    count = ToneCount()
    for picture in pictures:
        count.add(picture)
    return count.tone()


def toned(picture: Picture, statistics: Statistics) -> Picture:
    """The picture with the calibration's brightness and colours, uint8 (H, W, 3) RGB.

    Brightness keeps its order, its distribution becomes the calibration's: whatever rising curve a device
    applies (gain, gamma, dynamic range) falls out. Colour then follows from brightness.
    """
    level = brightness(picture)
    counts = np.bincount(level.ravel(), minlength=256)
    # The middle of each level's share: a picture that is its own calibration stays what it is.
    middle = (np.cumsum(counts) - counts / 2.0) / max(counts.sum(), 1)
    new = np.interp(middle, np.linspace(0.0, 1.0, 256), statistics.brightness)
    table = np.stack([np.interp(new, np.arange(256), statistics.palette[:, c]) for c in range(3)], axis=1)
    return np.asarray(np.rint(table), np.uint8)[level]


def brightness(picture: Picture) -> Picture:
    """(H, W, 3) RGB -> (H, W), BT.601."""
    import cv2

    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)
