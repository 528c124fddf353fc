"""Where eyes, nose and mouth of a rendered head are in its picture, hidden or not."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from getgan.training.faces.config import Pose
from getgan.training.faces.identity import Identity
from getgan.training.faces.surface import DEPTH, Grid, displacement, ramp, rotation_of


class Point(NamedTuple):
    """A place in a picture, in pixels from its top left corner; a pixel's centre is at .5."""

    x: float
    y: float


class Landmarks(NamedTuple):
    """The middles of a face's parts; left and right as the viewer sees an upright face."""

    left_eye: Point
    right_eye: Point
    nose: Point  # its tip
    mouth: Point


def landmarks_of(who: Identity, pose: Pose, size: int) -> Landmarks:
    """Of a head of either domain in a picture of size x size."""
    x = np.array([-who.eye_x, who.eye_x, 0.0, 0.0], np.float32)
    y = np.array([who.eye_y, who.eye_y, who.nose_y, who.mouth_y], np.float32)
    z = np.sqrt(1.0 - x * x - y * y)
    out = displacement(who, Grid(x, y, z, np.abs(x), ramp(z, -0.1, 0.25)), eyes_open=True)
    place = np.stack([x * who.width, y, z * DEPTH]) * (1.0 + out)  # (3, 4) in the head's frame
    seen = rotation_of(pose) @ place
    columns = (pose.shift_x + pose.scale * seen[0] + 1.0) * size / 2
    rows = (pose.shift_y + pose.scale * seen[1] + 1.0) * size / 2
    return Landmarks(*(Point(float(c), float(r)) for c, r in zip(columns, rows, strict=True)))
