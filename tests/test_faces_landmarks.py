"""The renderer's landmarks are where its rays meet eyes, nose and mouth."""

from __future__ import annotations

import numpy as np
import pytest

from getgan.training.faces import Pose, SceneConfig, landmarks_of, render_photo, seed_of
from getgan.training.faces.identity import identity_from_int
from getgan.training.faces.surface import REACH, displacement, grid, meet, texels_of

SIZE = 64
POSES = [Pose(0, 0, 0, 0, 0, 0.6), Pose(25, 5, 8, 0.1, -0.05, 0.55), Pose(-25, -8, -5, -0.05, 0.1, 0.65)]


@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize("identity", [0, 1, 7])
def test_the_ray_through_a_landmark_meets_that_part_of_the_head(identity: int, pose: Pose) -> None:
    who = identity_from_int(identity)
    texels = texels_of(SIZE)
    surface = meet(who, pose, displacement(who, grid(texels), eyes_open=True), SIZE)
    wanted = [(-who.eye_x, who.eye_y), (who.eye_x, who.eye_y), (0.0, who.nose_y), (0.0, who.mouth_y)]
    for point, (x, y) in zip(landmarks_of(who, pose, SIZE), wanted, strict=True):
        fold = np.sqrt(2.0 / (1.0 + np.sqrt(1.0 - x * x - y * y)))
        row, column = int(point.y), int(point.x)
        found = [
            (float(m[row, column]) + 0.5 - texels / 2) * 2 * REACH / texels
            for m in (surface.map_x, surface.map_y)
        ]
        # Within a pixel, which is 2 / SIZE / scale of a head.
        assert np.hypot(found[0] - x * fold, found[1] - y * fold) < 1.5 * 2 / SIZE / pose.scale


def test_eyes_are_dark_and_the_forehead_is_not() -> None:
    scene = SceneConfig(size=96, yaw_y=(-15.0, 15.0))
    eyes, foreheads = [], []
    for index in range(6):
        photo = render_photo(scene, seed_of("photo", "test", index))
        found = landmarks_of(identity_from_int(photo.identity), photo.pose, 96)
        grey = photo.image.mean(axis=2)
        for eye in (found.left_eye, found.right_eye):
            row, column = int(eye.y), int(eye.x)
            eyes.append(grey[row - 1 : row + 2, column - 1 : column + 2].mean())
        up = np.subtract(found.nose, found.mouth)  # from the mouth to the nose, and on
        column, row = (int(v) for v in np.add(found.nose, 2.2 * up))
        foreheads.append(grey[row - 1 : row + 2, column - 1 : column + 2].mean())
    assert max(eyes) < min(foreheads)
