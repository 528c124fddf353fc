"""What of an image file makes its picture: this is all that the decoder gets of a file from outside.

Pillow decodes, and takes a file as it comes: 15 million empty segments before a JPEG's first scan (60 MB)
cost it 18 s and 2 GB, an EXIF block of 64 kB whose entries all lie at the same place 290 MB (Pillow 12), four
million empty PNG chunks 3 s. So what is no part of the picture is left out first: texts, profiles,
thumbnails, other frames. What remains is bounded by the size that it states.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from getgan.errors import DataError

KINDS = "PNG, JPEG, BMP or TIFF"
MAX_CHUNKS = 1 << 16  # of a PNG; encoders write 8 kB at a time or more
MAX_SEGMENTS = 1000  # of a JPEG before its first scan; a colour profile takes some tens
MAX_SCANS = 50  # a progressive JPEG has ten; on 25 megapixels 50 take a second
MAX_RLE = 1 << 21  # Pillow decodes a BMP's run lengths in Python: 2 MB take a second
MAX_STRIPS = 1 << 16  # of a TIFF, or tiles
MAX_PART = 100_000_000  # bytes of a TIFF's strip or tile, which is decoded whole

_EXIF_ORIENTATION = 274
# Width, height, compression, meaning of zero, order of bits, channels, planes and predictor; then bits,
# palette, extra channels, kind of number. Strips: places, rows, sizes. Tiles: width, height, places, sizes.
_TIFF_TAGS = (256, 257, 259, 262, 266, 277, 284, 317, 258, 320, 338, 339)
_ONE_VALUE = (*_TIFF_TAGS[:8], 278, 322, 323)
_STRIPS = (273, 278, 279)
_TILES = (322, 323, 324, 325)
_TIFF_COMPRESSIONS = {1: "none", 5: "LZW", 8: "Deflate", 32946: "Deflate", 32773: "PackBits"}
_INTEGERS = {1: "B", 3: "H", 4: "I"}  # a TIFF's unsigned ones, by type


@dataclass(frozen=True)
class Container:
    """An image file without what its picture does not need."""

    kind: str
    data: bytes
    orientation: int = 1  # as EXIF counts: 1 is upright


def container(data: bytes) -> Container:
    """DataError for what is no image, is cut off, fails its checksums or was made to exhaust the decoder."""
    if not data:
        raise DataError("found an empty file; wanted an image: copy it again")
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png(data)
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data.startswith(b"BM"):
            return _bmp(data)
        if data[:4] in (b"II*\0", b"MM\0*"):
            return _tiff(data)
    except struct.error:
        raise DataError("image file is cut off in its header; copy it again") from None
    raise DataError(f"is no image that getgan reads; wanted {KINDS}")


def _png(data: bytes) -> Container:
    view = memoryview(data)
    kept, orientation, place = [view[:8]], 1, 8
    for _ in range(MAX_CHUNKS):
        length, name = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if end > len(data):
            raise DataError("PNG file is cut off; copy it again")
        if name in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
            if zlib.crc32(view[place + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
                raise DataError("PNG file is damaged: a checksum is wrong; copy it again")
            kept.append(view[place:end])
        elif name == b"eXIf":
            orientation = _exif_orientation(data[place + 8 : end - 4])
        elif not name[0] & 0x20:
            raise DataError("PNG file is damaged: a part has an unknown name; copy it again")
        if name == b"IEND":
            return Container("PNG", b"".join(kept), orientation)
        place = end
    raise DataError(f"found more than {MAX_CHUNKS:,} parts in a PNG file; save it again with another program")


def _jpeg(data: bytes) -> Container:
    view = memoryview(data)
    kept, orientation, place = [view[:2]], 1, 2
    for _ in range(MAX_SEGMENTS):
        first, marker = struct.unpack_from(">BB", data, place)
        if first != 0xFF:
            raise DataError("JPEG file is cut off or damaged; copy it again")
        if marker == 0xFF:  # fills up
            place += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # have no length
            place += 2
            continue
        if marker == 0xDA:
            # Inside a scan a byte 0xff is followed by 0, so that this is the end and nothing else.
            end = data.find(b"\xff\xd9", place) + 2
            if end < 2:
                raise DataError("JPEG file is cut off; copy it again")
            if data.count(b"\xff\xda", place, end) > MAX_SCANS:
                raise DataError(f"found more than {MAX_SCANS} scans in a JPEG file; save it again as PNG")
            return Container("JPEG", b"".join((*kept, view[place:end])), orientation)
        (length,) = struct.unpack_from(">H", data, place + 2)
        end = place + 2 + length
        if 0xC3 <= marker <= 0xCF and marker != 0xC4:  # arithmetic coding hides much work in a few bytes
            raise DataError("found a JPEG file of an unusual kind; save it again as PNG")
        # Tables, frames, and the two application segments that say what the colours are.
        if 0xC0 <= marker <= 0xDF or marker in (0xE0, 0xEE):
            kept.append(view[place:end])
        elif marker == 0xE1 and data.startswith(b"Exif\0\0", place + 4):
            orientation = _exif_orientation(data[place + 10 : end])
        place = end
    raise DataError(f"found more than {MAX_SEGMENTS:,} parts in a JPEG file's header; save it again as PNG")


def _bmp(data: bytes) -> Container:
    header, compression = struct.unpack_from("<I12xI", data, 14)
    if header > 12 and compression in (1, 2) and len(data) > MAX_RLE:
        raise DataError(f"found {len(data):,} bytes of run lengths in a BMP file; save it again as PNG")
    return Container("BMP", data)


def _tiff(data: bytes) -> Container:
    """With a new directory at the end, in which all readers find the same: nothing twice, one picture."""
    order = "<" if data.startswith(b"II") else ">"
    found = _directory(data, order, struct.unpack_from(order + "I", data, 4)[0])
    tags = _TIFF_TAGS + (_TILES if 324 in found else _STRIPS)
    entries = {tag: entry for tag, entry in sorted(found.items()) if tag in tags}
    values = {tag: _values(data, order, entry) for tag, entry in entries.items()}
    # Values that lie upon each other may be longer together than the file; Pillow warns of that on stderr.
    total = sum(len(values[tag]) * struct.calcsize(_INTEGERS[_kind(order, entries[tag])]) for tag in values)
    if total > len(data) or any(len(values[tag]) != 1 for tag in _ONE_VALUE if tag in values):
        raise DataError("TIFF file is damaged; copy it again")
    _check_tiff({tag: value[0] for tag, value in values.items() if value}, values)
    gap = bytes(len(data) % 2)
    directory = struct.pack(order + "H", len(entries)) + b"".join(entries.values()) + bytes(4)
    start = struct.pack(order + "I", len(data) + len(gap))
    rebuilt = b"".join((data[:4], start, memoryview(data)[8:], gap, directory))
    return Container("TIFF", rebuilt, _orientation(data, order, found))


def _check_tiff(first: dict[int, int], values: dict[int, tuple[int, ...]]) -> None:
    """By tag: the first value, and all of them."""
    if not {256, 257} <= first.keys():
        raise DataError("TIFF file states no size; convert it to PNG")
    width, height = first[256], first[257]
    if first.get(259, 1) not in _TIFF_COMPRESSIONS:
        known = ", ".join(dict.fromkeys(_TIFF_COMPRESSIONS.values()))
        raise DataError(f"found another compression in a TIFF file than {known}; convert it to PNG")
    # These Pillow decodes wrongly.
    if first.get(258, 1) > 8 and (first.get(284, 1) == 2 or first.get(262) == 0):
        raise DataError(
            "found a 16-bit TIFF file with each colour apart, or white as zero; convert it to PNG"
        )
    tiled = 324 in values
    across, down = first.get(322 if tiled else 256, 0), first.get(323 if tiled else 278, height)
    if not tiled:
        down = min(down, height)
    channels = first.get(277, 1)
    part = across * down * channels * max(values.get(258, (1,)), default=1) // 8
    if not across or not down or not 1 <= channels <= 4 or part > MAX_PART:
        raise DataError("TIFF file is damaged or cut into too large parts; convert it to PNG")
    planes = channels if first.get(284, 1) == 2 else 1
    wanted = -(-width // across) * -(-height // down) * planes
    if not wanted <= len(values.get(324 if tiled else 273, ())) <= MAX_STRIPS:
        raise DataError("TIFF file is cut off, damaged or cut into too many parts; convert it to PNG")


def _directory(data: bytes, order: str, start: int) -> dict[int, bytes]:
    """The entries of 12 bytes of a TIFF directory, by tag."""
    (count,) = struct.unpack_from(order + "H", data, start)
    found: dict[int, bytes] = {}
    for place in range(start + 2, start + 2 + 12 * count, 12):
        (tag,) = struct.unpack_from(order + "H", data, place)
        struct.unpack_from("12x", data, place)
        found.setdefault(tag, data[place : place + 12])
    return found


def _kind(order: str, entry: bytes) -> int:
    """The type of an entry's values."""
    kind: int = struct.unpack(order + "2xH8x", entry)[0]
    return kind


def _values(data: bytes, order: str, entry: bytes) -> tuple[int, ...]:
    kind, count, place = struct.unpack(order + "2xHII", entry)
    if kind not in _INTEGERS or count > MAX_STRIPS:
        raise DataError("TIFF file is damaged or cut into too many parts; convert it to PNG")
    layout = f"{order}{count}{_INTEGERS[kind]}"
    if struct.calcsize(layout) <= 4:
        return struct.unpack_from(layout, entry, 8)
    return struct.unpack_from(layout, data, place)


def _exif_orientation(body: bytes) -> int:
    """1 where EXIF, which many programs write wrongly, says nothing that can be understood."""
    order = {b"II": "<", b"MM": ">"}.get(body[:2])
    if order is None:
        return 1
    try:
        return _orientation(body, order, _directory(body, order, struct.unpack_from(order + "I", body, 4)[0]))
    except struct.error:
        return 1


def _orientation(data: bytes, order: str, entries: dict[int, bytes]) -> int:
    entry = entries.get(_EXIF_ORIENTATION)
    kind, count, value = struct.unpack(order + "2xHIH2x", entry) if entry else (0, 0, 1)
    return value if (kind, count) == (3, 1) and 1 <= value <= 8 else 1
