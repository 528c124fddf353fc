"""W_e: what float64 says, the conditions that must not change it, and what an occluder does to it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from training_helpers import noise, tiny

from getgan.errors import ConfigError
from getgan.training.config import LossConfig
from getgan.training.methods import build_method
from getgan.training.updates import Numerics
from getgan.training.weight import (
    ErrorScale,
    blur,
    gradient_weight,
    hidden_by,
    residual_weight,
    unlike,
)

Array = NDArray[np.float64]


def weight_by_numpy(x: Tensor, y_star: Tensor, c: float, loss: LossConfig) -> Array:
    """W_e for H(a) = c a, whose gradient is known, in float64."""
    x64, y64 = x.double().numpy(), y_star.double().numpy()
    residual = x64 - c * y64
    pixels = residual[0].size
    g = -c * (np.sign(residual) if loss.weight_error == "l1" else 2 * residual) / pixels
    mu, sigma = g.mean(axis=(2, 3), keepdims=True), g.std(axis=(2, 3), keepdims=True)
    z = np.abs((mu - g) / (sigma + loss.weight_eps)) * loss.weight_gain
    weight: Array = 1 / (1 + np.exp(-z))
    return weight if loss.weight == "sigmoid" else 2 * weight - 1


@pytest.mark.parametrize("weight", ["sigmoid", "rescaled"])
@pytest.mark.parametrize("error", ["l1", "l2"])
@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_weight_is_what_float64_says(weight: str, error: str, gain: float) -> None:
    loss = tiny(f"loss.weight={weight}", f"loss.weight_error={error}", f"loss.weight_gain={gain}").loss
    x, y_star = noise(0, 2, 3, 32, 36), 0.3 + 0.7 * noise(1, 2, 3, 32, 36)
    w_e = gradient_weight(lambda a: 0.9 * a, x, y_star, loss)
    assert w_e.shape == x.shape
    assert w_e.dtype == torch.float32
    np.testing.assert_allclose(w_e.numpy(), weight_by_numpy(x, y_star, 0.9, loss), atol=2e-5)
    low = 0.5 if weight == "sigmoid" else 0.0
    assert low <= float(w_e.min())
    assert float(w_e.max()) < 1.0
    assert error == "l1" or float(w_e.min()) < low + 0.01


def test_weight_follows_the_gradient_not_the_residual() -> None:
    """The one pixel on the other side of x has the large weight, as its sign is the rare one."""
    x = torch.zeros(1, 3, 32, 32)
    y_star = torch.full_like(x, 0.5)
    y_star[0, 1, 5, 7] = -0.01
    w_e = gradient_weight(lambda a: a, x, y_star, LossConfig())
    assert float(w_e[0, 1, 5, 7]) > 0.999
    w_e[0, 1, 5, 7] = 0.0
    assert float(w_e.max()) < 0.1


@pytest.mark.parametrize("error", ["l1", "l2"])
def test_weight_is_alive_where_the_gradient_is_tiny(error: str) -> None:
    loss = tiny(f"loss.weight_error={error}").loss
    x, y_star = noise(0), noise(1)
    scale = 3 * 32 * 32 * 1e-6
    # H(a) = a + (scale - 1) (a - a.detach()): the picture of a, the gradient times `scale`.
    tiny_gradient = gradient_weight(lambda a: scale * a + (1 - scale) * a.detach(), x, y_star, loss)
    plain = gradient_weight(lambda a: a, x, y_star, loss)
    assert float(plain.mean()) > 0.3
    assert float((tiny_gradient - plain).abs().max()) < 0.02  # eps is at most 1 % of sigma


def test_an_eps_that_kills_the_weight_is_refused() -> None:
    assert tiny("loss.weight_eps=1e-8").loss.weight_eps == LossConfig().weight_eps == 1e-8
    for eps in ("1e-5", "1.1e-8", "0", "-1e-9"):
        with pytest.raises(ConfigError, match="weight_eps"):
            tiny(f"loss.weight_eps={eps}")


def test_weight_carries_no_gradient_and_stays_float32_under_autocast() -> None:
    conv = nn.Conv2d(3, 3, 3, padding=1)
    seen: list[torch.dtype] = []

    def reverse(a: Tensor) -> Tensor:
        answer: Tensor = conv(a)
        seen.append(answer.dtype)
        return answer

    x = noise(0)
    y_star = noise(1).requires_grad_(True)
    plain = gradient_weight(reverse, x, y_star, LossConfig())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert conv(x).dtype == torch.bfloat16
        under = gradient_weight(reverse, x, y_star, LossConfig())
        with torch.no_grad():
            assert torch.equal(gradient_weight(reverse, x, y_star, LossConfig()), plain)
    assert seen == [torch.float32] * 3
    assert torch.equal(under, plain)
    assert not plain.requires_grad
    assert plain.grad_fn is None
    assert y_star.grad is None
    assert conv.weight.grad is None


def test_weight_is_computed_without_tf32_and_the_setting_is_given_back() -> None:
    seen: list[bool] = []

    def reverse(a: Tensor) -> Tensor:
        seen.append(torch.backends.cudnn.allow_tf32)
        return a * 0.5

    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    try:
        gradient_weight(reverse, noise(0), noise(1), LossConfig())
        assert seen == [False]
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32 = before


@pytest.mark.gpu
def test_weight_on_a_gpu_is_that_of_the_cpu() -> None:
    """TF32 keeps 10 bits of the mantissa: the gradient's errors would be 1e-3 of it, not 1e-6."""
    conv = nn.Conv2d(3, 3, 7, padding=3)
    on_cpu = gradient_weight(conv, noise(0), noise(1), LossConfig(weight_error="l2"))
    conv.cuda()
    on_gpu = gradient_weight(conv, noise(0).cuda(), noise(1).cuda(), LossConfig(weight_error="l2"))
    assert float((on_gpu.cpu() - on_cpu).abs().max()) < 1e-4


