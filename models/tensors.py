"""8-bit pictures as network inputs, and network outputs as 8-bit pictures."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def tensor_from_images(images: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """(N, 3, H, W) float32 RGB in [-1, 1] from uint8 (N, H, W, 3) RGB."""
    # A copy in NCHW order: the array may be read-only, or one picture repeated.
    planes = np.array(images.transpose(0, 3, 1, 2), order="C")
    return torch.from_numpy(planes).to(device).float().div_(127.5).sub_(1.0)


def images_from_tensor(tensor: Tensor) -> NDArray[np.uint8]:
    """uint8 (N, H, W, 3) RGB, to the nearest level, from (N, 3, H, W) RGB in [-1, 1]."""
    levels = ((tensor.detach().float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
