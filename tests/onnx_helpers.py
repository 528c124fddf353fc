"""ONNX graphs as bytes without the onnx package, so that the runtime's tests need none.

Field numbers are those of onnx.proto3 (ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOAT, UINT8, INT64, STRING, BOOL, FLOAT16 = 1, 2, 7, 8, 9, 10
KINDS = {"float32": FLOAT, "int64": INT64, "bool": BOOL, "float16": FLOAT16}
IR_VERSION = 8
OPSET = 18
PICTURE = ("batch", 3, "h", "w")

Attribute = int | str | list[int] | bytes  # bytes: a graph
Sides = Sequence[int | str]
Typed = tuple[Sides, int]


@dataclass
class GraphWriter:
    """Nodes and constants in the order of their addition; a node carries its output's name."""

    data: bytes = b""

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """An initializer."""
        tensor = b"".join(_integer(1, side) for side in value.shape) + _integer(2, KINDS[str(value.dtype)])
        raw = value.astype(value.dtype.newbyteorder("<")).tobytes()
        self.data += _bytes(5, tensor + _bytes(8, name.encode()) + _bytes(9, raw))
        return name

    def add(self, op: str, inputs: Sequence[str], output: str, **attributes: Attribute) -> str:
        """A node with one output."""
        node = b"".join(_bytes(1, name.encode()) for name in inputs)
        node += _bytes(2, output.encode()) + _bytes(3, output.encode()) + _bytes(4, op.encode())
        node += b"".join(_bytes(5, _attribute(name, value)) for name, value in attributes.items())
        self.data += _bytes(1, node)
        return output

    def model(
        self,
        inputs: Mapping[str, Sides],
        outputs: Mapping[str, Sides],
        kind: int = FLOAT,
        kinds: Mapping[str, int] | None = None,
    ) -> bytes:
        """The whole file; every input is float32, and every output of `kind`, but for those in `kinds`."""
        of = kinds or {}
        graph = self.data + _bytes(2, b"test")
        for name, sides in inputs.items():
            graph += _bytes(11, _value(name, sides, of.get(name, FLOAT)))
        for name, sides in outputs.items():
            graph += _bytes(12, _value(name, sides, of.get(name, kind)))
        return _integer(1, IR_VERSION) + _bytes(7, graph) + _bytes(8, _integer(2, OPSET))

    def body(self, inputs: Mapping[str, Typed], outputs: Mapping[str, Typed]) -> bytes:
        """A graph inside a node."""
        values = [_bytes(11, _value(name, *typed)) for name, typed in inputs.items()]
        values += [_bytes(12, _value(name, *typed)) for name, typed in outputs.items()]
        return self.data + _bytes(2, b"body") + b"".join(values)


def endless(*, unused: bool = False) -> bytes:
    """A Loop whose condition stays true; unused: no output needs it."""
    body = GraphWriter()
    body.add("Identity", ["going"], "still")
    body.add("Mul", ["x", "x"], "next")
    graph = GraphWriter()
    graph.constant("yes", np.array(True))
    once = body.body(
        {"turn": ((), INT64), "going": ((), BOOL), "x": (PICTURE, FLOAT)},
        {"still": ((), BOOL), "next": (PICTURE, FLOAT)},
    )
    graph.add("Loop", ["", "yes", "image"], "spare" if unused else "face", body=once)
    if unused:
        graph.add("Identity", ["image"], "face")
    return graph.model({"image": PICTURE}, {"face": PICTURE})


def huge() -> bytes:
    """3.6 GB from one value."""
    graph = GraphWriter()
    graph.constant("sides", np.array([1, 1, 30000, 30000], np.int64))
    graph.constant("axes", np.array([1, 2, 3], np.int64))
    graph.add("ReduceMean", ["image", "axes"], "one", keepdims=1)
    graph.add("Expand", ["one", "sides"], "large")
    graph.add("ReduceMean", ["large", "axes"], "small", keepdims=1)
    graph.add("Add", ["image", "small"], "face")
    return graph.model({"image": PICTURE}, {"face": PICTURE})


def _attribute(name: str, value: Attribute) -> bytes:
    data = _bytes(1, name.encode())
    if isinstance(value, int):
        return data + _integer(3, value) + _integer(20, 2)  # INT
    if isinstance(value, str):
        return data + _bytes(4, value.encode()) + _integer(20, 3)  # STRING
    if isinstance(value, bytes):
        return data + _bytes(6, value) + _integer(20, 5)  # GRAPH
    return data + b"".join(_integer(8, item) for item in value) + _integer(20, 7)  # INTS


def _value(name: str, sides: Sides, kind: int) -> bytes:
    shape = b"".join(
        _bytes(1, _bytes(2, side.encode()) if isinstance(side, str) else _integer(1, side)) for side in sides
    )
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, _integer(1, kind) + _bytes(2, shape)))


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
