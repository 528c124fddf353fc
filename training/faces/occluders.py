"""What lies in front of the face: a hand, a limb, a cord or the placenta, each a height field of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from getgan.training.faces.config import Pose
from getgan.training.faces.surface import Array, picture_plane

FAR = np.float32(-9.0)  # the height where nothing is
Point = NDArray[np.float64]


@dataclass(frozen=True)
class Heights:
    """A height field in the view's frame, float32 (S, S), in half pictures; FAR where it is empty."""

    z: Array

    def capsule(self, a: Point, b: Point, radius: float, taper: float = 1.0) -> None:
        """Raise the field, in place, to a rod with round ends from a to b (x, y, z each)."""
        side = self.z.shape[0]
        low, high = np.minimum(a, b)[:2] - radius, np.maximum(a, b)[:2] + radius
        left, top = np.clip(np.floor((low + 1) * side / 2), 0, side).astype(int)
        right, bottom = np.clip(np.ceil((high + 1) * side / 2), 0, side).astype(int)
        if left >= right or top >= bottom:
            return
        x, y = (plane[top:bottom, left:right] for plane in picture_plane(side))
        axis = (b - a).astype(np.float32)
        flat = np.float32(max(float(axis[0] ** 2 + axis[1] ** 2), 1e-9))
        dx, dy = x - np.float32(a[0]), y - np.float32(a[1])
        along = np.clip((dx * axis[0] + dy * axis[1]) / flat, 0.0, 1.0)
        off = (dx - along * axis[0]) ** 2 + (dy - along * axis[1]) ** 2
        thick = np.float32(radius) * (1.0 + (np.float32(taper) - 1.0) * along)
        room = thick * thick - off
        height = np.float32(a[2]) + along * axis[2] + np.sqrt(np.maximum(room, 0.0))
        part = self.z[top:bottom, left:right]
        np.maximum(part, np.where(room > 0, height, FAR), out=part)


def unit(angle: float) -> Point:
    """Direction in the picture, radians clockwise from the right."""
    return np.array([np.cos(angle), np.sin(angle), 0.0])


def on_face(pose: Pose, x: float, y: float, height: float) -> Point:
    """A point given in half heights of the head, moved and turned with the face in the picture."""
    lean = np.deg2rad(pose.roll)
    lead = np.sin(np.deg2rad(pose.yaw)) * 0.55  # the middle of the face runs off to the side
    u, v = x + lead, y
    return np.array(
        [
            pose.shift_x + pose.scale * (u * np.cos(lean) - v * np.sin(lean)),
            pose.shift_y + pose.scale * (u * np.sin(lean) + v * np.cos(lean)),
            height * pose.scale,
        ]
    )


def hand(heights: Heights, pose: Pose, rng: np.random.Generator) -> None:
    """A palm, four fingers of two bones, a thumb and a forearm that leads out of the picture."""
    mirror = 1.0 if rng.random() < 0.5 else -1.0
    spread, curl, big = rng.uniform(0.14, 0.24), rng.uniform(-0.2, 0.9), rng.uniform(1.15, 1.4) * pose.scale
    palm = on_face(pose, mirror * rng.uniform(0.30, 0.66), rng.uniform(0.40, 0.85), 0.86)
    aim = np.deg2rad(-90.0 - mirror * rng.uniform(-12.0, 58.0))  # up and across the face
    thumb_side = -mirror if rng.random() < 0.75 else mirror
    ahead, across = unit(float(aim)), unit(float(aim) + np.pi / 2)
    lift = np.array([0.0, 0.0, 1.0])

    for index in range(4):
        place = index - 1.5
        root = palm + across * (place * 0.135 * big) + lift * 0.02
        root += ahead * (0.17 - 0.025 * abs(place - 0.3)) * big
        length = (0.21, 0.25, 0.24, 0.18)[index if thumb_side < 0 else 3 - index] * big
        angle = float(aim) + place * spread
        knuckle = root + unit(angle) * length + lift * 0.05 * big
        bend = angle - mirror * 0.25 * curl
        bow = max(curl, 0.0)
        tip = knuckle + unit(bend) * length * (0.95 - 0.35 * bow) - lift * 0.10 * big * bow
        heights.capsule(root, knuckle, 0.080 * big, 0.92)
        heights.capsule(knuckle, tip, 0.076 * big, 0.85)
    root = palm + across * thumb_side * 0.18 * big - ahead * 0.10 * big
    turn = float(aim) + thumb_side * rng.uniform(0.55, 0.95)
    joint = root + unit(turn) * 0.24 * big + lift * 0.04
    heights.capsule(root, joint, 0.092 * big, 0.9)
    heights.capsule(joint, joint + unit(turn - thumb_side * 0.35) * 0.15 * big, 0.082 * big, 0.85)

    for place in (-0.13, 0.0, 0.13):
        row = palm + across * place * big
        heights.capsule(row - ahead * 0.16 * big, row + ahead * 0.12 * big, 0.13 * big)
    wrist = palm - ahead * 0.26 * big
    bent = unit(float(aim) + mirror * rng.uniform(-0.1, 0.5))
    heights.capsule(wrist, wrist - bent * 1.6 - lift * 0.25, 0.15 * big, 1.7)


