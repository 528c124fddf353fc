"""A damaged image file costs a line: no time, no memory, no crash, no words of a library."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
from fuzzing import fuzz
from image_helpers import encoded, exif, long, png, saved, short, tiff, with_exif, zeros
from numpy.typing import NDArray
from PIL import Image

from getgan.runtime.images import image_from_bytes


def with_checksums(data: bytes) -> None:
    """A PNG's checksums stop most damage at the door. Here they are mended, so that the rest is tried."""
    found, place = bytearray(data), 8
    while place + 12 <= len(found):
        (length,) = struct.unpack_from(">I", found, place)
        end = place + 8 + length
        if end + 4 > len(found):
            break
        struct.pack_into(">I", found, end, zlib.crc32(found[place + 4 : end]))
        place = end + 4
    image_from_bytes(bytes(found))


@pytest.fixture
def picture() -> Image.Image:
    levels: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    return Image.fromarray(cv2.blur(levels, (5, 5)))


def test_png(picture: Image.Image) -> None:
    deep = np.asarray(picture, np.uint16) * 257
    seeds = [saved(picture, "PNG"), saved(picture.quantize(9), "PNG"), encoded(deep), png(9, 9, 16, 4)]
    fuzz(with_checksums, seeds, rounds=400, seed=1)


def test_jpeg(picture: Image.Image) -> None:
    jpeg = saved(picture, "JPEG")
    seeds = [
        with_exif(jpeg, exif(6)),
        saved(picture, "JPEG", progressive=True),
        saved(picture.convert("CMYK"), "JPEG"),
    ]
    fuzz(image_from_bytes, seeds, rounds=400, seed=2)


def test_bmp(picture: Image.Image) -> None:
    grey = saved(picture.convert("L"), "BMP")
    runs = grey[:30] + struct.pack("<I", 1) + grey[34:1078] + b"\x40\x07" * 48 + b"\0\1"
    fuzz(image_from_bytes, [saved(picture, "BMP"), grey, runs], rounds=400, seed=3)


def test_tiff(picture: Image.Image) -> None:
    tiles = tiff(48, 40, zeros(1024), t259=short(8), t322=long(32), t323=long(32), t324=long(8, 8, 8, 8))
    kinds = ("tiff_lzw", "tiff_adobe_deflate", "packbits")
    seeds = [saved(picture, "TIFF", compression=kind) for kind in kinds]
    seeds += [saved(picture.quantize(9), "TIFF"), encoded(np.asarray(picture, np.uint16), ".tif"), tiles]
    fuzz(image_from_bytes, seeds, rounds=400, seed=4)
