"""Rendered faces as files: a sheet to look at, and a data set in CycleGAN's folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from getgan.errors import ConfigError, OutputError
from getgan.files import write_bytes_atomic
from getgan.runtime.images import bytes_from_image
from getgan.training.faces.config import OCCLUDER_KINDS, SceneConfig, seed_of
from getgan.training.faces.scene import render_photo, render_ultrasound
from getgan.training.faces.sheet import sample_sheet

FOLDERS = ("trainA", "trainB", "testA", "testB", "testA_truth")

Progress = Callable[[str, float], None]  # what is being done, share of the whole that is done


def write_sheet(path: Path, size: int, count: int, first: int) -> str:
    """Write `count` scenes with their truth, and as many photos, as one picture; says where.

    Another file of that name is an OutputError; the very same sheet is left as it is.
    """
    _write_new(path, bytes_from_image(sample_sheet(_scene(size), count, first), path.suffix))
    return f"{count} scenes of {size} px: {path}"


def write_dataset(folder: Path, size: int, count: int, first: int, progress: Progress) -> str:
    """Write trainA trainB testA testB with `count` PNGs each, and testA_truth beside them; says where.

    testA_truth holds the photo that a perfect translator would make of the testA picture of the same name.
    Any other file in these folders is an OutputError before anything is written; a data set that was cut off
    is completed.
    """
    scene = _scene(size)
    places = range(first, first + count)
    there = _pictures_in(folder, {_file_name(index) for index in places})
    jobs = [(split, domain, index) for split in ("train", "test") for index in places for domain in "AB"]
    known = [job for job in jobs if any(name in there for name in _names_of(*job))]
    steps = len(known) + len(jobs)
    for done, job in enumerate(known):
        progress("comparing what is there", done / steps)
        for name, data in _rendered(scene, *job).items():
            if name in there:
                _refuse_unless_same(folder / name, data)
    try:
        for name in FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {folder}: {error.strerror}; choose another folder") from error
    for done, job in enumerate(jobs, start=len(known)):
        progress(f"rendering {job[0]}A and {job[0]}B", done / steps)
        if not all(name in there for name in _names_of(*job)):
            for name, data in _rendered(scene, *job).items():
                _write_new(folder / name, data)
    return f"{count} pictures of {size} px in each of {', '.join(FOLDERS)} under {folder}"


def _file_name(index: int) -> str:
    return f"{index:06d}.png"


def _names_of(split: str, domain: str, index: int) -> list[str]:
    """The files, from the data set's folder on, that one rendering gives."""
    folders = [split + domain] + (["testA_truth"] if (split, domain) == ("test", "A") else [])
    return [f"{each}/{_file_name(index)}" for each in folders]


def _rendered(scene: SceneConfig, split: str, domain: str, index: int) -> dict[str, bytes]:
    """The bytes of each of these files."""
    if domain == "A":
        x = render_ultrasound(scene, seed_of("ultrasound", split, index))
        images = [x.ultrasound, x.truth]
    else:
        images = [render_photo(scene, seed_of("photo", split, index)).image]
    names = _names_of(split, domain, index)
    # The truth of a training picture has no name: it is not kept.
    return {name: bytes_from_image(image) for name, image in zip(names, images, strict=False)}


def _pictures_in(folder: Path, expected: set[str]) -> set[str]:
    """Which files stand in a data set's folders already, as `_names_of` calls them; hidden ones left out."""
    found: set[str] = set()
    for name in FOLDERS:
        try:
            files = {each.name for each in (folder / name).iterdir() if not each.name.startswith(".")}
        except FileNotFoundError:
            continue
        except OSError as error:
            raise OutputError(
                f"cannot read the folder {folder / name}: {error.strerror}; choose another with -o"
            ) from error
        for other in sorted(files - expected):
            raise _foreign(folder / name / other)
        found |= {f"{name}/{each}" for each in files}
    return found


def _write_new(path: Path, data: bytes) -> None:
    """Write a file that is not there yet; one with the same bytes is left as it is."""
    if os.path.lexists(path):
        _refuse_unless_same(path, data)
    else:
        write_bytes_atomic(path, data, replace=False)


def _refuse_unless_same(path: Path, data: bytes) -> None:
    try:
        same = path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}; choose another name with -o") from error
    if not same:
        raise _foreign(path)


def _foreign(path: Path) -> OutputError:
    return OutputError(
        f"{path} is there already and is not what would be written; choose another name with -o, "
        "or move it away"
    )


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
