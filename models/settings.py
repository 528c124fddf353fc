"""What no key tells: from a flag, from the options file that training wrote beside it, or assumed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from getgan.errors import CheckpointError, ConfigError, UsageError
from getgan.files import read_small
from getgan.models.generator import Generator, GeneratorConfig
from getgan.models.nearest import first_three

# In this order: a network is to run as it was tested. Old versions of CycleGAN wrote opt.txt.
OPTION_FILES = ("test_opt.txt", "train_opt.txt", "opt.txt")
MAX_BYTES = 1 << 16  # CycleGAN's has 3 kB
MAX_TEXT = 40  # letters of a value that is used
SIZE = "size"  # the one setting that belongs to the contract
FLAG, KEYS, ASSUMED = "flag", "keys", "assumed"
# What CycleGAN and its kin call our settings. load_size is none of them: pictures are cut to crop_size.
_THEIR_NAMES = {SIZE: ("crop_size", "fineSize", "img_size"), "padding": ("padding_type",)}
_THEIR_WIDTHS = {"ngf": "ngf", "in_channels": "input_nc", "out_channels": "output_nc"}
_HEADER = re.compile(r"-+ Options -+")
_LINE = re.compile(r"([A-Za-z_]\w{0,63}):(.*)")
_DEFAULT = "[default: "  # what CycleGAN's authors write behind a value that is none
_YES, _NO = ("true", "yes", "1"), ("false", "no", "0")


@dataclass(frozen=True)
class Told:
    """What a user says of a file: which of several generators, and settings by name."""

    direction: str = ""
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Settings:
    """A network's config and size, and where each came from: keys, flag, a file's name, or assumed."""

    config: GeneratorConfig
    size: int
    sources: dict[str, str]


def told_from_flags(direction: str, options: list[str]) -> Told:
    """From --direction and each --option name=value."""
    pairs = []
    for option in options:
        name, equals, value = option.partition("=")
        if not (name and equals and value):
            raise UsageError(f"found --option {option!r:.80}; wanted name=value, like padding=reflect")
        pairs.append((name.strip(), value.strip()))
    if len(dict(pairs)) < len(pairs):
        raise UsageError(f"found --option {first_three(sorted(dict(pairs)))} twice; wanted each once")
    return Told(direction, tuple(pairs))


def settle(kind: type[Generator], config: GeneratorConfig, told: Told, folder: Path) -> Settings:
    """What the keys left open; CheckpointError for a file, ConfigError for a setting that cannot be."""
    flags = dict(told.options)
    name, written = _options_file(folder)
    _check_widths(config, name, written)
    allowed = (*kind.assumed, SIZE)
    if unknown := sorted(flags.keys() - set(allowed)):
        where = "its keys tell that" if hasattr(config, unknown[0]) else f"{kind.arch} has none"
        raise ConfigError(f"found --option {unknown[0]:.40} ({where}); wanted one of {', '.join(allowed)}")
    values: dict[str, Any] = {}
    sources = {field.name: KEYS for field in fields(config)}
    for setting in allowed:
        example = getattr(kind.config_class(), setting, 0) if setting != SIZE else 0
        if setting in flags:
            values[setting] = _value(flags[setting], example, f"--option {setting}")
            sources[setting] = FLAG
        elif (text := _written(setting, config, name, written)) is not None:
            values[setting] = _value(text, example, f"{setting} in {name}")
            sources[setting] = name
        elif setting == SIZE or getattr(config, setting) == example:
            sources[setting] = ASSUMED
    size = values.pop(SIZE, None)
    config = replace(config, **values)
    with torch.device("meta"):
        network = kind(config)
    if network.fixed:
        if size is not None and sources[SIZE] == FLAG and size != network.min_size:
            raise ConfigError(f"found --option size={size}; this {kind.arch} takes {network.min_size} only")
        size, sources[SIZE] = network.min_size, KEYS
    if size is None:
        size = network.native_size
    else:
        try:
            network.contract(size)
        except ConfigError as error:
            raise ConfigError(f"{error} (the size is from {sources[SIZE]})") from error
    return Settings(config, size, sources)


def in_words(settings: Mapping[str, str], values: Mapping[str, Any]) -> str:
    """By source, like "train_opt.txt: size=256; assumed: padding=reflect"; what the keys tell is left out."""
    sources = list(dict.fromkeys(source for source in settings.values() if source != KEYS))
    parts = []
    for source in sorted(sources, key=lambda source: (source == ASSUMED, source)):
        named = (f"{name}={values[name]}" for name, its in settings.items() if its == source)
        parts.append(f"{source}: {', '.join(named)}")
    return "; ".join(parts)


def _options_file(folder: Path) -> tuple[str, dict[str, str]]:
    """The name and the lines of the first options file in a folder; nothing where there is none."""
    for name in OPTION_FILES:
        path = folder / name
        try:
            data = read_small(path, MAX_BYTES + 1)
        except OSError:
            continue
        first = data[:200].decode("utf-8", "replace").lstrip("\ufeff").strip().partition("\n")[0]
        if _HEADER.fullmatch(first.strip()):
            return name, _lines(path, data)
        # Another program's file of that name says nothing of this network.
    return "", {}


def _lines(path: Path, data: bytes) -> dict[str, str]:
    if len(data) > MAX_BYTES:
        raise CheckpointError(
            f"found more than {MAX_BYTES:,} bytes in {path}; wanted an options file: move it"
        )
    found: dict[str, str] = {}
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), start=1):
        if line.lstrip("\ufeff").startswith("-") or not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None or match[1] in found:
            what = "a second" if match else "no"
            raise CheckpointError(
                f"found {what} setting in line {number} of {path} ({line.strip()!r:.60}); wanted each option "
                "once as `name: value`: correct it or move it away"
            )
        found[match[1]] = _without_default(match[2].strip())
    return found


def _without_default(text: str) -> str:
    """Not by a pattern: one took 1.9 s for a line of 1,600 spaces, and eight times that for each doubling."""
    value, mark, rest = text.partition(_DEFAULT)
    return value.rstrip() if mark and rest.endswith("]") else text


def _check_widths(config: GeneratorConfig, name: str, written: Mapping[str, str]) -> None:
    """What both tell must agree, or else the file is another network's."""
    for own, theirs in _THEIR_WIDTHS.items():
        value = getattr(config, own, None)
        if theirs in written and value is not None and written[theirs] != str(value):
            raise CheckpointError(
                f"found {theirs} {written[theirs]!r:.40} in {name} and {value} in the weights; wanted the "
                "options of this network: move the file away, and pass --option where it matters"
            )


def _written(setting: str, config: GeneratorConfig, name: str, written: Mapping[str, str]) -> str | None:
    """What the options file says of a setting, in our words."""
    if setting == "norm_mode":
        # pix2pix's test leaves BatchNorm in train mode unless it is told --eval.
        batch, stated = getattr(config, "norm", "") == "batch", written.get("eval", "").lower()
        return {"true": "eval", "false": "train"}.get(stated) if batch and name == "test_opt.txt" else None
    names = (setting, *_THEIR_NAMES.get(setting, ()))
    return next((written[each] for each in names if each in written), None)


def _value(text: str, example: Any, where: str) -> Any:
    """As the type of the setting's default."""
    small = text.lower()
    if len(text) > MAX_TEXT:
        raise ConfigError(f"found {where} = {text!r:.60}; wanted at most {MAX_TEXT} letters")
    if isinstance(example, bool):
        if small in _YES + _NO:
            return small in _YES
        raise ConfigError(f"found {where} = {text!r}; wanted true or false")
    if isinstance(example, (int, float)):
        try:
            return type(example)(text)
        except ValueError:
            kind = "a whole number" if isinstance(example, int) else "a number"
            raise ConfigError(f"found {where} = {text!r}; wanted {kind}") from None
    return text
