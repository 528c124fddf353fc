"""A sheet of samples to look at: each scene with its clean twin, mask and truth, and unpaired photos."""

import cv2
import numpy as np
from numpy.typing import NDArray

from getgan.training.faces.config import SceneConfig, seed_of
from getgan.training.faces.scene import render_photo, render_ultrasound

STRIP = 16  # height of a label


def sample_sheet(config: SceneConfig, n: int, first: int = 0) -> NDArray[np.uint8]:
    """Rows of n pictures from index `first` on: ultrasound, clean, mask, truth, photo.

    uint8 (5 (size + 16), n size, 3) RGB.
    """
    if n < 1:
        raise ValueError(f"n: found {n}, wanted 1 or more")
    places = range(first, first + n)
    scenes = [render_ultrasound(config, seed_of("ultrasound", "test", index)) for index in places]
    photos = [render_photo(config, seed_of("photo", "test", index)) for index in places]
    rows = (
        ("ultrasound (X)", [scene.ultrasound for scene in scenes]),
        ("clean scene", [scene.clean for scene in scenes]),
        ("occlusion mask", [mask_picture(scene.mask, scene.face) for scene in scenes]),
        ("true photo", [scene.truth for scene in scenes]),
        ("photo (Y), others", [photo.image for photo in photos]),
    )
    return np.vstack([labelled(name, pictures) for name, pictures in rows])


def mask_picture(mask: NDArray[np.bool_], face: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Hidden face white, visible face grey, rest black: uint8 (H, W, 3) RGB."""
    grey = np.where(mask, 255, np.where(face, 90, 0)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def labelled(name: str, pictures: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Pictures side by side under a label, uint8 (H + 16, n W, 3) RGB."""
    row = np.hstack(pictures)
    strip = np.full((STRIP, row.shape[1], 3), 24, np.uint8)
    cv2.putText(strip, name, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (235, 235, 235), 1, cv2.LINE_AA)
    return np.vstack([strip, row])
