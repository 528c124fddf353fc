"""Ultrasound frames out of DICOM files: uint8 RGB, and the part of the screen that shows the scan."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from getgan.clinic.codecs import CODECS
from getgan.clinic.codestream import check_codestream
from getgan.clinic.dicom_file import DicomFile, frame_places, read_file
from getgan.clinic.origin import Origin
from getgan.clinic.palette import apply_palette
from getgan.errors import ConfigError, DataError, GetganError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

INSTALL = "pip install 'getgan[dicom]'"
MAX_BYTES = 1 << 28  # of a file; a clip of 216 MB has been seen
MAX_PIXELS = 8_300_000  # a 4K screen; a hostile file of this size costs 400 MB (YBR to RGB in pydicom)
MAX_FRAMES = 100_000  # an hour at 25 a second
TISSUE = (1, 1)  # RegionSpatialFormat 2D, RegionDataType tissue: DICOM PS3.3 C.8.5.5
SIDE_MIN = 16  # a smaller region is a mistake of the device

_quiet_lock = threading.Lock()
T = TypeVar("T")


@dataclass(frozen=True)
class DicomFrames:
    """An image or a clip, one frame decoded at a time. No error says what could name the patient."""

    count: int
    fps: float | None
    region: tuple[int, int, int, int] | None  # top, bottom, left, right; the ends are exclusive
    _file: DicomFile = field(repr=False)
    _options: dict[str, Any] = field(repr=False)
    _places: list[list[tuple[int, int]]] = field(repr=False)  # none where the frames are not compressed

    @property
    def origin(self) -> Origin:
        """Whose the picture is and of which study."""
        return Origin(self._file.dataset)

    def frame(self, index: int, *, whole: bool = False) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB, cropped to the 2-D tissue region if the file states one and not `whole`."""
        if not 0 <= index < self.count:
            raise IndexError(f"frame {index} of {self.count}")
        frame = _guarded(lambda: _rgb(self._decoded(index), self._file, self._options))
        if whole or self.region is None:
            return frame
        top, bottom, left, right = self.region
        return np.ascontiguousarray(frame[top:bottom, left:right])

    def _decoded(self, index: int) -> NDArray[np.generic]:
        """YBR becomes RGB here (pydicom 3)."""
        from pydicom.encaps import encapsulate
        from pydicom.pixels.decoders.base import get_decoder

        decoder, file = get_decoder(self._file.syntax), self._file
        if not self._places:
            pixels = memoryview(file.data)[file.start : file.start + file.length]
            return decoder.as_array(pixels, index=index, **self._options)[0]
        encoded = b"".join(file.data[start : start + length] for start, length in self._places[index])
        check_codestream(encoded, file.syntax, self._options)
        options = {**self._options, "number_of_frames": 1}
        # Of those that decode, always the same one: they differ in the last bit.
        if "pillow" in decoder.available_plugins and self._options["bits_stored"] <= 8:
            source = encapsulate([encoded], has_bot=False)
            return decoder.as_array(source, index=0, decoding_plugin="pillow", **options)[0]
        return CODECS.decode(encoded, file.syntax, options)


def open_dicom(data: bytes) -> DicomFrames:
    """The frames in a DICOM file's bytes; nothing is decoded yet.

    DataError for what is no DICOM file, has no picture, is too large, cut off or cannot be decoded here.
    """
    check_installed()
    return _guarded(lambda: _opened(data))


