"""64 unseen scenes, each with an occluder, above the faces that a checkpoint makes of them: docs/images.

    python examples/sheet.py CHECKPOINT SHEET.jpg

No scene is chosen: they are the first of evaluation's test seed 0.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import torch

from getgan.models.checkpoint import load_checkpoint
from getgan.models.tensors import images_from_tensor, tensor_from_images
from getgan.training.evaluation.options import EvaluationOptions, scene_configs
from getgan.training.evaluation.testsets import Images, render_test_set

COUNT, COLUMNS = 64, 16
SIDE = 96  # pixels of a picture on the sheet
QUALITY = 88  # of the JPEG


def main(checkpoint: Path, sheet: Path) -> None:
    """Draw the sheet: rows of scenes, below each row their faces."""
    loaded = load_checkpoint(checkpoint)
    generator = loaded.generator().eval()
    scenes, _ = scene_configs(EvaluationOptions(), loaded.contract.size)
    inputs = render_test_set(scenes, 0, COUNT).ultrasound
    with torch.no_grad():
        parts = [generator.translate(tensor_from_images(part)) for part in np.split(inputs, COLUMNS)]
    faces = np.concatenate([images_from_tensor(part) for part in parts])
    rows = [
        np.hstack([_small(image) for image in images[first : first + COLUMNS]])
        for first in range(0, COUNT, COLUMNS)
        for images in (inputs, faces)
    ]
    cv2.imwrite(str(sheet), np.vstack(rows)[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def _small(image: Images) -> Images:
    return np.asarray(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
