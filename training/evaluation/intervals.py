"""Mean and 95 % interval of a figure over training seeds or, where there is one checkpoint, test seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Student's t, 97.5 % quantile, for 1 to 30 degrees of freedom.
T_975 = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
    2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
    2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
)  # fmt: skip
Z_975 = 1.959964


@dataclass(frozen=True)
class Estimate:
    """A mean; half the width of its 95 % interval, None with fewer than two units; and what the units are."""

    mean: float
    half_width: float | None
    units: int
    unit: str  # "training seed" | "test seed"


def estimate(values: Sequence[Sequence[float | None]]) -> Estimate | None:
    """From one value per checkpoint and test seed, values[checkpoint][test seed]; None = not measured.

    One checkpoint: the units are the test seeds, and the interval says how far other test scenes would
    move the figure, for this very checkpoint. Several checkpoints: the units are the training seeds, each
    the mean over its test seeds, and the interval says how far another training would. All values in one
    pot would be wrong: test seeds of one checkpoint share its luck, and the interval came out too narrow.
    None where nothing was measured.
    """
    rows = [[value for value in row if value is not None] for row in values]
    rows = [row for row in rows if row]
    if not rows:
        return None
    several = len(values) > 1
    units = [math.fsum(row) / len(row) for row in rows] if several else rows[0]
    mean = math.fsum(units) / len(units)
    half_width = None
    if len(units) > 1:
        variance = math.fsum((unit - mean) ** 2 for unit in units) / (len(units) - 1)
        half_width = t_975(len(units) - 1) * math.sqrt(variance / len(units))
    return Estimate(mean, half_width, len(units), "training seed" if several else "test seed")


def t_975(degrees: int) -> float:
    """Student's t, 97.5 % quantile."""
    if degrees < 1:
        raise ValueError(f"degrees of freedom: found {degrees}, wanted 1 or more")
    if degrees <= len(T_975):
        return T_975[degrees - 1]
    # Cornish-Fisher; off by less than 0.0001 here.
    z = Z_975
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
