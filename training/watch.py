"""The watch for collapse: does the picture still depend on what was put in?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from getgan.models.tensors import images_from_tensor, tensor_from_images
from getgan.training.config import DataConfig
from getgan.training.data import Domain, centre_crop, scene_config
from getgan.training.evaluation.landmarks import learn_landmark_finder
from getgan.training.evaluation.pose import correlation, learn_pose_reader
from getgan.training.evaluation.rows import COLLAPSED_BELOW
from getgan.training.evaluation.testsets import head_of, render_learning_photos, wide_poses
from getgan.training.faces import render_ultrasound, seed_of

# Photos that the pose reader learns from: half as many as an evaluation takes, so that a run starts at once.
_POSE_PHOTOS = 400


@dataclass(frozen=True)
class Reading:
    """One look at the generator.

    dependence: mean L1 between outputs of different inputs, over the same between real photos; ~0 when
    every input gives one face. in_mirror: mean difference between the output and the mirrored output of the
    mirrored input, levels of 255; what a generator does to one side is half of it. The others need the hidden
    truth of rendered faces: psnr_clean (dB) and yaw_correlation of the scenes without occluder, both_eyes
    (share of the scenes with two eyes in place and no third) of the scenes as they are, most with one.
    """

    dependence: float
    psnr_clean: float | None = None
    yaw_correlation: float | None = None
    both_eyes: float | None = None
    in_mirror: float | None = None

    @property
    def collapsed(self) -> bool:
        """Whether the picture no longer follows the input."""
        return self.dependence < COLLAPSED_BELOW

    @property
    def score(self) -> float:
        """Higher is better; chooses the best checkpoint. Never the trace, which collapse improves."""
        return self.dependence if self.psnr_clean is None else self.psnr_clean


class Watch:
    """A fixed probe set that no training picture is in."""

    def __init__(self, data: DataConfig, domains: tuple[Domain, Domain], images: int) -> None:
        self._truth: Tensor | None = None
        self._face: Tensor | None = None
        if data.kind == "faces":
            scene = scene_config(data)
            scenes = [render_ultrasound(scene, seed_of("ultrasound", "probe", n)) for n in range(images)]
            self.inputs = tensor_from_images(np.stack([s.ultrasound for s in scenes]))  # (N, 3, H, W)
            self._clean = tensor_from_images(np.stack([s.clean for s in scenes]))
            self._truth = tensor_from_images(np.stack([s.truth for s in scenes]))
            self._face = torch.from_numpy(np.stack([s.face for s in scenes]))[:, None]  # (N, 1, H, W)
            self._yaw = np.array([s.pose.yaw for s in scenes])
            self._heads = [head_of(s.identity, s.pose, s.size) for s in scenes]
            photos = render_learning_photos(wide_poses(scene, None), _POSE_PHOTOS)
            self._pose = learn_pose_reader(photos.images, photos.pose)
            self._find = learn_landmark_finder(photos.images, photos.heads)
            real = self._truth
        else:
            x, y = domains
            self.inputs = self._clean = _spread_over(x, images, data.size)
            real = _spread_over(y, images, data.size)
        self._real_distance = _mean_distance(real)

    def read(self, translate: Callable[[Tensor], Tensor]) -> Reading:
        """Look at a generator, x (N, 3, H, W) in [-1, 1] -> y_*."""
        with torch.no_grad():
            y = translate(self._clean).float().cpu()
            turned = translate(self._clean.flip(3)).float().cpu().flip(3)
        in_mirror = 127.5 * float((y - turned).abs().mean())
        dependence = _mean_distance(y) / self._real_distance
        if self._truth is None or self._face is None:
            return Reading(dependence, in_mirror=in_mirror)
        square = ((y - self._truth) / 2.0).square() * self._face
        mse = square.sum(dim=(1, 2, 3)) / (3 * self._face.sum(dim=(1, 2, 3)))
        psnr = float((-10.0 * torch.log10(mse + 1e-12)).mean())
        yaw = self._pose(images_from_tensor(y))[:, 0]
        with torch.no_grad():
            occluded = images_from_tensor(translate(self.inputs).float().cpu())
        eyes = float(self._find(occluded, self._heads).both_eyes.mean())
        return Reading(dependence, psnr, correlation(yaw, self._yaw), eyes, in_mirror)


def _spread_over(domain: Domain, images: int, size: int) -> Tensor:
    """`images` pictures evenly from the whole domain, (N, 3, size, size)."""
    places = np.linspace(0, domain.count - 1, min(images, domain.count)).astype(int)
    return tensor_from_images(np.stack([centre_crop(domain.picture(int(n)), size) for n in places]))


def _mean_distance(images: Tensor) -> float:
    """Mean |a - b| over all pairs of different images; 1e-6 at least."""
    count = len(images)
    total = sum(float((images - images.roll(shift, 0)).abs().mean()) for shift in range(1, count))
    return max(total / (count - 1), 1e-6)
