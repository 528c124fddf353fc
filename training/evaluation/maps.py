"""Where a contestant says the occlusion is, and how well that ranks hidden pixels above visible ones."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor

from getgan.runtime.metrics import auroc
from getgan.training.config import LossConfig
from getgan.training.evaluation.options import Contestant
from getgan.training.evaluation.testsets import Floats, Masks, large_enough
from getgan.training.weight import ErrorScale, Network, gradient_weight, residual_weight

Maps = dict[str, NDArray[np.float32]]  # name -> (N, H, W); high = occlusion

GATE, ERROR, WEIGHT, CYCLE = "gate", "error", "weight", "cycle"
WEIGHT_BLURRED, CYCLE_BLURRED = "weight_blurred", "cycle_blurred"
MAP_NAMES = (GATE, ERROR, WEIGHT, WEIGHT_BLURRED, CYCLE, CYCLE_BLURRED)

BLUR = 3 / 64  # sigma as a share of the height


def occlusion_maps(
    contestant: Contestant, x: Tensor, y_star: Tensor, explained: Mapping[str, Tensor]
) -> Maps:
    """The maps that the contestant's networks allow, of x, (N, 3, H, W).

    gate: channel mean of 1 - s, upsampled; error: |y_e|; weight: W_e; cycle: |x - H(y_*)|, each the mean
    over the channels; *_blurred: the same after a Gaussian blur, sigma 3 pixels at 64.
    """
    size = (x.shape[2], x.shape[3])
    maps: Maps = {}
    if "error" in explained:
        maps[ERROR] = _array(explained["error"].abs().mean(dim=1))
    if "occlusion" in explained:  # (N, 1, H/4, W/4)
        fine = functional.interpolate(explained["occlusion"], size, mode="bilinear", align_corners=False)
        maps[GATE] = _array(fine[:, 0])
    if contestant.reverse is not None:
        weight = _weight(contestant.reverse, x, y_star, contestant.loss)
        maps[WEIGHT] = _array(weight.mean(dim=1))
        maps[WEIGHT_BLURRED] = _blurred(maps[WEIGHT])
        with torch.no_grad():
            maps[CYCLE] = _array((x - contestant.reverse(y_star)).abs().mean(dim=1))
        maps[CYCLE_BLURRED] = _blurred(maps[CYCLE])
    return maps


def _weight(reverse: Network, x: Tensor, y_star: Tensor, loss: LossConfig) -> Tensor:
    """W_e as in training; one of the error itself is measured by these pictures, not the run's last ones."""
    if loss.weight_of == "residual":
        return residual_weight(reverse, x, y_star, loss, ErrorScale().to(x.device))
    return gradient_weight(reverse, x, y_star, loss)


def reason_without(contestant: Contestant, name: str) -> str:
    """Why a contestant has no such map."""
    if name in (GATE, ERROR):
        return contestant.explain_missing if contestant.explain is None else "this checkpoint has no gate"
    return contestant.reverse_missing


def aurocs(maps: Maps, mask: Masks, face: Masks) -> dict[str, Floats]:
    """Per map, (N,): AUROC against the mask inside the face; NaN where too little is hidden or visible."""
    good = large_enough(mask) & large_enough(face & ~mask)
    return {
        name: np.array(
            [auroc(values[i][face[i]], mask[i][face[i]]) if good[i] else np.nan for i in range(len(values))]
        )
        for name, values in maps.items()
    }


def _blurred(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    sigma = BLUR * maps.shape[1]
    return np.stack([np.asarray(cv2.GaussianBlur(each, (0, 0), sigma), np.float32) for each in maps])


def _array(values: Tensor) -> NDArray[np.float32]:
    return values.detach().float().cpu().numpy()
