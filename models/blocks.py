"""Pieces that the generators and discriminators share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from getgan.errors import ConfigError
from getgan.models.norms import has_bias, norm_layer
from getgan.models.resampling import BlurDown, BlurUp

MAX_WIDTH = 4096  # channels; pixels of a U-GAT-IT with one size
MAX_DEPTH = 64  # residual blocks in one place; CycleGAN has 9
Up = Literal["transposed", "resize"]
# Of a config's field: a file leaves it out where it has its default, so that files without it stay readable.
LEFT_OUT = "left out if default"


class ResidualBlock(nn.Module):
    """x + f(x): two padded 3x3 convolutions that keep shape and channels.

    Whether zeros are padded, and whether there is a dropout, moves the second convolution in the keys.
    """

    def __init__(
        self,
        channels: int,
        norm: str,
        *,
        bias: bool | None = None,
        padding: str = "reflect",
        dropout: bool = False,
        name: str = "conv_block",  # in the keys
    ) -> None:
        super().__init__()
        convs = [
            [*_padded_conv(channels, padding, has_bias(norm, bias)), norm_layer(norm, channels)]
            for _ in range(2)
        ]
        between: list[nn.Module] = [nn.ReLU(inplace=True), *([nn.Dropout(0.5)] if dropout else [])]
        self.name = name
        self.add_module(name, nn.Sequential(*convs[0], *between, *convs[1]))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> the same shape."""
        out: Tensor = x + self.get_submodule(self.name)(x)
        return out


def _padded_conv(channels: int, padding: str, bias: bool) -> list[nn.Module]:
    if padding == "zero":
        return [nn.Conv2d(channels, channels, 3, padding=1, bias=bias)]
    pad = nn.ReflectionPad2d(1) if padding == "reflect" else nn.ReplicationPad2d(1)
    return [pad, nn.Conv2d(channels, channels, 3, bias=bias)]


class ImageConv2d(nn.Conv2d):
    """The 7x7 from a padded picture or to one; learns faster on a CPU.

    oneDNN computes channels in blocks of 16, so of a picture's three it wastes four fifths. In training on a
    CPU four pixels are therefore taken together, which are the same products and sums. Everywhere else, also
    when a graph is recorded, it is a plain convolution; export/lowering.py has the like for a graph.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, h + k - 1, w + k - 1) -> (N, out, h, w)."""
        odd = input.shape[2] % 2 or input.shape[3] % 2 or not self.kernel_size[0] % 2 or self.stride != (1, 1)
        if odd or not _learns_on_cpu(self, input):
            return super().forward(input)
        weight = functional.pixel_unshuffle(filter_of_four(self.weight), 2)
        bias = None if self.bias is None else self.bias.repeat_interleave(4)
        four = functional.conv2d(functional.pixel_unshuffle(input, 2), weight, bias)
        return functional.pixel_shuffle(four, 2)


def filter_of_four(weight: Tensor) -> Tensor:
    """(out, C, k, k) -> (4 out, C, k + 1, k + 1): with a stride of 2, what pixel_shuffle makes a picture of.

    The four are the filter moved by no or one pixel down and right, each with a row and a column of zeros.
    """
    places = [functional.pad(weight, (x, 1 - x, y, 1 - y)) for y in (0, 1) for x in (0, 1)]
    return torch.stack(places, dim=1).flatten(0, 1)


class ResizeConv2d(nn.Conv2d):
    """Nearest x2 then a 3x3 convolution: no checkerboard, and the same key names as a transposed one.

    In training on a CPU it is computed as a transposed one too, see `transposed_filter`.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, bias=bias, padding_mode="reflect")

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C_out, 2h, 2w)."""
        if not _learns_on_cpu(self, input):
            return super().forward(functional.interpolate(input, scale_factor=2.0, mode="nearest"))
        # What reflects at the double size repeats the edge at this one.
        padded = functional.pad(input, (1, 1, 1, 1), mode="replicate")
        weight = transposed_filter(self.weight)
        return functional.conv_transpose2d(padded, weight, self.bias, stride=2, padding=3)


def transposed_filter(weight: Tensor) -> Tensor:
    """(out, C, 3, 3) behind a doubling -> (C, out, 4, 4) of the transposed convolution that is the same.

    Of the nine taps at the double size several meet the same pixel, so that they can be added beforehand:
    four products for each pixel instead of nine.
    """
    for dim in (2, 3):
        first, middle, last = torch.split(weight, 1, dim)
        weight = torch.cat([last, middle + last, first + middle, first], dim)
    return weight.transpose(0, 1)


