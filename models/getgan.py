"""The GET-GAN generator: a shared encoder, a feature gate, and one decoder each for face and error."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from getgan.models.blocks import (
    LEFT_OUT,
    ResidualBlock,
    check_config,
    check_image,
    check_stride,
    decoder,
    encoder,
    levels_of,
    settled,
)


@dataclass(frozen=True)
class GetGanConfig:
    """Hyper-parameters of GetGanGenerator; the defaults split a ResNet-9 after its sixth block."""

    in_channels: int = 3
    out_channels: int = 3
    ngf: int = 64
    shared_blocks: int = 6
    branch_blocks: int = 3
    # "channel" = one gate value per place instead of one per place and channel.
    gate: Literal["none", "1x1", "3x3", "channel"] = "1x1"
    up: Literal["transposed", "resize"] = "transposed"
    norm: Literal["instance", "batch"] = "instance"
    # Channels at H, H/2, H/4, ..., the last being the trunk's; () = CycleGAN's (ngf, 2 ngf, 4 ngf).
    widths: tuple[int, ...] = field(default=(), metadata={LEFT_OUT: True})
    # Of the stem, 1 or 2; with 2 the head answers with 2x2 pixels a place, and widths begin at H/2.
    stride: int = field(default=1, metadata={LEFT_OUT: True})

    def __post_init__(self) -> None:
        check_config(
            self,
            ("in_channels", "out_channels", "ngf", "shared_blocks", "branch_blocks"),
            {
                "gate": ("none", "1x1", "3x3", "channel"),
                "up": ("transposed", "resize"),
                "norm": ("instance", "batch"),
            },
        )
        check_stride(self.stride)
        ngf, widths = settled(self.ngf, self.widths)
        object.__setattr__(self, "ngf", ngf)
        object.__setattr__(self, "widths", widths)

    @property
    def levels(self) -> tuple[int, ...]:
        """Channels at H, H/2, H/4, ..., as many as the network has levels."""
        return levels_of(self.ngf, self.widths)


class GetGanOutput(NamedTuple):
    """What one forward pass gives; gate is None in a net without one."""

    y_star: Tensor  # (N, 3, H, W) in [-1, 1]: the face
    y_error: Tensor  # (N, 3, H, W) in [-1, 1]: what has no counterpart in a face
    gate: Tensor | None  # (N, C, h, w) at the trunk's size, or (N, 1, h, w) for "channel"; ~1 face, ~0 error


class GetGanGenerator(nn.Module):
    """G^{X->Y}: y_* = F(s * S(x)), y_e = E((1 - s) * S(x)), s = sigmoid(T(S(x))).

    Without the gate both branches get S(x) itself, which is not the formula with s = 1.
    """

    def __init__(self, config: GetGanConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or GetGanConfig()
        self.shared = nn.Sequential(
            *encoder(config.in_channels, config.levels, config.norm, config.stride),
            *(ResidualBlock(config.levels[-1], config.norm) for _ in range(config.shared_blocks)),
        )
        self.gate = _gate(config)
        self.fake = _branch(config)
        self.error = _branch(config)

    @property
    def multiple_of(self) -> int:
        """Height and width are multiples of this: the stem's stride, and every level after it halves them."""
        return int(self.config.stride * 2 ** (len(self.config.levels) - 1))

    @property
    def min_size(self) -> int:
        """Smallest legal height and width: the trunk's must exceed its blocks' reflection padding of 1."""
        return 2 * self.multiple_of

    def forward(self, x: Tensor) -> GetGanOutput:
        """Face, error and gate of x, (N, 3, H, W) float RGB in [-1, 1]."""
        features, s = self._encode(x)
        if s is None:
            return GetGanOutput(self.fake(features), self.error(features), None)
        return GetGanOutput(self.fake(s * features), self.error((1 - s) * features), s)

    def translate(self, x: Tensor) -> Tensor:
        """Only y_* of x, (N, 3, H, W) float RGB in [-1, 1] -> the same; the error branch does not run."""
        features, s = self._encode(x)
        y_star: Tensor = self.fake(features if s is None else s * features)
        return y_star

    def _encode(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        check_image(x, self.config.in_channels, self.min_size, self.multiple_of)
        features: Tensor = self.shared(x)  # (N, C, h, w), h = H / multiple_of; by default C = 4 ngf at H/4
        return features, None if self.gate is None else torch.sigmoid(self.gate(features))


def _gate(config: GetGanConfig) -> nn.Conv2d | None:
    channels = config.levels[-1]
    if config.gate == "none":
        return None
    if config.gate == "3x3":
        return nn.Conv2d(channels, channels, 3, padding=1)
    return nn.Conv2d(channels, 1 if config.gate == "channel" else channels, 1)


def _branch(config: GetGanConfig) -> nn.Sequential:
    return nn.Sequential(
        *(ResidualBlock(config.levels[-1], config.norm) for _ in range(config.branch_blocks)),
        *decoder(config.levels, config.out_channels, config.norm, config.up, config.stride),
    )
