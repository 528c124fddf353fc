"""Public re-implementations whose layers have other names, or that have other layers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from getgan.errors import CheckpointError
from getgan.models.checkpoint import load_checkpoint
from getgan.models.layouts import renamed
from getgan.models.resnet import ResnetConfig, ResnetGenerator
from getgan.models.settings import Told
from getgan.models.unet import UnetConfig, UnetGenerator


def split(key: str, blocks: int) -> str:
    """CycleGAN's key as repositories call it that keep the generator in three lists."""
    match = re.fullmatch(r"model\.(\d+)\.(.*)", key)
    assert match is not None
    place = int(match[1])
    for name, first, count in (("head", 0, 10), ("body", 10, blocks), ("tail", 10 + blocks, 9)):
        if first <= place < first + count:
            return f"model_{name}.{place - first}.{match[2]}"
    raise AssertionError(key)


def test_a_resnet_in_three_lists_gives_the_same_picture(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = ResnetGenerator(ResnetConfig(ngf=4, blocks=3)).eval()
    state = {split(key, 3): value for key, value in net.state_dict().items()}
    torch.save({"netG_A2B": state}, tmp_path / "net.pth")
    found = load_checkpoint(tmp_path / "net.pth")
    assert (found.arch, found.chosen) == ("resnet", "netG_A2B")
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(found.generator().translate(image), net.translate(image))


def nested(key: str, blocks: int, dropout: bool) -> str:
    """CycleGAN's key where a convolution, its norm and its ReLU are a list in the list."""
    match = re.fullmatch(r"model\.(\d+)\.(?:conv_block\.(\d)\.)?(\w+)", key)
    assert match is not None
    place, last = int(match[1]), 10 + blocks + 7
    if match[2]:
        second = {"6": 4, "7": 5} if dropout else {"5": 3, "6": 4}
        inner = {"1": "1.0", "2": "1.1", **second}[match[2]]
        return f"res_model.{place - 6}.res_block.{inner}.{match[3]}"
    if place == last:
        return f"res_model.{7 + blocks}.{match[3]}"
    row, column = divmod(place - 1 if place < 10 else place - 10 - blocks, 3)
    return f"res_model.{row + (1 if place < 10 else 4 + blocks)}.{column}.{match[3]}"


@pytest.mark.parametrize(("norm", "dropout"), [("instance", False), ("batch", True)])
def test_a_resnet_of_lists_in_a_list_gives_the_same_picture(norm: Any, dropout: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = ResnetGenerator(ResnetConfig(ngf=4, blocks=6, norm=norm, dropout=dropout)).eval()
    state = {nested(key, 6, dropout): value for key, value in net.state_dict().items()}
    assert len(state) == len(net.state_dict())
    torch.save({"epoch": 1, "Gab": state, "Gba": state}, tmp_path / "latest.ckpt")
    # Its Gab makes an A of a B, elsewhere it is the other way: so whoever knows is asked.
    with pytest.raises(CheckpointError, match="--direction Gab"):
        load_checkpoint(tmp_path / "latest.ckpt")
    found = load_checkpoint(tmp_path / "latest.ckpt", told=Told("Gab"))
    assert (found.arch, found.chosen) == ("resnet", "Gab")
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(found.generator().translate(image), net.translate(image))


def test_a_unet_under_another_name_gives_the_same_picture(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = UnetGenerator(UnetConfig(ngf=2)).eval()
    state = {key.replace("model.", "unet_model.", 1): value for key, value in net.state_dict().items()}
    torch.save(
        {"Gab": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}, tmp_path / "a.ckpt"
    )
    found = load_checkpoint(tmp_path / "a.ckpt")
    size = found.contract.min_size
    image = torch.rand(1, 3, size, size)
    assert found.arch == "unet" and torch.equal(found.generator().translate(image), net.translate(image))


def test_another_layout_stays_what_it_is() -> None:
    odd = {"model_head.1.w": 1, "model_body.0.w": 2, "model_tail.0.w": 3, "x": 4}
    for state in ({}, {"model_head.1.weight": 1}, {"model.1.weight": 1}, odd):
        assert renamed(state) == state


@pytest.mark.parametrize(
    "keys",
    [
        # Strided 4x4 convolutions; a U-Net that doubles the size before it convolves.
        ("conv1.0.weight", "conv2.0.weight", "deconv1.0.weight", "deconv2.0.weight"),
        ("down1.model.0.weight", "up1.model.1.weight", "final.1.weight"),
    ],
)
def test_what_is_not_known_is_told_with_its_keys(keys: tuple[str, ...], tmp_path: Path) -> None:
    torch.save({key: torch.zeros(8, 3, 4, 4) for key in keys}, tmp_path / "a.pth")
    first = re.escape(sorted(keys)[0])
    with pytest.raises(
        CheckpointError, match=rf"found a state dict with keys {first}.*wanted the state dict"
    ):
        load_checkpoint(tmp_path / "a.pth")


def test_a_unet_under_strange_names_is_told_by_its_shapes(tmp_path: Path) -> None:
    downs = [(3, 1), (1, 2), (2, 4), (4, 8), *[(8, 8)] * 4]
    ups = [(8, 8), *[(16, 8)] * 3, (16, 4), (8, 2), (4, 1)]
    width = {3: 3} | {n: 8 * n for n in (1, 2, 4, 8, 16)}
    state = {
        f"down{n}.model.0.weight": torch.zeros(width[o], width[i], 4, 4) for n, (i, o) in enumerate(downs)
    }
    state |= {f"up{n}.model.0.weight": torch.zeros(width[i], width[o], 4, 4) for n, (i, o) in enumerate(ups)}
    state["final.2.weight"] = torch.zeros(3, 16, 4, 4)
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(
        CheckpointError,
        match=r"by its shapes the nearest is unet \(.*: it has 10 of that one's 10 kinds of convolution and "
        r"0 others, under other names: missing keys model\.model\.0\.weight, .* and \d+ more; "
        r"unexpected keys down0\.model\.0\.weight, .* and 13 more",
    ):
        load_checkpoint(tmp_path / "a.pth")


def test_four_by_four_convolutions_with_two_blocks_are_near_a_unet(tmp_path: Path) -> None:
    state = {"conv1.0.weight": torch.zeros(64, 3, 4, 4), "conv2.0.weight": torch.zeros(128, 64, 4, 4)}
    state |= {f"conv{n}.0.weight": torch.zeros(128, 128, 3, 3) for n in (3, 4)}
    state |= {"deconv1.0.weight": torch.zeros(128, 64, 4, 4), "deconv2.0.weight": torch.zeros(64, 3, 4, 4)}
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(
        CheckpointError, match=r"by its shapes the nearest is unet \(.*: it has 2 of .* 1 others"
    ):
        load_checkpoint(tmp_path / "a.pth")
