"""Normalisations by name, and how they run where the keys do not tell."""

from __future__ import annotations

import torch.nn.functional as functional
from torch import Tensor, nn


def norm_layer(norm: str, channels: int) -> nn.Module:
    """The normalisation by name; "instance" has neither parameters nor running statistics."""
    if norm == "instance":
        return nn.InstanceNorm2d(channels, affine=False)
    if norm == "affine":
        return nn.InstanceNorm2d(channels, affine=True)
    if norm == "batch":
        return BatchNorm(channels)
    return nn.Identity()


def has_bias(norm: str, bias: bool | None) -> bool:
    """Of a convolution before `norm`; None = CycleGAN's rule, that only an InstanceNorm follows a bias."""
    return norm in ("instance", "affine") if bias is None else bias


class BatchNorm(nn.BatchNorm2d):
    """BatchNorm that can be told to normalise each picture by itself.

    That is what a network in train mode does to a batch of one; here a larger batch gives the same pictures.
    The stored statistics keep their keys and are not read.
    """

    per_picture: bool = False

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, h, w) -> the same shape."""
        if not self.per_picture:
            return super().forward(input)
        return functional.instance_norm(input, weight=self.weight, bias=self.bias, eps=self.eps)


def set_norms(module: nn.Module, norm_mode: str, eps: float) -> None:
    """Make every norm of `module` run in `norm_mode`, "eval" or "train", with `eps`."""
    for child in module.modules():
        if isinstance(child, (nn.InstanceNorm2d, nn.BatchNorm2d)):
            child.eps = eps
        if isinstance(child, BatchNorm):
            child.per_picture = norm_mode == "train"
