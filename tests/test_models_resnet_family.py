"""CycleGAN's ResNet as public repositories save it: each layout is recognised and gives its picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from export_helpers import random_images, run_graph
from published_nets import (
    Blur,
    Conv,
    Inside,
    Layer,
    Norm,
    Normalise,
    Pad,
    Plain,
    State,
    Transposed,
    run,
    weights,
)
from torch import Tensor

from getgan.errors import CheckpointError, ConfigError
from getgan.export.bundle import ExportOptions, export_bundle
from getgan.export.convert import FP32
from getgan.export.gate import Gate
from getgan.export.graph import OnnxModel
from getgan.export.images import gate_images
from getgan.export.reference import PyTorchReference
from getgan.export.trace import export_onnx
from getgan.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from getgan.models.recognise import build_generator, recognise
from getgan.models.resnet import ResnetConfig, ResnetGenerator
from getgan.runtime.bundle import Bundle


@dataclass(frozen=True)
class Public:
    """A net as its authors' options describe it."""

    norm: Norm = "instance"
    blocks: int = 2
    ngf: int = 4
    downs: int = 2
    name: str = "conv_block"
    padding: Literal["reflect", "replicate", "zero"] = "reflect"
    dropout: bool = False
    down: Literal["strided", "blur"] = "strided"
    up: Literal["transposed", "nearest", "nearest-pad", "bilinear-pad", "blur"] = "transposed"
    bias: bool | None = None  # None = CycleGAN's rule
    train: bool = False


def layers_of(net: Public) -> list[Layer]:
    """The generator's list, in its authors' order."""
    bias = net.norm in ("instance", "affine", "old", "old-affine") if net.bias is None else net.bias

    def behind(channels: int) -> list[Layer]:
        return [Normalise(channels, net.norm, net.train), Plain("relu")]

    layers: list[Layer] = [Pad(3), Conv(net.ngf, 3, 7, bias=bias), *behind(net.ngf)]
    width = net.ngf
    for _ in range(net.downs):
        stride = 2 if net.down == "strided" else 1
        layers += [Conv(2 * width, width, 3, stride, 1, bias), *behind(2 * width)]
        layers += [Blur(2 * width, "down")] if net.down == "blur" else []
        width *= 2
    layers += [Inside(net.name, block_of(net, width, bias)) for _ in range(net.blocks)]
    for _ in range(net.downs):
        half = width // 2
        if net.up == "transposed":
            layers += [Transposed(half, width, 3, 1, bias)]
        elif net.up == "blur":
            layers += [Blur(width, "up"), Conv(half, width, 3, 1, 1, bias)]
        elif net.up == "nearest":
            layers += [Plain("nearest"), Conv(half, width, 3, 1, 1, bias)]
        else:
            mode: Any = net.up.removesuffix("-pad")
            layers += [Plain(mode), Pad(1), Conv(half, width, 3, bias=bias)]
        layers += behind(half)
        width = half
    return [*layers, Pad(3), Conv(3, net.ngf, 7), Plain("tanh")]


def block_of(net: Public, width: int, bias: bool) -> list[Layer]:
    zero = net.padding == "zero"
    conv: list[Layer] = [] if zero else [Pad(1, net.padding)]
    conv += [Conv(width, width, 3, padding=int(zero), bias=bias), Normalise(width, net.norm, net.train)]
    dropout: list[Layer] = [Plain("dropout")] if net.dropout else []
    return [*conv, Plain("relu"), *dropout, *conv]


# Its name, the net, and what the config must say beside width and blocks; `assumed` is what no key shows.
NETS: dict[str, tuple[Public, dict[str, Any], dict[str, Any]]] = {
    "cyclegan": (Public(), {}, {}),
    "affine": (Public("affine", blocks=4), {"norm": "affine"}, {}),
    "old": (Public("old", blocks=1, ngf=6), {}, {}),
    "old-affine": (Public("old-affine"), {"norm": "affine"}, {}),
    "batch-dropout": (Public("batch", dropout=True), {"norm": "batch", "dropout": True}, {}),
    "batch-train": (
        Public("batch", train=True, dropout=True),
        {"norm": "batch", "dropout": True},
        {"norm_mode": "train"},
    ),
    "none": (Public("none", blocks=1, up="nearest-pad"), {"norm": "none", "up": "upsample-pad"}, {}),
    "zero": (Public(padding="zero"), {"padding": "zero"}, {}),
    "zero-dropout": (Public(padding="zero", dropout=True), {"padding": "zero", "dropout": True}, {}),
    "replicate": (Public(padding="replicate", blocks=6, ngf=2), {}, {"padding": "replicate"}),
    "pytorch-gan": (Public(name="block", up="nearest"), {"block": "block", "up": "upsample"}, {}),
    "bilinear": (Public(up="bilinear-pad"), {"up": "upsample-pad"}, {"interpolation": "bilinear"}),
    "mixed": (
        Public("affine", padding="replicate", up="bilinear-pad"),
        {"norm": "affine", "up": "upsample-pad"},
        {"padding": "replicate", "interpolation": "bilinear"},
    ),
    "cut": (Public(down="blur", up="blur"), {"down": "blur", "up": "blur"}, {}),
    "cut-plain-up": (Public(down="blur"), {"down": "blur"}, {}),
    "cut-plain-down": (Public(up="blur", norm="batch"), {"up": "blur", "norm": "batch"}, {}),
    "pix2pixhd": (Public(downs=4, ngf=2), {"widths": (2, 4, 8, 16, 32)}, {}),
    "pix2pixhd-batch": (
        Public("batch", downs=3, ngf=2, bias=True),
        {"widths": (2, 4, 8, 16), "norm": "batch", "bias": "always"},
        {},
    ),
    "affine-unbiased": (Public("affine", bias=False), {"norm": "affine", "bias": "never"}, {}),
}
# One of every kind of graph: an export takes seconds.
EXPORTED = ("batch-dropout", "mixed", "pytorch-gan")
GATED = ("batch-train", "cut")


