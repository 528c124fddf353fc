"""DICOM files as an input of `getgan run`: stills and clips, recognised by what is in them."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from getgan.clinic.dicom import INSTALL, _check_compression, _rgb, tissue_region
from getgan.errors import ConfigError, DataError
from getgan.runtime.images import MAX_PIXELS
from getgan.runtime.media.video import usable_fps

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MAGIC_AT = 128  # DICOM PS3.10 7.1: a preamble of that length, then DICM
MAGIC = b"DICM"
SUFFIXES = (".dcm", ".dicom")
INDEX = "dicomdir"  # has the magic bytes and lists other files
MAX_BYTES = 1 << 29  # a clip; it is held in memory as it is in the file, its frames are decoded one by one
MAX_FRAMES = 100_000


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
        if find_spec("pydicom") is None:
            raise ConfigError(f"reading DICOM needs pydicom, which is not installed: {INSTALL}")
        try:
            size = path.stat().st_size
            if size > MAX_BYTES:
                raise DataError(f"found {size:,} bytes; wanted at most {MAX_BYTES:,}: export it as AVI")
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"cannot be read ({error.strerror}); check its permissions") from error
        return DicomFile(data, whole=whole)


class DicomFile:
    """One still or one clip, whose frames are decoded one by one; uint8 (H, W, 3) RGB."""

    def __init__(self, data: bytes, *, whole: bool) -> None:
        from pydicom import dcmread

        self.sha256 = hashlib.sha256(data).hexdigest()
        with _errors_without_content():
            self._dataset = dcmread(io.BytesIO(data))
            if "PixelData" not in self._dataset:
                raise DataError("holds no picture, or is cut off before it; wanted an image or a clip")
            _check_compression(self._dataset)
            height, width = int(self._dataset.Rows), int(self._dataset.Columns)
            if height * width > MAX_PIXELS:
                raise DataError(
                    f"found {width}x{height} pixels; wanted at most {MAX_PIXELS // 10**6} megapixels"
                )
            self._region = None if whole else tissue_region(self._dataset)
            self.count = int(self._dataset.get("NumberOfFrames") or 1)
            self.fps = _fps(self._dataset) if self.count > 1 else None
        if not 1 <= self.count <= MAX_FRAMES:
            raise DataError(f"found {self.count} frames; wanted 1 to {MAX_FRAMES:,}")
        self.whole = self._region is None

    def frame(self, index: int) -> NDArray[np.uint8]:
        """One frame, cut to the 2-D tissue region if the file states one; DataError."""
        from pydicom.pixels.utils import iter_pixels

        with _errors_without_content():
            # YBR becomes RGB here (pydicom 3).
            (decoded,) = iter_pixels(self._dataset, indices=[index])
            picture = _rgb(decoded, self._dataset)
        if self._region is None:
            return picture
        top, bottom, left, right = self._region
        return np.ascontiguousarray(picture[top:bottom, left:right])


@contextmanager
def _errors_without_content() -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom quotes the values that it finds odd
            yield
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - pydicom raises anything; its message may quote the file
        why = f"is no DICOM, cut off, damaged or of an unknown kind ({type(error).__name__})"
        raise DataError(f"{why}; copy it again, or export it as PNG") from None


def _fps(dataset: Dataset) -> float:
    """Frames per second: as it is to be shown, else as it was taken (C.7.6.5)."""
    for name in ("RecommendedDisplayFrameRate", "CineRate"):
        if dataset.get(name):
            return usable_fps(float(dataset.get(name)))
    time = dataset.get("FrameTime")  # milliseconds
    return usable_fps(1000.0 / float(time) if time else 0.0)
