"""The test scenes and photos of one seed, rendered once and shared by all contestants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from getgan.training.evaluation.options import INDICES_PER_SEED
from getgan.training.faces import (
    Photo,
    Pose,
    Scene,
    SceneConfig,
    identity_from_int,
    landmarks_of,
    render_photo,
    render_ultrasound,
    seed_of,
)

Images = NDArray[np.uint8]  # (N, H, W, 3) RGB
Masks = NDArray[np.bool_]  # (N, H, W)
Floats = NDArray[np.float64]

# Training photos with indices above any that a run uses: the pose reader and the mean photo learn from them.
FIRST_LEARNING_PHOTO = 10_000_000
# A part of a picture that is smaller is left out: a PSNR over five pixels is noise.
MIN_SHARE = 0.01


@dataclass(frozen=True)
class Head:
    """Where a head and its parts are in its picture; lengths in pixels, angles in degrees."""

    landmarks: Floats  # (4, 2), x and y of left eye, right eye, nose, mouth
    roll: float
    height: float
    eyes_apart: float  # seen from the front


class LearningPhotos(NamedTuple):
    """Training photos, uint8 (N, H, W, 3) RGB, their yaw and pitch (N, 2) in degrees, and their heads."""

    images: Images
    pose: Floats
    heads: tuple[Head, ...]


@dataclass(frozen=True)
class TestSet:
    """Scenes of one test seed: pictures uint8 (N, H, W, 3) RGB, masks bool (N, H, W), pose (N, 2) degrees."""

    __test__ = False  # for pytest: this is no test

    ultrasound: Images
    clean: Images  # the same scenes without the occluder
    truth: Images
    mask: Masks  # hidden part of the face
    face: Masks
    pose: Floats  # yaw, pitch
    heads: tuple[Head, ...]

    @property
    def visible(self) -> Masks:
        """The part of the face that the occluder leaves."""
        return self.face & ~self.mask


Made = Callable[[int], None]  # is told how many scenes there are


def unheard(_: int) -> None:
    """For whom nobody listens."""


def render_test_set(config: SceneConfig, seed: int, count: int, made: Made = unheard) -> TestSet:
    """Scenes seed * 100,000 and following of the test split: seeds share no scene."""
    return _stacked(config, seed * INDICES_PER_SEED, count, made)


def render_far_set(config: SceneConfig, seed: int, count: int, made: Made = unheard) -> TestSet:
    """Other scenes of the same seed, for a config with another yaw range."""
    return _stacked(config, seed * INDICES_PER_SEED + INDICES_PER_SEED // 2, count, made)


def render_photos(config: SceneConfig, seed: int, count: int) -> Images:
    """Photos of domain Y's test split, (N, H, W, 3) uint8 RGB; of no identity that domain X has."""
    first = seed * INDICES_PER_SEED
    return np.stack([_photo(config, "test", first + i).image for i in range(count)])


def render_learning_photos(config: SceneConfig, count: int) -> LearningPhotos:
    """Photos of the training split."""
    photos = [_photo(config, "train", FIRST_LEARNING_PHOTO + i) for i in range(count)]
    return LearningPhotos(
        np.stack([photo.image for photo in photos]),
        _angles([photo.pose for photo in photos]),
        tuple(head_of(photo.identity, photo.pose, config.size) for photo in photos),
    )


def head_of(identity: int, pose: Pose, size: int) -> Head:
    """The head of an identity in a pose, in a picture of size x size."""
    who = identity_from_int(identity)
    height = pose.scale * size
    landmarks = np.array(landmarks_of(who, pose, size), np.float64)
    return Head(landmarks, pose.roll, height, who.eye_x * who.width * height)


def mean_photo(config: SceneConfig, count: int = 200) -> NDArray[np.uint8]:
    """The mean of training photos, (H, W, 3) uint8 RGB: the answer of a model that has collapsed."""
    photos = render_learning_photos(config, count).images
    return np.asarray(np.rint(photos.mean(axis=0)), np.uint8)


def wide_poses(faces: SceneConfig, far: SceneConfig | None) -> SceneConfig:
    """Photos turned a little further than any test scene, small: what the pose reader learns from."""
    ranges = [faces.yaw_x, faces.yaw_y] + ([] if far is None else [far.yaw_x])
    yaw = _widened(min(low for low, _ in ranges), max(high for _, high in ranges))
    return replace(faces, size=min(faces.size, 64), yaw_y=yaw, pitch=_widened(*faces.pitch))


def large_enough(masks: Masks) -> NDArray[np.bool_]:
    """Which masks of (N, H, W) cover at least MIN_SHARE of their picture, bool (N,)."""
    return np.asarray(masks.mean(axis=(1, 2)) >= MIN_SHARE, np.bool_)


def _stacked(config: SceneConfig, first: int, count: int, made: Made) -> TestSet:
    scenes = []
    for number in range(count):
        scenes.append(_scene(config, first + number))
        made(number + 1)
    return TestSet(
        ultrasound=np.stack([scene.ultrasound for scene in scenes]),
        clean=np.stack([scene.clean for scene in scenes]),
        truth=np.stack([scene.truth for scene in scenes]),
        mask=np.stack([scene.mask for scene in scenes]),
        face=np.stack([scene.face for scene in scenes]),
        pose=_angles([scene.pose for scene in scenes]),
        heads=tuple(head_of(scene.identity, scene.pose, scene.size) for scene in scenes),
    )


def _scene(config: SceneConfig, index: int) -> Scene:
    return render_ultrasound(config, seed_of("ultrasound", "test", index))


def _photo(config: SceneConfig, split: str, index: int) -> Photo:
    return render_photo(config, seed_of("photo", split, index))


def _angles(poses: list[Pose]) -> Floats:
    return np.array([(pose.yaw, pose.pitch) for pose in poses], np.float64)


def _widened(low: float, high: float, margin: float = 5.0) -> tuple[float, float]:
    return max(low - margin, -60.0), min(high + margin, 60.0)
