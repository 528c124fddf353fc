"""The command as its users run it: in this process, which has its libraries already, or in one of its own."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


def getgan(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """All that the command does but its start: importing torch anew takes 1.6 s each time."""
    from getgan.cli import main

    command = ["getgan", *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", command)
        patch.setenv("COLUMNS", "100")
        if cwd is not None:
            patch.chdir(cwd)
        try:
            main()
        except SystemExit as end:
            code = end.code
    return subprocess.CompletedProcess(
        command, code if isinstance(code, int) else 0, out.getvalue(), err.getvalue()
    )


def getgan_process(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "getgan", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "100"},
        timeout=120,
    )


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """Its one error line; lines of progress may stand before it."""
    lines = [line for line in done.stderr.splitlines() if line and not re.match(r" *\d+ %  ", line)]
    assert len(lines) == 1 and lines[0].startswith("getgan: "), done.stderr
    return lines[0]
