"""The GET-GAN generator: a shared encoder, a feature gate, and one decoder each for face and error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from getgan.contract import OUTPUTS, Output
from getgan.errors import ConfigError
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
from getgan.models.keys import blocks_of, hyperparameters, shape_of


@dataclass(frozen=True)
class GetGanConfig(Levels):
    """Hyper-parameters of GetGanGenerator; the defaults split a ResNet-9 after its sixth block."""

    in_channels: int = 3
    out_channels: int = 3
    ngf: int = 64
    shared_blocks: int = 6
    branch_blocks: int = 3
    # "channel" = one gate value per place instead of one per place and channel.
    gate: Literal["none", "1x1", "3x3", "channel"] = "1x1"
    up: Literal["transposed", "resize"] = "transposed"
    norm: Literal["instance", "batch"] = "instance"
    # Channels at H, H/2, H/4, ..., the last being the trunk's; () = CycleGAN's (ngf, 2 ngf, 4 ngf).
    widths: tuple[int, ...] = field(default=(), metadata={LEFT_OUT: True})
    # Of the stem, 1 or 2; with 2 the head answers with 2x2 pixels a place, and widths begin at H/2.
    stride: int = field(default=1, metadata={LEFT_OUT: True})

    def __post_init__(self) -> None:
        check_config(
            self,
            ("in_channels", "out_channels", "ngf", "shared_blocks", "branch_blocks"),
            {
                "gate": ("none", "1x1", "3x3", "channel"),
                "up": ("transposed", "resize"),
                "norm": ("instance", "batch"),
            },
        )
        self.settle()


class GetGanOutput(NamedTuple):
    """What one forward pass gives; gate is None in a net without one."""

    y_star: Tensor  # (N, 3, H, W) in [-1, 1]: the face
    y_error: Tensor  # (N, 3, H, W) in [-1, 1]: what has no counterpart in a face
    gate: Tensor | None  # (N, C, h, w) at the trunk's size, or (N, 1, h, w) for "channel"; ~1 face, ~0 error


class Thought(NamedTuple):
    """What stands between the encoder and the decoders, all (N, C, h, w) at the trunk's size."""

    face: Tensor  # what the face is drawn from
    error: Tensor  # what y_e is drawn from
    gate: Tensor  # s, as GetGanOutput has it


