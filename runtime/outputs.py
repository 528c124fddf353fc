"""What each output of a network may be: its shape and its range; for session, self-test and guard."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from getgan.contract import SIGNED, Range, half_width

RANGE_SLACK = 0.01  # of [-1, 1]; graphs end in tanh, sigmoid or clip; bf16 rounds 1 to 1, 255 to 255


def shape_fault(outputs: Mapping[str, NDArray[np.float32]], images: tuple[int, ...]) -> str:
    """What is wrong with the shapes that an input (N, 3, H, W) gave, in words; "" = nothing.

    face and error have the input's shape, a map any number of channels and of pixels up to the input's.
    """
    for name, array in outputs.items():
        if name == "occlusion":
            right = array.ndim == 4 and array.shape[0] == images[0] and 0 not in array.shape
            right = right and array.shape[2] <= images[2] and array.shape[3] <= images[3]
        else:
            right = array.shape == images
        if not right:
            wanted = f"{images[0]} maps of up to {images[2:]}" if name == "occlusion" else images
            return f"the network gave {name} {array.shape}, wanted {wanted}"
    return ""


def value_fault(name: str, array: NDArray[np.float32], value_range: Range = SIGNED) -> str:
    """What is wrong with an output's values, in words; "" = nothing. Not whether it is the right picture.

    Pictures have the contract's range, a map has [0, 1].
    """
    # A minimum is NaN if any value is, and costs a fifth of np.isfinite over all.
    lowest, highest = float(array.min()), float(array.max())
    if not np.isfinite(lowest) or not np.isfinite(highest):
        share = 1.0 - float(np.isfinite(array).mean())
        return f"{share:.1%} of the output {name} is NaN or infinite"
    least, most = (0.0, 1.0) if name == "occlusion" else value_range
    slack = RANGE_SLACK if name == "occlusion" else RANGE_SLACK * half_width(value_range)
    if lowest < least - slack or highest > most + slack:
        return f"the output {name} reaches from {lowest:.3g} to {highest:.3g}, wanted {least:g} to {most:g}"
    return ""
