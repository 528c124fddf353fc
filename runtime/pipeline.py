"""Picture → face: any uint8 picture through a session and back, guarded, labelled, each stage timed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from getgan.contract import Contract
from getgan.errors import ConfigError, DataError
from getgan.runtime.geometry import Fit, Placement, check_size, lay, lift, placement, resize
from getgan.runtime.label import add_label
from getgan.runtime.outputs import shape_fault, value_fault
from getgan.runtime.pixels import image_from_tensor, map_from_tensor, tensor_from_images
from getgan.runtime.session import Session

OUTPUT_SIZES = ("input", "network")
# Both in 8-bit levels, as the largest standard deviation of the three channels. Speckle alone has 20 and
# more, and a generator that has collapsed gives less than 1. A flat input (the probe is off the skin) is not
# translated: normalisation divides by its spread, so rounding noise would come out (docs/bundle-format.md).
FLAT_OUTPUT = 1.0
FLAT_INPUT = 4.0


@dataclass(frozen=True)
class PipelineOptions:
    """How pictures are brought to the network and back."""

    size: int = 0  # pixels: about size * size of them reach the network; 0 = the contract's
    fit: Fit = "fit"
    label: bool = True  # False is for engineers only
    output_size: Literal["input", "network"] = "input"


@dataclass(frozen=True)
class Timings:
    """Seconds for one frame."""

    pre: float  # cut, scale, normalise
    network: float
    post: float  # guard, to 8 bit, scale back, label

    @property
    def total(self) -> float:
        """All three."""
        return self.pre + self.network + self.post


@dataclass(frozen=True)
class Result:
    """A translated frame."""

    image: NDArray[np.uint8] | None  # (H, W, 3) RGB, labelled; None = refused by the guard
    fault: str  # what was wrong with the output, in words; "" = nothing
    occlusion: NDArray[np.uint8] | None  # (H, W), 255 = hidden, the image's size before its label
    timings: Timings


class Pipeline:
    """Translates pictures with a session; the session stays the caller's to close."""

    def __init__(self, session: Session, contract: Contract, options: PipelineOptions | None = None) -> None:
        self.options = options or PipelineOptions()
        if self.options.output_size not in OUTPUT_SIZES:
            raise ConfigError(f"found output_size {self.options.output_size!r:.40}; wanted input or network")
        self.size = check_size(self.options.size, self.options.fit, contract)
        self._session = session
        self._contract = contract

    def translate(self, frames: Sequence[NDArray[np.uint8]]) -> list[Result]:
        """Translate uint8 (H, W, 3) RGB pictures of any sizes, each in its own right.

        The image has the frame's size ("crop": of its middle square), or a multiple of it where the label
        needs the room. A broken output gives a Result without image. DataError, before any frame is
        translated, for a picture that is too small, too long, or no uint8 (H, W, 3).
        """
        places = [self._placement(number, frame) for number, frame in enumerate(frames)]
        # One at a time: on a CPU a batch takes as long as its frames, and needs their memory at once.
        return [self._translate(frame, where) for frame, where in zip(frames, places, strict=True)]

    def _placement(self, number: int, frame: NDArray[np.uint8]) -> Placement:
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise DataError(f"frame {number} is {frame.dtype} {frame.shape}; wanted uint8 (H, W, 3) RGB")
        height, width = frame.shape[:2]
        return placement(height, width, self.size, self.options.fit, self._contract)

    def _translate(self, frame: NDArray[np.uint8], where: Placement) -> Result:
        start = time.perf_counter()
        view = lay(frame, where)
        spread = _spread(lift(view, where, "network"))  # without bars
        if spread < FLAT_INPUT:
            fault = f"the input is one flat colour (spread {spread:.2f} of 255 levels): nothing to translate"
            return Result(None, fault, None, Timings(time.perf_counter() - start, 0.0, 0.0))
        tensor = tensor_from_images([view], self._contract.range)
        ready = time.perf_counter()
        outputs = self._session.run(tensor)
        done = time.perf_counter()
        image = occlusion = None
        faults = (value_fault(name, array, self._contract.range) for name, array in outputs.items())
        fault = shape_fault(outputs, tensor.shape) or next(filter(None, faults), "")
        if not fault:
            small = image_from_tensor(outputs["face"][0], self._contract.range)
            fault = _flat(lift(small, where, "network"))
        if not fault:
            image = lift(small, where, self.options.output_size)
            if "occlusion" in outputs:
                occlusion = self._occlusion(outputs["occlusion"][0], where)
            if self.options.label:
                image = add_label(image)
        end = time.perf_counter()
        return Result(image, fault, occlusion, Timings(ready - start, done - ready, end - done))

    def _occlusion(self, occlusion: NDArray[np.float32], where: Placement) -> NDArray[np.uint8]:
        return lift(resize(map_from_tensor(occlusion), *where.canvas), where, self.options.output_size)


def _flat(image: NDArray[np.uint8]) -> str:
    """Whether the output shows nothing, though the input shows something."""
    spread = _spread(image)
    if spread >= FLAT_OUTPUT:
        return ""
    return f"the output is one flat colour (spread {spread:.2f} of 255 levels), the input is not"


def _spread(image: NDArray[np.uint8]) -> float:
    import cv2

    return float(cv2.meanStdDev(image)[1].max())
