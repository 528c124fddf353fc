"""A DICOM file's header and the places of its frames, read within limits: its lengths and counts may lie."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from getgan.clinic.origin import KEPT
from getgan.errors import DataError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.uid import UID

MAX_INFLATED = 100_000_000  # of a deflated file; it is held twice for a moment
MAX_READS = 400_000  # of the header; pydicom takes some four for an element: two seconds
MAX_VALUE = 1 << 18  # bytes of a value that we want; a palette of 65,536 entries has half
MAX_FRAGMENTS = 100_000
DEFLATED = "1.2.840.10008.1.2.1.99"

# Rows, columns and what else tells how the pixels lie; palettes; regions; the rate of a clip.
_WANTED = [
    *(0x00280000 + low for low in (0x2, 0x4, 0x6, 0x8, 0x10, 0x11, 0x100, 0x101, 0x102, 0x103)),
    *(0x00281100 + low for low in (0x01, 0x02, 0x03)),
    *(0x00281200 + low for low in (0x01, 0x02, 0x03, 0x21, 0x22, 0x23)),
    *(0x00186011, 0x00181063, 0x00180040, 0x00082144),
]
_PIXEL_DATA = 0x7FE00010
_ITEM, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True)
class DicomFile:
    """The elements that we want, and where the pixels lie in `data`, inflated if it was deflated."""

    data: bytes
    syntax: UID
    dataset: Dataset
    start: int
    length: int  # _UNDEFINED where fragments follow
    vr: str

    @property
    def little_endian(self) -> bool:
        """Of the dataset and of uncompressed pixels."""
        return bool(self.syntax.is_little_endian)


class _Header(io.BytesIO):
    """Counts what is read of it: ten million empty elements fit into 80 MB, and take pydicom a minute."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > MAX_READS:
            raise DataError("found a header of more parts than any device writes; export it as PNG")
        if size is not None and size > MAX_VALUE:
            raise DataError("found a larger value in the header than any device writes; export it as PNG")
        return super().read(size)


def read_file(data: bytes) -> DicomFile:
    """Raises DataError, and for damage whatever pydicom raises: its messages may quote the file."""
    from pydicom.filereader import read_dataset, read_preamble
    from pydicom.tag import Tag
    from pydicom.uid import UID

    header = _Header(data)
    read_preamble(header, force=False)
    meta = read_dataset(header, False, True, stop_when=lambda tag, *_: tag >> 16 != 2)
    syntax = UID(str(meta["TransferSyntaxUID"].value))
    place = header.tell()
    if syntax == DEFLATED:
        data, place = _inflated(memoryview(data)[place:]), 0
        header = _Header(data)
    elif syntax.is_private:
        raise DataError("is compressed as a video or in a private way; export it as PNG or AVI")
    little = bool(syntax.is_little_endian)
    dataset = read_dataset(
        header,
        bool(syntax.is_implicit_VR),
        little,
        stop_when=lambda tag, *_: tag >= _PIXEL_DATA,
        specific_tags=[*_WANTED, *map(Tag, KEPT)],
    )
    place, order = header.tell(), "<" if little else ">"
    if len(data) < place + 8 or _tag(data, place, order) != _PIXEL_DATA:
        raise DataError("holds no picture, or is cut off before it; wanted an image or a clip")
    vr = data[place + 4 : place + 6].decode("latin-1")
    # Some leave the kind of value out where the syntax wants it, and pydicom reads them.
    if syntax.is_implicit_VR or not data[place + 4 : place + 6].isalpha():
        (length,), vr, start = struct.unpack_from(order + "I", data, place + 4), "OW", place + 8
    else:
        (length,), start = struct.unpack_from(order + "I", data, place + 8), place + 12
    if length != _UNDEFINED and start + length > len(data):
        raise DataError("is cut off; copy it again")
    return DicomFile(data, syntax, dataset, start, length, vr)


def frame_places(file: DicomFile, count: int) -> list[list[tuple[int, int]]]:
    """Of each of `count` compressed frames the (start, length) of its fragments."""
    if file.length != _UNDEFINED:
        raise DataError("is damaged: its compressed frames are not apart; copy it again")
    fragments = _fragments(file)
    offsets = _offset_table(file, *fragments[0])
    fragments = fragments[1:]
    if count == 1:
        return [fragments]
    if len(fragments) == count:
        return [[fragment] for fragment in fragments]
    if len(offsets) == count:
        first = fragments[0][0]
        begins = {first + offset for offset in offsets}
    else:  # a JPEG or JPEG 2000 picture begins with its own mark
        begins = {at for at, _ in fragments if file.data[at : at + 2] in (b"\xff\xd8", b"\xff\x4f")}
    frames: list[list[tuple[int, int]]] = []
    for at, length in fragments:
        if at in begins or not frames:
            frames.append([])
        frames[-1].append((at, length))
    if len(frames) != count:
        raise DataError(f"found {len(frames)} compressed frames; wanted {count}, as it states: copy it again")
    return frames


def _fragments(file: DicomFile) -> list[tuple[int, int]]:
    place, found = file.start, list[tuple[int, int]]()
    while True:
        if place + 8 > len(file.data):
            raise DataError("is cut off; copy it again")
        tag = _tag(file.data, place, "<")
        (length,) = struct.unpack_from("<I", file.data, place + 4)
        if tag == _SEQUENCE_END:
            break
        if tag != _ITEM or place + 8 + length > len(file.data):
            raise DataError("is cut off or damaged; copy it again")
        found.append((place + 8, length))
        if len(found) > MAX_FRAGMENTS:
            raise DataError(f"found more than {MAX_FRAGMENTS:,} fragments of pixels; export it as AVI")
        place += 8 + length
    if len(found) < 2:  # the first is the table of offsets
        raise DataError("holds no picture; wanted an image or a clip")
    return found


def _offset_table(file: DicomFile, start: int, length: int) -> tuple[int, ...]:
    return struct.unpack_from(f"<{min(length, 4 * MAX_FRAGMENTS) // 4}I", file.data, start)


def _tag(data: bytes, place: int, order: str) -> int:
    group, element = struct.unpack_from(order + "HH", data, place)
    return int(group << 16 | element)


def _inflated(packed: memoryview) -> bytes:
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    data = unpacker.decompress(packed, MAX_INFLATED)
    if unpacker.unconsumed_tail:
        raise DataError(f"found more than {MAX_INFLATED:,} bytes in a deflated file; export it as PNG")
    if not unpacker.eof:
        raise DataError("is cut off; copy it again")
    return data
