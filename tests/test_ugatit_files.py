"""U-GAT-IT's public file: six networks in one, either direction, light and full; its authors' picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
import torch.nn.functional as functional
from export_helpers import random_images, run_graph
from torch import Tensor

from getgan.contract import Contract
from getgan.errors import CheckpointError
from getgan.export.facts import inspect_checkpoint
from getgan.export.proof import prove_branch
from getgan.export.trace import export_onnx
from getgan.models.checkpoint import load_checkpoint
from getgan.models.settings import Told
from getgan.models.ugatit import (
    UgatitConfig,
    UgatitDiscriminator,
    UgatitDiscriminatorConfig,
)

SIZE = 16
NGF, BLOCKS = 2, 2


def public_generator(seed: int, *, light: bool) -> dict[str, Tensor]:
    """A random generator as its authors' code names and shapes it."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    wide = 4 * NGF

    def weight(name: str, *shape: int) -> None:
        fan = torch.Size(shape[1:]).numel()
        state[f"{name}.weight"] = torch.randn(*shape, generator=generator) * (2.0 / fan) ** 0.5

    weight("DownBlock.1", NGF, 3, 7, 7)
    weight("DownBlock.5", 2 * NGF, NGF, 3, 3)
    weight("DownBlock.9", wide, 2 * NGF, 3, 3)
    for block in range(BLOCKS):
        for conv in (1, 5):
            weight(f"DownBlock.{12 + block}.conv_block.{conv}", wide, wide, 3, 3)
    weight("gap_fc", 1, wide)
    weight("gmp_fc", 1, wide)
    weight("conv1x1", wide, 2 * wide, 1, 1)
    state["conv1x1.bias"] = 0.1 * torch.randn(wide, generator=generator)
    weight("FC.0", wide, wide if light else wide * (SIZE // 4) ** 2)
    weight("FC.2", wide, wide)
    weight("gamma", wide, wide)
    weight("beta", wide, wide)
    for block in range(1, BLOCKS + 1):
        for n in (1, 2):
            weight(f"UpBlock1_{block}.conv{n}", wide, wide, 3, 3)
            state[f"UpBlock1_{block}.norm{n}.rho"] = torch.rand(1, wide, 1, 1, generator=generator)
    for place, (width, channels) in ((2, (2 * NGF, wide)), (7, (NGF, 2 * NGF))):
        weight(f"UpBlock2.{place}", width, channels, 3, 3)
        for name, low, high in (("rho", 0.0, 1.0), ("gamma", 0.5, 1.5), ("beta", -0.5, 0.5)):
            drawn = torch.rand(1, width, 1, 1, generator=generator)
            state[f"UpBlock2.{place + 1}.{name}"] = low + (high - low) * drawn
    weight("UpBlock2.11", 3, NGF, 7, 7)
    return state


def public_file(path: Path, *, light: bool) -> dict[str, dict[str, Tensor]]:
    """As the authors' training saves it, with spectral norm in the old spelling of PyTorch."""
    content = {"genA2B": public_generator(1, light=light), "genB2A": public_generator(2, light=light)}
    for name, layers in (("disGA", 7), ("disGB", 7), ("disLA", 5), ("disLB", 5)):
        net = UgatitDiscriminator(UgatitDiscriminatorConfig(ndf=1, layers=layers))
        content[name] = {
            key.replace("parametrizations.weight.original", "weight_orig"): value
            for key, value in net.state_dict().items()
        }
    torch.save(content, path)
    return content


def as_published(state: dict[str, Tensor], x: Tensor, *, light: bool) -> Tensor:
    """The network by the paper, from the state dict alone; (N, 3, H, W) in [-1, 1]."""

    def conv(name: str, y: Tensor, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        edge = weight.shape[2] // 2
        y = functional.pad(y, (edge,) * 4, mode="reflect") if edge else y
        return functional.conv2d(y, weight, state.get(f"{name}.bias"), stride)

    def standard(y: Tensor, dims: tuple[int, ...], unbiased: bool) -> Tensor:
        count = torch.Size(y.shape[dim] for dim in dims).numel()
        centred = y - y.mean(dim=dims, keepdim=True)
        variance = (centred**2).sum(dim=dims, keepdim=True) / (count - unbiased)
        return centred / (variance + 1e-5).sqrt()

    def instance(y: Tensor) -> Tensor:
        return standard(y, (2, 3), unbiased=False)

    def mixed(y: Tensor, rho: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        channels, picture = standard(y, (2, 3), unbiased=True), standard(y, (1, 2, 3), unbiased=True)
        return (rho * channels + (1 - rho) * picture) * gamma + beta

    y = x
    for name, stride in (("DownBlock.1", 1), ("DownBlock.5", 2), ("DownBlock.9", 2)):
        y = instance(conv(name, y, stride)).clamp(min=0)
    for block in range(BLOCKS):
        name = f"DownBlock.{12 + block}.conv_block"
        y = y + instance(conv(f"{name}.5", instance(conv(f"{name}.1", y)).clamp(min=0)))
    weighted = [y * state[f"{pool}_fc.weight"].reshape(1, -1, 1, 1) for pool in ("gap", "gmp")]
    y = conv("conv1x1", torch.cat(weighted, dim=1)).clamp(min=0)
    style = y.mean(dim=(2, 3)) if light else y.reshape(len(y), -1)
    for name in ("FC.0", "FC.2"):
        style = (style @ state[f"{name}.weight"].T).clamp(min=0)
    gamma, beta = (
        (style @ state[f"{name}.weight"].T).reshape(len(y), -1, 1, 1) for name in ("gamma", "beta")
    )
    for block in range(1, BLOCKS + 1):
        name = f"UpBlock1_{block}"
        inner = mixed(conv(f"{name}.conv1", y), state[f"{name}.norm1.rho"], gamma, beta).clamp(min=0)
        y = y + mixed(conv(f"{name}.conv2", inner), state[f"{name}.norm2.rho"], gamma, beta)
    for place in (2, 7):
        y = y.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        own = (state[f"UpBlock2.{place + 1}.{kind}"] for kind in ("rho", "gamma", "beta"))
        y = mixed(conv(f"UpBlock2.{place}", y), *own).clamp(min=0)
    return torch.tanh(conv("UpBlock2.11", y))


@pytest.mark.parametrize("light", [True, False])
def test_a_public_file_gives_its_authors_picture_in_pytorch_and_onnx(tmp_path: Path, light: bool) -> None:
    path = tmp_path / "selfie2anime.pt"
    content = public_file(path, light=light)
    checkpoint = load_checkpoint(path)
    assert checkpoint.config == UgatitConfig(ngf=NGF, blocks=BLOCKS, light=light, size=256 if light else SIZE)
    assert checkpoint.contract == (Contract(256, 8, 4) if light else Contract(SIZE, SIZE, 4, fixed=True))
    picture = random_images(2, SIZE, SIZE)
    with torch.no_grad():
        wanted = as_published(content["genA2B"], picture, light=light)
        other = as_published(content["genB2A"], picture, light=light)
        assert wanted.std() > 0.1 and (wanted - other).abs().max() > 0.5
        assert (checkpoint.generator().translate(picture) - wanted).abs().max() < 1e-4
        backwards = load_checkpoint(path, told=Told("B2A"))
        assert (backwards.generator().translate(picture) - other).abs().max() < 1e-4
    model = export_onnx(checkpoint)
    assert abs(run_graph(model, picture.numpy())["face"] - wanted.numpy()).max() < 1e-4

    # Not a node of the class activation map's logits and heatmap is left, and the proof says so.
    branch = prove_branch(checkpoint, model, [picture[:1].numpy()])
    assert branch is not None and (branch.name, branch.kept, branch.bit_equal) == ("cam", False, True)
    assert branch.operations_after < branch.operations_before
    kinds = [node.op_type for node in onnx.load_from_string(model.data).graph.node]
    assert "ReduceMax" not in kinds  # the maximum is pooled for a logit alone
    assert kinds.count("Gemm") + kinds.count("MatMul") == 4  # FC twice, gamma, beta; two more with logits


def test_the_direction_is_a_choice_that_is_written_down(tmp_path: Path) -> None:
    path = tmp_path / "selfie2anime.pt"
    public_file(path, light=True)
    found = load_checkpoint(path)
    assert (found.chosen, found.sources["generator"]) == ("genA2B", "assumed")
    assert "genA2B taken and not genB2A (assumed)" in found.provenance.notes
    for direction in ("B2A", "b2a", "genB2A"):
        told = load_checkpoint(path, told=Told(direction))
        assert (told.chosen, told.sources["generator"]) == ("genB2A", "flag")
    with pytest.raises(CheckpointError, match=r"no generator 'C2D', only genA2B, genB2A; wanted one: --dir"):
        load_checkpoint(path, told=Told("C2D"))
    facts = inspect_checkpoint(path, Told("B2A")).text()
    assert "genB2A taken and not genA2B (flag)" in facts
    assert facts.count("\ntaken from    genB2A\n") == 1


@pytest.mark.parametrize("positions", [3, 0])
def test_a_full_net_is_square(tmp_path: Path, positions: int) -> None:
    state = public_generator(0, light=True)
    state["FC.0.weight"] = torch.zeros(4 * NGF, 4 * NGF * positions)
    torch.save({"genA2B": state}, tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match=r"places in FC\.0\.weight|UgatitConfig\.size"):
        load_checkpoint(tmp_path / "net.pt")


def test_the_size_of_a_full_net_is_in_its_keys(tmp_path: Path) -> None:
    torch.save(public_generator(0, light=False), tmp_path / "net.pt")
    found = load_checkpoint(tmp_path / "net.pt")
    assert (found.contract.size, found.sources["size"]) == (SIZE, "keys")
    with pytest.raises(CheckpointError, match=f"--option size=32; this ugatit takes {SIZE} only"):
        load_checkpoint(tmp_path / "net.pt", told=Told(options=(("size", "32"),)))
    assert replace(UgatitConfig(), light=False).size == 256
