"""Text inside a PNG file's bytes: the iTXt chunks of the PNG specification (ISO/IEC 15948, 11.3.4.5)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_AFTER_HEADER = len(SIGNATURE) + 25  # IHDR is the first chunk, and has 13 bytes


def add_texts(data: bytes, texts: dict[str, str]) -> bytes:
    """The file with one iTXt chunk for each keyword (Latin-1, 79 letters at most), behind its header."""
    chunks = b"".join(_chunk(keyword, text) for keyword, text in texts.items())
    return data[:_AFTER_HEADER] + chunks + data[_AFTER_HEADER:]


def take_text(data: bytes, keyword: str) -> tuple[str, bytes] | None:
    """The text of the only iTXt chunk with this keyword, and the file without that chunk.

    None if there is none or more than one, if its checksum is wrong, or if the data is not one PNG from its
    first byte to its last.
    """
    head = keyword.encode("latin-1") + b"\0"
    places = [
        (start, end)
        for start, end in _chunks(data)
        if data.startswith(b"iTXt" + head, start + 4) and end - start >= 12 + len(head)
    ]
    if len(places) != 1:
        return None
    ((start, end),) = places
    body = data[start + 8 : end - 4]
    (checksum,) = struct.unpack_from(">I", data, end - 4)
    # Not compressed (two zeros), no language, no translated keyword: as add_texts writes it.
    plain = head + b"\0\0\0\0"
    if not body.startswith(plain) or checksum != zlib.crc32(data[start + 4 : end - 4]):
        return None
    return body[len(plain) :].decode("utf-8", errors="replace"), data[:start] + data[end:]


def _chunk(keyword: str, text: str) -> bytes:
    body = b"iTXt" + keyword.encode("latin-1") + b"\0\0\0\0\0" + text.encode()
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def _chunks(data: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of each chunk; none at all if the file is cut off or goes on behind its end."""
    places: list[tuple[int, int]] = []
    place, kind = len(SIGNATURE), b""
    while data.startswith(SIGNATURE) and place + 12 <= len(data) and kind != b"IEND":
        (length,) = struct.unpack_from(">I", data, place)
        kind, end = data[place + 4 : place + 8], place + 12 + length
        places.append((place, end))
        place = end
    return iter(places if kind == b"IEND" and place == len(data) else [])
