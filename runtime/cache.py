"""What getgan keeps on a machine and can make again: which graphs have run here."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from getgan.errors import OutputError
from getgan.files import write_bytes_atomic


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/getgan or ~/.cache/getgan."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~")) / ".cache") / "getgan"


def is_known(key: str) -> bool:
    """Whether `remember` was called with this key on this machine."""
    try:
        return (cache_folder() / "known" / key).is_file()
    except OSError:
        return False


def remember(key: str, about: str) -> None:
    """Keep a key, as a file of its own with a line for people; without a word where nothing can be written.

    The doctor tells of that. What is not known is tried again, which costs time and nothing else.
    """
    place = cache_folder() / "known" / key
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomic(place, f"{about}\n".encode())
    except (OSError, OutputError):
        return


def read_private(path: Path, limit: int) -> bytes:
    """At most limit + 1 bytes of a regular file that is no link and that only we can change; OSError."""
    with os.fdopen(open_private(path, os.O_RDONLY), "rb") as file:
        return file.read(limit + 1)


def open_private(path: Path, flags: int) -> int:
    """The descriptor of a regular file that is no link and that only we can change; OSError.

    A link would lead elsewhere, and a pipe would keep us waiting.
    """
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    flags |= getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags, 0o600)
    status = os.fstat(descriptor)
    problem = "" if stat.S_ISREG(status.st_mode) else "is no regular file"
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022):
        problem = problem or "can be changed by others"
    if problem:
        os.close(descriptor)
        raise OSError(problem)
    return descriptor
