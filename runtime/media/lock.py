"""One run at a time into one output, by a lock that ends with its process."""

from __future__ import annotations

import contextlib
import hashlib
import os
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
            try:
                file = open(self._path, "a+", encoding="utf-8")  # noqa: SIM115 - `close` closes it
            except OSError as error:
                raise OutputError(
                    f"cannot write into {self._path.parent}: {error.strerror}; check its permissions or "
                    "choose another folder"
                ) from error
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
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def close(self) -> None:
        """Let others write there; may be called twice."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            self._file.close()
            self._file = None

    def _is_at_its_place(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self._path))
        except OSError:
            return False
