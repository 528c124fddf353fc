"""Fast neural style's TransformerNet (Johnson et al., ECCV 2016), in the key layout of PyTorch's examples."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from getgan.models.blocks import ResizeConv2d, check_config, check_image
from getgan.models.generator import Generator
from getgan.models.keys import shape_of


@dataclass(frozen=True)
class TransformerNetConfig:
    """Hyper-parameters of TransformerNet; the public files have the defaults."""

    in_channels: int = 3
    out_channels: int = 3
    ngf: int = 32
    blocks: int = 5
    multiple_of: ClassVar[int] = 4  # the answer to another height or width is larger than the picture

    def __post_init__(self) -> None:
        check_config(self, ("in_channels", "out_channels", "ngf", "blocks"), {})


class TransformerNet(Generator):
    """Pictures in 0..255, in and out; the last convolution has no activation, so `translate` clips."""

    arch = "transformernet"
    config_class = TransformerNetConfig
    layout = "a fast-neural-style TransformerNet (conv1.conv2d.weight, res1.conv1.conv2d.weight, ...)"
    value_range = (0.0, 255.0)
    config: TransformerNetConfig

    def __init__(self, config: TransformerNetConfig | None = None) -> None:
        super().__init__(config)
        ngf, blocks = self.config.ngf, self.config.blocks
        self.conv1, self.in1 = _conv(self.config.in_channels, ngf, 9), _norm(ngf)  # (N, ngf, H, W)
        self.conv2, self.in2 = _conv(ngf, 2 * ngf, 3, stride=2), _norm(2 * ngf)
        self.conv3, self.in3 = _conv(2 * ngf, 4 * ngf, 3, stride=2), _norm(4 * ngf)  # (N, 4 ngf, H/4, W/4)
        for k in range(1, blocks + 1):
            self.add_module(f"res{k}", _Residual(4 * ngf))
        self.deconv1, self.in4 = _named(ResizeConv2d(4 * ngf, 2 * ngf, bias=True)), _norm(2 * ngf)
        self.deconv2, self.in5 = _named(ResizeConv2d(2 * ngf, ngf, bias=True)), _norm(ngf)
        self.deconv3 = _conv(ngf, self.config.out_channels, 9)

    @classmethod
    def recognised(cls, state: Mapping[str, Tensor]) -> TransformerNetConfig | None:
        """See Generator."""
        if "conv1.conv2d.weight" not in state or "res1.conv1.conv2d.weight" not in state:
            return None
        ngf, in_channels, _, _ = shape_of(state, "conv1.conv2d.weight")
        blocks = sum(key.startswith("res") and key.endswith(".conv1.conv2d.weight") for key in state)
        return TransformerNetConfig(in_channels, shape_of(state, "deconv3.conv2d.weight")[0], ngf, blocks)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) float RGB in [0, 255] -> the same, but for what lies outside."""
        check_image(x, self.config.in_channels, self.min_size, self.multiple_of)
        y = self.in1(self.conv1(x)).relu()
        y = self.in2(self.conv2(y)).relu()
        y = self.in3(self.conv3(y)).relu()
        for k in range(1, self.config.blocks + 1):
            y = self.get_submodule(f"res{k}")(y)
        y = self.in4(self.deconv1(y)).relu()
        y = self.in5(self.deconv2(y)).relu()
        out: Tensor = self.deconv3(y)
        return out

    def translate(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) float RGB in [0, 255] -> the same."""
        return self.forward(x).clamp(*self.value_range)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.in1 = _conv(channels, channels, 3), _norm(channels)
        self.conv2, self.in2 = _conv(channels, channels, 3), _norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.in2(self.conv2(self.in1(self.conv1(x)).relu()))
        return out


def _conv(channels: int, width: int, kernel: int, stride: int = 1) -> nn.Module:
    return _named(nn.Conv2d(channels, width, kernel, stride, kernel // 2, padding_mode="reflect"))


def _named(conv: nn.Conv2d) -> nn.Module:
    return nn.Sequential(OrderedDict(conv2d=conv))


def _norm(channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels, affine=True)
