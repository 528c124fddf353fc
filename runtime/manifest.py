"""What a bundle says of itself: manifest.json as frozen records, parsed strictly (docs/bundle-format.md)."""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeAlias

import msgspec

from getgan import __version__
from getgan.contract import Contract, Output
from getgan.errors import BundleError, ConfigError, UsageError
from getgan.printing import one_line

FORMAT: Literal["getgan-bundle"] = "getgan-bundle"
FORMAT_VERSION: Literal[1] = 1
MANIFEST_NAME = "manifest.json"
MAX_MANIFEST_BYTES = 1 << 20  # a real one has 10 kB

Precision = Literal["fp32", "fp16", "bf16"]  # what a backend computes in
# What a graph takes. "float32": (N, 3, H, W) RGB in the contract's range, and every output is float32.
# "uint8": frames as they are, (N, H, W, 3) RGB; it gives the face as (N, H, W, 3) and the occlusion map as
# (N, H', W'), 255 = hidden, both uint8, and EXTENT: float32 (N, 2), the smallest and the largest value of
# each face before it was rounded, NaN if any value is.
Frames: TypeAlias = Literal["float32", "uint8"]
EXTENT = "extent"
FEATURES = "features"  # float32 (N, D), an output that every graph of a bundle with a guard has besides
Part = Literal["norms", "first convolution", "clip", "encoder", "sums", "last convolution", "trunk"]
Aspect = Annotated[float, msgspec.Meta(ge=1e-3, le=1e3)]  # width over height
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Count = Annotated[int, msgspec.Meta(ge=0, le=10**9)]
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")  # of a variant


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A frozen record that refuses fields it does not know: each of them could change a picture."""


class Training(Record, frozen=True):
    """What a getgan checkpoint tells of its making."""

    trained_on: str
    iterations: int
    seed: int
    config_sha256: str
    created: str  # ISO 8601, of the checkpoint


class Model(Record, frozen=True):
    """Which generator it is, and where its weights come from."""

    name: str
    arch: str
    parameters: int  # in the graph
    source_sha256: str  # of the checkpoint that the graphs were made from
    config: dict[str, int | float | str | bool | tuple[int, ...]] = {}
    training: Training | None = None  # None where the source does not tell
    # Of a bare state dict: where each setting comes from, by name (keys, flag, a file's name, assumed), and
    # which of several generators in its file it is.
    sources: dict[str, str] = {}
    chosen: str = ""
    notes: str = ""


class Branch(Record, frozen=True):
    """What became of the part that the face does not need, and the proof."""

    kept: bool
    operations_before: int  # of PyTorch, with every output
    operations_after: int  # for what is in the graph
    parameters_before: int
    parameters_after: int
    bit_equal: bool  # y_* is the same, bit for bit, in PyTorch with and without the branch
    name: str = "error"  # or U-GAT-IT's "cam": logits and heatmap of its attention


class Export(Record, frozen=True):
    """What made the graphs."""

    getgan: str
    onnx: str
    onnxruntime: str
    opset: int
    created: str  # ISO 8601
    torch: str = ""  # "" = without PyTorch
    branch: Branch | None = None  # None = the network has no such part
    filtered: tuple[str, ...] = ()  # exporter messages that were not shown, with the reason


class Limits(Record, frozen=True):
    """What the worst image must keep; None = no limit."""

    max_error: float | None  # of a picture as if in [-1, 1], the network's output; only the gate sees it
    max_levels: int | None  # 8-bit levels
    psnr: float  # dB, 8-bit
    ssim: float
    occlusion: float  # largest error of the occlusion map, in [0, 1]


class Figures(Record, frozen=True):
    """How far pictures are from PyTorch's FP32; over several images each figure is the worst one's."""

    max_error: float  # network output, as if in [-1, 1]
    mean_error: float  # the same
    max_levels: int  # 8-bit levels
    psnr: float | None  # dB over 8-bit levels; None = no pixel differs
    ssim: float
    perceptual: float | None  # shift-tolerant LPIPS; None = the image is too small for it
    worst: str = ""  # the image with the lowest PSNR
    occlusion: float | None = None  # largest error of the occlusion map, in [0, 1]; None = there is none


class Plan(Record, frozen=True):
    """How a graph came from the FP32 one."""

    convolutions: Literal["fp32", "fp16"] = "fp32"
    kept: tuple[Part, ...] = ()  # in FP32, though the convolutions are not
    frames: Frames = "float32"


class Variant(Record, frozen=True):
    """A graph and the precision that it runs in, which together passed the gate."""

    name: str  # what --precision selects: "fp32"
    graph: str  # path in the bundle; bf16 is a way to run the fp32 graph
    hint: Precision  # what the backend is asked to compute in
    plan: Plan
    backend: str  # what it was judged with, e.g. "onnxruntime 1.23.2, CPUExecutionProvider"
    images: int
    figures: Figures
    limits: Limits  # of the gate, in force when it was judged

    @property
    def frames(self) -> Frames:
        """What its graph takes and gives."""
        return self.plan.frames


class Refused(Record, frozen=True):
    """A variant that did not enter the bundle."""

    name: str
    reason: str


class Golden(Record, frozen=True):
    """A picture and its translation, which every machine must reproduce: PNG files, uint8 RGB."""

    name: str
    input: str
    output: str  # the reference's, FP32
    about: str
    # The occlusion map as grey RGB of its own size, 255 = hidden; "" = the graphs give none.
    occlusion: str = ""


class GuardRecord(Record, frozen=True):
    """What the bundle's guard was calibrated with, and what its promise rests on."""

    file: str  # runtime/guard/statistics.py says what is in it
    about: str  # the calibration's pictures, in words
    share: Share  # of false alarms: so many pictures of the calibration's kind are refused, on the average
    low: Share  # of nine calibrations in ten the true share lies between the two
    high: Share
    fitted: Count  # pictures
    tested: Count
    studies: Count  # 0 = not known: each picture counts as one
    hidden: Share  # a picture of which the occlusion map says that more is hidden is refused; 1 = none is
    refused: str  # PNG, uint8 RGB: a picture that every machine must refuse
    # Least and largest width over height of the pictures; None = not recorded, as in an older bundle.
    aspects: tuple[Aspect, Aspect] | None = None

    def __post_init__(self) -> None:
        check_ends((self.low, self.high), self.aspects)


