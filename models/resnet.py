"""CycleGAN's ResNet generator, in the key layout of the public checkpoints."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

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
class ResnetConfig:
    """Hyper-parameters of ResnetGenerator; 9 blocks for 256x256, 6 for 128x128."""

    in_channels: int = 3
    out_channels: int = 3
    ngf: int = 64
    blocks: int = 9
    norm: Literal["instance", "batch"] = "instance"
    up: Literal["transposed", "resize"] = "transposed"
    # Channels at H, H/2, H/4, ..., the last being the trunk's; () = CycleGAN's (ngf, 2 ngf, 4 ngf).
    widths: tuple[int, ...] = field(default=(), metadata={LEFT_OUT: True})
    # Of the stem, 1 or 2; with 2 the head answers with 2x2 pixels a place, and widths begin at H/2.
    stride: int = field(default=1, metadata={LEFT_OUT: True})

    def __post_init__(self) -> None:
        check_config(
            self,
            ("in_channels", "out_channels", "ngf", "blocks"),
            {"norm": ("instance", "batch"), "up": ("transposed", "resize")},
        )
        check_stride(self.stride)
        ngf, widths = settled(self.ngf, self.widths)
        object.__setattr__(self, "ngf", ngf)
        object.__setattr__(self, "widths", widths)

    @property
    def levels(self) -> tuple[int, ...]:
        """Channels at H, H/2, H/4, ..., as many as the network has levels."""
        return levels_of(self.ngf, self.widths)


class ResnetGenerator(nn.Module):
    """CycleGAN's generator in either direction, and GET-GAN's reverse generator H."""

    def __init__(self, config: ResnetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ResnetConfig()
        # The position in this list is the key name: model.1, .4, .7, blocks from .10, ups, last convolution.
        self.model = nn.Sequential(
            # (N, C, h, w), h = H / multiple_of; by default C = 4 ngf at H/4
            *encoder(config.in_channels, config.levels, config.norm, config.stride),
            *(ResidualBlock(config.levels[-1], config.norm) for _ in range(config.blocks)),
            *decoder(config.levels, config.out_channels, config.norm, config.up, config.stride),
        )

    @property
    def multiple_of(self) -> int:
        """Height and width are multiples of this: the stem's stride, and every level after it halves them."""
        return int(self.config.stride * 2 ** (len(self.config.levels) - 1))

    @property
    def min_size(self) -> int:
        """Smallest legal height and width: the trunk's must exceed its blocks' reflection padding of 1."""
        return 2 * self.multiple_of

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) float RGB in [-1, 1] -> the same."""
        check_image(x, self.config.in_channels, self.min_size, self.multiple_of)
        out: Tensor = self.model(x)
        return out

    def translate(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) float RGB in [-1, 1] -> the same."""
        return self.forward(x)
