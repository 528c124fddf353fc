"""A stranger's ONNX graph → one as our own exporter writes it: opset 18, NCHW, any batch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter
from onnx.reference import ReferenceEvaluator

from getgan.contract import Range
from getgan.errors import ExportError
from getgan.export.graph import INPUT, Array, OnnxModel, clean, model_from_proto
from getgan.export.grid import put_image_on_grid
from getgan.export.onnxfile import OnnxFile, nodes_for
from getgan.export.onnxports import Ports
from getgan.export.trace import OPSET
from getgan.printing import one_line

FACE = "face"
TO_ROWS, TO_PLANES = [0, 2, 3, 1], [0, 3, 1, 2]  # NCHW to NHWC, and back
IR_VERSION = 8  # of opset 18
# PyTorch's older exporter computes shapes and paddings by these; none of them makes much of little.
FOLDED = frozenset(
    (
        *("Add", "Sub", "Mul", "Div", "Floor", "Ceil", "Neg", "Cast", "Concat", "Reshape", "Slice"),
        *("Gather", "Squeeze", "Unsqueeze", "Transpose", "ConstantOfShape", "Sqrt", "Pow"),
    )
)
MAX_FOLDED = 256  # numbers going in, each
# Names that the house gives to nodes and values, or puts behind theirs.
_OURS = re.compile(
    r"(image|face|occlusion|error|extent|features|frames|guard)([._]|$)|.*\.(fp16|fp32|grid|grid_bias)$"
)
_PLAIN = re.compile(r"[\w./:@+-]{1,120}")


def prepared(
    file: OnnxFile, ports: Ports, value_range: Range, *, clip: bool
) -> tuple[OnnxModel, tuple[str, ...]]:
    """The graph that the gate judges, and what was done to the file's, in words.

    ExportError where an operator has no form in opset 18, or ONNX's checker refuses the result.
    """
    did: list[str] = []
    proto = onnx.ModelProto()
    proto.CopyFrom(file.proto)
    graph = proto.graph
    _keep(graph, ports)
    if ports.dropped:
        did.append(f"outputs dropped: {', '.join(one_line(name)[:80] for name in ports.dropped[:3])}")
    _fold(proto)
    if file.opset != OPSET:
        proto = _converted(proto, file.opset)
        graph = proto.graph
        _fold(proto)
        did.append(f"opset {file.opset} converted to {OPSET}")
    proto.ir_version = IR_VERSION
    _rename(graph, ports)
    if ports.rows_in or ports.rows_out:
        did.append("NHWC turned into NCHW")
    _turn(graph, ports)
    if ports.one:
        did.append("batch of 1 made dynamic")
    if clip:
        _clip(graph, value_range)
        did.append("answers clipped to the range")
    _retype(graph, ports)
    _name_nodes(graph)
    clean(proto, prefix="")
    put_image_on_grid(proto, value_range)
    return model_from_proto(proto, (FACE,), (), value_range), tuple(did)


def _keep(graph: onnx.GraphProto, ports: Ports) -> None:
    """The picture's way, and nothing beside it."""
    nodes = list(nodes_for(graph, ports.output.name))
    read = {name for node in nodes for name in node.input} | {ports.output.name}
    _replace(graph.node, nodes)
    _replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in read])
    _replace(graph.input, [value for value in graph.input if value.name == ports.input.name])
    _replace(graph.output, [value for value in graph.output if value.name == ports.output.name])
    del graph.value_info[:]


def _fold(proto: onnx.ModelProto) -> None:
    """Constants become weights; what follows from small ones is computed; what changes nothing goes."""
    graph = proto.graph
    known = {tensor.name: tensor for tensor in graph.initializer}
    same: dict[str, str] = {}  # value -> the one that it is
    ends = {value.name for value in graph.output}
    nodes = []
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
        if node.op_type == "Constant":
            known[node.output[0]] = _tensor(node)
        elif _passes_on(node) and node.output[0] not in ends:
            same[node.output[0]] = node.input[0]
        elif node.op_type in FOLDED and all(
            _size(known.get(name)) <= MAX_FOLDED for name in node.input if name
        ):
            if (value := _computed(proto, node, known)) is None:
                nodes.append(node)
            else:
                known[node.output[0]] = numpy_helper.from_array(value, node.output[0])
        else:
            nodes.append(node)
    read = {name for node in nodes for name in node.input}
    kept = [tensor for name, tensor in known.items() if name in read]
    for name, tensor in known.items():
        tensor.name = name
    _replace(graph.node, nodes)
    _replace(graph.initializer, kept)


def _passes_on(node: onnx.NodeProto) -> bool:
    """Identity, and dropout, which does nothing in inference."""
    return node.op_type == "Identity" or (
        node.op_type == "Dropout" and len(node.output) == 1 and len(node.input) < 3
    )


def _size(tensor: TensorProto | None) -> float:
    return float("inf") if tensor is None else float(np.prod(tensor.dims, dtype=np.float64))


def _tensor(node: onnx.NodeProto) -> TensorProto:
    """Of a Constant in any of its forms."""
    if len(node.attribute) != 1:
        raise ExportError(f"found a Constant with {len(node.attribute)} values; wanted one: export it again")
    (attribute,) = node.attribute
    if attribute.name == "value":
        found = TensorProto()
        found.CopyFrom(attribute.t)
        return found
    value = helper.get_attribute_value(attribute)
    kinds = {
        "value_float": np.float32,
        "value_floats": np.float32,
        "value_int": np.int64,
        "value_ints": np.int64,
    }
    if attribute.name not in kinds:
        raise ExportError(f"found a Constant of {one_line(attribute.name):.40}; wanted numbers")
    return numpy_helper.from_array(np.array(value, kinds[attribute.name]))


