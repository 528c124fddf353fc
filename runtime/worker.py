"""A module of ours that answers requests in a process with limits: it may die, hang or eat memory."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from getgan.runtime.child import START

PIPE_BYTES = 1 << 20  # a frame of 1920x1080 then goes in six parts, and not in a hundred
Answer = tuple[dict[str, Any], bytes | memoryview]


class Worker:
    """For callers in any number of threads; the process starts with the first request and ends with this."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def ask(
        self, request: dict[str, Any], data: bytes = b"", *, seconds: float = 0.0
    ) -> tuple[dict[str, Any], bytes]:
        """The answer; EOFError if the process ends instead, as it does after `seconds` (0 = no limit here).

        The next request starts another. OSError if it cannot be started.
        """
        with self._lock, contextlib.ExitStack() as stack:
            process = self._started()
            if seconds:
                watch = threading.Timer(seconds, process.kill)
                watch.start()
                stack.callback(watch.cancel)
            try:
                assert process.stdin is not None and process.stdout is not None
                _send(process.stdin, request, data)
                return _received(process.stdout)
            except (OSError, EOFError, ValueError):
                self._end()
                raise EOFError from None

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._process = subprocess.Popen(
                [sys.executable, "-c", START, self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the run, which ends after this frame
            )
            with contextlib.suppress(
                ImportError, AttributeError, OSError
            ):  # Linux, while its user has pages left
                import fcntl

                fcntl.fcntl(self._process.stdout or 0, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            self._finish = weakref.finalize(self, _kill, self._process)
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            self._finish()
            self._process = None


def serve(answer: Callable[[dict[str, Any], bytes], Answer], *, memory: int, busy_seconds: float = 0) -> None:
    """The process's side, until nobody asks any more. memory: see limit_memory.

    busy_seconds: that all threads together may compute for one request, and ten times of that it may wait.
    """
    limit_memory(memory)
    # What a library prints is no answer: it goes where its complaints go.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            request = _received(sys.stdin.buffer)
            if hasattr(signal, "setitimer"):  # not on Windows; the signals end the process
                signal.setitimer(signal.ITIMER_PROF, busy_seconds)
                signal.setitimer(signal.ITIMER_REAL, 10 * busy_seconds)
            _send(answers, *answer(*request))
            if hasattr(signal, "setitimer"):
                signal.setitimer(signal.ITIMER_REAL, 0)  # who asks may take his time


def limit_memory(more: int) -> None:
    """So many bytes may this process have beyond those that it has; what needs more gets an error."""
    with contextlib.suppress(ImportError, ValueError, OSError, StopIteration):  # only Linux tells what it has
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the patient's picture
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        has = next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmData:"))
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = has + more
        resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard < 0 else min(wanted, hard), hard))


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def _send(stream: IO[bytes], about: dict[str, Any], data: bytes | memoryview) -> None:
    head = json.dumps({**about, "bytes": len(data)}).encode() + b"\n"
    stream.write(head)
    stream.write(data)
    stream.flush()


def _received(stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """EOFError at the other end's end."""
    head = stream.readline()
    if not head.endswith(b"\n"):
        raise EOFError
    about: dict[str, Any] = json.loads(head)
    data = stream.read(about["bytes"])
    if len(data) != about["bytes"]:
        raise EOFError
    return about, data
