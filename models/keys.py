"""Hyper-parameters from the keys and shapes of a bare state dict."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from getgan.errors import CheckpointError
from getgan.models.blocks import STRIDES
from getgan.models.norms import has_bias


def hyperparameters(state: Mapping[str, Tensor], encoder: str, decoder: str, first_up: int) -> dict[str, Any]:
    """All of a GetGanConfig but its blocks and gate; first_up: the decoder's first convolution."""
    stem, widths = shape_of(state, f"{encoder}.1.weight"), widths_of(state, encoder)
    head = shape_of(state, f"{decoder}.{first_up + 3 * len(widths) - 2}.weight")
    # 3 channels for each of stride x stride pixels.
    stride = {3 * stride**2: stride for stride in STRIDES}.get(head[0], 1)
    return {
        "in_channels": stem[1],
        "out_channels": head[0] // stride**2,
        "stride": stride,
        "ngf": stem[0],
        "norm": norm_of(state, f"{encoder}.1.bias"),
        "up": up_of(state, f"{decoder}.{first_up}.weight"),
        "widths": widths,
    }


def blocks_of(state: Mapping[str, Tensor], root: str) -> set[int]:
    """Positions of the residual blocks under `root`."""
    matches = (re.match(rf"{root}\.(\d{{1,4}})\.(?:conv_)?block\.", key) for key in state)
    return {int(match[1]) for match in matches if match}


def convolutions_of(state: Mapping[str, Tensor], root: str) -> list[int]:
    """Positions of the convolutions right under `root`, in order."""
    matches = (re.fullmatch(rf"{root}\.(\d{{1,4}})\.weight", key) for key in state)
    return sorted(int(match[1]) for match in matches if match and state[match[0]].ndim == 4)


def widths_of(state: Mapping[str, Tensor], root: str) -> tuple[int, ...]:
    """Channels of the stem and of each convolution that halves the size, up to the first residual block."""
    first = min(blocks_of(state, root))
    return tuple(shape_of(state, f"{root}.{place}.weight")[0] for place in range(1, min(first, 22), 3))


def shape_of(state: Mapping[str, Tensor], key: str) -> tuple[int, int, int, int]:
    """The four sizes of a convolution's weight."""
    if key not in state or state[key].ndim != 4:
        found = f"shape {tuple(state[key].shape)}" if key in state else "no such key"
        raise CheckpointError(f"found {found} for {key}; wanted a convolution's weight there")
    first, second, height, width = state[key].shape
    return first, second, height, width


def up_of(state: Mapping[str, Tensor], key: str) -> Literal["transposed", "resize"]:
    """The kind of the up-convolution at `key`."""
    # ConvTranspose2d keeps (in, out, 3, 3), Conv2d (out, in, 3, 3); an up-convolution halves the channels.
    first, second, _, _ = shape_of(state, key)
    return "transposed" if first > second else "resize"


def norm_of(state: Mapping[str, Tensor], stem_bias: str) -> Literal["instance", "batch"]:
    """The kind of norm, told from the stem's bias too."""
    statistics = any(key.endswith(".running_mean") for key in state)
    return "batch" if statistics and stem_bias not in state else "instance"


def norm_and_bias_of(state: Mapping[str, Tensor], conv: str, norm: str) -> dict[str, Any]:
    """The kind of the norm at `norm`, and whether the convolution before it has a bias as CycleGAN's has.

    Statistics without weights are those that InstanceNorm saved before PyTorch 0.4. Statistics with weights
    behind a bias are InstanceNorm's from then too, but pix2pixHD's BatchNorm if their updates are counted.
    """
    bias, scaled = f"{conv}.bias" in state, f"{norm}.weight" in state
    tracked, counted = f"{norm}.running_mean" in state, f"{norm}.num_batches_tracked" in state
    if scaled and tracked and (counted or not bias):
        kind = "batch"
    elif scaled:
        kind = "affine"
    else:
        kind = "instance" if tracked or bias else "none"
    rule = "always" if bias else "never"
    return {"norm": kind, "bias": "cyclegan" if bias == has_bias(kind, None) else rule}
