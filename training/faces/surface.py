"""The head in 3-D: a displaced ellipsoid, kept as a map over directions and met by one ray a pixel."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from getgan.training.faces.config import Pose
from getgan.training.faces.identity import Identity

Array = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]  # what numpy's types say of float32 sums; every value is cast at the end

REACH = 1.7  # the map covers directions up to 2 asin(1.7 / 2) = 116 degrees from the front
DEPTH = 0.95  # half depth of every head
SHELL = 1.32  # no head reaches beyond this many radii
STEPS = 10


@dataclass(frozen=True)
class Grid:
    """Unit directions of the map's texels, float32 (T, T) each; x right, y down, z to the front."""

    x: Array
    y: Array
    z: Array
    side: Array  # |x|, so that one expression makes both eyes
    front: Array  # 1 on the front, 0 behind


@dataclass(frozen=True)
class Surface:
    """What the rays met, float32 (S, S): cover 0..1, depth in half pictures, map coordinates."""

    cover: Array
    depth: Array
    map_x: Array
    map_y: Array
    rotation: NDArray[np.float64]  # (3, 3), view from head


def ramp(value: Floats, low: float, high: float) -> Array:
    """Smooth step from 0 at low to 1 at high."""
    part = np.clip((value - np.float32(low)) * np.float32(1.0 / (high - low)), 0.0, 1.0)
    return np.asarray(part * part * (3.0 - 2.0 * part), np.float32)


def bell(*offsets: Floats) -> Array:
    """exp(-sum of squares): a bump of height 1."""
    total = offsets[0] * offsets[0]
    for offset in offsets[1:]:
        total = total + offset * offset
    return np.asarray(np.exp(-total), np.float32)


@lru_cache(maxsize=4)
def grid(texels: int) -> Grid:
    """Directions by Lambert's azimuthal equal-area map: scale 1 in the middle of the face."""
    line = (np.arange(texels, dtype=np.float32) + np.float32(0.5)) * np.float32(2 * REACH / texels) - REACH
    s_x, s_y = np.meshgrid(line, line)
    square = np.minimum(s_x * s_x + s_y * s_y, np.float32(3.9))
    root = np.sqrt(1.0 - square / 4.0)
    x, y, z = s_x * root, s_y * root, 1.0 - square / 2.0
    z = z.astype(np.float32)
    return Grid(x, y, z, np.abs(x), ramp(z, -0.1, 0.25))


def stack(*channels: Floats) -> Array:
    """Channels (H, W) to one float32 (H, W, C)."""
    return np.asarray(cv2.merge([np.asarray(channel, np.float32) for channel in channels]), np.float32)


