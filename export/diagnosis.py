"""Why FP16 gives other pictures, in words: which node, which operator, which magnitude, on which image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from getgan.export.features import PREFIX
from getgan.export.fp16 import FP16_MAX, node_precisions
from getgan.export.graph import Array, OnnxModel
from getgan.export.steps import StepRunner
from getgan.runtime.manifest import Part

# Where the error of a value's norm passes this, its node is named.
FIRST_DEVIATION = 0.02


def diagnose(
    fp32: OnnxModel, fp16: OnnxModel, kept: Sequence[Part], image: Array, name: str, threads: int = 0
) -> str:
    """One clause, from both graphs run side by side on the worst image, float32 (1, 3, H, W).

    The first of: a value above FP16's largest number; a value that is not finite; a value that has moved by
    more than 2 % of its norm.
    """
    in_half = node_precisions(fp32.proto, kept)
    half_values = StepRunner(fp16, threads).walk(image)
    largest_error, moved = 0.0, ""
    for node, value_name, value in StepRunner(fp32, threads).walk(image):
        if node.name not in in_half or node.name.startswith(PREFIX):  # the guard's, which no picture needs
            continue
        largest = float(np.abs(value).max())
        # The worst over the graph's own output names, which the FP16 graph gives to the casts at its end.
        wanted = (value_name, f"{value_name}.fp16")
        half = next(found for _, found_name, found in half_values if found_name in wanted)
        what = f"'{node.name}' ({node.op_type})"
        if in_half[node.name] and largest > FP16_MAX:
            return f"{what} reaches |x| = {largest:,.0f} on '{name}', above FP16's {FP16_MAX:,.0f}"
        if not np.isfinite(half).all():
            return f"{what} is not finite on '{name}', where FP32 reaches |x| = {largest:,.4g}"
        error = _relative_error(half, value)
        if error > largest_error:
            largest_error = error
            moved = f"{what} has moved by {error:.1%} on '{name}', where |x| reaches {largest:,.4g}"
        if error > FIRST_DEVIATION:
            return moved
    return (
        f"the largest error is at {moved.replace(' has moved by', ':', 1)}" if moved else "no value differs"
    )


def in_words(diagnosis: str, failures: Sequence[str]) -> str:
    """The reason for a refusal: what was seen, and where it comes from."""
    return f"{'; '.join(failures)}: {diagnosis}" if diagnosis else "; ".join(failures)


def _relative_error(found: Array, wanted: Array) -> float:
    norm = float(np.linalg.norm(wanted.astype(np.float64).ravel()))
    moved = float(np.linalg.norm((found.astype(np.float64) - wanted).ravel()))
    return moved / norm if norm > 0.0 else 0.0