def _computed(proto: onnx.ModelProto, node: onnx.NodeProto, known: dict[str, TensorProto]) -> Array | None:
    """The node's one value; None where it is large, or ONNX's own reference cannot tell it."""
    reads = [numpy_helper.to_array(known[name]) if name else None for name in node.input]
    shape = reads[0] if node.op_type == "ConstantOfShape" else None
    if shape is not None and np.prod(shape, dtype=np.float64) > MAX_FOLDED:
        return None
    named = {name: value for name, value in zip(node.input, reads, strict=True) if name}
    single = helper.make_graph(
        [node],
        "one",
        [
            helper.make_tensor_value_info(name, known[name].data_type, list(known[name].dims))
            for name in named
        ],
        [onnx.ValueInfoProto(name=node.output[0])],
    )
    model = helper.make_model(single, opset_imports=proto.opset_import, ir_version=proto.ir_version)
    try:
        (found, *_) = list(ReferenceEvaluator(model).run(None, named))
    except Exception:  # noqa: BLE001  # a stranger's node may be wrong in any way; it stays, and the gate judges
        return None
    return np.asarray(found)


def _converted(proto: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    try:
        # IR 3 wanted every weight among the inputs, and the converter of that version still does.
        proto.ir_version = max(proto.ir_version, 4)
        return version_converter.convert_version(proto, OPSET)
    except Exception as error:  # the converter's are RuntimeErrors and its own
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rpartition("failed: ")[2]
        raise ExportError(
            f"found opset {opset}, which ONNX cannot convert to {OPSET} ({one_line(first):.200}); wanted the "
            f"network exported with opset_version={OPSET}"
        ) from error


def _rename(graph: onnx.GraphProto, ports: Ports) -> None:
    """The picture's two ends; and what is called like something of ours, or unprintably."""
    names = {ports.input.name: INPUT}
    values = [name for node in graph.node for name in (*node.input, *node.output) if name]
    for number, name in enumerate(dict.fromkeys(values)):
        if name not in names and (_OURS.fullmatch(name) or not _PLAIN.fullmatch(name)):
            names[name] = f"value_{number}"
    names[ports.output.name] = FACE
    taken = set(values) - names.keys()
    names = {old: f"{new}_" if new in taken else new for old, new in names.items()}
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for each in (*graph.initializer, *graph.input, *graph.output):
        each.name = names.get(each.name, each.name)


def _turn(graph: onnx.GraphProto, ports: Ports) -> None:
    """Axes at both ends to NCHW; two turns in a row are none, as TensorFlow's exporter begins with one."""
    if ports.rows_in:
        readers = [node for node in graph.node if INPUT in node.input]
        if all(_perm(node) == TO_PLANES for node in readers):
            for node in readers:
                graph.node.remove(node)
                _read_instead(graph.node, node.output[0], INPUT)
        else:
            _read_instead(graph.node, INPUT, "turned_in")
            graph.node.insert(
                0, helper.make_node("Transpose", [INPUT], ["turned_in"], "turned_in", perm=TO_ROWS)
            )
    if ports.rows_out:
        (last,) = (node for node in graph.node if FACE in node.output)
        if _perm(last) == TO_ROWS and not any(
            last.input[0] in node.input for node in graph.node if node is not last
        ):
            graph.node.remove(last)
            for node in graph.node:
                node.output[:] = [FACE if name == last.input[0] else name for name in node.output]
        else:
            _last_becomes(graph, "turned_out")
            graph.node.append(
                helper.make_node("Transpose", ["turned_out"], [FACE], "face_turned", perm=TO_PLANES)
            )


def _perm(node: onnx.NodeProto) -> list[int]:
    found = (
        [list(each.ints) for each in node.attribute if each.name == "perm"]
        if node.op_type == "Transpose"
        else []
    )
    return found[0] if found else []


def _clip(graph: onnx.GraphProto, value_range: Range) -> None:
    _last_becomes(graph, "unclipped")
    names = ("clip_low", "clip_high")
    for name, end in zip(names, value_range, strict=True):
        graph.initializer.append(numpy_helper.from_array(np.array(end, np.float32), name))
    graph.node.append(helper.make_node("Clip", ["unclipped", *names], [FACE], "face_clipped"))


def _last_becomes(graph: onnx.GraphProto, name: str) -> None:
    """Another node is to make the face."""
    for node in graph.node:
        node.output[:] = [name if each == FACE else each for each in node.output]
    _read_instead(graph.node, FACE, name)


def _read_instead(nodes: Iterable[onnx.NodeProto], old: str, new: str) -> None:
    for node in nodes:
        node.input[:] = [new if name == old else name for name in node.input]


def _retype(graph: onnx.GraphProto, ports: Ports) -> None:
    """(batch, 3, height, width), dynamic but for the only size."""
    sides: list[str | int | None] = ["batch", 3, ports.size or "height", ports.size or "width"]
    _replace(graph.input, [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, sides)])
    _replace(graph.output, [helper.make_tensor_value_info(FACE, TensorProto.FLOAT, sides)])


def _name_nodes(graph: onnx.GraphProto) -> None:
    """Each once, printably: precisions and refusals go by them."""
    seen: set[str] = set()
    for number, node in enumerate(graph.node):
        if node.name in seen or not _PLAIN.fullmatch(node.name) or node.name.startswith("image"):
            node.name = f"node_{number}_{node.op_type}"
        seen.add(node.name)


def _replace(field: Any, items: Sequence[object]) -> None:
    """The whole content of a repeated field."""
    copies = list(items)
    del field[:]
    field.extend(copies)
