"""How many parts an ONNX file has, before it is parsed: 20 MB of empty nodes became 1.7 GB of memory."""

from __future__ import annotations

from onnx import ModelProto

from getgan.errors import CheckpointError

# A node has some 20: names, inputs, attributes and their parts. Each takes up to 160 bytes of memory.
MAX_PARTS = 500_000
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5  # protobuf's wire types
_INTEGERS = (1, 2, 3, 4, 7, 8)  # cpp_type of protobuf's descriptors: all but floats, texts and messages
_DAMAGED = "found a damaged file or no ONNX graph; copy or export it again"


def check_wire(data: bytes) -> None:
    """CheckpointError for more than MAX_PARTS, counted in all messages; numbers in raw bytes are one."""
    parts = 0
    left = [(0, len(data), ModelProto.DESCRIPTOR)]
    while left:
        place, end, kind = left.pop()
        while place < end:
            tag, place = _varint(data, place)
            parts += 1
            wire = tag & 7
            if wire == _VARINT:
                _, place = _varint(data, place)
            elif wire == _LENGTH:
                length, start = _varint(data, place)
                place = start + length
                field = kind.fields_by_number.get(tag >> 3)
                if field is not None and field.message_type is not None:
                    left.append((start, place, field.message_type))
                elif field is not None and field.cpp_type in _INTEGERS:
                    parts += length  # each byte may be a number of eight
            elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
                place += 8 if wire == _EIGHT_BYTES else 4
            else:
                raise CheckpointError(_DAMAGED)
            if parts > MAX_PARTS:
                raise CheckpointError(
                    f"found more than {MAX_PARTS:,} parts (nodes, names, small numbers); wanted a network, "
                    "with its weights as raw bytes: export it again"
                )
        if place != end:
            raise CheckpointError(_DAMAGED)


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """The number there, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            break
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise CheckpointError(_DAMAGED)
