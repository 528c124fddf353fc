"""A damaged DICOM file costs a line: no time, no memory, no crash, no words of a library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from dicom_helpers import JPEG_2000, fragments, image, meta
from fuzzing import fuzz
from image_helpers import saved
from PIL import Image
from pydicom.data import get_testdata_file

from getgan.clinic.dicom import open_dicom


def first_and_last(data: bytes) -> None:
    frames = open_dicom(data)
    frames.frame(0)
    frames.frame(frames.count - 1)


def shipped(*names: str) -> list[bytes]:
    return [Path(str(get_testdata_file(name, download=False))).read_bytes() for name in names]


def test_uncompressed() -> None:
    names = ("ExplVR_BigEnd.dcm", "image_dfl.dcm", "SC_rgb_small_odd.dcm", "examples_overlay.dcm")
    fuzz(first_and_last, shipped(*names), rounds=250, seed=1)


def test_compressed() -> None:
    kinds = ("jpeg_dcmtk", "rle_2frame", "jpeg_gdcm", "jls_lossy_line")
    levels = np.random.default_rng(0).integers(0, 255, (40, 48, 3), dtype=np.uint8)
    wavelets = saved(Image.fromarray(levels), "JPEG2000", no_jp2=True)
    small = meta(JPEG_2000) + image(40, 48, 3, b"YBR_RCT") + fragments(wavelets)
    names = (*(f"SC_rgb_{kind}.dcm" for kind in kinds), "JPGExtended.dcm")
    fuzz(first_and_last, [*shipped(*names), small], rounds=300, seed=2)
