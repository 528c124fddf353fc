"""The self-test at a session's start: a golden image must become the exporter's picture on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from getgan.errors import BundleError, ConfigError, DataError, DeviceError
from getgan.runtime.backends import Engine
from getgan.runtime.bundle import Bundle
from getgan.runtime.geometry import MAX_SIZE
from getgan.runtime.images import image_from_bytes
from getgan.runtime.manifest import Variant
from getgan.runtime.metrics import SSIM_WINDOW
from getgan.runtime.outputs import shape_fault, value_fault
from getgan.runtime.pixels import check_tensor, image_from_tensor, tensor_from_images
from getgan.runtime.quality import difference, missed, recorded_threshold


@dataclass(frozen=True)
class SelfTest:
    """How far this machine's picture of a golden image is from the exporter's."""

    image: str
    max_levels: int  # 8-bit levels
    psnr: float  # dB; inf = equal
    ssim: float
    seconds: float  # of the inference


@dataclass(frozen=True)
class GoldenPair:
    """A golden image and what the exporter made of it, uint8 (H, W, 3) RGB."""

    name: str
    input: NDArray[np.uint8]
    output: NDArray[np.uint8]


def golden_of(bundle: Bundle) -> GoldenPair:
    """The bundle's first golden pair; one is enough, since each costs an inference at every start."""
    golden = bundle.manifest.golden[0]
    pictures = []
    for name in (golden.input, golden.output):
        try:
            pictures.append(image_from_bytes(bundle.read(name)))
        except DataError as error:
            raise BundleError(
                f"{bundle.path}: golden image {name} {error}; export the bundle again"
            ) from error
    try:
        check_tensor(tensor_from_images(pictures[:1]), bundle.manifest.contract)
    except ConfigError as error:
        raise BundleError(f"{bundle.path}: golden image {golden.input}: {error}; export it again") from error
    sides = pictures[0].shape[:2]
    if pictures[0].shape != pictures[1].shape or min(sides) < SSIM_WINDOW or max(sides) > MAX_SIZE:
        shapes = f"{pictures[0].shape} -> {pictures[1].shape}"
        raise BundleError(
            f"{bundle.path}: found golden images of {shapes}; wanted one size, {SSIM_WINDOW} to {MAX_SIZE}"
        )
    return GoldenPair(golden.name, *pictures)


def self_test(engine: Engine, golden: GoldenPair, variant: Variant) -> tuple[str, SelfTest]:
    """Translate the golden image: what ran, and how far the picture is from the exporter's.

    DeviceError if it ran in another way than asked, or if any output is not what the gate recorded.
    """
    images = tensor_from_images([golden.input])
    start = time.perf_counter()
    outputs = engine.infer(images)
    seconds = time.perf_counter() - start
    provider = engine.ran_on()
    fault = shape_fault(outputs, images.shape) or _fault({n: a[0] for n, a in outputs.items()}, golden)
    if fault:
        raise DeviceError(f"golden image {golden.name}: {fault}")
    found = difference(image_from_tensor(outputs["face"][0]), golden.output)
    wrong = missed(recorded_threshold(variant.figures), found)
    if wrong:
        what = f"golden image {golden.name} comes out differently on this machine"
        raise DeviceError(f"{what}: {', '.join(wrong)}; run `getgan verify` on the bundle")
    return provider, SelfTest(golden.name, found.max_levels, found.psnr, found.ssim, seconds)


def _fault(outputs: Mapping[str, NDArray[np.float32]], golden: GoldenPair) -> str:
    """What is wrong with the values of any output (C, H, W), in words."""
    for name, array in outputs.items():
        if fault := value_fault(name, array):
            return fault
        # The right picture is known of the face only. Of another output it is known that a golden image has
        # parts that differ, so that one value everywhere is a branch that does not work.
        if float(array.min()) == float(array.max()):
            return f"the output {name} is {float(array.flat[0]):.3g} everywhere"
    return ""
