"""U-GAT-IT (Kim et al., ICLR 2020): attention by class activation maps, adaptive layer-instance norm."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import isqrt
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from getgan.errors import CheckpointError, ConfigError
from getgan.models.blocks import (
    LEFT_OUT,
    ImageConv2d,
    Levels,
    ResidualBlock,
    ResizeConv2d,
    check_config,
    check_image,
    is_traced,
)
from getgan.models.generator import Generator
from getgan.models.keys import blocks_of, shape_of

EPS = 1e-5
MAX_FIRST_BLOCK = 4 * 7  # of the layers before: `widths` are at most seven
_Module = TypeVar("_Module", bound=nn.Module)


@dataclass(frozen=True)
class UgatitConfig(Levels):
    """Hyper-parameters of UgatitGenerator; a full net (light=False) works at `size` x `size` only."""

    ngf: int = 64
    blocks: int = 4
    light: bool = True
    size: int = 256
    in_channels: int = 3
    out_channels: int = 3
    # Channels at H, H/2, H/4, ..., the last being the trunk's; () = CycleGAN's (ngf, 2 ngf, 4 ngf).
    widths: tuple[int, ...] = field(default=(), metadata={LEFT_OUT: True})

    def __post_init__(self) -> None:
        check_config(self, ("ngf", "blocks", "size", "in_channels", "out_channels"), {})
        self.settle()
        multiple = self.multiple_of
        if self.size < 2 * multiple or self.size % multiple:
            wanted = f"a multiple of {multiple}, at least {2 * multiple}"
            raise ConfigError(f"UgatitConfig.size is {self.size}; wanted {wanted}")


@dataclass(frozen=True)
class UgatitDiscriminatorConfig:
    """Hyper-parameters of UgatitDiscriminator: 7 layers make the paper's global one, 5 the local one."""

    in_channels: int = 3
    ndf: int = 64
    layers: int = 7

    def __post_init__(self) -> None:
        check_config(self, ("in_channels", "ndf", "layers"), {})
        if not 3 <= self.layers <= 9:
            raise ConfigError(f"UgatitDiscriminatorConfig.layers is {self.layers}; wanted 3 to 9")


class UgatitOutput(NamedTuple):
    """What the generator gives; the logits are trained to tell its input domain."""

    image: Tensor  # (N, 3, H, W) in [-1, 1]
    cam_logit: Tensor  # (N, 2): from the average and from the maximum
    heatmap: Tensor  # (N, 1, h, w) at the trunk's size, by default H/4: where the net looks


class UgatitScore(NamedTuple):
    """What a discriminator gives, for least squares."""

    score: Tensor  # (N, 1, h, w)
    cam_logit: Tensor  # (N, 2)
    heatmap: Tensor  # (N, 1, h + 1, w + 1)


