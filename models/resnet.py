"""CycleGAN's ResNet generator, in the key layout of the public checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn

from getgan.models.blocks import (
    LEFT_OUT,
    Levels,
    ResidualBlock,
    check_config,
    check_image,
    decoder,
    encoder,
)
from getgan.models.generator import Generator
from getgan.models.keys import blocks_of, hyperparameters

# Where the first residual block can be: behind the stem's four layers and three for each halving of the size.
FIRST_BLOCKS = range(7, 23, 3)


@dataclass(frozen=True)
class ResnetConfig(Levels):
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
        self.settle()


class ResnetGenerator(Generator):
    """CycleGAN's generator in either direction, and GET-GAN's reverse generator H."""

    arch = "resnet"
    config_class = ResnetConfig
    layout = "a plain CycleGAN ResNet generator (model.1.weight, model.10.conv_block.1.weight, ...)"
    config: ResnetConfig

    def __init__(self, config: ResnetConfig | None = None) -> None:
        super().__init__(config)
        config = self.config
        # The position in this list is the key name: model.1, .4, .7, blocks from .10, ups, last convolution.
        self.model = nn.Sequential(
            # (N, C, h, w), h = H / multiple_of; by default C = 4 ngf at H/4
            *encoder(config.in_channels, config.levels, config.norm, config.stride),
            *(ResidualBlock(config.levels[-1], config.norm) for _ in range(config.blocks)),
            *decoder(config.levels, config.out_channels, config.norm, config.up, config.stride),
        )

    @classmethod
    def recognised(cls, state: Mapping[str, Tensor]) -> ResnetConfig | None:
        """See Generator."""
        # A first block at 12 is CUT's anti-aliased net: it would load here only by mistake.
        if min(blocks_of(state, "model"), default=0) not in FIRST_BLOCKS:
            return None
        blocks = blocks_of(state, "model")
        shared = hyperparameters(state, "model", "model", min(blocks) + len(blocks))
        return ResnetConfig(blocks=len(blocks), **shared)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) float RGB in [-1, 1] -> the same."""
        check_image(x, self.config.in_channels, self.min_size, self.multiple_of)
        out: Tensor = self.model(x)
        return out

    def translate(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) float RGB in [-1, 1] -> the same."""
        return self.forward(x)
