"""The picture a run writes now and then, so that a person sees where it stands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from getgan.models.getgan import GetGanGenerator
from getgan.models.tensors import images_from_tensor
from getgan.runtime.images import write_image

COLUMNS = 8


def write_sample(
    path: Path, generator: nn.Module, reverse: nn.Module, inputs: Tensor, device: torch.device
) -> None:
    """Rows: x, y_*, H(y_*), and for GET-GAN y_e and the gate's 1 - s; columns: the first probe images."""
    x = inputs[:COLUMNS].to(device)
    with torch.no_grad():
        rows = [x]
        if isinstance(generator, GetGanGenerator):
            out = generator(x)
            rows += [out.y_star, _image(reverse(out.y_star)), out.y_error]
            if out.gate is not None:
                wrong = (1.0 - out.gate).mean(dim=1, keepdim=True)  # (N, 1, H/4, W/4)
                wide = torch.nn.functional.interpolate(wrong, size=x.shape[2:], mode="bilinear")
                rows.append((2.0 * wide - 1.0).expand_as(x))
        else:
            y = _image(generator(x))
            rows += [y, _image(reverse(y))]
    strips = [np.concatenate(images_from_tensor(row), axis=1) for row in rows]
    write_image(path, np.concatenate(strips, axis=0))


def _image(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """A generator's picture, whether it answers with more or not (U-GAT-IT does)."""
    return output[0] if isinstance(output, tuple) else output
