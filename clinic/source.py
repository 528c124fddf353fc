"""DICOM files as an input of `getgan run`: stills and clips, recognised by what is in them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from getgan.clinic.dicom import check_installed, open_dicom, read_bytes
from getgan.clinic.origin import Origin
from getgan.runtime.media.video import usable_fps

MAGIC_AT = 128  # DICOM PS3.10 7.1: a preamble of that length, then DICM
MAGIC = b"DICM"
SUFFIXES = (".dcm", ".dicom")
INDEX = "dicomdir"  # has the magic bytes and lists other files


class DicomOpener:
    """Reads DICOM files; an `Opener` of getgan.runtime.media.openers."""

    def claims(self, path: Path) -> bool:
        """Whether the magic bytes stand there, or the suffix says so: then the error is DICOM's own."""
        if path.name.lower() == INDEX:
            return False
        try:
            if not path.is_file():  # opening a pipe would wait for its writer
                return False
            if path.suffix.lower() in SUFFIXES:
                return True
            with open(path, "rb") as file:
                file.seek(MAGIC_AT)
                return file.read(len(MAGIC)) == MAGIC
        except OSError:
            return False

    def open(self, path: Path, *, whole: bool) -> DicomFile:
        """Read it; DataError, ConfigError. No message holds what the file says: it may name the patient."""
        check_installed()
        return DicomFile(read_bytes(path), whole=whole)


class DicomFile:
    """One still or one clip, whose frames are decoded one by one; uint8 (H, W, 3) RGB."""

    def __init__(self, data: bytes, *, whole: bool) -> None:
        self.sha256 = hashlib.sha256(data).hexdigest()
        self._frames = open_dicom(data)
        self.count = self._frames.count
        self.fps = usable_fps(self._frames.fps or 0.0) if self.count > 1 else None
        self.whole = whole or self._frames.region is None
        self.origin: Origin = self._frames.origin

    def frame(self, index: int) -> NDArray[np.uint8]:
        """One frame, cut to the 2-D tissue region if the file states one; DataError."""
        return self._frames.frame(index, whole=self.whole)
