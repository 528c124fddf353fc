"""quality.json: what the gate found, image by image, for every variant."""

from __future__ import annotations

from typing import Literal

import msgspec

from getgan.errors import BundleError
from getgan.printing import one_line
from getgan.runtime.manifest import Figures, Limits, Record

VERSION: Literal[1] = 1
NOT_RUN = "not run"  # as a VariantRecord's backend


class OutputRecord(Record, frozen=True):
    """Another output than the face, in its own range; None = not finite, out of range or of another shape."""

    name: str
    max_error: float | None
    mean_error: float | None


class ImageRecord(Record, frozen=True):
    """One picture of one variant, against PyTorch's FP32; None = not finite, or not computed."""

    name: str
    kind: Literal["real", "hard", "own"]
    height: int
    width: int
    max_error: float | None  # network output, as if in [-1, 1]
    mean_error: float | None
    max_levels: int | None  # 8-bit levels
    psnr: float | None  # dB over 8-bit levels; None also where no pixel differs
    ssim: float | None
    perceptual: float | None  # shift-tolerant LPIPS
    failures: tuple[str, ...]  # limits that are not kept, in words
    undetermined: str = ""  # why no picture is the right one here, so that only shape and range count
    others: tuple[OutputRecord, ...] = ()


class ShapeRecord(Record, frozen=True):
    """Another batch and size, for the dynamic axes."""

    batch: int
    height: int
    width: int
    max_error: float | None  # over all outputs; None = not finite, or of another shape


class ScoreRecord(Record, frozen=True):
    """What the guard says of one picture by this variant's features; fp32's is what the others must say."""

    name: str
    score: float | None  # 1 = the limit; None = infinitely far
    verdict: Literal["ok", "unusual", "refused"]
    failures: tuple[str, ...] = ()


class VariantRecord(Record, frozen=True):
    """One variant: accepted, or refused with the reason; backend NOT_RUN = it could not be tried here."""

    name: str
    accepted: bool
    backend: str
    reason: str = ""
    figures: Figures | None = None  # the worst image's, over those that count
    images: tuple[ImageRecord, ...] = ()
    shapes: tuple[ShapeRecord, ...] = ()
    guard: tuple[ScoreRecord, ...] = ()


class QualityRecord(Record, frozen=True, kw_only=True):
    """quality.json."""

    format: Literal["getgan-quality"] = "getgan-quality"
    version: Literal[1] = VERSION
    source_sha256: str
    limits: dict[str, Limits]  # that were in force, by the variant's name
    variants: tuple[VariantRecord, ...]

    def variant(self, name: str) -> VariantRecord:
        """The record of one variant."""
        return next(variant for variant in self.variants if variant.name == name)


def json_from_record(record: QualityRecord) -> bytes:
    """Readable JSON with a stable order of keys."""
    return msgspec.json.format(msgspec.json.encode(record, order="deterministic"), indent=2) + b"\n"


def record_from_json(data: bytes) -> QualityRecord:
    """Parse and check; BundleError says what is wrong."""
    try:
        return msgspec.json.decode(data, type=QualityRecord)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(
            f"found a damaged quality.json ({one_line(error)}); export the bundle again"
        ) from error