class GetGanGenerator(Generator):
    """G^{X->Y}: y_* = F(s * S(x)), y_e = E((1 - s) * S(x)), s = sigmoid(T(S(x))).

    Without the gate both branches get S(x) itself, which is not the formula with s = 1.
    """

    arch = "getgan"
    config_class = GetGanConfig
    layout = "a getgan generator (shared.1.weight, fake.0.conv_block.1.weight, ...)"
    branch = "error"
    config: GetGanConfig

    def __init__(self, config: GetGanConfig | None = None) -> None:
        super().__init__(config)
        config = self.config
        self.shared = nn.Sequential(
            *encoder(config.in_channels, config.levels, config.norm, config.stride),
            *(ResidualBlock(config.levels[-1], config.norm) for _ in range(config.shared_blocks)),
        )
        self.gate = _gate(config)
        self.fake = _branch(config)
        self.error = _branch(config)

    @classmethod
    def recognised(cls, state: Mapping[str, Tensor]) -> GetGanConfig | None:
        """See Generator."""
        if not (blocks_of(state, "shared") and blocks_of(state, "fake")):
            return None
        branch = len(blocks_of(state, "fake"))
        return GetGanConfig(
            shared_blocks=len(blocks_of(state, "shared")),
            branch_blocks=branch,
            gate=_gate_of(state),
            **hyperparameters(state, "shared", "fake", branch),
        )

    @property
    def outputs(self) -> tuple[Output, ...]:
        """Where hidden parts are shows in the gate alone."""
        return ("face", "error") if self.gate is None else OUTPUTS

    def forward(self, x: Tensor) -> GetGanOutput:
        """Face, error and gate of x, (N, 3, H, W) float RGB in [-1, 1]."""
        features, s = self._encode(x)
        if s is None:
            return GetGanOutput(self.fake(features), self.error(features), None)
        return GetGanOutput(self.fake(s * features), self.error((1 - s) * features), s)

    def translate(self, x: Tensor) -> Tensor:
        """Only y_* of x, (N, 3, H, W) float RGB in [-1, 1] -> the same; the error branch does not run."""
        features, s = self._encode(x)
        y_star: Tensor = self.fake(features if s is None else s * features)
        return y_star

    def answer(self, x: Tensor, outputs: Sequence[Output]) -> dict[str, Tensor]:
        """See Generator; occlusion is (N, 1, h, w) in [0, 1] at the trunk's size, 1 = hidden."""
        if tuple(outputs) == ("face",):
            return {"face": self.translate(x)}
        result = self.forward(x)
        found = {"face": result.y_star, "error": result.y_error}
        if "occlusion" in outputs and result.gate is not None:
            found["occlusion"] = (1 - result.gate).mean(dim=1, keepdim=True)
        return found

    @property
    def ends(self) -> list[nn.Sequential]:
        """All but the trunk: encoder, face's and error's decoder."""
        return [_split(self.shared)[0], _split(self.fake)[2], _split(self.error)[2]]

    def encode(self, x: Tensor) -> Tensor:
        """What the trunk sees of x, (N, 3, H, W) float RGB in [-1, 1] -> (N, C, h, w)."""
        check_image(x, self.config.in_channels, self.min_size, self.multiple_of)
        seen: Tensor = _split(self.shared)[0](x)
        return seen

    def think(self, seen: Tensor) -> Thought:
        """The trunk alone, of what `encode` gives; ConfigError without a gate."""
        if self.gate is None:
            raise ConfigError("the trunk is asked for what it thinks, and has no gate; wanted gate=1x1")
        features = _split(self.shared)[1](seen)
        s = torch.sigmoid(self.gate(features))
        return Thought(_split(self.fake)[1](s * features), _split(self.error)[1]((1 - s) * features), s)

    def draw_error(self, thought: Thought) -> Tensor:
        """y_e of it, (N, 3, H, W) in [-1, 1]."""
        y_error: Tensor = _split(self.error)[2](thought.error)
        return y_error

    def _encode(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        check_image(x, self.config.in_channels, self.min_size, self.multiple_of)
        features: Tensor = self.shared(x)  # (N, C, h, w), h = H / multiple_of; by default C = 4 ngf at H/4
        return features, None if self.gate is None else torch.sigmoid(self.gate(features))


def _split(layers: nn.Sequential) -> tuple[nn.Sequential, nn.Sequential, nn.Sequential]:
    """What stands before the residual blocks, these, and what stands behind them."""
    blocks = [n for n, layer in enumerate(layers) if isinstance(layer, ResidualBlock)]
    first, behind = blocks[0], blocks[-1] + 1
    every = list(layers)
    return nn.Sequential(*every[:first]), nn.Sequential(*every[first:behind]), nn.Sequential(*every[behind:])


def _gate(config: GetGanConfig) -> nn.Conv2d | None:
    channels = config.levels[-1]
    if config.gate == "none":
        return None
    if config.gate == "3x3":
        return nn.Conv2d(channels, channels, 3, padding=1)
    return nn.Conv2d(channels, 1 if config.gate == "channel" else channels, 1)


def _branch(config: GetGanConfig) -> nn.Sequential:
    return nn.Sequential(
        *(ResidualBlock(config.levels[-1], config.norm) for _ in range(config.branch_blocks)),
        *decoder(config.levels, config.out_channels, config.norm, config.up, config.stride),
    )


def _gate_of(state: Mapping[str, Tensor]) -> Literal["none", "1x1", "3x3", "channel"]:
    if "gate.weight" not in state:
        return "none"
    out_channels, _, kernel, _ = shape_of(state, "gate.weight")
    if kernel == 3:
        return "3x3"
    return "channel" if out_channels == 1 else "1x1"
