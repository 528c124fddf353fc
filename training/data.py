"""Unpaired batches of both domains, from folders or rendered faces; a function of (seed, iteration)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from getgan.errors import DataError
from getgan.models.tensors import tensor_from_images
from getgan.runtime.images import list_images, read_image
from getgan.training.config import DataConfig
from getgan.training.faces import SceneConfig, render_photo, render_ultrasound, seed_of

Picture = NDArray[np.uint8]  # (H, W, 3) RGB


class Domain(Protocol):
    """One side of the unpaired data."""

    @property
    def count(self) -> int:
        """How many pictures there are; 0 = endless."""

    def picture(self, index: int) -> Picture:
        """Picture `index`, uint8 (H, W, 3) RGB."""


@dataclass(frozen=True)
class Faces:
    """Rendered pictures of one domain; a fixed set is rendered when first asked for and kept in memory."""

    scene: SceneConfig
    domain: str  # "ultrasound" | "photo"
    split: str
    first: int
    count: int

    def picture(self, index: int) -> Picture:
        """(size, size, 3) uint8 RGB."""
        seed = seed_of(self.domain, self.split, self.first + index)
        return (
            _kept_face(self.scene, self.domain, seed) if self.count else _face(self.scene, self.domain, seed)
        )


def _face(scene: SceneConfig, domain: str, seed: int) -> Picture:
    if domain == "photo":
        return render_photo(scene, seed).image
    return render_ultrasound(scene, seed).ultrasound


_kept_face = lru_cache(maxsize=None)(_face)


@dataclass(frozen=True)
class Folder:
    """The images of one folder, read anew each time."""

    paths: tuple[Path, ...]

    @property
    def count(self) -> int:
        """How many images the folder holds."""
        return len(self.paths)

    def picture(self, index: int) -> Picture:
        """(H, W, 3) uint8 RGB of any size."""
        return read_image(self.paths[index])


def scene_config(data: DataConfig) -> SceneConfig:
    """The renderer's options for a data config."""
    try:
        return SceneConfig(size=data.size, yaw_x=data.yaw_x, yaw_y=data.yaw_y, occlusion=data.occlusion)
    except ValueError as error:
        raise DataError(f"data: {error}") from error


def open_domains(data: DataConfig, split: str = "train") -> tuple[Domain, Domain]:
    """Domains X (ultrasound, A) and Y (photo, B) of a split "train" or "test"."""
    if data.kind == "faces":
        scene = scene_config(data)
        return (
            Faces(scene, "ultrasound", split, data.first, data.count),
            Faces(scene, "photo", split, data.first, data.count),
        )
    root = Path(data.root)
    return open_folder(root / f"{split}A"), open_folder(root / f"{split}B")


def open_folder(folder: Path) -> Folder:
    """The images of a folder; at least two, and the first of them readable."""
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; wanted trainA (ultrasound) and trainB (photos) under data.root")
    paths = tuple(list_images(folder))
    if len(paths) < 2:
        found = "no image" if not paths else "one image"
        raise DataError(f"{folder} holds {found}; wanted at least 2 (PNG, JPEG, BMP or TIFF) to train on")
    return Folder(paths)


class Batches:
    """Batches of X and Y: every picture once an epoch, each domain shuffled on its own.

    Nothing is remembered between calls: batch(iteration) depends on (seed, rank, world, iteration) alone,
    which is what makes a resumed run see the pictures that an uninterrupted one sees.
    """

    def __init__(
        self,
        data: DataConfig,
        domains: tuple[Domain, Domain],
        batch: int,
        seed: int,
        rank: int,
        world: int,
        *,
        photos: bool = True,
    ) -> None:
        self._data, self._domains, self._batch, self._photos = data, domains, batch, photos
        self._seed, self._rank, self._world = seed, rank, world

    def batch(self, iteration: int) -> tuple[Tensor, Tensor]:
        """(x, y_real), each (N, 3, size, size) float32 RGB in [-1, 1]; without photos y_real has N = 0."""
        return self.of([self.picture(*place) for place in self.places(iteration)])

    def places(self, iteration: int) -> list[tuple[int, int]]:
        """(which domain, number in the whole run) of every picture of a batch, ultrasounds first."""
        first = (iteration * self._world + self._rank) * self._batch
        return [(which, first + n) for which in range(1 + self._photos) for n in range(self._batch)]

    def of(self, pictures: list[Picture]) -> tuple[Tensor, Tensor]:
        """The batch of the pictures at its places."""
        images = tensor_from_images(np.stack(pictures))
        return images[: self._batch], images[self._batch :]

    def picture(self, which: int, serial: int) -> Picture:
        """The picture at a place of a batch."""
        rng = np.random.default_rng((self._seed, which, serial))
        return augment(self._domains[which].picture(self.index(which, serial)), self._data, rng)

    def index(self, which: int, serial: int) -> int:
        """Which of its domain's pictures that is."""
        count = self._domains[which].count
        if not count:
            return serial
        epoch, place = divmod(serial, count)
        return int(_order(self._seed, which, epoch, count)[place])


@lru_cache(maxsize=4)
def _order(seed: int, which: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The shuffled order of one domain in one epoch."""
    return np.random.default_rng((seed, which, epoch, count)).permutation(count)


def augment(image: Picture, data: DataConfig, rng: np.random.Generator) -> Picture:
    """Resize to load_size, random crop to size, random mirror; rendered faces are only mirrored."""
    if data.kind == "folders":
        image = _resize_shorter(image, data.load_size)
        top = int(rng.integers(image.shape[0] - data.size + 1))
        left = int(rng.integers(image.shape[1] - data.size + 1))
        image = image[top : top + data.size, left : left + data.size]
    if data.flip and rng.random() < 0.5:
        image = image[:, ::-1]
    return image


def centre_crop(image: Picture, size: int) -> Picture:
    """The shorter side resized to `size`, then the middle square, uint8 (size, size, 3)."""
    image = _resize_shorter(image, size)
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return image[top : top + size, left : left + size]


def _resize_shorter(image: Picture, target: int) -> Picture:
    height, width = image.shape[:2]
    scale = target / min(height, width)
    size = (max(target, round(width * scale)), max(target, round(height * scale)))
    if size == (width, height):
        return image
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return np.asarray(resized, np.uint8)
