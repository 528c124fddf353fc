"""The command as its users run it, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path


def getgan(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
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
