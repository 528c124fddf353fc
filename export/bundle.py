"""Checkpoint → bundle: graph, proof, precisions, gate, golden pictures, page; written whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from time import perf_counter

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
import torch

from getgan import __version__
from getgan.contract import Output
from getgan.errors import ExportError
from getgan.export.compare import Expected
from getgan.export.convert import FP32, FRAMES, TARGETS, Target, convert, more_exact
from getgan.export.facts import name_of
from getgan.export.features import with_features
from getgan.export.folder import check_output, move_into_place, temporary_folder, write_files
from getgan.export.fp16 import ALL_PARTS
from getgan.export.gate import Gate
from getgan.export.graph import OnnxModel
from getgan.export.guardfiles import FILE, NOT_CALIBRATED, REFUSED, Made, saved_guard
from getgan.export.guardgate import Shown
from getgan.export.guarding import Frames, guard_the_gate
from getgan.export.images import gate_images
from getgan.export.onnxports import NOTHING_STATED, OnnxOptions
from getgan.export.page import page
from getgan.export.record import NOT_RUN, QualityRecord, VariantRecord, json_from_record
from getgan.export.source import Source, open_source
from getgan.models.checkpoint import NOTHING_TOLD
from getgan.models.settings import Told
from getgan.printing import json_text
from getgan.runtime.bundle import SUFFIX, pack_bundle
from getgan.runtime.guard.promise import guard_in_words
from getgan.runtime.guard.statistics import bytes_from_statistics
from getgan.runtime.images import bytes_from_image
from getgan.runtime.manifest import (
    MANIFEST_NAME,
    Export,
    File,
    Golden,
    Manifest,
    Plan,
    Refused,
    Variant,
    json_from_manifest,
)
from getgan.runtime.pixels import map_from_tensor

Progress = Callable[[str, float], None]  # what is being done, share of the whole that is done
QUALITY_NAME = "quality.json"
PAGE_NAME = "index.html"


@dataclass(frozen=True)
class ExportOptions:
    """What goes into a bundle; `images` are the user's own for the gate, which are judged and not kept."""

    outputs: tuple[Output, ...] = ("face",)
    images: tuple[Path, ...] = ()
    calibration: Frames | None = None  # of the guard; None: what stands beside the checkpoint
    frames: bool = False  # also a variant that takes and gives uint8 frames
    overwrite: bool = False
    threads: int = 0  # of the CPU; 0 = all cores
    told: Told = NOTHING_TOLD  # what the checkpoint's keys do not tell
    onnx: OnnxOptions = NOTHING_STATED  # of an ONNX graph


class ExportReport(msgspec.Struct, frozen=True):
    """What was written, what was refused and why, and how long each part took."""

    bundle: str
    bytes: int
    manifest: Manifest
    seconds: dict[str, float]
    guard: str  # in words
    warnings: tuple[str, ...] = ()

    def text(self) -> str:
        """For a terminal."""
        manifest = self.manifest
        lines = [f"bundle    {self.bundle} ({self.bytes / 1e6:.1f} MB)"]
        for variant in manifest.variants:
            figures = variant.figures
            psnr = "equal pictures" if figures.psnr is None else f"{figures.psnr:.1f} dB"
            lines.append(
                f"{variant.name:9s} accepted on {variant.images} images; worst: {psnr}, "
                f"{figures.max_levels} levels, SSIM {figures.ssim:.5f} ({figures.worst})"
            )
            if more := [part for part in variant.plan.kept if part not in ALL_PARTS]:
                lines.append(f"{'':9s} refused until these were in FP32 too: {', '.join(more)}")
        lines += [f"{each.name:9s} refused: {each.reason}" for each in manifest.refused]
        lines.append(f"guard     {self.guard}")
        branch = manifest.export.branch
        if branch is not None and not branch.kept:
            lines.append(
                f"graph     {branch.operations_after} operations; {branch.operations_before} with the "
                f"{branch.name} branch, y_* equal bit for bit"
            )
        if manifest.model.sources:
            lines.append(f"settings  {manifest.model.notes}")
        parts = ", ".join(f"{name} {value:.1f} s" for name, value in self.seconds.items())
        lines.append(f"time      {sum(self.seconds.values()):.1f} s ({parts})")
        return "\n".join(lines)

    def to_json(self) -> str:
        """For a machine."""
        return json_text(self)


