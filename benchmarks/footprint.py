"""What the commands cost as their users start them: first picture, memory, --help, export, pipeline."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from getgan.benchmarks.processes import Finished, run_getgan
from getgan.files import write_bytes_atomic
from getgan.runtime.bundle import Bundle
from getgan.runtime.geometry import Fit
from getgan.runtime.images import write_image
from getgan.runtime.selftest import golden_of
from getgan.runtime.summary import Stages

FRAMES = ((640, 480), (1920, 1080))  # width, height: of an old frame grabber and of a new one


@dataclass(frozen=True)
class Starts:
    """Fresh processes with a warm file cache, one list entry each; the two kinds took turns."""

    first_picture: tuple[float, ...]  # seconds from the start of `getgan run` to its end, one picture written
    peak_mb: tuple[float, ...]  # of these processes
    help: tuple[float, ...]  # seconds of `getgan --help`
    session: str  # what ran


@dataclass(frozen=True)
class FrameCost:
    """Medians of one picture, read from and written to PNG files."""

    width: int
    height: int
    frames: int
    session: str
    stages: Stages  # seconds

    @property
    def pipeline_share(self) -> float:
        """Cut, scale, normalise, guard and label over them and the network, 0..1; files left out."""
        ours = self.stages.pre + self.stages.post
        return ours / (ours + self.stages.network)

    def text(self) -> str:
        """A row for people."""
        stages = self.stages
        figures = (stages.decode, stages.pre, stages.network, stages.post, stages.encode)
        cells = "".join(f"{1000 * seconds:>9.1f}" for seconds in figures)
        shares = f"{100 * stages.overhead:>11.1f} %{100 * self.pipeline_share:>11.1f} %"
        return f"{f'{self.width}x{self.height}':14}{cells}{shares}"


@dataclass(frozen=True)
class Running:
    """How `getgan run` is called."""

    bundle: Bundle
    folder: Path  # for files of the moment
    size: int
    threads: int

    def run(self, source: Path, output: Path) -> tuple[Finished, dict[str, object]]:
        """Translate; what the process cost, and its JSON."""
        contract = self.bundle.manifest.contract
        fit: Fit = "crop" if contract.fixed else "fit"
        finished = run_getgan(
            self.folder,
            *("run", str(self.bundle.path), str(source), "-o", str(output), "--json", "--overwrite"),
            *("--device", "cpu", "--threads", str(self.threads), "--size", str(self.size), "--fit", fit),
        )
        return finished, json.loads(finished.output)

    def picture(self, path: Path, width: int, height: int) -> Path:
        """The bundle's first golden picture, scaled."""
        golden: NDArray[np.uint8] = golden_of(self.bundle).input
        write_image(path, cv2.resize(golden, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.uint8))
        return path


def measure_starts(running: Running, rounds: int, progress: Callable[[float], None]) -> Starts:
    """Each kind once to warm the cache, then in turn."""
    source = running.picture(running.folder / "first.png", running.size, running.size)
    output = running.folder / "first-face.png"
    _, report = running.run(source, output)
    run_getgan(running.folder, "--help")
    pictures, helps = [], []
    for turn in range(rounds):
        pictures.append(running.run(source, output)[0])
        helps.append(run_getgan(running.folder, "--help").seconds)
        progress((turn + 1) / rounds)
    peaks = tuple(finished.peak_mb for finished in pictures)
    return Starts(tuple(finished.seconds for finished in pictures), peaks, tuple(helps), _session(report))


def measure_frames(running: Running, rounds: int, progress: Callable[[float], None]) -> tuple[FrameCost, ...]:
    """A folder of `rounds` equal pictures for each input size, the network's own first."""
    costs = []
    sizes = ((running.size, running.size), *FRAMES)
    for place, (width, height) in enumerate(sizes):
        source = running.folder / f"{width}x{height}"
        source.mkdir()
        data = running.picture(source / "0.png", width, height).read_bytes()
        for number in range(1, rounds):
            write_bytes_atomic(source / f"{number}.png", data)
        _, report = running.run(source, running.folder / f"{source.name}-faces")
        summary = report["summary"]
        assert isinstance(summary, dict)
        costs.append(
            FrameCost(width, height, summary["translated"], _session(report), Stages(**summary["stages"]))
        )
        progress((place + 1) / len(sizes))
    return tuple(costs)


def frames_text(costs: tuple[FrameCost, ...]) -> str:
    """A table for people."""
    columns = "".join(f"{name:>9}" for name in ("decode", "pre", "network", "post", "encode"))
    head = f"{'median ms':14}{columns}{'all but net':>13}{'pre + post':>13}"
    return "\n".join([f"`getgan run` on PNG files, {costs[0].session}", head, *(c.text() for c in costs)])


def starts_text(starts: Starts) -> str:
    """Rows for people."""
    rows = (
        ("process start to first picture", starts.first_picture, "s", 2),
        ("its peak memory", starts.peak_mb, "MB", 0),
        ("getgan --help", starts.help, "s", 2),
    )
    lines = [f"fresh processes, warm file cache, {starts.session}"]
    lines.append(f"{len(starts.help)} interleaved rounds{'':14}{'median':>12}{'min':>12}{'max':>12}")
    for name, values, unit, digits in rows:
        cells = "".join(
            f"{value:>{11 - len(unit)}.{digits}f} {unit}"
            for value in (statistics.median(values), min(values), max(values))
        )
        lines.append(f"{name:34}{cells}")
    return "\n".join(lines)


def _session(report: dict[str, object]) -> str:
    session = report["session"]
    assert isinstance(session, dict)
    return f"{session['version']} {session['precision']}, {session['threads']} threads"
