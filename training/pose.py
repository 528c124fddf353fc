"""Reading a head's yaw and pitch off a photo, by ridge regression on rendered photos of known pose."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor

from getgan.training.faces import SceneConfig, render_photo, seed_of

_SIDE = 16  # pixels of the small grey image that the regression sees
_RIDGE = 30.0


class PoseReader:
    """Yaw and pitch in degrees; trained on photos of a wide yaw range that no generator has seen."""

    def __init__(self, scene: SceneConfig, photos: int = 400) -> None:
        self._weights = _fitted(replace(scene, yaw_y=(-40.0, 40.0)), photos)

    def read(self, images: Tensor) -> NDArray[np.float64]:
        """(N, 3, H, W) photos in [-1, 1] -> (N, 2) yaw and pitch in degrees."""
        return _with_one(_features(images)) @ self._weights


@lru_cache(maxsize=4)
def _fitted(scene: SceneConfig, photos: int) -> NDArray[np.float64]:
    """(features + 1, 2) weights; the photos' seeds are far from those of any training or test set."""
    drawn = [render_photo(scene, seed_of("photo", "probe", 1_000_000 + n)) for n in range(photos)]
    images = torch.from_numpy(np.stack([photo.image for photo in drawn])).permute(0, 3, 1, 2)
    x = _with_one(_features(images.float() / 127.5 - 1.0))
    target = np.array([(photo.pose.yaw, photo.pose.pitch) for photo in drawn])
    ridge = _RIDGE * np.eye(x.shape[1])
    ridge[-1, -1] = 0.0
    weights: NDArray[np.float64] = np.linalg.solve(x.T @ x + ridge, x.T @ target)
    return weights


def _features(images: Tensor) -> NDArray[np.float64]:
    """(N, 3, H, W) -> (N, 256) small grey images of mean 0 and deviation 1."""
    grey = images.float().mean(dim=1, keepdim=True)
    small = functional.interpolate(grey, size=(_SIDE, _SIDE), mode="area").flatten(1).double().numpy()
    small = small - small.mean(axis=1, keepdims=True)
    result: NDArray[np.float64] = small / (small.std(axis=1, keepdims=True) + 1e-6)
    return result


def _with_one(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)
