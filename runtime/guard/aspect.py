"""Shapes of pictures: which of them a guard's calibration had, and the part of another one that has such."""

from __future__ import annotations

from getgan.contract import Contract
from getgan.errors import DataError
from getgan.runtime.geometry import Placement, lay, lift, placement
from getgan.runtime.guard.tone import Picture

Aspects = tuple[float, float]  # least and largest width over height of the calibration's pictures
SLACK = 1.05  # a picture may be so much wider or taller: a few columns more change no score


def known_part(
    view: Picture, where: Placement, aspects: Aspects | None, size: int, contract: Contract
) -> Picture | None:
    """The middle of the network's view in the nearest aspect of the calibration, laid as it would be alone.

    None: the picture has one of them already, they are not known, or the part is none that can be laid.
    view: uint8 (H, W, 3) RGB; so is the part.
    """
    if aspects is None:
        return None
    height, width = where.source[2:]
    wanted = min(max(width / height, aspects[0]), aspects[1])
    if max(wanted * height / width, width / (wanted * height)) <= SLACK:
        return None
    inner = lift(view, where, "network")
    height, width = inner.shape[:2]
    tall, wide = min(height, round(width / wanted)), min(width, round(wanted * height))
    top, left = (height - tall) // 2, (width - wide) // 2
    try:
        place = placement(tall, wide, size, "letterbox" if contract.fixed else "fit", contract)
    except DataError:
        return None
    return lay(inner[top : top + tall, left : left + wide], place)
