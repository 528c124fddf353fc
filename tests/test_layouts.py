"""Public re-implementations whose layers have other names, or that have other layers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from getgan.errors import CheckpointError
from getgan.models.checkpoint import load_checkpoint
from getgan.models.layouts import renamed
from getgan.models.resnet import ResnetConfig, ResnetGenerator
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
        # Lists in the list; strided 4x4 convolutions; a U-Net that doubles the size before it convolves.
        ("res_model.1.0.weight", "res_model.4.res_block.1.0.weight", "res_model.14.weight"),
        ("conv1.0.weight", "conv2.0.weight", "deconv1.0.weight", "deconv2.0.weight"),
        ("down1.model.0.weight", "up1.model.1.weight", "final.1.weight"),
    ],
)
def test_what_is_not_known_is_told_with_its_keys(keys: tuple[str, ...], tmp_path: Path) -> None:
    torch.save({key: torch.zeros(8, 3, 4, 4) for key in keys}, tmp_path / "a.pth")
    first = re.escape(sorted(keys)[0].removeprefix("res_model."))  # which is taken for a wrapper
    with pytest.raises(
        CheckpointError, match=rf"found a state dict with keys {first}.*wanted the state dict"
    ):
        load_checkpoint(tmp_path / "a.pth")
