"""The label that is burned into every picture that a parent may see."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from getgan.runtime.geometry import resize

TEXT = "AI-generated, not diagnostic"
# The smallest picture on which the text is read easily: 10-pixel letters, a band of a fifth of the height.
MIN_WIDTH = 216
MIN_HEIGHT = 80
LETTERS = 0.042  # height of the line of text, of the geometric mean of the sides
MIN_LETTERS = 11  # pixels
BAND = np.float32(0.38)  # of the picture's brightness stays: on white the text's contrast is 6:1
WIDEST = 0.94  # of the picture's width


def add_label(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy of uint8 (H, W, 3) with the label at the bottom: white text on a darkened band.

    Inside the picture and not below it: cutting it off costs a piece of the face, and sizes stay. A picture
    below MIN_WIDTH x MIN_HEIGHT is enlarged by a whole factor first, see `labelled_size`.
    """
    height, width = labelled_size(*image.shape[:2])
    labelled = resize(image, height, width)
    if labelled is image:
        labelled = image.copy()
    text = _text(height, width)
    pad = max(2, text.shape[0] // 3)
    band = labelled[height - text.shape[0] - 2 * pad :]
    band[:] = (band * BAND).astype(np.uint8)
    left = (width - text.shape[1]) // 2
    place = band[pad : pad + text.shape[0], left : left + text.shape[1]]
    cover = text[..., None] / np.float32(255.0)
    place[:] = np.rint(place + (np.float32(255.0) - place) * cover).astype(np.uint8)
    return labelled


def labelled_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of a labelled picture: its own, or a whole multiple that is large enough."""
    factor = max(1, -(-MIN_WIDTH // width), -(-MIN_HEIGHT // height))
    return height * factor, width * factor


@lru_cache(maxsize=8)
def _text(height: int, width: int) -> NDArray[np.uint8]:
    """The text as coverage 0..255, (h, w), cut to its ink, for a picture of height x width."""
    ink = _large_text()
    letters = max(MIN_LETTERS, round(LETTERS * (height * width) ** 0.5))
    wide = round(letters * ink.shape[1] / ink.shape[0])
    if wide > WIDEST * width:
        wide = int(WIDEST * width)
        letters = max(1, round(wide * ink.shape[0] / ink.shape[1]))
    return resize(ink, letters, wide)


@lru_cache(maxsize=1)
def _large_text() -> NDArray[np.uint8]:
    """The text 10 times larger than needed: OpenCV 4 and 5 draw and measure text differently, ink is ink."""
    import cv2

    canvas = np.zeros((300, 4000), np.uint8)
    cv2.putText(canvas, TEXT, (100, 180), cv2.FONT_HERSHEY_SIMPLEX, 4.0, 255, 9, cv2.LINE_AA)
    rows, columns = np.flatnonzero(canvas.any(axis=1)), np.flatnonzero(canvas.any(axis=0))
    return np.ascontiguousarray(canvas[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
