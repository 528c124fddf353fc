"""What hides a face, as a trained GET-GAN finds it, and how it is laid over another scan."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from getgan.models.getgan import GetGanOutput
from getgan.training.pool import ImagePool, KeptImages
from getgan.training.weight import blur

# What hides a face: where |y_e|, in [0, 2] and blurred, is above the first and wholly from the second on, and
# 1 - s is above SHUT within two of the gate's places. The gate alone misses fingers, y_e alone calls every
# nose hidden, and with SHUT = 0.3 both do: docs/experiments.md has the figures.
ERROR_FROM, ERROR_TO = 0.1, 0.2
ERROR_BLUR = 0.012  # of the height
SHUT, NEAR = 0.4, 5  # of 1 - s, and places each way
# Share of the picture that is hidden so. Of 100 unseen scenes 97 have more with an occluder, and one without.
CLEAN_BELOW = 0.005
SOFT = 5  # pixels over which the edge of a grown mask is softened


def hidden_in(taught: GetGanOutput) -> Tensor:
    """How far something hides the face, by y_e and gate, (N, 1, H, W) in [0, 1] of the teacher's face."""
    assert taught.gate is not None  # the config and learn_from see to it
    return hidden_by_both(taught.y_error.float().abs().mean(dim=1, keepdim=True), taught.gate)


def hidden_by_both(error: Tensor, gate: Tensor) -> Tensor:
    """The same of |y_e|, (N, 1, H, W), and a gate, (N, C, h, w)."""
    error = blur(error, ERROR_BLUR * error.shape[2])
    near = functional.max_pool2d(shut(gate), NEAR, stride=1, padding=NEAR // 2) > SHUT
    near = functional.interpolate(near.float(), size=error.shape[2:], mode="nearest")
    return near * ((error - ERROR_FROM) / (ERROR_TO - ERROR_FROM)).clamp(0.0, 1.0)


def hidden_by_gate(gate: Tensor, threshold: float, size: int) -> Tensor:
    """1 where 1 - s is above the threshold, between its places too, else 0; (N, 1, size, size).

    A gate that a training with laid-over occluders has sharpened tells an occluder better than y_e does.
    """
    upsampled = functional.interpolate(shut(gate), size=(size, size), mode="bilinear")
    return (upsampled > threshold).float()


def grown(hidden: Tensor, rim: float) -> Tensor:
    """A mask (N, 1, H, W) in [0, 1] with a rim of so much of the height, and a soft edge; as it is for 0."""
    reach = round(rim * hidden.shape[2])
    if reach == 0:
        return hidden
    side = 2 * reach + 1
    # Rows, then columns: the same maximum for 2 side looks a pixel instead of side squared.
    wider = functional.max_pool2d(hidden, (side, 1), stride=1, padding=(reach, 0))
    wider = functional.max_pool2d(wider, (1, side), stride=1, padding=(0, reach))
    return softened(wider)


def softened(mask: Tensor) -> Tensor:
    """A mask (N, 1, H, W) whose edge falls over SOFT pixels."""
    return functional.avg_pool2d(mask, SOFT, stride=1, padding=SOFT // 2, count_include_pad=False)


def with_clean_scans(x: Tensor, hidden: Tensor, kept: ImagePool) -> Tensor:
    """Every second scan one that was kept because next to nothing is `hidden` in it, (N, 1, h, w)."""
    assert isinstance(kept, KeptImages)  # the pool CLEAN
    kept.keep(x[hidden.mean(dim=(1, 2, 3)) < CLEAN_BELOW])
    if kept.images:
        x = x.clone()
        x[::2] = kept.draw(len(x[::2]))
    return x


def drawn_between(bounds: tuple[float, float]) -> float:
    """A number between both, another one for each call; nothing is drawn where they are one."""
    least, most = bounds
    return least if least == most else float(torch.empty(()).uniform_(least, most))


def laid_over_each(hides: Tensor) -> Tensor:
    """Where every second scan gets what hides the next one, (N, 1, H, W) in [0, 1] of the teacher's face."""
    hidden = hides.roll(-1, dims=0)
    return hidden * (torch.arange(len(hidden), device=hidden.device) % 2 == 0).view(-1, 1, 1, 1)


def transplanted(
    x: Tensor, taught: GetGanOutput, hidden: Tensor, found: Tensor
) -> tuple[Tensor, GetGanOutput]:
    """The scans under the next one's occluder, where `hidden` says so; the teacher's face stays.

    The gate shuts where the occluder was `found` alone: one that shut in the rim too would keep from the face
    what is to be seen around a hand, and pose is told from that.
    """
    assert taught.gate is not None  # as above
    over = functional.interpolate(hidden, size=x.shape[2:], mode="bilinear")
    places = functional.adaptive_avg_pool2d(found, (taught.gate.shape[2], taught.gate.shape[3]))
    return laid_over(x, over), GetGanOutput(
        taught.y_star,
        laid_over(taught.y_error.float(), hidden),
        torch.minimum(taught.gate.float(), 1.0 - places),
    )


def laid_over(image: Tensor, over: Tensor, other: Tensor | None = None) -> Tensor:
    """Another image, by default the next one of the batch, where `over` is 1."""
    other = image.roll(-1, dims=0) if other is None else other
    return (1.0 - over) * image + over * other


def shut(gate: Tensor, like: Tensor | None = None) -> Tensor:
    """1 - s, its mean over the channels, (N, 1, h, w) float32; h and w of another gate if given."""
    shut = 1.0 - gate.float().mean(dim=1, keepdim=True)
    return shut if like is None else functional.adaptive_avg_pool2d(shut, (like.shape[2], like.shape[3]))
