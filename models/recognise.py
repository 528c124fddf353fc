"""Telling architecture and hyper-parameters from the keys and shapes of a bare state dict."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from getgan.errors import CheckpointError
from getgan.models.blocks import STRIDES
from getgan.models.catalog import GeneratorConfig
from getgan.models.getgan import GetGanConfig
from getgan.models.resnet import ResnetConfig

WANTED = (
    "a getgan generator (shared.1.weight, fake.0.conv_block.1.weight, ...) "
    "or a plain CycleGAN ResNet generator (model.1.weight, model.10.conv_block.1.weight, ...)"
)

# Where the first residual block can be: behind the stem's four layers and three for each halving of the size.
FIRST_BLOCKS = range(7, 23, 3)


def recognise(state: Mapping[str, Tensor]) -> tuple[str, GeneratorConfig]:
    """The architecture and config that `state` must have; the caller checks that every key then fits."""
    if _blocks(state, "shared") and _blocks(state, "fake"):
        return "getgan", _getgan_config(state)
    # A first block at 12 is CUT's anti-aliased net: it would load here only by mistake.
    if min(_blocks(state, "model"), default=0) in FIRST_BLOCKS:
        return "resnet", _resnet_config(state)
    raise CheckpointError(f"found a state dict with keys {first_three(sorted(state))}; wanted {WANTED}")


def first_three(names: list[str]) -> str:
    """The first three names and how many more there are, on one line whatever a file calls them."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    shown = (name if name.isprintable() else ascii(name) for name in names[:3])
    return (", ".join(f"{name:.200}" for name in shown) or "none") + more


def _getgan_config(state: Mapping[str, Tensor]) -> GetGanConfig:
    branch, widths = len(_blocks(state, "fake")), _widths(state, "shared")
    stem = _shape(state, "shared.1.weight")
    head = _shape(state, f"fake.{branch + 3 * len(widths) - 2}.weight")
    stride = _stride(head[0])
    return GetGanConfig(
        in_channels=stem[1],
        out_channels=head[0] // stride**2,
        stride=stride,
        ngf=stem[0],
        shared_blocks=len(_blocks(state, "shared")),
        branch_blocks=branch,
        gate=_gate(state),
        up=_up(state, f"fake.{branch}.weight"),
        norm=_norm(state, "shared.1.bias"),
        widths=widths,
    )


def _resnet_config(state: Mapping[str, Tensor]) -> ResnetConfig:
    blocks, widths = len(_blocks(state, "model")), _widths(state, "model")
    stem = _shape(state, "model.1.weight")
    behind = min(_blocks(state, "model")) + blocks  # the first up-convolution
    head = _shape(state, f"model.{behind + 3 * len(widths) - 2}.weight")
    stride = _stride(head[0])
    return ResnetConfig(
        in_channels=stem[1],
        out_channels=head[0] // stride**2,
        stride=stride,
        ngf=stem[0],
        blocks=blocks,
        norm=_norm(state, "model.1.bias"),
        up=_up(state, f"model.{behind}.weight"),
        widths=widths,
    )


def _blocks(state: Mapping[str, Tensor], root: str) -> set[int]:
    """Positions of the residual blocks under `root`."""
    matches = (re.match(rf"{root}\.(\d{{1,4}})\.conv_block\.", key) for key in state)
    return {int(match[1]) for match in matches if match}


def _widths(state: Mapping[str, Tensor], root: str) -> tuple[int, ...]:
    """Channels of the stem and of each convolution that halves the size, up to the first residual block."""
    first = min(_blocks(state, root))
    return tuple(_shape(state, f"{root}.{place}.weight")[0] for place in range(1, min(first, 22), 3))


def _stride(out_channels: int) -> int:
    """The stem's stride, from the head's channels: 3 for each of stride x stride pixels."""
    return {3 * stride**2: stride for stride in STRIDES}.get(out_channels, 1)


def _shape(state: Mapping[str, Tensor], key: str) -> tuple[int, int, int, int]:
    """The four sizes of a convolution's weight."""
    if key not in state or state[key].ndim != 4:
        found = f"shape {tuple(state[key].shape)}" if key in state else "no such key"
        raise CheckpointError(f"found {found} for {key}; wanted a convolution's weight there")
    first, second, height, width = state[key].shape
    return first, second, height, width


def _gate(state: Mapping[str, Tensor]) -> Literal["none", "1x1", "3x3", "channel"]:
    if "gate.weight" not in state:
        return "none"
    out_channels, _, kernel, _ = _shape(state, "gate.weight")
    if kernel == 3:
        return "3x3"
    return "channel" if out_channels == 1 else "1x1"


def _up(state: Mapping[str, Tensor], key: str) -> Literal["transposed", "resize"]:
    # ConvTranspose2d keeps (in, out, 3, 3), Conv2d (out, in, 3, 3); an up-convolution halves the channels.
    first, second, _, _ = _shape(state, key)
    return "transposed" if first > second else "resize"


def _norm(state: Mapping[str, Tensor], stem_bias: str) -> Literal["instance", "batch"]:
    statistics = any(key.endswith(".running_mean") for key in state)
    return "batch" if statistics and stem_bias not in state else "instance"
