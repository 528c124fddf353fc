"""Shapes of pictures: which of them a guard's calibration had, and another picture brought to one of them."""

from __future__ import annotations

import numpy as np

from getgan.contract import Contract
from getgan.errors import DataError
from getgan.runtime.geometry import Fit, Placement, lay, lift, placement
from getgan.runtime.guard.tone import Picture

Aspects = tuple[float, float]  # least and largest width over height of the calibration's pictures
SLACK = 1.05  # a picture may be so much wider or taller: of 120 scans at 1.05 none was refused


def in_known_aspect(
    view: Picture, where: Placement, aspects: Aspects | None, size: int, contract: Contract
) -> tuple[Picture, ...]:
    """What the network's view shows in the nearest aspect of the calibration, as the network would see that.

    Its middle alone, which is known where the head lies in a wider picture; and all of it, reflected beyond
    its edges, which is known where a head's picture was cut. Nothing if the picture has one of the aspects
    already, they are not known, or no picture can have them. All uint8 (H, W, 3) RGB.
    """
    import cv2

    if aspects is None:
        return ()
    height, width = where.source[2:]
    wanted = min(max(width / height, aspects[0]), aspects[1])
    if max(wanted * height / width, width / (wanted * height)) <= SLACK:
        return ()
    inner = lift(view, where, "network")
    height, width = inner.shape[:2]
    tall, wide = round(width / wanted), round(wanted * height)
    cut, whole = (min(height, tall), min(width, wide)), (max(height, tall), max(width, wide))
    how: Fit = "letterbox" if contract.fixed else "fit"
    try:
        places = [placement(*sides, size, how, contract) for sides in (cut, whole)]
    except DataError:
        return ()
    top, left = (height - cut[0]) // 2, (width - cut[1]) // 2
    middle = inner[top : top + cut[0], left : left + cut[1]]
    above, before = (whole[0] - height) // 2, (whole[1] - width) // 2
    below, behind = whole[0] - height - above, whole[1] - width - before
    filled = cv2.copyMakeBorder(inner, above, below, before, behind, cv2.BORDER_REFLECT_101)
    return lay(middle, places[0]), lay(np.asarray(filled, np.uint8), places[1])