def noise(rng: np.random.Generator, rows: int, columns: int, side: int) -> Array:
    """Smooth noise about 0, float32 (side, side): the same draws whatever the side."""
    raw = rng.normal(size=(rows, columns)).astype(np.float32)
    return np.asarray(cv2.resize(raw, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)


def texels_of(size: int) -> int:
    """Texels a side: about one for each supersampled pixel in the middle of the face."""
    return round(2.6 * size)


def displacement(who: Identity, at: Grid, eyes_open: bool) -> Array:
    """How far the skin stands off the ellipsoid, float32 (T, T), in radii."""
    x, y, z, side = at.x, at.y, at.z, at.side
    out = who.forehead * bell(x / 0.62, (y + 0.52) / 0.42, (z - 0.75) / 0.7)
    out += who.cheek * 0.75 * bell((side - 0.52) / 0.27, (y - 0.47) / 0.27, (z - 0.70) / 0.5)
    out += who.cheek * 0.55 * bell((side - 0.80) / 0.30, (y - 0.42) / 0.28, (z - 0.35) / 0.4)
    out -= who.jaw * bell((side - 0.75) / 0.32, (y - 0.72) / 0.3)
    out += who.chin * bell(x / 0.2, (y - 0.86) / 0.12) - 0.05 * bell(x / 0.5, (y - 0.98) / 0.2)
    out += who.ear * bell((y - 0.12) / 0.21, (z + 0.12) / 0.13) * ramp(side, 0.75, 0.95)
    out -= 0.4 * who.ear * bell((y - 0.12) / 0.11, (z + 0.10) / 0.06) * ramp(side, 0.75, 0.95)

    face = -0.055 * bell((side - who.eye_x) / 0.21, (y - who.eye_y + 0.01) / 0.13)  # sockets
    face += 0.012 * bell((side - who.eye_x) / 0.22, (y - who.eye_y + 0.24) / 0.06)  # brow ridge
    face += eyes(who, at, eyes_open) + nose(who, at) + mouth(who, at)
    return np.asarray(out + face * at.front, np.float32)


def eyes(who: Identity, at: Grid, eyes_open: bool) -> Array:
    """Eyeballs under lids; closed lids meet in a groove that sags in the middle."""
    u = (at.side - who.eye_x) / who.eye_width
    v = at.y - who.eye_y
    if eyes_open:
        return np.asarray(0.045 * bell(u / 0.95, v / 0.12), np.float32)
    line = v - 0.055 + 0.05 * u * u
    out = 0.062 * bell(u / 0.9, (v - 0.01) / 0.10)
    out -= 0.034 * bell(line / 0.024) * ramp(1.25 - np.abs(u), 0.0, 0.4)
    return np.asarray(out, np.float32)


def nose(who: Identity, at: Grid) -> Array:
    """Bridge, round tip that drops fast below, wings, nostrils."""
    x, side = at.x, at.side
    v = at.y - who.nose_y
    wide = who.nose_width
    ridge = ramp(at.y, who.eye_y - 0.15, who.nose_y - 0.05) * ramp(-v, 0, 0.1)
    out = who.bridge * bell(x / (0.6 * wide + 0.06)) * ridge
    out += who.nose_height * bell(x / (0.80 * wide), np.where(v < 0, v / 0.125, v / 0.078))
    out += 0.42 * who.nose_height * bell((side - wide) / (0.055 + 0.1 * wide), (v - 0.025) / 0.065)
    out -= 0.06 * who.nostril * bell((side - 0.52 * wide) / (0.33 * wide), (v - 0.075) / 0.028)
    return np.asarray(out, np.float32)


def mouth_frame(who: Identity, at: Grid) -> tuple[Array, Array]:
    """Along the mouth (-1 .. 1 from corner to corner) and height below the line between the lips."""
    along = np.asarray(at.x / who.mouth_width, np.float32)
    below = at.y - who.mouth_y + who.smile * np.minimum(along * along, 1.5)
    return along, np.asarray(below, np.float32)


def mouth(who: Identity, at: Grid) -> Array:
    """Muzzle, two lips, the line between them, the dents above and below."""
    along, below = mouth_frame(who, at)
    within = bell(along / 0.95)
    out = 0.05 * bell(at.x / 0.30, below / 0.17)
    out += who.lip * within * (0.036 * bell((below + 0.042) / 0.036) + 0.042 * bell((below - 0.048) / 0.04))
    out -= 0.050 * bell(below / 0.021) * ramp(1.2 - np.abs(along), 0.0, 0.35)
    out -= 0.020 * bell((np.abs(along) - 1.08) / 0.18, below / 0.05)
    out -= 0.022 * bell(at.x / 0.2, (below - 0.14) / 0.045)
    out -= 0.014 * bell(at.x / 0.03, (below + 0.12) / 0.05)
    return np.asarray(out, np.float32)


def normals_of(who: Identity, at: Grid, out: Array) -> Array:
    """Unit normals of the displaced ellipsoid in the head's frame, float32 (T, T, 3), and its hollows."""
    radius = 1.0 + out
    place = stack(at.x * radius * who.width, at.y * radius, at.z * radius * DEPTH)
    across = cv2.Sobel(place, cv2.CV_32F, 1, 0)
    down = cv2.Sobel(place, cv2.CV_32F, 0, 1)
    ax, ay, az = cv2.split(across)
    bx, by, bz = cv2.split(down)
    nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    length = 1.0 / np.sqrt(nx * nx + ny * ny + nz * nz + 1e-20)
    return stack(nx * length, ny * length, nz * length)


def hollows_of(out: Array, texels: int) -> Array:
    """Ambient light that a point gets, float32 (T, T), 1 = open, towards 0 in folds."""
    wide = cv2.GaussianBlur(out, (0, 0), 0.10 / (2 * REACH) * texels)
    return np.asarray(np.clip(1.0 - 9.0 * (wide - out), 0.25, 1.25), np.float32)


def rotation_of(pose: Pose) -> NDArray[np.float64]:
    """View from head, float64 (3, 3); x right, y down, z to the viewer."""
    yaw, pitch, roll = np.deg2rad((pose.yaw, pose.pitch, pose.roll))
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return np.asarray(about_z @ about_x @ about_y, np.float64)


@lru_cache(maxsize=4)
def picture_plane(side: int) -> tuple[Array, Array]:
    """Pixel centres in half pictures, -1 .. 1, float32 (S, S) each."""
    line = (np.arange(side, dtype=np.float32) + np.float32(0.5)) * np.float32(2.0 / side) - np.float32(1.0)
    x, y = np.meshgrid(line, line)
    return x, y


def meet(who: Identity, pose: Pose, out: Array, side: int) -> Surface:
    """Sphere-trace one parallel ray a pixel from the front until it meets the displaced ellipsoid."""
    plane_x, plane_y = picture_plane(side)
    x, y = (plane_x - pose.shift_x) / pose.scale, (plane_y - pose.shift_y) / pose.scale
    turn = rotation_of(pose)
    axes = (who.width, 1.0, DEPTH)
    start = [np.asarray((turn[0, i] * x + turn[1, i] * y) / axes[i], np.float32) for i in range(3)]
    step = [np.float32(turn[2, i] / axes[i]) for i in range(3)]  # in a space where the head is a ball

    speed = np.float32(sum(float(s) ** 2 for s in step))
    half = (start[0] * step[0] + start[1] * step[1] + start[2] * step[2]) / speed
    rest = (start[0] ** 2 + start[1] ** 2 + start[2] ** 2 - np.float32(SHELL**2)) / speed
    z = -half + np.sqrt(np.maximum(half * half - rest, 0.0))

    texels = out.shape[0]
    unit, middle = np.float32(texels / (2 * REACH)), np.float32(texels / 2 - 0.5)
    stride = np.float32(0.85 / np.sqrt(speed))
    for index in range(STEPS + 1):
        qx, qy, qz = (s + z * d for s, d in zip(start, step, strict=True))
        radius = np.sqrt(qx * qx + qy * qy + qz * qz)
        fold = np.sqrt(np.float32(2.0) / np.maximum(radius * (radius + qz), np.float32(1e-3))) * unit
        map_x, map_y = qx * fold + middle, qy * fold + middle
        gap = radius - 1.0 - cv2.remap(out, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        if index < STEPS:
            z = z - np.clip(gap, -0.1, 1.0) * stride
    cover = ramp(-gap, -0.05, -0.02)
    return Surface(cover, np.asarray(z * pose.scale, np.float32), map_x, map_y, turn)


def look_up(surface: Surface, texture: Array) -> Array:
    """A texture float32 (T, T[, C]) as the rays see it, (S, S[, C])."""
    return np.asarray(
        cv2.remap(texture, surface.map_x, surface.map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE),
        np.float32,
    )


def light_on(surface: Surface, normals: Array, towards: tuple[float, float, float]) -> Array:
    """Cosine between seen normals (S, S, 3) in the head's frame and a direction in the view's, -1 .. 1."""
    inside = np.asarray(towards) @ surface.rotation / np.linalg.norm(towards)
    return np.asarray(normals @ inside.astype(np.float32), np.float32)
