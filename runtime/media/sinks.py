"""What takes pictures: image files that mirror the input folder, a video file, or several of them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from getgan.errors import DataError, OutputError
from getgan.files import remove_leftovers, write_bytes_atomic
from getgan.printing import counted
from getgan.runtime.images import bytes_from_image
from getgan.runtime.label import add_label
from getgan.runtime.media.frames import Frame, Image, Pending, Pictures
from getgan.runtime.media.record import (
    Made,
    Stamp,
    is_record,
    made_of,
    png_with_record,
    sha256_of_file,
    sidecar_bytes,
    sidecar_of,
)
from getgan.runtime.media.sidebyside import side_by_side as both_views
from getgan.runtime.media.videowriter import VideoSink

# What one output file shows.
View = Literal["output", "side-by-side", "occlusion"]
# What goes wrong with one output's name or place, and not with the disk.
_OF_THIS_FILE = frozenset(
    (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.EACCES, errno.EPERM)
)


class Sink(Protocol):
    """Takes pictures. Each of them is written whole or not at all."""

    def has(self, pending: Pending) -> Made | None:
        """The record of this frame's output if it stands there, made of this very input in this very way.

        DataError if something else stands there that is not to be replaced.
        """

    def put(self, frame: Frame, pictures: Pictures) -> None:
        """Write what was made of a frame.

        OutputError if it cannot be written; DataError if only this one cannot.
        """

    def lose(self, pending: Pending, reason: str) -> str:
        """There is no picture of this frame. What became of an older one of that name, in words, or "".

        reason: one or two words, which a video shows in its place.
        """

    def close(self, *, keep: bool) -> None:
        """Finish; keep False: the source was not worked through, so that a video is not the whole one."""


class ImageFileSink:
    """One image file."""

    def __init__(self, path: Path, stamp: Stamp) -> None:
        self._path = path
        self._stamp = stamp

    def has(self, pending: Pending) -> Made | None:
        """The record if the file is this input's."""
        return self._stamp.stands(self._path, pending.sha256(), pending.index)

    def put(self, frame: Frame, pictures: Pictures) -> None:
        """Write it as its suffix says."""
        _write(self._path, frame, pictures, self._stamp)

    def lose(self, pending: Pending, reason: str) -> str:
        """See Sink."""
        return _lost(self._path, self._stamp)

    def close(self, *, keep: bool) -> None:
        """Nothing is left open."""


class ImageFolderSink:
    """PNG files under a folder, in the subfolders of the input: a.png → a.png, b/a.jpg → b/a.jpg.png.

    A video's or camera's frames are NAME-000000.png, by frame number.
    """

    def __init__(self, folder: Path, stamp: Stamp, names: Sequence[str] = ()) -> None:
        """names: of the input files, to find those whose outputs would be one file (a.jpg and a.jpg.png)."""
        self._folder = folder
        self._stamp = stamp
        self._swept: set[Path] = set()
        # Whose output a file is: the first one's that wants it, by the input's name and the frame's number.
        self._owners: dict[str, tuple[str, int]] = {}
        self._clips: set[str] = set()
        for name in names:
            self._owners.setdefault(_same_file_key(output_name(name)), (name, 0))

    def path_for(self, name: str, index: int, time: float | None) -> Path:
        """Where a frame's picture goes; DataError if another frame's goes there too."""
        if name.endswith("/") or name.startswith("/") or ".." in name.split("/"):
            raise DataError("is no picture's name below the input folder")  # a folder that cannot be read
        if time is not None:
            self._clips.add(name)
        target = output_name(name) if time is None else f"{name}-{index:06d}.png"
        other, _ = owner = self._owners.setdefault(_same_file_key(target), (name, index))
        if owner != (name, index):
            raise DataError(f"its output {target} is that of {other} too; rename one of the two")
        return self._folder / target

    def has(self, pending: Pending) -> Made | None:
        """The record if the file is this input's; and what a killed run left in its folder goes."""
        sha256 = pending.sha256()  # first, so that an input that cannot be read says so
        path = self.path_for(pending.name, pending.index, pending.time)
        if path.parent not in self._swept:
            self._swept.add(path.parent)
            remove_leftovers(path.parent)
        return self._stamp.stands(path, sha256, pending.index)

    def put(self, frame: Frame, pictures: Pictures) -> None:
        """Write it, and the subfolder first."""
        path = self.path_for(frame.name, frame.index, frame.time)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno in _OF_THIS_FILE:
                raise DataError(
                    f"cannot make the folder of its output: {error.strerror}; rename it"
                ) from error
            raise OutputError(
                f"cannot make {path.parent}: {error.strerror}; choose another folder"
            ) from error
        _write(path, frame, pictures, self._stamp)

    def lose(self, pending: Pending, reason: str) -> str:
        """See Sink."""
        try:
            path = self.path_for(pending.name, pending.index, pending.time)
        except DataError:
            return ""  # what stands there is another frame's
        # A clip that cannot even be opened has no frames; it had some when it was another.
        removed = self._remove_frames_of(pending.name) if pending.time is None else 0
        note = _lost(path, self._stamp)
        were = f"{counted(removed, 'older frame')} of it {'was' if removed == 1 else 'were'} removed"
        return note or (were if removed else "")

    def close(self, *, keep: bool) -> None:
        """Remove the frames that an older clip of the same name had and this one has not."""
        if keep:
            for name in self._clips:
                self._remove_frames_of(name)

    def _remove_frames_of(self, name: str) -> int:
        """With overwrite, those of getgan's that no frame of this run wants; how many."""
        if not self._stamp.overwrite:
            return 0
        start = self._folder / name
        number = re.compile(re.escape(start.name) + r"-[0-9]{6,}\.png")
        removed = 0
        with contextlib.suppress(OSError):
            for entry in list(os.scandir(start.parent)):
                path = start.parent / entry.name
                target = path.relative_to(self._folder).as_posix()
                if number.fullmatch(entry.name) and _same_file_key(target) not in self._owners:
                    removed += self._stamp.remove(path)
        return removed


