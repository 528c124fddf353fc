"""A guard for a graph: calibrated by the runtime's FP32 engine, kept beside a checkpoint or in a bundle."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from getgan.contract import Contract
from getgan.errors import BundleError, DeviceError, ExportError, OutputError
from getgan.export.calibration import SHARE, Calibration, Progress, Run, Shot, calibrate, view_of
from getgan.export.features import with_features
from getgan.export.gate import Gate, judging_way
from getgan.export.graph import INPUT, Array, OnnxModel
from getgan.export.guardgate import GuardGate, Shown, guard_pictures, nonsense
from getgan.export.images import GateImage
from getgan.export.trace import export_onnx
from getgan.files import read_small, write_bytes_atomic
from getgan.models.checkpoint import Checkpoint, load_checkpoint
from getgan.printing import json_text
from getgan.runtime.backends import Graph, Unsuitable
from getgan.runtime.backends.catalog import backend_of
from getgan.runtime.devices import available_cores
from getgan.runtime.guard.judge import Guard
from getgan.runtime.guard.promise import guard_in_words
from getgan.runtime.guard.statistics import MAX_BYTES, bytes_from_statistics, statistics_from_bytes
from getgan.runtime.guard.tone import Picture
from getgan.runtime.manifest import FEATURES, Aspect, GuardRecord, Record

FILE = "guard/statistics.npz"  # in a bundle
REFUSED = "guard/refused.png"
MAX_NOTE_BYTES = 1 << 16  # a real one has 500
NOTE_SUFFIX, STATISTICS_SUFFIX = ".guard.json", ".guard.npz"  # beside a checkpoint
STRANGE = 0.2  # share of calibration pictures that another guard refuses; more is said
KEPT = 8  # calibration pictures on which the gate compares verdicts; they go nowhere else


@dataclass(frozen=True, eq=False)
class Frames:
    """What a guard is to be calibrated with; `about` says it in words that name nobody."""

    shots: Iterable[Shot]
    about: str
    share: float = SHARE
    count: int = 0  # of files, for the progress; 0 = not known


@dataclass(frozen=True, eq=False)
class Made:
    """A calibration, of what, and some of its pictures as the network sees them."""

    calibration: Calibration
    about: str
    views: tuple[Picture, ...] = ()

    def in_words(self) -> str:
        """One line."""
        return guard_in_words(self.record())

    def record(self) -> GuardRecord:
        """For a bundle's manifest."""
        found = self.calibration
        return GuardRecord(
            file=FILE,
            about=self.about,
            share=found.share,
            low=found.low,
            high=found.high,
            fitted=found.fitted,
            tested=found.tested,
            studies=found.studies,
            hidden=found.hidden,
            refused=REFUSED,
            aspects=found.aspects,
        )


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
    rng = np.random.default_rng(0)

    def kept() -> Iterator[Shot]:
        """Every picture, each with the same chance to be one of KEPT."""
        for number, shot in enumerate(frames.shots):
            place = number if number < KEPT else int(rng.integers(number + 1))
            if place < KEPT:
                views[place : place + 1] = [view_of(shot.picture, contract)]
            yield shot

    def seen(images: Array) -> dict[str, Array]:
        outputs = run(images)
        features.append(outputs[FEATURES][0])
        return outputs

    found, about = calibrate(kept(), seen, contract, frames.share, progress), frames.about
    if known is not None and known.calibration.statistics.size == found.statistics.size:
        strange = float((known.calibration.statistics.score(np.stack(features)) > 1.0).mean())
        if strange > STRANGE:
            about += f"; {strange:.0%} of them are unlike the scans that the checkpoint was calibrated with"
    return Made(found, about, tuple(views))


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
    _check_places(path)
    checkpoint = load_checkpoint(path)
    before = saved_guard(path, checkpoint.sha256 or "")
    progress("exporting to ONNX", 0.0)
    known = before if isinstance(before, Made) else None
    made = calibrate_checkpoint(checkpoint, frames, threads, _told(frames, progress), known)
    note, file = save_guard(made, path, checkpoint.sha256 or "")
    return CalibrationReport(str(note), str(file), made.record())


