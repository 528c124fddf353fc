"""Kinds of files that another room reads: the runtime takes their pictures without knowing what they are."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NoReturn, Protocol

from getgan.errors import DataError, GetganError
from getgan.runtime.media.frames import Image, Pending


class OpenedFile(Protocol):
    """A file with one picture or with many; none is decoded before it is asked for."""

    @property
    def count(self) -> int:
        """How many pictures."""

    @property
    def fps(self) -> float | None:
        """Pictures per second of a clip; None = one still picture."""

    @property
    def whole(self) -> bool:
        """Whether the pictures are shown whole; False: cut to the region that the file states."""

    @property
    def sha256(self) -> str:
        """Of the bytes that are decoded."""

    @property
    def origin(self) -> object:
        """What is kept of the file for its opener's own sink; see Frame."""

    def frame(self, index: int, /) -> Image:
        """One picture; DataError."""


class Opener(Protocol):
    """One kind of file."""

    def claims(self, path: Path, /) -> bool:
        """Whether the file is of this kind, by what is in it."""

    def open(self, path: Path, /, *, whole: bool) -> OpenedFile:
        """Read it; whole: without cutting it to its own region. DataError, ConfigError."""


class OpenedSource:
    """One such file as a source: a still picture, or a clip frame by frame."""

    live = False
    dropped = 0
    region = ""
    notes = ()

    def __init__(self, path: Path, file: OpenedFile) -> None:
        self.path = path
        self._file = file
        self.names = (path.name,)
        self.single = file.count == 1
        self.whole = file.whole
        self.fps = file.fps
        self.total: int | None = file.count

    def __iter__(self) -> Iterator[Pending]:
        return pending_frames(self._file, self.path.name)

    def claims(self, path: Path) -> bool:
        """See Source."""
        return path.resolve() == self.path.resolve()

    def close(self) -> None:
        """Nothing is open."""


def pending_frames(file: OpenedFile, name: str) -> Iterator[Pending]:
    """Its pictures, not yet decoded; those of a clip with their times."""
    for index in range(file.count):
        time, read = None if file.fps is None else index / file.fps, partial(file.frame, index)
        yield Pending(name, index, time, read, lambda: file.sha256, file.whole, file.origin)


def pending_of(opener: Opener, path: Path, name: str, *, whole: bool) -> Iterator[Pending]:
    """The pictures of one file among others: if it cannot be opened, that is its own failure."""
    try:
        file = opener.open(path, whole=whole)
    except GetganError as error:
        reason = str(error)
        yield Pending(name, 0, None, partial(_raise, reason), partial(_raise, reason))
    else:
        yield from pending_frames(file, name)


def _raise(reason: str) -> NoReturn:
    raise DataError(reason)
