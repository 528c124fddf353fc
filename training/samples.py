"""The picture a run writes now and then, so that a person sees where it stands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from getgan.models.generator import Generator
from getgan.models.tensors import images_from_tensor
from getgan.runtime.images import write_image

COLUMNS = 8


def write_sample(
    path: Path, generator: Generator, reverse: Generator | None, inputs: Tensor, device: torch.device
) -> None:
    """Rows: x, y_*, H(y_*) if there is one, for GET-GAN y_e and 1 - s; columns: the first probe images."""
    x = inputs[:COLUMNS].to(device)
    with torch.no_grad():
        found = generator.answer(x, generator.outputs)
        rows = [x, found["face"], *([] if reverse is None else [reverse.translate(found["face"])])]
        if "error" in found:
            rows.append(found["error"])
        if "occlusion" in found:  # (N, 1, h, w)
            wide = torch.nn.functional.interpolate(found["occlusion"], size=x.shape[2:], mode="bilinear")
            rows.append((2.0 * wide - 1.0).expand_as(x))
    strips = [np.concatenate(images_from_tensor(row), axis=1) for row in rows]
    write_image(path, np.concatenate(strips, axis=0))
