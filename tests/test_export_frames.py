"""Graphs that take and give 8-bit frames: the pictures of the graph of tensors, and a gate of their own."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from export_helpers import NETS, checkpoint_of, example, exported
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from getgan.contract import SIGNED, Contract, Range
from getgan.export.convert import FRAMES, TARGETS, convert
from getgan.export.gate import Gate
from getgan.export.graph import OnnxModel, element_types, model_from_proto
from getgan.export.grid import NODES
from getgan.export.images import gate_images
from getgan.export.reference import PyTorchReference
from getgan.export.steps import StepRunner
from getgan.export.trace import export_onnx
from getgan.runtime.manifest import EXTENT, Plan
from getgan.runtime.pixels import image_from_tensor, map_from_tensor, tensor_from_images

FP32_FRAMES = Plan(frames="uint8")
UINT8, FLOAT = TensorProto.UINT8, TensorProto.FLOAT
Frames = NDArray[np.uint8]


def frames(count: int, height: int, width: int) -> Frames:
    """Noise, each frame darker than the one before."""
    levels = np.random.default_rng(1).integers(0, 256, (count, height, width, 3))
    return np.stack([frame // (number + 1) for number, frame in enumerate(levels)]).astype(np.uint8)


def run(model: OnnxModel, image: NDArray[Any]) -> dict[str, Any]:
    session = ort.InferenceSession(model.data, providers=["CPUExecutionProvider"])
    return dict(zip(model.outputs, session.run(list(model.outputs), {"image": image}), strict=True))


def compare(tensors: OnnxModel, pictures: Frames) -> None:
    """In FP32 both graphs give the same levels, but for one at the edge of rounding; extent is the truth."""
    found = run(convert(tensors, FP32_FRAMES), pictures)
    wanted = run(tensors, tensor_from_images(list(pictures), tensors.range))
    for number, face in enumerate(wanted["face"]):
        picture = image_from_tensor(face, tensors.range)
        assert picture.std() > 0.3
        assert found["face"].dtype == np.uint8 and found["face"][number].shape == picture.shape
        off = np.abs(found["face"][number].astype(int) - picture)
        assert off.max() <= 1 and (off > 0).mean() < 0.01
        half = (tensors.range[1] - tensors.range[0]) / 2
        assert np.allclose(found[EXTENT][number], [face.min(), face.max()], atol=1e-3 * half)
    assert found[EXTENT].shape == (len(pictures), 2) and found[EXTENT].dtype == np.float32
    if "occlusion" in tensors.outputs:
        maps = np.stack([map_from_tensor(each) for each in wanted["occlusion"]])
        assert found["occlusion"].shape == maps.shape and found["occlusion"].dtype == np.uint8
        assert np.abs(found["occlusion"].astype(int) - maps).max() <= 1
        assert maps.std() > 1


@pytest.mark.parametrize("name", NETS)
def test_every_network_gives_its_pictures_in_any_batch_and_size(name: str) -> None:
    model = exported(name)
    if name == "ugatit-full":  # one size only
        compare(model, frames(2, 32, 32))
        return
    compare(model, frames(1, 16, 16))
    compare(model, frames(3, 16, 24))


@cache
def trained() -> tuple[Any, OnnxModel]:
    """The shipped checkpoint and its graph with a map."""
    checkpoint, _ = example("getgan-64")
    return checkpoint, export_onnx(checkpoint, outputs=("face", "occlusion"))


def test_a_trained_network_with_its_map() -> None:
    compare(trained()[1], np.stack([each.pixels for each in gate_images(Contract(64, 8, 4))[:3]]))


def test_the_types_and_axes_are_stated() -> None:
    proto = convert(trained()[1], FRAMES.plan).proto
    axes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*proto.graph.input, *proto.graph.output)
    }
    assert axes == {
        "image": ["batch", "4*h4", "4*w4", 3],
        "face": ["batch", "4*h4", "4*w4", 3],
        "occlusion": ["batch", "h4", "w4"],
        "extent": ["batch", 2],
    }
    types = element_types(proto)
    assert {name: types[name] for name in axes} == {
        **dict.fromkeys(("image", "face", "occlusion"), UINT8),
        "extent": FLOAT,
    }
    # TensorRT's rule: nothing but a cast touches uint8.
    touching = {
        node.op_type
        for node in proto.graph.node
        for name in (*node.input, *node.output)
        if name and types[name] == UINT8
    }
    assert touching == {"Cast"}


def test_equal_plans_give_equal_bytes() -> None:
    assert convert(exported("ugatit"), FRAMES.plan).data == convert(exported("ugatit"), FRAMES.plan).data


def test_a_level_reaches_the_first_convolution_exactly() -> None:
    model = convert(exported("getgan-1x1"), FP32_FRAMES)
    assert [node.name for node in model.proto.graph.node if node.name in NODES] == [NODES[1]]
    picture = frames(1, 16, 16)
    values = {name: value for _, name, value in StepRunner(model, 1).walk(picture)}
    assert np.array_equal(values[NODES[1]] * 256, picture.transpose(0, 3, 1, 2))


# --- the ends alone -------------------------------------------------------------------------------------


def bare(nodes: list[onnx.NodeProto], value_range: Range = SIGNED, **constants: Any) -> OnnxModel:
    """image -> face, without a convolution that the grid could stand before."""
    sides: list[str | int | None] = ["batch", 3, "h", "w"]
    graph = helper.make_graph(
        nodes,
        "bare",
        [helper.make_tensor_value_info("image", FLOAT, sides)],
        [helper.make_tensor_value_info("face", FLOAT, sides)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return model_from_proto(proto, ["face"], (), value_range)


RAMP = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)


@pytest.mark.parametrize("value_range", [SIGNED, (0.0, 255.0), (0.0, 1.0)])
def test_every_level_comes_back_in_any_range(value_range: Range) -> None:
    model = bare([helper.make_node("Identity", ["image"], ["face"], "same")], value_range)
    found = run(convert(model, FP32_FRAMES), RAMP)
    assert np.array_equal(found["face"], RAMP)
    assert np.allclose(found[EXTENT], [value_range], rtol=1e-6)


def test_halves_are_rounded_to_even_and_the_rest_clipped_as_the_runtime_does() -> None:
    add = helper.make_node("Add", ["image", "half"], ["face"], "plus")
    plus = bare([add], (0.0, 255.0), half=np.float32(0.5))
    found = run(convert(plus, FP32_FRAMES), RAMP)
    values = tensor_from_images(list(RAMP), (0.0, 255.0)) + np.float32(0.5)
    assert np.array_equal(found["face"][0], image_from_tensor(values[0], (0.0, 255.0)))
    assert found["face"][0, 0, :4, 0].tolist() == [0, 2, 2, 4]
    assert found[EXTENT].tolist() == [[0.5, 255.5]]


def test_one_value_that_is_not_finite_is_told_for_its_frame_alone() -> None:
    # log(-1) where green is black: one pixel of the second frame.
    nodes = [
        helper.make_node("Split", ["image"], ["red", "green", "blue"], "split", axis=1, num_outputs=3),
        helper.make_node("Log", ["green"], ["log"], "log"),
        helper.make_node("Concat", ["red", "log", "blue"], ["face"], "concat", axis=1),
    ]
    model = convert(bare(nodes, (-1.0, 254.0)), FP32_FRAMES)
    pictures = np.full((3, 16, 16, 3), 200, np.uint8)
    pictures[1, 5, 5, 1] = 0
    pictures[2, 5, 5, 1] = 1  # log(0)
    for found in (run(model, pictures), StepRunner(model, 1).run(pictures)):
        extent = found[EXTENT]
        assert np.allclose(extent[0], [np.log(199.0), 199.0])
        assert np.isnan(extent[1]).all()
        assert not np.isfinite(extent[2]).all()


# --- the gate -------------------------------------------------------------------------------------------


@cache
def gate() -> Gate:
    checkpoint, _ = trained()
    names = ("hand", "limb-4x3", "noise")
    images = [image for image in gate_images(checkpoint.contract) if image.name in names]
    return Gate(PyTorchReference(checkpoint, ("face", "occlusion")), checkpoint.contract, images, 1)


def test_the_gate_accepts_the_pictures_of_fp16() -> None:
    _, fp32 = trained()
    tensors, framed = convert(fp32, TARGETS[1].plan), convert(fp32, FRAMES.plan)
    record = gate().judge(FRAMES, framed, fp32)
    assert record.accepted, record.reason
    assert record.name == "fp16-frames" and "values rounded to FP16" in record.backend
    assert [other.name for other in record.images[0].others] == ["occlusion", EXTENT]
    assert record.figures is not None and record.figures.max_levels == 1
    for image in gate_images(Contract(64, 8, 4))[:4]:
        ours = StepRunner(framed, 1).run(np.asarray(image.pixels[None]))["face"][0]
        theirs = StepRunner(tensors, 1).run(tensor_from_images([image.pixels]))["face"][0]
        assert np.abs(ours.astype(int) - image_from_tensor(theirs)).max() <= 1


def spoilt(output: str, kind: str, value: Any) -> OnnxModel:
    """The graph of frames with one more node behind an output, which reads a constant besides."""
    proto = onnx.ModelProto()
    proto.CopyFrom(convert(trained()[1], FRAMES.plan).proto)
    for node in proto.graph.node:
        node.output[:] = ["raw" if name == output else name for name in node.output]
    proto.graph.node.append(helper.make_node(kind, ["raw", "value"], [output], "spoilt"))
    proto.graph.initializer.append(numpy_helper.from_array(np.asarray(value), "value"))
    return OnnxModel(proto.SerializeToString(), ("face", "occlusion", EXTENT))


@pytest.mark.parametrize(
    ("output", "kind", "value", "reason"),
    [
        ("face", "BitwiseOr", np.uint8(64), "of 255 levels, wanted at most 1"),
        ("face", "Gather", np.array([0, 0]), "found an output of shape (2, 3, "),
        ("occlusion", "BitwiseOr", np.uint8(64), "occlusion map off by 2.5e-01, wanted at most 4e-03"),
        ("extent", "Mul", np.float32(0.9), ", wanted at most 2e-02"),
        ("extent", "Mul", np.float32(np.nan), "100.0% of the output extent is NaN"),
        ("extent", "Add", np.float32(9.0), "the output extent reaches from"),
    ],
)
def test_the_gate_refuses_what_is_wrong(output: str, kind: str, value: Any, reason: str) -> None:
    record = gate().judge(FRAMES, spoilt(output, kind, value), trained()[1])
    assert not record.accepted
    assert reason in record.reason


def test_a_graph_of_tensors_is_no_graph_of_frames() -> None:
    """Whatever the manifest of a stranger's bundle says."""
    record = gate().judge(FRAMES, convert(trained()[1], TARGETS[1].plan), trained()[1])
    assert not record.accepted
    assert "ONNX Runtime cannot run" in record.reason


def test_a_picture_of_the_error_branch_comes_in_levels_too() -> None:
    model = export_onnx(checkpoint_of("getgan-1x1"), outputs=("face", "error"))
    picture = frames(1, 16, 16)
    found = run(convert(model, FP32_FRAMES), picture)
    wanted = run(model, tensor_from_images(list(picture)))
    assert np.abs(found["error"][0].astype(int) - image_from_tensor(wanted["error"][0])).max() <= 1
