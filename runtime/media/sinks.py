"""Where pictures go: image files that mirror the input folder, a video file, or both views of each."""

from __future__ import annotations

import errno
import os
import secrets
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol

from getgan.errors import ConfigError, DataError, GetganError, OutputError
from getgan.files import write_bytes_atomic
from getgan.runtime.images import SUFFIXES, bytes_from_image, size_from_header
from getgan.runtime.media.frames import Frame, Image, Pending, Source
from getgan.runtime.media.sidebyside import side_by_side as both_views
from getgan.runtime.media.sources import ImageFiles
from getgan.runtime.media.video import VIDEO_SUFFIXES, VideoFile
from getgan.runtime.media.videowriter import WRITE_SUFFIXES, VideoSink

# A file is meant, and not a folder of this name.
OTHER_SUFFIXES = (".gif", ".webp", ".heic", ".avif", ".jp2", ".dcm", ".svg", ".pdf", ".txt", ".ts")
View = Literal["output", "side-by-side", "both"]


class Sink(Protocol):
    """Takes pictures. Each of them is written whole or not at all."""

    def has(self, pending: Pending) -> bool:
        """Whether this frame's output stands there, whole."""

    def put(self, frame: Frame, picture: Image | None) -> None:
        """Write the picture of a frame; None = there is none, which only a video's clock needs to know.

        OutputError if it cannot be written; DataError if only this one cannot.
        """

    def close(self, *, keep: bool) -> None:
        """Finish; keep=False removes what is worthless unfinished (a video that was interrupted)."""


class ImageFileSink:
    """One image file."""

    def __init__(self, path: Path, *, side_by_side: bool = False) -> None:
        self._path = path
        self._side_by_side = side_by_side

    def has(self, pending: Pending) -> bool:
        """Never: `open_sink` took only a new name, or one to overwrite."""
        return False

    def put(self, frame: Frame, picture: Image | None) -> None:
        """Write it as its suffix says."""
        if picture is not None:
            _write(self._path, _view(frame, picture, self._side_by_side))

    def close(self, *, keep: bool) -> None:
        """Nothing is left open."""


class ImageFolderSink:
    """PNG files under a folder, in the subfolders of the input: a.png → a.png, b/a.jpg → b/a.jpg.png.

    A video's or camera's frames are NAME-000000.png, by frame number.
    """

    def __init__(self, folder: Path, names: Sequence[str] = (), *, side_by_side: bool = False) -> None:
        """names: of image files, to find those whose outputs would be one file (a.jpg and a.jpg.png)."""
        self._folder = folder
        self._side_by_side = side_by_side
        self._taken_by: dict[str, str] = {}
        for name in names:
            self._taken_by.setdefault(_same_file_key(output_name(name)), name)

    def path_for(self, name: str, index: int, time: float | None) -> Path:
        """Where a frame's picture goes; DataError if another input goes there too."""
        if time is not None:
            return self._folder / f"{name}-{index:06d}.png"
        target = output_name(name)
        other = self._taken_by.get(_same_file_key(target), name)
        if other != name:
            raise DataError(f"its output {target} is that of {other} too; rename one of the two")
        return self._folder / target

    def has(self, pending: Pending) -> bool:
        """Whether the file is there and whole."""
        return is_whole_image(self.path_for(pending.name, pending.index, pending.time))

    def put(self, frame: Frame, picture: Image | None) -> None:
        """Write it, and the subfolder first."""
        if picture is None:
            return
        path = self.path_for(frame.name, frame.index, frame.time)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot make {path.parent}: {error.strerror}; choose another folder"
            ) from error
        _write(path, _view(frame, picture, self._side_by_side))

    def close(self, *, keep: bool) -> None:
        """Nothing is left open."""


class BothSink:
    """Two sinks that take the same frames."""

    def __init__(self, first: Sink, second: Sink) -> None:
        self._sinks = (first, second)

    def has(self, pending: Pending) -> bool:
        """Whether both have it."""
        return all(sink.has(pending) for sink in self._sinks)

    def put(self, frame: Frame, picture: Image | None) -> None:
        """Give it to both."""
        for sink in self._sinks:
            sink.put(frame, picture)

    def close(self, *, keep: bool) -> None:
        """Close both, the second even if the first fails."""
        try:
            self._sinks[0].close(keep=keep)
        finally:
            self._sinks[1].close(keep=keep)


