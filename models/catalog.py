"""The one list of architectures that a checkpoint can hold."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from getgan.errors import ConfigError
from getgan.models.getgan import GetGanConfig, GetGanGenerator
from getgan.models.resnet import ResnetConfig, ResnetGenerator
from getgan.models.ugatit import UgatitConfig, UgatitGenerator

GeneratorConfig: TypeAlias = GetGanConfig | ResnetConfig | UgatitConfig
Generator: TypeAlias = GetGanGenerator | ResnetGenerator | UgatitGenerator


class Architecture(NamedTuple):
    """A config class and the network that takes it.

    Every network has `translate(x)`, (N, 3, H, W) float32 RGB in [-1, 1] -> the same, and `min_size`.
    """

    config: type[GeneratorConfig]
    generator: type[Generator]


# Smallest legal H and W: 8 for all three (multiples of 4); a full U-GAT-IT takes its training size only.
ARCHITECTURES: dict[str, Architecture] = {
    "getgan": Architecture(GetGanConfig, GetGanGenerator),
    "resnet": Architecture(ResnetConfig, ResnetGenerator),
    "ugatit": Architecture(UgatitConfig, UgatitGenerator),
}


def build_generator(arch: str, config: GeneratorConfig) -> Generator:
    """A fresh generator with PyTorch's default weights."""
    if arch not in ARCHITECTURES:
        raise ConfigError(f"unknown architecture {arch!r}; wanted one of {', '.join(ARCHITECTURES)}")
    if isinstance(config, GetGanConfig) and arch == "getgan":
        return GetGanGenerator(config)
    if isinstance(config, ResnetConfig) and arch == "resnet":
        return ResnetGenerator(config)
    if isinstance(config, UgatitConfig) and arch == "ugatit":
        return UgatitGenerator(config)
    wanted = ARCHITECTURES[arch].config.__name__
    raise ConfigError(f"architecture {arch!r} got a {type(config).__name__}; wanted a {wanted}")
