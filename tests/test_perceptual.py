"""The perceptual network against the package whose weights it reads."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from getgan.errors import ConfigError, GetganError
from getgan.models import perceptual
from getgan.models.perceptual import PerceptualDistance, PerceptualWeightsError


@pytest.fixture(scope="module")
def network() -> PerceptualDistance:
    return PerceptualDistance.load()


def waves(height: int, width: int, phase: float) -> Tensor:
    """A picture that any machine makes alike: (1, 3, H, W) in [-1, 1]."""
    rows = torch.arange(height, dtype=torch.float64)[:, None]
    columns = torch.arange(width, dtype=torch.float64)[None]
    channels = [
        torch.sin(0.11 * (c + 1) * rows + 0.07 * (c + 2) * columns + phase * (c + 1))
        * torch.cos(0.013 * rows * columns / (c + 1))
        for c in range(3)
    ]
    return torch.stack(channels)[None].float()


# What stlpips_pytorch 0.0.2 itself gives: LPIPS(net="alex", variant="shift_tolerant")(a, b) of the two
# pictures below, torch 2.13.0 on a CPU, with empty modules in place of torchvision, IPython and torchsummary.
THEIRS = {(64, 64): 0.407949686, (48, 80): 0.384362519, (32, 32): 0.527889490}


@pytest.mark.parametrize("size", THEIRS)
def test_the_distance_is_the_packages(network: PerceptualDistance, size: tuple[int, int]) -> None:
    a, b = waves(*size, 0.0), waves(*size, 1.3)
    assert network.distance(a, b).item() == pytest.approx(THEIRS[size], abs=2e-6)
    assert network.distance(b, a).item() == pytest.approx(THEIRS[size], abs=2e-6)


def test_equal_pictures_are_at_no_distance_and_each_pair_counts_alone(network: PerceptualDistance) -> None:
    a, b = waves(32, 32, 0.0), waves(32, 32, 1.3)
    found = network.distance(torch.cat([a, a, b]), torch.cat([a, b, b]))
    assert found[0].item() == found[2].item() == 0.0
    assert found[1].item() == pytest.approx(THEIRS[32, 32], abs=2e-6)


def test_the_map_shows_where_pictures_differ(network: PerceptualDistance) -> None:
    a = waves(64, 64, 0.0)
    b = a.clone()
    b[:, :, :16, :16] = waves(16, 16, 2.0)
    found = network.distance_map(network.stages(a), network.stages(b), (64, 64))
    assert found.shape == (1, 64, 64)
    assert found[0, :16, :16].mean() > 20 * found[0, 40:, 40:].mean()
    whole = network.distance_map(network.stages(a), network.stages(waves(64, 64, 1.3)), (64, 64))
    assert whole.mean().item() == pytest.approx(THEIRS[64, 64], rel=1e-3)  # up to the interpolation's edges


def test_a_shift_by_a_pixel_is_near_and_another_picture_is_far(network: PerceptualDistance) -> None:
    wide = waves(64, 65, 0.0)
    shifted = network.distance(wide[..., :-1], wide[..., 1:]).item()
    assert 0.0 < shifted < 0.5 * THEIRS[64, 64]


def test_features_are_cosines(network: PerceptualDistance) -> None:
    features = network.features(torch.cat([waves(32, 32, 0.0), waves(32, 32, 1.3)]))
    assert features.shape == (2, 1152)
    products = features @ features.T / 1152
    assert (products > 0).all()
    assert (products <= 1 + 1e-5).all()
    assert products[0, 1] < products[0, 0]


def test_it_is_frozen_and_disturbs_no_random_state() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    network = PerceptualDistance.load()
    assert torch.equal(torch.rand(3), wanted)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_gradient_reaches_the_picture(network: PerceptualDistance) -> None:
    a = waves(32, 32, 0.0).requires_grad_(True)
    network.distance(a, waves(32, 32, 1.3)).sum().backward()  # type: ignore[no-untyped-call]  # torch's own
    assert a.grad is not None
    assert a.grad.abs().sum() > 0


def test_the_package_is_never_imported(network: PerceptualDistance) -> None:
    assert "stlpips_pytorch" not in sys.modules


@pytest.mark.parametrize("shape", [(1, 3, 20, 64), (1, 1, 64, 64), (3, 64, 64)])
def test_a_picture_of_another_shape_is_refused(network: PerceptualDistance, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"wanted \(N, 3, H, W\), H and W >= 21"):
        network.stages(torch.zeros(shape))
    network.stages(torch.zeros(1, 3, 21, 21))


def test_a_missing_package_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual, "PACKAGE", "no_such_package")
    with pytest.raises(
        PerceptualWeightsError, match=r"pip install --no-deps stlpips-pytorch==0\.0\.2"
    ) as caught:
        PerceptualDistance.load()
    assert isinstance(caught.value, GetganError)


@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_another_weight_file_is_told(
    content: bytes | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    if content is None:
        torch.save({"lin0.model.1.weight": torch.zeros(1)}, path)
    else:
        path.write_bytes(content)
    monkeypatch.setattr(perceptual, "weights_path", lambda: path)
    with pytest.raises(PerceptualWeightsError, match="is not the weight file"):
        PerceptualDistance.load()
