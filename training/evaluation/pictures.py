"""The pictures of a report: tiles for each scene and contestant, and all of them as one image."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from getgan.training.evaluation.maps import CYCLE, GATE, WEIGHT
from getgan.training.evaluation.options import Contestant
from getgan.training.evaluation.report import Gallery, Picture
from getgan.training.evaluation.testsets import TestSet
from getgan.training.evaluation.translate import Outputs

Image = NDArray[np.uint8]  # (H, W, 3) RGB

TILE = 128  # pixels at least, in the sheet
MARGIN = 4
STRIP = 18  # height of a label
OUTLINE = (0, 230, 255)
INK, PAPER = (235, 235, 235), (24, 24, 24)
MAP_CAPTIONS = {GATE: "gate, 1 - s", WEIGHT: "W_e", CYCLE: "|x - H(y*)|"}


def galleries_of(
    test: TestSet, contestants: Sequence[Contestant], made: Sequence[Outputs], count: int
) -> tuple[Gallery, ...]:
    """The first scenes; of contestants that share a label, the first."""
    first: dict[str, Outputs] = {}
    for contestant, outputs in zip(contestants, made, strict=True):
        first.setdefault(contestant.label, outputs)
    return tuple(
        Gallery(
            title=f"Scene {i + 1}",
            shared=(
                Picture("input x", test.ultrasound[i]),
                Picture("hidden part", outlined(test.ultrasound[i], test.mask[i])),
                Picture("without occluder", test.clean[i]),
                Picture("true photo", test.truth[i]),
            ),
            columns=tuple((label, _tiles(outputs, i)) for label, outputs in first.items()),
        )
        for i in range(min(count, len(test.truth)))
    )


def outlined(image: Image, mask: NDArray[np.bool_]) -> Image:
    """The picture at twice its size with the mask's outline on it, uint8 (2 H, 2 W, 3) RGB."""
    size = (2 * image.shape[1], 2 * image.shape[0])
    large = np.ascontiguousarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    region = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    edge = (region > 0) & (cv2.erode(region, np.ones((3, 3), np.uint8)) == 0)
    large[edge] = OUTLINE
    return large


def picture_of_map(values: NDArray[np.float32]) -> Image:
    """A map from black, its least value, to white, its largest, uint8 (H, W, 3) RGB; a flat one is grey."""
    low, high = float(values.min()), float(values.max())
    share = (values - low) / (high - low) if high - low > 1e-6 else np.full_like(values, 0.5)
    return np.repeat(np.rint(share * 255).astype(np.uint8)[..., None], 3, axis=2)


def sheet(galleries: Sequence[Gallery]) -> Image:
    """All tiles as one image, a row for each scene, captions on top; uint8 (H, W, 3) RGB."""
    if not galleries:
        return np.full((TILE, TILE, 3), PAPER, np.uint8)
    rows = [_header(galleries[0])] + [_row(gallery) for gallery in galleries]
    return np.vstack(rows)


def _tiles(outputs: Outputs, i: int) -> tuple[Picture, ...]:
    tiles = [Picture("y*", outputs.hidden[i]), Picture("y*, no occluder", outputs.clean[i])]
    if outputs.y_error is not None:
        tiles.append(Picture("y_e", outputs.y_error[i]))
    tiles += [
        Picture(caption, picture_of_map(outputs.maps[name][i]))
        for name, caption in MAP_CAPTIONS.items()
        if name in outputs.maps
    ]
    return tuple(tiles)


def _flat(gallery: Gallery) -> list[tuple[str, Picture]]:
    return [("", tile) for tile in gallery.shared] + [
        (label, tile) for label, tiles in gallery.columns for tile in tiles
    ]


def _side(gallery: Gallery) -> int:
    size: int = gallery.shared[0].image.shape[0]
    return size * max(1, -(-TILE // size))


def _row(gallery: Gallery) -> Image:
    side = _side(gallery)
    tiles = [
        cv2.resize(tile.image, (side, side), interpolation=cv2.INTER_CUBIC) for _, tile in _flat(gallery)
    ]
    return np.hstack([_framed(np.asarray(tile, np.uint8)) for tile in tiles])


def _framed(tile: Image) -> Image:
    height, width = tile.shape[:2]
    framed = np.full((height + MARGIN, width + MARGIN, 3), PAPER, np.uint8)
    framed[:height, :width] = tile
    return framed


def _header(gallery: Gallery) -> Image:
    width = _side(gallery) + MARGIN
    strips, before = [], ""
    for label, tile in _flat(gallery):
        strip = np.full((2 * STRIP, width, 3), PAPER, np.uint8)
        for line, text in enumerate((label if label != before else "", tile.caption)):
            # OpenCV's letters are ASCII.
            shown = text.encode("ascii", "replace").decode()[: width // 8]
            place = (2, STRIP * (line + 1) - 5)
            cv2.putText(strip, shown, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, INK, 1, cv2.LINE_AA)
        before = label
        strips.append(strip)
    return np.hstack(strips)