def _learns_on_cpu(module: nn.Module, input: Tensor) -> bool:
    return module.training and torch.is_grad_enabled() and input.device.type == "cpu" and not is_traced()


class SubpixelConv2d(nn.Conv2d):
    """A convolution that answers with 2x2 pixels at each place, without a checkerboard.

    The four pixels of a place have filters of their own, which left a grid in the pictures (after 500
    iterations 2.8 levels at the highest frequency, where the scans have 1.2). So a blur of 1-2-1 each way
    follows: nothing that alternates from pixel to pixel gets through, and the filters make up for the rest.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__(in_channels, 4 * out_channels, kernel)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, h + k - 1, w + k - 1) -> (N, out, 2h, 2w)."""
        pixels = functional.pixel_shuffle(super().forward(input), 2)
        padded = functional.pad(pixels, (1, 1, 1, 1), mode="replicate")
        return functional.avg_pool2d(functional.avg_pool2d(padded, 2, stride=1), 2, stride=1)


def encoder(
    in_channels: int,
    widths: Sequence[int],
    norm: str,
    stride: int,
    *,
    bias: bool | None = None,
    blurred: bool = False,
) -> list[nn.Module]:
    """Full size to the trunk's, (N, in, H, W) -> (N, widths[-1], H/m, W/m), m = stride * 2**downs."""
    layers = stem(in_channels, widths[0], norm, stride, bias)
    for width, wider in pairwise(widths):
        layers += down(width, wider, norm, bias, blurred=blurred)
    return layers


def decoder(
    widths: Sequence[int], out_channels: int, norm: str, kind: str, stride: int, *, bias: bool | None = None
) -> list[nn.Module]:
    """The trunk's size to the picture's: encoder the other way round, (N, out, H, W) in [-1, 1]."""
    layers: list[nn.Module] = []
    for width, narrower in pairwise(reversed(widths)):
        layers += up(width, narrower, norm, kind, bias)
    return [*layers, *head(widths[0], out_channels, stride)]


def stem(in_channels: int, width: int, norm: str, stride: int, bias: bool | None) -> list[nn.Module]:
    """7x7, (N, in, H, W) -> (N, width, H / stride, W / stride)."""
    return [
        nn.ReflectionPad2d(3),
        ImageConv2d(in_channels, width, 7, stride=stride, bias=has_bias(norm, bias)),
        norm_layer(norm, width),
        nn.ReLU(inplace=True),
    ]


def down(channels: int, wider: int, norm: str, bias: bool | None, *, blurred: bool) -> list[nn.Module]:
    """Halving of the size, (N, C, h, w) -> (N, wider, h/2, w/2), by stride or by a blur behind it."""
    return [
        nn.Conv2d(channels, wider, 3, stride=1 if blurred else 2, padding=1, bias=has_bias(norm, bias)),
        norm_layer(norm, wider),
        nn.ReLU(inplace=True),
        *([BlurDown(wider)] if blurred else []),
    ]


def up(channels: int, narrower: int, norm: str, kind: str, bias: bool | None) -> list[nn.Module]:
    """Doubling of the size, (N, C, h, w) -> (N, narrower, 2h, 2w)."""
    biased = has_bias(norm, bias)
    convs: list[nn.Module]
    if kind == "transposed":
        convs = [
            nn.ConvTranspose2d(channels, narrower, 3, stride=2, padding=1, output_padding=1, bias=biased)
        ]
    elif kind == "resize":
        convs = [ResizeConv2d(channels, narrower, bias=biased)]
    elif kind == "blur":
        convs = [BlurUp(channels), nn.Conv2d(channels, narrower, 3, padding=1, bias=biased)]
    elif kind == "upsample":
        convs = [nn.Upsample(scale_factor=2.0), nn.Conv2d(channels, narrower, 3, padding=1, bias=biased)]
    else:
        convs = [
            nn.Upsample(scale_factor=2.0),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, narrower, 3, bias=biased),
        ]
    return [*convs, norm_layer(norm, narrower), nn.ReLU(inplace=True)]


def head(width: int, out_channels: int, stride: int) -> list[nn.Module]:
    """7x7 and tanh, (N, width, H, W) -> (N, out, H, W) in [-1, 1]; with a stride 5x5 and subpixels."""
    if stride == 1:
        return [nn.ReflectionPad2d(3), ImageConv2d(width, out_channels, 7), nn.Tanh()]
    return [nn.ReflectionPad2d(2), SubpixelConv2d(width, out_channels, 5), nn.Tanh()]


