"""Photographs among scans: their colours do not follow from their brightness."""

from __future__ import annotations

import numpy as np

from getgan.runtime.guard.tone import Picture, ToneCount, brightness

OFF = 10.0  # levels from the palette's colour
# A device draws a 3-D scan in one palette. Shares of rendered scans of 64 and 128 px: 0.00, at JPEG quality
# 60 up to 0.19, with two lines of coloured letters up to 0.22. Of rendered photos of faces: 0.30 to 0.84; of
# ten coloured photographs that packages ship: 0.31 to 0.64. Not told: grey ones, and those of nearly one
# colour (hubble_deep_field 0.02, retina 0.12).
COLOURED = 0.26


def off_palette(picture: Picture) -> float:
    """The share of pixels that are not as the picture's own palette, the mean colour of each brightness.

    uint8 (H, W, 3) RGB.
    """
    count = ToneCount()
    count.add(picture)
    _, palette = count.tone()
    away = np.abs(picture - palette[brightness(picture)]).max(axis=2)
    return float((away > OFF).mean())
