"""What each output of a network may be: its shape and its range; for answers, session and gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from getgan.contract import SIGNED, Range, half_width
from getgan.runtime.manifest import EXTENT, FEATURES, Frames

RANGE_SLACK = 0.01  # of [-1, 1]; graphs end in tanh, sigmoid or clip; bf16 rounds 1 to 1, 255 to 255


def shape_fault(
    outputs: Mapping[str, NDArray[Any]], images: tuple[int, ...], frames: Frames = "float32"
) -> str:
    """What is wrong with the shapes that an input gave, in words; "" = nothing.

    images: the input's shape, (N, 3, H, W), or (N, H, W, 3) of a graph that takes frames. face and error have
    it too; a map has pixels up to the input's, and any number of channels where the graph gives floats.
    """
    sides, dimensions = (images[2:], 4) if frames == "float32" else (images[1:3], 3)
    for name, array in outputs.items():
        wanted: object = (images[0], 2) if name == EXTENT else images
        right = array.shape == wanted
        if name == "occlusion":
            wanted = f"{images[0]} maps of up to {sides}"
            right = array.ndim == dimensions and array.shape[0] == images[0] and 0 not in array.shape
            right = right and array.shape[-2] <= sides[0] and array.shape[-1] <= sides[1]
        elif name == FEATURES:
            wanted, right = f"{images[0]} rows", array.ndim == 2 and array.shape[0] == images[0]
        if not right:
            return f"the network gave {name} {array.shape}, wanted {wanted}"
    return ""


def value_fault(name: str, array: NDArray[np.float32], value_range: Range = SIGNED) -> str:
    """What is wrong with an output's values, in words; "" = nothing. Not whether it is the right picture.

    Pictures have the contract's range, a map has [0, 1], and what the guard's features are it says itself.
    """
    if name == FEATURES:
        return ""
    # A minimum is NaN if any value is, and costs a fifth of np.isfinite over all.
    lowest, highest = float(array.min()), float(array.max())
    if not np.isfinite(lowest) or not np.isfinite(highest):
        share = 1.0 - float(np.isfinite(array).mean())
        return f"{share:.1%} of the output {name} is NaN or infinite"
    return range_fault(name, lowest, highest, value_range)


def range_fault(name: str, lowest: float, highest: float, value_range: Range) -> str:
    """The same, of an output's smallest and largest value."""
    if not np.isfinite(lowest) or not np.isfinite(highest):
        return f"some of the output {name} is NaN or infinite"
    least, most = (0.0, 1.0) if name == "occlusion" else value_range
    slack = RANGE_SLACK if name == "occlusion" else RANGE_SLACK * half_width(value_range)
    if lowest < least - slack or highest > most + slack:
        return f"the output {name} reaches from {lowest:.3g} to {highest:.3g}, wanted {least:g} to {most:g}"
    return ""
