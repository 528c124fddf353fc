"""A calibrated guard, and its files beside a checkpoint."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import msgspec

from getgan.errors import BundleError, OutputError
from getgan.export.calibration import Calibration
from getgan.files import one_at_a_time, read_small, write_bytes_atomic
from getgan.printing import one_line
from getgan.runtime.guard.promise import guard_in_words
from getgan.runtime.guard.statistics import MAX_BYTES, bytes_from_statistics, statistics_from_bytes
from getgan.runtime.guard.tone import Picture
from getgan.runtime.manifest import Aspect, Count, GuardRecord, Record, Share, check_ends

FILE = "guard/statistics.npz"  # in a bundle
REFUSED = "guard/refused.png"
MAX_NOTE_BYTES = 1 << 16  # a real one has 500
NOTE_SUFFIX, STATISTICS_SUFFIX = ".guard.json", ".guard.npz"  # beside a checkpoint
NOT_CALIBRATED = "no guard was calibrated: pass --calibration, or run getgan calibrate"


@dataclass(frozen=True, eq=False)
class Made:
    """A calibration, of what, and some of its pictures as the network sees them."""

    calibration: Calibration
    about: str
    views: tuple[Picture, ...] = ()
    warnings: tuple[str, ...] = ()  # what whoever calibrated is to be told

    def in_words(self) -> str:
        """One line."""
        return guard_in_words(self.record())

    def record(self) -> GuardRecord:
        """For a bundle's manifest."""
        return GuardRecord(file=FILE, about=self.about, refused=REFUSED, **_promise(self.calibration))


class _Note(Record, frozen=True, kw_only=True):
    """NAME.guard.json: whose statistics these are, and what the promise rests on."""

    format: Literal["getgan-guard"] = "getgan-guard"
    version: Literal[1] = 1
    checkpoint_sha256: str
    statistics_sha256: str
    about: str
    share: Share
    low: Share
    high: Share
    fitted: Count
    tested: Count
    studies: Count
    hidden: Share
    aspects: tuple[Aspect, Aspect] | None = None

    def __post_init__(self) -> None:
        check_ends((self.low, self.high), self.aspects)


def save_guard(made: Made, checkpoint: Path, checkpoint_sha256: str) -> tuple[Path, Path]:
    """Beside the checkpoint; OutputError rather than replace a file that is no guard.

    Statistics first: whoever is killed in between leaves a pair of which the note names other statistics, or
    statistics without a note, and an export says so. Two at once write one after the other.
    """
    note, file = _places(checkpoint)
    data = bytes_from_statistics(made.calibration.statistics)
    said = _Note(
        checkpoint_sha256=checkpoint_sha256,
        statistics_sha256=hashlib.sha256(data).hexdigest(),
        about=made.about,
        **_promise(made.calibration),
    )
    with _alone(note):
        check_places(checkpoint)
        write_bytes_atomic(file, data)
        write_bytes_atomic(note, msgspec.json.format(msgspec.json.encode(said), indent=2) + b"\n")
    return note, file


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """No other process changes the pair; OutputError for a folder that is none."""
    try:
        with one_at_a_time(path):
            yield
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror}; check {path.parent}, then run the same command again"
        ) from error


def saved_guard(checkpoint: Path, checkpoint_sha256: str) -> Made | str:
    """What stands beside the checkpoint, or in words why no guard comes of it."""
    note, file = _places(checkpoint)
    if not os.path.lexists(note) and not os.path.lexists(file):
        return NOT_CALIBRATED
    again = "run getgan calibrate"
    try:
        with one_at_a_time(note):  # not between a calibration's two
            said = _read_note(note)
            data = read_small(file, MAX_BYTES + 1)
        statistics = statistics_from_bytes(data)
    except (OSError, BundleError) as error:
        return f"{note.name} or {file.name} cannot be used ({error!s:.150}); {again}"
    if said.checkpoint_sha256 != checkpoint_sha256:
        return (
            f"{note.name} is another checkpoint's ({said.checkpoint_sha256[:12]}, this one is "
            f"{checkpoint_sha256[:12]}); {again}"
        )
    if hashlib.sha256(data).hexdigest() != said.statistics_sha256:
        return f"{file.name} is not the one that {note.name} names; {again}"
    return Made(Calibration(statistics, **_promise(said)), said.about)


def _promise(of: Calibration | _Note) -> dict[str, Any]:
    """What a calibration, its note and a bundle's record say in the same words: all but the statistics."""
    return {each.name: getattr(of, each.name) for each in fields(Calibration) if each.name != "statistics"}


def _places(checkpoint: Path) -> tuple[Path, Path]:
    return checkpoint.with_suffix(NOTE_SUFFIX), checkpoint.with_suffix(STATISTICS_SUFFIX)


def _read_note(path: Path) -> _Note:
    """OSError, or BundleError for what is none."""
    try:
        return msgspec.json.decode(read_small(path, MAX_NOTE_BYTES), type=_Note)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"no note of a guard: {one_line(error)}") from error


def check_places(checkpoint: Path) -> None:
    """OutputError if something else has the names of the guard's files, somebody's data maybe."""
    note, file = _places(checkpoint)
    for place in (note, file):
        if not os.path.lexists(place):
            continue
        try:
            _read_note(note) if place == note else statistics_from_bytes(read_small(file, MAX_BYTES + 1))
        except (OSError, BundleError) as error:
            raise OutputError(
                f"{place} is there already, and is no guard ({error!s:.150}); it is not replaced: move it"
            ) from error
