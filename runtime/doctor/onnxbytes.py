"""A few ONNX nodes as a file's bytes, without the onnx package: for a graph that a machine is tried with.

Field numbers are those of onnx.proto3 (ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IR_VERSION = 8  # read by every ONNX Runtime >= 1.10 and by OpenVINO
OPSET = 17
FLOAT, FLOAT16 = 1, 10


@dataclass(frozen=True)
class Node:
    """One operation with one output; attributes are an integer or integers."""

    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, int | list[int]]


def onnx_model(
    nodes: Sequence[Node],
    constants: Mapping[str, NDArray[np.float32] | NDArray[np.float16]],
    source: tuple[str, tuple[int, ...]],
    result: tuple[str, tuple[int, ...]],
) -> bytes:
    """A ModelProto with one float32 input and one float32 output, each (name, shape)."""
    graph = b"".join(_bytes(1, _node(node)) for node in nodes)
    graph += _bytes(2, b"probe")
    graph += b"".join(_bytes(5, _tensor(name, array)) for name, array in constants.items())
    graph += _bytes(11, _value(*source)) + _bytes(12, _value(*result))
    return _integer(1, IR_VERSION) + _bytes(7, graph) + _bytes(8, _integer(2, OPSET))


def _node(node: Node) -> bytes:
    data = b"".join(_bytes(1, name.encode()) for name in node.inputs) + _bytes(2, node.output.encode())
    data += _bytes(3, node.output.encode()) + _bytes(4, node.op.encode())
    for name, value in node.attributes.items():
        if isinstance(value, int):
            attribute = _integer(3, value) + _integer(20, 2)  # INT
        else:
            attribute = b"".join(_integer(8, item) for item in value) + _integer(20, 7)  # INTS
        data += _bytes(5, _bytes(1, name.encode()) + attribute)
    return data


def _tensor(name: str, array: NDArray[np.float32] | NDArray[np.float16]) -> bytes:
    kind = FLOAT16 if array.dtype == np.float16 else FLOAT
    data = b"".join(_integer(1, side) for side in array.shape) + _integer(2, kind)
    return data + _bytes(8, name.encode()) + _bytes(9, array.astype(array.dtype.newbyteorder("<")).tobytes())


def _value(name: str, shape: tuple[int, ...]) -> bytes:
    sides = b"".join(_bytes(1, _integer(1, side)) for side in shape)
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, _integer(1, FLOAT) + _bytes(2, sides)))


def _integer(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 127:
        data.append(value & 127 | 128)
        value >>= 7
    data.append(value)
    return bytes(data)
