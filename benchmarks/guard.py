"""How well a guard tells scans from all else, over several calibrations, and what it costs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from getgan.benchmarks.guardcost import Cost, measure_cost
from getgan.benchmarks.guardpictures import Shown, scan, shown
from getgan.benchmarks.guardreport import GuardReport, Scores, binomial_band, row_of
from getgan.contract import Contract
from getgan.errors import DeviceError, UsageError
from getgan.export.calibration import Calibration, Run, Shot, calibrate, view_of
from getgan.export.features import with_features
from getgan.export.graph import Array
from getgan.export.guarding import fp32_run
from getgan.export.trace import export_onnx
from getgan.models.checkpoint import Checkpoint, load_checkpoint
from getgan.runtime.bundle import Bundle
from getgan.runtime.devices import available_cores
from getgan.runtime.guard.judge import Guard
from getgan.runtime.guard.tone import Picture
from getgan.runtime.manifest import FEATURES
from getgan.runtime.pixels import image_from_tensor, tensor_from_images
from getgan.runtime.session import Session, open_session
from getgan.training.faces import SceneConfig

Progress = Callable[[str, float], None]
SUFFIX = ".getgan"  # of a bundle in one file
FIRST_CALIBRATED = 100_000


@dataclass(frozen=True)
class GuardOptions:
    """What is measured, and how often."""

    path: Path  # checkpoint or bundle
    draws: int = 5  # calibrations, each of other scans and tried on other pictures
    scans: int = 600  # of each calibration
    unseen: int = 300  # scans that are to pass, of each draw
    pictures: int = 40  # of each other kind, of each draw
    share: float = 0.01  # of false alarms that is promised
    rounds: int = 20  # of the costs; 0 = not measured
    threads: int = 0
    others: Sequence[tuple[str, Picture]] = field(default=())  # real ultrasound of other organs
    photographs: Sequence[Picture] = field(default=())  # of anything but scans of faces


def measure_guard(options: GuardOptions, progress: Progress) -> GuardReport:
    """Calibrate, show, count; errors as those of `calibrate` and of opening the file."""
    if min(options.draws, options.unseen, options.pictures) < 1:
        raise UsageError("found a number of draws, unseen scans or pictures below 1; wanted 1 or more")
    threads = options.threads or available_cores()
    found: dict[str, list[Scores]] = {}
    groups: dict[str, str] = {}
    checkpoint = (
        None if options.path.is_dir() or options.path.suffix == SUFFIX else load_checkpoint(options.path)
    )
    with _running(options.path, checkpoint, threads) as (what, contract, run, back):
        for draw in range(options.draws):
            progress(f"draw {draw + 1} of {options.draws}", 0.9 * draw / options.draws)
            for kind, scores in _drawn(options, draw, contract, run, back):
                found.setdefault(kind.name, []).append(scores)
                groups[kind.name] = kind.group
    costs: tuple[Cost, ...] = ()
    if options.rounds:
        progress("the cost of the features", 0.9)
        costs = measure_cost(checkpoint, options.rounds, threads)
    known = found["unseen scans"]
    return GuardReport(
        network=what,
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        draws=options.draws,
        scans=options.scans,
        unseen=options.unseen,
        share=options.share,
        false_alarms=tuple(sum(kind != "ok" for kind in scores.kinds) for scores in known),
        band=binomial_band(options.unseen * options.draws, options.share),
        rows=tuple(row_of(name, groups[name], scores, known) for name, scores in found.items()),
        costs=costs,
    )


@contextmanager
def _running(
    path: Path, checkpoint: Checkpoint | None, threads: int
) -> Iterator[tuple[str, Contract, Run, Run | None]]:
    """In words what runs, its contract, FP32 with features, and the way back where that lies beside it."""
    with ExitStack() as stack:
        if checkpoint is None:
            bundle = Bundle.open(path)
            if bundle.manifest.guard is None:
                raise UsageError(f"{path} has no guard, so no features to judge by: give its checkpoint")
            session = stack.enter_context(
                open_session(bundle, device="cpu", precision="fp32", threads=threads)
            )
            contract = bundle.manifest.contract
            yield f"{path.name}, {session.info.text()}", contract, _run_of(session, contract), None
            return
        names = checkpoint.generator().outputs
        graph = export_onnx(checkpoint, outputs=("face", "occlusion") if "occlusion" in names else ("face",))
        run = stack.enter_context(fp32_run(with_features(graph, checkpoint.contract), threads))
        reverse, back = path.with_suffix(f".reverse{path.suffix}"), None
        if reverse.exists():
            back = stack.enter_context(fp32_run(export_onnx(load_checkpoint(reverse)), threads))
        yield f"{path.name} in FP32", checkpoint.contract, run, back


def _run_of(session: Session, contract: Contract) -> Run:
    """A session as `calibrate` wants it."""

    def run(images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        frames = np.stack([image_from_tensor(image, contract.range) for image in images])
        answers = session.translate(frames)
        if answers.features is None:
            raise DeviceError("the session gave no features; run `getgan verify` on the bundle")
        found = {FEATURES: answers.features, "face": tensor_from_images(list(answers.faces), contract.range)}
        if answers.occlusion is not None:
            found["occlusion"] = answers.occlusion[:, None].astype(np.float32) / 255.0
        return found

    return run


def _drawn(
    options: GuardOptions, draw: int, contract: Contract, run: Run, back: Run | None
) -> Iterator[tuple[Shown, Scores]]:
    """One calibration, and what it says of every kind of picture, the unseen scans first."""
    scene = SceneConfig(size=contract.size)
    first = FIRST_CALIBRATED + options.scans * draw
    shots = (Shot(scan(scene, first + number)) for number in range(options.scans))
    calibration = calibrate(shots, run, contract, options.share)
    first = FIRST_CALIBRATED + 200_000 + options.unseen * draw
    unseen = tuple(scan(scene, first + number) for number in range(options.unseen))
    palette = calibration.statistics.palette
    known = Shown("unseen scans", "scan", unseen)
    kinds = shown(scene, options.others, palette, options.pictures, draw, options.photographs)
    for kind in (known, *kinds):
        yield kind, _judged(kind.pictures, calibration, contract, run, back)


def _judged(
    pictures: Sequence[Picture], calibration: Calibration, contract: Contract, run: Run, back: Run | None
) -> Scores:
    """Verdict and scores of each; back: face -> scan."""
    guard = Guard(calibration.statistics, calibration.hidden)
    kinds, scores, energies, cycles = [], [], [], []

    looked: dict[str, Array] = {}

    def look(view: Picture) -> NDArray[np.float32]:
        looked.update(run(tensor_from_images([view], contract.range)))
        return np.asarray(looked[FEATURES][0])

    for picture in pictures:
        view = view_of(Shot(picture), contract)
        given = tensor_from_images([view], contract.range)
        outputs = run(given)
        features = outputs[FEATURES][0]
        verdict = guard.judge(
            view,
            features,
            look,
            explain=False,
            hidden=_hidden(outputs),
            hidden_toned=lambda: _hidden(looked),
        )
        kinds.append(verdict.kind)
        scores.append(verdict.score)
        means = features[: len(features) // 2].astype(np.float64)
        energies.append(-float(np.log(np.exp(means - means.max()).sum()) + means.max()))
        if back is not None:
            cycles.append(float(np.abs(given - back(outputs["face"])["face"]).mean()))
    return Scores(tuple(kinds), tuple(scores), tuple(energies), tuple(cycles))


def _hidden(outputs: dict[str, Array]) -> float:
    """The share that the occlusion map says is hidden, if there is one."""
    return float(outputs["occlusion"].mean()) if "occlusion" in outputs else 0.0
