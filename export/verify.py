"""A bundle against the checkpoint that it claims to come from: every hash, then the gate once more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from getgan.errors import BundleError, DeviceError, ExportError
from getgan.export.bundle import Progress, pytorch_threads
from getgan.export.convert import FP32, Target
from getgan.export.firststeps import first_steps
from getgan.export.gate import Gate, judging_way
from getgan.export.graph import OnnxModel
from getgan.export.guardgate import GuardGate, Shown, guard_pictures
from getgan.export.guarding import fp32_run
from getgan.export.images import GateImage, gate_images, judged_size
from getgan.export.record import NOT_RUN, VariantRecord, record_from_json
from getgan.export.source import reopened
from getgan.printing import json_text
from getgan.runtime.backends import Unsuitable
from getgan.runtime.bundle import Bundle
from getgan.runtime.devices import available_cores, machine
from getgan.runtime.firstrun import first_run
from getgan.runtime.guard.load import guard_of
from getgan.runtime.guard.promise import guard_in_words
from getgan.runtime.images import image_from_bytes
from getgan.runtime.manifest import Variant
from getgan.runtime.metrics import max_error
from getgan.runtime.pixels import image_from_tensor, map_from_tensor
from getgan.runtime.selftest import golden_of

# Another PyTorch or another CPU may round a pixel the other way.
GOLDEN_LEVELS = 1


class Verdict(msgspec.Struct, frozen=True):
    """One variant of the bundle, judged again."""

    name: str
    result: Literal["passed", "failed", "not run"]
    record: VariantRecord


class VerifyReport(msgspec.Struct, frozen=True):
    """What a second look at a bundle found."""

    bundle: str
    checkpoint: str
    bytes_hashed: int
    golden_levels: int  # largest difference of a golden output to PyTorch's picture, 8-bit levels
    verdicts: tuple[Verdict, ...]
    guard: str  # in words
    reference: str = "PyTorch"

    @property
    def passed(self) -> bool:
        """Whether at least one variant was run here, and nothing that was run failed."""
        results = {verdict.result for verdict in self.verdicts}
        return self.golden_levels <= GOLDEN_LEVELS and "passed" in results and "failed" not in results

    def text(self) -> str:
        """For a terminal."""
        lines = [
            f"bundle    {self.bundle}: {self.bytes_hashed:,} bytes, every hash is right",
            f"golden    {self.golden_levels} levels from {self.reference}'s pictures, "
            f"wanted {GOLDEN_LEVELS} at most",
        ]
        lines.append(f"guard     {self.guard}")
        for verdict in self.verdicts:
            reason = f": {verdict.record.reason}" if verdict.record.reason else ""
            lines.append(f"{verdict.name:9s} {verdict.result}{reason}")
        if self.passed:
            lines.append("verified  yes")
        elif all(verdict.result == "not run" for verdict in self.verdicts):
            lines.append("verified  no: nothing of it runs here; verify it on another machine")
        else:
            lines.append("verified  no: export the bundle again")
        return "\n".join(lines)

    def to_json(self) -> str:
        """For a machine, with `passed`."""
        document = {"passed": self.passed, **msgspec.to_builtins(self)}
        return json_text(document)


def verify_bundle(
    bundle_path: Path, checkpoint_path: Path, progress: Progress, threads: int = 0
) -> VerifyReport:
    """Check every hash, then judge the graph of each accepted variant here, against the checkpoint.

    By the limits of this version, whatever the manifest says. BundleError for a damaged bundle, for one of
    another checkpoint, or for a graph that loops or fills the memory. A figure that fails is in the report,
    and no error.
    """
    progress("hashing the bundle", 0.0)
    bundle = Bundle.open(bundle_path)
    hashed = bundle.verify()
    manifest = bundle.manifest
    source = reopened(checkpoint_path, manifest, bundle_path, threads)
    reference, contract = source.reference, source.contract
    _check_record(bundle)
    verdicts: list[Verdict] = []
    with pytorch_threads(threads):
        progress(f"translating the gate's images with {reference.about}", 0.1)
        images = gate_images(contract)
        gate = Gate(reference, contract, images, threads)
        _guard(bundle, gate, images)
        golden = _golden_levels(bundle, gate)
        for place, variant in enumerate(manifest.variants):
            progress(f"judging {variant.name}", 0.3 + 0.7 * place / len(manifest.variants))
            record = _judge(bundle, variant, gate)
            ran: Literal["failed", "not run"] = "not run" if record.backend == NOT_RUN else "failed"
            verdicts.append(Verdict(variant.name, "passed" if record.accepted else ran, record))
    progress("verified", 1.0)
    return VerifyReport(
        str(bundle_path),
        str(checkpoint_path),
        hashed,
        golden,
        tuple(verdicts),
        guard_in_words(manifest.guard),
        reference.about,
    )


def _check_record(bundle: Bundle) -> None:
    """BundleError unless quality.json is the record of these variants: both state what the gate found."""
    manifest = bundle.manifest
    data = bundle.read(manifest.quality)
    try:
        record = record_from_json(data)
    except BundleError as error:
        raise BundleError(f"{bundle.path}: {error}") from error
    recorded = {each.name: each.figures for each in record.variants if each.accepted}
    stated = {each.name: each.figures for each in manifest.variants}
    if record.source_sha256 != manifest.model.source_sha256 or recorded != stated:
        raise BundleError(
            f"{bundle.path}: found a manifest and a {manifest.quality} that state different figures or "
            "checkpoints; wanted the record of this very bundle: export it again"
        )


def _guard(bundle: Bundle, gate: Gate, images: Sequence[GateImage]) -> None:
    """Give the gate the bundle's guard; by the FP32 graph, if that is there and runs here."""
    guard, record = guard_of(bundle), bundle.manifest.guard
    fp32 = [each for each in bundle.manifest.variants if each.name == FP32.name]
    if guard is None or record is None or not fp32:
        return
    threads = gate.threads or available_cores()
    refused = Shown(record.refused, image_from_bytes(bundle.read(record.refused)))
    try:
        # Once elsewhere, as below.
        first_run(bundle, golden_of(bundle), fp32[0], judging_way(fp32[0].hint), machine(), threads)
        with fp32_run(_model(bundle, fp32[0]), threads) as run:
            shown = [*guard_pictures(images, ()), refused]
            gate.guard = GuardGate(guard, shown, run, gate.contract.range)
        gate.guard.must_refuse([refused])
    except (Unsuitable, DeviceError):
        return  # which the verdict on fp32 says
    except ExportError as error:
        raise BundleError(f"{bundle.path}: {error}") from error


