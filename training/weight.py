"""W_e, which says where y_* does not explain the ultrasound: from a gradient, or from the error itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
import torch.distributed as dist
import torch.nn.functional as functional
from torch import Tensor, nn

from getgan.training.config import LossConfig

Network = Callable[[Tensor], Tensor]

HIDDEN_FROM, HIDDEN_TO = 0.5, 0.8  # values of W_e: nothing, all of it
MEMORY = 0.99  # of an ErrorScale: about the last hundred iterations


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


def _without_autocast_cache(device: torch.device) -> AbstractContextManager[object]:
    """Autocast as it is, but weights that are rounded here are not kept.

    Some versions of PyTorch would use them again, cut from the graph, where gradients are wanted.
    """
    on = torch.is_autocast_enabled(device.type)
    kept: AbstractContextManager[object] = torch.autocast(device.type, enabled=on, cache_enabled=False)
    return kept


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


class ErrorScale(nn.Module):
    """Mean and deviation of the cycle's error over the last hundred iterations.

    A picture without an occluder has a largest error too. Measured by its own mean and deviation, it would
    be called hidden there; measured by those of many pictures it is not.
    """

    mean: Tensor
    square: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("mean", "square", "seen"):
            self.register_buffer(name, torch.zeros(()))

    def update(self, error: Tensor) -> None:
        """Take in the errors of one batch, (N, 1, H, W)."""
        both = torch.stack([error.mean(), error.square().mean()])
        if dist.is_initialized():
            dist.all_reduce(both)
            both /= dist.get_world_size()
        # As Adam does: the first batches weigh as if there had been many.
        self.seen.mul_(MEMORY).add_(1.0 - MEMORY)
        for kept, new in zip((self.mean, self.square), both, strict=True):
            kept.mul_(MEMORY).add_((1.0 - MEMORY) * new)

    def deviations(self, error: Tensor, floor: float) -> Tensor:
        """How many deviations above the mean each of (N, 1, H, W) is, from a floor on; 0 below it."""
        mean = self.mean / self.seen
        deviation = (self.square / self.seen - mean.square()).clamp_min(0.0).sqrt()
        return ((error - mean) / deviation.clamp_min(1e-8) - floor).clamp_min(0.0)


def residual_weight(
    reverse: Network, x: Tensor, y_star: Tensor, loss: LossConfig, scale: ErrorScale
) -> Tensor:
    """W_e from |x - H(y_*)| itself, (N, 3, H, W) float32, detached; the scale takes the error in.

    Mean over the channels, blurred; z = max((b - mean) / deviation - weight_floor, 0), both of the scale;
    W_e = 2 sigmoid(weight_gain z) - 1.
    """
    with torch.no_grad():
        with _without_autocast_cache(x.device):
            explained = reverse(y_star.detach()).float()
        with torch.autocast(x.device.type, enabled=False):
            error = unlike(x, explained, loss).mean(dim=1, keepdim=True)
            if loss.weight_blur > 0:
                error = blur(error, loss.weight_blur * x.shape[2])
            scale.update(error)
            return (
                2.0 * torch.sigmoid(loss.weight_gain * scale.deviations(error, loss.weight_floor)) - 1.0
            ).expand_as(x)


def unlike(x: Tensor, again: Tensor, loss: LossConfig) -> Tensor:
    """|x - H(...)|, (N, 3, H, W) float32, of both blurred by cycle_blur: nobody can know a scan's grain."""
    difference = x.float() - again.float()
    if loss.cycle_blur > 0:
        with torch.autocast(x.device.type, enabled=False):
            difference = blur(difference, loss.cycle_blur * x.shape[2])
    return difference.abs()


def hidden_by(w_e: Tensor) -> Tensor:
    """Where W_e says that something hides the face, (N, 3, H, W) -> (N, 1, H, W) in [0, 1]."""
    return ((w_e[:, :1] - HIDDEN_FROM) / (HIDDEN_TO - HIDDEN_FROM)).clamp(0.0, 1.0)
