"""What is shown to a guard by its benchmark: scans, the same spoiled in many ways, and other pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from getgan.errors import DataError
from getgan.runtime.geometry import MAX_FIT_ASPECT, resize
from getgan.runtime.guard.tone import Picture, brightness
from getgan.runtime.images import list_images, read_image
from getgan.training.faces import SceneConfig, render_photo, render_ultrasound, seed_of

# scan: must pass. shift: a scan still, by another device or setting; ok, unusual or refused, as it is far.
# near: no scan of a face as it should be, yet made of one or in its colours. far: another picture.
Group = Literal["scan", "shift", "near", "far"]
Change = Callable[[Picture, np.random.Generator], Picture]
FIRST_UNSEEN = 500_000  # of the renderer's split that no training sees; calibrations lie below
TILES = 4  # each way
WORDS = ("GA 28w3d", "MI 1.1 TIs 0.3", "FR 24 Hz", "3D/4D 8C-RS")


@dataclass(frozen=True)
class Shown:
    """Pictures of one kind, uint8 (H, W, 3) RGB."""

    name: str
    group: Group
    pictures: tuple[Picture, ...]


def scan(scene: SceneConfig, number: int) -> Picture:
    """A rendered scan that no training sees."""
    return render_ultrasound(scene, seed_of("ultrasound", "probe", number)).ultrasound


def shown(
    scene: SceneConfig,
    others: Sequence[tuple[str, Picture]],
    palette: NDArray[np.float32],
    count: int,
    draw: int,
    photographs: Sequence[Picture] = (),
) -> Iterator[Shown]:
    """All that is shown in one draw, count pictures of each kind.

    others: real ultrasound of other organs. palette: (256, 3) of the calibration. photographs: of anything
    but scans of faces; count of them, all if there are fewer.
    """
    first = FIRST_UNSEEN + 100_000 * draw
    rng = np.random.default_rng(draw)
    scans = [scan(scene, first + number) for number in range(count)]
    for name, group, change in CHANGES:
        yield Shown(name, group, tuple(change(each, rng) for each in scans))
    device = replace(scene, speckle=0.17, dropout=0.7, wall=0.5)
    yield Shown(
        "another device", "shift", tuple(scan(device, first + 50_000 + number) for number in range(count))
    )
    photos = (render_photo(scene, seed_of("photo", "probe", first + number)).image for number in range(count))
    yield Shown("photos of faces", "far", tuple(photos))
    yield Shown("a page of text", "far", tuple(_page(scene.size, rng) for _ in range(count)))
    if others:
        yield from _organs(tuple(picture for _, picture in others), palette, count, rng)
    if photographs:
        chosen = rng.permutation(len(photographs))
        yield Shown("photographs", "far", tuple(photographs[number] for number in chosen[:count]))
        crops = (_crop(photographs[chosen[number % len(chosen)]], rng) for number in range(count))
        yield Shown("photographs, cropped", "far", tuple(crops))


def photographs_of(folder: Path) -> tuple[Picture, ...]:
    """Every picture of a folder; DataError if it holds none, or one that no network could be shown."""
    found = []
    for path in list_images(folder):
        picture = read_image(path)
        height, width = picture.shape[:2]
        if max(height, width) > MAX_FIT_ASPECT * min(height, width):
            raise DataError(
                f"{path}: found {width}x{height} pixels; wanted an aspect of {MAX_FIT_ASPECT:g}:1 or less"
            )
        found.append(picture)
    if not found:
        raise DataError(f"found no picture in {folder}; wanted photographs of anything but scans of faces")
    return tuple(found)


def _organs(
    whole: tuple[Picture, ...], palette: NDArray[np.float32], count: int, rng: np.random.Generator
) -> Iterator[Shown]:
    crops = tuple(_crop(whole[number % len(whole)], rng) for number in range(count))
    yield Shown("other organs", "far", whole)
    yield Shown("other organs, cropped", "far", crops)
    yield Shown("other organs, recoloured", "near", tuple(_recoloured(each, palette) for each in whole))
    yield Shown(
        "other organs, cropped, recoloured", "near", tuple(_recoloured(each, palette) for each in crops)
    )


def _warped(picture: Picture, degrees: float, factor: float, aside: float = 0.0) -> Picture:
    """Turned, enlarged and moved by a share of its side; beyond the edge it goes on, so that no bar tells."""
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2.0, (height - 1) / 2.0), degrees, factor)
    matrix[0, 2] += aside * width
    edge = cv2.BORDER_REPLICATE if aside else cv2.BORDER_REFLECT_101
    return np.asarray(cv2.warpAffine(picture, matrix, (width, height), borderMode=edge), np.uint8)


def _shuffled(picture: Picture, rng: np.random.Generator) -> Picture:
    height, width = (side // TILES for side in picture.shape[:2])
    places = [(y * height, x * width) for y in range(TILES) for x in range(TILES)]
    new = picture.copy()
    for (top, left), number in zip(places, rng.permutation(len(places)), strict=True):
        y, x = places[number]
        new[top : top + height, left : left + width] = picture[y : y + height, x : x + width]
    return new


def _grey(picture: Picture, rng: np.random.Generator) -> Picture:
    return np.repeat(brightness(picture)[:, :, None], 3, axis=2)


def _gamma(power: float) -> Change:
    return lambda picture, rng: np.asarray(np.rint(255.0 * (picture / 255.0) ** power), np.uint8)


def _blurred(picture: Picture, rng: np.random.Generator) -> Picture:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.02 * picture.shape[0]), np.uint8)


def _speckled(picture: Picture, rng: np.random.Generator) -> Picture:
    grain = rng.normal(1.0, 0.25, (*picture.shape[:2], 1))
    return np.asarray(np.clip(picture * grain, 0, 255), np.uint8)


def _lettered(picture: Picture, rng: np.random.Generator) -> Picture:
    """Four lines as a scanner writes them, at four times the size and back, so that they are not ragged."""
    size = 4 * picture.shape[0]
    large = resize(picture, size, size)
    for line, word in enumerate(WORDS):
        left, row = int(rng.uniform(0.02, 0.3) * size), int((0.15 + 0.22 * line) * size)
        cv2.putText(large, word, (left, row), cv2.FONT_HERSHEY_SIMPLEX, size / 300, (255,) * 3, size // 100)
    return resize(large, *picture.shape[:2])


def _hidden(picture: Picture, rng: np.random.Generator) -> Picture:
    """Nothing but tissue: a cloud that has each pixel of the scan, the brightest where it is thickest."""
    cloud = rng.normal(size=picture.shape[:2])
    cloud = cv2.GaussianBlur(cloud, (0, 0), 0.08 * picture.shape[0]) + 0.02 * cloud
    flat = picture.reshape(-1, 3)
    new = np.empty_like(flat)
    new[np.argsort(cloud, axis=None)] = flat[np.argsort(brightness(picture), axis=None)]
    return new.reshape(picture.shape)


def _page(size: int, rng: np.random.Generator) -> Picture:
    large = np.full((4 * size, 4 * size, 3), 245, np.uint8)
    for row in range(4 * size // 14, 4 * size, 4 * size // 14):
        text = "".join(rng.choice(list("abcdefghijklmnop rstuv "), 40))
        cv2.putText(large, text, (size // 8, row), cv2.FONT_HERSHEY_SIMPLEX, size / 160, (20,) * 3, 1)
    return resize(large, size, size)


def _crop(picture: Picture, rng: np.random.Generator) -> Picture:
    """A square of 40 to 100 % of the shorter side, anywhere."""
    height, width = picture.shape[:2]
    side = int(min(height, width) * rng.uniform(0.4, 1.0))
    top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    return np.ascontiguousarray(picture[top : top + side, left : left + side])


def _recoloured(picture: Picture, palette: NDArray[np.float32]) -> Picture:
    return np.asarray(np.rint(palette), np.uint8)[brightness(picture)]


CHANGES: tuple[tuple[str, Group, Change], ...] = (
    ("mirrored", "scan", lambda picture, rng: np.ascontiguousarray(picture[:, ::-1])),
    ("grey palette", "shift", _grey),
    ("gamma 0.6", "shift", _gamma(0.6)),
    ("gamma 1.6", "shift", _gamma(1.6)),
    ("blurred", "shift", _blurred),
    ("more speckle", "shift", _speckled),
    ("upside down", "near", lambda picture, rng: np.ascontiguousarray(picture[::-1])),
    ("turned by 45 degrees", "near", lambda picture, rng: _warped(picture, 45.0, 1.0)),
    ("turned by 90 degrees", "near", lambda picture, rng: np.ascontiguousarray(np.rot90(picture))),
    ("tiles shuffled", "near", _shuffled),
    ("face half out", "near", lambda picture, rng: _warped(picture, 0.0, 1.0, aside=0.5)),
    ("twice as large", "near", lambda picture, rng: _warped(picture, 0.0, 2.0)),
    ("half as large", "near", lambda picture, rng: _warped(picture, 0.0, 0.5)),
    ("screen text over it", "near", _lettered),
    ("everything hidden", "near", _hidden),
)
