"""DICOM files made by hand, byte by byte, with what no library would write."""

from __future__ import annotations

import struct
import zlib
from typing import Any

EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.50"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
JPEG_2000 = "1.2.840.10008.1.2.4.91"
RLE = "1.2.840.10008.1.2.5"
LONG = (b"OB", b"OW", b"SQ", b"UN")


def element(tag: int, vr: bytes, value: bytes, order: str = "<") -> bytes:
    value += b"\0" * (len(value) % 2)
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF) + vr
    return head + struct.pack(order + ("2xI" if vr in LONG else "H"), len(value)) + value


def meta(syntax: str) -> bytes:
    return bytes(128) + b"DICM" + element(0x00020010, b"UI", syntax.encode())


def image(
    height: int,
    width: int,
    channels: int = 1,
    meaning: bytes = b"MONOCHROME2",
    order: str = "<",
    frames: bytes = b"",
    bits: int = 8,
) -> bytes:
    """The elements that say how the pixels lie; `frames` is the text of NumberOfFrames."""

    def short(low: int, value: int) -> bytes:
        return element(0x00280000 + low, b"US", struct.pack(order + "H", value), order)

    found = short(0x2, channels) + element(0x00280004, b"CS", meaning, order)
    if channels == 3:
        found += short(0x6, 0)
    if frames:
        found += element(0x00280008, b"IS", frames, order)
    size = short(0x10, height) + short(0x11, width)
    return found + size + short(0x100, bits) + short(0x101, bits) + short(0x103, 0)


def pixels(data: bytes, vr: bytes = b"OB", order: str = "<") -> bytes:
    return element(0x7FE00010, vr, data, order)


def item(data: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(data) + len(data) % 2) + data + b"\0" * (len(data) % 2)


def fragments(*data: bytes) -> bytes:
    """Compressed pixels, without a table of offsets."""
    head = struct.pack("<HH2s2xI", 0x7FE0, 0x10, b"OB", 0xFFFFFFFF)
    return head + item(b"") + b"".join(map(item, data)) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def deflated(start: bytes, zeros: int) -> bytes:
    """`start` and so many zeros."""
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    parts: list[Any] = [packer.compress(start)]
    parts += [packer.compress(bytes(min(1 << 24, zeros - at))) for at in range(0, zeros, 1 << 24)]
    return b"".join((*parts, packer.flush()))
