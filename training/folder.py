"""A run's folder: which files it has, whose they are, and the log as far as the state reaches."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

from getgan.errors import TrainingError

STATE = "run.state.pt"
LOG = "log.jsonl"
CONFIG = "config.toml"
SAMPLES = "samples"
TEACHER = "teacher.safetensors"  # of a method in TAUGHT
BEST, LAST = "best", "last"
SUFFIXES = (".safetensors", ".reverse.safetensors")  # the generator's file, and H's


def refuse_foreign_files(folder: Path) -> None:
    """Raise TrainingError if a folder without a state holds a name that a run writes.

    A run writes its state before all else, so what stands there without one is another's.
    """
    checkpoints = [name + suffix for name in (BEST, LAST) for suffix in SUFFIXES]
    for name in (CONFIG, LOG, *checkpoints, SAMPLES, TEACHER, STATE):
        if os.path.lexists(folder / name):
            raise TrainingError(
                f"{folder} holds no run (no {STATE}), but a {name} that a run would overwrite; "
                "name another folder with -o"
            )


def with_its_weights(folder: Path) -> str:
    """The advice for a run that cannot go on in its own folder."""
    last = folder / f"{LAST}{SUFFIXES[0]}"
    along = f", and take this run's weights along: --start-from {shlex.quote(str(last))}"
    return "name another folder with -o" + (along if last.exists() else "")


def log_up_to(folder: Path, iteration: int) -> list[str]:
    """The lines of the log that are not past an iteration."""
    log = folder / LOG
    try:
        lines = log.read_bytes().decode().splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(
            f"{log} cannot be read as a log ({type(error).__name__}); wanted a UTF-8 file of JSON lines: "
            "move it away, then --resume goes on with a new one"
        ) from error
    return [line for line in lines if _iteration_of(line) <= iteration]


def _iteration_of(line: str) -> float:
    """The iteration of a log line; a torn last line counts as past the end."""
    try:
        return float(json.loads(line)["iteration"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return float("inf")
