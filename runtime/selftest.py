"""The self-test at a session's start: a golden image must become the exporter's picture on this machine.

Of a bundle with a guard one more picture is shown, which the guard must refuse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from getgan.contract import MAX_SIZE, SIGNED, Range
from getgan.errors import BundleError, ConfigError, DataError, DeviceError
from getgan.runtime.answers import answers_of
from getgan.runtime.backends import Engine
from getgan.runtime.bundle import Bundle
from getgan.runtime.guard.judge import Guard
from getgan.runtime.guard.load import guard_of
from getgan.runtime.guard.tone import Picture
from getgan.runtime.images import image_from_bytes
from getgan.runtime.manifest import Limits, Variant
from getgan.runtime.metrics import SSIM_WINDOW
from getgan.runtime.pixels import check_frames
from getgan.runtime.quality import difference, limits_elsewhere, missed


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
    occlusion: NDArray[np.uint8] | None = None  # (h, w), 255 = hidden; None = the bundle has none
    range: Range = SIGNED  # of the network's pictures


@dataclass(frozen=True)
class Nonsense:
    """A picture that the bundle's guard must refuse, uint8 (H, W, 3) RGB."""

    guard: Guard
    picture: NDArray[np.uint8]
    range: Range


def nonsense_of(bundle: Bundle) -> Nonsense | None:
    """None: the bundle has no guard."""
    guard, record = guard_of(bundle), bundle.manifest.guard
    if guard is None or record is None:
        return None
    picture = _picture(bundle, record.refused)
    try:
        check_frames(picture[None], bundle.manifest.contract)
    except ConfigError as error:
        raise BundleError(f"{bundle.path}: {record.refused}: {error}; export it again") from error
    if max(picture.shape[:2]) > MAX_SIZE:
        raise BundleError(
            f"{bundle.path}: found {record.refused} of {picture.shape}; wanted {MAX_SIZE} at most"
        )
    return Nonsense(guard, picture, bundle.manifest.contract.range)


def golden_of(bundle: Bundle, index: int = 0) -> GoldenPair:
    """One of the bundle's golden pairs; a start needs the first, since each costs an inference."""
    golden, contract = bundle.manifest.golden[index], bundle.manifest.contract
    source, output = _picture(bundle, golden.input), _picture(bundle, golden.output)
    try:
        check_frames(source[None], contract)
    except ConfigError as error:
        raise BundleError(f"{bundle.path}: golden image {golden.input}: {error}; export it again") from error
    sides = source.shape[:2]
    if source.shape != output.shape or min(sides) < SSIM_WINDOW or max(sides) > MAX_SIZE:
        shapes = f"{source.shape} -> {output.shape}"
        raise BundleError(
            f"{bundle.path}: found golden images of {shapes}; wanted one size, {SSIM_WINDOW} to {MAX_SIZE}"
        )
    occlusion = _picture(bundle, golden.occlusion)[..., 0] if golden.occlusion else None
    return GoldenPair(golden.name, source, output, occlusion, contract.range)


def _picture(bundle: Bundle, name: str) -> NDArray[np.uint8]:
    try:
        return image_from_bytes(bundle.read(name))
    except DataError as error:
        raise BundleError(f"{bundle.path}: golden image {name} {error}; export the bundle again") from error


def self_test(engine: Engine, golden: GoldenPair, variant: Variant) -> tuple[str, SelfTest]:
    """Translate the golden image: what ran, and how far the picture is from the exporter's.

    DeviceError if it ran in another way than asked, or if any output is not what the gate recorded.
    """
    answers = answers_of(engine, golden.input[None], golden.range)
    provider = engine.ran_on()
    limits = limits_elsewhere(variant.figures)
    fault = answers.faults[0]
    if not fault and answers.occlusion is not None:
        fault = _map_fault(answers.occlusion[0], golden.occlusion, limits)
    if fault:
        raise DeviceError(f"golden image {golden.name}: {fault}")
    found = difference(answers.faces[0], golden.output)
    wrong = missed(limits, found)
    if wrong:
        what = f"golden image {golden.name} comes out differently on this machine"
        raise DeviceError(f"{what}: {', '.join(wrong)}; run `getgan verify` on the bundle")
    seconds = answers.ended - answers.began
    return provider, SelfTest(golden.name, found.max_levels, found.psnr, found.ssim, seconds)


def refuses(engine: Engine, nonsense: Nonsense) -> None:
    """DeviceError unless the guard, by this engine's features, refuses what it must."""

    def features(view: Picture) -> NDArray[np.float32]:
        found = answers_of(engine, view[None], nonsense.range).features
        wanted = (1, nonsense.guard.statistics.size)
        if found is None or found.shape != wanted:
            what = "none" if found is None else f"{found.shape}"
            raise DeviceError(f"the guard wants features {wanted}, the network gave {what}; it is another's")
        return np.asarray(found[0])

    picture = nonsense.picture
    verdict = nonsense.guard.judge(picture, features(picture), features, explain=False)
    if verdict.kind != "refused":
        raise DeviceError(
            f"the guard lets a picture pass on this machine that it must refuse (score {verdict.score:.2f}, "
            "the limit is 1): run `getgan verify` on the bundle"
        )


def _map_fault(found: NDArray[np.uint8], golden: NDArray[np.uint8] | None, limits: Limits) -> str:
    """What is wrong with an occlusion map, in words."""
    if golden is None:
        # A golden image has parts that differ, so one level everywhere is a branch that does not work.
        flat = found.min() == found.max()
        return f"the output occlusion is {found.flat[0]} everywhere" if flat else ""
    if found.shape != golden.shape:
        return f"the occlusion map has {found.shape} pixels, its golden picture {golden.shape}"
    error = float(np.abs(found.astype(np.float64) - golden).max()) / 255.0
    if error > limits.occlusion:
        return f"the occlusion map is {error:.3f} away from its golden picture, wanted {limits.occlusion:.3f}"
    return ""
