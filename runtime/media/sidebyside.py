"""Input and output in one picture."""

from __future__ import annotations

import numpy as np

from getgan.runtime.geometry import resize
from getgan.runtime.media.frames import Image
from getgan.runtime.media.plate import ink

GAP = 4  # pixels of grey between the two
# A screen shows the patient's name, and this picture is made to be shared.
WARNING = "source shown whole: may hold names"
BAND = 0.06  # of the height
MIN_BAND = 9  # pixels


def side_by_side(left: Image, right: Image, *, whole: bool) -> Image:
    """Both at the larger's height, uint8 (H, W, 3), with a narrow grey line between them.

    whole: the left one is all of the source and no region of it, which is said on it.
    """
    import cv2

    height = max(left.shape[0], right.shape[0])
    parts: list[Image] = []
    for part in (left, right):
        if part.shape[0] != height:
            width = max(1, round(part.shape[1] * height / part.shape[0]))
            part = np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
        parts.append(part)
    if whole:
        parts[0] = _with_warning(parts[0])
    return np.concatenate([parts[0], np.full((height, GAP, 3), 128, np.uint8), parts[1]], axis=1)


def _with_warning(image: Image) -> Image:
    """A copy with the warning in white on black along its lower edge."""
    height, width = image.shape[:2]
    words = ink(WARNING)
    aspect = words.shape[1] / words.shape[0]
    tall = min(max(MIN_BAND, round(BAND * height)), height, max(1, round(width / aspect)))
    text = resize(words, tall, min(width, max(1, round(tall * aspect))))
    marked = image.copy()
    band = marked[max(0, height - tall - 4) :]
    band[:] = 0
    top, left = (band.shape[0] - tall) // 2, (width - text.shape[1]) // 2
    band[top : top + tall, left : left + text.shape[1]] = text[:, :, None]
    return marked
