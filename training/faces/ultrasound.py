"""Domain X: the 3-D ultrasound of a baby with closed eyes, sepia on black, with and without an occluder."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from getgan.training.faces.config import Pose, SceneConfig
from getgan.training.faces.identity import Identity
from getgan.training.faces.occluders import FAR, occluder
from getgan.training.faces.surface import (
    Array,
    bell,
    displacement,
    grid,
    hollows_of,
    light_on,
    look_up,
    meet,
    noise,
    normals_of,
    picture_plane,
    ramp,
    texels_of,
)

LIGHT = (0.0, -0.62, 0.80)  # frontal, from the top
NOISE = 192  # side of every speckle field, whatever the size of the picture
TOUCHED = 0.10  # an occluder or a shadow weaker than this leaves no trace
SHADOW = 0.62  # how much light the acoustic shadow takes
SHADOW_REACH = 0.20  # its length in half pictures

# Brightness 0, 1/8 .. 1 to sepia; RGB 0..1.
SEPIA = np.array(
    [
        (0.02, 0.012, 0.01), (0.13, 0.06, 0.03), (0.28, 0.14, 0.065), (0.45, 0.25, 0.12), (0.62, 0.38, 0.19),
        (0.77, 0.52, 0.29), (0.89, 0.67, 0.43), (0.96, 0.81, 0.60), (1.0, 0.93, 0.79),
    ],
    np.float32,
)  # fmt: skip


@dataclass(frozen=True)
class Echo:
    """One ultrasound, uint8 (H, W, 3) RGB with and without occluder; bool (H, W) maps."""

    ultrasound: NDArray[np.uint8]
    clean: NDArray[np.uint8]
    occluded: NDArray[np.bool_]
    face: NDArray[np.bool_]


@dataclass(frozen=True)
class Dirt:
    """What the machine adds, float32 (S, S): speckle around 1 and gain 0..1; the same in both pictures."""

    speckle: Array
    gain: Array


def scan(config: SceneConfig, who: Identity, pose: Pose, kind: str | None, seed: int) -> Echo:
    """Both pictures of one scene; they agree bit for bit outside `occluded`."""
    size, side = config.size, 2 * config.size
    dirt = machine_dirt(config, side, np.random.default_rng((7102, seed)))
    tissue = womb(config, pose, side, np.random.default_rng((7103, seed)))
    bare, depth, cover = bare_scene(who, pose, side, tissue)
    clean = develop(bare, dirt, size)
    in_front = tissue > depth
    face = shrink(np.where(in_front, np.float32(0.0), cover), size) > 0.5
    if kind is None:
        return Echo(clean, clean.copy(), np.zeros_like(face), face)

    height = occluder(kind, pose, side, np.random.default_rng((7104, seed)))
    solid = (height > FAR + 1).astype(np.float32)
    brightness = relief(np.where(solid > 0, height, np.minimum(depth, 0.45 * pose.scale)), 1.0)
    shade = acoustic_shadow(solid, side)
    hidden = bare * (1.0 - SHADOW * shade)
    hidden += solid * (brightness - hidden)
    behind = develop(hidden, dirt, size)

    body = shrink(solid, size)
    lit = behind.max(axis=2).astype(np.int16) - clean.max(axis=2).astype(np.int16)
    changed = (body > TOUCHED) | ((shrink(shade, size) > TOUCHED) & (np.abs(lit) > 3))
    occluded = cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)) > 0
    picture = np.where(occluded[..., None], behind, clean)
    return Echo(picture, clean, occluded, face)


def shrink(field: Array, size: int) -> Array:
    """Mean over the supersamples, float32 (size, size)."""
    return np.asarray(cv2.resize(field, (size, size), interpolation=cv2.INTER_AREA), np.float32)


def bare_scene(who: Identity, pose: Pose, side: int, tissue: Array) -> tuple[Array, Array, Array]:
    """Brightness 0..1 of face and womb, depth to the viewer and the head's cover, float32 (S, S) each."""
    texels = texels_of(side // 2)
    at = grid(texels)
    out = displacement(who, at, eyes_open=False)
    surface = meet(who, pose, out, side)
    seen = look_up(surface, np.dstack([normals_of(who, at, out), hollows_of(out, texels)]))
    lit = np.maximum((light_on(surface, seen[..., :3], LIGHT) + 0.12) / 1.12, 0.0)
    facing = np.maximum(light_on(surface, seen[..., :3], (0.0, 0.0, 1.0)), 0.0)
    near = ramp(surface.depth, -0.35 * pose.scale, 1.1 * pose.scale)
    skin = (0.07 + 0.90 * lit**1.5 * (0.3 + 0.7 * facing)) * seen[..., 3] ** 1.5 * (0.45 + 0.55 * near)

    wall = relief(tissue, 0.55)
    there = (tissue > FAR + 1).astype(np.float32)
    x, y = picture_plane(side)
    haze = 0.03 + 0.05 * bell(x / 1.2, y / 1.2)
    behind = haze + there * (wall - haze)
    depth = np.where(surface.cover > 0.5, surface.depth, FAR)
    cover = surface.cover * (tissue <= depth)
    return np.asarray(behind + cover * (skin - behind), np.float32), depth, surface.cover


def relief(height: Array, gain: float) -> Array:
    """Brightness of a height field under the common light, float32 (S, S), 0..1."""
    side = height.shape[0]
    smooth = cv2.GaussianBlur(np.maximum(height, -0.9), (0, 0), 0.006 * side)
    slope_x = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=side / 16)
    slope_y = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=side / 16)
    length = np.sqrt(1.0 + slope_x * slope_x + slope_y * slope_y)
    lit = np.maximum((LIGHT[2] - LIGHT[1] * slope_y) / length, 0.0)
    wide = cv2.GaussianBlur(smooth, (0, 0), 0.035 * side)
    hollow = np.clip(1.0 - 2.2 * (wide - smooth), 0.35, 1.2)
    return np.asarray(np.clip(gain * (0.10 + 0.80 * lit**1.2) * hollow, 0.0, 1.0), np.float32)


