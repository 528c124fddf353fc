"""From a state dict to architecture and config, and from these to a network."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from getgan.errors import CheckpointError, ConfigError
from getgan.models.catalog import ARCHITECTURES
from getgan.models.generator import Generator, GeneratorConfig
from getgan.models.nearest import unknown_state


def recognised(state: Mapping[str, Tensor]) -> tuple[str, GeneratorConfig] | None:
    """The architecture and config that `state` must have, None = none; the caller checks that every key fits.

    CheckpointError or ConfigError where the keys are one architecture's, and cannot be.
    """
    for kind in ARCHITECTURES:
        if (config := kind.recognised(state)) is not None:
            return kind.arch, config
    return None


def recognise(state: Mapping[str, Tensor]) -> tuple[str, GeneratorConfig]:
    """The same; CheckpointError also where it is none."""
    if (found := recognised(state)) is None:
        raise CheckpointError(unknown_state(state))
    return found


def architecture(arch: object) -> type[Generator]:
    """By its name in files; ConfigError for an unknown one."""
    for kind in ARCHITECTURES:
        if kind.arch == arch:
            return kind
    wanted = f"one of {', '.join(kind.arch for kind in ARCHITECTURES)}: pip install -U getgan"
    raise ConfigError(f"found architecture {arch!r:.80}; wanted {wanted}")


def build_generator(arch: str, config: GeneratorConfig) -> Generator:
    """A fresh generator with PyTorch's default weights."""
    kind = architecture(arch)
    if type(config) is not kind.config_class:
        wanted = kind.config_class.__name__
        raise ConfigError(f"architecture {arch!r} got a {type(config).__name__}; wanted a {wanted}")
    return kind(config)
