"""pix2pix's U-Net as public repositories save it: each kind is recognised and gives its authors' picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from export_helpers import random_images, run_graph
from published_nets import Conv, Inside, Layer, Norm, Normalise, Plain, State, Transposed, run, weights
from torch import Tensor

from getgan.contract import Contract
from getgan.errors import CheckpointError, ConfigError
from getgan.export.bundle import ExportOptions, export_bundle
from getgan.export.graph import OnnxModel
from getgan.export.trace import export_onnx
from getgan.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from getgan.models.recognise import build_generator, recognise
from getgan.models.unet import UnetConfig, UnetGenerator
from getgan.runtime.bundle import Bundle


@dataclass(frozen=True)
class Public:
    """A net as its authors' options describe it."""

    norm: Norm = "batch"
    depth: int = 8
    ngf: int = 4
    dropout: bool = False
    train: bool = False


def layers_of(net: Public) -> list[Layer]:
    """The outermost list, in its authors' order."""
    bias = net.norm in ("instance", "affine", "old", "old-affine")
    widths = [net.ngf * min(2**level, 8) for level in range(net.depth)]

    def level(number: int) -> Inside:
        outer, inner = widths[number - 1 : number + 1]
        innermost, dropped = number == net.depth - 1, net.dropout and 4 <= number < net.depth - 1
        below: list[Layer] = [] if innermost else [Normalise(inner, net.norm, net.train), level(number + 1)]
        layers: list[Layer] = [Plain("leaky"), Conv(inner, outer, 4, 2, 1, bias), *below, Plain("relu")]
        layers += [Transposed(outer, inner if innermost else 2 * inner, 4, 0, bias)]
        layers += [Normalise(outer, net.norm, net.train), *([Plain("dropout")] if dropped else [])]
        return Inside("model", layers, "concatenate")

    first = Conv(net.ngf, 3, 4, 2, 1, bias)
    return [first, level(1), Plain("relu"), Transposed(3, 2 * net.ngf, 4), Plain("tanh")]


# The net, and what the config must say beside depth and width.
NETS: dict[str, tuple[Public, dict[str, Any]]] = {
    "batch": (Public(), {}),
    "batch-128": (Public(depth=7, dropout=True), {}),
    "batch-train": (Public(train=True, dropout=True), {}),
    "instance": (Public("instance", ngf=6), {"norm": "instance"}),
    "instance-512": (Public("instance", depth=9, ngf=2), {"norm": "instance"}),
    "affine": (Public("affine", depth=5), {"norm": "affine"}),
    "old": (Public("old", depth=6), {"norm": "instance"}),
    "none": (Public("none", depth=5), {"norm": "none"}),
}


def public_file(folder: Path, net: Public, contrast: float = 1.0) -> tuple[Path, State]:
    state = weights(layers_of(net), "model.model")
    state["model.model.3.weight"] *= contrast
    torch.save(state, folder / "latest_net_G.pth")
    return folder / "latest_net_G.pth", state


def as_its_authors_run_it(path: Path, net: Public) -> Checkpoint:
    """With the mode that no key shows."""
    checkpoint = load_checkpoint(path)
    assert isinstance(checkpoint.config, UnetConfig)
    return replace(checkpoint, config=replace(checkpoint.config, norm_mode="train" if net.train else "eval"))


def published(net: Public, state: State, x: Tensor) -> Tensor:
    return run(layers_of(net), state, "model.model", x)


