"""The same picture with fewer products: what a generator's layers become before its graph is recorded.

Two places of an image-to-image network cost more than they must, the more so the thinner the network is at
full size. Its last convolution has three channels, where a CPU computes 16 at a time and a tensor core eight:
four pixels are taken together. And behind a doubling of the size several taps of a filter meet the same
pixel: they are added beforehand, which leaves a transposed convolution. Both are the same sums, in another
order. docs/performance.md has what they win.
"""

from __future__ import annotations

from torch import Tensor, nn

from getgan.models.blocks import ImageConv2d, ResizeConv2d, filter_of_four, transposed_filter

MOST_CHANNELS = 4  # of a picture; with four pixels together these are 16
SMALLEST_KERNEL = 5  # of 3x3, taken together, more than two fifths would be zeros


def lower(module: nn.Module, multiple_of: int) -> None:
    """Replace, in place, the layers that can be had for fewer products; what it gives stays the same.

    multiple_of is that of the pictures' height and width. Not for training: the keys change.
    """
    for name, child in module.named_children():
        if isinstance(child, ResizeConv2d):
            setattr(module, name, _Doubling(child, reflects=True))
        elif _gives_a_picture(child) and multiple_of % 2 == 0:
            assert isinstance(child, nn.Conv2d)
            setattr(module, name, _four_at_once(child))
        else:
            lower(child, multiple_of)
    if isinstance(module, nn.Sequential):
        _lower_doublings(module)


class _Doubling(nn.Module):
    """Nearest x2 and a 3x3 convolution, as one transposed convolution."""

    def __init__(self, conv: nn.Conv2d, *, reflects: bool) -> None:
        super().__init__()
        channels, width, biased = conv.in_channels, conv.out_channels, conv.bias is not None
        # What reflects at the double size repeats the edge at this one; zeros are zeros at both.
        self.pad = nn.ReplicationPad2d(1) if reflects else nn.Identity()
        margin = 3 if reflects else 1
        self.conv = nn.ConvTranspose2d(channels, width, 4, stride=2, padding=margin, bias=biased)
        _set(self.conv, transposed_filter(conv.weight), conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C_out, 2h, 2w)."""
        out: Tensor = self.conv(self.pad(x))
        return out


def _lower_doublings(layers: nn.Sequential) -> None:
    """Upsample, padding or none, convolution: the layers of forks of CycleGAN."""
    found = list(layers)
    for place, layer in enumerate(found):
        if not (isinstance(layer, nn.Upsample) and layer.mode == "nearest" and layer.scale_factor == 2.0):
            continue
        padding = found[place + 1] if place + 1 < len(found) else None
        reflects = isinstance(padding, nn.ReflectionPad2d) and _all(padding.padding, 1)
        last = place + 1 + reflects
        conv = found[last] if last < len(found) else None
        if not (isinstance(conv, nn.Conv2d) and _plain(conv) and conv.kernel_size == (3, 3)):
            continue
        if conv.padding != ((0, 0) if reflects else (1, 1)) or conv.padding_mode != "zeros":
            continue
        # In the convolution's place; the others stay as nothing, so that later layers keep their numbers.
        for gone in range(place, last):
            layers[gone] = nn.Identity()
        layers[last] = _Doubling(conv, reflects=reflects)


def _gives_a_picture(module: nn.Module) -> bool:
    if type(module) not in (nn.Conv2d, ImageConv2d):  # what derives from them does more
        return False
    assert isinstance(module, nn.Conv2d)
    if not _plain(module):
        return False
    if not module.out_channels <= MOST_CHANNELS < module.in_channels:
        return False
    kernel, padding = module.kernel_size, module.padding
    same = isinstance(padding, tuple) and padding in ((0, 0), (kernel[0] // 2, kernel[0] // 2))
    return kernel[0] == kernel[1] and kernel[0] % 2 == 1 and kernel[0] >= SMALLEST_KERNEL and same


def _four_at_once(conv: nn.Conv2d) -> nn.Sequential:
    """2x2 pixels for each place, then beside each other."""
    assert isinstance(conv.padding, tuple)
    four = nn.Conv2d(
        conv.in_channels,
        4 * conv.out_channels,
        conv.kernel_size[0] + 1,
        stride=2,
        padding=conv.padding[0],
        padding_mode=conv.padding_mode,
        bias=conv.bias is not None,
    )
    bias = None if conv.bias is None else conv.bias.repeat_interleave(4)
    _set(four, filter_of_four(conv.weight), bias)
    return nn.Sequential(four, nn.PixelShuffle(2))


def _set(conv: nn.Conv2d | nn.ConvTranspose2d, weight: Tensor, bias: Tensor | None) -> None:
    conv.weight = nn.Parameter(weight.detach().contiguous())
    conv.bias = None if bias is None else nn.Parameter(bias.detach())


def _plain(conv: nn.Conv2d) -> bool:
    return _all(conv.stride, 1) and _all(conv.dilation, 1) and conv.groups == 1


def _all(values: object, wanted: int) -> bool:
    return isinstance(values, tuple) and all(value == wanted for value in values)
