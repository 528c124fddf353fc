"""What an ONNX file holds and what its export would need, without running it: for `getgan inspect`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec

from getgan.errors import GetganError
from getgan.export.fp16 import HALF, LAST, NEUTRAL, SHAPES, STATISTICS
from getgan.export.onnxfile import OnnxFile, read_onnx
from getgan.export.onnxports import NOTHING_STATED, Ports, ports_of
from getgan.export.trace import OPSET
from getgan.printing import json_text, one_line

# What export takes out or computes before FP16 is made.
FOLDED_AWAY = frozenset(("Constant", "Identity", "Dropout", "Upsample"))


class OnnxFacts(msgspec.Struct, frozen=True):
    """A graph in figures; `needs`: what export has to be told or will do; `fault`: why it cannot be."""

    path: str
    sha256: str
    bytes: int  # with its external data
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: int
    operators: dict[str, int]
    needs: tuple[str, ...]
    fault: str = ""

    def text(self) -> str:
        """For a terminal."""
        rows = [
            ("ONNX graph", self.path),
            ("sha256", self.sha256),
            ("opset", f"{self.opset}"),
            *(("input", each) for each in self.inputs),
            *(("output", each) for each in self.outputs),
            ("parameters", f"{self.parameters:,} in {sum(self.operators.values())} operations"),
            ("operators", ", ".join(f"{count} {name}" for name, count in self.operators.items())),
            *(("export", each) for each in self.needs),
        ]
        if self.fault:
            rows.append(("no bundle", self.fault))
        return "\n".join(f"{one_line(name):13s} {one_line(value)}" for name, value in rows)

    def to_json(self) -> str:
        """For a machine."""
        return json_text(self)


def inspect_onnx(path: Path) -> OnnxFacts:
    """Read and check; a GetganError as `read_onnx`."""
    file = read_onnx(path)
    needs, fault = ["wants --range=-1,1 or 0,1 or 0,255, which no graph tells"], ""
    try:
        needs += _needs(file, ports_of(file, NOTHING_STATED))
    except GetganError as error:
        fault = str(error)
    operators = Counter(node.op_type for node in file.proto.graph.node)
    return OnnxFacts(
        path=str(path),
        sha256=file.sha256,
        bytes=file.proto.ByteSize(),
        opset=file.opset,
        inputs=tuple(map(str, file.inputs)),
        outputs=tuple(map(str, file.outputs)),
        parameters=file.parameters,
        operators=dict(operators.most_common()),
        needs=tuple(needs),
        fault=fault,
    )


def _needs(file: OnnxFile, ports: Ports) -> list[str]:
    found = [f"takes {ports.size}x{ports.size} only" if ports.size else "finds sizes by trying, or by flags"]
    if file.opset != OPSET:
        found.append(f"converts opset {file.opset} to {OPSET}")
    if ports.rows_in or ports.rows_out:
        found.append("turns NHWC into NCHW")
    if ports.one:
        found.append("makes the batch of 1 dynamic")
    if ports.dropped:
        found.append(f"drops the outputs {', '.join(ports.dropped[:3])}")
    known = HALF | STATISTICS | NEUTRAL | SHAPES | LAST | FOLDED_AWAY
    if odd := sorted({node.op_type for node in file.proto.graph.node} - known):
        found.append(f"may refuse FP16, which knows no {', '.join(odd)}")
    return found
