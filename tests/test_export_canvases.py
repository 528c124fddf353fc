"""A picture's translation on its canvas is that of a whole square: filled up by its mirror, not stretched."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from export_helpers import EXAMPLES
from numpy.typing import NDArray

from getgan.contract import Contract
from getgan.models.checkpoint import load_checkpoint
from getgan.runtime.geometry import Placement, lay, lift, placement
from getgan.runtime.metrics import psnr
from getgan.runtime.pixels import image_from_tensor, tensor_from_images
from getgan.training.faces import SceneConfig, render_ultrasound, seed_of

CONTRACT = Contract(size=64, min_size=8, multiple_of=4)
SIDE, SCENES = 128, 16


def stretched(height: int, width: int) -> Placement:
    """Each side to the nearest multiple of 4, which is what `fit` did without stated canvases."""
    scale = CONTRACT.size / math.sqrt(height * width)
    canvas = (round(height * scale / 4) * 4, round(width * scale / 4) * 4)
    return Placement((0, 0, height, width), (0, 0, *canvas), canvas)


@pytest.mark.slow
def test_mirrored_filling_is_nearer_to_the_whole_square_than_stretching() -> None:
    """docs/running.md has the figures: pytest -m slow -s tests/test_export_canvases.py."""
    network = load_checkpoint(EXAMPLES / "getgan-64.safetensors").generator().eval()

    def translated(view: NDArray[np.uint8], where: Placement) -> NDArray[np.uint8]:
        with torch.no_grad():
            found = network.translate(torch.from_numpy(tensor_from_images([lay(view, where)])))
        return lift(image_from_tensor(found.numpy()[0]), where, "input")

    def to_square(scene: NDArray[np.uint8], part: tuple[slice, slice], where: Placement) -> float:
        """PSNR to the same part of the whole scene's translation at the same scale."""
        cut = np.ascontiguousarray(scene[part])
        side = round(SIDE * math.sqrt(where.place[2] * where.place[3] / cut[..., 0].size))
        canvas = -(-side // 4) * 4
        edge = (canvas - side) // 2
        whole = Placement((0, 0, SIDE, SIDE), (edge, edge, side, side), (canvas, canvas), "mirror")
        right = np.ascontiguousarray(translated(scene, whole)[part])
        return min(60.0, psnr(translated(cut, where), right))

    config = SceneConfig(size=SIDE, occlusion=0.5)
    scenes = [
        render_ultrasound(config, seed_of("ultrasound", "probe", 100 + n)).ultrasound for n in range(SCENES)
    ]
    means = []
    for aspect in (1.06, 1.12, 1.2, 1.29, 1.41, 1.6, 1.78, 1.89, 2.5, 3.0):
        pairs = []
        for number, scene in enumerate(scenes):
            sides = [math.ceil(SIDE / aspect), SIDE][:: 1 if number % 2 == 0 else -1]
            top, left = ((SIDE - side) // 2 for side in sides)
            part = (slice(top, top + sides[0]), slice(left, left + sides[1]))
            ways = (placement(sides[0], sides[1], CONTRACT.size, "fit", CONTRACT), stretched(*sides))
            pairs.append([to_square(scene, part, where) for where in ways])
        means.append(np.mean(pairs, axis=0))
        print(f"{aspect:.2f}:1  mirrored {means[-1][0]:.1f} dB, stretched {means[-1][1]:.1f} dB")
    mirrored, before = np.transpose(means)
    assert mirrored.mean() > before.mean() + 1.0
    assert (mirrored > before - 1.0).all()
