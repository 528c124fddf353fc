"""A folder of files that appears whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from getgan.errors import OutputError
from getgan.files import write_bytes_atomic
from getgan.runtime.bundle import SUFFIX
from getgan.runtime.manifest import MANIFEST_NAME


def check_output(output: Path, *, overwrite: bool) -> None:
    """OutputError, before any work, if the bundle could not be put there in the end."""
    parent = output.parent
    if not parent.is_dir():
        raise OutputError(f"{parent} is no folder; wanted one for the bundle: mkdir -p {parent}")
    with temporary_folder(output):
        pass  # os.access lets root write into /proc
    if not (output.exists() or output.is_symlink()):
        return
    if not overwrite:
        raise OutputError(f"{output} exists; pass --overwrite or choose another name")
    # Never delete what is not ours.
    as_file = output.suffix == SUFFIX
    ours = output.is_file() if as_file else (output / MANIFEST_NAME).is_file()
    if output.is_symlink() or not ours:
        raise OutputError(f"{output} is no bundle, so it is not replaced; choose another name")


@contextmanager
def temporary_folder(beside: Path) -> Iterator[Path]:
    """A new hidden folder in the same place as `beside`, gone afterwards whatever happened."""
    temporary = beside.parent / f".getgan-{secrets.token_hex(8)}.tmp"
    try:
        temporary.mkdir()
    except OSError as error:
        raise OutputError(_message(beside, error)) from error
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files by relative name, each synced; OutputError for a full disk."""
    try:
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_bytes_atomic(folder / name, data)
    except OSError as error:
        raise OutputError(_message(folder, error)) from error


def move_into_place(folder: Path, output: Path) -> None:
    """Rename folder to output; an older output is put back if that fails, and removed if not."""
    old = output.parent / f".getgan-{secrets.token_hex(8)}.old"
    replaced = output.exists()
    try:
        if replaced:
            os.rename(output, old)
        try:
            os.rename(folder, output)
        except BaseException:
            if replaced:
                os.rename(old, output)
            raise
    except OSError as error:
        raise OutputError(_message(output, error)) from error
    shutil.rmtree(old, ignore_errors=True)


def _message(path: Path, error: OSError) -> str:
    advice = f"check the space and the permissions of {path.parent}, then run the same command again"
    return f"cannot write {path}: {error.strerror or error}; {advice}"
