"""Checkpoint → ONNX: the same pictures, dynamic axes, nothing of the building machine, no error branch."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from export_helpers import NETS, checkpoint_of, exported, random_images, run_graph
from onnx import TensorProto, helper, numpy_helper

from getgan.errors import ConfigError, ExportError
from getgan.export.graph import OnnxModel, clean, initializers, model_from_proto, parameters, shapes
from getgan.export.grid import NODES, put_image_on_grid
from getgan.export.noise import LOGGER, quiet_exporter
from getgan.export.proof import prove_branch
from getgan.export.steps import StepRunner
from getgan.export.trace import OPSET, export_onnx
from getgan.models.checkpoint import Checkpoint, Provenance
from getgan.models.getgan import GetGanConfig
from getgan.models.recognise import build_generator


def largest_error(model: OnnxModel, name: str, images: torch.Tensor) -> float:
    with torch.no_grad():
        wanted = checkpoint_of(name).generator().translate(images).numpy()
    found = run_graph(model, images.numpy())["face"]
    assert found.shape == wanted.shape
    return float(np.abs(found - wanted).max())


@pytest.mark.parametrize("name", NETS)
def test_every_architecture_gives_pytorchs_pictures(name: str) -> None:
    model = exported(name)
    assert model.opset == OPSET
    assert [o.name for o in model.proto.graph.output] == ["face"]
    assert largest_error(model, name, random_images(1, 32, 32)) < 1e-4
    fixed = checkpoint_of(name).generator().fixed
    dims = shapes(model.proto)["image"]
    if fixed:
        assert dims == ("batch", 3, 32, 32)
        assert largest_error(model, name, random_images(3, 32, 32)) < 1e-4
    else:
        assert dims == ("batch", 3, "4*h4", "4*w4")
        assert largest_error(model, name, random_images(3, 20, 44)) < 1e-4
        assert largest_error(model, name, random_images(1, 8, 8)) < 1e-4


def test_equal_checkpoints_give_equal_bytes_that_name_no_machine() -> None:
    again = export_onnx(checkpoint_of("getgan-1x1"))
    assert again.data == exported("getgan-1x1").data
    assert again.sha256 == exported("getgan-1x1").sha256
    bare = onnx.ModelProto()
    bare.CopyFrom(again.proto)
    for tensor in bare.graph.initializer:  # random weights may spell any word
        tensor.ClearField("raw_data")
    for word in (b"/", b".py", b"torch", b"pkg.", b"generator."):
        assert word not in bare.SerializeToString(), word
    other = export_onnx(checkpoint_of("getgan-1x1", lambda state: state["gate.bias"].add_(1)))
    assert other.data != again.data


def test_initializers_are_called_as_in_the_checkpoint() -> None:
    names = initializers(exported("getgan-1x1").proto).keys()
    assert "gate.weight" in names
    assert not [name for name in names if name.startswith(("error", "generator"))]


def test_the_occlusion_output() -> None:
    checkpoint = checkpoint_of("getgan-3x3-resize")
    model = export_onnx(checkpoint, outputs=("face", "occlusion"))
    assert shapes(model.proto)["occlusion"] == ("batch", 1, "h4", "w4")
    images = random_images(2, 16, 24)
    with torch.no_grad():
        result: Any = checkpoint.generator()(images)
    found = run_graph(model, images.numpy())
    wanted = (1 - result.gate).mean(dim=1, keepdim=True).numpy()
    assert found["occlusion"].shape == wanted.shape == (2, 1, 4, 6)
    assert np.abs(found["occlusion"] - wanted).max() < 1e-5
    assert np.abs(found["face"] - result.y_star.numpy()).max() < 1e-4
    assert not [name for name in initializers(model.proto) if name.startswith("error")]


def test_the_error_output_keeps_the_branch() -> None:
    checkpoint = checkpoint_of("getgan-none-batch")
    model = export_onnx(checkpoint, outputs=("face", "error"))
    images = random_images(1, 16, 16)
    with torch.no_grad():
        wanted: Any = checkpoint.generator()(images)
    assert np.abs(run_graph(model, images.numpy())["error"] - wanted.y_error.numpy()).max() < 1e-4
    branch = prove_branch(checkpoint, model, [images.numpy()])
    assert branch is not None and branch.kept
    assert branch.parameters_after == branch.parameters_before
    assert branch.operations_after == branch.operations_before


@pytest.mark.parametrize(
    ("name", "outputs", "message"),
    [
        (
            "getgan-none-batch",
            ("face", "occlusion"),
            "has no output occlusion; it has face and error",
        ),
        ("resnet", ("face", "occlusion"), "this resnet has no output occlusion; it has face"),
        ("ugatit", ("face", "error"), "this ugatit has no output error"),
        ("getgan-1x1", ("occlusion",), "wanted face, then occlusion or error"),
        ("getgan-1x1", ("error", "face"), "wanted face, then occlusion or error"),
        ("getgan-1x1", ("face", "heatmap"), "wanted face, then occlusion or error"),
    ],
)
def test_outputs_that_a_network_lacks(name: str, outputs: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        export_onnx(checkpoint_of(name), outputs=outputs)


# --- the exporter's noise -------------------------------------------------------------------------------


def test_the_exporter_is_quiet_and_what_it_said_is_recorded(capfd: pytest.CaptureFixture[str]) -> None:
    model = export_onnx(checkpoint_of("resnet"))
    assert capfd.readouterr() == ("", "")
    assert all(": " in line for line in model.filtered)


def test_other_messages_come_through(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger(LOGGER)
    logger.propagate = True
    with pytest.warns(FutureWarning, match="something new") as caught, quiet_exporter() as seen:
        logger.warning("torchvision is not installed. Skipping torchvision::nms")
        logger.warning("torchvision is broken")
        warnings.warn("`isinstance(treespec, LeafSpec)` is deprecated, use ...", FutureWarning, stacklevel=1)
        warnings.warn("something new", FutureWarning, stacklevel=1)
    assert [record.getMessage() for record in caplog.records] == ["torchvision is broken"]
    assert [str(each.message) for each in caught] == ["something new"]
    assert sorted(seen.values()) == [1, 1]


def test_a_warning_is_not_lost_when_the_exporter_fails() -> None:
    with pytest.warns(UserWarning, match="before"), pytest.raises(RuntimeError), quiet_exporter():
        warnings.warn("before", UserWarning, stacklevel=1)
        raise RuntimeError


# --- the picture's grid ---------------------------------------------------------------------------------


def values_of(model: OnnxModel, image: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    return {name: value for _, name, value in StepRunner(model, 1).walk(image)}


def test_levels_are_exact_in_16_bit_and_black_stays_zero() -> None:
    model = exported("getgan-1x1")
    levels = np.resize(np.arange(256), (1, 3, 16, 32)).astype(np.float32)
    on_grid = values_of(model, levels / np.float32(127.5) - np.float32(1))[NODES[1]]
    # FP16 and bf16 both hold k/256; what float32 rounding adds is far below either's step.
    assert np.array_equal(on_grid.astype(np.float16).astype(np.float32), levels / 256)
    bf16 = torch.from_numpy(on_grid).bfloat16().float().numpy()
    assert np.array_equal(bf16, levels / 256)
    black = np.full((1, 3, 16, 16), -1, np.float32)
    conv = next(node for node in model.proto.graph.node if node.op_type == "Conv")
    assert not values_of(model, black)[conv.output[0]].any()


@pytest.mark.parametrize("name", NETS)
def test_every_architecture_starts_on_the_grid(name: str) -> None:
    assert [node.name for node in exported(name).proto.graph.node[:2]] == list(NODES)


def small_graph(*nodes: onnx.NodeProto, **constants: np.ndarray[Any, Any]) -> onnx.ModelProto:
    """From image to face through the given nodes, opset 18."""
    shape: list[str | int | None] = ["batch", 3, "4*h4", "4*w4"]
    graph = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("face", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(proto: onnx.ModelProto, image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return run_graph(OnnxModel(proto.SerializeToString()), image)["face"]


@pytest.mark.parametrize("with_bias", [False, True])
def test_a_bias_that_no_norm_takes_away_is_kept(with_bias: bool) -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    constants = {"w": weight, "b": rng.normal(size=4).astype(np.float32)} if with_bias else {"w": weight}
    proto = small_graph(helper.make_node("Conv", ["image", *constants], ["face"], "conv"), **constants)
    image = random_images(1, 8, 8).numpy()
    before = run(proto, image)
    assert put_image_on_grid(proto)
    assert {tensor.name for tensor in proto.graph.initializer}.isdisjoint({"w", "b"})
    assert np.abs(run(proto, image) - before).max() < 1e-5


def test_graphs_that_the_grid_does_not_fit_stay_as_they_are() -> None:
    weight = np.ones((4, 3, 3, 3), np.float32)
    pads = np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
    conv = helper.make_node("Conv", ["image", "w"], ["face"], "conv", pads=[1, 1, 1, 1])
    zeros = helper.make_node("Pad", ["image", "p"], ["padded"], "pad")
    after = helper.make_node("Conv", ["padded", "w"], ["face"], "conv")
    relu = helper.make_node("Relu", ["image"], ["face"], "relu")
    for proto in (
        small_graph(conv, w=weight),
        small_graph(zeros, after, w=weight, p=pads),
        small_graph(relu),
    ):
        before = proto.SerializeToString()
        assert not put_image_on_grid(proto)
        assert proto.SerializeToString() == before


# --- what leaves, and the proof -------------------------------------------------------------------------


def test_cleaning_takes_out_what_the_exporter_left() -> None:
    proto = small_graph(
        helper.make_node("Relu", ["image"], ["face"], "relu", doc_string="/home/someone/net.py")
    )
    proto.metadata_props.add(key="path", value="/home/someone")
    proto.graph.metadata_props.add(key="path", value="/home/someone")
    proto.graph.node[0].metadata_props.add(key="pkg.torch.onnx.stack_trace", value="/home/someone")
    proto.graph.input[0].doc_string = "/home/someone"
    proto.graph.value_info.add(name="x", doc_string="/home/someone")
    proto.doc_string = proto.graph.doc_string = "/home/someone"
    clean(proto, "")
    assert b"someone" not in proto.SerializeToString()


def test_a_graph_that_onnx_refuses_is_an_export_error() -> None:
    broken = small_graph(helper.make_node("Relu", ["nothing"], ["face"], "relu"))
    with pytest.raises(ExportError, match="checker refuses the graph") as caught:
        model_from_proto(broken, ("face",))
    assert "\n" not in str(caught.value)
    with pytest.raises(
        ExportError, match=r"found a graph with outputs \('face',\); wanted \('face', 'error'\)"
    ):
        model_from_proto(exported("resnet").proto, ("face", "error"))


def test_the_proof_counts_what_left() -> None:
    checkpoint, model = checkpoint_of("getgan-1x1"), exported("getgan-1x1")
    branch = prove_branch(checkpoint, model, [random_images(1, 16, 16).numpy()])
    dropped = sum(value.numel() for key, value in checkpoint.state.items() if key.startswith("error."))
    assert branch is not None and branch.bit_equal
    assert not branch.kept
    assert branch.parameters_before - branch.parameters_after == dropped > 0
    error: Any = checkpoint.generator().error
    layers = sum(not list(module.children()) for module in error.modules())
    assert layers <= branch.operations_before - branch.operations_after <= 2 * layers  # a norm is several
    # Biases in front of a norm and the norms' own ones and zeros make up the rest.
    assert abs(parameters(model) - branch.parameters_after) < 100
    assert prove_branch(checkpoint_of("resnet"), exported("resnet"), []) is None


def test_the_proof_takes_a_network_whose_smallest_picture_is_large() -> None:
    """Seven levels halve a picture six times, and 64 pixels are too few for that."""
    config = GetGanConfig(shared_blocks=1, branch_blocks=1, widths=(1, 2, 3, 4, 5, 6, 7))
    network = build_generator("getgan", config)
    checkpoint = Checkpoint("getgan", config, network.state_dict(), network.contract(128), Provenance())
    branch = prove_branch(checkpoint, OnnxModel(b"", ("face", "error")), [])
    assert branch is not None and branch.kept and branch.operations_before == branch.operations_after


@pytest.mark.parametrize("name", ["error.8.weight", "renamed"])
def test_a_weight_of_the_branch_in_the_graph_is_found(name: str) -> None:
    checkpoint = checkpoint_of("getgan-1x1")
    proto = onnx.ModelProto()
    proto.CopyFrom(exported("getgan-1x1").proto)
    weight = checkpoint.state["error.8.weight"].numpy()
    proto.graph.initializer.append(numpy_helper.from_array(weight, name))
    with pytest.raises(ExportError, match=r"error branch's 'error\.8\.weight' in the graph"):
        prove_branch(checkpoint, OnnxModel(proto.SerializeToString()), [])


def test_a_face_that_depends_on_the_branch_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from getgan.models.getgan import GetGanGenerator

    real = GetGanGenerator.translate
    monkeypatch.setattr(GetGanGenerator, "translate", lambda self, x: real(self, x) + 1e-7)
    with pytest.raises(ExportError, match="differs from y_"):
        prove_branch(checkpoint_of("getgan-1x1"), exported("getgan-1x1"), [random_images(1, 16, 16).numpy()])
