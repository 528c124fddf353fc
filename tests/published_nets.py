"""Networks as their authors describe them: a list of layers gives a file's keys, and a forward of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as functional
from torch import Tensor

State: TypeAlias = dict[str, Tensor]
Norm = Literal["instance", "affine", "old", "old-affine", "batch", "none"]
EPS = 1e-5


@dataclass(frozen=True)
class Conv:
    width: int
    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0
    bias: bool = True


@dataclass(frozen=True)
class Transposed:
    width: int
    channels: int
    kernel: int
    output_padding: int = 0
    bias: bool = True


@dataclass(frozen=True)
class Pad:
    border: int
    mode: str = "reflect"


@dataclass(frozen=True)
class Normalise:
    channels: int
    kind: Norm
    train: bool = False  # of BatchNorm: the statistics of each picture


@dataclass(frozen=True)
class Plain:
    """Without weights."""

    kind: Literal["relu", "leaky", "tanh", "dropout", "nearest", "bilinear"]


@dataclass(frozen=True)
class Blur:
    channels: int
    kind: Literal["down", "up"]


@dataclass(frozen=True)
class Inside:
    """Layers in a list of their own, whose answer is added to what went in or stands behind it."""

    name: str
    layers: Sequence[Layer] = field(repr=False)
    join: Literal["add", "concatenate"] = "add"


Layer: TypeAlias = Conv | Transposed | Pad | Normalise | Plain | Blur | Inside


def weights(layers: Sequence[Layer], root: str, seed: int = 0) -> State:
    """Random ones under the keys of a list of layers, `root`.0, `root`.1, ..."""
    return dict(_weights(layers, root, torch.Generator().manual_seed(seed)))


def _weights(layers: Sequence[Layer], root: str, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
    for place, layer in enumerate(layers):
        key = f"{root}.{place}"
        if isinstance(layer, Conv | Transposed):
            shape = (layer.width, layer.channels)
            shape = shape if isinstance(layer, Conv) else shape[::-1]
            spread = (
                1.0 / (layer.channels * layer.kernel**2 / (4 if isinstance(layer, Transposed) else 1)) ** 0.5
            )
            square = (layer.kernel, layer.kernel)
            yield f"{key}.weight", torch.randn(*shape, *square, generator=generator) * spread
            if layer.bias:
                yield f"{key}.bias", 0.1 * torch.randn(layer.width, generator=generator)
        elif isinstance(layer, Normalise):
            yield from _norm_weights(layer, key, generator)
        elif isinstance(layer, Blur):
            row = torch.tensor([1.0, 2.0, 1.0] if layer.kind == "down" else [1.0, 3.0, 3.0, 1.0])
            filt = row[:, None] * row / row.sum() ** 2 * (1 if layer.kind == "down" else 4)
            yield f"{key}.filt", filt[None, None].repeat(layer.channels, 1, 1, 1)
        elif isinstance(layer, Inside):
            yield from _weights(layer.layers, f"{key}.{layer.name}", generator)


def _norm_weights(layer: Normalise, key: str, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
    size = layer.channels
    if layer.kind in ("affine", "old-affine", "batch"):
        yield f"{key}.weight", 1 + 0.2 * torch.randn(size, generator=generator)
        yield f"{key}.bias", 0.2 * torch.randn(size, generator=generator)
    if layer.kind.startswith("old") or layer.train:  # whoever uses them is found out
        yield f"{key}.running_mean", torch.full((size,), 1e6)
        yield f"{key}.running_var", torch.full((size,), 1e6)
    elif layer.kind == "batch":
        yield f"{key}.running_mean", 0.3 * torch.randn(size, generator=generator)
        yield f"{key}.running_var", 0.5 + torch.rand(size, generator=generator)
    if layer.kind == "batch":
        yield f"{key}.num_batches_tracked", torch.tensor(1000)


def run(layers: Sequence[Layer], state: State, root: str, x: Tensor) -> Tensor:
    """The answer of the layers to x, (N, C, H, W), by the state dict alone."""
    for place, layer in enumerate(layers):
        x = _step(layer, state, f"{root}.{place}", x)
    return x


def _step(layer: Layer, state: State, key: str, x: Tensor) -> Tensor:
    if isinstance(layer, Conv):
        return functional.conv2d(
            x, state[f"{key}.weight"], state.get(f"{key}.bias"), layer.stride, layer.padding
        )
    if isinstance(layer, Transposed):
        weight, bias = state[f"{key}.weight"], state.get(f"{key}.bias")
        return functional.conv_transpose2d(x, weight, bias, 2, 1, layer.output_padding)
    if isinstance(layer, Pad):
        return functional.pad(x, (layer.border,) * 4, mode=layer.mode)
    if isinstance(layer, Normalise):
        return _normalised(layer, state, key, x)
    if isinstance(layer, Blur):
        return _blurred(layer, x)
    if isinstance(layer, Inside):
        y = run(layer.layers, state, f"{key}.{layer.name}", x)
        return x + y if layer.join == "add" else torch.cat([x, y], dim=1)
    if layer.kind in ("nearest", "bilinear"):
        return functional.interpolate(x, scale_factor=2, mode=layer.kind)
    if layer.kind == "leaky":
        return torch.where(x < 0, 0.2 * x, x)
    if layer.kind == "dropout":
        return x  # in eval mode it does nothing
    return x.clamp(min=0) if layer.kind == "relu" else x.tanh()


def _normalised(layer: Normalise, state: State, key: str, x: Tensor) -> Tensor:
    if layer.kind == "none":
        return x
    mean, variance = x.mean(dim=(2, 3), keepdim=True), x.var(dim=(2, 3), correction=0, keepdim=True)
    if layer.kind == "batch" and not layer.train:
        mean, variance = (state[f"{key}.running_{name}"][:, None, None] for name in ("mean", "var"))
    y = (x - mean) / (variance + EPS).sqrt()
    if layer.kind in ("instance", "old"):
        return y
    return y * state[f"{key}.weight"][:, None, None] + state[f"{key}.bias"][:, None, None]


def _blurred(layer: Blur, x: Tensor) -> Tensor:
    """By hand: down, 1-2-1 at every second place, the picture mirrored at its border.

    Up, 1-3-3-1 makes every new pixel three quarters of the nearest old one and a quarter of the next.
    """
    if layer.kind == "up":
        for dim in (2, 3):
            first, last = x.narrow(dim, 0, 1), x.narrow(dim, -1, 1)
            size = x.shape[dim]
            before = torch.cat([first, x.narrow(dim, 0, size - 1)], dim)
            behind = torch.cat([x.narrow(dim, 1, size - 1), last], dim)
            pair = torch.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * behind], dim + 1)
            x = pair.flatten(dim, dim + 1)
        return x
    for dim in (2, 3):
        size = x.shape[dim]
        mirrored = torch.cat([x.narrow(dim, 1, 1), x], dim)
        places = [torch.arange(start, size + start, 2) for start in range(3)]
        before, here, behind = (mirrored.index_select(dim, place) for place in places)
        x = 0.25 * before + 0.5 * here + 0.25 * behind
    return x
