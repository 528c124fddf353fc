"""Generators whose trunk is at H/2 to H/64: built, recognised, saved, and exported like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import torch
from export_helpers import random_images
from onnx import TensorProto

from getgan.contract import Contract
from getgan.errors import CheckpointError, ConfigError
from getgan.export.facts import model_of
from getgan.export.fp16 import fp16_from_fp32
from getgan.export.graph import element_types
from getgan.export.trace import Inference, export_onnx
from getgan.models.blocks import SubpixelConv2d, init_weights
from getgan.models.checkpoint import Checkpoint, Provenance, load_checkpoint, save_checkpoint
from getgan.models.generator import Generator, GeneratorConfig
from getgan.models.getgan import GetGanConfig, GetGanGenerator
from getgan.models.patchgan import PatchGanConfig, ScaledPatchGan
from getgan.models.recognise import build_generator, recognise
from getgan.models.resnet import ResnetConfig
from getgan.models.ugatit import UgatitConfig
from getgan.runtime.manifest import Model

WIDTHS: tuple[tuple[int, ...], ...] = (
    (2, 3),
    (2, 3, 5),
    (2, 3, 4, 6),
    (2, 3, 4, 5, 6),
    (1, 2, 3, 4, 5, 6, 7),
)
ARCHS = ("getgan", "resnet", "ugatit")


def config_of(arch: str, widths: tuple[int, ...], **more: Any) -> GeneratorConfig:
    if arch == "getgan":
        return GetGanConfig(shared_blocks=2, branch_blocks=1, widths=widths, **more)
    if arch == "resnet":
        return ResnetConfig(blocks=2, widths=widths, **more)
    return UgatitConfig(blocks=1, widths=widths, **more)


def made(arch: str, widths: tuple[int, ...], **more: Any) -> tuple[Checkpoint, Generator]:
    torch.manual_seed(0)
    config = config_of(arch, widths, **more)
    net = build_generator(arch, config).eval()
    contract = net.contract(4 * net.min_size)
    return Checkpoint(arch, config, net.state_dict(), contract, Provenance()), net


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("arch", ARCHS)
def test_size_rule_follows_the_levels(arch: str, widths: tuple[int, ...]) -> None:
    _, net = made(arch, widths)
    step = 2 ** (len(widths) - 1)
    assert (net.multiple_of, net.min_size) == (step, 2 * step)
    x = torch.rand(1, 3, 2 * step, 3 * step) * 2 - 1
    assert net.translate(x).shape == x.shape
    for wrong in (step, 2 * step + step // 2):
        with pytest.raises(ConfigError, match=f"multiples of {step}, at least {2 * step}"):
            net.translate(torch.zeros(1, 3, 2 * step, wrong))


@pytest.mark.parametrize("arch", ["getgan", "resnet"])
def test_stride_of_the_ends(arch: str) -> None:
    """No layer but the last blur works at full size, and the size rule counts the stride."""
    checkpoint, net = made(arch, (2, 3, 4), stride=2)
    assert (net.multiple_of, net.min_size) == (8, 16)
    x = torch.rand(1, 3, 16, 24) * 2 - 1
    assert net.translate(x).shape == x.shape
    assert recognise(net.state_dict()) == (arch, checkpoint.config)


def test_subpixels_make_no_checkerboard() -> None:
    """Whatever the four filters of a place are: flat features give a flat picture."""
    torch.manual_seed(0)
    head = SubpixelConv2d(3, 3, 5)
    flat = torch.rand(1, 3, 1, 1).expand(1, 3, 12, 16)
    y = head(flat)
    assert y.shape == (1, 3, 16, 24)
    inside = y[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(inside, inside[:, :, :1, :1].expand_as(inside))
    plain = torch.nn.Conv2d.forward(head, flat)
    assert bool((plain.view(3, 4, -1).std(dim=1) > 0.01).all())  # there was a checkerboard to remove


def test_subpixels_start_alike() -> None:
    head = SubpixelConv2d(3, 3, 5)
    init_weights(head, torch.Generator().manual_seed(0))
    weights = head.weight.view(3, 4, 3, 5, 5)
    assert torch.equal(weights, weights[:, :1].expand_as(weights))
    assert not torch.equal(weights[0], weights[1])


@pytest.mark.parametrize("stride", [0, 4, True, "2"])
def test_impossible_stride(stride: Any) -> None:
    with pytest.raises(ConfigError, match=r"stride is .* wanted one of 1, 2"):
        GetGanConfig(stride=stride)


@pytest.mark.parametrize("arch", ARCHS)
def test_cyclegans_widths_are_the_default_network(arch: str) -> None:
    plain, spelled = config_of(arch, (), ngf=3), config_of(arch, (3, 6, 12))
    assert plain == spelled
    assert list(build_generator(arch, plain).state_dict()) == list(
        build_generator(arch, spelled).state_dict()
    )


def test_gate_stands_at_the_trunk() -> None:
    _, net = made("getgan", (2, 3, 4, 6))
    assert isinstance(net, GetGanGenerator)
    gate = net(torch.zeros(2, 3, 32, 48)).gate
    assert gate.shape == (2, 6, 4, 6)


@pytest.mark.parametrize("up", ["transposed", "resize"])
@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("arch", ["getgan", "resnet"])
def test_recognised_from_its_keys(arch: str, widths: tuple[int, ...], norm: str, up: str) -> None:
    config = config_of(arch, widths, norm=norm, up=up)
    assert recognise(build_generator(arch, config).state_dict()) == (arch, config)


def test_bare_state_dict_gets_the_size_rule_of_its_levels(tmp_path: Path) -> None:
    _, net = made("getgan", (2, 3, 4, 5, 6))
    path = tmp_path / "bare.safetensors"
    path.write_bytes(safetensors.torch.save(dict(net.state_dict())))
    contract = load_checkpoint(path).contract
    assert (contract.multiple_of, contract.min_size) == (16, 32)


@pytest.mark.parametrize("arch", ARCHS)
def test_file_keeps_the_widths(arch: str, tmp_path: Path) -> None:
    checkpoint, net = made(arch, (2, 3, 4, 6))
    save_checkpoint(checkpoint, tmp_path / "net.safetensors")
    back = load_checkpoint(tmp_path / "net.safetensors")
    assert (back.config, back.contract) == (checkpoint.config, checkpoint.contract)
    x = random_images(1, 32, 32)
    assert torch.equal(back.generator().translate(x), net.translate(x))


def test_file_of_a_default_network_does_not_name_them(tmp_path: Path) -> None:
    """So that a version without the option reads it, and a bundle of it stays the same."""
    checkpoint, _ = made("resnet", (), ngf=2)
    data = tmp_path / "net.safetensors"
    save_checkpoint(checkpoint, data)
    with safetensors.safe_open(data, "pt") as opened:
        assert "widths" not in json.loads(opened.metadata()["getgan"])["config"]


def test_file_with_another_multiple_is_refused(tmp_path: Path) -> None:
    checkpoint, net = made("resnet", (2, 3, 4, 6))
    contract = Contract(64, min_size=16, multiple_of=4)
    wrong = Checkpoint("resnet", checkpoint.config, net.state_dict(), contract, Provenance())
    with pytest.raises(CheckpointError, match=r"contract\.multiple_of = 4; wanted 8"):
        save_checkpoint(wrong, tmp_path / "net.safetensors")


@pytest.mark.parametrize(
    "widths", [(4,), (4, 4), (8, 4), (4, 0), (0, 4), tuple(range(1, 9)), (4, 5000), (4, "8")]
)
@pytest.mark.parametrize("kind", [GetGanConfig, ResnetConfig, UgatitConfig])
def test_impossible_widths(kind: type[Any], widths: tuple[Any, ...]) -> None:
    with pytest.raises(ConfigError, match=r"widths are .* wanted 2 to 7 integers"):
        kind(widths=widths)


@pytest.mark.parametrize("more", [{"widths": (2, 3, 4, 5, 6)}, {"widths": (2, 3, 4, 5), "stride": 2}])
def test_exported_with_its_own_multiples(more: dict[str, Any]) -> None:
    checkpoint, _ = made("getgan", **more)
    model = export_onnx(checkpoint, outputs=("face", "occlusion"))
    shapes = {
        value.name: tuple(d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim)
        for value in (*model.proto.graph.input, *model.proto.graph.output)
    }
    picture = ("batch", 3, "16*h16", "16*w16")
    assert shapes == {"image": picture, "face": picture, "occlusion": ("batch", 1, "h16", "w16")}
    session = onnxruntime.InferenceSession(
        model.proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    reference = Inference(checkpoint.generator(), ("face", "occlusion")).eval()
    for count, height, width in ((1, 32, 32), (3, 64, 48)):
        x = random_images(count, height, width)
        with torch.no_grad():
            wanted = reference(x)
        for found, want in zip(session.run(None, {"image": x.numpy()}), wanted, strict=True):
            np.testing.assert_allclose(found, want.numpy(), atol=2e-5)


def test_subpixels_are_computed_in_fp16() -> None:
    checkpoint, _ = made("getgan", (2, 3, 4), stride=2)
    proto = fp16_from_fp32(export_onnx(checkpoint)).proto
    (place,) = [node for node in proto.graph.node if node.op_type == "DepthToSpace"]
    assert element_types(proto)[place.output[0]] == TensorProto.FLOAT16


def test_a_bundle_states_the_widths() -> None:
    checkpoint, _ = made("getgan", (2, 3, 4), stride=2)
    model = model_of(checkpoint, "coarse", 1)
    assert model.config["widths"] == (2, 3, 4)
    assert msgspec.json.decode(msgspec.json.encode(model), type=Model) == model


def test_every_scale_weighs_the_same() -> None:
    torch.manual_seed(0)
    net = ScaledPatchGan(PatchGanConfig(ndf=2, layers=2), 3)
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    scores = net(x)
    assert scores.shape == (2, 3, 14, 14)
    assert torch.equal(scores[:, :1], net.get_submodule("fine")(x))
    halved = torch.nn.functional.avg_pool2d(x, 2)
    assert torch.equal(scores[:, 1:2].unique(), net.get_submodule("coarse")(halved).unique())
    quartered = torch.nn.functional.avg_pool2d(halved, 2)
    assert torch.equal(scores[:, 2:].unique(), net.get_submodule("whole")(quartered).unique())


@pytest.mark.parametrize(("scales", "smallest"), [(2, 24), (3, 48)])
def test_the_last_scale_says_how_small_a_picture_may_be(scales: int, smallest: int) -> None:
    net = ScaledPatchGan(PatchGanConfig(ndf=2, layers=2), scales)
    assert net.min_size == smallest
    assert net(torch.zeros(1, 3, smallest, smallest)).shape[1] == scales
    with pytest.raises(ConfigError):
        net(torch.zeros(1, 3, smallest - 4, smallest - 4))
