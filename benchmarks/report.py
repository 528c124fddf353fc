"""All that the runtime's benchmark found, beside its targets, as text and as JSON."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass

from getgan import __version__
from getgan.benchmarks.figures import Figure, figures_text
from getgan.benchmarks.footprint import FrameCost, Starts, frames_text, starts_text
from getgan.benchmarks.install import Installed
from getgan.benchmarks.latency import OURS, PEER, Latency
from getgan.printing import json_text
from getgan.runtime.devices import BF16_FLAGS, Machine

QUIET_LOAD = 0.5  # programs that want the CPU before the start; with more, theirs is in the figures too
# The targets are for a GET-GAN as large as a ResNet-9 at this width, size and number of threads.
NGF, SIZE, THREADS = 64, 256, 2
FASTER_BF16 = 2.0  # times plain ONNX Runtime
FASTER_FP32 = 1.0
OVERHEAD = 5.0  # %
FIRST_PICTURE_S, PEAK_MB, HELP_S = 2.0, 300.0, 0.3
EXPORT_S, EXPORT_MB = 90.0, 3000.0


@dataclass(frozen=True)
class ExportCost:
    """`getgan export` with its gate, in a fresh process."""

    seconds: float
    peak_mb: float
    refused: tuple[str, ...]  # variants


@dataclass(frozen=True)
class RuntimeReport:
    """All measurements of one run; seconds and MB (10^6 bytes) unless a name says otherwise."""

    network: str  # in words
    bundle_sha256: str
    comparable: bool  # the network, size and number of threads are those that the targets are for
    size: int
    threads: int
    rounds: int
    machine: Machine
    load: float | None  # mean number of programs that wanted the CPU in the minute before; None = not known
    latency: Latency
    starts: Starts
    frames: tuple[FrameCost, ...]  # the network's own size first
    export: ExportCost | None  # None: a bundle was given
    install: Installed | None
    torch_mb: float | None  # PyTorch and what it needs; None: not installed
    install_note: str  # why it was not measured

    @property
    def figures(self) -> tuple[Figure, ...]:
        """The summary, each figure beside its target."""
        export = self.export
        no_export = "" if export else "a bundle was given; the export needs a checkpoint"
        export_note = f"gate refused {', '.join(export.refused)}" if export and export.refused else no_export
        own = self.frames[0]
        rest = (f"{cost.width}x{cost.height} {100 * cost.stages.overhead:.1f} %" for cost in self.frames[1:])
        torch = f"PyTorch here takes {self.torch_mb:.0f} MB more" if self.torch_mb is not None else ""
        return (
            *(self._speedup(name) for name in OURS),
            Figure(
                f"all but the network at {own.width}x{own.height}",
                "%",
                100 * own.stages.overhead,
                OVERHEAD,
                note=", ".join(rest),
            ),
            Figure(
                "  of it without reading and writing files",
                "%",
                100 * own.pipeline_share,
                note=own.session,
            ),
            Figure(
                "process start to first picture",
                "s",
                statistics.median(self.starts.first_picture),
                FIRST_PICTURE_S,
            ),
            Figure("first picture: peak memory", "MB", max(self.starts.peak_mb), PEAK_MB),
            Figure("getgan --help", "s", statistics.median(self.starts.help), HELP_S),
            Figure("export with gate", "s", export.seconds if export else None, EXPORT_S, note=export_note),
            Figure("export: peak memory", "MB", export.peak_mb if export else None, EXPORT_MB),
            Figure(
                "installed: getgan[cpu] with all it needs",
                "MB",
                self.install.mb if self.install else None,
                note=self.install_note or torch,
            ),
        )

    @property
    def passed(self) -> bool:
        """No judged figure misses its target."""
        return all(figure.passed is not False for figure in self.figures)

    def _speedup(self, name: str) -> Figure:
        """How much faster than plain ONNX Runtime, the median over the rounds."""
        speedups = self.latency.speedups(name)
        value = statistics.median(speedups) if speedups else None
        cases = {case.name: case for case in self.latency.cases}
        missing = cases[name].unavailable or cases[PEER].unavailable
        note = f"not offered here: {missing}" if missing else ""
        label = f"y_* {name} over {PEER}"
        if name == "openvino bf16":
            expected = bool(set(self.machine.flags or ()) & set(BF16_FLAGS))
            return Figure(label, "x", value, FASTER_BF16, at_least=True, expected=expected, note=note)
        if name == "openvino fp32":
            return Figure(label, "x", value, FASTER_FP32, at_least=True, note=note)
        # The same library on the same graph: 1.00 but for noise, so there is nothing to judge.
        return Figure(label, "x", value, note=note)

    def text(self) -> str:
        """Tables for people."""
        parts = [self._about(), self.latency.text(), frames_text(self.frames), starts_text(self.starts)]
        parts += [self.install.text()] if self.install else []
        parts.append(figures_text(self.figures))
        if not self.comparable:
            agreed = f"GET-GAN, ngf {NGF}, {SIZE}x{SIZE}, {THREADS} threads"
            parts[-1] += f"\nThe targets are for {agreed}: this was something else."
        return "\n\n".join(parts)

    def _about(self) -> str:
        found = self.machine
        flags = ", ".join(found.flags or ()) or found.flags_note
        libraries = ", ".join(f"{library.name} {library.version}" for library in found.libraries)
        lines = [
            f"network   {self.network}",
            f"machine   {found.cpu}, {found.cores} cores ({flags}), "
            f"{found.memory_mb or '?'} MB, {found.system}",
            f"software  getgan {__version__}, Python {found.python}, {libraries}",
        ]
        if self.load is not None and self.load > QUIET_LOAD:
            lines.append(
                f"warning   {self.load:.1f} programs wanted the CPU in the minute before the start; "
                "those that still ran are in the times"
            )
        return "\n".join(lines)

    def to_json(self) -> str:
        """Everything measured, for machines.

        `schema` 1, `getgan` (version), the fields of RuntimeReport, where records are objects and lists are
        arrays; and `figures`: name, unit, value (null = not measured), target (null = for information),
        at_least, expected, note, passed (null = not judged); `speedups`: by case, the peer's time over its
        own, round by round; `passed`: no judged figure misses its target.
        """
        document = {
            "schema": 1,
            "getgan": __version__,
            **asdict(self),
            "speedups": {name: self.latency.speedups(name) for name in OURS},
            "figures": [{**asdict(figure), "passed": figure.passed} for figure in self.figures],
            "passed": self.passed,
        }
        return json_text(document, indent=1)