def public_file(folder: Path, name: str, contrast: float = 1.0) -> tuple[Path, State]:
    state = weights(layers_of(NETS[name][0]), "model")
    state[list(state)[-2]] *= contrast
    torch.save(state, folder / "latest_net_G.pth")
    return folder / "latest_net_G.pth", state


def as_its_authors_run_it(path: Path, name: str) -> Checkpoint:
    """With what no key shows."""
    checkpoint = load_checkpoint(path)
    return replace(checkpoint, config=replace(checkpoint.config, **NETS[name][2]))


def published(name: str, state: State, x: Tensor) -> Tensor:
    return run(layers_of(NETS[name][0]), state, "model", x)


@pytest.mark.parametrize("name", NETS)
def test_each_layout_is_recognised_and_gives_its_authors_picture(tmp_path: Path, name: str) -> None:
    net, shown, _ = NETS[name]
    path, state = public_file(tmp_path, name)
    bare = load_checkpoint(path)
    assert bare.arch == "resnet"
    assert bare.config == ResnetConfig(ngf=net.ngf, blocks=net.blocks, **shown)
    checkpoint = as_its_authors_run_it(path, name)
    for image in (random_images(1, 256, 256), random_images(2, 48, 64)):
        with torch.no_grad():
            wanted, found = published(name, state, image), checkpoint.generator().translate(image)
        assert wanted.std() > 0.05
        assert (wanted.abs() < 0.99).float().mean() > 0.5  # the tanh hides little
        assert (found - wanted).abs().max() < 2e-5


@pytest.mark.parametrize("name", EXPORTED)
def test_its_graph_gives_its_authors_picture(tmp_path: Path, name: str) -> None:
    path, state = public_file(tmp_path, name)
    assert graph_error(export_onnx(as_its_authors_run_it(path, name)), name, state) < 5e-5


@pytest.mark.parametrize("name", GATED)
def test_its_bundle_passes_the_gate_and_gives_its_authors_picture(tmp_path: Path, name: str) -> None:
    path, state = public_file(tmp_path, name, contrast=0.25)
    checkpoint = as_its_authors_run_it(path, name)
    save_checkpoint(replace(checkpoint, contract=checkpoint.generator().contract(32)), tmp_path / "net.pt")
    export_bundle(tmp_path / "net.pt", tmp_path / "bundle", ExportOptions(threads=1), lambda *_: None)
    bundle = Bundle.open(tmp_path / "bundle")
    assert {each.name for each in bundle.manifest.variants} >= {"fp32", "fp16"}
    graph = OnnxModel((tmp_path / "bundle" / bundle.manifest.variant("fp32").graph).read_bytes())
    assert graph_error(graph, name, state) < 5e-5


def test_a_flat_picture_that_only_rounding_decides_does_not_stop_an_export(tmp_path: Path) -> None:
    # PyTorch rounds all its pixels alike, so that FP32 and FP64 agree; other backends are off by 8 levels.
    path, _ = public_file(tmp_path, "batch-train", contrast=8.0)
    checkpoint = as_its_authors_run_it(path, "batch-train")
    checkpoint = replace(checkpoint, contract=checkpoint.generator().contract(32))
    images = [each for each in gate_images(checkpoint.contract) if each.name in ("hand", "grey")]
    gate = Gate(PyTorchReference(checkpoint), checkpoint.contract, images, threads=1)
    record = gate.judge(FP32, export_onnx(checkpoint))
    assert (record.accepted, record.reason) == (True, "")
    assert record.figures is not None
    assert record.figures.worst == "hand"
    assert "1e-7 added differ by" in record.images[1].undetermined


