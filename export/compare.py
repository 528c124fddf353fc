"""One picture of one variant against the reference: every output, its shape, its values and its error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from getgan.contract import Range, half_width
from getgan.export.graph import Array
from getgan.export.images import GateImage
from getgan.export.record import ImageRecord, OutputRecord
from getgan.models.perceptual import MIN_SIZE, PerceptualDistance
from getgan.models.tensors import tensor_from_images as torch_from_images
from getgan.runtime.manifest import EXTENT, FEATURES, Limits
from getgan.runtime.outputs import value_fault
from getgan.runtime.pixels import image_from_tensor, tensor_from_images
from getgan.runtime.quality import difference, missed

Run = Callable[[Array], dict[str, Array]]  # float32 (N, 3, H, W) -> every output by name

HARD_MAP = 1e-3  # of a hard picture, a quarter of a level


@dataclass(frozen=True, eq=False)
class Expected:
    """What the reference makes of one picture."""

    image: GateImage
    input: NDArray[np.float32]  # (1, 3, H, W)
    outputs: Mapping[str, Array]  # float32, see OnnxModel
    picture: NDArray[np.uint8]  # (H, W, 3), the face
    range: Range  # of pictures in outputs


class Comparison:
    """Judges outputs; the perceptual distance is loaded when it is first needed."""

    def __init__(self) -> None:
        self._distance: PerceptualDistance | None = None

    def image(
        self, limits: Limits, expected: Expected, found: Mapping[str, Array], undetermined: str
    ) -> ImageRecord:
        """The record of one picture, judged by the limits.

        undetermined: why no picture is the right one here, so that only shape, finiteness and range count.
        """
        faults = {name: _fault(name, found.get(name), expected) for name in expected.outputs}
        failures = [fault for fault in faults.values() if fault]
        others = []
        for name, right in expected.outputs.items():
            if name != "face":
                error = None if faults[name] else _error(name, found[name], right, expected.range)
                others.append(OutputRecord(name, *_figures(error)))
                if error is not None and not undetermined:
                    failures += _missed(limits, name, found[name], expected)
        seen = error = perceptual = None
        if not faults["face"]:
            error = _error("face", found["face"], expected.outputs["face"], expected.range)
            picture = image_from_tensor(found["face"][0], expected.range)
            seen = difference(picture, expected.picture)
            if not undetermined:
                perceptual = self._perceptual(expected.picture, picture)
                failures += _missed(limits, "face", found["face"], expected)
        height, width = expected.picture.shape[:2]
        largest, mean = _figures(error)
        return ImageRecord(
            name=expected.image.name,
            kind=expected.image.kind,
            height=height,
            width=width,
            max_error=largest,
            mean_error=mean,
            max_levels=None if seen is None else seen.max_levels,
            psnr=None if seen is None or np.isinf(seen.psnr) else seen.psnr,
            ssim=None if seen is None else seen.ssim,
            perceptual=perceptual,
            failures=tuple(failures),
            undetermined=undetermined,
            others=tuple(others),
        )

    def _perceptual(self, right: NDArray[np.uint8], picture: NDArray[np.uint8]) -> float | None:
        """Shift-tolerant LPIPS of the 8-bit pictures; None where they are too small for it."""
        if min(picture.shape[:2]) < MIN_SIZE:
            return None
        if np.array_equal(picture, right):
            return 0.0
        if self._distance is None:
            self._distance = PerceptualDistance.load()
        pair = [torch_from_images(each[None]) for each in (picture, right)]
        with torch.no_grad():
            return float(self._distance.distance(*pair)[0])


def run_on_frames(run: Run, value_range: Range) -> Run:
    """A graph of frames, as if it took tensors; an output of another type is left out.

    The limits are for pictures and a map: what is lost by whole levels counts against the map.
    """

    def through(images: Array) -> dict[str, Array]:
        found = run(np.stack([image_from_tensor(image, value_range) for image in images]))
        tensors = {name: found[name] for name in (EXTENT, FEATURES) if name in found}
        for name, levels in found.items():
            if levels.dtype == np.uint8 and name == "occlusion":
                tensors[name] = levels[:, None] / np.float32(255.0)
            elif levels.dtype == np.uint8 and levels.ndim == 4 and levels.shape[3] == 3:
                tensors[name] = tensor_from_images(list(levels), value_range)
        return tensors

    return through


def with_extent(expected: Expected) -> Expected:
    """What a graph of frames must give besides."""
    face = expected.outputs["face"].reshape(len(expected.input), -1)
    extent = np.stack([face.min(axis=1), face.max(axis=1)], axis=1)
    return replace(expected, outputs={**expected.outputs, EXTENT: extent})


def largest_error(found: Mapping[str, Array], right: Mapping[str, Array], value_range: Range) -> float:
    """Over all outputs, as `_error`; NaN if any value is NaN or infinite, or a shape is another one."""
    if any(name not in found or found[name].shape != value.shape for name, value in right.items()):
        return float("nan")
    # Not Python's max: it keeps whatever number stands before a NaN.
    worst = np.max([_error(name, found[name], value, value_range).max() for name, value in right.items()])
    return float(worst) if np.isfinite(worst) else float("nan")


def _error(name: str, found: Array, right: Array, value_range: Range) -> Array:
    """Pixel by pixel; of a picture as if it were in [-1, 1], for which the limits are stated."""
    error: Array = np.abs(found - right)
    return error if name == "occlusion" else error / half_width(value_range)


def _fault(name: str, found: Array | None, expected: Expected) -> str:
    """What makes an output unfit to be compared, in words."""
    right = expected.outputs[name]
    if found is None or found.shape != right.shape:
        what = "no output" if found is None else f"an output of shape {found.shape}"
        return f"found {what} for {name}, wanted {right.shape}"
    return value_fault(name, found, expected.range)


def _figures(error: Array | None) -> tuple[float | None, float | None]:
    return (None, None) if error is None else (float(error.max()), float(error.mean()))


def _missed(limits: Limits, name: str, found: Array, expected: Expected) -> tuple[str, ...]:
    """Limits that an output does not keep; the error branch's picture has the face's."""
    error = float(_error(name, found, expected.outputs[name], expected.range).max())
    # Hard pictures are judged as pictures; docs/bundle-format.md says why.
    hard = expected.image.kind == "hard"
    if name == "occlusion":
        limit = max(limits.occlusion, HARD_MAP) if hard else limits.occlusion
        return () if error <= limit else (f"occlusion map off by {error:.1e}, wanted at most {limit:.0e}",)
    if name == EXTENT:
        # Levels that are n apart are rounded from values that are less than n + 1 apart.
        limit = 2.0 / 255.0 * ((limits.max_levels or 0) + 1)
        return () if error <= limit else (f"extent off by {error:.1e}, wanted at most {limit:.0e}",)
    right = image_from_tensor(expected.outputs[name][0], expected.range)
    seen = difference(image_from_tensor(found[0], expected.range), right)
    found_missed = missed(limits, seen, 0.0 if hard else error)
    return found_missed if name == "face" else tuple(f"{name}: {each}" for each in found_missed)
