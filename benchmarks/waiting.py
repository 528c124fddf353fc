"""A process that waits for lines on stdin and answers each with one; it ends with its block."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from getgan.benchmarks.processes import environment, kill_group, last_line
from getgan.errors import DeviceError


class WaitingProcess:
    """`python -m MODULE ARGUMENTS`; a context manager that kills it and all that it started."""

    def __init__(self, name: str, module: str, arguments: Sequence[str], folder: Path) -> None:
        self.name = name
        self._folder = folder
        self._errors = folder / f"{name.replace(' ', '-')}.txt"
        self._command = [sys.executable, "-m", module, *arguments]

    def __enter__(self) -> WaitingProcess:
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment(self._folder),
                start_new_session=True,  # Ctrl-C is for the process that asked; it ends this one
            )
        return self

    def send(self, line: bytes) -> None:
        """If it has died, the answer that is missing says how."""
        stdin = self.process.stdin
        if stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                stdin.write(line + b"\n")
                stdin.flush()

    def answer(self) -> bytes:
        """Its next line; DeviceError with its last words if it has ended."""
        stdout = self.process.stdout
        line = stdout.readline() if stdout is not None else b""
        if not line:
            code = self.process.wait()
            raise DeviceError(
                f"the process of {self.name} ended with {code}: {last_line(self._errors)}; try getgan doctor"
            )
        return line

    def __exit__(self, *_: object) -> None:
        kill_group(self.process)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # a byte that a dead process did not take
                    pipe.close()
