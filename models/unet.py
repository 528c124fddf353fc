"""pix2pix's U-Net generator (Isola et al., CVPR 2017), in the key layout of the public checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from getgan.errors import ConfigError
from getgan.models.blocks import LEFT_OUT, check_config, check_eps, check_image
from getgan.models.generator import Generator
from getgan.models.keys import norm_and_bias_of, shape_of
from getgan.models.norms import has_bias, norm_layer, set_norms

DEPTHS = (2, 11)  # at 2048 x 2048, the largest picture, depth 11 ends in one place
CHOICES = {
    "norm": ("instance", "affine", "batch", "none"),
    "bias": ("cyclegan", "always", "never"),
    "norm_mode": ("eval", "train"),
}


@dataclass(frozen=True)
class UnetConfig:
    """Hyper-parameters of UnetGenerator; depth 8 for 256x256, 7 for 128x128.

    The public nets with dropout have the keys of those without; in a bundle it never runs.
    """

    in_channels: int = 3
    out_channels: int = 3
    ngf: int = 64
    depth: int = 8
    norm: Literal["instance", "affine", "batch", "none"] = "batch"
    # Of all convolutions but the last; "cyclegan" = where an InstanceNorm follows.
    bias: Literal["cyclegan", "always", "never"] = field(default="cyclegan", metadata={LEFT_OUT: True})
    # "train": BatchNorm takes the statistics of each picture, as pix2pix's authors test.
    norm_mode: Literal["eval", "train"] = field(default="eval", metadata={LEFT_OUT: True})
    eps: float = field(default=1e-5, metadata={LEFT_OUT: True})

    def __post_init__(self) -> None:
        check_config(self, ("in_channels", "out_channels", "ngf", "depth"), CHOICES)
        check_eps(self)
        if not DEPTHS[0] <= self.depth <= DEPTHS[1]:
            raise ConfigError(f"UnetConfig.depth is {self.depth}; wanted {DEPTHS[0]} to {DEPTHS[1]}")

    @property
    def multiple_of(self) -> int:
        """Of height and width: the innermost level has one place at the least."""
        return int(2**self.depth)

    @property
    def levels(self) -> tuple[int, ...]:
        """Channels at H/2, H/4, ..., H/2**depth."""
        return tuple(self.ngf * min(2**level, 8) for level in range(self.depth))


class UnetGenerator(Generator):
    """pix2pix's generator: each level hands its input on beside what the levels below make of it."""

    arch = "unet"
    config_class = UnetConfig
    layout = "a pix2pix U-Net (model.model.0.weight, model.model.1.model.1.weight, ...)"
    assumed = ("norm_mode", "eps")
    config: UnetConfig

    def __init__(self, config: UnetConfig | None = None) -> None:
        super().__init__(config)
        config = self.config
        norm, levels = config.norm, config.levels
        biased = has_bias(norm, None if config.bias == "cyclegan" else config.bias == "always")
        level: nn.Module | None = None
        for outer, inner in reversed(list(pairwise(levels))):
            level = _Level(outer, inner, level, norm, biased)
        assert level is not None
        # The position in each list is the key name: model.model.0, model.model.1.model.1, ...
        self.model = nn.Module()
        self.model.model = nn.Sequential(
            nn.Conv2d(config.in_channels, levels[0], 4, 2, 1, bias=biased),  # (N, ngf, H/2, W/2)
            level,
            nn.ReLU(),
            nn.ConvTranspose2d(2 * levels[0], config.out_channels, 4, 2, 1),
            nn.Tanh(),
        )
        set_norms(self, config.norm_mode, config.eps)

    @classmethod
    def recognised(cls, state: Mapping[str, Tensor]) -> UnetConfig | None:
        """See Generator."""
        inner, depth = "model.model.1.model", 2
        if not {"model.model.0.weight", f"{inner}.1.weight"} <= state.keys():
            return None
        while f"{inner}.3.model.1.weight" in state:
            inner, depth = f"{inner}.3.model", depth + 1
        ngf, in_channels, _, _ = shape_of(state, "model.model.0.weight")
        out_channels = shape_of(state, "model.model.3.weight")[1]
        # The innermost level has no norm on its way down: at H/2**depth there may be one place only.
        kind = norm_and_bias_of(state, f"{inner}.3", f"{inner}.4")
        return UnetConfig(in_channels, out_channels, ngf, depth, **kind)

    @property
    def min_size(self) -> int:
        """Smallest legal height and width: one place at the innermost level."""
        return self.multiple_of

    @property
    def native_size(self) -> int:
        """What a net of this depth is made for."""
        return self.multiple_of

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) float RGB in [-1, 1] -> the same."""
        check_image(x, self.config.in_channels, self.min_size, self.multiple_of)
        out: Tensor = self.model.get_submodule("model")(x)
        return out

    def translate(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) float RGB in [-1, 1] -> the same."""
        return self.forward(x)


class _Level(nn.Module):
    """Half the size, the level below if there is one, and back: (N, C, h, w) -> (N, 2C, h, w)."""

    def __init__(self, channels: int, wider: int, below: nn.Module | None, norm: str, biased: bool) -> None:
        super().__init__()
        down = [nn.LeakyReLU(0.2), nn.Conv2d(channels, wider, 4, 2, 1, bias=biased)]
        inner = [] if below is None else [norm_layer(norm, wider), below]
        width = wider if below is None else 2 * wider
        up = [
            nn.ReLU(),
            nn.ConvTranspose2d(width, channels, 4, 2, 1, bias=biased),
            norm_layer(norm, channels),
        ]
        self.model = nn.Sequential(*down, *inner, *up)

    def forward(self, x: Tensor) -> Tensor:
        """x goes first, as it came: the ReLU behind makes it what the authors' LeakyReLU in place leaves."""
        return torch.cat([x, self.model(x)], dim=1)
