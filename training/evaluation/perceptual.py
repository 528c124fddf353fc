"""The perceptual distance to the true photo, and KID against held-out photos, for all columns at once."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from getgan.models.perceptual import PerceptualDistance
from getgan.models.tensors import tensor_from_images
from getgan.training.evaluation.measures import mean_of, regions
from getgan.training.evaluation.testsets import Floats, Images, Masks, TestSet, large_enough
from getgan.training.evaluation.translate import Outputs


class PerceptualJudge:
    """Shift-tolerant LPIPS and the features of its network, over whole test sets."""

    def __init__(self, device: torch.device, batch: int) -> None:
        self._network = PerceptualDistance.load(device)
        self._device = device
        self._batch = batch

    def judge(self, test: TestSet, columns: list[Outputs], photos: Images) -> list[dict[str, float]]:
        """Per column: lpips_hidden, _visible, _face, _clean, and kid (times 1000) against the photos.

        The truth goes through the network once for all columns. In a region, the distance is the mean of
        its map; a pixel of the map also sees some of its surroundings.
        """
        scores: list[dict[str, list[Floats]]] = [{} for _ in columns]
        features: list[list[Floats]] = [[] for _ in columns]
        where = regions(test)
        for start in range(0, len(test.truth), self._batch):
            part = slice(start, start + self._batch)
            truth = self._stages(test.truth[part])
            for column, outputs in enumerate(columns):
                stages = self._stages(outputs.hidden[part])
                features[column].append(self._features(stages))
                found = self._distances(stages, truth, {name: masks[part] for name, masks in where.items()})
                # A reference may give one answer to both inputs.
                if outputs.clean is not outputs.hidden:
                    stages = self._stages(outputs.clean[part])
                found |= self._distances(stages, truth, {"clean": test.face[part]})
                for name, values in found.items():
                    scores[column].setdefault(f"lpips_{name}", []).append(values)
        parts = range(0, len(photos), self._batch)
        real = np.concatenate([self._features(self._stages(photos[i : i + self._batch])) for i in parts])
        return [
            {name: mean_of(np.concatenate(values)) for name, values in scores[column].items()}
            | {"kid": 1000.0 * kid(np.concatenate(features[column]), real)}
            for column in range(len(columns))
        ]

    def _stages(self, images: Images) -> list[Tensor]:
        with torch.no_grad():
            return self._network.stages(tensor_from_images(images, self._device))

    def _features(self, stages: list[Tensor]) -> Floats:
        return self._network.features_from_stages(stages).double().cpu().numpy()

    def _distances(self, a: list[Tensor], b: list[Tensor], where: dict[str, Masks]) -> dict[str, Floats]:
        """Mean of the distance map over each mask, (N,), NaN where a mask is too small."""
        size = next(iter(where.values())).shape[1:]
        with torch.no_grad():
            maps = self._network.distance_map(a, b, (size[0], size[1])).double().cpu().numpy()
        return {
            name: np.array(
                [
                    each[mask].mean() if good else np.nan
                    for each, mask, good in zip(maps, masks, large_enough(masks), strict=True)
                ]
            )
            for name, masks in where.items()
        }


def kid(a: Floats, b: Floats) -> float:
    """Kernel distance of two sets of features, (N, D) and (M, D): 0 on average for two draws of one kind.

    The unbiased squared maximum mean discrepancy with the kernel (x . y / D + 1)^3 of Binkowski et al.,
    "Demystifying MMD GANs", ICLR 2018; on this AlexNet's features, so no number for Inception compares.
    It may come out slightly below 0.
    """
    within_a, within_b, between = _kernel(a, a), _kernel(b, b), _kernel(a, b)
    n, m = len(a), len(b)
    return float(
        (within_a.sum() - np.trace(within_a)) / (n * (n - 1))
        + (within_b.sum() - np.trace(within_b)) / (m * (m - 1))
        - 2.0 * between.mean()
    )


def _kernel(a: Floats, b: Floats) -> Floats:
    return np.asarray((a @ b.T / a.shape[1] + 1.0) ** 3, np.float64)
