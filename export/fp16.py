"""FP32 graph → FP16 graph, strongly typed: FP16 convolutions, FP32 normalisation, few casts.

A graph that states every type runs alike everywhere: TensorRT 10.3 to 11 takes it as strongly typed, and no
runtime has to guess. Each node is computed in FP16 or in FP32; a cast stands wherever a value changes from
one to the other, once for each value however many nodes read it. Input and outputs stay float32, and the
guard's features are computed in FP32 of whatever the bottleneck is.

Why the statistics stay in FP32: in a trained CycleGAN |x| = 275 before a norm, the sum of squares of most
channels passes 65504, and eps = 1e-5 is subnormal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from getgan.errors import ExportError
from getgan.export.features import PREFIX
from getgan.export.graph import INPUT, Array, OnnxModel, element_types, initializers, model_from_proto, shapes
from getgan.runtime.manifest import Part

ALL_PARTS: tuple[Part, ...] = ("norms", "first convolution", "clip")
FP16_MAX = 65504.0
# Rounding to FP16 costs a weight tensor about 2**-12 of its norm; far more means that it sank below 6e-8.
MAX_WEIGHT_LOSS = 2.0**-10

# Computed in FP16, and what they read as weights is stored in FP16.
HALF = frozenset(
    (
        *("Conv", "ConvTranspose", "Gemm", "Pad", "Resize", "DepthToSpace", "AveragePool"),
        *("Relu", "LeakyRelu", "PRelu", "Elu", "Sigmoid", "Tanh", "Concat", "Flatten", "MaxPool"),
    )
)
# A normalisation, whole or in parts.
STATISTICS = frozenset(
    (
        *("InstanceNormalization", "BatchNormalization", "LayerNormalization", "GlobalAveragePool"),
        *("ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL2", "Sqrt", "Pow", "Div", "Reciprocal"),
    )
)
LAST = frozenset(("Clip",))  # FP32, and the convolution before it too: _way_to_clip
# Takes the precision of what it belongs to: FP32 inside a normalisation, FP16 elsewhere.
NEUTRAL = frozenset(("Add", "Sub", "Mul", "Neg", "Reshape", "Transpose", "Unsqueeze", "Squeeze", "Expand"))
# Read or make no float32; untouched. A Cast to float32 makes one: a count of pixels, up to 65536 at 256x256,
# which is above FP16_MAX, so it stays in FP32.
SHAPES = frozenset(("Shape", "Gather", "ReduceProd", "Cast", "Constant", "ConstantOfShape", "Slice"))

# Inputs whose type the operator fixes, by place, in opset 18: Resize's scales are float32 at any precision.
FIXED_INPUTS = {"Resize": (2,)}
WEIGHTED = ("Conv", "ConvTranspose", "Gemm")


def fp16_from_fp32(model: OnnxModel, kept: Sequence[Part] = ALL_PARTS) -> OnnxModel:
    """Convert, with these parts in FP32.

    ExportError names an operator that is not known here, or a weight that FP16 cannot hold.
    """
    builder = _Builder(model.proto, kept)
    builder.run()
    return model_from_proto(builder.proto, model.outputs, model.filtered, model.range)


def node_precisions(proto: onnx.ModelProto, kept: Sequence[Part] = ALL_PARTS) -> dict[str, bool]:
    """For each node that makes a float32 value, by name: whether FP16 computes it."""
    types, sizes = element_types(proto), shapes(proto)
    makers = [node for node in proto.graph.node if types[node.output[0]] == TensorProto.FLOAT]
    # Only readers: among the others they would make a norm of every Add between them and the picture.
    guard = {node.name: False for node in makers if node.name.startswith(PREFIX)}
    nodes = [node for node in makers if node.name not in guard]
    for node in nodes:
        known = HALF | STATISTICS | LAST | NEUTRAL | SHAPES
        if node.op_type not in known or node.domain not in ("", "ai.onnx"):
            raise ExportError(
                f"'{node.name}' is a {node.op_type}, which the FP16 converter does not know; "
                f"wanted one of {', '.join(sorted(known))}"
            )
    full = {node.name for node in nodes if node.op_type in SHAPES}
    if "norms" in kept:
        full |= {node.name for node in nodes if node.op_type in STATISTICS}
        full |= _between(nodes, full)
    full |= _way_to_first_convolution(nodes) if "first convolution" in kept else set()
    full |= _way_to_clip(nodes) if "clip" in kept else set()
    full |= _encoder(nodes) if "encoder" in kept else set()
    full |= {node.name for node in nodes if node.op_type == "Add"} if "sums" in kept else set()
    full |= _to_first_doubling(nodes) if "trunk" in kept else set()
    if "last convolution" in kept:
        full |= _from_last_convolution(nodes, [value.name for value in proto.graph.output])
    if "norms" in kept:
        full |= _scale_and_shift(nodes, full, sizes, {tensor.name for tensor in proto.graph.initializer})
    return {node.name: node.name not in full for node in nodes} | guard


def _way_to_first_convolution(nodes: list[onnx.NodeProto]) -> set[str]:
    """The nodes from the picture to its first convolution: FP32, for 1 % of the multiplications.

    Equal pixels round equally: over a flat part of the picture, one rounding of this convolution's weights is
    a step that the norms behind it enlarge. Measured with every value rounded: a scene squeezed between black
    bars, examples/getgan-64.safetensors, 59.6 dB with an FP16 convolution here and 64.4 without; the worst
    image of an untrained net with ngf 64 at 256x256, 57.0 and 58.0 dB.
    """
    found: set[str] = set()
    value = INPUT
    for node in nodes:
        if node.input[0] != value or node.op_type not in ("Add", "Mul", "Transpose", "Pad", "Conv"):
            continue
        found.add(node.name)
        value = node.output[0]
        if node.op_type == "Conv":
            return found
    return set()


def _encoder(nodes: list[onnx.NodeProto]) -> set[str]:
    """All nodes up to the last convolution with a stride, which is where a ResNet's trunk begins.

    What is rounded there, the norms behind enlarge most. Measured on a trained net with its trunk at H/16,
    256x256, every value rounded: black and white squares, 58.2 dB and 3 levels off in FP16, 60.7 dB and
    one level so, for 7 % of the multiplications; scans 65 dB either way, one of them with one value 2 levels
    off. With sums and last convolution too that was one level, and 66 dB.
    """
    together = {name for node in nodes if node.op_type == "DepthToSpace" for name in node.input}
    strided = [
        place
        for place, node in enumerate(nodes)
        if node.op_type == "Conv"
        and any(each.name == "strides" and max(each.ints) > 1 for each in node.attribute)
        and node.output[0] not in together  # four pixels at once: lowering.py
    ]
    return {node.name for node in nodes[: strided[-1] + 1]} if strided else set()


def _from_last_convolution(nodes: list[onnx.NodeProto], outputs: Sequence[str]) -> set[str]:
    """Of every output the convolution that is nearest to it, and all behind that."""
    makers = {output: node for node in nodes for output in node.output}
    found: set[str] = set()
    waiting = list(outputs)
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.name not in found:
            found.add(node.name)
            if node.op_type not in WEIGHTED:
                waiting += node.input
    return found


def _to_first_doubling(nodes: list[onnx.NodeProto]) -> set[str]:
    """All nodes before the picture grows again: encoder, blocks and gate, and the decoder alone is FP16.

    Measured as `_encoder` was, on a net of whose scans one had a value 2 levels off with encoder, sums and
    last convolution in FP32: with the trunk too it has none. Of a net without a doubling, nothing.
    """
    growing = [place for place, node in enumerate(nodes) if node.op_type in ("ConvTranspose", "Resize")]
    return {node.name for node in nodes[: growing[0]]} if growing else set()


def _way_to_clip(nodes: list[onnx.NodeProto]) -> set[str]:
    """A clip and what it reads: FP32, since it ends a network whose pictures are in 0..255.

    From 128 on FP16 has steps of an eighth of a level there. Random TransformerNets, worst image with every
    value rounded: 59.4 and 59.9 dB in FP16, 60.3 and 61.4 dB so, for 5 % of the multiplications.
    """
    clips = [node for node in nodes if node.op_type in LAST]
    read = {node.input[0] for node in clips}
    read |= {node.input[0] for node in nodes if node.op_type == "DepthToSpace" and node.output[0] in read}
    return {node.name for node in nodes if node in clips or node.output[0] in read}


def _between(nodes: list[onnx.NodeProto], seeds: set[str]) -> set[str]:
    """Neutral nodes on a way from one part of a norm to another: x - mean, its square, + eps."""
    from_seed: set[str] = set()  # values
    after: set[str] = set()
    for node in nodes:
        reached = any(name in from_seed for name in node.input)
        if node.name in seeds or (node.op_type in NEUTRAL and reached):
            from_seed.update(node.output)
            after.add(node.name)
    to_seed: set[str] = set()
    before: set[str] = set()
    for node in reversed(nodes):
        leads = any(name in to_seed for name in node.output)
        if node.name in seeds or (node.op_type in NEUTRAL and leads):
            to_seed.update(node.input)
            before.add(node.name)
    return (after & before) - seeds


def _scale_and_shift(
    nodes: list[onnx.NodeProto],
    full: set[str],
    sizes: dict[str, tuple[int | str, ...]],
    constants: set[str],
) -> set[str]:
    """Neutral nodes right behind a norm, as far as they only mix norms, scale and shift (ILN, AdaLIN).

    A residual's Add reads a whole feature map from elsewhere and is none.
    """
    values = {output for node in nodes if node.name in full for output in node.output}
    found: set[str] = set()
    for node in nodes:
        if node.name in full or node.op_type not in ("Add", "Sub", "Mul"):
            continue
        if not any(name in values for name in node.input):
            continue
        if all(name in values or name in constants or _one_pixel(sizes.get(name)) for name in node.input):
            found.add(node.name)
            values.update(node.output)
    return found


def _one_pixel(size: tuple[int | str, ...] | None) -> bool:
    """Whether a shape is one value, or one for each channel: (..., 1, 1)."""
    return size is not None and (len(size) == 0 or tuple(size[-2:]) == (1, 1))


class _Builder:
    """Rebuilds the node list in order, adding casts where they are first needed."""

    def __init__(self, proto: onnx.ModelProto, kept: Sequence[Part]) -> None:
        self.proto = onnx.ModelProto()
        self.proto.CopyFrom(proto)
        self.types = element_types(proto)
        self.precisions = node_precisions(proto, kept)
        self.weights = initializers(proto)
        self.native: dict[str, bool] = {}  # value -> made in FP16
        self.alias: dict[tuple[str, bool], str] = {}  # (value, in FP16) -> its name in that precision
        self.stored: dict[str, Array] = {}
        self.nodes: list[onnx.NodeProto] = []

    def run(self) -> None:
        """Fill self.proto with the converted graph."""
        graph = self.proto.graph
        outputs = [value.name for value in graph.output]
        for value in graph.input:
            self.native[value.name] = False
        for original in graph.node:
            node = onnx.NodeProto()
            node.CopyFrom(original)
            half = self.precisions.get(node.name)
            node.input[:] = [
                self._input(node, place, name, half) for place, name in enumerate(original.input)
            ]
            if half is not None:
                node.output[:] = [self._output(name, half, name in outputs) for name in original.output]
            self.nodes.append(node)
        for name in outputs:
            if self.native.get(name):
                self._cast(self.alias[name, True], name, TensorProto.FLOAT)
        del graph.node[:], graph.initializer[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend(
            numpy_helper.from_array(array, name) for name, array in sorted(self.stored.items())
        )

    def _input(self, node: onnx.NodeProto, place: int, name: str, half: bool | None) -> str:
        """The name under which the node reads this input in its own precision."""
        if name == "" or self.types[name] != TensorProto.FLOAT:
            if name in self.weights:
                self.stored[name] = self.weights[name]
            return name
        wanted = bool(half) and place not in FIXED_INPUTS.get(node.op_type, ())
        if half is None:  # Shape: any type will do
            wanted = self.native.get(name, False)
        if name in self.weights:
            return self._weight(name, wanted, strict=node.op_type in WEIGHTED and place == 1)
        if self.native[name] == wanted:
            return self.alias.get((name, wanted), name)
        if (name, wanted) not in self.alias:
            target = f"{name}.fp16" if wanted else f"{name}.fp32"
            source = self.alias.get((name, not wanted), name)
            self._cast(source, target, TensorProto.FLOAT16 if wanted else TensorProto.FLOAT)
            self.alias[name, wanted] = target
        return self.alias[name, wanted]

    def _output(self, name: str, half: bool, is_graph_output: bool) -> str:
        self.native[name] = half
        if half and is_graph_output:  # the name belongs to the float32 value
            self.alias[name, True] = f"{name}.fp16"
            return f"{name}.fp16"
        return name

    def _weight(self, name: str, half: bool, *, strict: bool) -> str:
        """A constant in the wanted precision; one read in both is stored twice."""
        key = f"{name}.fp16" if half else name
        if key not in self.stored:
            array = self.weights[name]
            self.stored[key] = half_from_weight(name, array, strict=strict) if half else array
        return key

    def _cast(self, source: str, target: str, kind: int) -> None:
        self.nodes.append(helper.make_node("Cast", [source], [target], f"cast_to_{target}", to=kind))


def half_from_weight(name: str, array: Array, *, strict: bool = True) -> Array:
    """A float32 constant as float16; ExportError if a value overflows or, when strict, if too much is lost.

    Not strict for biases: one of 1e-9 may become 0, since it is added to numbers near 1. A weight is not
    safe even so small, because the next norm brings its result back to 1.
    """
    largest = float(np.abs(array).max(initial=0.0))
    with np.errstate(over="ignore", under="ignore"):
        half = array.astype(np.float16)
    if not np.isfinite(half).all():
        raise ExportError(f"initializer '{name}' reaches |x| = {largest:,.4g}, above FP16's {FP16_MAX:,.0f}")
    lost = float(np.linalg.norm((array - half.astype(array.dtype)).astype(np.float64)))
    norm = float(np.linalg.norm(array.astype(np.float64)))
    if strict and lost > MAX_WEIGHT_LOSS * norm:
        raise ExportError(
            f"initializer '{name}' loses {lost / norm:.1%} in FP16 (its largest value is {largest:.1e}, "
            "FP16's smallest 6e-08)"
        )
    return half
