"""What runs keep of their pictures for `getgan drift`: numbers; no picture, no name, no exact time."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec

from getgan.errors import DataError
from getgan.runtime.cache import cache_folder, open_private, read_private
from getgan.runtime.guard.judge import Kind
from getgan.runtime.guard.statistics import ATTRIBUTES, WITHOUT_POSE
from getgan.runtime.pipeline import Result

MAX_BYTES = 4 << 20  # some 25,000 pictures; then the older half goes
EVERY_S = 1.0  # of a video or a camera
HOUR = 3600
LARGEST = 1e9  # value; a plot has no scale for what is far larger
Value = Annotated[float, msgspec.Meta(ge=-LARGEST, le=LARGEST)]


class Row(msgspec.Struct, frozen=True):
    """One picture. An exact time would find the patient in a schedule: the hour is all that is kept."""

    hour: Annotated[int, msgspec.Meta(ge=0, lt=1 << 33)]  # seconds since 1970, rounded down to the hour
    run: str  # of the same run, for frames of one run are alike
    kind: Kind  # the guard's
    code: str
    values: tuple[Value | None, ...]  # as ATTRIBUTES; None = there was no face


@dataclass
class Trail:
    """Appends to the bundle's record; without a word where nothing can be written, as the doctor tells."""

    bundle: str  # SHA-256
    still: bool  # every picture counts; or else one a second
    run: str = field(default_factory=lambda: secrets.token_hex(4))
    _last: float = float("-inf")

    def add(self, result: Result) -> None:
        """Keep what was measured, if anything was."""
        if result.verdict is None or not result.attributes:
            return
        if not self.still and time.monotonic() - self._last < EVERY_S:
            return
        self._last = time.monotonic()
        values = tuple(round(v, 4) if abs(v) <= LARGEST else None for v in result.attributes)
        hour = int(time.time()) // HOUR * HOUR
        row = Row(hour, self.run, result.verdict.kind, result.verdict.code, values)
        with contextlib.suppress(OSError):
            # A line feed before it too: a line that a full disk cut takes no other one with it.
            _append(trail_of(self.bundle), b"\n" + msgspec.json.encode(row) + b"\n")


def trail_of(bundle: str) -> Path:
    """Where a bundle's record lies."""
    return cache_folder() / "drift" / f"{bundle[:32]}.jsonl"


def read_trail(bundle: str) -> list[Row]:
    """The older half first; a line that was cut is left out. DataError if there is none."""
    path = trail_of(bundle)
    rows = [*_rows(_older(path)), *_rows(path)]
    if not rows:
        raise DataError(
            f"found no record of this bundle's pictures on this machine ({path}); wanted PICTURES, or a "
            "`getgan run` of the bundle before"
        )
    return rows


def _rows(path: Path) -> Iterator[Row]:
    try:
        lines = read_private(path, 2 * MAX_BYTES).splitlines()
    except OSError:
        return
    for line in lines:
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            row = msgspec.json.decode(line, type=Row)
            if len(row.values) == WITHOUT_POSE:  # of an older run
                row = msgspec.structs.replace(row, values=(*row.values, None))
            if len(row.values) == len(ATTRIBUTES):
                yield row


def _append(path: Path, line: bytes) -> None:
    """One write at the end, which another run's cannot split; only this user may read it. OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size + len(line) > MAX_BYTES // 2:
            os.replace(path, _older(path))
    handle = open_private(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(handle, line)
    finally:
        os.close(handle)


def _older(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")