def open_sink(output: Path, source: Source, *, view: View = "output", overwrite: bool = False) -> Sink:
    """What `output` means: an existing folder, a video or (for one image) an image by suffix, else a folder.

    Nothing is made but the folder. ConfigError if it cannot take this source, or if its pictures would lie
    among the input's; OutputError if nothing can be written there.
    """
    output = Path(output)
    suffix = "" if is_folder(output) else output.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        fps = source.fps
        if fps is None:
            raise ConfigError(f"found {output} for image files; wanted a folder: a video comes of a video")
        if suffix not in WRITE_SUFFIXES:
            raise ConfigError(f"cannot write a video as {suffix}; wanted one of {' '.join(WRITE_SUFFIXES)}")
        return _opened_files(
            output, view, source, overwrite, lambda path, side: VideoSink(path, fps, side_by_side=side)
        )
    if suffix in SUFFIXES:
        if not isinstance(source, ImageFiles) or source.folder is not None:
            raise ConfigError(f"found one image file, {output}, for many pictures; wanted a folder")
        return _opened_files(
            output, view, source, overwrite, lambda path, side: ImageFileSink(path, side_by_side=side)
        )
    if output.suffix.lower() in OTHER_SUFFIXES and not output.is_dir():
        wanted = " ".join((*SUFFIXES, *WRITE_SUFFIXES))
        raise ConfigError(f"cannot write {output.suffix} files; wanted a folder, or one of {wanted}")
    if output.exists() and not output.is_dir():
        raise ConfigError(f"{output} is a file; wanted a folder, or a name that ends in .png, .mp4 or .avi")
    names = source.names if isinstance(source, ImageFiles) else ()
    if view == "both":
        places = [(output / "output", False), (output / "side-by-side", True)]
    else:
        places = [(output, view == "side-by-side")]
    for place, _ in places:
        _keep_apart(place, source, folder=True)
    for place, _ in places:
        _check_writable(place)
    return _joined([ImageFolderSink(place, names, side_by_side=side) for place, side in places])


def is_folder(output: Path) -> bool:
    """Whether an output means a folder: it is one, or its suffix is that of no picture and no video."""
    return output.is_dir() or output.suffix.lower() not in VIDEO_SUFFIXES + SUFFIXES


def output_name(name: str) -> str:
    """The output of an input's relative name: PNG keeps its own, others get .png after their suffix."""
    return name if name.lower().endswith(".png") else f"{name}.png"


def is_whole_image(path: Path) -> bool:
    """Whether an image file is there whose header is sound and whose end is there."""
    # Not Path.is_file: it raises for a name that is too long, and so says too little.
    if not os.path.isfile(path):
        return False
    try:
        size_from_header(path.read_bytes())
    except (OSError, GetganError):
        return False  # written anew, or the write says what is wrong
    return True


def _opened_files(
    output: Path, view: View, source: Source, overwrite: bool, make: Callable[[Path, bool], Sink]
) -> Sink:
    """One file, or for both views two."""
    if view == "both":
        places = [(output, False), (output.with_name(f"{output.stem}-side-by-side{output.suffix}"), True)]
    else:
        places = [(output, view == "side-by-side")]
    for place, _ in places:
        _keep_apart(place, source, folder=False)
        # A file does not say what made it: it might be another bundle's face, or one without its label.
        if place.exists() and not overwrite:
            raise ConfigError(f"{place} exists; wanted a new name, or --overwrite")
    for place, _ in places:
        _check_writable(place.parent)
    return _joined([make(place, side) for place, side in places])


def _joined(sinks: Sequence[Sink]) -> Sink:
    return sinks[0] if len(sinks) == 1 else BothSink(*sinks)


def _view(frame: Frame, picture: Image, side_by_side: bool) -> Image:
    return both_views(frame.image, picture) if side_by_side else picture


def _write(path: Path, picture: Image) -> None:
    data = bytes_from_image(picture, path.suffix)
    try:
        write_bytes_atomic(path, data)
    except OutputError as error:
        # A name that becomes too long with .png is this file's trouble alone; a full disk is everybody's.
        if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENAMETOOLONG:
            raise DataError(f"its output name {path.name} is too long; rename it") from error
        raise


def _same_file_key(name: str) -> str:
    """Equal for names that are one file on some file systems (upper and lower case, composed letters)."""
    return unicodedata.normalize("NFC", name).casefold()


def _keep_apart(place: Path, source: Source, *, folder: bool) -> None:
    """Refuse what would overwrite the input, or be translated again by the next run."""
    there = place.resolve()
    if isinstance(source, ImageFiles) and source.folder is not None:
        inputs = source.folder.resolve()
        if there.is_relative_to(inputs):
            raise ConfigError(
                f"output {place} lies in the input folder {source.folder}; wanted one outside it"
            )
        # An output folder around the input folder is fine, unless a subfolder leads back into it.
        for name in source.names if inputs.is_relative_to(there) else ():
            if (there / output_name(name)).is_relative_to(inputs):
                raise ConfigError(
                    f"output {place / output_name(name)} lies in the input folder; wanted another folder"
                )
    elif isinstance(source, ImageFiles | VideoFile):
        target = there / output_name(source.path.name) if folder else there
        if target == source.path.resolve():
            raise ConfigError(f"output {target} is the input; wanted another file or folder")


def _check_writable(folder: Path) -> None:
    """Make the folder and a file in it, so that the error comes before the minutes of work."""
    trial = folder / f".getgan-{secrets.token_hex(8)}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as error:
        raise OutputError(
            f"cannot write into {folder}: {error.strerror}; check its permissions or choose another folder"
        ) from error
