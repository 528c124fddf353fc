"""Image files in and out: uint8 (H, W, 3) RGB in memory; PNG, JPEG, BMP and TIFF on disk."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from getgan.errors import DataError
from getgan.files import write_bytes_atomic

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
KINDS = "PNG, JPEG, BMP or TIFF"
MAX_PIXELS = 64_000_000  # far above any ultrasound frame; what is larger is a mistake or an attack
MAX_BYTES = 1 << 29  # 64 megapixels of 16-bit RGB, uncompressed, and its headers


def read_image(path: Path) -> NDArray[np.uint8]:
    """The picture as uint8 (H, W, 3) RGB, upright (EXIF orientation applied).

    Grey becomes three equal channels, alpha is dropped, 16 bit is scaled to 8. DataError for what is
    missing, empty, damaged, cut off, no image, or above MAX_PIXELS (seen in the header, before decoding).
    """
    path = Path(path)
    try:
        return decode_file(path)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def decode_file(path: Path) -> NDArray[np.uint8]:
    """As `read_image`, for callers that say which file it was: the DataError does not."""
    return image_from_bytes(read_file(path))


def image_from_bytes(data: bytes) -> NDArray[np.uint8]:
    """The picture in an image file's bytes, as `read_image`."""
    import cv2

    if not data:
        raise DataError("found an empty file; wanted an image: copy it again")
    height, width = size_from_header(data)
    _check_size(height, width)
    # IMREAD_ANYDEPTH keeps 16 bit, so that it is rounded here and not cut off; IMREAD_COLOR applies EXIF.
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise DataError(f"cannot be decoded ({error.err}); copy it again") from error
    if decoded is None:
        raise DataError("is damaged and cannot be decoded; copy it again")
    _check_size(*decoded.shape[:2])
    if decoded.dtype == np.uint16:
        decoded = (decoded.astype(np.uint32) + 128) // 257  # 65535 -> 255, to the nearest level
    elif decoded.dtype != np.uint8:
        raise DataError(f"found {decoded.dtype} pixels; wanted 8 or 16 bit unsigned: convert it first")
    return np.ascontiguousarray(decoded[:, :, ::-1], np.uint8)  # OpenCV decodes to BGR


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write uint8 (H, W, 3) RGB as the suffix says, atomically; JPEG at quality 95."""
    path = Path(path)
    write_bytes_atomic(path, bytes_from_image(image, path.suffix))


def bytes_from_image(image: NDArray[np.uint8], suffix: str = ".png") -> bytes:
    """An image file's bytes from uint8 (H, W, 3) RGB."""
    import cv2

    if suffix.lower() not in SUFFIXES:
        raise DataError(f"cannot write an image as {suffix!r}; wanted one of {', '.join(SUFFIXES)}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"image is {image.dtype} {image.shape}; wanted uint8 (H, W, 3)")
    done, data = cv2.imencode(suffix.lower(), np.ascontiguousarray(image[:, :, ::-1]))
    if not done:
        raise DataError(f"OpenCV cannot write {suffix} files here; use .png")
    return data.tobytes()


def list_images(folder: Path, *, recursive: bool = False) -> list[Path]:
    """The image files of a folder by suffix, hidden ones left out, in natural order (2.png before 10.png)."""
    folder = Path(folder)
    if not folder.is_dir():
        instead = "no folder" if folder.exists() else "missing"
        raise DataError(f"{folder} is {instead}; wanted a folder of images")
    found = folder.rglob("*") if recursive else folder.iterdir()
    images = [path for path in found if path.suffix.lower() in SUFFIXES and path.is_file()]
    visible = [p for p in images if not any(part.startswith(".") for part in p.relative_to(folder).parts)]
    return sorted(visible, key=lambda path: natural_key(path.relative_to(folder)))


def natural_key(path: Path) -> tuple[list[list[str | int]], str]:
    """Sorts paths as people do: 2.png before 10.png, a beside A."""
    parts = [[int(t) if t.isdecimal() else t for t in re.split(r"(\d+)", p.casefold())] for p in path.parts]
    return parts, str(path)


def size_from_header(data: bytes) -> tuple[int, int]:
    """Height and width that an image file states, nothing decoded; DataError if it is none or is cut off."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            if data.find(b"IEND", 24) < 0:
                raise DataError("PNG file is cut off; copy it again")
            width, height = struct.unpack_from(">II", data, 16)
        elif data.startswith(b"\xff\xd8"):
            height, width = _jpeg_size(data)
        elif data.startswith(b"BM"):
            height, width = _bmp_size(data)
        elif data[:4] in (b"II*\0", b"MM\0*"):
            height, width = _tiff_size(data)
        else:
            raise DataError(f"is no image that getgan reads; wanted {KINDS}")
    except struct.error:
        raise DataError("image file is cut off in its header; copy it again") from None
    return height, width


def read_file(path: Path) -> bytes:
    """An image file's bytes, at most MAX_BYTES; the DataError does not say which file it was."""
    try:
        if path.is_dir():
            raise DataError("is a folder; wanted an image file")
        if not path.exists():
            raise DataError("no such file; wanted an image")
        if not path.is_file():
            raise DataError("is no regular file; wanted an image file")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"found {size:,} bytes; wanted an image file of at most {MAX_BYTES:,}")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror}); check its permissions") from error


def _check_size(height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise DataError(f"found {width}x{height} pixels; wanted at least one")
    if height * width > MAX_PIXELS:
        raise DataError(f"found {width}x{height} pixels; wanted at most {MAX_PIXELS // 10**6} megapixels")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """From the first start-of-frame segment; the end-of-image marker must follow the scan."""
    place, size = 2, None
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            break
        marker = data[place + 1]
        # Fill bytes, and the markers that have no length.
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD7:
            place += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, place + 2)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, place + 5)
            size = (int(height), int(width))
        elif marker == 0xDA:
            # OpenCV fills what a cut file lacks with grey and says so on stderr only.
            if data.find(b"\xff\xd9", place) < 0 or size is None:
                raise DataError("JPEG file is cut off; copy it again")
            return size
        place += 2 + length
    raise DataError("JPEG file is cut off or damaged; copy it again")


def _bmp_size(data: bytes) -> tuple[int, int]:
    offset, header, width, height = struct.unpack_from("<IIii", data, 10)
    if header == 12:  # OS/2
        width, height = struct.unpack_from("<HH", data, 18)
        return int(height), int(width)
    bits, compression = struct.unpack_from("<HI", data, 28)
    if compression == 0 and width > 0 and len(data) < offset + (width * bits + 31) // 32 * 4 * abs(height):
        raise DataError("BMP file is cut off; copy it again")
    return abs(height), width  # a negative height means top row first


def _tiff_size(data: bytes) -> tuple[int, int]:
    """From the first image file directory: tag 256 is the width, 257 the height."""
    order = "<" if data.startswith(b"II") else ">"
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    found: dict[int, int] = {}
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        if tag in (256, 257):
            (found[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, entry + 8)
    if found.keys() != {256, 257}:
        raise DataError("TIFF file states no size; convert it to PNG")
    return found[257], found[256]
