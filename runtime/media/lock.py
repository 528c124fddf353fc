"""One run at a time into one output, by a lock that ends with its process."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import IO

from getgan.errors import ConfigError, OutputError
from getgan.files import try_lock

FOLDER_LOCK = ".getgan.lock"


class OutputLock:
    """Held until `close`; a process that dies lets go of it. ConfigError if another run holds it."""

    def __init__(self, output: Path, *, folder: bool) -> None:
        # Of its name only a hash, so that the lock's is never too long.
        key = hashlib.sha256(os.fsencode(output.name)).hexdigest()[:16]
        self._path = output / FOLDER_LOCK if folder else output.parent / f".getgan-{key}.lock"
        self._file: IO[str] | None = None
        while self._file is None:
            file = self._opened()
            if not try_lock(file):
                file.seek(0)
                holder = file.read(20).strip()
                file.close()
                who = f" (process {holder})" if holder.isdecimal() else ""
                raise ConfigError(
                    f"another getgan run{who} is writing into {output}; wait for it, or choose another output"
                )
            # The holder before removed the file between our opening and locking it: that was its lock.
            if self._is_at_its_place(file.fileno()):
                self._file = file
            else:
                file.close()
        self._file.seek(0)
        self._file.truncate()
        self._file.write(str(os.getpid()))
        self._file.flush()

    def close(self) -> None:
        """Let others write there; may be called twice."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            self._file.close()
            self._file = None

    def _opened(self) -> IO[str]:
        """A regular file of ours; what another program put there under this name is not touched."""
        # A link is not followed, a pipe not waited for.
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            file = os.fdopen(os.open(self._path, flags, 0o666), "r+", encoding="utf-8", errors="replace")
            status, content = os.fstat(file.fileno()), file.read(21)
            holds_a_number = not content or (content.isdecimal() and len(content) <= 20)
            if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1 and holds_a_number:
                return file
            file.close()
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise OutputError(
                    f"cannot write into {self._path.parent}: {error.strerror}; check its permissions or "
                    "choose another folder"
                ) from error
        raise ConfigError(f"{self._path} is no lock of getgan's; move it away, or choose another output")

    def _is_at_its_place(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self._path))
        except OSError:
            return False
