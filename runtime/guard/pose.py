"""Which way a face looks, read off the picture alone: where eyes, nose and mouth lie in the head."""

from __future__ import annotations

import numpy as np

from getgan.runtime.geometry import resize
from getgan.runtime.guard.tone import Picture, brightness

SIDE = 64  # pixels of the shorter side of what is looked at
CLOSED = 9  # pixels of SIDE: what is smaller within the head belongs to it
RIM = 9  # pixels of SIDE that are left out all around: the head's outline is its strongest edge
LEAST = 20  # pixels of SIDE * SIDE; a smaller patch is no head


def face_pose(face: Picture) -> float:
    """Of uint8 (H, W, 3) RGB: how far the middle of the features lies to the right of the head's middle.

    In half widths of the head: 0 = it looks at the viewer, above 0 = to the picture's right; NaN if there is
    no head. The head is the largest patch that is redder than the rest, its features are the edges within.
    """
    import cv2

    height, width = face.shape[:2]
    factor = SIDE / min(height, width)
    small = resize(face, max(SIDE, round(factor * height)), max(SIDE, round(factor * width)))
    warmth = np.clip(small[:, :, 0].astype(np.int16) - small[:, :, 2], 0, 255).astype(np.uint8)
    _, warm = cv2.threshold(warmth, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    count, patches, sizes, _ = cv2.connectedComponentsWithStats(warm)
    if count < 2:
        return float("nan")
    largest = 1 + int(sizes[1:, cv2.CC_STAT_AREA].argmax())
    head = (patches == largest).astype(np.uint8)
    head = cv2.morphologyEx(head, cv2.MORPH_CLOSE, np.ones((CLOSED, CLOSED), np.uint8))
    inner = cv2.erode(head, np.ones((RIM, RIM), np.uint8))
    level = brightness(small).astype(np.float64)
    across = np.diff(level, axis=1, append=level[:, -1:])
    down = np.diff(level, axis=0, append=level[-1:])
    edges = np.hypot(across, down) * inner
    columns = np.arange(level.shape[1])
    if inner.sum() < LEAST or not edges.any():
        return float("nan")
    middle = float(np.average(columns, weights=head.sum(axis=0)))
    deviation = float(np.sqrt(np.average((columns - middle) ** 2, weights=head.sum(axis=0))))
    # Of an ellipse the half width is twice the standard deviation.
    return (float(np.average(columns, weights=edges.sum(axis=0))) - middle) / (2.0 * deviation)
