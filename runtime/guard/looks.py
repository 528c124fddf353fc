"""Second looks: what would have to be changed for the network to know the picture, and so what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from getgan.runtime.guard.tone import Picture, brightness

TEXT_REACH = 0.012  # of a side: what lies so near to a letter is its rim


@dataclass(frozen=True)
class Look:
    """A change that makes the picture one the network knows, and what that says of the picture."""

    code: str
    reason: str
    change: Callable[[Picture], Picture | None]  # None = there is nothing to change


def _upside_down(picture: Picture) -> Picture:
    return np.ascontiguousarray(picture[::-1])


def _turned(degrees: float) -> Callable[[Picture], Picture]:
    def change(picture: Picture) -> Picture:
        return _warped(picture, degrees, 1.0)

    return change


def _zoomed(factor: float) -> Callable[[Picture], Picture]:
    def change(picture: Picture) -> Picture:
        return _warped(picture, 0.0, factor)

    return change


def _warped(picture: Picture, degrees: float, factor: float) -> Picture:
    """Turned clockwise and enlarged about the middle; beyond the edge the picture goes on reflected."""
    import cv2

    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2.0, (height - 1) / 2.0), -degrees, factor)
    return np.asarray(
        cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101), np.uint8
    )


def _without_text(picture: Picture) -> Picture | None:
    """Thin bright lines filled from what lies around them; None where there are none."""
    import cv2

    height, width = picture.shape[:2]
    side = max(3, int(min(height, width) * 0.05)) | 1
    level = brightness(picture)
    around = cv2.morphologyEx(level, cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
    letters = ((level > 200) & (level.astype(np.int16) - around > 60)).astype(np.uint8)
    if not letters.any():
        return None
    reach = max(1, round(TEXT_REACH * min(height, width)))
    rims = cv2.dilate(letters, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    return np.asarray(cv2.inpaint(picture, rims, 3, cv2.INPAINT_TELEA), np.uint8)


LOOKS = (
    Look("upside-down", "the head is upside down", _upside_down),
    Look("turned", "the head lies on its side", _turned(90.0)),
    Look("turned", "the head lies on its side", _turned(-90.0)),
    Look("turned", "the head is turned too far", _turned(45.0)),
    Look("turned", "the head is turned too far", _turned(-45.0)),
    Look("too-near", "the head is too large in the picture", _zoomed(0.5)),
    Look("too-far", "the head is too small in the picture", _zoomed(2.0)),
    Look("text", "text or lines of the screen cover the scan", _without_text),
)
