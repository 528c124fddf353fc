"""Changes of size without aliasing (Zhang, ICML 2019): each filters with a small binomial kernel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor, nn


class BlurDown(nn.Module):
    """1-2-1 each way, then every second place; public files keep the filter as `filt`."""

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("filt", _kernel((1.0, 2.0, 1.0), channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, 2h, 2w) -> (N, C, h, w)."""
        padded = functional.pad(x, (1, 1, 1, 1), mode="reflect")
        return functional.conv2d(padded, self.filt, stride=2, groups=self.filt.shape[0])


class BlurUp(nn.Module):
    """Zeros between the places, then 1-3-3-1 each way; its `filt` sums up to 4, which makes up for them."""

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("filt", 4 * _kernel((1.0, 3.0, 3.0, 1.0), channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, 2h, 2w)."""
        padded = functional.pad(x, (1, 1, 1, 1), mode="replicate")
        # The padding of 3 takes away what the border of 1 became, and half a filter's width.
        return functional.conv_transpose2d(padded, self.filt, stride=2, padding=3, groups=self.filt.shape[0])


def _kernel(row: Sequence[float], channels: int) -> Tensor:
    """(C, 1, k, k), each summing up to 1."""
    line = torch.tensor(row) / sum(row)
    return (line[:, None] * line).repeat(channels, 1, 1, 1)
