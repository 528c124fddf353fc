"""A network in 0..255 from its public file to the runtime's picture: recognised, exported, gated, run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from bundle_helpers import sample
from torch import Tensor

from getgan.contract import Contract
from getgan.errors import BundleError, CheckpointError, ConfigError
from getgan.export.bundle import ExportOptions, export_bundle
from getgan.export.compare import Comparison, Expected
from getgan.export.images import GateImage
from getgan.export.verify import verify_bundle
from getgan.models.checkpoint import Checkpoint, Provenance, load_checkpoint, save_checkpoint
from getgan.models.transformernet import TransformerNetConfig
from getgan.runtime.bundle import Bundle
from getgan.runtime.manifest import manifest_from_json
from getgan.runtime.outputs import value_fault
from getgan.runtime.pipeline import Pipeline, PipelineOptions
from getgan.runtime.pixels import image_from_tensor, tensor_from_images
from getgan.runtime.quality import THRESHOLDS
from getgan.runtime.session import open_session
from getgan.training.evaluation.contestants import open_entries
from getgan.training.evaluation.options import Entry

RANGE = (0.0, 255.0)
NGF, BLOCKS = 4, 2


def public_file(path: Path, *, statistics: bool, contrast: float = 30.0) -> dict[str, Tensor]:
    """A random net as PyTorch's example saves it; before PyTorch 0.4 with statistics that nobody uses."""
    generator = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {}

    def conv(name: str, width: int, channels: int, kernel: int, scale: float = 1.0) -> None:
        spread = scale / (channels * kernel**2) ** 0.5
        weight = torch.randn(width, channels, kernel, kernel, generator=generator) * spread
        state[f"{name}.conv2d.weight"] = weight
        state[f"{name}.conv2d.bias"] = 0.1 * torch.randn(width, generator=generator)

    def norm(name: str, width: int) -> None:
        state[f"{name}.weight"] = 1 + 0.1 * torch.randn(width, generator=generator)
        state[f"{name}.bias"] = 0.1 * torch.randn(width, generator=generator)
        if statistics:
            state[f"{name}.running_mean"] = torch.full((width,), 1e6)  # whoever uses them is found out
            state[f"{name}.running_var"] = torch.full((width,), 1e6)

    for n, (width, channels, kernel) in enumerate([(NGF, 3, 9), (2 * NGF, NGF, 3), (4 * NGF, 2 * NGF, 3)], 1):
        conv(f"conv{n}", width, channels, kernel)
        norm(f"in{n}", width)
    for block in range(1, BLOCKS + 1):
        for n in (1, 2):
            conv(f"res{block}.conv{n}", 4 * NGF, 4 * NGF, 3)
            norm(f"res{block}.in{n}", 4 * NGF)
    conv("deconv1", 2 * NGF, 4 * NGF, 3)
    norm("in4", 2 * NGF)
    conv("deconv2", NGF, 2 * NGF, 3)
    norm("in5", NGF)
    conv("deconv3", 3, NGF, 9, scale=contrast)
    state["deconv3.conv2d.bias"] += 128.0
    torch.save(state, path)
    return state


