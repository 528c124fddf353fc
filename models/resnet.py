"""CycleGAN's ResNet generator and its kin (pix2pix, CUT, pix2pixHD), in the key layouts of public files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

from getgan.models.blocks import (
    LEFT_OUT,
    STRIDES,
    Levels,
    ResidualBlock,
    check_config,
    check_eps,
    check_image,
    decoder,
    encoder,
)
from getgan.models.generator import Generator
from getgan.models.keys import blocks_of, convolutions_of, norm_and_bias_of, shape_of, up_of
from getgan.models.norms import set_norms

CHOICES = {
    "norm": ("instance", "affine", "batch", "none"),
    "up": ("transposed", "resize", "upsample", "upsample-pad", "blur"),
    "down": ("strided", "blur"),
    "bias": ("cyclegan", "always", "never"),
    "block": ("conv_block", "block"),
    "padding": ("reflect", "replicate", "zero"),
    "interpolation": ("nearest", "bilinear"),
    "norm_mode": ("eval", "train"),
}


@dataclass(frozen=True)
class ResnetConfig(Levels):
    """Hyper-parameters of ResnetGenerator; 9 blocks for 256x256, 6 for 128x128."""

    in_channels: int = 3
    out_channels: int = 3
    ngf: int = 64
    blocks: int = 9
    norm: Literal["instance", "affine", "batch", "none"] = "instance"
    # "resize" is getgan's own; forks of CycleGAN double the size before a convolution that pads zeros
    # ("upsample") or reflects ("upsample-pad"); "blur" is CUT's.
    up: Literal["transposed", "resize", "upsample", "upsample-pad", "blur"] = "transposed"
    # Channels at H, H/2, H/4, ..., the last being the trunk's; () = CycleGAN's (ngf, 2 ngf, 4 ngf).
    widths: tuple[int, ...] = field(default=(), metadata={LEFT_OUT: True})
    # Of the stem, 1 or 2; with 2 the head answers with 2x2 pixels a place, and widths begin at H/2.
    stride: int = field(default=1, metadata={LEFT_OUT: True})
    down: Literal["strided", "blur"] = field(default="strided", metadata={LEFT_OUT: True})
    # Of all convolutions but the last; "cyclegan" = where an InstanceNorm follows.
    bias: Literal["cyclegan", "always", "never"] = field(default="cyclegan", metadata={LEFT_OUT: True})
    block: Literal["conv_block", "block"] = field(default="conv_block", metadata={LEFT_OUT: True})
    dropout: bool = field(default=False, metadata={LEFT_OUT: True})  # in the blocks; never runs in a bundle
    # Of the blocks. The keys show "zero", and otherwise nothing.
    padding: Literal["reflect", "replicate", "zero"] = field(default="reflect", metadata={LEFT_OUT: True})
    interpolation: Literal["nearest", "bilinear"] = field(default="nearest", metadata={LEFT_OUT: True})
    # "train": BatchNorm takes the statistics of each picture, as pix2pix's authors test.
    norm_mode: Literal["eval", "train"] = field(default="eval", metadata={LEFT_OUT: True})
    eps: float = field(default=1e-5, metadata={LEFT_OUT: True})

    def __post_init__(self) -> None:
        check_config(self, ("in_channels", "out_channels", "ngf", "blocks"), CHOICES)
        check_eps(self)
        self.settle()


class ResnetGenerator(Generator):
    """CycleGAN's generator in either direction, and GET-GAN's reverse generator H."""

    arch = "resnet"
    config_class = ResnetConfig
    layout = "a CycleGAN ResNet generator (model.1.weight, model.10.conv_block.1.weight, ...)"
    assumed = ("padding", "interpolation", "norm_mode", "eps")
    config: ResnetConfig

    def __init__(self, config: ResnetConfig | None = None) -> None:
        super().__init__(config)
        config = self.config
        levels, norm = config.levels, config.norm
        bias = None if config.bias == "cyclegan" else config.bias == "always"
        kind: dict[str, Any] = {
            "bias": bias,
            "padding": config.padding,
            "dropout": config.dropout,
            "name": config.block,
        }
        # The position in this list is the key name: model.1, .4, .7, blocks from .10, ups, last convolution.
        self.model = nn.Sequential(
            # (N, C, h, w), h = H / multiple_of; by default C = 4 ngf at H/4
            *encoder(
                config.in_channels, levels, norm, config.stride, bias=bias, blurred=config.down == "blur"
            ),
            *(ResidualBlock(levels[-1], norm, **kind) for _ in range(config.blocks)),
            *decoder(levels, config.out_channels, norm, config.up, config.stride, bias=bias),
        )
        set_norms(self, config.norm_mode, config.eps)
        for layer in self.model:
            if isinstance(layer, nn.Upsample):
                layer.mode = config.interpolation

    @classmethod
    def recognised(cls, state: Mapping[str, Tensor]) -> ResnetConfig | None:
        """See Generator."""
        blocks, places = blocks_of(state, "model"), convolutions_of(state, "model")
        before = [place for place in places if place < min(blocks, default=0)]
        after = [place for place in places if place > max(blocks, default=0)]
        if before[:1] != [1] or len(after) < 2:
            return None
        widths = tuple(shape_of(state, f"model.{place}.weight")[0] for place in before)
        head = shape_of(state, f"model.{after[-1]}.weight")[0]
        stride = {3 * stride**2: stride for stride in STRIDES}.get(head, 1)
        return ResnetConfig(
            in_channels=shape_of(state, "model.1.weight")[1],
            out_channels=head // stride**2,
            stride=stride,
            ngf=widths[0],
            blocks=len(blocks),
            widths=widths,
            down="blur" if any(f"model.{place}.filt" in state for place in range(min(blocks))) else "strided",
            up=_up_of(state, max(blocks) + 1, after[0]),
            **norm_and_bias_of(state, "model.1", "model.2"),
            **_block_of(state, f"model.{min(blocks)}"),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) float RGB in [-1, 1] -> the same."""
        check_image(x, self.config.in_channels, self.min_size, self.multiple_of)
        out: Tensor = self.model(x)
        return out

    def translate(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) float RGB in [-1, 1] -> the same."""
        return self.forward(x)


def _block_of(state: Mapping[str, Tensor], root: str) -> dict[str, Any]:
    """The name, padding and dropout of the residual block at `root`."""
    name = "conv_block" if any(key.startswith(f"{root}.conv_block.") for key in state) else "block"
    places = convolutions_of(state, f"{root}.{name}")
    # A convolution that pads zeros itself has no layer before it. Between two: norm, ReLU, dropout, padding.
    zero = places[:1] == [0]
    dropout = len(places) == 2 and places[1] - places[0] == (4 if zero else 5)
    return {"block": name, "padding": "zero" if zero else "reflect", "dropout": dropout}


def _up_of(state: Mapping[str, Tensor], first: int, conv: int) -> Any:
    """The kind of the up-convolution at `conv`; the layers behind the blocks begin at `first`."""
    if conv == first:
        return up_of(state, f"model.{conv}.weight")
    if f"model.{first}.filt" in state:
        return "blur"
    return "upsample" if conv == first + 1 else "upsample-pad"
