"""A module of ours in a process of its own, with limits: what runs there may die, hang or eat memory."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

POLL_S = 0.01  # memory is looked at this often; filled at 3 GB/s, 30 MB go by between two looks
# Not `python -m`, which would also look for modules in the current folder: a patient's, maybe.
START = (
    "import sys; sys.path[:] = [place for place in sys.path if place]; import runpy; "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)
# Whatever ends the parent ends the child: its stdin then comes to its end.
WATCH = (
    "import os, threading; "
    "threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start(); "
)
# What a library prints beside Python is no answer of ours.
APART = "import os, sys; sys.stdout = os.fdopen(os.dup(1), 'w'); os.dup2(2, 1); "


@dataclass(frozen=True)
class Ended:
    """How a child ended."""

    last: bytes  # line of its stdout
    how: str = ""  # in words; "" = by itself, without an error
    over_limit: bool = False


def run_child(
    module: str,
    *arguments: str,
    seconds: float,
    busy_seconds: float = 0.0,
    memory_mb: int = 0,
    told: Callable[[bytes], None] = lambda line: None,
) -> Ended:
    """`python -m MODULE ARGUMENTS...`, killed after `seconds`, and before them at either of two limits.

    busy_seconds: of all its threads together, and at least as long since its start; a machine with other work
    gives a child little and is no reason to kill it. memory_mb: what it has written to, and not the files of
    its libraries. 0 = no limit; only Linux tells of both. told: is given each line of its stdout.
    """
    command = [sys.executable, "-c", WATCH + APART + START, module, *arguments]
    here, there = os.pipe()  # nothing goes through it; there ends when this process does
    try:
        process = subprocess.Popen(command, stdin=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        os.close(there)
        return Ended(b"", f"cannot be started: {sys.executable} ({error.strerror})")
    finally:
        os.close(here)
    start = time.monotonic()
    out, err = _Lines(process.stdout, told), _Lines(process.stderr)
    with process, os.fdopen(there, "wb"):
        try:
            while True:
                try:
                    process.wait(timeout=POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    wall = time.monotonic() - start
                    if wall > seconds:
                        return Ended(b"", f"did not end within {seconds:.0f} s", over_limit=True)
                    if 0 < busy_seconds < min(wall, _busy_seconds(process.pid)):
                        return Ended(b"", f"computed for {busy_seconds:.0f} s", over_limit=True)
                    if 0 < memory_mb < _written_mb(process.pid):
                        return Ended(b"", f"took more than {memory_mb:,} MB of memory", over_limit=True)
        finally:
            process.kill()
            last, said = out.last(), err.last().decode(errors="replace")
    if process.returncode == 0:
        return Ended(last)
    code = process.returncode
    how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
    return Ended(last, f"{how}{': ' + said[:200] if said else ''}")


class _Lines:
    """Reads a pipe in a thread until its end."""

    def __init__(self, pipe: IO[bytes] | None, told: Callable[[bytes], None] = lambda line: None) -> None:
        self._last = b""
        self._thread = threading.Thread(target=self._read, args=(pipe, told), daemon=True)
        self._thread.start()

    def _read(self, pipe: IO[bytes] | None, told: Callable[[bytes], None]) -> None:
        for line in pipe or ():
            self._last = line.strip() or self._last
            told(line)

    def last(self) -> bytes:
        """The last line that is not empty, once there is no more."""
        self._thread.join()
        return self._last


def _busy_seconds(pid: int) -> float:
    # Behind the program's name, which may hold anything: fields 14 and 15 are ticks in user and kernel.
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _written_mb(pid: int) -> int:
    lines = _read(f"/proc/{pid}/status").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon:")), 0) >> 10


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace")
    except OSError:  # it has ended, or this is no Linux
        return ""
