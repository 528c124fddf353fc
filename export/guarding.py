"""A guard for a graph: calibrated by the runtime's FP32 engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from getgan.contract import Contract
from getgan.errors import DeviceError, ExportError
from getgan.export.calibration import (
    SHARE,
    Calibration,
    Progress,
    Run,
    Shot,
    calibrate,
    view_of,
)
from getgan.export.features import with_features
from getgan.export.gate import Gate, judging_way
from getgan.export.graph import INPUT, Array, OnnxModel
from getgan.export.guardfiles import Made, check_places, save_guard, saved_guard
from getgan.export.guardgate import GuardGate, Shown, guard_pictures, nonsense
from getgan.export.images import GateImage
from getgan.export.limit import fewest_for
from getgan.export.photographs import COLOURED, off_palette
from getgan.export.trace import export_onnx
from getgan.models.checkpoint import Checkpoint, load_checkpoint
from getgan.printing import counted, json_text
from getgan.runtime.backends import Graph, Unsuitable
from getgan.runtime.backends.catalog import backend_of
from getgan.runtime.devices import available_cores
from getgan.runtime.guard.judge import Guard
from getgan.runtime.guard.promise import guard_in_words
from getgan.runtime.guard.tone import Picture
from getgan.runtime.manifest import FEATURES, GuardRecord

STRANGE = (
    0.2  # share of calibration pictures that another guard refuses, or that are photographs; more is said
)
KEPT = 8  # calibration pictures on which the gate compares verdicts; they go nowhere else


@dataclass(frozen=True, eq=False)
class Frames:
    """What a guard is to be calibrated with; `about` says it in words that name nobody."""

    shots: Iterable[Shot]
    about: str
    share: float = SHARE
    count: int = 0  # of files, for the progress; 0 = not known


@contextmanager
def fp32_run(model: OnnxModel, threads: int) -> Iterator[Run]:
    """The FP32 graph as a session on this machine's CPU runs it."""
    graph = Graph(lambda: model.data, "fp32", INPUT, model.outputs)
    try:
        way = judging_way("fp32")
        engine = backend_of(way).open(graph, way, threads or available_cores())
    except (Unsuitable, DeviceError) as error:
        raise ExportError(f"the FP32 graph does not run here: {error}") from error
    with closing(engine):
        yield engine.infer


def calibrated(
    frames: Frames, run: Run, contract: Contract, progress: Progress | None = None, known: Made | None = None
) -> Made:
    """Calibrate by a graph that gives features; errors as `calibrate`.

    known: the guard beside the checkpoint, which tells how many of the pictures are none of the training's.
    """
    features: list[Array] = []
    views: list[Picture] = []
    coloured: list[bool] = []
    rng = np.random.default_rng(0)

    def kept() -> Iterator[Shot]:
        """Every picture, each with the same chance to be one of KEPT."""
        for number, shot in enumerate(frames.shots):
            place = number if number < KEPT else int(rng.integers(number + 1))
            view = view_of(shot, contract)
            coloured.append(off_palette(view) > COLOURED)
            if place < KEPT:
                views[place : place + 1] = [view]
            yield shot

    def seen(images: Array) -> dict[str, Array]:
        outputs = run(images)
        features.append(outputs[FEATURES][0])
        return outputs

    found, about = calibrate(kept(), seen, contract, frames.share, progress), frames.about
    warnings = list(_unkept(found, frames.share))
    odd = [(float(np.mean(coloured)), "have colours like a photograph's, where a scan has one palette")]
    if known is not None and known.calibration.statistics.size == found.statistics.size:
        strange = float((known.calibration.statistics.score(np.stack(features)) > 1.0).mean())
        odd.append((strange, "are unlike the scans that the checkpoint was calibrated with"))
    for part, said in odd:
        if part > STRANGE:
            about += f"; {part:.0%} of them {said}"
            warnings.append(f"{part:.0%} of the calibration pictures {said}: the guard will let such pass")
    return Made(found, about, tuple(views), tuple(warnings))


def _unkept(found: Calibration, wanted: float) -> Iterator[str]:
    """What was asked for and is not promised."""
    if found.studies == 1:
        yield (
            "all calibration pictures are of one study, so that the promise is for that study alone; "
            "wanted several, each in a sub-folder of its own"
        )
    if found.share > wanted:
        count = found.fitted + found.tested
        of = f"{found.studies} studies" if found.studies > 1 else counted(count, "picture")
        yield (
            f"{wanted:.1%} of false alarms cannot be promised with {of}: it takes about "
            f"{fewest_for(wanted)}, and {found.share:.1%} is promised"
        )


def calibrate_checkpoint(
    checkpoint: Checkpoint,
    frames: Frames,
    threads: int = 0,
    progress: Progress | None = None,
    known: Made | None = None,
) -> Made:
    """The same for a checkpoint, whose graph is made for it; with the occlusion map if it has one."""
    names = checkpoint.generator().outputs
    graph = export_onnx(checkpoint, outputs=("face", "occlusion") if "occlusion" in names else ("face",))
    with fp32_run(with_features(graph, checkpoint.contract), threads) as run:
        return calibrated(frames, run, checkpoint.contract, progress, known)


def guard_the_gate(
    gate: Gate,
    fp32: OnnxModel,
    wanted: Frames | Made,
    known: Made | None,
    images: Sequence[GateImage],
    progress: Callable[[str, float], None],
) -> tuple[Made, Shown]:
    """The guard, which the gate holds from here on, and the picture that it must refuse on every machine."""
    with fp32_run(fp32, gate.threads) as run:
        if isinstance(wanted, Frames):
            wanted = calibrated(wanted, run, gate.contract, _told(wanted, progress), known)
        offered = nonsense(images)
        shown = [*guard_pictures(images, wanted.views), *offered]
        guard = Guard(wanted.calibration.statistics, wanted.calibration.hidden)
        gate.guard = GuardGate(guard, shown, run, gate.contract.range)
    return wanted, gate.guard.must_refuse(offered)


class CalibrationReport(msgspec.Struct, frozen=True):
    """What `getgan calibrate` wrote."""

    note: str
    statistics: str
    guard: GuardRecord
    warnings: tuple[str, ...] = ()

    def text(self) -> str:
        """For a terminal."""
        return f"guard     {guard_in_words(self.guard)}\nwritten   {self.note}, {self.statistics}"

    def to_json(self) -> str:
        """For a machine."""
        return json_text(self)

    def in_words(self) -> str:
        """One line."""
        return guard_in_words(self.guard)


def calibrate_and_save(
    path: Path, frames: Frames, threads: int, progress: Callable[[str, float], None]
) -> CalibrationReport:
    """The guard's two files beside a checkpoint, whose SHA-256 they hold; compared with what stood there."""
    check_places(path)
    checkpoint = load_checkpoint(path)
    before = saved_guard(path, checkpoint.sha256 or "")
    progress("exporting to ONNX", 0.0)
    known = before if isinstance(before, Made) else None
    made = calibrate_checkpoint(checkpoint, frames, threads, _told(frames, progress), known)
    note, file = save_guard(made, path, checkpoint.sha256 or "")
    return CalibrationReport(str(note), str(file), made.record(), made.warnings)


def _told(frames: Frames, progress: Callable[[str, float], None]) -> Progress:
    """Counts pictures; a clip has several."""
    return lambda done: progress(
        f"calibrating, {counted(round(done), 'picture')}",
        min(done / frames.count, 0.99) if frames.count else 0.5,
    )