@pytest.mark.parametrize("name", NETS)
def test_each_kind_is_recognised_and_gives_its_authors_picture(tmp_path: Path, name: str) -> None:
    net, shown = NETS[name]
    path, state = public_file(tmp_path, net)
    bare, size = load_checkpoint(path), 2**net.depth
    assert (bare.arch, bare.config) == ("unet", UnetConfig(ngf=net.ngf, depth=net.depth, **shown))
    assert bare.contract == Contract(size, size, size)
    network = as_its_authors_run_it(path, net).generator()
    for image in (random_images(1, size, size), random_images(2, size, 2 * size)):
        with torch.no_grad():
            wanted, found = published(net, state, image), network.translate(image)
        assert wanted.std() > 0.05
        assert (wanted.abs() < 0.99).float().mean() > 0.5  # the tanh hides little
        assert (found - wanted).abs().max() < 2e-5
    with pytest.raises(ConfigError, match=f"multiples of {size}, at least {size}: resize or crop it first"):
        network.translate(random_images(1, size, size + size // 2))


@pytest.mark.parametrize("name", ["old", "batch"])
def test_its_graph_gives_its_authors_picture_at_native_size(tmp_path: Path, name: str) -> None:
    net, _ = NETS[name]
    path, state = public_file(tmp_path, net)
    assert graph_error(export_onnx(as_its_authors_run_it(path, net)), net, state) < 5e-5


def test_its_bundle_passes_the_gate_in_train_mode(tmp_path: Path) -> None:
    net = Public(depth=5, train=True, dropout=True)
    path, state = public_file(tmp_path, net, contrast=0.25)
    save_checkpoint(as_its_authors_run_it(path, net), tmp_path / "net.safetensors")
    checkpoint = load_checkpoint(tmp_path / "net.safetensors")
    assert isinstance(checkpoint.config, UnetConfig)
    assert checkpoint.config.norm_mode == "train"  # the file says so
    export_bundle(
        tmp_path / "net.safetensors", tmp_path / "bundle", ExportOptions(threads=1), lambda *_: None
    )
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.manifest.contract == Contract(32, 32, 32)
    assert {each.name for each in bundle.manifest.variants} >= {"fp32", "fp16"}
    graph = OnnxModel((tmp_path / "bundle" / bundle.manifest.variant("fp32").graph).read_bytes())
    assert graph_error(graph, net, state) < 5e-5


def graph_error(graph: OnnxModel, net: Public, state: State) -> float:
    """At native size, and on a batch of another."""
    size = 2**net.depth
    images = (random_images(1, size, size), random_images(2, size, 2 * size))
    found = [torch.from_numpy(run_graph(graph, image.numpy())["face"]) for image in images]
    return max(
        float((face - published(net, state, image)).abs().max())
        for face, image in zip(found, images, strict=True)
    )


@pytest.mark.parametrize(
    ("net", "keys", "count"),
    [
        (Public("instance", depth=8, ngf=64), 32, 54_409_603),
        (Public("batch", depth=7, ngf=64), 70, 41_828_995),
    ],
)
def test_the_full_nets_have_the_public_counts(net: Public, keys: int, count: int) -> None:
    state = weights(layers_of(net), "model.model")
    arch, config = recognise(state)
    with torch.device("meta"):
        network = build_generator(arch, config)
    own = network.state_dict()
    assert {key: value.shape for key, value in own.items()} == {
        key: value.shape for key, value in state.items()
    }
    assert (len(own), sum(parameter.numel() for parameter in network.parameters())) == (keys, count)


def test_train_mode_gives_each_picture_of_a_batch_what_it_gets_alone(tmp_path: Path) -> None:
    net = Public(depth=5, train=True)
    network = as_its_authors_run_it(public_file(tmp_path, net)[0], net).generator()
    batch = random_images(3, 64, 32) * torch.tensor([1.0, 0.3, 0.1])[:, None, None, None]
    with torch.no_grad():
        together, alone = network.translate(batch), [network.translate(image[None]) for image in batch]
    assert (together - torch.cat(alone)).abs().max() < 1e-5


def test_what_the_keys_do_not_show_changes_no_key() -> None:
    state = weights(layers_of(Public(depth=5)), "model.model")
    other = {"norm_mode": "train", "eps": 1e-3}
    assert other.keys() == set(UnetGenerator.assumed)
    _, config = recognise(state)
    assert isinstance(config, UnetConfig)
    with torch.device("meta"):
        assert UnetGenerator(replace(config, **other)).state_dict().keys() == state.keys()  # type: ignore[arg-type]


@pytest.mark.parametrize("channels", [1, 4])
def test_a_net_of_other_channels_is_refused(tmp_path: Path, channels: int) -> None:
    path, state = public_file(tmp_path, Public(depth=5))
    state["model.model.0.weight"] = state["model.model.0.weight"][:, :1].repeat(1, channels, 1, 1)
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=rf"found {channels} -> 3 channels; wanted 3 -> 3 \(RGB\)"):
        load_checkpoint(path)


@pytest.mark.parametrize("depth", [1, 12])
def test_impossible_depths(depth: int) -> None:
    with pytest.raises(ConfigError, match=f"UnetConfig.depth is {depth}; wanted 2 to 11"):
        UnetConfig(depth=depth)
