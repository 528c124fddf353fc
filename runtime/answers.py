"""Frames → answers: pictures through an engine and pictures again, with what is wrong with each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Answers:
    """What became of N frames of one size, in their order."""

    faces: NDArray[np.uint8]  # (N, H, W, 3) RGB; black where there is a fault
    occlusion: NDArray[np.uint8] | None  # (N, H', W'), 255 = hidden; None: the bundle has none
    faults: tuple[str, ...]  # what is wrong with each, in words; "" = nothing
    began: float  # time.perf_counter() when the engine got them,
    ended: float  # and when it had answered