@pytest.mark.parametrize("width", [0.0, 0.06])
def test_an_image_s_weight_does_not_depend_on_its_batch(width: float) -> None:
    loss = LossConfig(weight_blur=width, weight_error="l2")
    reverse = build_method(tiny(), Numerics(torch.device("cpu"))).nets["reverse"]
    x, y_star = noise(0, 2, 3, 32, 32), noise(1, 2, 3, 32, 32)
    together = gradient_weight(reverse, x, y_star, loss)
    alone = [gradient_weight(reverse, x[n : n + 1], y_star[n : n + 1], loss) for n in range(2)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-4)


def test_a_batch_does_not_shrink_the_gradient_towards_eps() -> None:
    """Each image's error is its own mean: at a deviation near eps, a mean over the batch would show."""
    x, y_star = noise(0, 4, 3, 32, 32), noise(1, 4, 3, 32, 32)
    scale = 3 * 32 * 32 * 3e-8

    def reverse(a: Tensor) -> Tensor:
        return scale * a + (1 - scale) * a.detach()

    together = gradient_weight(reverse, x, y_star, LossConfig())
    alone = gradient_weight(reverse, x[:1], y_star[:1], LossConfig())
    torch.testing.assert_close(together[:1], alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 4.0])
def test_blur_keeps_a_constant_and_spreads_a_point(sigma: float) -> None:
    constant = torch.full((2, 3, 20, 24), 0.37, dtype=torch.float64)
    torch.testing.assert_close(blur(constant, sigma), constant)
    point = torch.zeros(1, 1, 33, 33, dtype=torch.float64)
    point[0, 0, 16, 16] = 1.0
    spread = blur(point, sigma)
    assert float(spread.sum()) == pytest.approx(1.0)
    assert torch.equal(spread, spread.transpose(2, 3)) or torch.allclose(spread, spread.transpose(2, 3))
    ratio = float(spread[0, 0, 16, 17] / spread[0, 0, 16, 16])
    assert ratio == pytest.approx(math.exp(-0.5 / sigma**2))


def test_blurred_weight_finds_a_block_of_error() -> None:
    y_star = noise(0, 1, 3, 64, 64) * 0.8
    x = y_star + 0.02 * noise(1, 1, 3, 64, 64)
    inside = torch.zeros(1, 3, 64, 64, dtype=torch.bool)
    inside[:, :, 20:40, 10:30] = True
    x = torch.where(inside, y_star + 0.8 * torch.sign(noise(2, 1, 3, 64, 64)), x)

    def contrast(**options: object) -> tuple[float, float]:
        loss = dataclasses.replace(LossConfig(weight_error="l2"), **options)  # type: ignore[arg-type]
        w_e = gradient_weight(lambda a: a, x, y_star, loss)
        return float(w_e[inside].mean()), float(w_e[~inside].mean())

    blurred, gained = contrast(weight_blur=0.05), contrast(weight_blur=0.05, weight_gain=4.0)
    assert blurred[0] > 0.6
    assert blurred[1] < 0.1
    assert gained[0] > blurred[0] + 0.1  # more gain gives more of the block to y_e
    # All three channels share one map, and most of what is outside has none of it at all.
    w_e = gradient_weight(lambda a: a, x, y_star, LossConfig(weight_error="l2", weight_blur=0.05))
    assert torch.equal(w_e[:, 0], w_e[:, 1])
    assert torch.equal(w_e[:, 0], w_e[:, 2])
    assert float((w_e[~inside] == 0).float().mean()) > 0.7


# Of the error itself.

RESIDUAL = LossConfig(weight_of="residual", weight_blur=0.05)


def scene(hidden: bool, seed: int = 0) -> tuple[Tensor, Tensor]:
    """x and y_* that differ a little, more over the middle, and very much over a block where it is hidden."""
    y_star = 0.5 * noise(seed, 1, 3, 64, 64)
    x = y_star + 0.02 * noise(seed + 1, 1, 3, 64, 64)
    x[..., 24:40, 24:40] += 0.1
    if hidden:
        x[..., 4:20, 4:20] += 0.8
    return x, y_star


