"""Domain Y: the photo of a baby with open eyes, soft light and a blanket."""

import cv2
import numpy as np
from numpy.typing import NDArray

from getgan.training.faces.config import Pose
from getgan.training.faces.identity import Colour, Identity
from getgan.training.faces.surface import (
    Array,
    Floats,
    Grid,
    bell,
    displacement,
    grid,
    hollows_of,
    light_on,
    look_up,
    meet,
    mouth_frame,
    noise,
    normals_of,
    picture_plane,
    ramp,
    stack,
    texels_of,
)

WRAP = (0.55, 0.38, 0.30)  # red light travels under the skin, so shade is warm


def portrait(who: Identity, pose: Pose, size: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The photo, uint8 (size, size, 3) RGB, and where the head is, bool (size, size)."""
    texels, side = texels_of(size), 2 * size
    at = grid(texels)
    out = displacement(who, at, eyes_open=True)
    surface = meet(who, pose, out, side)
    seen = look_up(surface, np.dstack([normals_of(who, at, out), hollows_of(out, texels)]))
    paint = look_up(surface, albedo(who, at))

    key = light_on(surface, seen[..., :3], (who.light, -0.55, 0.95))
    shine = light_on(surface, seen[..., :3], (who.light * 0.5, -0.3, 0.98))
    open_sky = seen[..., 3]
    gloss = paint[..., 3] * np.maximum(shine, 0.0) ** 24
    scene = backdrop(who, pose, side)
    picture = np.empty((side, side, 3), np.float32)
    for channel in range(3):
        wrap = np.float32(WRAP[channel])
        lit = np.maximum((key + wrap) / (1.0 + wrap), 0.0)
        glow = (0.36, 0.32, 0.32)[channel] * open_sky + 0.74 * lit * np.minimum(0.45 + 0.55 * open_sky, 1.1)
        skin = paint[..., channel] * glow + gloss
        picture[..., channel] = scene[..., channel] + surface.cover * (skin - scene[..., channel])
    small = cv2.resize(np.clip(picture, 0.0, 1.0) * 255.0, (size, size), interpolation=cv2.INTER_AREA)
    face = cv2.resize(surface.cover, (size, size), interpolation=cv2.INTER_AREA) > 0.5
    return np.rint(small).astype(np.uint8), np.asarray(face, np.bool_)


def blend(paint: list[Array], colour: Colour, amount: Floats) -> None:
    """Lay a colour over the three channels of a paint, in place; amount 0 .. 1."""
    for channel in range(3):
        paint[channel] += (np.float32(colour[channel]) - paint[channel]) * amount


def albedo(who: Identity, at: Grid) -> Array:
    """Colour of skin, eyes, brows, lips and hair, and gloss, float32 (T, T, 4)."""
    skin = who.skin
    paint = [np.full_like(at.x, tone) for tone in skin]
    rose = (skin[0] * 0.99, skin[1] * 0.74, skin[2] * 0.72)
    blush = 0.75 * who.rosy * bell((at.side - 0.56) / 0.22, (at.y - 0.42) / 0.19)
    blush += 0.35 * bell(at.x / 0.13, (at.y - who.nose_y) / 0.11)
    blush += 0.2 * bell(at.x / 0.2, (at.y - 0.86) / 0.1)
    blush += 0.5 * ramp(-at.z, 0.0, 0.15) * bell((at.y - 0.12) / 0.2)  # ears
    blend(paint, rose, np.minimum(blush, 1.0) * ramp(at.z, -0.5, -0.2))

    gloss = np.full_like(at.x, 0.07)
    paint_lips(who, at, paint, gloss)
    paint_brows(who, at, paint)
    paint_hair(who, at, paint, gloss)
    paint_eyes(who, at, paint, gloss)
    return stack(*paint, gloss)


def paint_lips(who: Identity, at: Grid, paint: list[Array], gloss: Array) -> None:
    """Two lips, the dark line between them, and the nostrils."""
    along, below = mouth_frame(who, at)
    bow = np.maximum(1.0 - along * along, 0.0)
    above = 0.072 * (0.6 + 0.4 * who.lip) * bow * (1.0 - 0.28 * bell(at.x / 0.045))
    under = 0.088 * (0.6 + 0.4 * who.lip) * np.sqrt(bow)
    lips = ramp(below + above, -0.012, 0.018) * ramp(under - below, -0.012, 0.02)
    lips *= ramp(bow, 0.0, 0.12) * at.front
    red, green, blue = who.skin
    blend(paint, (red * 0.88, green * 0.56, blue * 0.57), 0.85 * lips)
    gloss += 0.12 * lips
    line = bell(below / 0.021) * ramp(1.08 - np.abs(along), 0.0, 0.25) * at.front
    blend(paint, (red * 0.42, green * 0.18, blue * 0.18), 0.85 * line)
    v = at.y - who.nose_y
    wide = who.nose_width
    hole = bell((at.side - 0.52 * wide) / (0.32 * wide), (v - 0.085) / 0.026) * at.front
    blend(paint, (red * 0.42, green * 0.22, blue * 0.20), np.minimum(0.85 * who.nostril, 0.9) * hole)


def paint_brows(who: Identity, at: Grid, paint: list[Array]) -> None:
    """Fine, soft brows."""
    u = (at.side - who.eye_x - 0.01) / 0.19
    arch = at.y - who.eye_y + 0.235 - 0.035 * u * u
    hair = bell(arch / 0.027) * ramp(1.05 - np.abs(u), 0.0, 0.45) * at.front
    blend(paint, who.hair, (0.25 + 0.4 * who.brow) * hair)


def paint_hair(who: Identity, at: Grid, paint: list[Array], gloss: Array) -> None:
    """Down on top and back of the head, in strands that run away from the forehead."""
    rng = np.random.default_rng((7002, who.number))
    strands = noise(rng, 10, 48, at.x.shape[0])
    edge = -0.75 * at.y - 0.66 * at.z - (0.58 - 0.50 * who.hair_amount) + 0.045 * strands
    amount = ramp(edge, -0.08, 0.20) * ramp(0.25 - at.y, 0.0, 0.3) * (0.55 + 0.4 * who.hair_amount)
    blend(paint, who.hair, np.clip(amount * (0.92 + 0.16 * strands), 0.0, 0.97))
    gloss *= 1.0 - 0.6 * amount


def paint_eyes(who: Identity, at: Grid, paint: list[Array], gloss: Array) -> None:
    """White, iris, pupil and catch light in an almond; lashes above, a soft lid fold."""
    u = (at.side - who.eye_x) / who.eye_width
    v = at.y - who.eye_y
    bow = np.maximum(1.0 - u * u, 0.0)
    upper, lower = who.eye_open * bow**0.6, 0.78 * who.eye_open * bow**0.8
    almond = ramp(v + upper, -0.008, 0.022) * ramp(lower - v, -0.008, 0.022) * ramp(bow, 0.0, 0.1) * at.front
    radius = np.sqrt((at.side - who.eye_x) ** 2 + (v - 0.002) ** 2)
    red, green, blue = who.skin
    fold = bell((v + upper + 0.045) / 0.016) * ramp(1.15 - np.abs(u), 0.0, 0.4) * at.front
    blend(paint, (red * 0.66, green * 0.52, blue * 0.48), 0.45 * fold)
    blend(paint, (0.93, 0.92, 0.91), almond)
    blend(paint, who.iris, almond * ramp(0.122 - radius, -0.012, 0.012))
    dark = np.maximum(ramp(0.056 - radius, -0.014, 0.014), 0.35 * bell((radius - 0.114) / 0.016))
    blend(paint, (0.03, 0.02, 0.02), almond * dark)
    shade = almond * ramp(-v - upper * 0.35, -0.02, 0.03)
    blend(paint, (0.12, 0.08, 0.07), 0.45 * shade)
    lash = bell((v + upper) / 0.021) * ramp(1.12 - np.abs(u), 0.0, 0.25) * at.front
    blend(paint, (0.13, 0.08, 0.06), 0.8 * lash)
    rim = bell((v - lower) / 0.016) * ramp(1.05 - np.abs(u), 0.0, 0.3) * at.front
    blend(paint, (red * 0.66, green * 0.44, blue * 0.42), 0.5 * rim)
    away = np.where(at.x < 0, at.x + who.eye_x, at.x - who.eye_x) - 0.035 * np.sign(who.light)
    spark = bell(away / 0.027, (v + 0.036) / 0.027) * at.front
    blend(paint, (1.25, 1.25, 1.25), np.minimum(1.2 * spark, 1.0))
    gloss *= 1.0 - 0.7 * almond


def backdrop(who: Identity, pose: Pose, side: int) -> Array:
    """A blanket in soft folds, the head's shadow on it, and clothes below the chin, float32 (S, S, 3)."""
    rng = np.random.default_rng((7003, who.number))
    folds = noise(rng, 5, 4, side)
    x, y = picture_plane(side)
    shade = 0.86 + 0.05 * folds - 0.10 * (x * x + y * y) * 0.5 + 0.05 * who.light * x
    u = (x - pose.shift_x + 0.10 * who.light) / (pose.scale * who.width)
    v = (y - pose.shift_y - 0.08) / pose.scale
    shade *= 1.0 - 0.40 * bell(u / 1.12, v / 1.12)
    lean = np.float32(np.deg2rad(pose.roll))
    bx, by = x - pose.shift_x + lean * pose.scale, y - pose.shift_y - 1.42 * pose.scale
    body = bell((bx / (1.15 * pose.scale)) ** 2, (by / (0.62 * pose.scale)) ** 2)
    cover = ramp(body, 0.32, 0.40)
    cloth = 0.55 + 0.42 * ramp(body, 0.30, 0.95) + 0.04 * folds
    collar = cover * bell((np.hypot(bx / 0.62, (by + 0.62 * pose.scale) / 0.30) - pose.scale * 0.98) / 0.07)
    layers = []
    for blanket, clothes in zip(who.blanket, who.clothes, strict=True):
        tone = np.float32(blanket) * shade
        layers.append(tone + cover * (np.float32(clothes) * cloth * (1 - 0.18 * collar) - tone))
    return stack(*layers)
