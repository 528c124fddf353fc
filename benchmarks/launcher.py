"""Runs one command and prints its wall time and peak memory: `python -I -S launcher.py OUT ERR COMMAND...`.

A program of its own that imports next to nothing: a new program inherits the peak memory of the process that
started it (Linux carries the mark over exec), so a child of a process with PyTorch would seem to need 300 MB.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main(out: str, err: str, *command: str) -> None:
    """Run it with its output in two files; print {"seconds", "maxrss", "code"} as JSON."""
    write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    streams = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, out, write, 0o600),
        (os.POSIX_SPAWN_OPEN, 2, err, write, 0o600),
    ]
    start = time.perf_counter()
    process = os.posix_spawn(command[0], command, os.environ, file_actions=streams)
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - start
    code = os.waitstatus_to_exitcode(status)
    print(json.dumps({"seconds": seconds, "maxrss": usage.ru_maxrss, "code": code}))


if __name__ == "__main__":
    main(*sys.argv[1:])
