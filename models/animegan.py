"""AnimeGANv2's generator (Chen et al., 2021), in the key layout of the public PyTorch weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as functional
from torch import Tensor, nn

from getgan.models.blocks import check_config, check_image
from getgan.models.generator import Generator
from getgan.models.keys import shape_of


@dataclass(frozen=True)
class AnimeGanConfig:
    """Hyper-parameters of AnimeGan; the public files have the defaults."""

    in_channels: int = 3
    out_channels: int = 3
    ngf: int = 32
    blocks: int = 4
    # Of both up-samplings; the public code takes True where its caller does not say.
    align_corners: bool = True
    multiple_of: ClassVar[int] = 4  # the answer to another height or width is larger than the picture

    def __post_init__(self) -> None:
        check_config(self, ("in_channels", "out_channels", "ngf", "blocks"), {})


class AnimeGan(Generator):
    """Inverted residual blocks at H/4, layer norm (one group) after every convolution, tanh."""

    arch = "animegan"
    config_class = AnimeGanConfig
    layout = "an AnimeGANv2 generator (block_a.0.1.weight, block_c.1.layers.0.1.weight, ...)"
    assumed = ("align_corners",)
    config: AnimeGanConfig

    def __init__(self, config: AnimeGanConfig | None = None) -> None:
        super().__init__(config)
        n, stem = self.config.ngf, _conv(self.config.in_channels, self.config.ngf, 7)
        self.block_a = nn.Sequential(stem, _conv(n, 2 * n, halve=True), _conv(2 * n, 2 * n))  # H/2
        self.block_b = nn.Sequential(_conv(2 * n, 4 * n, halve=True), _conv(4 * n, 4 * n))  # H/4
        blocks = (_Inverted(8 * n if k else 4 * n, 8 * n) for k in range(self.config.blocks))
        self.block_c = nn.Sequential(_conv(4 * n, 4 * n), *blocks, _conv(8 * n, 4 * n))
        self.block_d = nn.Sequential(_conv(4 * n, 4 * n), _conv(4 * n, 4 * n))  # H/2
        self.block_e = nn.Sequential(_conv(4 * n, 2 * n), _conv(2 * n, 2 * n), _conv(2 * n, n, 7))  # H
        self.out_layer = nn.Sequential(nn.Conv2d(n, self.config.out_channels, 1, bias=False), nn.Tanh())

    @classmethod
    def recognised(cls, state: Mapping[str, Tensor]) -> AnimeGanConfig | None:
        """See Generator."""
        if "block_a.0.1.weight" not in state or "out_layer.0.weight" not in state:
            return None
        ngf, in_channels, _, _ = shape_of(state, "block_a.0.1.weight")
        blocks = sum(key.startswith("block_c.") and key.endswith(".layers.0.1.weight") for key in state)
        return AnimeGanConfig(in_channels, shape_of(state, "out_layer.0.weight")[0], ngf, blocks)

    def translate(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) float RGB in [-1, 1] -> the same."""
        check_image(x, self.config.in_channels, self.min_size, self.multiple_of)
        y = self._up(self.block_c(self.block_b(self.block_a(x))))
        out: Tensor = self.out_layer(self.block_e(self._up(self.block_d(y))))
        return out

    def _up(self, x: Tensor) -> Tensor:
        corners = self.config.align_corners
        return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=corners)


class _Inverted(nn.Module):
    """Inverted residual block: 1x1 to twice the channels, 3x3 in each channel, 1x1 to `width`."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.layers = nn.Sequential(
            _conv(channels, wide, 1),
            _conv(wide, wide, each=True),
            nn.Conv2d(wide, width, 1, bias=False),
            nn.GroupNorm(1, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if x.shape[1] == y.shape[1] else y


def _conv(
    channels: int, width: int, kernel: int = 3, *, halve: bool = False, each: bool = False
) -> nn.Module:
    """With norm and activation; `halve`: the size, `each`: one filter in each channel."""
    padding = (0, 1, 0, 1) if halve else (kernel // 2,) * 4
    conv = nn.Conv2d(channels, width, kernel, 1 + halve, groups=channels if each else 1, bias=each)
    return nn.Sequential(nn.ReflectionPad2d(padding), conv, nn.GroupNorm(1, width), nn.LeakyReLU(0.2, True))
