"""CycleGAN's ResNet generator, in the key layout of the public checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
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
from getgan.models.generator import Generator
from getgan.models.keys import blocks_of, norm_of, shape_of, stride_of, up_of, widths_of

# Where the first residual block can be: behind the stem's four layers and three for each halving of the size.
FIRST_BLOCKS = range(7, 23, 3)


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
        blocks, widths = len(blocks_of(state, "model")), widths_of(state, "model")
        stem = shape_of(state, "model.1.weight")
        behind = min(blocks_of(state, "model")) + blocks  # the first up-convolution
        head = shape_of(state, f"model.{behind + 3 * len(widths) - 2}.weight")
        stride = stride_of(head[0])
        return ResnetConfig(
            in_channels=stem[1],
            out_channels=head[0] // stride**2,
            stride=stride,
            ngf=stem[0],
            blocks=blocks,
            norm=norm_of(state, "model.1.bias"),
            up=up_of(state, f"model.{behind}.weight"),
            widths=widths,
        )

    @property
    def multiple_of(self) -> int:
        """Height and width are multiples of this: the stem's stride, and every level after it halves them."""
        return int(self.config.stride * 2 ** (len(self.config.levels) - 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) float RGB in [-1, 1] -> the same."""
        check_image(x, self.config.in_channels, self.min_size, self.multiple_of)
        out: Tensor = self.model(x)
        return out

    def translate(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) float RGB in [-1, 1] -> the same."""
        return self.forward(x)
