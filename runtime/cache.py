"""What getgan keeps on a machine and can make again: which graphs have run here."""

from __future__ import annotations

import os
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