def as_published(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The network by its description, from the state dict alone; (N, 3, H, W), 0..255 in, not clipped out."""

    def conv(name: str, y: Tensor, stride: int = 1) -> Tensor:
        weight = state[f"{name}.conv2d.weight"]
        border = weight.shape[2] // 2
        padded = functional.pad(y, (border, border, border, border), mode="reflect")
        return functional.conv2d(padded, weight, state[f"{name}.conv2d.bias"], stride)

    def norm(name: str, y: Tensor) -> Tensor:
        mean = y.mean(dim=(2, 3), keepdim=True)
        deviation = (y.var(dim=(2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
        weight, bias = (state[f"{name}.{kind}"][:, None, None] for kind in ("weight", "bias"))
        return (y - mean) / deviation * weight + bias

    y = x
    for n, stride in ((1, 1), (2, 2), (3, 2)):
        y = norm(f"in{n}", conv(f"conv{n}", y, stride)).clamp(min=0)
    for block in range(1, BLOCKS + 1):
        inner = norm(f"res{block}.in1", conv(f"res{block}.conv1", y)).clamp(min=0)
        y = y + norm(f"res{block}.in2", conv(f"res{block}.conv2", inner))
    for n in (1, 2):
        y = y.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        y = norm(f"in{n + 3}", conv(f"deconv{n}", y)).clamp(min=0)
    return conv("deconv3", y)


@pytest.mark.parametrize("statistics", [False, True])
def test_a_public_file_is_recognised_and_gives_its_authors_picture(tmp_path: Path, statistics: bool) -> None:
    state = public_file(tmp_path / "mosaic.pth", statistics=statistics, contrast=70.0)
    checkpoint = load_checkpoint(tmp_path / "mosaic.pth")
    assert checkpoint.arch == "transformernet"
    assert checkpoint.config == TransformerNetConfig(ngf=NGF, blocks=BLOCKS)
    assert checkpoint.contract == Contract(256, 8, 4, range=RANGE)
    assert "RGB in [0, 255]" in checkpoint.provenance.notes
    image = torch.randint(0, 256, (2, 3, 20, 28), generator=torch.Generator().manual_seed(1)).float()
    with torch.no_grad():
        wanted = as_published(state, image)
        found = checkpoint.generator().translate(image)
    assert wanted.min() < 0 and wanted.max() > 255  # clipping is seen
    assert (found - wanted.clamp(0, 255)).abs().max() < 1e-4 * 127.5
    with pytest.raises(ConfigError, match="multiples of 4, at least 8"):
        checkpoint.generator().translate(image[..., :18])


def test_a_public_file_that_almost_fits_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mosaic.pth"
    state = public_file(path, statistics=False)
    torch.save({**state, "res1.conv3.conv2d.weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=r"unexpected keys res1\.conv3\.conv2d\.weight"):
        load_checkpoint(path)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Checkpoint and bundle."""
    folder = tmp_path_factory.mktemp("transformernet")
    public_file(folder / "mosaic.pth", statistics=True)
    bare = load_checkpoint(folder / "mosaic.pth")
    contract = bare.generator().contract(32)
    checkpoint = Checkpoint(bare.arch, bare.config, bare.state, contract, Provenance())
    save_checkpoint(checkpoint, folder / "mosaic.safetensors")
    export_bundle(
        folder / "mosaic.safetensors",
        folder / "bundle",
        ExportOptions(frames=True, threads=1),
        lambda *_: None,
    )
    return folder / "mosaic.safetensors", folder / "bundle"


def test_its_bundle_keeps_the_limits_and_the_runtime_gives_its_picture(exported: tuple[Path, Path]) -> None:
    checkpoint, bundle = load_checkpoint(exported[0]), Bundle.open(exported[1])
    assert bundle.manifest.contract == checkpoint.contract == Contract(32, 8, 4, range=RANGE)
    fp32 = bundle.manifest.variant("fp32").figures
    assert 1e-6 < fp32.max_error < 1e-3  # as if in [-1, 1]; in levels it would be 127.5 times that
    assert {each.name for each in bundle.manifest.variants} >= {"fp32", "fp16", "fp16-frames"}
    picture = sample(32)
    with torch.no_grad():
        tensor = torch.from_numpy(picture.transpose(2, 0, 1)[None].copy()).float()
        wanted = checkpoint.generator().translate(tensor)[0].round().numpy().transpose(1, 2, 0)
    assert wanted.std() > 10  # not black, not white
    with open_session(bundle, device="cpu", precision="fp32", threads=1) as session:
        options = PipelineOptions(label=False)
        result = Pipeline(session, bundle.manifest.contract, options).translate([picture])[0]
    assert result.fault == "" and result.image is not None
    assert np.abs(result.image.astype(np.float64) - wanted).max() <= 1


def test_the_graph_of_frames_gives_the_pictures_of_the_other(exported: tuple[Path, Path]) -> None:
    bundle, frames = Bundle.open(exported[1]), np.stack([sample(32, seed) for seed in (0, 1)])
    faces = []
    for name in ("fp16", "fp16-frames"):
        with open_session(bundle, device="cpu", precision=name, threads=1) as session:
            assert session.info.precision == name
            answers = session.translate(frames)
        assert answers.faults == ("", "")
        faces.append(answers.faces.astype(int))
    assert faces[0].std() > 10 and np.abs(faces[0] - faces[1]).max() <= 1


def test_its_bundle_is_verified(exported: tuple[Path, Path]) -> None:
    report = verify_bundle(exported[1], exported[0], lambda *_: None, threads=1)
    assert report.golden_levels <= 1
    assert report.verdicts[0].result == "passed"


def test_a_manifest_with_a_range_that_no_picture_has_is_refused(exported: tuple[Path, Path]) -> None:
    text = (exported[1] / "manifest.json").read_text()
    assert manifest_from_json(text.encode()).contract.range == RANGE
    assert "255.0" in text
    with pytest.raises(BundleError, match="impossible image contract"):
        manifest_from_json(text.replace("255.0", "0.0").encode())


def test_it_is_not_evaluated_beside_networks_of_another_range(exported: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match=r"mosaic takes values in \[0, 255\]; wanted \[-1, 1\]"):
        open_entries([Entry("mosaic", exported[0])], None, torch.device("cpu"))


def test_every_level_comes_back_through_any_range() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    for low, high in (RANGE, (-1.0, 1.0), (0.0, 1.0)):
        tensor = tensor_from_images([ramp], (low, high))
        assert (tensor.min(), tensor.max()) == (low, high)
        assert np.array_equal(image_from_tensor(tensor[0], (low, high)), ramp)
    assert np.array_equal(tensor_from_images([ramp], RANGE)[0, 0], ramp[..., 0])


def test_the_guard_and_the_limits_are_those_of_the_range() -> None:
    picture = np.full((1, 3, 16, 16), 255.0, np.float32)
    assert value_fault("face", picture, RANGE) == value_fault("face", picture + 1, RANGE) == ""
    assert "reaches from 257 to 257, wanted 0 to 255" in value_fault("face", picture + 2, RANGE)
    assert "wanted 0 to 1" in value_fault("occlusion", picture, RANGE)
    shown = np.random.default_rng(0).integers(1, 255, (16, 16, 3), np.uint8)
    tensor = tensor_from_images([shown], RANGE)
    image = GateImage("x", "real", "", shown)
    expected = Expected(image, tensor, {"face": tensor}, shown, RANGE)
    for error, kept in ((0.9e-4, True), (1.1e-4, False)):
        moved = (tensor + np.float32(127.5 * error)).astype(np.float32)
        record = Comparison().image(THRESHOLDS["fp32"], expected, {"face": moved}, "")
        assert record.max_error == pytest.approx(error, rel=0.1)
        assert (record.failures == ()) == kept