@torch.no_grad()
def init_weights(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draw weights as CycleGAN does: N(0, 0.02), for the scale of a BatchNorm N(1, 0.02); biases 0.

    Call it before moving the module to a GPU: the same seed then gives the same weights everywhere.
    """
    for child in module.modules():
        if isinstance(child, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            child.weight.normal_(0.0, 0.02, generator=generator)
        elif isinstance(child, nn.BatchNorm2d):
            child.weight.normal_(1.0, 0.02, generator=generator)
        else:
            continue
        if isinstance(child, SubpixelConv2d):
            # Every pixel of a place alike: other draws would start as a checkerboard.
            child.weight.copy_(child.weight[::4].repeat_interleave(4, dim=0))
        if child.bias is not None:
            child.bias.zero_()


STRIDES = (1, 2)


def check_config(config: Any, positive: Sequence[str], choices: dict[str, tuple[str, ...]]) -> None:
    """Raise ConfigError for a width or depth out of range, or an unknown choice."""
    kind = type(config).__name__
    for name in positive:
        value = getattr(config, name)
        # A file of 4 MB holds 2,000 thin blocks, which took 14 s to look at and more to export.
        most = MAX_DEPTH if name.endswith("blocks") else MAX_WIDTH
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise ConfigError(f"{kind}.{name} is {value!r:.40}; wanted an integer from 1 to {most}")
    for name, allowed in choices.items():
        value = getattr(config, name)
        if value not in allowed:
            raise ConfigError(f"{kind}.{name} is {value!r}; wanted one of {', '.join(allowed)}")


def check_eps(config: Any) -> None:
    """Raise ConfigError for what no norm can add to a variance."""
    if not 0.0 < config.eps < 1.0:
        raise ConfigError(f"{type(config).__name__}.eps is {config.eps!r:.40}; wanted it between 0 and 1")


class Levels:
    """Of a config: its widths, checked and in one spelling, and what follows from them."""

    ngf: int
    widths: tuple[int, ...]
    stride: int = 1

    def settle(self) -> None:
        """Make ngf the first width, and CycleGAN's three (); ConfigError for widths that cannot be."""
        if self.stride not in STRIDES or type(self.stride) is not int:
            raise ConfigError(f"stride is {self.stride!r:.80}; wanted one of {', '.join(map(str, STRIDES))}")
        check_widths(self.widths)
        if self.widths:
            object.__setattr__(self, "ngf", self.widths[0])
            if self.widths == (self.ngf, 2 * self.ngf, 4 * self.ngf):
                object.__setattr__(self, "widths", ())

    @property
    def levels(self) -> tuple[int, ...]:
        """Channels at H, H/2, H/4, ...; without widths CycleGAN's, whose trunk is at H/4."""
        return self.widths or (self.ngf, 2 * self.ngf, 4 * self.ngf)

    @property
    def multiple_of(self) -> int:
        """Of height and width: the stem's stride, and every level after it halves them."""
        return int(self.stride * 2 ** (len(self.levels) - 1))


def check_widths(widths: tuple[int, ...]) -> None:
    """Raise ConfigError unless widths are none, or 2 to 7 integers that grow from the picture to the trunk.

    They grow strictly because an up-convolution's kind is told from which of its two sides is wider.
    """
    limits = all(type(width) is int and 1 <= width <= 4096 for width in widths)
    if widths and not (limits and 2 <= len(widths) <= 7 and list(widths) == sorted(set(widths))):
        wanted = (
            "2 to 7 integers from 1 to 4096, each larger than the one before: channels at H, H/2, H/4, ..."
        )
        raise ConfigError(f"widths are {widths!r:.200}; wanted {wanted}")


def check_image(x: Tensor, channels: int, min_size: int, multiple: int = 4) -> None:
    """Raise ConfigError unless x is (N, channels, H, W), H and W >= min_size and multiples of `multiple`."""
    if is_traced():
        return
    if x.ndim != 4 or x.shape[1] != channels:
        raise ConfigError(f"image has shape {tuple(x.shape)}; wanted (N, {channels}, H, W)")
    height, width = x.shape[2:]
    if min(height, width) < min_size or height % multiple or width % multiple:
        raise ConfigError(
            f"image is {height}x{width}; wanted height and width as multiples of {multiple}, "
            f"at least {min_size}: resize or crop it first"
        )


def is_traced() -> bool:
    """Whether a graph is being recorded: its shapes may be symbols, and Python checks do not enter it."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]  # public, untyped
    return tracing or torch.compiler.is_compiling()
