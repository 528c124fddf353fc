"""What a teacher says of a scan and of the scan's mirror image, and the face halfway between both."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from getgan.models.getgan import GetGanGenerator, GetGanOutput
from getgan.models.tensors import images_from_tensor

ROUNDS = 2  # of looking how far both still are apart


def both_ways(teacher: GetGanGenerator, x: Tensor) -> GetGanOutput:
    """The teacher's answer to x without what it does otherwise in the mirror.

    Nothing in unpaired training keeps a generator from drawing every face a little to one side, or askew:
    no discriminator sees it, and H takes it back. A mirrored scan must give the mirrored face, so half of
    the difference is the error. The face is moved by that; y_e and gate, which show what is in the scan and
    where it is there, are the means.
    """
    own = teacher(x)
    turned = teacher(x.flip(3))
    gate = None if own.gate is None else (own.gate.float() + turned.gate.float().flip(3)) / 2
    return GetGanOutput(
        halfway(own.y_star.float(), turned.y_star.float().flip(3)),
        (own.y_error.float() + turned.y_error.float().flip(3)) / 2,
        gate,
    )


def halfway(one: Tensor, other: Tensor) -> Tensor:
    """One picture, (N, 3, H, W) in [-1, 1], moved half the way to the other, which shows the same elsewhere.

    By dense inverse search (Kroeger et al. 2016), which runs on the CPU. The mean of both pictures would have
    four eyes, and the mean of both moved ones less grain than either.
    """
    apart = one.new_zeros((len(one), 2, *one.shape[2:]))
    with torch.autocast(one.device.type, enabled=False):  # bf16 has no tenths of a pixel
        for _ in range(ROUNDS):
            apart = apart + _flow(_moved(one, -apart / 2, "bilinear"), _moved(other, apart / 2, "bilinear"))
        # Bilinear sampling takes a fifth of a face's detail.
        return _moved(one, -apart / 2, "bicubic").clamp(-1.0, 1.0)


def _flow(one: Tensor, other: Tensor) -> Tensor:
    """(N, 2, H, W) pixels to the right and down, by which what is in one stands elsewhere in the other."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    pairs = zip(_grey(one), _grey(other), strict=True)
    flows = [search.calc(a, b, np.zeros((*a.shape, 2), np.float32)) for a, b in pairs]
    return torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2).to(one)


def _grey(images: Tensor) -> list[np.ndarray]:
    return [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images_from_tensor(images)]


def _moved(image: Tensor, by: Tensor, mode: str) -> Tensor:
    """The picture whose pixel at p is the other's at p + by(p); beyond the rim is what stands at it."""
    height, width = image.shape[2:]
    rows = torch.arange(height, device=image.device, dtype=image.dtype).view(1, -1, 1) + by[:, 1] + 0.5
    columns = torch.arange(width, device=image.device, dtype=image.dtype).view(1, 1, -1) + by[:, 0] + 0.5
    grid = torch.stack([2.0 * columns / width - 1.0, 2.0 * rows / height - 1.0], dim=3)
    return functional.grid_sample(image, grid, mode=mode, padding_mode="border", align_corners=False)