class VideoFileSink:
    """One video file, and beside it the record of what made it."""

    def __init__(self, path: Path, stamp: Stamp, fps: float) -> None:
        self._path = path
        self._stamp = stamp
        # Not what lay there at the start: somebody may put another file there while the video is made.
        self._video = VideoSink(path, fps, may_replace=lambda: stamp.overwrite and made_of(path) is not None)
        self._input = ""

    def has(self, pending: Pending) -> Made | None:
        """Never: `plan_output` took only a new name, or one to overwrite."""
        return None

    def put(self, frame: Frame, pictures: Pictures) -> None:
        """Show the picture from the frame's time on."""
        self._input = frame.sha256
        self._video.put(frame.time, _view(frame, pictures, self._stamp))

    def lose(self, pending: Pending, reason: str) -> str:
        """Show that there is none, from the frame's time on."""
        self._video.lose(pending.time, reason)
        return ""

    def close(self, *, keep: bool) -> None:
        """Put the video in place, then its record: without it nobody takes the video for getgan's."""
        closed = self._video.close(keep=keep)
        for path in closed.paths:
            try:
                content = sha256_of_file(path)
            except OSError as error:
                raise OutputError(f"cannot read {path} again: {error.strerror}; check its folder") from error
            if os.path.lexists(sidecar_of(path)) and not is_record(sidecar_of(path)):
                beside = f"{sidecar_of(path)} is there already, and is no record of getgan's"
                raise OutputError(f"{beside}: {path} has none; move it away")
            record = sidecar_bytes(self._stamp.made(self._input, 0), content)
            write_bytes_atomic(sidecar_of(path), record)
        if closed.complaint:
            raise OutputError(closed.complaint)


class SeveralSinks:
    """Sinks that take the same frames, one for each view."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks

    def has(self, pending: Pending) -> Made | None:
        """One of the records if all have it."""
        found = [sink.has(pending) for sink in self._sinks]
        return found[0] if all(found) else None

    def put(self, frame: Frame, pictures: Pictures) -> None:
        """Give it to each."""
        for sink in self._sinks:
            sink.put(frame, pictures)

    def lose(self, pending: Pending, reason: str) -> str:
        """Tell each."""
        notes = [sink.lose(pending, reason) for sink in self._sinks]
        return next((note for note in notes if note), "")

    def close(self, *, keep: bool) -> None:
        """Close each, whatever the others do; OutputError says what became of them."""
        said: list[str] = []
        for sink in self._sinks:
            try:
                sink.close(keep=keep)
            except OutputError as error:
                said.append(str(error))
        if said:
            raise OutputError("; ".join(said))


def output_name(name: str) -> str:
    """The output of an input's relative name: PNG keeps its own, others get .png after their suffix."""
    return name if name.lower().endswith(".png") else f"{name}.png"


def _view(frame: Frame, pictures: Pictures, stamp: Stamp) -> Image:
    if stamp.view == "side-by-side":
        return both_views(frame.image, pictures.face, whole=frame.whole)
    if stamp.view == "output" or pictures.card:
        return pictures.face
    if pictures.occlusion is None:
        raise DataError("the network gave no occlusion map; wanted a bundle exported with --occlusion")
    shown = np.repeat(pictures.occlusion[:, :, None], 3, axis=2)
    return add_label(shown) if stamp.recipe.label else shown


def _write(path: Path, frame: Frame, pictures: Pictures, stamp: Stamp) -> None:
    """Write it with its record, unless it stands there; DataError if only this file cannot be written."""
    if stamp.stands(path, frame.sha256, frame.index):
        return
    replace = stamp.overwrite and os.path.lexists(path)
    made = stamp.made(frame.sha256, frame.index, pictures.verdict, pictures.code)
    data = bytes_from_image(_view(frame, pictures, stamp), path.suffix)
    try:
        if path.suffix.lower() == ".png":
            data = png_with_record(data, made)
        else:
            # Record before picture, so that none ever lies there without it; the picture before goes first,
            # since the new record would make it nobody's.
            if replace:
                path.unlink()
            elif sidecar_of(path).exists() and not is_record(sidecar_of(path)):
                raise DataError(f"{sidecar_of(path).name} is there already, and is no record of getgan's")
            record = sidecar_bytes(made, hashlib.sha256(data).hexdigest())
            write_bytes_atomic(sidecar_of(path), record)
        write_bytes_atomic(path, data, replace=replace)
    except OSError as error:
        raise OutputError(f"cannot replace {path}: {error.strerror}; check its permissions") from error
    except OutputError as error:
        # A name that becomes too long with .png is this file's trouble alone; a full disk is everybody's.
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _OF_THIS_FILE:
            why = error.__cause__.strerror
            if error.__cause__.errno == errno.ENAMETOOLONG:
                raise DataError(f"its output name {path.name} is too long; rename it") from error
            raise DataError(f"its output {path.name} cannot be written: {why}; rename it") from error
        raise


def _lost(path: Path, stamp: Stamp) -> str:
    """What becomes of an older output where there is no new one."""
    if stamp.remove(path):
        return f"the older {path.name} was removed"
    return f"{path.name} is of an earlier run" if os.path.lexists(path) else ""


def _same_file_key(name: str) -> str:
    """Equal for names that are one file on some file systems (upper and lower case, composed letters)."""
    return unicodedata.normalize("NFC", name).casefold()
