"""getgan.json beside the pictures: what made them, so that one folder never mixes two kinds."""

from __future__ import annotations

from pathlib import Path

import msgspec

from getgan.errors import ConfigError
from getgan.files import write_bytes_atomic

RECORD_NAME = "getgan.json"


class Origin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What decides how a picture looks. It holds nothing of the patient, no names, no paths."""

    bundle: str  # sha256
    size: int
    fit: str
    label: bool
    output_size: str
    view: str


def claim_folder(folder: Path, origin: Origin, *, overwrite: bool = False) -> None:
    """Write the record into an output folder that has none, or ConfigError if it tells of another origin.

    Resuming skips what stands there: without this a face of another bundle, or one without its label, would
    stay among the new ones unnoticed. OutputError if it cannot be written.
    """
    path = folder / RECORD_NAME
    if path.exists() and not overwrite:
        try:
            found = msgspec.json.decode(path.read_bytes(), type=Origin)
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigError(f"{path} is no record of getgan's ({error}); choose another folder") from error
        if found == origin:
            return
        fields = [name for name in Origin.__struct_fields__ if getattr(found, name) != getattr(origin, name)]
        changed = ", ".join(f"{name} {getattr(found, name)!s:.12}" for name in fields)
        wanted = ", ".join(f"{name} {getattr(origin, name)!s:.12}" for name in fields)
        raise ConfigError(
            f"{folder} holds pictures made with {changed}; wanted {wanted}: choose another folder, "
            "or --overwrite"
        )
    write_bytes_atomic(path, msgspec.json.format(msgspec.json.encode(origin), indent=2) + b"\n")
