"""A folder of files that appears whole or not at all, and replaces nothing but a bundle."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from getgan.errors import BundleError, OutputError
from getgan.files import LEFTOVER_S, remove_leftovers, temporary_beside, try_lock, write_bytes_atomic
from getgan.runtime.bundle import SUFFIX, read_manifest
from getgan.runtime.manifest import MANIFEST_NAME, files_listed

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux
NO_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)  # of an old kernel, and of some file systems
FOREIGN_SHOWN = 3
_TEMPORARY = re.compile(r"\.getgan-[0-9a-f]{16}\.tmp")


def check_output(output: Path, *, overwrite: bool) -> None:
    """OutputError, before any work, if the bundle could not be put there in the end."""
    parent = output.parent
    if not parent.is_dir():
        raise OutputError(f"{parent} is no folder; wanted one for the bundle: mkdir -p {parent}")
    with temporary_folder(output):
        pass  # os.access lets root write into /proc
    _put_back(output)
    remove_leftovers(parent)
    _remove_leftover_folders(parent)
    if not (output.exists() or output.is_symlink()):
        return
    if not overwrite:
        raise OutputError(f"{output} exists; pass --overwrite or choose another name")
    check_replaceable(output)


def check_replaceable(output: Path) -> None:
    """OutputError unless output is missing, or a bundle and nothing else: never delete what is not ours.

    A bundle of any version, which an older getgan or a newer one wrote.
    """
    if not (output.exists() or output.is_symlink()):
        return
    advice = "so it is not replaced; choose another name"
    if output.is_symlink() or output.is_dir() == (output.suffix == SUFFIX):
        raise OutputError(f"{output} is no bundle, {advice}")
    try:
        listed = files_listed(read_manifest(output))
    except (BundleError, OSError) as error:
        raise OutputError(f"{output} is no bundle, {advice} or remove it yourself ({error})") from error
    if foreign := _foreign(output, listed):
        more = f" and {len(foreign) - FOREIGN_SHOWN} more" if len(foreign) > FOREIGN_SHOWN else ""
        found = ", ".join(foreign[:FOREIGN_SHOWN])
        raise OutputError(f"{output} holds more than its bundle ({found}{more}), {advice} or move that away")


def _foreign(output: Path, files: Iterable[str]) -> list[str]:
    """Everything in a bundle's folder that the manifest does not list, empty folders too."""
    if not output.is_dir():
        return []
    listed = {PurePosixPath(name) for name in (*files, MANIFEST_NAME)}
    known = listed.union(*(name.parents for name in listed))
    found = (PurePosixPath(path.relative_to(output).as_posix()) for path in output.rglob("*"))
    return sorted(str(path) for path in found if path not in known)


@contextmanager
def temporary_folder(beside: Path) -> Iterator[Path]:
    """A new hidden folder in the same place as `beside`, gone afterwards whatever happened.

    Locked meanwhile, so that a later export can tell what a killed one left behind.
    """
    temporary = temporary_beside(beside)
    try:
        temporary.mkdir()
    except OSError as error:
        raise OutputError(_message(beside, error)) from error
    lock = None
    try:
        with contextlib.suppress(OSError):  # Windows opens no folders; there nothing is locked or removed
            lock = os.open(temporary, os.O_RDONLY)
            try_lock(lock)
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def is_leftover(path: Path) -> bool:
    """Whether it has the name of a temporary file or folder of ours."""
    return _TEMPORARY.fullmatch(path.name) is not None


def _remove_leftover_folders(parent: Path) -> None:
    """Temporary folders that nobody holds locked, LEFTOVER_S old: a younger one may not be locked yet."""
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(parent)):
            if not _TEMPORARY.fullmatch(entry.name) or not entry.is_dir(follow_symlinks=False):
                continue
            if time.time() - entry.stat(follow_symlinks=False).st_mtime < LEFTOVER_S:
                continue
            with contextlib.suppress(OSError):
                descriptor = os.open(entry.path, os.O_RDONLY)
                try:
                    # Without locks a living export's folder looks like a dead one's.
                    if try_lock(descriptor, unknown=False):
                        shutil.rmtree(entry.path, ignore_errors=True)
                finally:
                    os.close(descriptor)


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files by relative name, each synced; OutputError for a full disk."""
    try:
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_bytes_atomic(folder / name, data)
    except OSError as error:
        raise OutputError(_message(folder, error)) from error


def move_into_place(folder: Path, output: Path) -> None:
    """Put the folder in output's place; an older bundle there is then in the folder's.

    In one step where the system has it (Linux), so that a crash at any moment leaves the old bundle or the
    new one at output. Elsewhere in two: after a crash between them the old one lies beside, and the next
    `check_output` puts it back.
    """
    try:
        if not output.exists():
            os.rename(folder, output)
        elif not _exchange(folder, output):
            aside = _aside(output)
            shutil.rmtree(aside, ignore_errors=True)  # left by a crash behind the second step
            os.rename(output, aside)
            try:
                os.rename(folder, output)
            except BaseException:
                os.rename(aside, output)
                raise
            os.rename(aside, folder)
    except OSError as error:
        raise OutputError(_message(output, error)) from error


def _exchange(first: Path, second: Path) -> bool:
    """Let two folders change places in one step; False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in NO_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(second))


def _aside(output: Path) -> Path:
    """Where an old bundle waits while the new one takes its place in two steps."""
    return output.with_name(f".getgan-{output.name}.old")


def _put_back(output: Path) -> None:
    """After a crash between the two steps there is nothing at output, and the old bundle beside it."""
    if _aside(output).is_dir() and not output.exists():
        try:
            os.rename(_aside(output), output)
        except OSError as error:
            raise OutputError(_message(output, error)) from error


def _message(path: Path, error: OSError) -> str:
    advice = f"check the space and the permissions of {path.parent}, then run the same command again"
    return f"cannot write {path}: {error.strerror or error}; {advice}"
