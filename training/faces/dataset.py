"""Rendered faces as files: a sheet to look at, and a data set in CycleGAN's folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from getgan.errors import ConfigError, OutputError
from getgan.runtime.images import write_image
from getgan.training.faces.config import OCCLUDER_KINDS, SceneConfig, seed_of
from getgan.training.faces.scene import render_photo, render_ultrasound
from getgan.training.faces.sheet import sample_sheet

Progress = Callable[[str, float], None]  # what is being done, share of the whole that is done


def write_sheet(path: Path, size: int, count: int, first: int) -> str:
    """Write `count` scenes with their truth, and as many photos, as one picture; says where."""
    write_image(path, sample_sheet(_scene(size), count, first))
    return f"{count} scenes of {size} px: {path}"


def write_dataset(folder: Path, size: int, count: int, first: int, progress: Progress) -> str:
    """Write trainA trainB testA testB with `count` PNGs each, and testA_truth beside them; says where.

    testA_truth holds the photo that a perfect translator would make of the testA picture of the same name.
    """
    scene = _scene(size)
    names = ("trainA", "trainB", "testA", "testB", "testA_truth")
    try:
        for name in names:
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {folder}: {error.strerror}; choose another folder") from error
    for done, split in enumerate(("train", "test")):
        for index in range(first, first + count):
            progress(f"rendering {split}A and {split}B", (done + (index - first) / count) / 2)
            name = f"{index:06d}.png"
            x = render_ultrasound(scene, seed_of("ultrasound", split, index))
            y = render_photo(scene, seed_of("photo", split, index))
            write_image(folder / f"{split}A" / name, x.ultrasound)
            write_image(folder / f"{split}B" / name, y.image)
            if split == "test":
                write_image(folder / "testA_truth" / name, x.truth)
    return f"{count} pictures of {size} px in each of {', '.join(names)} under {folder}"


def example_scenes(size: int) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """(name, uint8 (size, size, 3) RGB) of one unseen ultrasound for each kind of occluder."""
    for number, kind in enumerate(OCCLUDER_KINDS):
        scene = SceneConfig(size=size, occlusion=1.0, kinds=(kind,), kind_weights=(1.0,))
        yield f"{kind}-rendered", render_ultrasound(scene, seed_of("ultrasound", "test", number)).ultrasound


def _scene(size: int) -> SceneConfig:
    try:
        return SceneConfig(size=size)
    except ValueError as error:
        raise ConfigError(str(error)) from error
