"""The pictures that stand where there is no face: a video's plate, and the card of the guard."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from getgan.runtime.geometry import resize
from getgan.runtime.images import read_image
from getgan.runtime.label import add_label, labelled_size
from getgan.runtime.media.frames import Image

BACKGROUND = 44  # grey: not black, which would look like a dark face
WIDEST = 0.8  # of the width, for the words
TALLEST = 0.12  # of the height

CARDS = Path(__file__).parent / "cards"  # examples/cards.py renders them
CARD_WIDEST = 0.92
CARD_TALLEST = 0.68  # of the height, from CARD_TOP on: below is the label's band
CARD_TOP = 0.05
HEAD_ROWS, LINE = 114, 48  # pixels of the first line, and of the letters of the small lines
LEGIBLE = 9  # pixels: smaller Korean letters are blots, and only the first line is shown

BANNER = "not a face scan"
BANNER_TALL = 0.06  # of the height
BANNER_LETTERS = 9  # pixels, at least


@lru_cache(maxsize=8)
def plate(words: str, height: int, width: int) -> Image:
    """A dark card with "no picture: WORDS" in its middle, uint8 (H, W, 3); all channels equal."""
    line = ink(f"no picture: {words}")
    factor = min(WIDEST * width / line.shape[1], TALLEST * height / line.shape[0])
    text = _scaled(line, factor)
    top, left = (height - text.shape[0]) // 2, (width - text.shape[1]) // 2
    return _written(text, top, left, height, width)


@lru_cache(maxsize=8)
def card(code: str, height: int, width: int) -> Image:
    """What stands in a face's place, and why, in English and Korean: uint8 (H, W, 3), channels equal.

    code: a refused Verdict's. Its lower part is left free for the label. All lines where their letters can
    be read, or else the first one.
    """
    words = read_image(CARDS / f"{code}.png")[:, :, 0]
    factor = _factor(words, height, width)
    if factor * LINE < LEGIBLE:
        words = _cut_to_ink(words[:HEAD_ROWS])
        factor = _factor(words, height, width)
    text = _scaled(words, factor)
    top = round(CARD_TOP * height + (CARD_TALLEST * height - text.shape[0]) / 2)
    return _written(text, max(0, top), (width - text.shape[1]) // 2, height, width)


def labelled_card(code: str, height: int, width: int, *, label: bool) -> Image:
    """The card in the size that a face of height x width has, with the label unless it is switched off."""
    return add_label(card(code, *labelled_size(height, width))) if label else card(code, height, width)


def with_banner(image: Image) -> Image:
    """A copy of uint8 (H, W, 3) with BANNER in white on black along its upper edge."""
    height, width = image.shape[:2]
    words = ink(BANNER)
    tall = min(max(BANNER_LETTERS, round(BANNER_TALL * height)), height)
    text = _scaled(words, min(tall / words.shape[0], CARD_WIDEST * width / words.shape[1]))
    marked = image.copy()
    band = marked[: text.shape[0] + 2 * max(2, text.shape[0] // 3)]
    band[:] = 0
    top, left = (band.shape[0] - text.shape[0]) // 2, (width - text.shape[1]) // 2
    band[top : top + text.shape[0], left : left + text.shape[1]] = text[: band.shape[0], :, None]
    return marked


def ink(words: str) -> Image:
    """The words white on black, (h, w), many times larger than needed, cut to their ink."""
    import cv2

    canvas = np.zeros((300, 100 * len(words)), np.uint8)
    cv2.putText(canvas, words, (50, 180), cv2.FONT_HERSHEY_SIMPLEX, 4.0, 255, 9, cv2.LINE_AA)
    return _cut_to_ink(canvas)


def _cut_to_ink(canvas: Image) -> Image:
    rows, columns = np.flatnonzero(canvas.any(axis=1)), np.flatnonzero(canvas.any(axis=0))
    return np.ascontiguousarray(canvas[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def _factor(words: Image, height: int, width: int) -> float:
    return float(min(CARD_WIDEST * width / words.shape[1], CARD_TALLEST * height / words.shape[0]))


def _scaled(words: Image, factor: float) -> Image:
    return resize(words, max(1, round(factor * words.shape[0])), max(1, round(factor * words.shape[1])))


def _written(text: Image, top: int, left: int, height: int, width: int) -> Image:
    shown = np.full((height, width), BACKGROUND, np.uint8)
    place = shown[top : top + text.shape[0], left : left + text.shape[1]]
    place[:] = np.maximum(place, text)
    shown = np.repeat(shown[:, :, None], 3, axis=2)
    shown.flags.writeable = False  # one for all
    return shown
