"""The picture that a video shows where it has no face: never the face before."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from getgan.runtime.geometry import resize
from getgan.runtime.media.frames import Image

BACKGROUND = 44  # grey: not black, which would look like a dark face
WIDEST = 0.8  # of the width, for the words
TALLEST = 0.12  # of the height


@lru_cache(maxsize=8)
def plate(words: str, height: int, width: int) -> Image:
    """A dark card with "no picture: WORDS" in its middle, uint8 (H, W, 3); all channels equal."""
    line = ink(f"no picture: {words}")
    factor = min(WIDEST * width / line.shape[1], TALLEST * height / line.shape[0])
    text = resize(line, max(1, round(factor * line.shape[0])), max(1, round(factor * line.shape[1])))
    card = np.full((height, width), BACKGROUND, np.uint8)
    top, left = (height - text.shape[0]) // 2, (width - text.shape[1]) // 2
    place = card[top : top + text.shape[0], left : left + text.shape[1]]
    place[:] = np.maximum(place, text)
    card = np.repeat(card[:, :, None], 3, axis=2)
    card.flags.writeable = False  # one card for all
    return card


def ink(words: str) -> Image:
    """The words white on black, (h, w), many times larger than needed, cut to their ink."""
    import cv2

    canvas = np.zeros((300, 100 * len(words)), np.uint8)
    cv2.putText(canvas, words, (50, 180), cv2.FONT_HERSHEY_SIMPLEX, 4.0, 255, 9, cv2.LINE_AA)
    rows, columns = np.flatnonzero(canvas.any(axis=1)), np.flatnonzero(canvas.any(axis=0))
    return np.ascontiguousarray(canvas[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
