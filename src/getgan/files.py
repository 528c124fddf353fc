"""Writing files so that a crash or a full disk leaves either the old file or the new one, never half."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from getgan.errors import OutputError


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write data to path, or raise OutputError and leave what stood there before."""
    atomic_write(path, lambda file: _write(file, data), needed=len(data))


def atomic_write(path: Path, write: Callable[[BinaryIO], None], *, needed: int | None = None) -> None:
    """Let `write` fill a temporary file beside path, then put it in path's place.

    On any failure, KeyboardInterrupt too, the temporary file is removed and path is untouched. An OSError
    becomes an OutputError; `needed` is the size in bytes to name in it, where the caller knows it.
    """
    path = Path(path)
    # Same folder, because a rename is atomic only within one file system.
    temporary = path.parent / f".getgan-{secrets.token_hex(8)}.tmp"
    try:
        try:
            # Not tempfile: its files are readable by their owner alone, and this one is to obey the umask.
            with open(temporary, "xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise OutputError(_message(path, error, needed)) from error


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
    elif error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        advice = f"free space in {path.parent} or choose another folder"
    else:
        advice = f"check the permissions of {path.parent}"
    return f"cannot write {path}: {reason}{size}; {advice}, then run the same command again"
