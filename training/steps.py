"""GET-GAN's five training steps, one function each, in the talk's order (slides 3.4, 1/5 to 5/5).

x is ultrasound, y_real a photo; (N, 3, H, W) RGB in [-1, 1]. A step returns its loss terms, already
weighted, as a dict: their sum is what is minimised. Which networks an Adam step then moves is what the
gradients reach, so every step detaches what it must not move.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from getgan.models.getgan import GetGanGenerator, GetGanOutput
from getgan.training.config import LossConfig
from getgan.training.pool import ImagePool

Losses = dict[str, Tensor]
Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class GetGanNets:
    """G^{X->Y} with its two branches, H = G^{Y->X}, and the two discriminators."""

    forward: GetGanGenerator
    reverse: nn.Module
    disc_y: nn.Module
    disc_x: nn.Module


def gan(scores: Tensor, target: float) -> Tensor:
    """Least-squares GAN loss: mean (D - t)^2, t = 1 for real, 0 for fake."""
    return (scores.float() - target).square().mean()


def l1(a: Tensor, b: Tensor) -> Tensor:
    """mean |a - b|, in float32."""
    return (a.float() - b.float()).abs().mean()


def step1_face(nets: GetGanNets, y_star: Tensor, loss: LossConfig) -> Losses:
    """(1/5) y_* = F(s S(x)) shall look like a photo; moves S, T and F."""
    return {"gan_y": loss.lambda_gan * gan(nets.disc_y(y_star), 1.0)}


def step2_gradient_weight(nets: GetGanNets, x: Tensor, y_star: Tensor, loss: LossConfig) -> Tensor:
    """(2/5) W_e of y_*; moves nothing."""
    return gradient_weight(nets.reverse, x, y_star, loss)


def gradient_weight(reverse: Network, x: Tensor, y_star: Tensor, loss: LossConfig) -> Tensor:
    """W_e, (N, 3, H, W) float32, detached: where y_* causes the cycle's error.

    g = d mean|x - H(y_*)| / d y_*; per image and channel over H and W: z = |(mu - g) / (sigma + eps)|;
    W_e = sigmoid(z) in [0.5, 1), or 2 sigmoid(z) - 1 in [0, 1) if rescaled. Always FP32: the gradient's
    std is 1e-6..5e-6 at 256x256. With weight_blur, |mu - g| is blurred and summed over the channels
    first, and only what exceeds its mean counts: z = max(b - mean b, 0) / (std b + eps).
    """
    with torch.enable_grad(), torch.autocast(x.device.type, enabled=False), _without_tf32():
        a = y_star.detach().float().requires_grad_(True)
        # Summing the per-image means keeps each image's gradient that of its own mean, whatever N is.
        residual = x.detach().float() - reverse(a)  # (N, 3, H, W)
        error = residual.abs() if loss.weight_error == "l1" else residual.square()
        (g,) = torch.autograd.grad(error.mean(dim=(1, 2, 3)).sum(), a)
    deviation = (g.mean(dim=(2, 3), keepdim=True) - g).abs()  # |mu_c - g_c|
    if loss.weight_blur > 0:
        blurred = blur(deviation.sum(dim=1, keepdim=True), loss.weight_blur * x.shape[2])  # (N, 1, H, W)
        above = (blurred - blurred.mean(dim=(2, 3), keepdim=True)).clamp_min(0.0)
        z = (above / (_std(blurred) + loss.weight_eps)).expand_as(g)
    else:
        z = deviation / (_std(g) + loss.weight_eps)
    weight = torch.sigmoid(loss.weight_gain * z)
    return (weight if loss.weight == "sigmoid" else 2.0 * weight - 1.0).detach()


def _without_tf32() -> AbstractContextManager[None]:
    """On a GPU, convolutions in FP32 proper: by default cuDNN rounds their inputs to TF32's 10 bits."""
    cudnn = torch.backends.cudnn
    flags: AbstractContextManager[None] = cudnn.flags(
        enabled=cudnn.enabled,
        benchmark=cudnn.benchmark,
        deterministic=cudnn.deterministic,
        allow_tf32=False,
    )
    return flags


def _std(values: Tensor) -> Tensor:
    """Population standard deviation over H and W, (N, C, 1, 1)."""
    return values.std(dim=(2, 3), keepdim=True, unbiased=False)


def blur(values: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (N, C, H, W), sigma in pixels, cut at 2 sigma; edges replicate."""
    radius = max(1, int(2 * sigma + 0.5))
    offsets = torch.arange(-radius, radius + 1, device=values.device, dtype=values.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(values.shape[1], 1, -1)
    padded = functional.pad(values, (radius, radius, radius, radius), mode="replicate")
    rows = functional.conv2d(padded, kernel[:, :, None, :], groups=values.shape[1])
    return functional.conv2d(rows, kernel[:, :, :, None], groups=values.shape[1])


def blend(y_star: Tensor, y_error: Tensor, w_e: Tensor) -> Tensor:
    """y = (1 - W_e) y_* + W_e y_e, the picture that must explain x."""
    return (1.0 - w_e) * y_star + w_e * y_error


def step3_weighted_cycle(
    nets: GetGanNets, x: Tensor, out: GetGanOutput, w_e: Tensor, loss: LossConfig
) -> Losses:
    """(3/5) H of the blend shall give x back; moves S, T, F, E and H.

    With lambda_keep, y_* alone shall too, where W_e is small.
    """
    y = blend(out.y_star, out.y_error, w_e)
    losses = {"rec_x": loss.lambda_rec * l1(x, nets.reverse(y))}
    if loss.lambda_keep > 0:
        kept = (1.0 - w_e) * (x.float() - nets.reverse(out.y_star).float()).abs()
        losses["keep_x"] = loss.lambda_keep * kept.mean()
    return losses


def step4_reverse(nets: GetGanNets, y_real: Tensor, loss: LossConfig) -> tuple[Losses, Tensor]:
    """(4/5) The other direction: x' = H(y_real), G(x') = (y_real, 0); moves S, T, F, E and H.

    Also returns x', for the discriminators' pool.
    """
    x_fake = nets.reverse(y_real)
    back = nets.forward(x_fake)
    losses = {
        "gan_x": loss.lambda_gan * gan(nets.disc_x(x_fake), 1.0),
        "rec_y": loss.lambda_rec * l1(y_real, back.y_star),
        "error_rec": loss.lambda_error * back.y_error.float().abs().mean(),
    }
    return losses, x_fake.detach()


def discriminators(
    disc_y: nn.Module, disc_x: nn.Module, real: Mapping[str, Tensor], fake: Mapping[str, Tensor], pools: Pools
) -> Losses:
    """The second half of step 4, and CycleGAN's: D on real images and on pooled, detached fakes."""
    return {
        f"disc_{domain}": 0.5
        * (gan(disc(real[domain]), 1.0) + gan(disc(pools[domain].query(fake[domain].detach())), 0.0))
        for domain, disc in (("y", disc_y), ("x", disc_x))
    }


Pools = Mapping[str, ImagePool]


def step5_identity(nets: GetGanNets, x: Tensor, y_real: Tensor, loss: LossConfig) -> Losses:
    """(5/5) G leaves a photo alone and finds no error in it; H leaves an ultrasound alone.

    Moves S, T, F, E by the first two terms and H by the third.
    """
    same = nets.forward(y_real)
    return {
        "idt_y": loss.lambda_idt * l1(y_real, same.y_star),
        "error_idt": loss.lambda_error * same.y_error.float().abs().mean(),
        "idt_x": loss.lambda_idt * l1(x, nets.reverse(x)),
    }
