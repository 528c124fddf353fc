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


def smallest_side(layers: int, scales: int = 1) -> int:
    """Of a picture: the two stride-1 layers each take one off H / 2**layers, each further scale halves it."""
    return int(3 * 2 ** (layers + scales - 1))


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
        """Smallest legal height and width."""
        return smallest_side(self.config.layers)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) float RGB in [-1, 1] -> scores (N, 1, H/8 - 2, W/8 - 2) for three layers."""
        if min(x.shape[2:]) < self.min_size:
            found = "x".join(str(n) for n in x.shape[2:])
            raise ConfigError(f"image is {found}; a PatchGAN of this depth wants at least {self.min_size}")
        out: Tensor = self.model(x)
        return out


SCALES = ("fine", "coarse", "whole")


class ScaledPatchGan(nn.Module):
    """Two or three PatchGANs, the first on the picture and each further one on half of what the last sees.

    One of three layers sees 70 pixels: of a picture of 256 all of a face at the third scale alone.
    """

    def __init__(self, config: PatchGanConfig | None = None, scales: int = 2) -> None:
        super().__init__()
        for name in SCALES[:scales]:
            self.add_module(name, PatchGan(config))

    @property
    def min_size(self) -> int:
        """Smallest legal height and width: the last scale's, which sees a half or a quarter."""
        return smallest_side(self._nets[0].config.layers, len(self._nets))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) float RGB in [-1, 1] -> scores (N, scales, h, w), all enlarged to weigh as much."""
        scores: list[Tensor] = []
        for net in self._nets:
            if scores:
                x = functional.avg_pool2d(x, 2)
            own = net(x)
            scores.append(functional.interpolate(own, size=scores[0].shape[2:]) if scores else own)
        return torch.cat(scores, dim=1)

    @property
    def _nets(self) -> list[PatchGan]:
        return [net for net in self.children() if isinstance(net, PatchGan)]