@dataclass(frozen=True, eq=False)
class Judged:
    """All that a bundle is made of."""

    source: Source
    outputs: tuple[Output, ...]
    graphs: dict[Plan, OnnxModel]
    export: Export
    records: dict[Target, VariantRecord]
    expected: tuple[Expected, ...]
    guard: Made | None = None
    refused: Shown | None = None  # by the guard, on every machine
    no_guard: str = ""  # why there is none
    warnings: tuple[str, ...] = ()

    def path(self, plan: Plan) -> str:
        """Of the plan's graph in the bundle, which is called as the first target with this plan."""
        return f"graphs/{next(target.name for target in self.records if target.plan == plan)}.onnx"


def export_bundle(
    checkpoint_path: Path, output: Path, options: ExportOptions, progress: Progress
) -> ExportReport:
    """Export, judge and write; a folder, or one file where output ends in .getgan.

    ExportError if the FP32 graph does not give PyTorch's pictures: nothing is written then. Another
    precision that fails is left out, with the reason in the report and in the manifest. On any failure,
    Ctrl-C too, what stood at output before is untouched. Equal checkpoints give equal graphs.
    """
    checkpoint_path, output = Path(checkpoint_path), Path(output)
    check_output(output, overwrite=options.overwrite)
    seconds: dict[str, float] = {}
    with pytorch_threads(options.threads):
        judged = _judge(checkpoint_path, options, progress, seconds)
    progress("writing", 0.95)
    with _timed(seconds, "writing"):
        files = _files(judged)
        manifest = _manifest(judged, name_of(checkpoint_path), files)
        files[PAGE_NAME] = page(manifest, judged.records.values()).encode()
        manifest = msgspec.structs.replace(manifest, files=_hashes(files))
        files = {MANIFEST_NAME: json_from_manifest(manifest), **files}
        with temporary_folder(output) as folder:
            write_files(folder, files)
            check_output(output, overwrite=options.overwrite)  # once more: a minute has passed
            if output.suffix == SUFFIX:
                pack_bundle(folder, output, replace=options.overwrite)
            else:
                move_into_place(folder, output)
    progress("written", 1.0)
    guard = judged.no_guard or guard_in_words(manifest.guard)
    size = sum(map(len, files.values()))
    return ExportReport(str(output), size, manifest, seconds, guard, judged.warnings)


def _judge(path: Path, options: ExportOptions, progress: Progress, seconds: dict[str, float]) -> Judged:
    progress("reading the checkpoint", 0.0)
    source = open_source(path, options.outputs, options.told, options.onnx, options.threads)
    reference, contract = source.reference, source.contract
    images = gate_images(contract, options.images)
    progress("exporting to ONNX", 0.02)
    with _timed(seconds, "ONNX"):
        fp32 = source.graph()
    saved = saved_guard(path, source.sha256)
    known = None if isinstance(saved, str) else saved
    wanted = options.calibration or known
    if wanted is not None:
        fp32 = with_features(fp32, contract)
    progress(f"translating the gate's images with {reference.about}", 0.15)
    with _timed(seconds, reference.about):
        gate = Gate(reference, contract, images, options.threads)
    progress("comparing with and without what the face does not need", 0.25)
    with _timed(seconds, "proof"):
        branch = source.prove(fp32, gate.expected)
    graphs: dict[Plan, OnnxModel] = {FP32.plan: fp32}
    made: Made | None = None
    refused: Shown | None = None
    records: dict[Target, VariantRecord] = {}
    targets = (*TARGETS, FRAMES) if options.frames else TARGETS
    for place, target in enumerate(targets):
        progress(f"judging {target.name}", 0.4 + 0.55 * place / len(targets))
        with _timed(seconds, target.name):
            chosen, record = _best(gate, target, graphs)
            records[chosen] = record
        if target is FP32 and not records[target].accepted:
            raise ExportError(
                f"the FP32 graph does not give {reference.about}'s pictures: {records[target].reason}; "
                "nothing was written: report this with the checkpoint"
            )
        if target is FP32 and wanted is not None:
            with _timed(seconds, "guard"):
                made, refused = guard_the_gate(gate, fp32, wanted, known, images, progress)
            assert gate.guard is not None
            records[target] = msgspec.structs.replace(records[target], guard=gate.guard.own())
    export = Export(
        getgan=__version__,
        torch=source.torch,
        onnx=onnx.__version__,
        onnxruntime=ort.__version__,
        opset=fp32.opset,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z"),
        branch=branch,
        filtered=fp32.filtered,
    )
    warnings = () if made is None else made.warnings
    if isinstance(saved, str) and wanted is None and saved != NOT_CALIBRATED:
        warnings = (f"the bundle has NO GUARD, any picture becomes a face: {saved}",)
    return Judged(
        source,
        options.outputs,
        graphs,
        export,
        records,
        tuple(gate.expected),
        made,
        refused,
        no_guard=f"none: {saved}" if isinstance(saved, str) and wanted is None else "",
        warnings=warnings,
    )


