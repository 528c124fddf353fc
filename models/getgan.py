"""The GET-GAN generator: a shared encoder, a feature gate, and one decoder each for face and error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from getgan.models.blocks import ResidualBlock, check_config, check_image, down, head, stem, up


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


class GetGanOutput(NamedTuple):
    """What one forward pass gives; gate is None in a net without one."""

    y_star: Tensor  # (N, 3, H, W) in [-1, 1]: the face
    y_error: Tensor  # (N, 3, H, W) in [-1, 1]: what has no counterpart in a face
    gate: Tensor | None  # (N, C, H/4, W/4), or (N, 1, H/4, W/4) for "channel"; ~1 face, ~0 error


class GetGanGenerator(nn.Module):
    """G^{X->Y}: y_* = F(s * S(x)), y_e = E((1 - s) * S(x)), s = sigmoid(T(S(x))).

    Without the gate both branches get S(x) itself, which is not the formula with s = 1.
    """

    def __init__(self, config: GetGanConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or GetGanConfig()
        ngf, norm = config.ngf, config.norm
        self.shared = nn.Sequential(
            *stem(config.in_channels, ngf, norm),
            *down(ngf, norm),
            *down(2 * ngf, norm),
            *(ResidualBlock(4 * ngf, norm) for _ in range(config.shared_blocks)),
        )
        self.gate = _gate(config)
        self.fake = _branch(config)
        self.error = _branch(config)

    @property
    def min_size(self) -> int:
        """Smallest legal height and width: H/4 must exceed the residual blocks' reflection padding of 1."""
        return 8

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
        check_image(x, self.config.in_channels, self.min_size)
        features: Tensor = self.shared(x)  # (N, C, H/4, W/4), C = 4 * ngf
        return features, None if self.gate is None else torch.sigmoid(self.gate(features))


def _gate(config: GetGanConfig) -> nn.Conv2d | None:
    channels = 4 * config.ngf
    if config.gate == "none":
        return None
    if config.gate == "3x3":
        return nn.Conv2d(channels, channels, 3, padding=1)
    return nn.Conv2d(channels, 1 if config.gate == "channel" else channels, 1)


def _branch(config: GetGanConfig) -> nn.Sequential:
    ngf, norm = config.ngf, config.norm
    return nn.Sequential(
        *(ResidualBlock(4 * ngf, norm) for _ in range(config.branch_blocks)),  # (N, 4 ngf, H/4, W/4)
        *up(4 * ngf, norm, config.up),  # (N, 2 ngf, H/2, W/2)
        *up(2 * ngf, norm, config.up),  # (N, ngf, H, W)
        *head(ngf, config.out_channels),  # (N, 3, H, W)
    )
