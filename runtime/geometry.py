"""How a picture of any size is brought to a size that the network takes, and its translation back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from getgan.contract import MAX_SIZE, Contract
from getgan.errors import ConfigError, DataError, UsageError

Fit = Literal["fit", "letterbox", "crop"]
FITS: tuple[Fit, ...] = ("fit", "letterbox", "crop")
# One layer of 64 channels has 256 MB at 1024 pixels, and four times that at MAX_SIZE.
MAX_ASPECT = 8.0  # a longer picture is no ultrasound frame; at 256 pixels its short side would be below 90
# The longest canvas is 2:1. At 3:1 a third of it is filled, and the picture still has 121 rows at 256 pixels.
MAX_FIT_ASPECT = 3.0
# Of the canvases, upright ones too. Between two neighbours a picture fills 89 % of a side or more.
ASPECTS = (1.0, 5 / 4, 4 / 3, 3 / 2, 16 / 9, 2.0)

Canvas = tuple[int, int]  # height and width of what the network sees


@dataclass(frozen=True)
class Placement:
    """Where a picture goes: `source` is cut from it, scaled, and laid at `place` on the network's canvas.

    A rectangle is (top, left, height, width) in pixels. What `place` leaves free is filled.
    """

    source: tuple[int, int, int, int]
    place: tuple[int, int, int, int]
    canvas: Canvas
    fill: Literal["black", "mirror"] = "black"  # mirror: the picture goes on beyond its edge, reflected


def check_size(size: int, fit: Fit, contract: Contract) -> int:
    """The network size in pixels for an asked-for size, 0 = the contract's; ConfigError if it cannot be."""
    if fit not in FITS:
        raise ConfigError(f"found fit {fit!r:.40}; wanted one of {', '.join(FITS)}")
    wanted = size or contract.size
    if contract.fixed and wanted != contract.size:
        raise UsageError(f"found size {wanted}; wanted {contract.size}, the only size of this network")
    if contract.fixed and fit == "fit":
        only = f"this network takes {contract.size}x{contract.size} pixels and nothing else"
        raise ConfigError(f"found fit=fit, but {only}; wanted crop or letterbox")
    if wanted % contract.multiple_of or not contract.min_size <= wanted <= MAX_SIZE:
        rule = f"a multiple of {contract.multiple_of} from {contract.min_size} to {MAX_SIZE}"
        raise UsageError(f"found size {wanted}; wanted {rule}")
    return wanted


@lru_cache
def buckets(contract: Contract, size: int) -> tuple[Canvas, ...]:
    """Every canvas that `fit` can ask for, of about size * size pixels: square, then wide, then upright ones.

    Eleven at the most, so that a gate can judge them and an engine be built for them. One for a network of
    one size; fewer where two become the same in multiples of the contract's step.
    """
    if contract.fixed:
        return ((size, size),)
    step = contract.multiple_of
    lowest = math.ceil(contract.min_size / step) * step
    ways = (*ASPECTS, *(1.0 / aspect for aspect in ASPECTS[1:]))
    sides = ((size / math.sqrt(aspect), size * math.sqrt(aspect)) for aspect in ways)
    found = (tuple(max(lowest, round(side / step) * step) for side in pair) for pair in sides)
    return tuple(dict.fromkeys((height, width) for height, width in found))


def placement(height: int, width: int, size: int, fit: Fit, contract: Contract) -> Placement:
    """Where a picture of height x width goes; DataError if it is too small or too long.

    fit: all of it in its own aspect, on the one of `buckets` that it fills best; its mirror image fills the
    rest. Black bars would change the face, because InstanceNorm couples all pixels. letterbox: all of it on a
    black square. crop: its middle square.
    """
    smallest = contract.min_size
    if min(height, width) < smallest:
        raise DataError(f"found a picture of {width}x{height} pixels; wanted {smallest} or more each way")
    if fit == "crop":
        side = min(height, width)
        source = ((height - side) // 2, (width - side) // 2, side, side)
        return Placement(source, (0, 0, size, size), (size, size))
    longest = MAX_FIT_ASPECT if fit == "fit" else MAX_ASPECT
    if max(height, width) > longest * min(height, width):
        limit = f"an aspect of {longest:g}:1 or less, or --fit crop"
        raise DataError(f"found a picture of {width}x{height} pixels; wanted {limit}")
    canvas = (size, size)
    if fit == "fit":
        aspect = math.log(width / height)
        canvas = min(buckets(contract, size), key=lambda c: abs(math.log(c[1] / c[0]) - aspect))
    scale = min(canvas[0] / height, canvas[1] / width)
    inner = (max(1, round(height * scale)), max(1, round(width * scale)))
    top, left = (canvas[0] - inner[0]) // 2, (canvas[1] - inner[1]) // 2
    fill: Literal["black", "mirror"] = "mirror" if fit == "fit" else "black"
    return Placement((0, 0, height, width), (top, left, *inner), canvas, fill)


def lay(image: NDArray[np.uint8], where: Placement) -> NDArray[np.uint8]:
    """The network's view, uint8 (H, W, 3), of a uint8 (H, W, 3) picture."""
    import cv2

    top, left, height, width = where.place
    scaled = resize(_cut(image, where.source), height, width)
    if where.place == (0, 0, *where.canvas):
        return scaled
    edge = cv2.BORDER_REFLECT_101 if where.fill == "mirror" else cv2.BORDER_CONSTANT
    bottom, right = where.canvas[0] - top - height, where.canvas[1] - left - width
    return np.asarray(cv2.copyMakeBorder(scaled, top, bottom, left, right, edge, value=(0, 0, 0)), np.uint8)


def lift(
    view: NDArray[np.uint8], where: Placement, output_size: Literal["input", "network"]
) -> NDArray[np.uint8]:
    """The picture's part of the network's view, (H, W, 3) or (H, W), without what was filled.

    In the size of what was cut from the picture ("input"), or as it is ("network").
    """
    inner = _cut(view, where.place)
    return resize(inner, *where.source[2:]) if output_size == "input" else inner


def resize(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """uint8 (H, W) or (H, W, C) to another size: area mean to fewer pixels, cubic to more."""
    import cv2

    if image.shape[:2] == (height, width):
        return image
    # Cubic to fewer pixels would skip some: speckle turns into false structure.
    fewer = height * width < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if fewer else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)


def _cut(image: NDArray[np.uint8], rectangle: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    top, left, height, width = rectangle
    return np.ascontiguousarray(image[top : top + height, left : left + width])
