"""Regions by name, one per device: $XDG_CONFIG_HOME/getgan/presets.json holds them and nothing else."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from getgan.errors import ConfigError, OutputError, UsageError
from getgan.files import write_bytes_atomic
from getgan.runtime.media.region import Region, region_from_text

MAX_BYTES = 1 << 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class _Preset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    region: str


def region_of(region: str, preset: str, save_preset: str) -> Region | None:
    """What the three options mean; None = whole pictures. A region that is given goes before a preset's."""
    if save_preset and not region:
        raise UsageError("found --save-preset without a region; wanted --region x,y,w,h beside it")
    if not region:
        return load_preset(preset) if preset else None
    found = region_from_text(region)
    if save_preset:
        save_preset_region(save_preset, found)
    return found


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
    return region_from_text(presets[name].region)


def save_preset_region(name: str, region: Region) -> None:
    """Add it, or replace the one of that name; ConfigError, OutputError."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"found the preset name {name[:64]!r}; wanted up to 64 letters, digits, . _ or -")
    path = presets_file()
    presets = dict(sorted({**_read(), name: _Preset(region.text)}.items()))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {path.parent}: {error.strerror}; check its permissions") from error
    write_bytes_atomic(path, msgspec.json.format(msgspec.json.encode(presets), indent=2) + b"\n")


def _read() -> dict[str, _Preset]:
    path = presets_file()
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    try:
        if len(data) > MAX_BYTES:
            raise msgspec.DecodeError("too large")
        return msgspec.json.decode(data, type=dict[str, _Preset])
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path} is no list of presets ({error}); repair it, or move it away") from error
