"""FP32 → FP16, node by node: what is computed in which type, few casts, weights that FP16 cannot hold."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from export_helpers import NETS, checkpoint_of, exported, random_images
from onnx import TensorProto, helper, numpy_helper

from getgan.errors import ExportError
from getgan.export.fp16 import ALL_PARTS, fp16_from_fp32, half_from_weight, node_precisions
from getgan.export.graph import OnnxModel, element_types, initializers
from getgan.export.grid import NODES
from getgan.export.steps import StepRunner
from getgan.export.trace import export_onnx
from getgan.runtime.manifest import Part

NAMES = tuple(NETS)  # as they are now: another file adds nets of its own while it runs
HALF, FULL, INT64 = TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.INT64
SIZE: list[str | int | None] = ["batch", 3, 8, 8]
Constants = dict[str, np.ndarray[Any, Any]]


def graph_of(nodes: list[onnx.NodeProto], constants: Constants | None = None) -> OnnxModel:
    """image -> face through the nodes; the image first goes through a Relu and is no part of a first Conv."""
    first = helper.make_node("Relu", ["image"], ["x"], "first")
    graph = helper.make_graph(
        [first, *nodes],
        "small",
        [helper.make_tensor_value_info("image", FULL, SIZE)],
        [helper.make_tensor_value_info("face", FULL, [None] * 4)],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return OnnxModel(proto.SerializeToString())


def node(kind: str, inputs: str, output: str = "face", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], f"{kind}-{output}", **attributes)


W33 = np.full((3, 3, 3, 3), 0.1, np.float32)
PADS = np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
THREE = np.ones(3, np.float32)
PIXEL = np.ones((1, 3, 1, 1), np.float32)
AXES = np.array([2, 3], np.int64)
NONE = np.zeros(0, np.float32)
SCALES = np.array([1, 1, 2, 2], np.float32)

# operator, node, constants, element type of its output, types that its constants must have
CASES: dict[str, tuple[onnx.NodeProto, Constants, int, dict[int, int]]] = {
    "Conv": (node("Conv", "x w b"), {"w": W33, "b": THREE}, HALF, {1: HALF, 2: HALF}),
    "ConvTranspose": (node("ConvTranspose", "x w b"), {"w": W33, "b": THREE}, HALF, {1: HALF, 2: HALF}),
    "InstanceNormalization": (
        node("InstanceNormalization", "x w b"), {"w": THREE, "b": THREE}, FULL, {1: FULL, 2: FULL},
    ),
    "Pad": (node("Pad", "x p", mode="reflect"), {"p": PADS}, HALF, {1: INT64}),
    "Pad with a value": (
        node("Pad", "x p v"), {"p": PADS, "v": np.array(0, np.float32)}, HALF, {1: INT64, 2: HALF},
    ),
    "Resize": (node("Resize", "x r s"), {"r": NONE, "s": SCALES}, HALF, {1: HALF, 2: FULL}),
    "Relu": (node("Relu", "x"), {}, HALF, {}),
    "Sigmoid": (node("Sigmoid", "x"), {}, HALF, {}),
    "Tanh": (node("Tanh", "x"), {}, HALF, {}),
    "Clip": (
        node("Clip", "x l h"),
        {"l": np.array(0.1, np.float32), "h": np.array(0.9, np.float32)}, FULL, {1: FULL, 2: FULL},
    ),
    "Add": (node("Add", "x x"), {}, HALF, {}),
    "Sub": (node("Sub", "x x"), {}, HALF, {}),
    "Mul": (node("Mul", "x w"), {"w": PIXEL}, HALF, {1: HALF}),
    "Concat": (node("Concat", "x x", axis=1), {}, HALF, {}),
    "Div": (node("Div", "x w"), {"w": PIXEL}, FULL, {1: FULL}),
    "Sqrt": (node("Sqrt", "x"), {}, FULL, {}),
    "Pow": (node("Pow", "x w"), {"w": PIXEL}, FULL, {1: FULL}),
    "ReduceMean": (node("ReduceMean", "x a"), {"a": AXES}, FULL, {1: INT64}),
    "ReduceSum": (node("ReduceSum", "x a"), {"a": AXES}, FULL, {1: INT64}),
    "Reshape": (node("Reshape", "x s"), {"s": np.array([0, 3, 8, 8], np.int64)}, HALF, {1: INT64}),
    "Expand": (node("Expand", "x s"), {"s": np.array([1, 3, 8, 8], np.int64)}, HALF, {1: INT64}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_operator_has_its_type(name: str) -> None:
    tested, constants, wanted, inputs = CASES[name]
    model = graph_of([tested], constants)
    converted = fp16_from_fp32(model)  # ONNX's checker has seen it: the typing rules hold
    types = element_types(converted.proto)
    (found,) = [each for each in converted.proto.graph.node if each.name == tested.name]
    assert types[found.output[0]] == wanted
    assert types[found.input[0]] == wanted
    for place, kind in inputs.items():
        assert types[found.input[place]] == kind, place
    assert types["image"] == types["face"] == FULL
    image = random_images(1, 8, 8).numpy()
    reference = StepRunner(model, 1).run(image)["face"]
    half = StepRunner(converted, 1).run(image)["face"]
    assert half.dtype == np.float32
    assert np.allclose(half, reference, atol=0.02)


def test_every_operator_of_our_networks_is_tested() -> None:
    used = {each.op_type for name in NAMES for each in exported(name).proto.graph.node}
    floats = {name.partition(" ")[0] for name in CASES}
    in_networks_only = {"Gemm", "Unsqueeze", "Shape", "Gather", "ReduceProd", "Cast"}
    assert used <= floats | in_networks_only


@pytest.mark.parametrize("kind", ["Softmax", "ReduceMax", "Erf"])
def test_an_unknown_operator_is_refused(kind: str) -> None:
    with pytest.raises(
        ExportError, match=f"'{kind}-face' is a {kind}, which the FP16 converter does not know"
    ):
        fp16_from_fp32(graph_of([node(kind, "x")]))


def test_a_convolution_before_a_clip_is_in_fp32() -> None:
    """It gives 0..255, where FP16 has steps of an eighth of a level."""
    nodes = [
        node("Relu", "x", "y"),
        node("Conv", "y w", "z"),
        node("Relu", "z", "a"),
        node("Conv", "a w", "b"),
        node("Clip", "b l h"),
    ]
    constants = {"w": W33, "l": np.array(0, np.float32), "h": np.array(255, np.float32)}
    found = node_precisions(graph_of(nodes, constants).proto)
    halves = {"Relu-y": True, "Conv-z": True, "Relu-a": True, "Conv-b": False, "Clip-face": False}
    assert {name: found[name] for name in halves} == halves


def test_a_decomposed_norm_is_in_fp32_from_its_mean_to_its_shift() -> None:
    nodes = [
        node("Conv", "x w", "conv"),
        node("ReduceMean", "conv axes", "mean"),
        node("Sub", "conv mean", "centred"),
        node("Mul", "centred centred", "square"),
        node("ReduceMean", "square axes", "variance"),
        node("Add", "variance eps", "safe"),
        node("Sqrt", "safe", "deviation"),
        node("Div", "centred deviation", "standard"),
        node("Mul", "standard gamma", "scaled"),
        node("Add", "scaled beta", "shifted"),
        node("Relu", "shifted", "relu"),
        node("Add", "relu conv", "residual"),
        node("Tanh", "residual", "face"),
    ]
    eps = np.array(1e-5, np.float32)
    constants: Constants = {"w": W33, "axes": AXES, "eps": eps, "gamma": PIXEL, "beta": PIXEL}
    model = graph_of(nodes, constants)
    found = node_precisions(model.proto)
    half = {name.partition("-")[2] for name in found if found[name]}
    assert half == {"conv", "relu", "residual", "face", ""}  # "" is the first Relu
    assert len(found) == len(half) + 9
    # Down at the image, up at conv, down behind the shift, up at the face.
    kinds = [each.op_type for each in fp16_from_fp32(model).proto.graph.node]
    assert kinds.count("Cast") == 4


def test_the_sum_of_a_residual_stays_in_fp16() -> None:
    nodes = [
        node("InstanceNormalization", "x one zero", "norm"),
        node("Add", "x norm", "sum"),
        node("Tanh", "sum"),
    ]
    found = node_precisions(graph_of(nodes, {"one": THREE, "zero": THREE}).proto)
    assert found == {
        "first": True,
        "InstanceNormalization-norm": False,
        "Add-sum": True,
        "Tanh-face": True,
    }


def test_a_constant_that_both_read_is_stored_twice() -> None:
    nodes = [node("Mul", "x w", "a"), node("Div", "a w", "face")]
    stored = initializers(fp16_from_fp32(graph_of(nodes, {"w": PIXEL})).proto)
    assert {name: array.dtype.name for name, array in stored.items()} == {"w": "float32", "w.fp16": "float16"}


@pytest.mark.parametrize("name", NAMES)
def test_whole_networks(name: str) -> None:
    model = exported(name)
    graph = fp16_from_fp32(model)
    proto = graph.proto
    types = element_types(proto)
    by_output = {node.output[0]: node for node in proto.graph.node if node.op_type == "Cast"}
    assert not [cast.name for cast in by_output.values() if cast.input[0] in by_output]
    convolutions = [each for each in proto.graph.node if each.op_type in ("Conv", "ConvTranspose", "Gemm")]
    assert types[convolutions[0].output[0]] == FULL  # the picture's
    assert all(types[each.output[0]] == HALF for each in convolutions[1:])
    norms = ("InstanceNormalization", "ReduceMean", "Sqrt", "Div")
    assert all(types[each.output[0]] == FULL for each in proto.graph.node if each.op_type in norms)
    for name_of in NODES:
        assert types[name_of] == FULL
    # ONNX's checker refuses a node whose float inputs differ in type; no value is cast twice to one type.
    casts = [each for each in proto.graph.node if each.op_type == "Cast"]
    sources = Counter((each.input[0], each.attribute[0].i) for each in casts)
    assert set(sources.values()) == {1}
    assert len(graph.data) < 0.85 * len(model.data)
    size = 32
    image = random_images(1, size, size).numpy()
    session = ort.InferenceSession(graph.data, providers=["CPUExecutionProvider"])
    whole = session.run(None, {"image": image})[0]
    rounded = StepRunner(graph, 1).run(image)["face"]
    reference = StepRunner(model, 1).run(image)["face"]
    assert np.abs(whole - reference).max() < 0.05
    assert np.abs(rounded - reference).max() < 0.05


def test_what_else_may_be_kept_in_fp32() -> None:
    proto = exported("getgan-3x3-resize").proto
    usual = node_precisions(proto)
    convolutions = [each.name for each in proto.graph.node if each.op_type == "Conv"]
    strided = [
        each.name
        for each in proto.graph.node
        if each.op_type == "Conv"
        and any(a.name == "strides" and list(a.ints) == [2, 2] for a in each.attribute)
    ]
    assert len(strided) == 2
    names = [each.name for each in proto.graph.node]

    def newly(part: Part) -> list[str]:
        found = node_precisions(proto, (*ALL_PARTS, part))
        assert all(usual[name] or not found[name] for name in found)  # nothing goes back to FP16
        return [name for name in names if name in found and usual[name] and not found[name]]

    encoder = newly("encoder")
    assert encoder[-1] == strided[-1]
    assert encoder == [name for name in names[: names.index(strided[-1]) + 1] if usual.get(name)]
    sums = newly("sums")
    assert sums and {each.op_type for each in proto.graph.node if each.name in sums} == {"Add"}
    last = newly("last convolution")
    assert last[0] == convolutions[-1]
    assert last == [name for name in names[names.index(convolutions[-1]) :] if usual.get(name)]
    trunk = newly("trunk")
    doubling = next(each.name for each in proto.graph.node if each.op_type == "ConvTranspose")
    assert trunk == [name for name in names[: names.index(doubling)] if usual.get(name)]
    assert set(encoder) < set(trunk) and convolutions[-1] not in trunk
    everything = fp16_from_fp32(
        exported("getgan-3x3-resize"), (*ALL_PARTS, "encoder", "sums", "last convolution")
    )
    image = random_images(1, 32, 32).numpy()
    far, near = (
        np.abs(
            StepRunner(graph, 1).run(image)["face"]
            - StepRunner(exported("getgan-3x3-resize"), 1).run(image)["face"]
        ).max()
        for graph in (fp16_from_fp32(exported("getgan-3x3-resize")), everything)
    )
    assert near < far


def test_the_last_convolution_is_every_output_s() -> None:
    checkpoint = checkpoint_of("getgan-1x1")
    proto = export_onnx(checkpoint, outputs=("face", "occlusion", "error")).proto
    usual, found = node_precisions(proto), node_precisions(proto, (*ALL_PARTS, "last convolution"))
    makers = {output: node for node in proto.graph.node for output in node.output}
    for output in proto.graph.output:
        node = makers[output.name]
        while node.op_type != "Conv":
            node = makers[node.input[0] if node.input[0] in makers else node.input[1]]
        assert usual[node.name] and not found[node.name], output.name


def test_conversion_is_deterministic() -> None:
    assert fp16_from_fp32(exported("ugatit")).data == fp16_from_fp32(exported("ugatit")).data


# --- weights --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [65520.0, -1e6])
def test_a_weight_above_fp16_is_named(value: float) -> None:
    weight = W33.copy()
    weight[1, 2, 0, 0] = value
    with pytest.raises(ExportError, match=r"initializer 'w' reaches \|x\| = [\d,.e+]+, above FP16's 65,504"):
        fp16_from_fp32(graph_of([node("Conv", "x w")], {"w": weight}))


def test_weights_that_sink_are_named_and_biases_are_not() -> None:
    tiny = np.random.default_rng(0).normal(0, 1e-7, (3, 3, 3, 3)).astype(np.float32)
    with pytest.raises(ExportError, match=r"initializer 'w' loses \d+\.\d% in FP16"):
        fp16_from_fp32(graph_of([node("Conv", "x w")], {"w": tiny}))
    fp16_from_fp32(graph_of([node("Conv", "x w b")], {"w": W33, "b": np.full(3, 1e-9, np.float32)}))


def test_single_weights_may_sink_and_the_largest_number_may_stay() -> None:
    weight = np.random.default_rng(0).normal(0, 0.02, 100_000).astype(np.float32)
    weight[:10] = 1e-9
    assert not half_from_weight("w", weight)[:10].any()
    assert half_from_weight("w", np.array([65504.0, 65519.0], np.float32)).tolist() == [65504.0, 65504.0]
    assert half_from_weight("w", np.zeros(3, np.float32)).tolist() == [0.0, 0.0, 0.0]