class AdaLIN(nn.Module):
    """Mix of instance and layer norm by rho, with scale and shift from outside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rho = nn.Parameter(torch.full((1, channels, 1, 1), 0.9))

    def forward(self, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        """x (N, C, h, w), gamma and beta (N, C) -> (N, C, h, w)."""
        return _mixed_norm(x, self.rho) * gamma[:, :, None, None] + beta[:, :, None, None]


class ILN(nn.Module):
    """Mix of instance and layer norm by rho, with scale and shift of its own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rho = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> the same shape."""
        return _mixed_norm(x, self.rho) * self.gamma + self.beta


def _mixed_norm(x: Tensor, rho: Tensor) -> Tensor:
    # Unbiased variances, as in the public weights: with h * w = 64 * 64 the biased one already differs.
    per_channel = _standardised(x, (2, 3))
    per_image = _standardised(x, (1, 2, 3))
    return rho * per_channel + (1 - rho) * per_image


def _standardised(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    mean = x.mean(dim=dims, keepdim=True)
    variance = x.var(dim=dims, correction=1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + EPS)


def clip_rho(module: nn.Module) -> None:
    """Bring every rho of module back into [0, 1]; call it after each generator step."""
    for child in module.modules():
        if isinstance(child, (AdaLIN, ILN)):
            child.rho.data.clamp_(0.0, 1.0)


class AdaLINBlock(nn.Module):
    """Residual block whose two normalisations take their scale and shift from the attention features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pad1 = nn.ReflectionPad2d(1)
        self.conv1 = nn.Conv2d(channels, channels, 3, bias=False)
        self.norm1 = AdaLIN(channels)
        self.relu1 = nn.ReLU(inplace=True)
        self.pad2 = nn.ReflectionPad2d(1)
        self.conv2 = nn.Conv2d(channels, channels, 3, bias=False)
        self.norm2 = AdaLIN(channels)

    def forward(self, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        """x (N, C, h, w), gamma and beta (N, C) -> (N, C, h, w)."""
        y = self.relu1(self.norm1(self.conv1(self.pad1(x)), gamma, beta))
        out: Tensor = x + self.norm2(self.conv2(self.pad2(y)), gamma, beta)
        return out


class UgatitGenerator(Generator):
    """One direction of U-GAT-IT, light or full; module names are those of the public PyTorch weights."""

    arch = "ugatit"
    config_class = UgatitConfig
    # The logits and the heatmap of the class activation map: no weight is theirs alone, only work.
    branch = "cam"
    layout = "a U-GAT-IT generator (DownBlock.1.weight, gap_fc.weight, UpBlock1_1.norm1.rho, ...)"
    config: UgatitConfig

    def __init__(self, config: UgatitConfig | None = None) -> None:
        super().__init__(config)
        config = self.config
        widths, channels = config.levels, config.levels[-1]
        steps = tuple(pairwise(widths))
        self.DownBlock = nn.Sequential(
            *_conv(config.in_channels, widths[0], 7),  # (N, ngf, H, W)
            *(layer for a, b in steps for layer in _conv(a, b, 3, stride=2)),  # (N, C, h, w)
            *(ResidualBlock(channels, "instance", bias=False) for _ in range(config.blocks)),
        )
        self.gap_fc = nn.Linear(channels, 1, bias=False)
        self.gmp_fc = nn.Linear(channels, 1, bias=False)
        self.conv1x1 = nn.Conv2d(2 * channels, channels, 1)
        self.relu = nn.ReLU(inplace=True)
        # Light sees the spatial mean, full every position: hence its fixed size and 26 times the weights.
        positions = 1 if config.light else (config.size // self.multiple_of) ** 2
        self.FC = nn.Sequential(
            nn.Linear(positions * channels, channels, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(channels, channels, bias=False),
            nn.ReLU(inplace=True),
        )
        self.gamma = nn.Linear(channels, channels, bias=False)
        self.beta = nn.Linear(channels, channels, bias=False)
        for k in range(1, config.blocks + 1):
            self.add_module(f"UpBlock1_{k}", AdaLINBlock(channels))
        self.UpBlock2 = nn.Sequential(
            *(layer for a, b in reversed(steps) for layer in _up(b, a)),  # (N, ngf, H, W)
            nn.ReflectionPad2d(3),
            ImageConv2d(widths[0], config.out_channels, 7, bias=False),
            nn.Tanh(),
        )

    @classmethod
    def recognised(cls, state: Mapping[str, Tensor]) -> UgatitConfig | None:
        """See Generator."""
        if not (blocks_of(state, "DownBlock") and "UpBlock1_1.norm1.rho" in state):
            return None
        # Each convolution has a padding before it, and norm and ReLU behind.
        places = range(1, min(min(blocks_of(state, "DownBlock")), MAX_FIRST_BLOCK), 4)
        widths = tuple(shape_of(state, f"DownBlock.{place}.weight")[0] for place in places)
        positions = _positions(state)
        ups = (re.match(r"UpBlock2\.(\d{1,4})\.", key) for key in state)
        head = max((int(match[1]) for match in ups if match), default=0)
        shared: dict[str, Any] = {
            "in_channels": shape_of(state, "DownBlock.1.weight")[1],
            "out_channels": shape_of(state, f"UpBlock2.{head}.weight")[0],
            "ngf": widths[0],
            "blocks": len(blocks_of(state, "DownBlock")),
            "widths": widths,
        }
        if positions == 1:
            return UgatitConfig(**shared)
        side = isqrt(positions)  # of the trunk
        if side * side != positions:
            raise CheckpointError(
                f"found {positions:,} places in FC.0.weight; wanted 1 (light) or a square (full)"
            )
        return UgatitConfig(light=False, size=side * 2 ** (len(widths) - 1), **shared)

    @property
    def min_size(self) -> int:
        """Smallest legal height and width: the trunk pads by 1; a full net has one size only."""
        return 2 * self.multiple_of if self.config.light else self.config.size

    @property
    def fixed(self) -> bool:
        """Only the light net takes any size."""
        return not self.config.light

    def forward(self, x: Tensor) -> UgatitOutput:
        """Image, CAM logits and heatmap of x, (N, 3, H, W) float RGB in [-1, 1]."""
        check_image(x, self.config.in_channels, self.min_size, self.multiple_of)
        self._check_fixed_size(x)
        features = self.DownBlock(x)  # (N, C, h, w), by default C = 4 ngf at H/4
        both, cam_logit = _class_activation(features, self.gap_fc.weight, self.gmp_fc.weight)
        attended = self.relu(self.conv1x1(both))  # (N, C, h, w)
        return UgatitOutput(self._decode(attended), cam_logit, attended.sum(dim=1, keepdim=True))

    def translate(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) float RGB in [-1, 1] -> the same; logits and heatmap are not computed."""
        check_image(x, self.config.in_channels, self.min_size, self.multiple_of)
        self._check_fixed_size(x)
        both = _weighted(self.DownBlock(x), self.gap_fc.weight, self.gmp_fc.weight)
        return self._decode(self.relu(self.conv1x1(both)))

    def whole(self, x: Tensor) -> Tensor:
        """See Generator."""
        return self.forward(x).image

    def _decode(self, features: Tensor) -> Tensor:
        """(N, C, h, w) attended features -> (N, 3, H, W)."""
        style = features.mean(dim=(2, 3)) if self.config.light else features.flatten(1)
        style = self.FC(style)  # (N, C)
        gamma, beta = self.gamma(style), self.beta(style)
        decoded = features
        for k in range(1, self.config.blocks + 1):
            decoded = self.get_submodule(f"UpBlock1_{k}")(decoded, gamma, beta)
        image: Tensor = self.UpBlock2(decoded)
        return image

    def _check_fixed_size(self, x: Tensor) -> None:
        if self.config.light or is_traced():
            return
        size = self.config.size
        height, width = x.shape[2:]
        if (height, width) != (size, size):
            raise ConfigError(
                f"image is {height}x{width}; this full U-GAT-IT takes {size}x{size} only: resize it first"
            )


def _positions(state: Mapping[str, Tensor]) -> int:
    """How many places of the trunk FC.0 sees."""
    key = "FC.0.weight"
    if key not in state or state[key].ndim != 2 or not state[key].shape[0]:
        found = f"shape {tuple(state[key].shape)}" if key in state else "no such key"
        raise CheckpointError(f"found {found} for {key}; wanted a linear layer's weight there")
    return state[key].shape[1] // state[key].shape[0]


class UgatitDiscriminator(nn.Module):
    """One discriminator with CAM and spectral norm; the paper uses a global and a local one per domain."""

    def __init__(self, config: UgatitDiscriminatorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or UgatitDiscriminatorConfig()
        layers: list[nn.Module] = []
        channels, width = config.in_channels, config.ndf
        for n in range(config.layers - 1):
            stride = 2 if n < config.layers - 2 else 1
            conv = nn.Conv2d(channels, width, 4, stride=stride)
            layers += [nn.ReflectionPad2d(1), _spectral(conv), nn.LeakyReLU(0.2, inplace=True)]
            channels, width = width, 2 * width
        self.model = nn.Sequential(*layers)
        self.gap_fc = _spectral(nn.Linear(channels, 1, bias=False))
        self.gmp_fc = _spectral(nn.Linear(channels, 1, bias=False))
        self.conv1x1 = nn.Conv2d(2 * channels, channels, 1)
        self.leaky_relu = nn.LeakyReLU(0.2, inplace=True)
        self.pad = nn.ReflectionPad2d(1)
        self.conv = _spectral(nn.Conv2d(channels, 1, 4, bias=False))

    @property
    def min_size(self) -> int:
        """Smallest legal height and width: H / 2**(layers - 2) loses one before a reflection padding of 1."""
        return 3 * int(2 ** (self.config.layers - 2))

    def forward(self, x: Tensor) -> UgatitScore:
        """Scores of x, (N, 3, H, W) float RGB in [-1, 1]."""
        if min(x.shape[2:]) < self.min_size:
            found = "x".join(str(n) for n in x.shape[2:])
            wanted = f"{self.config.layers} layers want at least {self.min_size}"
            raise ConfigError(f"image is {found}; {wanted}: use fewer layers")
        features = self.model(x)  # (N, C, h + 1, w + 1)
        # Read each weight once: every read in training mode is one more power iteration.
        both, cam_logit = _class_activation(features, self.gap_fc.weight, self.gmp_fc.weight)
        features = self.leaky_relu(self.conv1x1(both))
        return UgatitScore(self.conv(self.pad(features)), cam_logit, features.sum(dim=1, keepdim=True))


def _spectral(module: _Module) -> _Module:
    spectral_norm(module)  # in place; returned as nn.Module, which would lose the type of .weight
    return module


def _class_activation(features: Tensor, average: Tensor, maximum: Tensor) -> tuple[Tensor, Tensor]:
    """Features weighted by the two classifiers (N, 2C, h, w), and their logits (N, 2)."""
    from_average = nn.functional.linear(features.mean(dim=(2, 3)), average)  # (N, 1)
    from_maximum = nn.functional.linear(features.amax(dim=(2, 3)), maximum)  # (N, 1)
    return _weighted(features, average, maximum), torch.cat([from_average, from_maximum], dim=1)


def _weighted(features: Tensor, average: Tensor, maximum: Tensor) -> Tensor:
    return torch.cat([features * average[:, :, None, None], features * maximum[:, :, None, None]], dim=1)


def _conv(channels: int, width: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    kind = ImageConv2d if kernel == 7 else nn.Conv2d
    return [
        nn.ReflectionPad2d(kernel // 2),
        kind(channels, width, kernel, stride=stride, bias=False),
        nn.InstanceNorm2d(width, affine=False),
        nn.ReLU(inplace=True),
    ]


def _up(channels: int, narrower: int) -> list[nn.Module]:
    # The doubling and the reflection are the convolution's own; what stands for them keeps the keys' numbers.
    return [
        nn.Identity(),
        nn.Identity(),
        ResizeConv2d(channels, narrower, bias=False),
        ILN(narrower),
        nn.ReLU(inplace=True),
    ]
