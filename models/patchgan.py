"""CycleGAN's PatchGAN discriminator, in the key layout of the public checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from getgan.errors import ConfigError
from getgan.models.blocks import check_config
from getgan.models.norms import norm_layer


@dataclass(frozen=True)
class PatchGanConfig:
    """Hyper-parameters of PatchGan; three layers see 70x70 pixels of the image per output value."""

    in_channels: int = 3
    ndf: int = 64
    layers: int = 3
    norm: Literal["instance", "batch", "none"] = "instance"

    def __post_init__(self) -> None:
        check_config(self, ("in_channels", "ndf", "layers"), {"norm": ("instance", "batch", "none")})


class PatchGan(nn.Module):
    """A map of real (1) / fake (0) scores without a sigmoid, as least squares wants it."""

    def __init__(self, config: PatchGanConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PatchGanConfig()
        bias = config.norm != "batch"
        width = config.ndf
        layers: list[nn.Module] = [
            nn.Conv2d(config.in_channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        for n in range(1, config.layers + 1):
            wider = config.ndf * min(2**n, 8)
            stride = 2 if n < config.layers else 1
            layers += [
                nn.Conv2d(width, wider, 4, stride=stride, padding=1, bias=bias),
                norm_layer(config.norm, wider),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            width = wider
        self.model = nn.Sequential(*layers, nn.Conv2d(width, 1, 4, padding=1))

    @property
    def min_size(self) -> int:
        """Smallest legal height and width: the two stride-1 layers each take one off H / 2**layers."""
        return 3 * int(2**self.config.layers)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) float RGB in [-1, 1] -> scores (N, 1, H/8 - 2, W/8 - 2) for three layers."""
        if min(x.shape[2:]) < self.min_size:
            found = "x".join(str(n) for n in x.shape[2:])
            raise ConfigError(f"image is {found}; a PatchGAN of this depth wants at least {self.min_size}")
        out: Tensor = self.model(x)
        return out


class TwoScalePatchGan(nn.Module):
    """Two PatchGANs, one on the picture and one on its half, which sees twice as much of a face at once."""

    def __init__(self, config: PatchGanConfig | None = None) -> None:
        super().__init__()
        self.fine = PatchGan(config)
        self.coarse = PatchGan(config)

    @property
    def min_size(self) -> int:
        """Smallest legal height and width: the half's."""
        return 2 * self.coarse.min_size

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) float RGB in [-1, 1] -> scores (N, 2, h, w), the half's enlarged to weigh as much."""
        fine = self.fine(x)
        coarse = self.coarse(functional.avg_pool2d(x, 2))
        return torch.cat([fine, functional.interpolate(coarse, size=fine.shape[2:], mode="nearest")], dim=1)