def _best(gate: Gate, target: Target, graphs: dict[Plan, OnnxModel]) -> tuple[Target, VariantRecord]:
    """The target as it is, or with more of it in FP32 if only so it is accepted."""
    record = _judged(gate, target, graphs)
    if record.accepted or record.backend == NOT_RUN:
        return target, record
    for other in more_exact(target):
        again = _judged(gate, other, graphs)
        if again.accepted:
            return other, again
    return target, record


def _judged(gate: Gate, target: Target, graphs: dict[Plan, OnnxModel]) -> VariantRecord:
    """The target's record; its graph is added where no target before had this plan."""
    fp32 = graphs[FP32.plan]
    try:
        if target.plan not in graphs:
            graphs[target.plan] = convert(fp32, target.plan)
    except ExportError as error:
        return VariantRecord(target.name, False, NOT_RUN, str(error))
    return gate.judge(target, graphs[target.plan], fp32)


def _files(judged: Judged) -> dict[str, bytes]:
    """Graphs, golden pictures and the quality record, by path."""
    accepted = [target.plan for target, record in judged.records.items() if record.accepted]
    files = {judged.path(plan): judged.graphs[plan].data for plan in accepted}
    for golden, expected in _golden(judged):
        files[golden.input] = bytes_from_image(expected.image.pixels, small=True)
        files[golden.output] = bytes_from_image(expected.picture, small=True)
        if golden.occlusion:
            hidden = map_from_tensor(expected.outputs["occlusion"][0])
            files[golden.occlusion] = bytes_from_image(np.repeat(hidden[:, :, None], 3, axis=2))
    if judged.guard is not None and judged.refused is not None:
        files[FILE] = bytes_from_statistics(judged.guard.calibration.statistics)
        files[REFUSED] = bytes_from_image(judged.refused.picture, small=True)
    record = QualityRecord(
        source_sha256=judged.source.sha256,
        limits={target.name: target.limits for target in judged.records},
        variants=tuple(judged.records.values()),
    )
    files[QUALITY_NAME] = json_from_record(record)
    return files


def _golden(judged: Judged) -> Iterator[tuple[Golden, Expected]]:
    """Pictures for every machine's self-test; never one whose right answer is rounding noise."""
    records = judged.records.values()
    unclear = {image.name for record in records for image in record.images if image.undetermined}
    chosen = [each for each in judged.expected if each.image.golden and each.image.name not in unclear]
    for number, expected in enumerate(chosen, start=1):
        name, about = expected.image.name, expected.image.about
        start = f"golden/{number:02d}-{name}"
        hidden = f"{start}.occlusion.png" if "occlusion" in expected.outputs else ""
        yield Golden(name, f"{start}.input.png", f"{start}.output.png", about, hidden), expected


def _manifest(judged: Judged, name: str, files: dict[str, bytes]) -> Manifest:
    """Complete but for the page, whose hash is not yet known."""
    variants, refused = [], []
    for target, record in judged.records.items():
        if record.accepted and record.figures is not None:
            variant = Variant(
                name=target.name,
                graph=judged.path(target.plan),
                hint=target.hint,
                plan=target.plan,
                backend=record.backend,
                images=sum(not image.undetermined for image in record.images),
                figures=record.figures,
                limits=target.limits,
            )
            variants.append(variant)
        else:
            refused.append(Refused(target.name, record.reason))
    return Manifest(
        model=judged.source.model(name),
        contract=judged.source.contract,
        outputs=judged.outputs,
        export=judged.export,
        variants=tuple(variants),
        refused=tuple(refused),
        golden=tuple(golden for golden, _ in _golden(judged)),
        guard=None if judged.guard is None else judged.guard.record(),
        quality=QUALITY_NAME,
        page=PAGE_NAME,
        files=_hashes(files),
    )


def _hashes(files: dict[str, bytes]) -> dict[str, File]:
    return {name: File(len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()}


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = perf_counter()
    yield
    seconds[name] = round(perf_counter() - start, 2)


@contextmanager
def pytorch_threads(count: int) -> Iterator[None]:
    """PyTorch with that many threads; 0 leaves it alone."""
    before = torch.get_num_threads()
    try:
        if count:
            torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)
