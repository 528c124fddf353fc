"""The label is whole and readable on a picture of any size and brightness."""

from __future__ import annotations

import numpy as np
import pytest
from bundle_helpers import sample
from numpy.typing import NDArray

from getgan.runtime.label import MIN_HEIGHT, MIN_WIDTH, TEXT, _large_text, _text, add_label, labelled_size

SIZES = [
    (8, 8), (8, 64), (64, 8), (32, 32), (64, 64), (100, 216), (128, 128), (256, 256), (90, 720), (720, 90),
    (480, 640), (1024, 1024), (1080, 1920), (2000, 3000), (213, 217),
]  # fmt: skip


def flat(height: int, width: int, level: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), level, np.uint8)


def test_the_words() -> None:
    assert TEXT == "AI-generated, not diagnostic"


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_text_is_there_whole_and_in_contrast(height: int, width: int, level: int) -> None:
    shown = add_label(flat(height, width, level))
    h, w = labelled_size(height, width)
    assert shown.shape == (h, w, 3) and shown.dtype == np.uint8
    text = _text(h, w)
    ink = shown[..., 0].astype(int) > 200
    if level == 255:
        ink[: (~(shown[..., 0] > 200)).all(axis=1).argmax()] = False  # the white picture above the band
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    # The ink's box is the text's box: nothing is cut off, and there is room on all sides.
    assert abs((columns[-1] - columns[0] + 1) - text.shape[1]) <= 4
    assert abs((rows[-1] - rows[0] + 1) - text.shape[0]) <= 4
    assert columns[0] >= 2 and columns[-1] < w - 2 and rows[-1] < h - 2
    band = shown[h - 1, 0, 0]
    assert contrast(255, int(band)) >= 4.5  # WCAG 2's limit for text


def contrast(one: int, other: int) -> float:
    """WCAG 2 contrast of two greys."""

    def luminance(level: int) -> float:
        share = level / 255
        return float(share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4)

    return (luminance(one) + 0.05) / (luminance(other) + 0.05)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_letters_are_large_enough_and_the_face_stays_free(height: int, width: int) -> None:
    h, w = labelled_size(height, width)
    assert h >= MIN_HEIGHT and w >= MIN_WIDTH
    text = _text(h, w)
    assert text.shape[0] >= 10  # pixels, from the comma's foot to the top of the d
    assert text.shape[1] <= 0.95 * w
    plain, shown = flat(h, w, 255), add_label(flat(height, width, 255))
    changed = np.flatnonzero(np.any(shown != plain, axis=(1, 2)))
    assert changed[0] >= 0.75 * h  # the picture above the band is untouched
    assert changed[-1] == h - 1


def test_the_text_grows_with_the_picture() -> None:
    heights = [_text(side, side).shape[0] for side in (256, 512, 1024, 2048)]
    assert heights == sorted(heights)
    assert heights[-1] > 6 * heights[0]


def test_every_letter_is_drawn() -> None:
    """Columns of ink with gaps between: 25 letters and marks; a font may join a few."""
    ink = np.any(_large_text(), axis=0)
    runs = 1 + int(np.count_nonzero(np.diff(ink.astype(np.int8)) == 1))  # it begins with ink
    assert 22 <= runs <= 27


def test_the_picture_itself_is_not_touched() -> None:
    picture = sample(256)
    kept = picture.copy()
    shown = add_label(picture)
    assert np.array_equal(picture, kept)
    assert np.array_equal(shown[:200], picture[:200])
    assert not np.array_equal(shown, picture)


def test_a_small_picture_is_enlarged_by_a_whole_factor() -> None:
    assert labelled_size(64, 64) == (256, 256)
    assert labelled_size(256, 256) == (256, 256)
    assert labelled_size(20, 300) == (80, 1200)
