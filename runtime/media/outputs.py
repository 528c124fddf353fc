"""What an output argument means: a folder, one image or one video, held by one run, never among the input."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from getgan.errors import ConfigError, OutputError, UsageError
from getgan.files import remove_leftovers, temporary_beside
from getgan.runtime.images import SUFFIXES
from getgan.runtime.media.encoding import WRITE_SUFFIXES, codec_for
from getgan.runtime.media.frames import Source
from getgan.runtime.media.lock import OutputLock
from getgan.runtime.media.record import Recipe, Stamp, made_of
from getgan.runtime.media.recording import recover_recordings
from getgan.runtime.media.sinks import (
    ImageFileSink,
    ImageFolderSink,
    SeveralSinks,
    Sink,
    VideoFileSink,
    View,
    output_name,
)
from getgan.runtime.media.video import VIDEO_SUFFIXES

# What is asked for, and the output files that it makes of each frame.
Views = Literal["output", "side-by-side", "occlusion", "both", "all"]
VIEWS: dict[Views, tuple[View, ...]] = {
    "output": ("output",),
    "side-by-side": ("side-by-side",),
    "occlusion": ("occlusion",),
    "both": ("output", "side-by-side"),
    "all": ("output", "side-by-side", "occlusion"),
}
# A file is meant, and not a folder of this name.
OTHER_SUFFIXES = (".gif", ".webp", ".heic", ".avif", ".jp2", ".dcm", ".svg", ".pdf", ".txt", ".ts")


@dataclass(frozen=True)
class OutputPlan:
    """What an output argument means, checked and held by this run; `open` it when the recipe is known."""

    kind: Literal["folder", "image", "video"]
    places: tuple[tuple[Path, View], ...]  # one for each view
    names: Sequence[str]  # of the input's image files
    fps: float
    overwrite: bool
    lock: OutputLock
    notes: tuple[str, ...] = ()  # what is to be told before the work, in one line each

    def open(self, recipe: Recipe) -> Sink:
        """The sink, which the caller closes before the plan."""
        sinks = [self._sink(path, Stamp(recipe, view, self.overwrite)) for path, view in self.places]
        return sinks[0] if len(sinks) == 1 else SeveralSinks(sinks)

    def close(self) -> None:
        """Let another run write there; may be called twice."""
        self.lock.close()

    def _sink(self, path: Path, stamp: Stamp) -> Sink:
        if self.kind == "folder":
            return ImageFolderSink(path, stamp, self.names)
        if self.kind == "image":
            return ImageFileSink(path, stamp)
        return VideoFileSink(path, stamp, self.fps)


def plan_output(
    output: Path, source: Source, *, view: Views = "output", overwrite: bool = False
) -> OutputPlan:
    """What `output` means: an existing folder, a video or (for one image) an image by suffix, else a folder.

    Nothing is made but the folder and a lock in it. UsageError if it cannot take this source or if its
    pictures would lie among the input's, or if another run writes there; OutputError if nothing can be
    written there.
    """
    output = Path(output)
    suffix = "" if is_folder(output) else output.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        if source.fps is None:
            raise UsageError(f"found {output} for image files; wanted a folder: a video comes of a video")
        if suffix not in WRITE_SUFFIXES:
            raise UsageError(f"cannot write a video as {suffix}; wanted one of {' '.join(WRITE_SUFFIXES)}")
        return _planned_files("video", output, view, source, overwrite)
    if suffix in SUFFIXES:
        if not source.single:
            raise UsageError(f"found one image file, {output}, for many pictures; wanted a folder")
        return _planned_files("image", output, view, source, overwrite)
    if output.suffix.lower() in OTHER_SUFFIXES and not output.is_dir():
        wanted = " ".join((*SUFFIXES, *WRITE_SUFFIXES))
        raise UsageError(f"cannot write {output.suffix} files; wanted a folder, or one of {wanted}")
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file; wanted a folder, or a name that ends in .png, .mp4 or .avi")
    names = source.names
    shown = VIEWS[view]
    places = tuple((output / one if len(shown) > 1 else output, one) for one in shown)
    for place, _ in places:
        _keep_apart(place, source, folder=True)
    for place, _ in places:
        _check_writable(place)
    lock = OutputLock(output, folder=True)
    notes = tuple(note for place, _ in places for note in recover_recordings(place))
    return OutputPlan("folder", places, names, source.fps or 0.0, overwrite, lock, notes)


def is_folder(output: Path) -> bool:
    """Whether an output means a folder: it is one, or its suffix is that of no picture and no video."""
    return output.is_dir() or output.suffix.lower() not in VIDEO_SUFFIXES + SUFFIXES


def _planned_files(
    kind: Literal["image", "video"], output: Path, view: Views, source: Source, overwrite: bool
) -> OutputPlan:
    """One file for each view."""
    shown = VIEWS[view]
    # The first under the name that was asked for.
    beside = [output.with_name(f"{output.stem}-{one}{output.suffix}") for one in shown[1:]]
    places = tuple(zip((output, *beside), shown, strict=True))
    for place, _ in places:
        _keep_apart(place, source, folder=False)
        if not os.path.lexists(place):
            continue
        # An image is known by its record, when it is its turn. A video's frames have no output of their own.
        if kind == "video" and not overwrite:
            raise ConfigError(f"{place} exists; wanted a new name, or --overwrite")
        if made_of(place) is None:
            raise ConfigError(
                f"{place} exists, and is not a file that getgan wrote and nobody changed; wanted a new "
                "name: it is never overwritten"
            )
    for place, _ in places:
        _check_writable(place.parent)
    lock = OutputLock(output, folder=False)
    remove_leftovers(output.parent)
    notes = recover_recordings(output.parent)
    if kind == "video" and output.suffix.lower() == ".mp4" and not codec_for(".mp4").browser:
        notes.append(
            f"{output.name} will be {codec_for('.mp4').name}, which no browser plays; all play .webm"
        )
    return OutputPlan(kind, places, (), source.fps or 0.0, overwrite, lock, tuple(notes))


def _keep_apart(place: Path, source: Source, *, folder: bool) -> None:
    """Refuse what would overwrite the input, or be translated again by the next run."""
    # An output folder around the input folder is fine, unless a subfolder leads back into it.
    for target in (place, *(place / output_name(name) for name in source.names if folder)):
        if source.claims(target):
            raise UsageError(
                f"output {target} is the input or lies in the input folder; wanted another file or folder"
            )


def _check_writable(folder: Path) -> None:
    """Make the folder and a file in it, so that the error comes before the minutes of work."""
    trial = temporary_beside(folder / "trial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as error:
        raise OutputError(
            f"cannot write into {folder}: {error.strerror}; check its permissions or choose another folder"
        ) from error
