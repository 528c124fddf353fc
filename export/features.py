"""The guard's features as one more output of the graph: mean and deviation of each channel of the bottleneck.

The bottleneck is the last activation of the smallest size before the picture grows again, found by shape
inference, so that any image-to-image graph has one. A norm's own output is none: its mean and deviation are
the same for every picture.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from getgan.contract import Contract
from getgan.errors import ExportError
from getgan.export.graph import OnnxModel, model_from_proto
from getgan.runtime.manifest import FEATURES

PREFIX = "guard_"  # of the nodes; fp16.py keeps them in FP32
SMALLEST = 4  # pixels each way: of fewer there is no deviation worth the name (the inmost of a U-Net is 1x1)
ACTIVATIONS = frozenset(
    (
        "Add",
        "Sub",
        "Mul",
        "Conv",
        "Relu",
        "LeakyRelu",
        "PRelu",
        "Elu",
        "Selu",
        "Celu",
        "Gelu",
        "HardSwish",
        "Clip",
    )
)


def with_features(model: OnnxModel, contract: Contract) -> OnnxModel:
    """The graph with `features`, float32 (N, 2 C), as its last output; ExportError without a bottleneck."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    value, channels = bottleneck(proto, contract.size)
    graph = proto.graph
    axes = numpy_helper.from_array(np.array([2, 3], np.int64), f"{PREFIX}axes")
    ones = numpy_helper.from_array(np.ones((channels, 1, 1, 1), np.float32), f"{PREFIX}ones")
    graph.initializer.extend([axes, ones])

    def node(kind: str, name: str, *inputs: str, **attributes: Any) -> str:
        graph.node.append(helper.make_node(kind, list(inputs), [name], name, **attributes))
        return name

    # Each channel times 1, as a convolution. OpenVINO keeps in FP32 what lies between an output and the last
    # convolutions before it: without this one every addition and norm of the residual trunk, 5 % of the time
    # of a bf16 network of 256 px (ngf 64). With it less than can be measured.
    tap = node("Conv", f"{PREFIX}tap", value, ones.name, group=channels)
    mean = node("ReduceMean", f"{PREFIX}mean", tap, axes.name, keepdims=0)
    kept = node("ReduceMean", f"{PREFIX}center", tap, axes.name, keepdims=1)
    away = node("Sub", f"{PREFIX}away", tap, kept)
    square = node("Mul", f"{PREFIX}square", away, away)
    variance = node("ReduceMean", f"{PREFIX}variance", square, axes.name, keepdims=0)
    deviation = node("Sqrt", f"{PREFIX}deviation", variance)
    graph.node.append(
        helper.make_node("Concat", [mean, deviation], [FEATURES], f"{PREFIX}{FEATURES}", axis=1)
    )
    batch = graph.input[0].type.tensor_type.shape.dim[0]
    rows = batch.dim_value if batch.HasField("dim_value") else batch.dim_param
    graph.output.append(helper.make_tensor_value_info(FEATURES, onnx.TensorProto.FLOAT, [rows, 2 * channels]))
    return model_from_proto(proto, (*model.outputs, FEATURES), model.filtered, model.range)


def bottleneck(proto: onnx.ModelProto, size: int) -> tuple[str, int]:
    """Name and channels of the value, at a picture of size x size; ExportError if there is none."""
    sized = onnx.ModelProto()
    sized.CopyFrom(proto)
    image = sized.graph.input[0].type.tensor_type.shape.dim
    for dimension, length in zip(image, (1, 3, size, size), strict=True):
        dimension.dim_value = length
    for output in sized.graph.output:
        output.type.tensor_type.ClearField("shape")  # they still say h4
    inferred = shape_inference.infer_shapes(sized, data_prop=True).graph
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.output)
    }
    found: tuple[int, str, int] | None = None  # pixels, name, channels
    # Four pixels of the picture at each place are no activation, however small: see lowering.py.
    together = {name for node in proto.graph.node if node.op_type == "DepthToSpace" for name in node.input}
    for node in _leading_to_face(proto.graph):
        shape = shapes.get(node.output[0], [])
        if node.op_type not in ACTIVATIONS or len(shape) != 4 or min(shape[2:]) < SMALLEST:
            continue
        if node.output[0] in together:
            continue
        pixels = shape[2] * shape[3]
        if pixels < size * size and (found is None or pixels <= found[0]) and shape[1] > 1:
            found = (pixels, node.output[0], shape[1])
    if found is None:
        raise ExportError(
            f"found no bottleneck in the graph: nothing inside is smaller than {size}x{size} pixels and at "
            f"least {SMALLEST}x{SMALLEST}; wanted a generator that makes its picture smaller inside: "
            "leave --calibration out"
        )
    return found[1], found[2]


def _leading_to_face(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """In order, the nodes that the face needs."""
    wanted, nodes = {"face"}, []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            wanted |= set(node.input)
            nodes.append(node)
    return nodes[::-1]
