"""Regions by name, one per device: $XDG_CONFIG_HOME/getgan/presets.json holds them and nothing else."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import msgspec

from getgan.errors import ConfigError, OutputError, UsageError
from getgan.files import one_at_a_time, read_small, write_bytes_atomic
from getgan.printing import one_line
from getgan.runtime.media.region import Region, region_from_text

MAX_BYTES = 1 << 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class _Preset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    region: str
    width: int  # of the pictures that it was made for: in those of another size it shows something else
    height: int


def region_of(region: str, preset: str, save: str) -> Region | None:
    """What the three options mean; None = whole pictures. UsageError for those that contradict each other."""
    if save and not region:
        raise UsageError("found --save-preset without a region; wanted --region x,y,w,h beside it")
    if save and not _NAME.fullmatch(save):
        raise UsageError(f"found the preset name {save[:64]!r}; wanted up to 64 letters, digits, . _ or -")
    if region and preset:
        raise UsageError("found --region and --preset; wanted one of them")
    if region:
        return region_from_text(region)
    return load_preset(preset) if preset else None


def presets_file() -> Path:
    """Where they are kept; it need not be there."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    folder = Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~")) / ".config"
    return folder / "getgan" / "presets.json"


def load_preset(name: str) -> Region:
    """The region of that name; ConfigError."""
    presets = _read()
    if name not in presets:
        there = ", ".join(sorted(presets)) or "none"
        raise UsageError(
            f"found no preset {name[:64]!r} in {presets_file()} (there: {there}); make it with "
            "--region x,y,w,h --save-preset NAME"
        )
    found = presets[name]
    return replace(region_from_text(found.region), of=(found.width, found.height))


def save_preset(name: str, region: Region) -> None:
    """Add it, or replace the one of that name; ConfigError, OutputError."""
    if region.of is None:
        raise ValueError("a preset's region has the size of its pictures")
    path = presets_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {path.parent}: {error.strerror}; check its permissions") from error
    with one_at_a_time(path):  # two runs that save at once would each keep their own alone
        presets = dict(sorted({**_read(), name: _Preset(region.text, *region.of)}.items()))
        write_bytes_atomic(path, msgspec.json.format(msgspec.json.encode(presets), indent=2) + b"\n")


def _read() -> dict[str, _Preset]:
    path = presets_file()
    try:
        data = read_small(path, MAX_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    try:
        if len(data) > MAX_BYTES:
            raise msgspec.DecodeError("too large")
        return msgspec.json.decode(data, type=dict[str, _Preset])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is no list of presets ({one_line(error)}); repair it, or move it away"
        ) from error
