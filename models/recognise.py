"""From a state dict to architecture and config, and from these to a network."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from getgan.errors import CheckpointError, ConfigError
from getgan.models.catalog import ARCHITECTURES
from getgan.models.generator import Generator, GeneratorConfig

WANTED = " or ".join(kind.layout for kind in ARCHITECTURES if kind.layout)


def recognise(state: Mapping[str, Tensor]) -> tuple[str, GeneratorConfig]:
    """The architecture and config that `state` must have; the caller checks that every key then fits."""
    for kind in ARCHITECTURES:
        if (config := kind.recognised(state)) is not None:
            return kind.arch, config
    raise CheckpointError(f"found a state dict with keys {first_three(sorted(state))}; wanted {WANTED}")


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


def first_three(names: list[str]) -> str:
    """The first three names and how many more there are, on one line whatever a file calls them."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    shown = (name if name.isprintable() else ascii(name) for name in names[:3])
    return (", ".join(f"{name:.200}" for name in shown) or "none") + more
