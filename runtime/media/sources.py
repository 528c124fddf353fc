"""Where frames come from: an image file, a folder of them, a video file, a camera or a stream."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from getgan.errors import ConfigError, DataError
from getgan.runtime.images import KINDS, SUFFIXES, natural_key
from getgan.runtime.media.camera import TIMEOUT_S, URL_SCHEMES, Camera
from getgan.runtime.media.capture import quiet_opencv
from getgan.runtime.media.frames import Image, Pending, Source
from getgan.runtime.media.inputs import pending_image
from getgan.runtime.media.video import VIDEO_SUFFIXES, VideoFile


def open_source(text: str, *, timeout: float = TIMEOUT_S) -> Source:
    """What `text` means, in this order: an existing path, a camera's number, a stream's URL.

    A path is a folder (all images in it and below), an image, a video (by suffix) or a /dev/video*.
    timeout: seconds without a frame after which a camera is gone. DataError, ConfigError.
    """
    quiet_opencv()
    if os.path.lexists(text):
        return _source_from_path(Path(text), timeout)
    if re.fullmatch(r"[0-9]{1,3}", text):
        return Camera(int(text), timeout)
    try:
        address = urlsplit(text if "://" in text else "")
        scheme, _ = address.scheme, address.port
    except ValueError as error:
        raise ConfigError(
            f"found an impossible address ({error}); wanted like rtsp://HOST:PORT/PATH"
        ) from error
    if scheme in URL_SCHEMES:
        return Camera(text, timeout)
    if scheme:
        raise ConfigError(f"found a {scheme}:// address; wanted one of {', '.join(URL_SCHEMES)}")
    raise DataError(f"{text}: no such file or folder; wanted images, a video, a camera's number or a URL")


class ImageFiles:
    """Image files, decoded one at a time. The folder's own files and those of its subfolders, if it is one.

    Found by suffix, hidden ones left out, in natural order (2.png before 10.png). Links to files are
    followed, links to folders are not: they could lead in circles.
    """

    live = False
    fps = None
    dropped = 0

    def __init__(self, path: Path) -> None:
        self.folder: Path | None = path if path.is_dir() else None
        self.path = path
        self._unreadable: list[OSError] = []
        self.names: Sequence[str] = self._list() if self.folder else (path.name,)
        self.total = len(self.names) + len(self._unreadable)

    def __iter__(self) -> Iterator[Pending]:
        for index, name in enumerate(self.names):
            path = self.folder / name if self.folder else self.path
            yield pending_image(path, name, index)
        for index, error in enumerate(self._unreadable, len(self.names)):
            yield Pending(os.fspath(error.filename), index, None, partial(_raise_unreadable, error))

    def close(self) -> None:
        """Nothing is open between two images."""

    def _list(self) -> list[str]:
        names: list[str] = []
        others = 0
        for place, folders, files in os.walk(self.path, onerror=self._unreadable.append):
            folders[:] = [folder for folder in folders if not folder.startswith(".")]
            here = Path(place).relative_to(self.path)
            for file in files:
                is_image = file.lower().endswith(SUFFIXES) and not file.startswith(".")
                others += not is_image
                if is_image:
                    names.append((here / file).as_posix())
        if not names and not self._unreadable:
            raise DataError(
                f"{self.path}: holds no image ({others} other files); wanted {KINDS} in it or below"
            )
        return sorted(names, key=lambda name: natural_key(Path(name)))


def _source_from_path(path: Path, timeout: float) -> Source:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); wanted an image, video or folder"
        ) from error
    suffix = path.suffix.lower()
    if stat.S_ISDIR(mode) or suffix in SUFFIXES:
        return ImageFiles(path)
    device = re.fullmatch(r"/dev/video([0-9]+)", str(path.resolve()))
    if stat.S_ISCHR(mode) and device:
        return Camera(int(device[1]), timeout)
    if suffix in VIDEO_SUFFIXES and stat.S_ISREG(mode):
        return VideoFile(path)
    wanted = " ".join(SUFFIXES + VIDEO_SUFFIXES)
    raise DataError(f"{path}: found {suffix or 'a file without suffix'}; wanted one of {wanted}")


def _raise_unreadable(error: OSError) -> Image:
    raise DataError(
        f"{error.filename}: folder cannot be read ({error.strerror}); check its permissions"
    ) from error
