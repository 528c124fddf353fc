"""A command in a fresh process: its wall time, its peak memory, what it printed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from getgan.errors import ConfigError, DeviceError, OutputError

LAUNCHER = Path(__file__).with_name("launcher.py")
# ru_maxrss is in kB, on macOS in bytes.
RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Finished:
    """A command that ended with exit code 0."""

    seconds: float  # wall, from before the process is there until it is gone
    peak_mb: float  # largest resident memory, 10^6 bytes
    output: str  # of stdout


def check_system() -> None:
    """ConfigError where processes cannot be measured in this way."""
    if not hasattr(os, "wait4") or not hasattr(os, "posix_spawn"):
        raise ConfigError(f"found {sys.platform}, which has no wait4; wanted Linux or macOS to measure on")


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Gone at the end, however it ends."""
    try:
        made = tempfile.TemporaryDirectory(prefix="getgan-bench-")
    except OSError as error:
        wanted = "wanted 200 MB there: set TMPDIR to a folder that has them"
        raise OutputError(f"cannot write a temporary folder ({error.strerror}); {wanted}") from error
    with made as name:
        yield Path(name)


def environment(folder: Path) -> dict[str, str]:
    """Of a measured process: its temporary files lie in folder, and go with it if it is killed."""
    return {**os.environ, "TMPDIR": str(folder)}


def run_getgan(folder: Path, *arguments: str) -> Finished:
    """`getgan ARGUMENTS` in a fresh process, measured; its output lies in folder for that time.

    DeviceError with its last line of stderr if it fails. On Ctrl-C it is killed, with all that it started.
    """
    out, err = folder / "stdout.txt", folder / "stderr.txt"
    command = [sys.executable, "-m", "getgan", *arguments]
    launch = [sys.executable, "-I", "-S", str(LAUNCHER), str(out), str(err), *command]
    # A session of its own: Ctrl-C reaches this process alone, which ends the other one.
    process = subprocess.Popen(
        launch,
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env=environment(folder),
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate()
    except BaseException:
        kill_group(process)
        raise
    if process.returncode != 0:
        raise DeviceError(
            f"the process that measures `getgan {arguments[0]}` ended with {process.returncode}"
        )
    found = json.loads(printed)
    if found["code"] != 0:
        advice = "run it by itself to see more"
        raise DeviceError(
            f"`getgan {arguments[0]}` ended with exit code {found['code']}: {last_line(err)}; {advice}"
        )
    return Finished(found["seconds"], found["maxrss"] * RSS_UNIT / 1e6, out.read_text(encoding="utf-8"))


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that has a session of its own, and all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def last_line(file: Path) -> str:
    """What a process said at the end, without our program's name in front."""
    lines = file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300].removeprefix("getgan: ") if lines else "it said nothing"
