"""GET-GAN's five training steps, one function each, in the talk's order (slides 3.4, 1/5 to 5/5).

x is ultrasound, y_real a photo; (N, 3, H, W) RGB in [-1, 1]. A step returns its loss terms, already
weighted, as a dict: their sum is what is minimised. Which networks an Adam step then moves is what the
gradients reach, so every step detaches what it must not move.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from getgan.models.getgan import GetGanGenerator, GetGanOutput
from getgan.training.config import LossConfig
from getgan.training.weight import ErrorScale, gradient_weight, hidden_by, residual_weight, unlike

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class GetGanNets:
    """G^{X->Y} with its two branches, H = G^{Y->X}, and the two discriminators."""

    forward: GetGanGenerator
    reverse: nn.Module
    disc_y: nn.Module
    disc_x: nn.Module
    scale: ErrorScale | None = None  # of a W_e that is made of the error itself


def gan(scores: Tensor, target: float) -> Tensor:
    """Least-squares GAN loss: mean (D - t)^2, t = 1 for real, 0 for fake."""
    return (scores.float() - target).square().mean()


def l1(a: Tensor, b: Tensor) -> Tensor:
    """mean |a - b|, in float32."""
    return (a.float() - b.float()).abs().mean()


def apart(face: Tensor, wanted: Tensor, where: Tensor | None) -> Tensor:
    """Mean |face - wanted|, with a weight (N, 1, H, W) if there is one."""
    if where is None:
        return l1(face, wanted)
    difference = (face.float() - wanted.float()).abs().mean(dim=1, keepdim=True)
    return (where * difference).sum() / where.sum().clamp_min(1.0)


def step1_face(nets: GetGanNets, y_star: Tensor, loss: LossConfig) -> Losses:
    """(1/5) y_* = F(s S(x)) shall look like a photo; moves S, T and F."""
    return {"gan_y": loss.lambda_gan * gan(nets.disc_y(y_star), 1.0)}


def step2_gradient_weight(nets: GetGanNets, x: Tensor, y_star: Tensor, loss: LossConfig) -> Tensor:
    """(2/5) W_e of y_*, by the gradient or by the error itself; moves nothing."""
    if nets.scale is not None:
        return residual_weight(nets.reverse, x, y_star, loss, nets.scale)
    return gradient_weight(nets.reverse, x, y_star, loss)


def blend(y_star: Tensor, y_error: Tensor, w_e: Tensor) -> Tensor:
    """y = (1 - W_e) y_* + W_e y_e, the picture that must explain x."""
    return (1.0 - w_e) * y_star + w_e * y_error


def step3_weighted_cycle(
    nets: GetGanNets, x: Tensor, out: GetGanOutput, w_e: Tensor, loss: LossConfig
) -> Losses:
    """(3/5) H of the blend shall give x back; moves S, T, F, E and H.

    With lambda_keep, y_* alone shall too, where W_e is small; with lambda_gate, the gate shall be shut
    where W_e is large.
    """
    y = blend(out.y_star, out.y_error, w_e)
    losses = {"rec_x": loss.lambda_rec * unlike(x, nets.reverse(noisy(y, loss)), loss).mean()}
    if loss.lambda_keep > 0:
        kept = (1.0 - w_e) * unlike(x, nets.reverse(noisy(out.y_star, loss)), loss)
        losses["keep_x"] = loss.lambda_keep * kept.mean()
    if loss.lambda_gate > 0 and out.gate is not None:
        losses["gate"] = loss.lambda_gate * gate_error(out.gate, hidden_by(w_e))
    return losses


def step4_reverse(
    nets: GetGanNets, x: Tensor, y_real: Tensor, w_e: Tensor, loss: LossConfig
) -> tuple[Losses, Tensor]:
    """(4/5) The other direction: x' = H(y_real), G(x') = (y_real, 0); moves S, T, F, E and H.

    With transplant, what hides the face in x is laid over x' first, and y_e may show it: so G learns from
    a known face what lies behind. Also returns x', for the discriminators' pool.
    """
    x_fake = nets.reverse(y_real)
    seen = noisy(x_fake, loss)
    hidden = None
    if loss.transplant:
        hidden = hidden_by(w_e)
        seen = (1.0 - hidden) * seen + hidden * x
    back = nets.forward(seen)
    stray = back.y_error.float().abs()
    losses = {
        "gan_x": loss.lambda_gan * gan(nets.disc_x(x_fake), 1.0),
        "rec_y": loss.lambda_rec * l1(y_real, back.y_star),
        "error_rec": loss.lambda_error * (stray if hidden is None else (1.0 - hidden) * stray).mean(),
    }
    if loss.lambda_gate > 0 and back.gate is not None and hidden is not None:
        losses["gate_rec"] = loss.lambda_gate * gate_error(back.gate, hidden)
    return losses, x_fake.detach()


def noisy(image: Tensor, loss: LossConfig) -> Tensor:
    """What the second generator of a cycle sees of the first one's picture: nothing can be hidden in it."""
    return image if loss.cycle_noise == 0 else image + loss.cycle_noise * torch.randn_like(image)


def gate_error(gate: Tensor, hidden: Tensor) -> Tensor:
    """Mean square between 1 - s, its mean over the channels, and what is hidden, (N, 1, H, W) in [0, 1]."""
    shut = 1.0 - gate.float().mean(dim=1, keepdim=True)
    return (shut - functional.adaptive_avg_pool2d(hidden, (shut.shape[2], shut.shape[3]))).square().mean()


def discriminators(
    disc_y: nn.Module, disc_x: nn.Module, real: Mapping[str, Tensor], fake: Mapping[str, Tensor]
) -> Losses:
    """The second half of step 4, and CycleGAN's: D on real images and on detached fakes out of a pool."""
    return {
        f"disc_{domain}": discriminator(disc, real[domain], fake[domain])
        for domain, disc in (("y", disc_y), ("x", disc_x))
    }


def discriminator(disc: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """One of them."""
    return 0.5 * (gan(disc(real), 1.0) + gan(disc(fake), 0.0))


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
