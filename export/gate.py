"""The gate: every output in every precision against the reference, as it will run; the worst image counts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import msgspec
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from getgan.contract import Contract, half_width
from getgan.errors import ConfigError, DeviceError, ExportError
from getgan.export.compare import Comparison, Expected, Run, largest_error, run_on_frames, with_extent
from getgan.export.convert import Target
from getgan.export.diagnosis import diagnose, in_words
from getgan.export.graph import INPUT, Array, OnnxModel
from getgan.export.guardgate import GuardGate
from getgan.export.images import GateImage
from getgan.export.record import NOT_RUN, ImageRecord, ShapeRecord, VariantRecord
from getgan.export.reference import Reference
from getgan.export.steps import StepRunner
from getgan.runtime.backends import Candidate, Engine, Graph, Unsuitable
from getgan.runtime.backends.catalog import backend_of, candidates
from getgan.runtime.devices import available_cores, machine
from getgan.runtime.geometry import resize
from getgan.runtime.manifest import Figures, Precision
from getgan.runtime.metrics import SSIM_WINDOW
from getgan.runtime.pixels import image_from_tensor, tensor_from_images
from getgan.runtime.quality import THRESHOLDS, difference, missed

# How many times the error of the reference's own rounding that of a right graph can be: at 32x32 the two are
# draws from one lot, and of getgan-256's twelve pictures the ratio is 0.4 to 4.6, eleven times 2.3 or less.
ROUNDING = 4.0


class Gate:
    """Holds the reference's outputs for the gate's pictures, and judges graphs against them."""

    def __init__(
        self, reference: Reference, contract: Contract, images: Sequence[GateImage], threads: int = 0
    ) -> None:
        if any(min(image.pixels.shape[:2]) < SSIM_WINDOW for image in images):
            raise ExportError(
                f"this generator takes {contract.size}x{contract.size} only; "
                f"the gate wants {SSIM_WINDOW} pixels or more each way: train it at a larger size"
            )
        self.reference, self.contract, self.threads = reference, contract, threads
        self.expected = [self._expected(image) for image in images]
        self.guard: GuardGate | None = None  # set once the FP32 graph is accepted
        self._undetermined: dict[str, str] = {}
        self._comparison = Comparison()

    def judge(self, target: Target, model: OnnxModel, fp32: OnnxModel | None = None) -> VariantRecord:
        """The record of a target's graph; with the FP32 graph a refusal in FP16 names the node."""
        if target.hint == "fp16":  # which no library computes on a CPU; steps.py says why
            return self._judge_nodes(target, model, fp32)
        try:
            way = judging_way(target.hint)
        except Unsuitable as reason:
            return VariantRecord(target.name, False, NOT_RUN, str(reason))
        try:
            graph = Graph(lambda: model.data, way.precision, INPUT, model.outputs, frames=target.plan.frames)
            with closing(backend_of(way).open(graph, way, self.threads or available_cores())) as engine:
                record = _changed(self._judge(target, engine.infer), backend=_about(engine))
                record = self._judge_other_shapes(target, engine.infer, record)
                return self._judge_guard(target, engine.infer, record)
        except Unsuitable as reason:
            return VariantRecord(target.name, False, NOT_RUN, str(reason))
        except DeviceError as error:
            return VariantRecord(target.name, False, way.backend, str(error))

    def _judge_nodes(self, target: Target, model: OnnxModel, fp32: OnnxModel | None) -> VariantRecord:
        """Node by node, with every value rounded."""
        about = f"onnxruntime {ort.__version__}, CPUExecutionProvider, node by node, values rounded to FP16"
        try:
            run = StepRunner(model, self.threads).run
            record = self._judge_guard(target, run, self._judge(target, run))
        except ExportError as error:
            return VariantRecord(target.name, False, about, str(error))
        record = _changed(record, backend=about)
        right = not any(image.failures for image in record.images)  # refused for the guard's verdicts, or not
        if right or fp32 is None or target.plan.frames == "uint8":  # whose values are in levels
            return record
        worst = self._worst(record)
        why = diagnose(fp32, model, target.plan.kept, worst.input, worst.image.name, self.threads)
        return _changed(record, reason=in_words(why, [record.reason]))

    def _judge_other_shapes(self, target: Target, run: Run, record: VariantRecord) -> VariantRecord:
        """The record with other batches and sizes; where values are judged, that is in FP32, not pictures."""
        limit = target.limits.max_error
        if limit is None or not record.accepted:
            return record
        shapes = tuple(self._other_shapes(run, limit))
        for shape in shapes:
            if shape.max_error is None or not shape.max_error <= limit:
                at = f"batch {shape.batch}, {shape.height}x{shape.width}"
                found = "max error NaN" if shape.max_error is None else f"max error {shape.max_error:.2e}"
                reason = f"{found} at {at}, wanted at most {limit:.0e}"
                return _changed(record, accepted=False, reason=reason, shapes=shapes)
        return _changed(record, shapes=shapes)

    def _judge_guard(self, target: Target, run: Run, record: VariantRecord) -> VariantRecord:
        """The record with the guard's scores; a picture without a right answer has no right score."""
        if self.guard is None or not record.accepted:
            return record
        if target.plan.frames == "uint8":
            run = run_on_frames(run, self.contract.range)
        scores, reason = self.guard.judge(run, self._undetermined)
        return _changed(record, guard=scores, accepted=not reason, reason=reason)

    def translate(self, image: NDArray[np.uint8]) -> dict[str, Array]:
        """The reference's outputs for uint8 (H, W, 3) RGB, (C, H', W') each."""
        tensor = tensor_from_images([image], self.contract.range)
        return {name: found[0] for name, found in self.reference.infer(tensor).items()}

    def _expected(self, image: GateImage) -> Expected:
        value_range = self.contract.range
        tensor = tensor_from_images([image.pixels], value_range)
        outputs = self.reference.infer(tensor)
        if not all(np.isfinite(output).all() for output in outputs.values()):
            raise ExportError(
                f"{self.reference.about}'s own picture of '{image.name}' is not finite; wanted a trained "
                "generator: check the checkpoint with getgan evaluate"
            )
        picture = image_from_tensor(outputs["face"][0], value_range)
        return Expected(image, tensor, outputs, picture, value_range)

    def _judge(self, target: Target, run: Run) -> VariantRecord:
        records = []
        wanted = self.expected
        if target.plan.frames == "uint8":
            run, wanted = run_on_frames(run, self.contract.range), list(map(with_extent, wanted))
        for expected in wanted:
            found, name = run(expected.input), expected.image.name
            known = self._undetermined.get(name, "")
            record = self._comparison.image(target.limits, expected, found, known)
            # Only a hard picture may have no right answer: of a real one every backend must give PyTorch's.
            if record.failures and not known and expected.image.kind == "hard":
                self._look_at_rounding(expected)
                if known := self._undetermined.get(name, ""):
                    record = self._comparison.image(target.limits, expected, found, known)
            records.append(record)
        figures = _worst_figures([record for record in records if not record.undetermined])
        failed = [record for record in records if record.failures]
        if not failed and figures is None:
            raise ExportError("every gate image is undetermined; add pictures of your own with --images")
        reason = ""
        if failed:
            worst = min(failed, key=_badness)
            others = f" (and {len(failed) - 1} more images)" if len(failed) > 1 else ""
            reason = f"{'; '.join(worst.failures)} on '{worst.name}'{others}"
        return VariantRecord(target.name, not failed, "", reason, figures, tuple(records))

    def _look_at_rounding(self, expected: Expected) -> None:
        """Note it if rounding decides this picture: the reference's FP32 and FP64 pictures differ.

        A flat picture is such a one: behind a norm without variance there is nothing but rounding noise,
        times 316 at each norm. No backend can be right or wrong there. PyTorch may round all its pixels alike
        and so agree with itself; then the input, moved by no more than FP32 rounds, gives another picture in
        FP64: by 11 levels with a random pix2pix net, and by 0.0003 where the picture is none of these.
        """
        exact = self.reference.infer_exactly(expected.input)["face"][0]
        step = self.reference.step * half_width(self.contract.range)
        spread = np.random.default_rng(0).uniform(-step, step, expected.input.shape)
        moved = self.reference.infer_exactly((expected.input + spread).astype(np.float32))["face"][0]
        if not (np.isfinite(exact).all() and np.isfinite(moved).all()):
            return
        exact_picture, moved_picture = (
            image_from_tensor(each.astype(np.float32), self.contract.range) for each in (exact, moved)
        )
        moved_by = f"{self.reference.step:.0e}".replace("e-0", "e-")
        about, exactly = self.reference.about, self.reference.exactly
        for what, first, second in (
            (f"{about}'s FP32 and {exactly} pictures", expected.picture, exact_picture),
            (
                f"{about}'s {exactly} pictures of it and of it with {moved_by} added",
                exact_picture,
                moved_picture,
            ),
        ):
            seen = difference(first, second)
            if missed(THRESHOLDS["fp32"], seen):
                name = expected.image.name
                self._undetermined[name] = f"{what} differ by {seen.max_levels} levels ({seen.psnr:.1f} dB)"
                return

    def _other_shapes(self, run: Run, limit: float) -> list[ShapeRecord]:
        """Two images at once; another aspect; the smallest legal size, and that less is refused."""
        size, contract = self.expected[0].image.pixels.shape[0], self.contract
        step = contract.multiple_of
        wanted = [(2, size, size)]
        if not contract.fixed:
            half, third = max(contract.min_size, size // 2 // step * step), size * 3 // 4 // step * step
            wanted = [(2, max(third, contract.min_size), half), (1, contract.min_size, contract.min_size)]
            self._check_smaller_is_refused()
        usable = [e.image.pixels for e in self.expected if e.image.name not in self._undetermined]
        records = []
        for batch, height, width in wanted:
            error = self._error_at(run, usable, (batch, height, width), limit)
            records.append(ShapeRecord(batch, height, width, None if np.isnan(error) else error))
        return records

    def _error_at(
        self, run: Run, usable: Sequence[NDArray[np.uint8]], shape: tuple[int, int, int], limit: float
    ) -> float:
        """The largest error of a batch of this shape whose answer is not the rounding's.

        At 32x32 a trunk at H/16 has four places, and its norms divide by next to nothing: PyTorch's own FP32
        can be further from FP64 than the limit then, by up to 7e-4 with getgan-256. No graph is right or
        wrong about such pictures, so the next ones are asked; of none that is certain, the least error.
        """
        batch, height, width = shape
        found = []
        for first in range(len(usable)):
            pictures = [resize(usable[(first + n) % len(usable)], height, width) for n in range(batch)]
            pictures[-1] = np.ascontiguousarray(pictures[-1][:, ::-1])  # never the same picture twice
            tensor = tensor_from_images(pictures, self.contract.range)
            expected = self.reference.infer(tensor)
            error = largest_error(run(tensor), expected, self.contract.range)
            if error <= limit:
                return error
            exact = self.reference.infer_exactly(tensor)
            if not ROUNDING * largest_error(expected, exact, self.contract.range) > limit:
                return error
            found.append(error)
        return min(found)

    def _check_smaller_is_refused(self) -> None:
        # ONNX Runtime pads by reflection beyond the picture without a word, and gives zeros.
        smaller = self.contract.min_size - self.contract.multiple_of
        if smaller <= 0:
            return
        try:
            self.reference.infer(np.zeros((1, 3, smaller, smaller), np.float32))
        except ConfigError:
            return
        raise ExportError(f"the generator takes {smaller}x{smaller}, below its min_size; report this")

    def _worst(self, record: VariantRecord) -> Expected:
        worst = min((image for image in record.images if image.failures), key=_badness)
        return next(expected for expected in self.expected if expected.image.name == worst.name)


def judging_way(hint: Precision) -> Candidate:
    """The first way of the CPU that computes in this precision and is installed: what a session takes here.

    Unsuitable, with the reasons, if there is none.
    """
    reasons = []
    for way in candidates(["cpu"]):
        if way.precision == hint:
            try:
                backend_of(way).check(way, machine())
            except Unsuitable as reason:
                reasons.append(str(reason))
            else:
                return way
    raise Unsuitable("; ".join(reasons))


def _about(engine: Engine) -> str:
    """After an inference: library, version and how it ran; DeviceError if that was not as asked."""
    return f"{engine.version}, {engine.ran_on()}"


def _badness(record: ImageRecord) -> tuple[bool, float]:
    """The worst first: no figures at all, then the lowest PSNR."""
    return record.max_error is not None, np.inf if record.psnr is None else record.psnr


def _worst_figures(records: Sequence[ImageRecord]) -> Figures | None:
    """Each figure over all images, the worst one; None if there is no image, or one is not finite."""
    if not records or any(record.max_error is None for record in records):
        return None
    worst = min(records, key=_badness)
    seen = [record.perceptual for record in records if record.perceptual is not None]
    maps = [
        each.max_error
        for record in records
        for each in record.others
        if each.name == "occlusion" and each.max_error is not None
    ]
    return Figures(
        max_error=max(record.max_error or 0.0 for record in records),
        mean_error=max(record.mean_error or 0.0 for record in records),
        max_levels=max(record.max_levels or 0 for record in records),
        psnr=worst.psnr,
        ssim=min(1.0 if record.ssim is None else record.ssim for record in records),
        perceptual=max(seen) if seen else None,
        worst=worst.name,
        occlusion=max(maps) if maps else None,
    )


def _changed(record: VariantRecord, **changes: Any) -> VariantRecord:
    return msgspec.structs.replace(record, **changes)
