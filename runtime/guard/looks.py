"""Second looks: what would have to be changed for the network to know the picture, and so what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from getgan.runtime.geometry import resize
from getgan.runtime.guard.tone import Picture, brightness

TEXT_REACH = 0.012  # of a side: what lies so near to a letter is its rim
# Around a head that is too large something must stand in for what the picture does not show. It goes on
# reflected, and beyond a head's outline nearly black, with more left of the ground below. Of 40 scans each,
# enlarged 1.5 and 2 times, the network then knows 23 and 28. With the reflection alone, or the edge or a dark
# tone going on, it knew a third of the first at most, and none of the second.
OUTLINE = (0.60, 0.57)  # half its height and half its width, of the picture's halves
FADE = 0.3  # of the outline: over so much it grows dark
DARKENED, DARKENED_BELOW = 0.85, 0.34  # share of the brightness that is taken away


@dataclass(frozen=True)
class Look:
    """A change that makes the picture one the network knows, and what that says of the picture."""

    code: str
    reason: str
    change: Callable[[Picture], Picture | None]  # None = there is nothing to change


def _upside_down(picture: Picture) -> Picture:
    return np.ascontiguousarray(picture[::-1])


def _turned(degrees: float) -> Callable[[Picture], Picture]:
    """Clockwise; beyond the edge the picture goes on reflected."""

    def change(picture: Picture) -> Picture:
        import cv2

        height, width = picture.shape[:2]
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2.0, (height - 1) / 2.0), -degrees, 1.0)
        turned = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        return np.asarray(turned, np.uint8)

    return change


def _larger(factor: float) -> Callable[[Picture], Picture]:
    """The middle alone, enlarged."""

    def change(picture: Picture) -> Picture:
        height, width = picture.shape[:2]
        tall, wide = round(height / factor), round(width / factor)
        top, left = (height - tall) // 2, (width - wide) // 2
        return resize(np.ascontiguousarray(picture[top : top + tall, left : left + wide]), height, width)

    return change


def _smaller(factor: float) -> Callable[[Picture], Picture]:
    """All of it in the middle, and around it what might be there."""

    def change(picture: Picture) -> Picture:
        import cv2

        height, width = picture.shape[:2]
        small = resize(picture, round(factor * height), round(factor * width))
        top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
        bottom, right = height - small.shape[0] - top, width - small.shape[1] - left
        whole = cv2.copyMakeBorder(small, top, bottom, left, right, cv2.BORDER_REFLECT_101)
        return np.asarray(np.rint(whole * _light(height, width)[:, :, None]), np.uint8)

    return change


def _light(height: int, width: int) -> NDArray[np.float64]:
    """(H, W): how much of the brightness is left, 1 within a head's outline."""
    y = np.linspace(-1.0, 1.0, height)[:, None]
    x = np.linspace(-1.0, 1.0, width)[None, :]
    beyond = np.clip((np.hypot(y / OUTLINE[0], x / OUTLINE[1]) - 1.0) / FADE, 0.0, 1.0)
    below = y > 0.8 * OUTLINE[0]
    return np.asarray(1.0 - beyond * np.where(below, DARKENED_BELOW, DARKENED), np.float64)


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
    Look("too-near", "the head is too large in the picture", _smaller(0.7)),
    Look("too-near", "the head is too large in the picture", _smaller(0.55)),
    Look("too-far", "the head is too small in the picture", _larger(1.5)),
    Look("too-far", "the head is too small in the picture", _larger(2.0)),
    Look("text", "text or lines of the screen cover the scan", _without_text),
)
