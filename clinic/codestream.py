"""What a compressed DICOM frame states of itself: it may be 65,000x65,000 in a file of 40x40."""

from __future__ import annotations

import struct
from typing import Any

from getgan.errors import DataError

MAX_SEGMENTS = 1000
MAX_SCANS = 50
MAX_TILES = 4096  # of JPEG 2000
# JPEG baseline, extended, progressive, lossless; JPEG-LS. Arithmetic coding hides much work in a few bytes.
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC3, 0xF7)


def check_codestream(encoded: bytes, syntax: Any, options: dict[str, Any]) -> None:
    """DataError where the frame's size is not the file's, or where it was made to exhaust the decoder."""
    raw = options["rows"] * options["columns"] * options["samples_per_pixel"] * options["bits_allocated"] // 8
    if len(encoded) > raw + raw // 8 + (1 << 16):
        raise DataError("found a compressed frame that is larger than its pixels; export it as PNG")
    try:
        if encoded.startswith(b"\xff\xd8"):
            height, width = _jpeg_size(encoded, options["bits_stored"])
        elif (at := encoded.find(b"\xff\x4f\xff\x51")) >= 0 and "JPEG 2000" in syntax.name:
            height, width = _jpeg2000_size(encoded, at)
        elif syntax.name == "RLE Lossless":
            return
        else:
            raise DataError("is compressed in another way than it states; export it as PNG")
    except struct.error:
        raise DataError("is cut off or damaged in a compressed frame; copy it again") from None
    if (height, width) != (options["rows"], options["columns"]):
        raise DataError("found a compressed frame of another size than the file states; export it as PNG")


def _jpeg_size(encoded: bytes, bits: int) -> tuple[int, int]:
    place = 2
    for _ in range(MAX_SEGMENTS):
        first, marker = struct.unpack_from(">BB", encoded, place)
        if first != 0xFF or (0xC3 < marker <= 0xCF and marker != 0xC4) or marker == 0xDA:
            break
        if marker in _FRAMES:
            if encoded.count(b"\xff\xda") > MAX_SCANS:
                break
            depth, height, width = struct.unpack_from(">BHH", encoded, place + 4)
            if depth > 8 >= bits:
                raise DataError(f"found {depth}-bit JPEG in a file that states {bits} bit; export it as PNG")
            return int(height), int(width)
        (length,) = struct.unpack_from(">H", encoded, place + 2)
        place += 1 if marker == 0xFF else 2 + length
    raise DataError("is damaged in a compressed frame, or of an unusual kind; export it as PNG")


def _jpeg2000_size(encoded: bytes, at: int) -> tuple[int, int]:
    size = struct.unpack_from(">8IH", encoded, at + 8)
    right, bottom, left, top, tile_width, tile_height, _, _, channels = size
    height, width = bottom - top, right - left
    if not tile_width or not tile_height or channels > 4:
        raise DataError("is damaged in a compressed frame; copy it again")
    if -(-width // tile_width) * -(-height // tile_height) > MAX_TILES:
        raise DataError("found a compressed frame of too many tiles; export it as PNG")
    return height, width
