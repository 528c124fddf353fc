"""Pieces that the generators and discriminators share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from getgan.errors import ConfigError

MAX_WIDTH = 4096  # channels; pixels of a U-GAT-IT with one size
MAX_DEPTH = 64  # residual blocks in one place; CycleGAN has 9
Norm = Literal["instance", "batch", "none"]
Up = Literal["transposed", "resize"]


class ResidualBlock(nn.Module):
    """x + f(x): two reflection-padded 3x3 convolutions that keep shape and channels."""

    def __init__(self, channels: int, norm: str, *, bias: bool = True) -> None:
        super().__init__()
        bias = bias and norm != "batch"  # BatchNorm has a bias of its own
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            norm_layer(norm, channels),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            norm_layer(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> the same shape."""
        out: Tensor = x + self.conv_block(x)
        return out


class ResizeConv2d(nn.Conv2d):
    """Nearest x2 then a 3x3 convolution: no checkerboard, and the same key names as a transposed one."""

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, bias=bias, padding_mode="reflect")

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C_out, 2h, 2w)."""
        return super().forward(functional.interpolate(input, scale_factor=2.0, mode="nearest"))


def stem(in_channels: int, ngf: int, norm: str) -> list[nn.Module]:
    """7x7 at full size, (N, in, H, W) -> (N, ngf, H, W)."""
    return [
        nn.ReflectionPad2d(3),
        nn.Conv2d(in_channels, ngf, 7, bias=norm != "batch"),
        norm_layer(norm, ngf),
        nn.ReLU(inplace=True),
    ]


def down(channels: int, norm: str) -> list[nn.Module]:
    """Stride-2 convolution, (N, C, h, w) -> (N, 2C, h/2, w/2)."""
    return [
        nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=norm != "batch"),
        norm_layer(norm, 2 * channels),
        nn.ReLU(inplace=True),
    ]


def up(channels: int, norm: str, kind: str) -> list[nn.Module]:
    """Doubling of the size, (N, C, h, w) -> (N, C/2, 2h, 2w)."""
    half, bias = channels // 2, norm != "batch"
    conv: nn.Module
    if kind == "transposed":
        conv = nn.ConvTranspose2d(channels, half, 3, stride=2, padding=1, output_padding=1, bias=bias)
    else:
        conv = ResizeConv2d(channels, half, bias=bias)
    return [conv, norm_layer(norm, half), nn.ReLU(inplace=True)]


def head(ngf: int, out_channels: int) -> list[nn.Module]:
    """7x7 and tanh, (N, ngf, H, W) -> (N, out, H, W) in [-1, 1]."""
    return [nn.ReflectionPad2d(3), nn.Conv2d(ngf, out_channels, 7), nn.Tanh()]


def norm_layer(norm: str, channels: int) -> nn.Module:
    """The normalisation by name; "instance" has neither parameters nor running statistics."""
    if norm == "instance":
        return nn.InstanceNorm2d(channels, affine=False)
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return nn.Identity()


@torch.no_grad()
def init_weights(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draw weights as CycleGAN does: N(0, 0.02), for the scale of a BatchNorm N(1, 0.02); biases 0.

    Call it before moving the module to a GPU: the same seed then gives the same weights everywhere.
    """
    for child in module.modules():
        if isinstance(child, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            child.weight.normal_(0.0, 0.02, generator=generator)
        elif isinstance(child, nn.BatchNorm2d):
            child.weight.normal_(1.0, 0.02, generator=generator)
        else:
            continue
        if child.bias is not None:
            child.bias.zero_()


def check_config(config: Any, positive: Sequence[str], choices: dict[str, tuple[str, ...]]) -> None:
    """Raise ConfigError for a width or depth out of range, or an unknown choice."""
    kind = type(config).__name__
    for name in positive:
        value = getattr(config, name)
        # A file of 4 MB holds 2,000 thin blocks, which took 14 s to look at and more to export.
        most = MAX_DEPTH if name.endswith("blocks") else MAX_WIDTH
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise ConfigError(f"{kind}.{name} is {value!r:.40}; wanted an integer from 1 to {most}")
    for name, allowed in choices.items():
        value = getattr(config, name)
        if value not in allowed:
            raise ConfigError(f"{kind}.{name} is {value!r}; wanted one of {', '.join(allowed)}")


def check_image(x: Tensor, channels: int, min_size: int) -> None:
    """Raise ConfigError unless x is (N, channels, H, W) with H, W >= min_size and multiples of 4."""
    if is_traced():
        return
    if x.ndim != 4 or x.shape[1] != channels:
        raise ConfigError(f"image has shape {tuple(x.shape)}; wanted (N, {channels}, H, W)")
    height, width = x.shape[2:]
    if min(height, width) < min_size or height % 4 or width % 4:
        raise ConfigError(
            f"image is {height}x{width}; wanted height and width as multiples of 4, at least {min_size}: "
            "resize or crop it first"
        )


def is_traced() -> bool:
    """Whether a graph is being recorded: its shapes may be symbols, and Python checks do not enter it."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]  # public, untyped
    return tracing or torch.compiler.is_compiling()