def weight_of(scale: ErrorScale, hidden: bool, loss: LossConfig = RESIDUAL) -> Tensor:
    return residual_weight(lambda a: a, *scene(hidden), loss, scale)


def used(scale: ErrorScale) -> ErrorScale:
    """After some pictures, half of which hide something."""
    for n in range(20):
        residual_weight(lambda a: a, *scene(n % 2 == 0, n), RESIDUAL, scale)
    return scale


def test_residual_weight_is_what_float64_says() -> None:
    scale, loss = ErrorScale(), LossConfig(weight_of="residual", weight_gain=1.5, weight_floor=0.25)
    pictures = [(noise(n, 2, 3, 8, 8), noise(9 + n, 2, 3, 8, 8)) for n in range(3)]
    found = [residual_weight(lambda a: 0.9 * a, x, y, loss, scale) for x, y in pictures]
    errors = [
        np.abs(x.double().numpy() - 0.9 * y.double().numpy()).mean(axis=1, keepdims=True) for x, y in pictures
    ]
    share = np.array([0.99**2, 0.99, 1.0]) / (0.99**2 + 0.99 + 1.0)
    mean = sum(s * e.mean() for s, e in zip(share, errors, strict=True))
    square = sum(s * np.square(e).mean() for s, e in zip(share, errors, strict=True))
    z = np.maximum((errors[-1] - mean) / np.sqrt(square - mean**2) - 0.25, 0.0)
    wanted = np.broadcast_to(2 / (1 + np.exp(-1.5 * z)) - 1, found[-1].shape)
    assert found[-1].dtype == torch.float32
    np.testing.assert_allclose(found[-1].numpy(), wanted, atol=2e-5)


def test_first_picture_is_measured_by_itself() -> None:
    scale, (x, y_star) = ErrorScale(), scene(hidden=True)
    w_e = residual_weight(lambda a: a, x, y_star, RESIDUAL, scale)
    assert float(w_e[..., 8:16, 8:16].min()) > 0.7
    assert float(w_e[..., 44:, 44:].max()) == 0.0


def test_residual_weight_calls_nothing_hidden_in_a_clean_picture() -> None:
    """By its own mean and deviation its middle would be, as in the talk's weight."""
    scale = used(ErrorScale())
    assert float(hidden_by(weight_of(scale, hidden=False)).max()) == 0.0
    there = hidden_by(weight_of(scale, hidden=True))
    assert there.shape == (1, 1, 64, 64)
    assert float(there[..., 6:18, 6:18].min()) == 1.0
    assert float(there[..., 24:, 24:].max()) == 0.0
    own = residual_weight(lambda a: a, *scene(hidden=False), RESIDUAL, ErrorScale())
    assert float(hidden_by(own)[..., 28:36, 28:36].min()) > 0.9


def test_residual_weight_carries_no_gradient_and_runs_the_network_as_it_is_called() -> None:
    conv, seen, cached = nn.Conv2d(3, 3, 3, padding=1), list[torch.dtype](), list[bool]()

    def reverse(a: Tensor) -> Tensor:
        answer: Tensor = conv(a)
        seen.append(answer.dtype)
        cached.append(torch.is_autocast_cache_enabled())
        return answer

    y_star = noise(1).requires_grad_(True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        w_e = residual_weight(reverse, noise(0), y_star, RESIDUAL, ErrorScale())
        assert conv.weight.grad is None
        torch.autograd.backward(reverse(noise(1)).float().sum())
    assert seen == [torch.bfloat16] * 2  # no gradient is taken of it, so half the precision will do
    assert cached == [False, True] and conv.weight.grad is not None  # H learns in the same iteration
    assert w_e.dtype == torch.float32
    assert not w_e.requires_grad
    assert y_star.grad is None


def test_grain_is_no_error_where_both_are_blurred() -> None:
    """H cannot know it; what is wrong over some pixels stays wrong."""
    loss = LossConfig(cycle_blur=0.03)
    x = torch.zeros(1, 3, 64, 64)
    x[..., ::2, ::2] = 0.4  # grain
    x[..., 20:44, 20:44] += 0.5
    assert torch.equal(unlike(x, torch.zeros_like(x), LossConfig()), x)
    found = unlike(x, torch.full_like(x, 0.1), loss)
    assert float(found[..., 5:12, 5:12].max()) < 0.04
    torch.testing.assert_close(found[0, 0, 30, 30], torch.tensor(0.5), rtol=0, atol=0.04)


def test_error_without_any_deviation_gives_no_weight() -> None:
    x = torch.full((1, 3, 16, 16), 0.5)
    assert not residual_weight(lambda a: a, x, torch.zeros_like(x), RESIDUAL, ErrorScale()).any()