def read_frames(path: Path, limit: int = 1) -> list[NDArray[np.uint8]]:
    """The first `limit` frames of a file, as `DicomFrames.frame`; errors say which file it was."""
    check_installed()
    try:
        frames = open_dicom(read_bytes(path))
        return [frames.frame(index) for index in range(min(limit, frames.count))]
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def read_bytes(path: Path) -> bytes:
    """A DICOM file's bytes, at most MAX_BYTES; the DataError does not say which file it was."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"found {size:,} bytes; wanted at most {MAX_BYTES:,}: export it as AVI")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror}); check its permissions") from error


def tissue_region(dataset: Dataset) -> tuple[int, int, int, int] | None:
    """(top, bottom, left, right) of the largest 2-D tissue region, ends exclusive; None if there is none.

    Files have regions that reach beyond the picture. Beyond one edge something was cut off (pydicom's
    examples_palette: 518 of 350 rows), and the region is clamped. Beyond the right and the lower edge the
    picture was made smaller and the region not (examples_ybr_color: 595x414 in 320x240), and it is left out.
    """
    height, width = int(dataset.Rows), int(dataset.Columns)
    found: list[tuple[int, int, int, int]] = []
    for region in dataset.get("SequenceOfUltrasoundRegions") or ():
        if (region.get("RegionSpatialFormat"), region.get("RegionDataType")) != TISSUE:
            continue
        last_row, last_column = _signed(region.RegionLocationMaxY1), _signed(region.RegionLocationMaxX1)
        if last_row > height and last_column > width:  # devices state one past the edge: that is no more
            continue
        top = max(_signed(region.RegionLocationMinY0), 0)
        left = max(_signed(region.RegionLocationMinX0), 0)
        bottom, right = min(last_row + 1, height), min(last_column + 1, width)
        if bottom - top >= SIDE_MIN and right - left >= SIDE_MIN:
            found.append((top, bottom, left, right))
    return max(found, key=lambda r: (r[1] - r[0]) * (r[3] - r[2]), default=None)


def check_installed() -> None:
    """ConfigError with the command that installs what DICOM needs."""
    if find_spec("pydicom") is None:
        raise ConfigError(f"reading DICOM needs pydicom, which is not installed: {INSTALL}")


def _signed(value: Any) -> int:
    """A corner is unsigned by the standard; a device that writes -30 into it writes 4294967266."""
    number = int(value)
    return number - 2**32 if number >= 2**31 else number


def _opened(data: bytes) -> DicomFrames:
    file = read_file(data)
    dataset = file.dataset
    _check_compression(file)
    height, width = int(dataset.Rows), int(dataset.Columns)
    if height < 1 or width < 1:
        raise DataError(f"found {width}x{height} pixels; wanted at least one")
    if height * width > MAX_PIXELS:
        raise DataError(f"found {width}x{height} pixels; wanted at most {MAX_PIXELS / 1e6:g} megapixels")
    bits, signed = int(dataset.BitsAllocated), int(dataset.PixelRepresentation)
    if signed or bits not in (8, 16):
        kind = f"{'' if signed else 'u'}int{bits}"
        raise DataError(f"found {kind} pixels; wanted 8 or 16 bit unsigned: export it as PNG")
    count = int(dataset.get("NumberOfFrames") or 1)
    if not 1 <= count <= MAX_FRAMES:
        raise DataError(f"found a wrong number of frames; wanted 1 to {MAX_FRAMES:,}")
    options: dict[str, Any] = {
        "rows": height,
        "columns": width,
        "samples_per_pixel": int(dataset.SamplesPerPixel),
        "bits_allocated": bits,
        "bits_stored": int(dataset.BitsStored),
        "photometric_interpretation": str(dataset.PhotometricInterpretation),
        "pixel_representation": signed,
        "planar_configuration": int(dataset.get("PlanarConfiguration") or 0),
        "number_of_frames": count,
        "pixel_keyword": "PixelData",
        "pixel_vr": file.vr,
    }
    places: list[list[tuple[int, int]]] = []
    if file.syntax.is_encapsulated:
        places = frame_places(file, count)
    else:
        size = height * width * options["samples_per_pixel"] * bits // 8
        if options["photometric_interpretation"] == "YBR_FULL_422":
            size = size // 3 * 2
        if file.length < size * count:
            raise DataError("is cut off, or states more frames than it has; copy it again")
    return DicomFrames(count, _fps(dataset), tissue_region(dataset), file, options, places)


def _fps(dataset: Dataset) -> float | None:
    """As it is to be shown, else as it was taken (C.7.6.5); None for a rate that no clip has."""
    rate = float(dataset.get("RecommendedDisplayFrameRate") or dataset.get("CineRate") or 0)
    if not rate and dataset.get("FrameTime"):  # milliseconds
        rate = 1000 / float(dataset.FrameTime)
    return rate if 0.1 <= rate <= 1000 else None


def _check_compression(file: DicomFile) -> None:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import JPEGExtended12Bit

    try:
        decoder = get_decoder(file.syntax)
    except NotImplementedError:
        raise DataError("is compressed as a video or in a private way; export it as PNG or AVI") from None
    available, name = decoder.is_available, file.syntax.name
    if file.syntax == JPEGExtended12Bit and int(file.dataset.BitsStored) > 8:  # Pillow decodes 8 bits alone
        available, name = "gdcm" in decoder.available_plugins, "12-bit JPEG"
    if not available:
        raise DataError(
            f"is compressed as {name}, which nothing here decodes: {INSTALL}, or export it as PNG"
        )


def _rgb(frame: NDArray[np.generic], file: DicomFile, options: dict[str, Any]) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) from what pydicom decoded."""
    meaning = options["photometric_interpretation"]
    if meaning == "PALETTE COLOR":
        return apply_palette(np.asarray(frame), file.dataset, file.little_endian)
    levels: NDArray[np.generic] = np.asarray(frame)
    if levels.dtype.itemsize == 2:
        # Above the stored bits there may be others, an overlay's.
        levels = np.minimum(levels.astype(np.uint16) >> max(options["bits_stored"] - 8, 0), 255)
    if levels.ndim == 2:
        grey = np.asarray(levels, np.uint8)
        if meaning == "MONOCHROME1":
            grey = 255 - grey
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.ascontiguousarray(levels, np.uint8)


def _guarded(work: Callable[[], T]) -> T:
    """Our own errors as they are; any other becomes one that quotes nothing of the file."""
    from pydicom.errors import InvalidDicomError

    try:
        with _quiet():
            return work()
    except GetganError:
        raise
    except InvalidDicomError:
        raise DataError("is no DICOM file; wanted one with a preamble") from None
    except MemoryError:
        raise DataError("needs more memory than this machine has free") from None
    except Exception as error:  # noqa: BLE001 - pydicom raises anything; its message may quote the file
        why = f"is cut off, damaged or of an unknown kind ({type(error).__name__})"
        raise DataError(f"{why}; copy it again, or export it as PNG") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """pydicom quotes what it finds odd. One at a time: two could leave the warnings switched off."""
    with _quiet_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