def _told(frames: Frames, progress: Callable[[str, float], None]) -> Progress:
    """Counts pictures; a clip has several."""
    return lambda done: progress(
        f"calibrating, {done:.0f} pictures", min(done / frames.count, 0.99) if frames.count else 0.5
    )


class _Note(Record, frozen=True, kw_only=True):
    """NAME.guard.json: whose statistics these are, and what the promise rests on."""

    format: Literal["getgan-guard"] = "getgan-guard"
    version: Literal[1] = 1
    checkpoint_sha256: str
    statistics_sha256: str
    about: str
    share: float
    low: float
    high: float
    fitted: int
    tested: int
    studies: int
    hidden: float
    aspects: tuple[Aspect, Aspect] | None = None


def save_guard(made: Made, checkpoint: Path, checkpoint_sha256: str) -> tuple[Path, Path]:
    """Beside the checkpoint, statistics first: a note without its statistics is of none.

    OutputError rather than replace a file that is no guard.
    """
    _check_places(checkpoint)
    note, file = _places(checkpoint)
    data = bytes_from_statistics(made.calibration.statistics)
    found = made.calibration
    said = _Note(
        checkpoint_sha256=checkpoint_sha256,
        statistics_sha256=hashlib.sha256(data).hexdigest(),
        about=made.about,
        share=found.share,
        low=found.low,
        high=found.high,
        fitted=found.fitted,
        tested=found.tested,
        studies=found.studies,
        hidden=found.hidden,
        aspects=found.aspects,
    )
    write_bytes_atomic(file, data)
    write_bytes_atomic(note, msgspec.json.format(msgspec.json.encode(said), indent=2) + b"\n")
    return note, file


def saved_guard(checkpoint: Path, checkpoint_sha256: str) -> Made | str:
    """What stands beside the checkpoint, or in words why no guard comes of it."""
    note, file = _places(checkpoint)
    if not note.exists():
        return "no guard was calibrated: pass --calibration, or run getgan calibrate"
    again = "run getgan calibrate"
    try:
        said = _read_note(note)
        data = read_small(file, MAX_BYTES + 1)
        statistics = statistics_from_bytes(data)
    except (OSError, BundleError) as error:
        return f"{note.name} or {file.name} cannot be used ({error!s:.150}); {again}"
    if said.checkpoint_sha256 != checkpoint_sha256:
        return (
            f"{note.name} is another checkpoint's ({said.checkpoint_sha256[:12]}, this one is "
            f"{checkpoint_sha256[:12]}); {again}"
        )
    if hashlib.sha256(data).hexdigest() != said.statistics_sha256:
        return f"{file.name} is not the one that {note.name} names; {again}"
    found = Calibration(
        statistics,
        said.share,
        said.low,
        said.high,
        said.fitted,
        said.tested,
        said.studies,
        said.hidden,
        said.aspects,
    )
    return Made(found, said.about)


def _places(checkpoint: Path) -> tuple[Path, Path]:
    return checkpoint.with_suffix(NOTE_SUFFIX), checkpoint.with_suffix(STATISTICS_SUFFIX)


def _read_note(path: Path) -> _Note:
    """OSError, or BundleError for what is none."""
    try:
        return msgspec.json.decode(read_small(path, MAX_NOTE_BYTES), type=_Note)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"no note of a guard: {error}") from error


def _check_places(checkpoint: Path) -> None:
    """OutputError if something else has the names of the guard's files, somebody's data maybe."""
    note, file = _places(checkpoint)
    for place in (note, file):
        if not os.path.lexists(place):
            continue
        try:
            _read_note(note) if place == note else statistics_from_bytes(read_small(file, MAX_BYTES + 1))
        except (OSError, BundleError) as error:
            raise OutputError(
                f"{place} is there already, and is no guard ({error!s:.150}); it is not replaced: move it"
            ) from error
