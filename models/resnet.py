"""CycleGAN's ResNet generator, in the key layout of the public checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from getgan.models.blocks import ResidualBlock, check_config, check_image, down, head, stem, up


@dataclass(frozen=True)
class ResnetConfig:
    """Hyper-parameters of ResnetGenerator; 9 blocks for 256x256, 6 for 128x128."""

    in_channels: int = 3
    out_channels: int = 3
    ngf: int = 64
    blocks: int = 9
    norm: Literal["instance", "batch"] = "instance"
    up: Literal["transposed", "resize"] = "transposed"

    def __post_init__(self) -> None:
        check_config(
            self,
            ("in_channels", "out_channels", "ngf", "blocks"),
            {"norm": ("instance", "batch"), "up": ("transposed", "resize")},
        )


class ResnetGenerator(nn.Module):
    """CycleGAN's generator in either direction, and GET-GAN's reverse generator H."""

    def __init__(self, config: ResnetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ResnetConfig()
        ngf, norm = config.ngf, config.norm
        # The position in this list is the key name: model.1, .4, .7, blocks from .10, ups, last convolution.
        self.model = nn.Sequential(
            *stem(config.in_channels, ngf, norm),  # (N, ngf, H, W)
            *down(ngf, norm),  # (N, 2 ngf, H/2, W/2)
            *down(2 * ngf, norm),  # (N, 4 ngf, H/4, W/4)
            *(ResidualBlock(4 * ngf, norm) for _ in range(config.blocks)),
            *up(4 * ngf, norm, config.up),  # (N, 2 ngf, H/2, W/2)
            *up(2 * ngf, norm, config.up),  # (N, ngf, H, W)
            *head(ngf, config.out_channels),  # (N, 3, H, W)
        )

    @property
    def min_size(self) -> int:
        """Smallest legal height and width: H/4 must exceed the residual blocks' reflection padding of 1."""
        return 8

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) float RGB in [-1, 1] -> the same."""
        check_image(x, self.config.in_channels, self.min_size)
        out: Tensor = self.model(x)
        return out

    def translate(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) float RGB in [-1, 1] -> the same."""
        return self.forward(x)
