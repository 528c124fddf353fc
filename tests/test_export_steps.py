"""Node by node, values are really rounded to FP16; in one session of ONNX Runtime's CPU they are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from export_helpers import exported, random_images, run_graph
from onnx import TensorProto, helper

from getgan.errors import ExportError
from getgan.export.graph import OnnxModel
from getgan.export.steps import StepRunner

SHAPE = [1, 3, 8, 8]


def through_fp16(*kinds: str) -> OnnxModel:
    """image, Cast to FP16, unary operators in FP16, Cast back, face."""
    names = ["half", *(f"v{n}" for n in range(len(kinds)))]
    nodes = [helper.make_node("Cast", ["image"], ["half"], "down", to=TensorProto.FLOAT16)]
    nodes += [
        helper.make_node(kind, [names[n]], [names[n + 1]], f"{kind}{n}") for n, kind in enumerate(kinds)
    ]
    nodes.append(helper.make_node("Cast", [names[-1]], ["face"], "up", to=TensorProto.FLOAT))
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("face", TensorProto.FLOAT, SHAPE)],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return OnnxModel(proto.SerializeToString())


def rounded(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    with np.errstate(over="ignore"):
        return values.astype(np.float16).astype(np.float32)


def whole(model: OnnxModel, image: np.ndarray[Any, Any], level: str) -> np.ndarray[Any, Any]:
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    session = ort.InferenceSession(model.data, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": image})[0])


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_ALL"])
def test_one_session_rounds_nothing_between_nodes_at_any_level(level: str) -> None:
    """Why the gate runs node by node; should this ever fail, it need not any more."""
    image = np.linspace(-3, 3, 192, dtype=np.float32).reshape(SHAPE)
    model = through_fp16("Sigmoid", "Exp", "Log")
    sigmoid = rounded(1 / (1 + np.exp(-rounded(image).astype(np.float64))))
    exact = rounded(np.log(rounded(np.exp(sigmoid.astype(np.float64)))))
    assert np.array_equal(StepRunner(model, 1).run(image)["face"], exact)
    assert not np.array_equal(whole(model, image, level), exact)


def test_overflow_is_infinite() -> None:
    image = np.full(SHAPE, 20.0, np.float32)  # exp(20) = 4.9e8
    model = through_fp16("Exp", "Log")
    assert np.isinf(StepRunner(model, 1).run(image)["face"]).all()
    assert np.isfinite(whole(model, image, "ORT_ENABLE_ALL")).all()  # the same graph, seen wrongly


@pytest.mark.parametrize("name", ["getgan-1x1", "ugatit"])
def test_an_fp32_graph_gives_what_one_session_gives(name: str) -> None:
    image = random_images(2, 16, 24).numpy()
    found = StepRunner(exported(name), 1).run(image)["face"]
    assert np.abs(found - run_graph(exported(name), image)["face"]).max() < 2e-5


def test_every_node_is_walked_and_values_are_let_go() -> None:
    model = exported("getgan-1x1")
    runner = StepRunner(model, 1)
    walked = [node.name for node, _, _ in runner.walk(random_images(1, 16, 16).numpy())]
    assert walked == [node.name for node in model.proto.graph.node]
    dropped = [name for step in runner.steps for name in step.last]
    made = {"image", *(name for node in model.proto.graph.node for name in node.output)}
    assert sorted(dropped) == sorted(made)


def test_a_node_that_cannot_run_is_named() -> None:
    with pytest.raises(ExportError, match="cannot run 'node_pad'"):
        StepRunner(exported("getgan-1x1"), 1).run(np.zeros((1, 3, 16), np.float32))
