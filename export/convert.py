"""FP32 graph → the graph of any other variant, by its plan; and the list of variants that an export makes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec

from getgan.export.fp16 import ALL_PARTS, fp16_from_fp32
from getgan.export.frames import frames_from_tensors
from getgan.export.graph import OnnxModel
from getgan.runtime.manifest import Limits, Part, Plan, Precision
from getgan.runtime.quality import THRESHOLDS


@dataclass(frozen=True)
class Target:
    """A variant that is to be made or judged: its name, what it runs in, and how its graph is made."""

    name: str
    hint: Precision
    plan: Plan

    @property
    def limits(self) -> Limits:
        """What its worst image must keep."""
        return THRESHOLDS[self.hint]


HALF = Plan("fp16", kept=ALL_PARTS)
FP32 = Target("fp32", "fp32", Plan())
TARGETS = (FP32, Target("fp16", "fp16", HALF), Target("bf16", "bf16", FP32.plan))
FRAMES = Target("fp16-frames", "fp16", Plan("fp16", kept=ALL_PARTS, frames="uint8"))  # if asked for


# What else is kept in FP32 where FP16 was refused: the next of these, until one is accepted.
RUNGS: tuple[tuple[Part, ...], ...] = (
    ("encoder",),
    ("encoder", "sums", "last convolution"),
    ("encoder", "sums", "last convolution", "trunk"),
)


def more_exact(target: Target) -> Iterator[Target]:
    """What to try where an FP16 target was refused: the same variant with more of it in FP32."""
    if target.plan.convolutions == "fp16":
        for parts in RUNGS:
            kept = (*target.plan.kept, *parts)
            yield replace(target, plan=msgspec.structs.replace(target.plan, kept=kept))


def convert(model: OnnxModel, plan: Plan) -> OnnxModel:
    """The FP32 graph by a plan; ExportError names what in it does not allow that."""
    if plan.convolutions == "fp16":
        model = fp16_from_fp32(model, plan.kept)
    return frames_from_tensors(model) if plan.frames == "uint8" else model
