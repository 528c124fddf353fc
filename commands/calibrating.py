"""calibrate; and the frames that a guard is calibrated with, for export and train too."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from getgan.commands.common import Json, Threads, imports, tell, warn
from getgan.errors import DataError, UsageError

if TYPE_CHECKING:
    from getgan.export.calibration import Shot
    from getgan.export.guarding import Frames
    from getgan.training.config import DataConfig

FIRST_RENDERED = 1000  # of the split that no training sees; the pictures before are goldens and probes
RENDERED = 600  # half for the fit and half for the limit
PER_CLIP = 20  # frames of one DICOM clip: neighbours are alike


FalseAlarms = Annotated[
    float, typer.Option("--false-alarms", help="Share of such scans that the guard may refuse; 0.01 = 1 %.")
]


def calibrate(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint file.")],
    folder: Annotated[
        Path | None, typer.Argument(help="Scans like those that it shall take: pictures or DICOM.")
    ] = None,
    faces: Annotated[int, typer.Option(help="Instead of a folder: so many rendered scans.", min=0)] = 0,
    false_alarms: FalseAlarms = 0.01,
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Learn what a checkpoint's scans look like; getgan export makes the guard of the files beside it."""
    with imports("export", "train"):
        from getgan.export.guarding import calibrate_and_save
        from getgan.models.checkpoint import load_checkpoint
        from getgan.runtime.console import ShareLine

    if (folder is None) == (faces == 0):
        raise UsageError("found a folder and --faces, or neither; wanted one: getgan calibrate CKPT FOLDER")
    loaded = load_checkpoint(checkpoint)
    if folder is None:
        frames = rendered_frames(
            data_of(loaded.provenance.config_toml, loaded.contract.size), faces, false_alarms
        )
    else:
        frames = folder_frames(folder, false_alarms)
    with ShareLine(quiet=json) as line:
        report = calibrate_and_save(checkpoint, frames, threads, line.share)
        warn(report.warnings, line)
    tell(report, json)


def folder_frames(folder: Path, share: float) -> Frames:
    """Every picture and DICOM frame under a folder.

    One study are the DICOM files of a StudyInstanceUID, and the pictures of a sub-folder. Neither a UID nor
    a name is kept.
    """
    from getgan.clinic.source import DicomOpener
    from getgan.export.guarding import Frames
    from getgan.runtime.images import list_images

    pictures, opener = list_images(folder, recursive=True), DicomOpener()
    known = set(pictures)
    scans = [path for path in sorted(folder.rglob("*")) if path not in known and opener.claims(path)]
    if not pictures and not scans:
        raise DataError(f"{folder} holds no picture and no DICOM file; wanted scans to calibrate with")
    grouped = any(path.parent != folder for path in pictures)
    kinds = [f"{len(pictures)} pictures"] if pictures else []
    kinds += [f"{len(scans)} DICOM files"] if scans else []
    by = ["sub-folder"] if grouped else []
    by += ["StudyInstanceUID"] if scans else []
    about = f"own scans, {' and '.join(kinds)}" + (f", studies told by {' and '.join(by)}" if by else "")
    return Frames(_shots(folder, pictures, scans), about, share, len(pictures) + len(scans))


def rendered_frames(data: DataConfig, count: int, share: float = 0.01) -> Frames:
    """Rendered scans that no training sees, each of another head."""
    from getgan.export.calibration import Shot
    from getgan.export.guarding import Frames
    from getgan.training.data import scene_config
    from getgan.training.faces import render_ultrasound, seed_of

    scene = scene_config(data)
    seeds = [seed_of("ultrasound", "probe", FIRST_RENDERED + number) for number in range(count)]
    shots = (Shot(render_ultrasound(scene, seed).ultrasound, str(seed)) for seed in seeds)
    return Frames(shots, f"rendered scans of {scene.size} px that no training sees", share, count)


def data_of(config_toml: str, size: int) -> DataConfig:
    """What a checkpoint was trained on, if it says so; else rendered faces of its size."""
    from getgan.training.config import DataConfig, config_from_toml_text

    data = config_from_toml_text(config_toml).data if config_toml else DataConfig(size=size)
    return data if data.kind == "faces" else DataConfig(size=size)


def guard_after_training(
    folder: Path, data: DataConfig, threads: int, say: Callable[[str], None], *, trained: bool = True
) -> None:
    """The guard's files beside the run's checkpoints; what cannot be had is said, and is no failed run.

    Nothing trained: a guard of the checkpoint that stands there stays.
    """
    from getgan.errors import GetganError
    from getgan.export.guardfiles import saved_guard
    from getgan.export.guarding import Frames, calibrate_and_save
    from getgan.runtime.media.record import sha256_of_file
    from getgan.training.folder import BEST, LAST, SUFFIXES

    for name in (BEST, LAST):
        path = folder / f"{name}{SUFFIXES[0]}"
        if not path.exists():
            continue
        if not trained and not isinstance(saved_guard(path, sha256_of_file(path)), str):
            continue
        say(f"{path.name}: calibrating its guard, which takes a minute or two; --no-guard leaves that out")
        try:
            if data.kind == "faces":
                frames = rendered_frames(data, RENDERED)
            else:
                frames = folder_frames(Path(data.root) / "trainA", 0.01)
                about = f"the training's {frames.about}: the network has seen them"
                frames = Frames(frames.shots, about, frames.share, frames.count)
            report = calibrate_and_save(path, frames, threads, lambda what, share: None)
        except GetganError as error:
            say(f"{path.name}: no guard: {error}")
        else:
            say(f"{path.name}: guard: {report.in_words()}")
            for warning in report.warnings:
                say(f"{path.name}: guard: warning: {warning}")


def _shots(folder: Path, pictures: list[Path], scans: list[Path]) -> Iterator[Shot]:
    import numpy as np

    from getgan.clinic.source import DicomOpener
    from getgan.export.calibration import Shot
    from getgan.runtime.images import read_image

    opener = DicomOpener()
    for path in pictures:
        study = "" if path.parent == folder else str(path.parent.relative_to(folder))
        yield Shot(read_image(path), study, str(path))
    for path in scans:
        try:
            file = opener.open(path, whole=False)
            uid = str(file.origin.dataset.get("StudyInstanceUID", ""))
            study = hashlib.sha256(uid.encode()).hexdigest() if uid else ""
            for index in np.unique(np.linspace(0, file.count - 1, min(file.count, PER_CLIP)).astype(int)):
                yield Shot(file.frame(int(index)), study, str(path))
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
