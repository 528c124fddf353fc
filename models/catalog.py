"""The one list of architectures that a checkpoint can hold."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, NamedTuple, TypeAlias

from getgan.errors import ConfigError
from getgan.models.blocks import LEFT_OUT
from getgan.models.getgan import GetGanConfig, GetGanGenerator
from getgan.models.resnet import ResnetConfig, ResnetGenerator
from getgan.models.ugatit import UgatitConfig, UgatitGenerator

GeneratorConfig: TypeAlias = GetGanConfig | ResnetConfig | UgatitConfig
Generator: TypeAlias = GetGanGenerator | ResnetGenerator | UgatitGenerator


class Architecture(NamedTuple):
    """A config class and the network that takes it.

    Every network has `translate(x)`, (N, 3, H, W) float32 RGB in [-1, 1] -> the same, `min_size` and
    `multiple_of`: the smallest legal H and W, and what both are multiples of.
    """

    config: type[GeneratorConfig]
    generator: type[Generator]


# A full U-GAT-IT takes its training size only, all others any size from min_size on.
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


def record_of(config: GeneratorConfig) -> dict[str, Any]:
    """The config as files hold it: all fields but those that are left out where they have their default."""
    return {
        field.name: value
        for field in fields(config)
        if (value := getattr(config, field.name)) != field.default or LEFT_OUT not in field.metadata
    }
