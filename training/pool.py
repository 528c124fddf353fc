"""CycleGAN's pool of past fakes, which keeps a discriminator from chasing the last one."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class ImagePool:
    """Up to `size` past images; a full pool answers with an old one half of the time (Shrivastava 2017).

    What it draws depends on (seed, iteration) alone, so that a resumed run draws the same.
    """

    def __init__(self, size: int, seed: tuple[int, ...]) -> None:
        self.size = size
        self.images: list[Tensor] = []  # each (3, H, W)
        self._seed = seed
        self._rng = np.random.default_rng(seed)

    def start_iteration(self, iteration: int) -> None:
        """Seed the draws of one iteration."""
        self._rng = np.random.default_rng((*self._seed, iteration))

    def query(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) fakes -> as many, some of them older ones whose place the new ones take."""
        if self.size == 0:
            return images
        answer: list[Tensor] = []
        for image in images:
            if len(self.images) < self.size:
                self.images.append(image.clone())
                answer.append(image)
            elif self._rng.random() < 0.5:
                place = int(self._rng.integers(self.size))
                answer.append(self.images[place])
                self.images[place] = image.clone()
            else:
                answer.append(image)
        return torch.stack(answer)


class KeptImages(ImagePool):
    """Up to `size` images that were kept, to draw from; a full one gives up any of them for a new one."""

    def keep(self, images: Tensor) -> None:
        """Take (N, 3, H, W) in."""
        for image in images:
            if len(self.images) < self.size:
                self.images.append(image.clone())
            else:
                self.images[int(self._rng.integers(self.size))] = image.clone()

    def draw(self, count: int) -> Tensor:
        """(count, 3, H, W), each any of those that are there; at least one must be."""
        return torch.stack([self.images[int(n)] for n in self._rng.integers(len(self.images), size=count)])
