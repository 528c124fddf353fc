"""U-GAT-IT: counts and keys of the public weights, normalisation against numpy, spectral norm, rho."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from getgan.errors import ConfigError
from getgan.models.ugatit import (
    ILN,
    AdaLIN,
    UgatitConfig,
    UgatitDiscriminator,
    UgatitDiscriminatorConfig,
    UgatitGenerator,
    clip_rho,
)


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("light", "count"), [(True, 10_589_888), (False, 278_959_808)])
def test_generator_is_the_public_one(light: bool, count: int) -> None:
    with torch.device("meta"):
        net = UgatitGenerator(UgatitConfig(light=light))
    state = net.state_dict()
    assert sum(p.numel() for p in net.parameters()) == count
    assert state["DownBlock.1.weight"].shape == (64, 3, 7, 7)
    assert state["DownBlock.13.conv_block.5.weight"].shape == (256, 256, 3, 3)
    assert state["FC.0.weight"].shape == (256, 256 if light else 64 * 64 * 256)
    assert state["UpBlock1_4.norm1.rho"].shape == (1, 256, 1, 1)
    assert state["UpBlock2.3.gamma"].shape == (1, 128, 1, 1)
    assert {key.split(".")[0] for key in state} == {
        *("DownBlock", "gap_fc", "gmp_fc", "conv1x1", "FC", "gamma", "beta", "UpBlock2"),
        *(f"UpBlock1_{k}" for k in (1, 2, 3, 4)),
    }


def test_generator_gives_image_logits_and_heatmap() -> None:
    net = UgatitGenerator(UgatitConfig(ngf=2, blocks=1))
    out = net(_random(2, 3, 16, 12))
    assert out.image.shape == (2, 3, 16, 12)
    assert out.cam_logit.shape == (2, 2)
    assert out.heatmap.shape == (2, 1, 4, 3)
    assert torch.equal(net.translate(_random(2, 3, 16, 12)), out.image)


def test_cam_logits_are_the_two_classifiers() -> None:
    net = UgatitGenerator(UgatitConfig(ngf=2, blocks=1)).double()
    x = _random(2, 3, 16, 16).double()
    features = net.DownBlock(x).detach().numpy()
    average = features.mean(axis=(2, 3)) @ net.gap_fc.weight.detach().numpy().T
    maximum = features.max(axis=(2, 3)) @ net.gmp_fc.weight.detach().numpy().T
    np.testing.assert_allclose(net(x).cam_logit.detach().numpy(), np.hstack([average, maximum]), rtol=1e-10)


def _mixed(x: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """Equation 1 of the paper with n - 1 in the variances."""
    instance, layer = np.empty_like(x), np.empty_like(x)
    for n, picture in enumerate(x):
        layer[n] = (picture - picture.mean()) / np.sqrt(picture.var(ddof=1) + 1e-5)
        for c, plane in enumerate(picture):
            instance[n, c] = (plane - plane.mean()) / np.sqrt(plane.var(ddof=1) + 1e-5)
    rho = rho.reshape(1, -1, 1, 1)
    return np.asarray(rho * instance + (1 - rho) * layer)


def test_adalin_against_numpy() -> None:
    norm = AdaLIN(5).double()
    assert float(norm.rho.detach().mean()) == pytest.approx(0.9)
    rho = np.linspace(0.1, 0.9, 5)
    norm.rho.data.copy_(torch.from_numpy(rho).reshape(1, 5, 1, 1))
    # Two by two, where n and n - 1 differ by a third.
    x, gamma, beta = (_random(*s, seed=i).double() for i, s in enumerate([(3, 5, 2, 2), (3, 5), (3, 5)]))
    wanted = _mixed(x.numpy(), rho) * gamma.numpy()[:, :, None, None] + beta.numpy()[:, :, None, None]
    np.testing.assert_allclose(norm(x, gamma, beta).detach().numpy(), wanted, rtol=1e-10)


def test_iln_against_numpy() -> None:
    norm = ILN(5).double()
    assert float(norm.rho.detach().abs().max()) == 0.0
    rho, gamma, beta = np.linspace(0, 1, 5), np.linspace(-2, 2, 5), np.linspace(3, 4, 5)
    for parameter, value in ((norm.rho, rho), (norm.gamma, gamma), (norm.beta, beta)):
        parameter.data.copy_(torch.from_numpy(value).reshape(1, 5, 1, 1))
    x = _random(3, 5, 2, 3).double()
    wanted = _mixed(x.numpy(), rho) * gamma[:, None, None] + beta[:, None, None]
    np.testing.assert_allclose(norm(x).detach().numpy(), wanted, rtol=1e-10)


def test_clip_rho_brings_every_rho_back() -> None:
    net = UgatitGenerator(UgatitConfig(ngf=2, blocks=2))
    others = {key: value.clone() for key, value in net.state_dict().items() if not key.endswith("rho")}
    rhos = [p for key, p in net.named_parameters() if key.endswith("rho")]
    assert len(rhos) == 2 * 2 + 2
    for p in rhos:
        p.data.uniform_(-1, 2)
        p.data[0, 0], p.data[0, 1] = -0.5, 1.5
    clip_rho(net)
    for p in rhos:
        assert (float(p.data.min()), float(p.data.max())) == (0.0, 1.0)
        assert p.requires_grad
    assert all(torch.equal(net.state_dict()[key], value) for key, value in others.items())


@pytest.mark.parametrize(("layers", "size", "cells"), [(7, 96, 1), (5, 64, 6), (5, 24, 1), (6, 48, 1)])
def test_discriminator_shapes(layers: int, size: int, cells: int) -> None:
    net = UgatitDiscriminator(UgatitDiscriminatorConfig(ndf=2, layers=layers))
    out = net(_random(2, 3, size, size))
    assert out.score.shape == (2, 1, cells, cells)
    assert out.cam_logit.shape == (2, 2)
    assert out.heatmap.shape == (2, 1, cells + 1, cells + 1)
    assert size >= net.min_size
    with pytest.raises(ConfigError, match=f"want at least {net.min_size}: use fewer layers"):
        net(_random(2, 3, net.min_size - 4, net.min_size - 4))


def test_discriminator_weights_have_spectral_norm_one() -> None:
    net = UgatitDiscriminator(UgatitDiscriminatorConfig(ndf=4, layers=5))
    normed = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear)) and m is not net.conv1x1]
    assert len(normed) == 4 + 2 + 1
    for module in normed:
        module.parametrizations.weight.original.data.mul_(10)  # type: ignore[operator,union-attr]
    for _ in range(100):  # one power iteration each
        net(_random(1, 3, 24, 24))
    net.eval()
    for module in normed:
        weight = module.weight.detach().flatten(1)
        # Power iterations come from below and slowly where two singular values are close.
        assert float(torch.linalg.matrix_norm(weight, ord=2)) == pytest.approx(1.0, abs=0.02)
