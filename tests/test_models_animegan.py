"""AnimeGANv2 from its public file to a bundle: recognised, its authors' picture, and the graph's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as functional
from export_helpers import random_images, run_graph
from torch import Tensor

from getgan.contract import Contract
from getgan.errors import CheckpointError
from getgan.export.bundle import ExportOptions, export_bundle
from getgan.export.trace import export_onnx
from getgan.export.verify import verify_bundle
from getgan.models.animegan import AnimeGan, AnimeGanConfig
from getgan.models.checkpoint import load_checkpoint
from getgan.models.recognise import build_generator
from getgan.models.settings import Told
from getgan.runtime.bundle import Bundle

NGF = 2
# Of each convolution with its norm: width, channels for one filter, kernel.
LAYERS = {
    "block_a.0": (1, 3, 7), "block_a.1": (2, 1, 3), "block_a.2": (2, 2, 3),
    "block_b.0": (4, 2, 3), "block_b.1": (4, 4, 3), "block_c.0": (4, 4, 3), "block_c.5": (4, 8, 3),
    "block_d.0": (4, 4, 3), "block_d.1": (4, 4, 3),
    "block_e.0": (2, 4, 3), "block_e.1": (2, 2, 3), "block_e.2": (1, 2, 7),
}  # fmt: skip


def public_state() -> dict[str, Tensor]:
    """A random net as its authors save it."""
    generator = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {}

    def conv(name: str, width: int, channels: int, kernel: int) -> None:
        weight = torch.randn(width, channels, kernel, kernel, generator=generator)
        state[f"{name}.weight"] = weight * (2.0 / (channels * kernel**2)) ** 0.5

    def norm(name: str, width: int) -> None:
        state[f"{name}.weight"] = 1 + 0.2 * torch.randn(width, generator=generator)
        state[f"{name}.bias"] = 0.2 * torch.randn(width, generator=generator)

    for name, (width, channels, kernel) in LAYERS.items():
        conv(f"{name}.1", NGF * width, 3 if channels == 3 else NGF * channels, kernel)
        norm(f"{name}.2", NGF * width)
    for block in range(1, 5):
        channels, name = (4 if block == 1 else 8) * NGF, f"block_c.{block}.layers"
        conv(f"{name}.0.1", 2 * channels, channels, 1)
        norm(f"{name}.0.2", 2 * channels)
        conv(f"{name}.1.1", 2 * channels, 1, 3)
        state[f"{name}.1.1.bias"] = 0.1 * torch.randn(2 * channels, generator=generator)
        norm(f"{name}.1.2", 2 * channels)
        conv(f"{name}.2", 8 * NGF, 2 * channels, 1)
        norm(f"{name}.3", 8 * NGF)
    conv("out_layer.0", 3, NGF, 1)
    return state


def as_published(state: dict[str, Tensor], x: Tensor, corners: bool) -> Tensor:
    """The network by its description, from the state dict alone; (N, 3, H, W) in [-1, 1]."""

    def norm(name: str, y: Tensor) -> Tensor:
        mean = y.mean(dim=(1, 2, 3), keepdim=True)
        deviation = (y.var(dim=(1, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
        weight, bias = (state[f"{name}.{kind}"][:, None, None] for kind in ("weight", "bias"))
        return (y - mean) / deviation * weight + bias

    def conv(name: str, y: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
        weight = state[f"{name}.1.weight"]
        edge = weight.shape[2] // 2
        # Half the size: one row and one column more, at the right and below.
        edges = (0, 1, 0, 1) if stride == 2 else (edge, edge, edge, edge)
        y = functional.pad(y, edges, mode="reflect") if edge else y
        y = functional.conv2d(y, weight, state.get(f"{name}.1.bias"), stride, groups=groups)
        y = norm(f"{name}.2", y)
        return torch.where(y > 0, y, 0.2 * y)

    def up(y: Tensor) -> Tensor:
        size = (2 * y.shape[2], 2 * y.shape[3])
        return functional.interpolate(y, size, mode="bilinear", align_corners=corners)

    y = conv("block_a.2", conv("block_a.1", conv("block_a.0", x), 2))
    y = conv("block_c.0", conv("block_b.1", conv("block_b.0", y, 2)))
    for block in range(1, 5):
        name = f"block_c.{block}.layers"
        inner = conv(f"{name}.0", y)
        inner = conv(f"{name}.1", inner, groups=inner.shape[1])
        inner = norm(f"{name}.3", functional.conv2d(inner, state[f"{name}.2.weight"]))
        y = y + inner if y.shape == inner.shape else inner
    y = conv("block_d.1", conv("block_d.0", up(conv("block_c.5", y))))
    y = conv("block_e.2", conv("block_e.1", conv("block_e.0", up(y))))
    return torch.tanh(functional.conv2d(y, state["out_layer.0.weight"]))


@pytest.mark.parametrize("corners", [True, False])
def test_a_public_file_gives_its_authors_picture_in_pytorch_and_onnx(tmp_path: Path, corners: bool) -> None:
    state = public_state()
    torch.save(state, tmp_path / "paprika.pt")
    told = Told() if corners else Told(options=(("align_corners", "false"),))
    checkpoint = load_checkpoint(tmp_path / "paprika.pt", told=told)
    assert checkpoint.config == AnimeGanConfig(ngf=NGF, align_corners=corners)
    assert checkpoint.contract == Contract(256, 8, 4)
    assert checkpoint.sources["align_corners"] == ("assumed" if corners else "flag")
    picture = random_images(2, 24, 32)
    with torch.no_grad():
        wanted = as_published(state, picture, corners)
        assert wanted.std() > 0.1  # neither flat nor saturated
        assert (checkpoint.generator().translate(picture) - wanted).abs().max() < 1e-4
    found = run_graph(export_onnx(checkpoint), picture.numpy())["face"]
    assert abs(found - wanted.numpy()).max() < 1e-4
    other = as_published(state, picture, not corners)
    assert (other - wanted).abs().max() > 0.01  # the two differ: the default matters


def test_the_default_is_the_public_network() -> None:
    with torch.device("meta"):
        net = build_generator("animegan", AnimeGanConfig())
    assert sum(parameter.numel() for parameter in net.parameters()) == 2_143_552
    assert AnimeGan.recognised(net.state_dict()) == AnimeGanConfig()


def test_a_public_file_that_almost_fits_is_refused(tmp_path: Path) -> None:
    state = public_state()
    del state["block_c.3.layers.1.1.bias"]
    torch.save(state, tmp_path / "paprika.pt")
    with pytest.raises(CheckpointError, match=r"missing keys block_c\.3\.layers\.1\.1\.bias"):
        load_checkpoint(tmp_path / "paprika.pt")


def test_its_bundle_states_its_settings_and_is_verified_by_them(tmp_path: Path) -> None:
    path = tmp_path / "paprika.pt"
    torch.save({"params_ema": public_state()}, path)
    told = Told(options=(("align_corners", "false"), ("size", "32")))
    export_bundle(path, tmp_path / "bundle", ExportOptions(threads=1, told=told), lambda *_: None)
    model = Bundle.open(tmp_path / "bundle").manifest.model
    assert (model.chosen, model.config["align_corners"]) == ("params_ema", False)
    assert model.sources["align_corners"] == model.sources["size"] == "flag"
    assert "flag: align_corners=False, size=32" in model.notes
    report = verify_bundle(tmp_path / "bundle", path, lambda *_: None, threads=1)
    assert report.passed and report.golden_levels <= 1
