"""The gate: every precision against PyTorch's FP32 on real and hard pictures; the worst one counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from getgan.errors import ConfigError, DeviceError, ExportError
from getgan.export.backends import Backend, OnnxRuntimeCpu, OpenVinoBf16, RoundedFp16
from getgan.export.diagnosis import diagnose, in_words
from getgan.export.graph import Array, OnnxModel
from getgan.export.images import GateImage, resized
from getgan.export.record import ImageRecord, Limits, ShapeRecord, VariantRecord
from getgan.export.trace import Inference
from getgan.models.checkpoint import Checkpoint
from getgan.models.perceptual import MIN_SIZE, PerceptualDistance
from getgan.models.tensors import tensor_from_images as torch_from_images
from getgan.runtime.manifest import Contract, Figures, Precision
from getgan.runtime.metrics import SSIM_WINDOW
from getgan.runtime.pixels import image_from_tensor, tensor_from_images
from getgan.runtime.quality import THRESHOLDS, difference, failures

RANGE_SLACK = 1e-3  # tanh in 16 bit may round to just above 1


@dataclass(frozen=True, eq=False)
class Reference:
    """What PyTorch makes of one picture."""

    image: GateImage
    input: NDArray[np.float32]  # (1, 3, H, W)
    output: NDArray[np.float32]  # (1, 3, H, W)
    picture: NDArray[np.uint8]  # (H, W, 3)


class Gate:
    """Holds PyTorch's pictures of one checkpoint, and judges graphs against them."""

    def __init__(
        self, checkpoint: Checkpoint, contract: Contract, images: Sequence[GateImage], threads: int = 0
    ) -> None:
        if any(min(image.pixels.shape[:2]) < SSIM_WINDOW for image in images):
            raise ExportError(
                f"this generator takes {contract.size}x{contract.size} only; "
                f"the gate wants {SSIM_WINDOW} pixels or more each way: train it at a larger size"
            )
        self.checkpoint, self.contract, self.threads = checkpoint, contract, threads
        self.generator = checkpoint.generator()
        self.references = [self._reference(image) for image in images]
        self._undetermined: dict[str, str] = {}
        self._distance: PerceptualDistance | None = None

    def judge_fp32(self, model: OnnxModel) -> VariantRecord:
        """ONNX Runtime on the whole graph, and on other batches and sizes."""
        backend = OnnxRuntimeCpu(model, self.threads)
        record = self._judge("fp32", backend, look_for_undetermined=True)
        if not record.accepted:
            return record
        shapes = self._other_shapes(model.outputs, backend)
        limit = THRESHOLDS["fp32"].max_error or 0.0
        wrong = [shape for shape in shapes if not shape.max_error <= limit]
        if not wrong:
            return _changed(record, shapes=tuple(shapes))
        at = f"batch {wrong[0].batch}, {wrong[0].height}x{wrong[0].width}"
        reason = f"max error {wrong[0].max_error:.2e} at {at}, wanted at most {limit:.0e}"
        return _changed(record, accepted=False, reason=reason, shapes=tuple(shapes))

    def judge_fp16(self, model: OnnxModel, fp32: OnnxModel) -> VariantRecord:
        """Node by node with every value rounded; a refusal names the node."""
        backend = RoundedFp16(model, self.threads)
        record = self._judge("fp16", backend)
        if record.accepted:
            return record
        worst = self._worst(record)
        why = diagnose(fp32, model, worst.input, worst.image.name, self.threads)
        return _changed(record, reason=in_words(why, [record.reason]))

    def judge_bf16(self, fp32: OnnxModel) -> VariantRecord:
        """OpenVINO on the FP32 graph; refused with the reason where it cannot run in bf16."""
        try:
            backend = OpenVinoBf16(fp32, self.threads)
        except DeviceError as error:
            return VariantRecord("bf16", False, "openvino", str(error))
        return self._judge("bf16", backend)

    def translate(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """PyTorch's picture of uint8 (H, W, 3) RGB, the same."""
        return image_from_tensor(self._output(tensor_from_images([image]))[0])

    def _output(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            return np.asarray(self.generator.translate(torch.from_numpy(tensor)).numpy())

    def _reference(self, image: GateImage) -> Reference:
        tensor = tensor_from_images([image.pixels])
        output = self._output(tensor)
        if not np.isfinite(output).all():
            raise ExportError(
                f"PyTorch's own picture of '{image.name}' is not finite; wanted a trained generator: "
                "check the checkpoint with getgan evaluate"
            )
        return Reference(image, tensor, output, image_from_tensor(output[0]))

    def _judge(
        self, precision: Precision, backend: Backend, *, look_for_undetermined: bool = False
    ) -> VariantRecord:
        records = []
        for reference in self.references:
            found = backend.run(reference.input)["face"]
            record = self._compare(precision, reference, found)
            # Only a hard picture may have no right answer: of a real one every backend must give PyTorch's.
            if record.failures and look_for_undetermined and reference.image.kind == "hard":
                self._look_at_rounding(reference)
                record = self._compare(precision, reference, found)
            records.append(record)
        figures = _worst_figures([record for record in records if not record.undetermined])
        failed = [record for record in records if record.failures]
        if not failed and figures is None:
            raise ExportError("every gate image is undetermined; add pictures of your own with --images")
        reason = ""
        if failed:
            worst = min(failed, key=lambda record: (record.max_error is not None, record.psnr or 0.0))
            others = f" (and {len(failed) - 1} more images)" if len(failed) > 1 else ""
            reason = f"{'; '.join(worst.failures)} on '{worst.name}'{others}"
        return VariantRecord(precision, not failed, backend.about, reason, figures, tuple(records))

    def _compare(self, precision: Precision, reference: Reference, found: Array) -> ImageRecord:
        image = reference.image
        height, width = image.pixels.shape[:2]
        undetermined = self._undetermined.get(image.name, "")
        base = dict(name=image.name, kind=image.kind, height=height, width=width, undetermined=undetermined)
        none = dict.fromkeys(("max_error", "mean_error", "max_levels", "psnr", "ssim", "perceptual"))
        if found.shape != reference.output.shape:
            wrong = f"found an output of shape {found.shape}, wanted {reference.output.shape}"
            return ImageRecord(**base, **none, failures=(wrong,))  # type: ignore[arg-type]  # all None
        broken = int((~np.isfinite(found)).sum())
        if broken:
            share = f"{broken / found.size:.1%} of the output is NaN or infinite"
            return ImageRecord(**base, **none, failures=(share,))  # type: ignore[arg-type]  # all None
        error = np.abs(found - reference.output)
        picture = image_from_tensor(found[0])
        seen = difference(picture, reference.picture)
        missed: tuple[str, ...] = ()
        if undetermined:
            if float(np.abs(found).max()) > 1.0 + RANGE_SLACK:
                missed = (f"output reaches {float(np.abs(found).max()):.3g}, wanted [-1, 1]",)
        else:
            # Hard pictures are judged as pictures; docs/bundle-format.md says why.
            float_error = 0.0 if image.kind == "hard" else float(error.max())
            missed = failures(precision, seen.max_levels, seen.psnr, seen.ssim, float_error)
        return ImageRecord(
            name=image.name,
            kind=image.kind,
            height=height,
            width=width,
            max_error=float(error.max()),
            mean_error=float(error.mean()),
            max_levels=seen.max_levels,
            psnr=None if np.isinf(seen.psnr) else seen.psnr,
            ssim=seen.ssim,
            perceptual=None if undetermined else self._perceptual(reference, picture),
            failures=missed,
            undetermined=undetermined,
        )

    def _perceptual(self, reference: Reference, picture: NDArray[np.uint8]) -> float | None:
        """Shift-tolerant LPIPS of the 8-bit pictures; None where they are too small for it."""
        if min(picture.shape[:2]) < MIN_SIZE:
            return None
        if np.array_equal(picture, reference.picture):
            return 0.0
        if self._distance is None:
            self._distance = PerceptualDistance.load()
        pair = [torch_from_images(each[None]) for each in (picture, reference.picture)]
        with torch.no_grad():
            return float(self._distance.distance(*pair)[0])

    def _look_at_rounding(self, reference: Reference) -> None:
        """Note it if PyTorch's own rounding decides this picture: FP32 and FP64 differ as pictures.

        A flat picture is such a one: behind a norm without variance there is nothing but rounding noise,
        times 316 at each norm. No backend can be right or wrong there.
        """
        generator = self.checkpoint.generator().double()
        with torch.no_grad():
            exact = generator.translate(torch.from_numpy(reference.input).double()).numpy()
        seen = difference(reference.picture, image_from_tensor(exact[0].astype(np.float32)))
        if failures("fp32", seen.max_levels, seen.psnr, seen.ssim):
            self._undetermined[reference.image.name] = (
                f"PyTorch's FP32 and FP64 pictures differ by {seen.max_levels} levels ({seen.psnr:.1f} dB)"
            )

    def _other_shapes(self, outputs: Sequence[Any], backend: Backend) -> list[ShapeRecord]:
        """Two images at once; another aspect; the smallest legal size, and that less is refused."""
        size, contract = self.references[0].image.pixels.shape[0], self.contract
        step = contract.multiple_of
        wanted = [(2, size, size)]
        if not contract.fixed:
            half, third = max(contract.min_size, size // 2 // step * step), size * 3 // 4 // step * step
            wanted = [(2, max(third, contract.min_size), half), (1, contract.min_size, contract.min_size)]
            self._check_smaller_is_refused()
        module = Inference(self.checkpoint.generator(), outputs).eval()
        usable = [r.image.pixels for r in self.references if r.image.name not in self._undetermined]
        records = []
        for batch, height, width in wanted:
            pictures = [resized(usable[n % len(usable)], height, width) for n in range(batch)]
            pictures[-1] = np.ascontiguousarray(pictures[-1][:, ::-1])  # never the same picture twice
            tensor = tensor_from_images(pictures)
            with torch.no_grad():
                expected = module(torch.from_numpy(tensor))
            found = backend.run(tensor)
            error = max(
                float(np.abs(found[name] - value.numpy()).max())
                if found[name].shape == value.shape
                else np.inf
                for name, value in zip(module.outputs, expected, strict=True)
            )
            records.append(ShapeRecord(batch, height, width, error))
        return records

    def _check_smaller_is_refused(self) -> None:
        # ONNX Runtime pads by reflection beyond the picture without a word, and gives zeros.
        smaller = self.contract.min_size - self.contract.multiple_of
        if smaller <= 0:
            return
        try:
            with torch.no_grad():
                self.generator.translate(torch.zeros(1, 3, smaller, smaller))
        except ConfigError:
            return
        raise ExportError(f"the generator takes {smaller}x{smaller}, below its min_size; report this")

    def _worst(self, record: VariantRecord) -> Reference:
        failed = [image for image in record.images if image.failures]
        worst = min(failed, key=lambda image: (image.max_error is not None, image.psnr or 0.0))
        return next(r for r in self.references if r.image.name == worst.name)


def limits() -> dict[Precision, Limits]:
    """The thresholds in force, for the record."""
    return {precision: Limits(**asdict(threshold)) for precision, threshold in THRESHOLDS.items()}


def _worst_figures(records: Sequence[ImageRecord]) -> Figures | None:
    """Each figure over all images, the worst one; None if there is no image, or one is not finite."""
    if not records or any(record.max_error is None for record in records):
        return None
    worst = min(records, key=lambda record: np.inf if record.psnr is None else record.psnr)
    seen = [record.perceptual for record in records if record.perceptual is not None]
    return Figures(
        max_error=max(record.max_error or 0.0 for record in records),
        mean_error=max(record.mean_error or 0.0 for record in records),
        max_levels=max(record.max_levels or 0 for record in records),
        psnr=worst.psnr,
        ssim=min(1.0 if record.ssim is None else record.ssim for record in records),
        perceptual=max(seen) if seen else None,
        worst=worst.name,
    )


def _changed(record: VariantRecord, **changes: Any) -> VariantRecord:
    return msgspec.structs.replace(record, **changes)
