"""Ultrasound frames out of DICOM files: uint8 RGB, and the part of the screen that shows the scan."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from getgan.errors import ConfigError, DataError
from getgan.runtime.images import MAX_PIXELS

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

INSTALL = "pip install 'getgan[dicom]'"
INSTALL_MORE = "pip install 'pylibjpeg[all]'"  # the kinds of JPEG that Pillow does not decode
TISSUE = (1, 1)  # RegionSpatialFormat 2D, RegionDataType tissue: DICOM PS3.3 C.8.5.5
SIDE_MIN = 16  # a smaller region is a mistake of the device


def read_frames(path: Path, limit: int = 1) -> list[NDArray[np.uint8]]:
    """The first `limit` frames, uint8 (H, W, 3) RGB, cropped to the 2-D tissue region if the file states one.

    DataError for what is no DICOM file, has no picture, is above MAX_PIXELS or cannot be decoded here. The
    message holds nothing that the file says: it may name the patient.
    """
    if find_spec("pydicom") is None:
        raise ConfigError(f"reading DICOM needs pydicom, which is not installed: {INSTALL}")
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom quotes the values that it finds odd
            dataset = dcmread(path)
            found = _frames(dataset, limit)
            region = tissue_region(dataset)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except InvalidDicomError:
        raise DataError(f"{path}: is no DICOM file; wanted one with a preamble") from None
    except Exception as error:  # noqa: BLE001 - pydicom raises anything; its message may quote the file
        # Pillow raises an OSError without a number for a JPEG that is cut off.
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
        why = f"{path}: is cut off, damaged or of an unknown kind ({type(error).__name__})"
        raise DataError(f"{why}; copy it again, or export it as PNG") from None
    if region is None:
        return found
    top, bottom, left, right = region
    return [np.ascontiguousarray(frame[top:bottom, left:right]) for frame in found]


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
        last_row, last_column = int(region.RegionLocationMaxY1), int(region.RegionLocationMaxX1)
        if last_row > height and last_column > width:  # devices state one past the edge: that is no more
            continue
        top, left = int(region.RegionLocationMinY0), int(region.RegionLocationMinX0)
        bottom, right = min(last_row + 1, height), min(last_column + 1, width)
        if bottom - top >= SIDE_MIN and right - left >= SIDE_MIN:
            found.append((top, bottom, left, right))
    return max(found, key=lambda r: (r[1] - r[0]) * (r[3] - r[2]), default=None)


def _frames(dataset: Dataset, limit: int) -> list[NDArray[np.uint8]]:
    if "PixelData" not in dataset:
        raise DataError("holds no picture, or is cut off before it; wanted an image or a clip")
    _check_compression(dataset)
    height, width = int(dataset.Rows), int(dataset.Columns)
    if height * width > MAX_PIXELS:
        raise DataError(f"found {width}x{height} pixels; wanted at most {MAX_PIXELS // 10**6} megapixels")
    return [_rgb(frame, dataset) for frame in _decoded(dataset, limit)]


def _check_compression(dataset: Dataset) -> None:
    from pydicom.pixels.decoders.base import get_decoder

    kind = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(kind)
    except NotImplementedError:
        raise DataError("is compressed as a video or in a private way; export it as PNG or AVI") from None
    if not decoder.is_available:
        pillow = any(name.startswith("pillow") for name in decoder.missing_dependencies)
        repair = INSTALL if pillow else INSTALL_MORE
        raise DataError(
            f"is compressed as {kind.name}, which nothing here decodes: {repair}, or export it as PNG"
        )


def _decoded(dataset: Dataset, limit: int) -> Iterator[NDArray[np.generic]]:
    from pydicom.pixels.utils import iter_pixels

    frames = min(limit, int(dataset.get("NumberOfFrames") or 1))
    # YBR becomes RGB here (pydicom 3).
    yield from iter_pixels(dataset, indices=list(range(frames)))


def _rgb(frame: NDArray[np.generic], dataset: Dataset) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) from what pydicom decoded."""
    from pydicom.pixels.processing import apply_color_lut

    levels: NDArray[np.generic] = np.asarray(frame)
    bits = int(dataset.BitsStored)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        levels, bits = np.asarray(apply_color_lut(frame, dataset)), 16
    if levels.dtype == np.uint16:
        # Above the stored bits there may be others, an overlay's.
        levels = np.minimum(levels.astype(np.uint16) >> max(bits - 8, 0), 255)
    elif levels.dtype != np.uint8:
        raise DataError(f"found {levels.dtype} pixels; wanted 8 or 16 bit unsigned: export it as PNG")
    if levels.ndim == 2:
        grey = np.asarray(levels, np.uint8)
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            grey = 255 - grey
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.ascontiguousarray(levels, np.uint8)