def _judge(bundle: Bundle, variant: Variant, gate: Gate) -> VariantRecord:
    """By the graph that the variant names, whatever it is called."""
    model = _model(bundle, variant)
    fp32 = [each for each in bundle.manifest.variants if each.name == FP32.name]
    try:
        if variant.hint == "fp16":
            # With fp32's, which runs so to find the node behind a refusal.
            first_steps(bundle, *dict.fromkeys((variant, *fp32)))
        else:
            way = judging_way(variant.hint)
            threads = gate.threads or available_cores()
            # Once elsewhere: a stranger's graph may loop for ever, or fill the memory.
            first_run(bundle, golden_of(bundle), variant, way, machine(), threads)
    except Unsuitable as reason:
        return VariantRecord(variant.name, False, NOT_RUN, str(reason))
    except DeviceError as error:
        return VariantRecord(variant.name, False, "in a process of its own", str(error))
    target = Target(variant.name, variant.hint, variant.plan)
    return gate.judge(target, model, *(_model(bundle, each) for each in fp32))


def _model(bundle: Bundle, variant: Variant) -> OnnxModel:
    model = OnnxModel(bundle.read(variant.graph), bundle.manifest.outputs_of(variant))
    try:
        model.proto  # noqa: B018  # parsed here, so that it is this file's fault
    except Exception as error:  # protobuf's, which has no types
        raise BundleError(f"{bundle.path}: {variant.graph} is no ONNX graph; export it again") from error
    return model


def _golden_levels(bundle: Bundle, gate: Gate) -> int:
    """Golden outputs and maps against PyTorch's of the golden inputs, which are no larger than the gate's."""
    largest, most = 0, judged_size(gate.contract)
    for golden in bundle.manifest.golden:
        image = image_from_bytes(bundle.read(golden.input))
        if max(image.shape[:2]) > most:
            size = f"found {golden.input} of {image.shape[1]}x{image.shape[0]} pixels"
            raise BundleError(f"{bundle.path}: {size}; wanted {most}x{most} at most: export it again")
        outputs = gate.translate(image)
        pairs = [(golden.output, image_from_tensor(outputs["face"], gate.contract.range))]
        if golden.occlusion and "occlusion" in outputs:
            hidden = map_from_tensor(outputs["occlusion"])
            pairs.append((golden.occlusion, np.repeat(hidden[:, :, None], 3, axis=2)))
        for name, wanted in pairs:
            found = image_from_bytes(bundle.read(name))
            if found.shape != wanted.shape:
                shapes = f"found {name} of {found.shape} for an input of {image.shape}"
                raise BundleError(f"{bundle.path}: {shapes}; export the bundle again")
            largest = max(largest, max_error(found, wanted))
    return largest
