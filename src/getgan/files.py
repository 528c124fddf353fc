"""Writing files so that a crash or a full disk leaves either the old file or the new one, never half.

A temporary file is called `.getgan-<16 hex digits>.tmp` and locked as long as its writer lives, so that a
later run can tell what a killed one left behind (`remove_leftovers`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

from getgan.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # checked before each use

_TEMPORARY = re.compile(r"\.getgan-[0-9a-f]{16}\.(tmp|lock)")
LEFTOVER_S = 10.0  # a younger temporary file may be of a writer that has not locked it yet


def write_bytes_atomic(path: Path, data: bytes, *, replace: bool = True) -> None:
    """Write data to path, or raise OutputError and leave what stood there before."""
    atomic_write(path, lambda file: _write(file, data), needed=len(data), replace=replace)


def temporary_beside(path: Path, suffix: str = "") -> Path:
    """A new hidden name in path's folder, because a rename is atomic only within one file system."""
    return path.parent / f".getgan-{secrets.token_hex(8)}.tmp{suffix}"


def atomic_write(
    path: Path, write: Callable[[BinaryIO], None], *, needed: int | None = None, replace: bool = True
) -> None:
    """Let `write` fill a temporary file beside path, then put it in path's place.

    On any failure, KeyboardInterrupt too, the temporary file is removed and path is untouched. An OSError
    becomes an OutputError; `needed` is the size in bytes to name in it, where the caller knows it. replace
    False: what stands at path in the last moment is not replaced, and that is an OutputError of EEXIST.
    """
    path = Path(path)
    temporary = temporary_beside(path)
    try:
        try:
            # Not tempfile: its files are readable by their owner alone, and this one is to obey the umask.
            with open(temporary, "xb") as file:
                try_lock(file)
                write(file)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                os.replace(temporary, path)
            else:
                put_new(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise OutputError(_message(path, error, needed)) from error


def read_small(path: Path, limit: int) -> bytes:
    """The first `limit` bytes of a regular file; OSError, also for a pipe, which would never end."""
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "is no regular file", str(path))
        return file.read(limit)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def put_new(temporary: Path, path: Path) -> None:
    """Rename, but never over a file; a link fails where the name is taken, a rename would not."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        # A file system without links (FAT on a stick): between these two lines lie microseconds.
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        os.replace(temporary, path)
    else:
        temporary.unlink()


def try_lock(file: IO[Any] | int, *, unknown: bool = True) -> bool:
    """Whether the file is now this process's own, until it closes it; `unknown` where there are no locks."""
    if fcntl is None:
        return unknown
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Some network file systems know no locks.
        return unknown and error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Wait until no other process changes the file; the lock is its folder's. OSError, or no lock at all."""
    if fcntl is None:
        yield
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files and locks in a folder whose holders were killed, and of no living one."""
    for path in leftovers(folder, _TEMPORARY):
        with contextlib.suppress(OSError):
            path.unlink()


def leftovers(folder: Path, name: re.Pattern[str]) -> Iterator[Path]:
    """The regular files in a folder with such a name, LEFTOVER_S old, that nobody holds locked."""
    try:
        found = [entry.path for entry in os.scandir(folder) if name.fullmatch(entry.name)]
    except OSError:
        return
    for each in found:
        path = Path(each)
        try:
            if path.is_symlink() or not path.is_file() or time.time() - path.stat().st_mtime < LEFTOVER_S:
                continue
            with open(path, "rb") as file:
                # Without locks a living writer's file looks like a dead one's.
                if try_lock(file, unknown=False):
                    yield path
        except OSError:
            continue


def _write(file: BinaryIO, data: bytes) -> None:
    file.write(data)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network and FUSE file systems have no fsync for folders; the file itself is safe by now.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _message(path: Path, error: OSError, needed: int | None) -> str:
    reason = error.strerror or str(error)
    size = "" if needed is None else f"; needs {needed:,} bytes"
    if error.errno == errno.ENOSPC:
        with contextlib.suppress(OSError):
            size += f", {shutil.disk_usage(path.parent).free:,} are free"
    if not path.parent.is_dir():
        advice = f"mkdir -p {path.parent}"
    elif error.errno == errno.EEXIST:
        advice = "it appeared meanwhile: choose another name"
    elif error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        advice = f"free space in {path.parent} or choose another folder"
    else:
        advice = f"check the permissions of {path.parent}"
    return f"cannot write {path}: {reason}{size}; {advice}, then run the same command again"