def womb(config: SceneConfig, pose: Pose, side: int, rng: np.random.Generator) -> Array:
    """Lumpy wall around the head: height to the viewer, float32 (S, S), FAR where the water is dark."""
    lumps = noise(rng, 9, 9, side)
    fine = noise(rng, 22, 22, side)
    x, y = picture_plane(side)
    u, v = (x - pose.shift_x) / pose.scale, (y - pose.shift_y) / pose.scale
    far = np.sqrt(u * u + v * v)
    turn, lean = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.20)
    chest = 0.55 * bell(u / 0.8, (v - 1.45) / 0.38)  # shoulders below the chin
    edge = far + lean * (u * np.cos(turn) + v * np.sin(turn)) + 0.10 * lumps + 0.3 * chest
    rise = edge - (1.62 - 0.38 * config.wall - 0.10 * rng.random())
    height = (-0.35 + 1.5 * np.minimum(rise, 0.5) + 0.07 * lumps + 0.02 * fine + 0.25 * chest) * pose.scale
    if config.wall == 0:
        return np.full((side, side), FAR, np.float32)
    return np.asarray(np.where(rise > 0, height, FAR), np.float32)


def machine_dirt(config: SceneConfig, side: int, rng: np.random.Generator) -> Dirt:
    """Speckle, missing patches and streaks, drawn at one size and resized."""
    raw = rng.standard_normal((NOISE, NOISE), np.float32)
    grain = cv2.GaussianBlur(raw, (0, 0), sigmaX=1.9, sigmaY=1.2)
    grain = grain * np.float32(config.speckle / 0.187)  # 0.187 = standard deviation left by that blur
    coarse = noise(rng, 7, 7, side)
    streaks = noise(rng, 1, 26, side)
    patches = ramp(coarse, 0.9, 2.0)
    lines = 0.7 * ramp(streaks, 1.3, 2.3) * ramp(coarse, -0.5, 0.6)
    gain = 1.0 - np.float32(config.dropout) * np.maximum(patches, lines)
    speckle = np.maximum(1.0 + cv2.resize(grain, (side, side), interpolation=cv2.INTER_LINEAR), 0.2)
    return Dirt(np.asarray(speckle, np.float32), np.asarray(gain, np.float32))


def acoustic_shadow(solid: Array, side: int) -> Array:
    """Where an occluder keeps the sound from what lies below it, float32 (S, S), 0..1, of bounded reach."""
    shade = np.zeros_like(solid)
    steps = 6
    for index in range(1, steps + 1):
        move = round(SHADOW_REACH * side / 2 * index / steps)
        weaker = np.float32(1.12 - 0.62 * index / steps)
        np.maximum(shade[move:], solid[: side - move] * weaker, out=shade[move:])
    return np.asarray(np.clip(cv2.blur(shade, (2 * (side // 48) + 1,) * 2), 0.0, 1.0), np.float32)


def develop(brightness: Array, dirt: Dirt, size: int) -> NDArray[np.uint8]:
    """Blur, speckle, gain and the sepia map: uint8 (size, size, 3) RGB."""
    side = brightness.shape[0]
    soft = cv2.GaussianBlur(brightness, (0, 0), 0.0065 * side)
    echo = shrink(np.asarray(soft * dirt.gain * dirt.speckle, np.float32), size)
    level = np.clip(echo, 0.0, 1.0) * np.float32(len(TABLE) - 1)
    picture: NDArray[np.uint8] = TABLE[np.rint(level).astype(np.int32)]
    return picture


def sepia_table() -> NDArray[np.uint8]:
    """1024 shades, uint8 (1024, 3) RGB."""
    stops = np.linspace(0.0, 1.0, len(SEPIA))
    shades = np.linspace(0.0, 1.0, 1024)
    mixed = np.stack([np.interp(shades, stops, SEPIA[:, c]) for c in range(3)], axis=1)
    return np.rint(mixed * 255).astype(np.uint8)


TABLE = sepia_table()