def check_ends(share: tuple[float, float], aspects: tuple[float, float] | None) -> None:
    """ValueError unless the smaller end of each comes first."""
    for name, ends in (("low and high", share), ("aspects", aspects)):
        if ends is not None and ends[0] > ends[1]:
            raise ValueError(f"found {name} {ends[0]:g} and {ends[1]:g}, wanted the smaller one first")


class File(Record, frozen=True):
    """Size and hash of a file, which is checked before the file is used."""

    bytes: int
    sha256: str


class Manifest(Record, frozen=True, kw_only=True):
    """manifest.json."""

    format: Literal["getgan-bundle"] = FORMAT
    version: Literal[1] = FORMAT_VERSION
    model: Model
    contract: Contract
    input: str = "image"
    outputs: tuple[Output, ...] = ("face",)
    export: Export
    variants: tuple[Variant, ...]
    refused: tuple[Refused, ...] = ()
    golden: tuple[Golden, ...]
    guard: GuardRecord | None = None  # None: whatever picture it is, it becomes a face
    quality: str = "quality.json"
    page: str = "index.html"
    files: dict[str, File]

    def variant(self, name: str) -> Variant:
        """The accepted one; BundleError says why it was refused, UsageError which names there are."""
        for variant in self.variants:
            if variant.name == name:
                return variant
        accepted = ", ".join(variant.name for variant in self.variants)
        for refused in self.refused:
            if refused.name == name:
                raise BundleError(f"the bundle holds no {name} ({refused.reason}); wanted one of {accepted}")
        raise UsageError(f"found precision {name!r:.40}; wanted auto or one of this bundle's: {accepted}")

    def outputs_of(self, variant: Variant) -> tuple[str, ...]:
        """What the variant's graph gives, in its order."""
        features = () if self.guard is None else (FEATURES,)
        return (*self.outputs, *features, *((EXTENT,) if variant.frames == "uint8" else ()))


class _Header(msgspec.Struct):
    """What every version of the format has."""

    format: str
    version: int


class _Listing(_Header):
    files: dict[str, object]


def files_listed(data: bytes) -> tuple[str, ...]:
    """The names of a bundle's files, by a manifest of any version; BundleError for one of something else."""
    try:
        listing = msgspec.json.decode(data, type=_Listing)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"found a damaged {MANIFEST_NAME} ({one_line(error)})") from error
    if listing.format != FORMAT:
        raise BundleError(f"found format {listing.format!r:.80}; wanted {FORMAT!r}")
    return tuple(listing.files)


def manifest_from_json(data: bytes) -> Manifest:
    """Parse and check; BundleError says which field is wrong. Paths are checked by `Bundle`, not here."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise BundleError(f"found a manifest of {len(data):,} bytes; wanted at most {MAX_MANIFEST_BYTES:,}")
    try:
        header = msgspec.json.decode(data, type=_Header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(
            f"found a damaged {MANIFEST_NAME} ({one_line(error)}); copy the bundle again"
        ) from error
    if header.format != FORMAT:
        raise BundleError(f"found format {header.format!r:.80}; wanted {FORMAT!r}: this is no getgan bundle")
    if header.version > FORMAT_VERSION:
        upgrade = f"this is getgan {__version__}: pip install -U getgan"
        wanted = f"at most {FORMAT_VERSION}, {upgrade}"
        raise BundleError(f"found bundle version {header.version}; wanted {wanted}")
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(
            f"found a damaged {MANIFEST_NAME} ({one_line(error)}); export the bundle again"
        ) from error
    except ConfigError as error:  # of the contract
        raise BundleError(f"{error}; export the bundle again") from error
    _check(manifest)
    return manifest


def json_from_manifest(manifest: Manifest) -> bytes:
    """Readable JSON with a stable order of keys."""
    _check(manifest)
    return msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=2) + b"\n"


def _check(manifest: Manifest) -> None:
    if not manifest.variants or not manifest.golden or "face" not in manifest.outputs:
        raise BundleError("found no accepted variant, golden image or face output; export the bundle again")
    names = [variant.name for variant in manifest.variants]
    if len(set(names)) < len(names):
        raise BundleError(f"found accepted variants {', '.join(names)}; wanted each once")
    for name in (*names, *(refused.name for refused in manifest.refused)):
        if name == "auto" or not NAME.fullmatch(name):
            wanted = "letters a to z, digits and hyphens, 32 at most, and not auto"
            raise BundleError(f"found a variant named {name!r:.40}; wanted {wanted}: export the bundle again")
    named = [variant.graph for variant in manifest.variants]
    named += [path for golden in manifest.golden for path in (golden.input, golden.output)]
    named += [golden.occlusion for golden in manifest.golden if golden.occlusion]
    named += [] if manifest.guard is None else [manifest.guard.file, manifest.guard.refused]
    missing = sorted({*named, manifest.quality, manifest.page} - manifest.files.keys())
    if missing:
        raise BundleError(f"manifest names {missing[0]} without its hash; export the bundle again")
