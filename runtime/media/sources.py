"""Where frames come from: an image file, a folder of them, a video file, a camera or a stream."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from getgan.errors import ConfigError, DataError
from getgan.printing import one_line
from getgan.runtime.images import KINDS, SUFFIXES, natural_key
from getgan.runtime.media.camera import TIMEOUT_S, URL_SCHEMES, Camera
from getgan.runtime.media.capture import quiet_opencv
from getgan.runtime.media.frames import Pending, Source
from getgan.runtime.media.inputs import pending_image
from getgan.runtime.media.openers import OpenedSource, Opener, pending_of
from getgan.runtime.media.region import Region, RegionSource
from getgan.runtime.media.video import VIDEO_SUFFIXES, VideoFile

MAX_SHOWN = 5  # names of files that are left out


def open_source(
    text: str,
    *,
    timeout: float = TIMEOUT_S,
    region: Region | None = None,
    on_region: Callable[[Region], None] = lambda region: None,
    openers: Sequence[Opener] = (),
) -> Source:
    """What `text` means, in this order: an existing path, a camera's number, a stream's URL.

    A path is a folder (all images in it and below), an image, a video (by suffix), a /dev/video*, or what an
    opener claims. timeout: seconds without a frame after which a camera is gone. region: all that is seen of
    each picture; it goes before the region that a file states. on_region: hears of it once, with the first
    picture's size. DataError, ConfigError.
    """
    source = _opened(text, timeout, openers, whole=region is not None)
    return source if region is None else RegionSource(source, region, on_region)


def _opened(text: str, timeout: float, openers: Sequence[Opener], *, whole: bool) -> Source:
    quiet_opencv()
    if os.path.lexists(text):
        return _source_from_path(Path(text), timeout, openers, whole)
    if re.fullmatch(r"[0-9]{1,3}", text):
        return Camera(int(text), timeout)
    try:
        address = urlsplit(text if "://" in text else "")
        scheme, _ = address.scheme, address.port
    except ValueError:  # its text may hold a password
        raise ConfigError("found an impossible address; wanted like rtsp://HOST:PORT/PATH") from None
    if scheme in URL_SCHEMES:
        return Camera(text, timeout)
    if scheme:
        raise ConfigError(f"found a {scheme}:// address; wanted one of {', '.join(URL_SCHEMES)}")
    shown = re.sub(r"[^/\\]*:[^/\\]*@", "***@", text)  # a mistyped address, with its password
    raise DataError(f"{shown}: no such file or folder; wanted images, a video, a camera's number or a URL")


class ImageFiles:
    """Image files, decoded one at a time. The folder's own files and those of its subfolders, if it is one.

    Found by suffix, and those of other kinds by what the openers say. Hidden ones are left out. In natural
    order (2.png before 10.png). Links to files are followed, links to folders are not: they could lead in
    circles.
    """

    live = False
    fps = None
    dropped = 0
    region = ""
    whole = True

    def __init__(self, path: Path, openers: Sequence[Opener] = (), *, whole: bool = False) -> None:
        """whole: files that state a region are not cut to it."""
        self.folder: Path | None = path if path.is_dir() else None
        self.path = path
        self.single = self.folder is None
        self._openers = openers
        self._keep_whole = whole
        self._unreadable: list[OSError] = []
        self._left_out: list[str] = []
        self._opener_of: dict[str, Opener] = {}
        self.names: Sequence[str] = self._list() if self.folder else (path.name,)
        # A clip among them has more frames than one, which is known when it is its turn.
        self.total: int | None = None if self._opener_of else len(self.names) + len(self._unreadable)

    @property
    def notes(self) -> Sequence[str]:
        """What is left out."""
        if not self._left_out:
            return ()
        shown = ", ".join(map(one_line, self._left_out[:MAX_SHOWN]))
        more = ", ..." if len(self._left_out) > MAX_SHOWN else ""
        return (f"left out as no images: {shown}{more} ({len(self._left_out)} in all)",)

    def claims(self, path: Path) -> bool:
        """Whether the path lies in the folder, or is the file."""
        there, here = path.resolve(), self.path.resolve()
        return there.is_relative_to(here) if self.folder else there == here

    def __iter__(self) -> Iterator[Pending]:
        for name in self.names:
            path = self.folder / name if self.folder else self.path
            if name in self._opener_of:
                yield from pending_of(self._opener_of[name], path, name, whole=self._keep_whole)
            else:
                yield pending_image(path, name)
        for error in self._unreadable:
            read = partial(_raise_unreadable, error)
            shut = Path(os.fspath(error.filename)).relative_to(self.path).as_posix()
            yield Pending(f"{shut}/", 0, None, read, read)

    def close(self) -> None:
        """Nothing is open between two images."""

    def _list(self) -> list[str]:
        names: list[str] = []
        for place, folders, files in os.walk(self.path, onerror=self._unreadable.append):
            folders[:] = [folder for folder in folders if not folder.startswith(".")]
            here = Path(place).relative_to(self.path)
            for file in files:
                if file.startswith("."):
                    continue
                name = (here / file).as_posix()
                opener = None if file.lower().endswith(SUFFIXES) else self._opener(Path(place) / file)
                if opener is not None:
                    self._opener_of[name] = opener
                elif not file.lower().endswith(SUFFIXES):
                    self._left_out.append(name)
                    continue
                names.append(name)
        self._left_out.sort(key=lambda name: natural_key(Path(name)))
        if not names and not self._unreadable:
            raise DataError(
                f"{self.path}: holds no image ({len(self._left_out)} other files); wanted {KINDS} in it or "
                "below"
            )
        return sorted(names, key=lambda name: natural_key(Path(name)))

    def _opener(self, path: Path) -> Opener | None:
        return next((opener for opener in self._openers if opener.claims(path)), None)


def _source_from_path(path: Path, timeout: float, openers: Sequence[Opener], whole: bool) -> Source:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); wanted an image, video or folder"
        ) from error
    suffix = path.suffix.lower()
    if stat.S_ISDIR(mode) or suffix in SUFFIXES:
        return ImageFiles(path, openers, whole=whole)
    device = re.fullmatch(r"/dev/video([0-9]+)", str(path.resolve()))
    if stat.S_ISCHR(mode) and device:
        return Camera(int(device[1]), timeout)
    if suffix in VIDEO_SUFFIXES and stat.S_ISREG(mode):
        return VideoFile(path)
    for opener in openers:
        if opener.claims(path):
            try:
                return OpenedSource(path, opener.open(path, whole=whole))
            except DataError as error:
                raise DataError(f"{path}: {error}") from error
    wanted = " ".join(SUFFIXES + VIDEO_SUFFIXES)
    raise DataError(f"{path}: found {suffix or 'a file without suffix'}; wanted one of {wanted}")


def _raise_unreadable(error: OSError) -> NoReturn:
    raise DataError(f"folder cannot be read ({error.strerror}); check its permissions") from error
