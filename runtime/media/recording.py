"""The file that a video is written into while it is made, and what becomes of it: a readable one is kept.

It is called `.getgan-<16 hex digits>.tmp.NAME.avi`, NAME being the video's, and is locked as long as its
writer lives. A later run finds what a killed one left behind (`recover_recordings`).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from getgan.errors import OutputError
from getgan.files import leftovers, put_new, temporary_beside, try_lock
from getgan.runtime.media.capture import check_name
from getgan.runtime.media.encoding import (
    CODECS,
    RECORDING_SUFFIX,
    Codec,
    codec_for,
    copy_packets,
    count_frames,
)

# OpenCV does not say that a write failed, so that a full disk must be seen before it is full.
MIN_FREE_BYTES = 32 << 20
NAME_BYTES = 200  # a longer name would not fit with what stands around it
_RECORDING = re.compile(r"\.getgan-[0-9a-f]{16}\.tmp\.(?P<name>.+\.\w+)\.avi", re.DOTALL)
_COPY = re.compile(r"\.getgan-[0-9a-f]{16}\.tmp\.\w+")  # of a recording, which is there too


@dataclass(frozen=True)
class Kept:
    """Where a recording ended up."""

    path: Path
    frames: int  # that can be read back


class Recording:
    """A recording under way: a file of this process's own."""

    def __init__(self, target: Path) -> None:
        """OutputError if nothing can be written beside the target."""
        check_name(target, OutputError)
        short = len(os.fsencode(target.name)) <= NAME_BYTES
        name = target.name if short else f"video{target.suffix}"
        self.target = target
        self.path = temporary_beside(target, f".{name}{RECORDING_SUFFIX}")
        try:
            self._file = open(self.path, "xb")  # noqa: SIM115 - `close` closes it
        except OSError as error:
            raise OutputError(f"cannot write {target}: {error.strerror}; check its folder") from error
        try_lock(self._file)

    def keep(self, frames: int, *, whole: bool, replace: bool) -> Kept | None:
        """Put it where it belongs; None if not one frame can be read. OutputError says where it is then.

        frames: that should be in it. whole False: as NAME.partial.SUFFIX. replace: what stands there.
        """
        codec = codec_for(self.target.suffix.lower())
        try:
            stem = self.target.stem if whole else f"{self.target.stem}.partial"
            return _kept(self.path, self.target, codec, frames, stem, replace=whole and replace)
        except OSError as error:
            raise OutputError(
                f"cannot write {self.target}: {error.strerror}; its frames are in {self.path}: rename it"
            ) from error

    def remove(self) -> None:
        """Give it up before its first frame."""
        with contextlib.suppress(OSError):
            self.path.unlink()
        self.close()

    def close(self) -> None:
        """Let go of it; may be called twice."""
        self._file.close()


def recover_recordings(folder: Path) -> list[str]:
    """Put each recording whose writer was killed in place as NAME.recovered.SUFFIX; what was found, in words.

    Those of living writers are not touched.
    """
    told: list[str] = []
    for path in leftovers(folder, _RECORDING):
        match = _RECORDING.fullmatch(path.name)
        target = folder / (match["name"] if match else path.name)
        suffix = target.suffix.lower()
        if suffix not in CODECS:
            continue
        with contextlib.suppress(OSError, OutputError):
            check_name(path, OutputError)
            kept = _kept(path, target, codec_for(suffix), count_frames(path), f"{target.stem}.recovered")
            told.append(
                f"found a recording whose run was killed: its {kept.frames} frames are in {kept.path}"
                if kept
                else f"removed a recording whose run was killed before its first frame: {path.name}"
            )
    for path in leftovers(folder, _COPY):
        with contextlib.suppress(OSError):
            path.unlink()
    return told


def _kept(
    recording: Path, target: Path, codec: Codec, frames: int, stem: str, *, replace: bool = False
) -> Kept | None:
    """The recording in its container and place, or as it is where it lost something on the way; OSError."""
    copy = temporary_beside(target, target.suffix)
    best, found = recording, -1
    try:
        if target.suffix.lower() != RECORDING_SUFFIX:
            with contextlib.suppress(OutputError):
                _copy(recording, copy, codec)
                best, found = copy, count_frames(copy)
        if found < frames:
            readable = count_frames(recording)
            best, found = (recording, readable) if readable > found else (best, found)
        if found == 0:
            recording.unlink()
            return None
        with open(best, "rb") as file:
            os.fsync(file.fileno())
        suffix = target.suffix if best is copy else RECORDING_SUFFIX
        place = _placed(best, target, stem, suffix, replace=replace)
        with contextlib.suppress(FileNotFoundError):
            recording.unlink()
        return Kept(place, found)
    finally:
        with contextlib.suppress(FileNotFoundError):
            copy.unlink()


def _copy(recording: Path, copy: Path, codec: Codec) -> None:
    """OutputError if there is no room for it, or OpenCV cannot write it."""
    with open(copy, "xb") as file:
        try_lock(file)
        free = shutil.disk_usage(copy.parent).free
        if free < recording.stat().st_size + MIN_FREE_BYTES:
            raise OutputError(f"cannot write {copy}: {free:,} bytes are free")
        copy_packets(recording, copy, codec)


def _placed(best: Path, target: Path, stem: str, suffix: str, *, replace: bool) -> Path:
    """Rename it; what stands there is replaced only if it was to be, or else gets a neighbour NAME-2."""
    if replace and (stem, suffix) == (target.stem, target.suffix):
        os.replace(best, target)
        return target
    for number in itertools.count(1):
        place = target.with_name(f"{stem}{'' if number == 1 else f'-{number}'}{suffix}")
        with contextlib.suppress(FileExistsError):
            put_new(best, place)
            return place
    raise AssertionError("unreachable")