def graph_error(graph: OnnxModel, name: str, state: State) -> float:
    """At native size, and on a batch of another."""
    images = (random_images(1, 256, 256), random_images(2, 32, 48))
    found = [torch.from_numpy(run_graph(graph, image.numpy())["face"]) for image in images]
    return max(
        float((face - published(name, state, image)).abs().max())
        for face, image in zip(found, images, strict=True)
    )


@pytest.mark.parametrize(
    ("net", "keys", "count", "last"),
    [
        (Public(ngf=64, blocks=9), 48, 11_378_179, "model.26.bias"),
        (Public(ngf=64, blocks=6), 36, 7_837_699, "model.23.bias"),
        (Public("batch", ngf=64, blocks=9), 140, 11_383_427, "model.26.bias"),
        (Public(ngf=64, blocks=9, down="blur", up="blur"), 52, 11_378_179, "model.30.bias"),
    ],
)
def test_the_full_nets_have_the_public_counts(net: Public, keys: int, count: int, last: str) -> None:
    state = weights(layers_of(net), "model")
    arch, config = recognise(state)
    with torch.device("meta"):
        network = build_generator(arch, config)
    own = network.state_dict()
    assert {key: value.shape for key, value in own.items()} == {
        key: value.shape for key, value in state.items()
    }
    assert (len(own), sum(parameter.numel() for parameter in network.parameters())) == (keys, count)
    assert list(own)[-1] == last


def test_train_mode_gives_each_picture_of_a_batch_what_it_gets_alone(tmp_path: Path) -> None:
    path, _ = public_file(tmp_path, "batch-train")
    network = as_its_authors_run_it(path, "batch-train").generator()
    batch = random_images(3, 32, 32) * torch.tensor([1.0, 0.3, 0.1])[:, None, None, None]
    with torch.no_grad():
        together, alone = network.translate(batch), [network.translate(image[None]) for image in batch]
    assert (together - torch.cat(alone)).abs().max() < 1e-5


def test_train_mode_is_recorded_in_the_file(tmp_path: Path) -> None:
    path, _ = public_file(tmp_path, "batch-train")
    save_checkpoint(as_its_authors_run_it(path, "batch-train"), tmp_path / "net.safetensors")
    config = load_checkpoint(tmp_path / "net.safetensors").config
    assert isinstance(config, ResnetConfig)
    assert config.norm_mode == "train"
    image = random_images(1, 32, 32)
    eval_mode, train_mode = (
        load_checkpoint(each).generator() for each in (path, tmp_path / "net.safetensors")
    )
    with torch.no_grad():
        assert (eval_mode.translate(image) - train_mode.translate(image)).abs().max() > 0.1


def test_batch_norm_from_before_its_updates_were_counted(tmp_path: Path) -> None:
    path, state = public_file(tmp_path, "batch-dropout")
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    torch.save(old, path)
    image = random_images(1, 32, 32)
    with torch.no_grad():
        found = load_checkpoint(path).generator().translate(image)
    assert (found - published("batch-dropout", state, image)).abs().max() < 2e-5


def test_eps_is_what_the_config_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, state = public_file(tmp_path, "cyclegan")
    checkpoint = load_checkpoint(path)
    assert isinstance(checkpoint.config, ResnetConfig)
    wide = replace(checkpoint, config=replace(checkpoint.config, eps=0.1)).generator()
    monkeypatch.setattr("published_nets.EPS", 0.1)
    image = random_images(1, 32, 32)
    with torch.no_grad():
        assert (wide.translate(image) - published("cyclegan", state, image)).abs().max() < 2e-5
        assert (wide.translate(image) - checkpoint.generator().translate(image)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 0.0}, "ResnetConfig.eps is 0.0; wanted it between 0 and 1"),
        ({"eps": float("nan")}, "ResnetConfig.eps is nan"),
        ({"norm_mode": "test"}, "ResnetConfig.norm_mode is 'test'; wanted one of eval, train"),
        ({"padding": "same"}, "ResnetConfig.padding is 'same'; wanted one of reflect, replicate, zero"),
    ],
)
def test_impossible_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ResnetConfig(**options)


def test_what_the_keys_do_not_show_changes_no_key() -> None:
    other = {"padding": "replicate", "interpolation": "bilinear", "norm_mode": "train", "eps": 1e-3}
    assert other.keys() == set(ResnetGenerator.assumed)
    for name in ("batch-dropout", "cut", "bilinear"):
        state = weights(layers_of(NETS[name][0]), "model")
        _, config = recognise(state)
        assert isinstance(config, ResnetConfig)
        with torch.device("meta"):
            assert ResnetGenerator(replace(config, **other)).state_dict().keys() == state.keys()  # type: ignore[arg-type]


def test_a_net_of_other_channels_is_refused(tmp_path: Path) -> None:
    state = weights(layers_of(Public()), "model")
    state["model.1.weight"] = state["model.1.weight"][:, :1].clone()
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=r"found 1 -> 3 channels; wanted 3 -> 3 \(RGB\)"):
        load_checkpoint(tmp_path / "net.pth")
