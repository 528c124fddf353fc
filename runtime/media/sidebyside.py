"""Input and output in one picture."""

from __future__ import annotations

import numpy as np

from getgan.runtime.media.frames import Image

GAP = 4  # pixels of grey between the two


def side_by_side(left: Image, right: Image) -> Image:
    """Both at the larger's height, uint8 (H, W, 3), with a narrow grey line between them."""
    import cv2

    height = max(left.shape[0], right.shape[0])
    parts: list[Image] = []
    for part in (left, right):
        if part.shape[0] != height:
            width = max(1, round(part.shape[1] * height / part.shape[0]))
            part = np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
        parts.append(part)
    return np.concatenate([parts[0], np.full((height, GAP, 3), 128, np.uint8), parts[1]], axis=1)
