"""Image files made by hand: chunks, segments and directories that no encoder would write."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import cv2
from numpy.typing import NDArray
from PIL import Image

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
Value = tuple[int, int, bytes]  # type, count, value
Entry = tuple[int, int, int, bytes]  # tag, and that


def encoded(array: NDArray[Any], suffix: str = ".png") -> bytes:
    """By OpenCV, from BGR."""
    done, data = cv2.imencode(suffix, array)
    assert done
    return data.tobytes()


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """By Pillow."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def ihdr(width: int, height: int, depth: int = 8, kind: int = 2) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))


def zeros(count: int) -> bytes:
    """What inflates to so many zeros."""
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(min(1 << 24, count - at))) for at in range(0, count, 1 << 24)]
    return b"".join((*parts, packer.flush()))


def png(width: int, height: int, depth: int = 8, kind: int = 2, *extra: bytes) -> bytes:
    """A black PNG; `extra` chunks go before the picture's."""
    row = 1 + (width * depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind] + 7) // 8
    idat = chunk(b"IDAT", zeros(row * height))
    return PNG_MAGIC + ihdr(width, height, depth, kind) + b"".join(extra) + idat + chunk(b"IEND", b"")


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def ifd(entries: list[Entry], start: int, order: str = "<", following: int = 0) -> bytes:
    """A TIFF directory for the place `start`, with the values that do not fit into it behind it."""
    end = start + 2 + 12 * len(entries) + 4
    table, values = struct.pack(order + "H", len(entries)), b""
    for tag, kind, count, value in entries:
        table += struct.pack(order + "HHI", tag, kind, count)
        if len(value) <= 4:
            table += value.ljust(4, b"\0")
        else:
            table += struct.pack(order + "I", end + len(values))
            values += value
    return table + struct.pack(order + "I", following) + values


def exif(orientation: int) -> bytes:
    """The body of an EXIF segment, which is a small TIFF."""
    return b"II*\0\x08\0\0\0" + ifd([(0x0112, 3, 1, struct.pack("<H", orientation))], 8)


def with_exif(jpeg: bytes, body: bytes) -> bytes:
    return jpeg[:2] + segment(0xE1, b"Exif\0\0" + body) + jpeg[2:]


def short(value: int, order: str = "<") -> Value:
    return 3, 1, struct.pack(order + "H", value)


def long(*values: int, order: str = "<") -> Value:
    return 4, len(values), struct.pack(f"{order}{len(values)}I", *values)


def tiff(
    width: int, height: int, strip: bytes, order: str = "<", /, **changed: tuple[int, int, bytes]
) -> bytes:
    """A grey TIFF of one strip; `changed` replaces or adds tags, and one of no values leaves it out."""
    tags = {256: long(width, order=order), 257: long(height, order=order), 258: short(8, order)}
    tags |= {tag: short(1, order) for tag in (259, 262, 277)}
    tags |= {273: long(8, order=order), 278: long(height, order=order), 279: long(len(strip), order=order)}
    tags |= {int(name[1:]): value for name, value in changed.items()}
    entries = [(tag, *value) for tag, value in sorted(tags.items()) if value[1]]
    start = 8 + len(strip)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "I", start) + strip + ifd(entries, start, order)
