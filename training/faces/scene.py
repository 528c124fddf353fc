"""One picture of either domain from one seed, with everything a judge may ask of it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from getgan.training.faces.config import Pose, SceneConfig, draw_pose
from getgan.training.faces.identity import identity_from_int
from getgan.training.faces.photo import portrait
from getgan.training.faces.ultrasound import scan


@dataclass(frozen=True)
class Photo:
    """A picture of domain Y: uint8 (H, W, 3) RGB, bool (H, W) head, its pose and who it is."""

    image: NDArray[np.uint8]
    face: NDArray[np.bool_]
    pose: Pose
    identity: int


@dataclass(frozen=True)
class Scene:
    """A picture of domain X, uint8 (H, W, 3) RGB with and without its occluder, and bool (H, W) maps.

    occluded: where an occluder or its acoustic shadow changes the picture; elsewhere `ultrasound` and
    `clean` are equal bit for bit. face: where the clean scene shows the head. mask: occluded & face.
    """

    ultrasound: NDArray[np.uint8]
    clean: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    face: NDArray[np.bool_]
    occluded: NDArray[np.bool_]
    pose: Pose
    identity: int
    kind: str | None  # of occluder
    size: int

    @cached_property
    def truth(self) -> NDArray[np.uint8]:
        """The photo of the same identity in the same pose, uint8 (H, W, 3) RGB, rendered when first asked."""
        return render_truth(self.identity, self.pose, self.size)


def render_ultrasound(config: SceneConfig, seed: int) -> Scene:
    """The scene of domain X that belongs to a seed."""
    rng = np.random.default_rng((7201, seed))
    pose = draw_pose(config, config.yaw_x, rng)
    hidden = rng.random() < config.occlusion
    weights = np.array(config.kind_weights[: len(config.kinds)], np.float64)
    kind = config.kinds[int(np.searchsorted(np.cumsum(weights / weights.sum()), rng.random(), side="right"))]
    chosen = kind if hidden else None
    identity = 2 * seed  # domain X holds the even identities, domain Y the odd ones
    echo = scan(config, identity_from_int(identity), pose, chosen, seed)
    mask = echo.occluded & echo.face
    return Scene(
        echo.ultrasound, echo.clean, mask, echo.face, echo.occluded, pose, identity, chosen, config.size
    )


def render_photo(config: SceneConfig, seed: int) -> Photo:
    """The photo of domain Y that belongs to a seed."""
    pose = draw_pose(config, config.yaw_y, np.random.default_rng((7202, seed)))
    identity = 2 * seed + 1
    image, face = portrait(identity_from_int(identity), pose, config.size)
    return Photo(image, face, pose, identity)


def render_truth(identity: int, pose: Pose, size: int) -> NDArray[np.uint8]:
    """The photo of an identity of either domain in a given pose, uint8 (size, size, 3) RGB."""
    return portrait(identity_from_int(identity), pose, size)[0]
