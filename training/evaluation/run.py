"""The evaluation itself: every contestant and reference on every test seed, gathered into a report."""

from __future__ import annotations

import contextlib
import math
import platform
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from getgan import __version__
from getgan.training.evaluation.contestants import open_entries, resolve_device
from getgan.training.evaluation.landmarks import learn_landmark_finder
from getgan.training.evaluation.maps import MAP_NAMES, reason_without
from getgan.training.evaluation.measures import measure
from getgan.training.evaluation.options import (
    Contestant,
    Entry,
    EvaluationOptions,
    Progress,
    scene_configs,
)
from getgan.training.evaluation.perceptual import PerceptualJudge
from getgan.training.evaluation.pictures import galleries_of
from getgan.training.evaluation.pose import learn_pose_reader
from getgan.training.evaluation.report import Cell, Column, Gallery, Report
from getgan.training.evaluation.rows import METRICS
from getgan.training.evaluation.testsets import (
    Images,
    TestSet,
    mean_photo,
    render_far_set,
    render_learning_photos,
    render_photos,
    render_test_set,
    wide_poses,
)
from getgan.training.evaluation.translate import Outputs, fixed_outputs, translate_set

TRUE_PHOTO, INPUT, MEAN_PHOTO = "true photo", "input itself", "mean photo"
REFERENCES = (TRUE_PHOTO, INPUT, MEAN_PHOTO)

RENDERING = 3  # times as long as a contestant takes for the scenes, about

Numbers = dict[str, float]  # Metric.key -> value on one test seed


def evaluate(
    entries: Sequence[Entry | Contestant], options: EvaluationOptions, progress: Progress | None = None
) -> Report:
    """Compare checkpoints, or any translators, on synthetic scenes whose truth is known.

    The same on every run with the same arguments, on one machine.
    """
    say = progress or (lambda what, share: None)
    started = time.monotonic()
    device = resolve_device(options.device)
    contestants, size = open_entries(entries, options.size, device)
    faces, far_faces = scene_configs(options, size)
    numbers: list[list[Numbers]] = []  # [test seed][contestants, then references]
    galleries: tuple[Gallery, ...] = ()
    with _threads(options.threads):
        say("learning to read faces", 0.0)
        judge = PerceptualJudge(device, options.batch) if options.perceptual else None
        photos = render_learning_photos(wide_poses(faces, far_faces), options.pose_photos)
        reader = learn_pose_reader(photos.images, photos.pose)
        finder = learn_landmark_finder(photos.images, photos.heads)
        average = mean_photo(faces)
        each = RENDERING + len(contestants) + 1
        steps = len(options.seeds) * each
        for turn, seed in enumerate(options.seeds):
            begun = turn * each + 1
            first = begun + RENDERING - 1
            far_count = 0 if far_faces is None else max(2, options.scenes // 2)
            whole = options.scenes + far_count
            scenes = f"{options.scenes} scenes" + (f" and {far_count} turned further" if far_count else "")

            def rendered(
                number: int, seed: int = seed, begun: int = begun, whole: int = whole, scenes: str = scenes
            ) -> None:
                share = (begun + RENDERING * number / whole) / (steps + 1)
                say(f"test seed {seed}: rendering {scenes}, {number} of {whole}", share)

            test = render_test_set(faces, seed, options.scenes, rendered)
            far = None
            if far_faces is not None:
                far = render_far_set(far_faces, seed, far_count, lambda n: rendered(options.scenes + n))
            pictures = options.pictures if turn == 0 else 0
            made = []
            for place, contestant in enumerate(contestants, start=1):
                say(f"test seed {seed}: {contestant.label}", (first + place) / (steps + 1))
                made.append(translate_set(contestant, test, far, device, options.batch, pictures))
            say(f"test seed {seed}: comparing", (first + len(contestants) + 1) / (steps + 1))
            made += reference_outputs(test, far, average)
            numbers.append([measure(test, far, outputs, reader, finder) for outputs in made])
            if judge is not None:
                held_out = render_photos(faces, seed, options.scenes)
                for found, more in zip(numbers[-1], judge.judge(test, made, held_out), strict=True):
                    found |= more
            if pictures:
                galleries = galleries_of(test, contestants, made[: len(contestants)], pictures)
    say("done", 1.0)
    return Report(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        versions={
            "getgan": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "opencv": cv2.__version__,
            "python": platform.python_version(),
        },
        size=size,
        scenes=options.scenes,
        seeds=options.seeds,
        far_yaw=options.far_yaw,
        device=str(device),
        seconds=round(time.monotonic() - started, 1),
        columns=_columns(contestants, numbers, options),
        galleries=galleries,
    )


def reference_outputs(test: TestSet, far: TestSet | None, average: NDArray[np.uint8]) -> list[Outputs]:
    """The answers of REFERENCES: the truth, the input itself, and one mean photo for all."""

    def same(images: Images) -> Images:
        return np.broadcast_to(average, images.shape)

    constant = same(test.truth)
    return [
        fixed_outputs(test.truth, test.truth, None if far is None else far.truth, test),
        fixed_outputs(test.ultrasound, test.clean, None if far is None else far.ultrasound, test),
        fixed_outputs(constant, constant, None if far is None else same(far.truth), test),
    ]


def _columns(
    contestants: Sequence[Contestant], numbers: list[list[Numbers]], options: EvaluationOptions
) -> tuple[Column, ...]:
    """One per label, in the order in which labels first come, then the references."""
    groups: dict[str, list[int]] = {}
    for place, contestant in enumerate(contestants):
        groups.setdefault(contestant.label, []).append(place)
    columns = [
        Column(
            label=label,
            kind="model",
            origins=tuple(origin for i in places if (origin := contestants[i].origin) is not None),
            cells=_cells(numbers, places, options, contestants[places[0]]),
        )
        for label, places in groups.items()
    ]
    for place, label in enumerate(REFERENCES, start=len(contestants)):
        columns.append(Column(label, "reference", (), _cells(numbers, [place], options, None)))
    return tuple(columns)


def _cells(
    numbers: list[list[Numbers]], places: list[int], options: EvaluationOptions, first: Contestant | None
) -> dict[str, Cell]:
    cells = {}
    for metric in METRICS:
        values = tuple(tuple(_measured(turn[i], metric.key) for turn in numbers) for i in places)
        nothing = all(value is None for row in values for value in row)
        cells[metric.key] = Cell(values, _reason(metric.key, options, first) if nothing else "")
    return cells


def _measured(found: Numbers, key: str) -> float | None:
    value = found.get(key, math.nan)
    return None if math.isnan(value) else float(value)


def _reason(key: str, options: EvaluationOptions, contestant: Contestant | None) -> str:
    """Why a metric has no value."""
    if key.startswith("lpips_") or key == "kid":
        return "" if options.perceptual else "perceptual metrics were switched off"
    if key.startswith("far_"):
        return "no second yaw range was asked for"
    if key.startswith("auroc_"):
        name = key.removeprefix("auroc_")
        if contestant is None:
            return "a reference has no such map"
        return reason_without(contestant, name) if name in MAP_NAMES else ""
    if key == "eyes_offset":
        return "of one eye at least, no scene has it near its place"
    if key.endswith("_distance"):
        return "no such part was found near its place in any scene"
    if key.endswith("_place_visible"):
        return "every scene hides that part"
    return "no scene hides enough of the face"


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many threads for PyTorch and OpenCV, and afterwards what was set before; 0 = leave them."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    if count:
        torch.set_num_threads(count)
        cv2.setNumThreads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