def limb(heights: Heights, pose: Pose, rng: np.random.Generator) -> None:
    """A forearm with a fist, or a leg with a foot, across the lower or the upper face."""
    mirror = 1.0 if rng.random() < 0.5 else -1.0
    y = rng.uniform(0.42, 0.85) if rng.random() < 0.75 else rng.uniform(-0.65, -0.35)
    end = on_face(pose, -mirror * rng.uniform(-0.1, 0.4), y, 0.75)
    thick = rng.uniform(0.18, 0.24) * pose.scale
    away = unit(rng.uniform(-0.25, 0.6)) * np.array([mirror, 1.0, 1.0])
    elbow = end + away * rng.uniform(0.7, 0.9) * pose.scale
    heights.capsule(end, elbow, thick, 1.2)
    heights.capsule(elbow, elbow + away * 1.6 - np.array([0.0, 0.0, 0.4]), thick * 1.2, 1.3)
    across = np.array([-away[1], away[0], 0.0]) * thick
    lift = np.array([0.0, 0.0, thick])
    ball = end - away * 0.5 * thick
    heights.capsule(ball - 0.35 * across, ball + 0.35 * across, 1.2 * thick)
    for place in (-1.2, -0.4, 0.4, 1.2):  # a fist's fingers
        root = end - away * thick * (0.1 + 0.1 * place * place) + across * place + lift * 0.75
        heights.capsule(root, root - away * (1.25 - 0.18 * place * place) * thick - lift * 0.3, 0.45 * thick)


def cord(heights: Heights, pose: Pose, rng: np.random.Generator) -> None:
    """The umbilical cord: two twisted strands along a curve that crosses the face."""
    mirror = 1.0 if rng.random() < 0.5 else -1.0
    middle = rng.uniform(-0.3, 0.65)
    ends = [
        on_face(pose, -1.6 * mirror, middle + rng.uniform(-0.6, 0.6), 0.45),
        on_face(pose, -0.4 * mirror, middle + rng.uniform(-0.45, 0.45), 1.12),
        on_face(pose, 0.4 * mirror, middle + rng.uniform(-0.45, 0.45), 1.12),
        on_face(pose, 1.6 * mirror, middle + rng.uniform(-0.6, 0.6), 0.45),
    ]
    thick = rng.uniform(0.105, 0.14) * pose.scale
    phase = rng.uniform(0.0, 2 * np.pi)
    strands: list[list[Point]] = [[], []]
    for t in np.linspace(0.0, 1.0, 33):
        s = 1.0 - t
        point = s**3 * ends[0] + 3 * s * s * t * ends[1] + 3 * s * t * t * ends[2] + t**3 * ends[3]
        for strand, turn in zip(strands, (0.0, np.pi), strict=True):
            swing = 19.0 * t + phase + turn
            strand.append(point + np.array([0.0, np.cos(swing) * 0.6 * thick, np.sin(swing) * 0.6 * thick]))
    for strand in strands:
        for a, b in pairwise(strand):
            heights.capsule(a, b, thick)


def placenta(heights: Heights, pose: Pose, rng: np.random.Generator) -> None:
    """A lumpy mass that grows in from one side of the picture."""
    side = rng.uniform(0.0, 2 * np.pi)
    inner = rng.uniform(0.30, 0.55)
    out, across = unit(side), unit(side + np.pi / 2)
    for _ in range(34):
        depth, along = rng.random(), rng.uniform(-1.0, 1.0)
        radius = rng.uniform(0.22, 0.38) * pose.scale
        reach = inner + 0.30 * along * along + radius / pose.scale + depth * 1.1
        place = out * reach * pose.scale + across * along * 1.1 * pose.scale
        place[0] += pose.shift_x
        place[1] += pose.shift_y
        place[2] = (0.62 + 0.15 * depth) * pose.scale
        heights.capsule(place, place + across * 0.1 * rng.uniform(-1, 1), radius)
    soften(heights, 0.045)


def soften(heights: Heights, width: float) -> None:
    """Round the creases between lumps, in place; the outline stays. width in half pictures."""
    there = (heights.z > FAR + 1).astype(np.float32)
    sigma = width * heights.z.shape[0] / 2
    weight = cv2.GaussianBlur(there, (0, 0), sigma)
    smooth = cv2.GaussianBlur(heights.z * there, (0, 0), sigma) / np.maximum(weight, np.float32(1e-3))
    np.copyto(heights.z, smooth, where=there > 0)


MAKERS: dict[str, Callable[[Heights, Pose, np.random.Generator], None]] = {
    "hand": hand,
    "limb": limb,
    "cord": cord,
    "placenta": placenta,
}


def occluder(kind: str, pose: Pose, side: int, rng: np.random.Generator) -> Array:
    """The occluder's height towards the viewer, float32 (S, S), in half pictures, FAR where there is none."""
    heights = Heights(np.full((side, side), FAR, np.float32))
    MAKERS[kind](heights, pose, rng)
    return heights.z
