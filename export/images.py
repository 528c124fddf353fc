"""The pictures on which precisions are judged: ultrasound-like ones, hard ones, and the user's own.

export/goldens/ holds four occluded and two clean synthetic scenes of 96 px, seeds that no training sees.
They were rendered once by

    python -c "
    from getgan.runtime.images import write_image
    from getgan.training.faces import OCCLUDER_KINDS, SceneConfig, render_ultrasound, seed_of
    for n, kind in enumerate((*OCCLUDER_KINDS, None, None)):
        config = SceneConfig(size=96, occlusion=1.0, kinds=(kind or 'hand',))
        scene = render_ultrasound(config, seed_of('ultrasound', 'probe', 40 + n))
        name = kind or f'clean-{n - 3}'
        write_image(f'export/goldens/{name}.png', scene.ultrasound if kind else scene.clean)
    "
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from getgan.contract import Contract
from getgan.errors import ConfigError, DataError
from getgan.runtime.geometry import Fit, lay, placement, resize
from getgan.runtime.images import read_image

GOLDENS = Path(__file__).parent / "goldens"
OCCLUDED = ("hand", "limb", "cord", "placenta")
CLEAN = ("clean-1", "clean-2")
# Small, and yet of each kind: a self-test at start runs them.
GOLDEN_NAMES = ("hand", "cord", "clean-1", "letterbox")
# Cut from scenes and laid as `run` lays a frame: the aspect of most screens, an upright one, and a wide one
# that lies between two canvases, so that 5 % of it are filled.
ASPECTS = (("limb", "4x3", 4 / 3), ("cord", "3x4", 3 / 4), ("placenta", "wide", 1.68))
# SSIM wants 11 pixels; the perceptual distance 21. A contract below that is judged at this size.
MIN_JUDGED = 32
MAX_OWN = 32

Kind = Literal["real", "hard", "own"]


@dataclass(frozen=True, eq=False)
class GateImage:
    """One picture for the gate: uint8 (H, W, 3) RGB of a size that the contract allows."""

    name: str
    kind: Kind
    about: str
    pixels: NDArray[np.uint8]

    @property
    def golden(self) -> bool:
        """Whether it goes into the bundle; the user's own never do: they may show a patient."""
        return self.kind != "own" and self.name in GOLDEN_NAMES


def judged_size(contract: Contract) -> int:
    """Height and width of the gate's pictures."""
    return contract.size if contract.fixed else max(contract.size, _least(contract))


def _least(contract: Contract) -> int:
    """The smallest size that can be judged and that the network takes."""
    step = contract.multiple_of
    return max(contract.min_size, -(-MIN_JUDGED // step) * step)


def gate_images(contract: Contract, own: Sequence[Path] = ()) -> tuple[GateImage, ...]:
    """The carried, the generated and the user's own pictures, on the canvases of a contract.

    Own ones are laid as `run` lays them, and called own-1, own-2, ...: a file's name may be a patient's.
    DataError for one that cannot be read or laid, ConfigError for too many of them.
    """
    if len(own) > MAX_OWN:
        raise ConfigError(f"found {len(own)} own images for the gate; wanted at most {MAX_OWN}")
    size = judged_size(contract)
    real = [
        GateImage(name, "real", f"synthetic ultrasound, occluded: {name}", _carried(name, size))
        for name in OCCLUDED
    ]
    real += [
        GateImage(name, "real", "synthetic ultrasound, nothing hidden", _carried(name, size))
        for name in CLEAN
    ]
    given = [
        GateImage(f"own-{n}", "own", "the user's own", _laid_from_file(path, size, contract))
        for n, path in enumerate(own, start=1)
    ]
    if not contract.fixed:
        real += [
            GateImage(
                f"{name}-{what}", "real", f"synthetic ultrasound, {what}", _cut(name, aspect, size, contract)
            )
            for name, what, aspect in ASPECTS
        ]
    # Without detail there is nothing that a full-size picture would show.
    flat = size // 2 // contract.multiple_of * contract.multiple_of
    flat = size if contract.fixed else max(_least(contract), flat)
    return (*real, *_hard(real[0].pixels, flat), *given)


def _carried(name: str, size: int) -> NDArray[np.uint8]:
    return resize(read_image(GOLDENS / f"{name}.png"), size, size)


def _cut(name: str, aspect: float, size: int, contract: Contract) -> NDArray[np.uint8]:
    """The middle of a scene in another aspect, on its canvas."""
    scene = _carried(name, 2 * size)
    height, width = (round(2 * size / max(1.0, each)) for each in (aspect, 1.0 / aspect))
    top, left = size - height // 2, size - width // 2
    return _laid(scene[top : top + height, left : left + width], size, contract)


def _laid_from_file(path: Path, size: int, contract: Contract) -> NDArray[np.uint8]:
    try:
        return _laid(read_image(path), size, contract)
    except DataError as error:
        raise error if str(path) in str(error) else DataError(f"{path}: {error}") from error


def _laid(image: NDArray[np.uint8], size: int, contract: Contract) -> NDArray[np.uint8]:
    """On the canvas that `run` would take; a network of one size gets the middle square."""
    fit: Fit = "crop" if contract.fixed else "fit"
    return lay(image, placement(image.shape[0], image.shape[1], size, fit, contract))


def _hard(scene: NDArray[np.uint8], flat: int) -> list[GateImage]:
    size = scene.shape[0]
    bar = max(1, size // 5)
    letterbox = np.zeros_like(scene)
    letterbox[bar : size - bar] = scene[bar : size - bar]
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    rows, columns = np.mgrid[:size, :size] * 8 // size
    board = np.where((rows + columns) % 2, 255, 0).astype(np.uint8)
    return [
        GateImage("letterbox", "hard", "a scene between black bars", letterbox),
        GateImage("noise", "hard", "white noise", noise),
        GateImage("contrast", "hard", "black and white squares", np.repeat(board[:, :, None], 3, axis=2)),
        GateImage("grey", "hard", "flat grey", np.full((flat, flat, 3), 128, np.uint8)),
        GateImage("black", "hard", "flat black", np.zeros((flat, flat, 3), np.uint8)),
    ]
