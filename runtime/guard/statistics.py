"""How far a picture lies from those of the calibration: a score from the network's own features.

The features are mean and deviation over height and width of each channel of the generator's bottleneck, so
that a few hundred numbers stand for a picture. Their distance from the calibration's is Mahalanobis's, under
a normal distribution that keeps the widest directions and one variance for all others (Tipping and Bishop,
"Probabilistic Principal Component Analysis", 1999): with as few pictures as there are, a whole covariance
would have nothing but noise in its narrow directions.
"""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from getgan.errors import BundleError

MAX_FEATURES = 8192
MAX_BYTES = 16 << 20  # a real file has 50 to 300 kB
DIRECTIONS = 64
# A channel that is the same in every picture has no deviation; a difference there counts as this much of it.
FLOOR = 1e-4
# What drift is looked for in, each of one picture; attributes.py measures them.
ATTRIBUTES = (
    "score",
    "brightness",
    "contrast",
    "colour",
    "head",
    "hidden",
    "face brightness",
    "face warmth",
    "face pose",
)
WITHOUT_POSE = ATTRIBUTES.index("face pose")  # how many an older guard, or an older run's record, has
POINTS = 101  # quantiles of each, from the smallest to the largest
# Of a .npy file, format 1.0.
_HEAD = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '<f4', 'fortran_order': False, 'shape': "
    rb"\((\d{1,8},(?: \d{1,8})?)\), \} *\n",
    re.DOTALL,
)

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Statistics:
    """The calibration's distribution, and how its pictures are coloured.

    Nothing of it is a picture: what could be read out is the mean scan's features, in which directions they
    vary, how dark the scans are on the whole, which colour each brightness has, and between which values
    brightness, contrast and the like of whole pictures lie.
    """

    mean: Floats  # (D,)
    deviation: Floats  # (D,)
    basis: Floats  # (k, D), orthonormal, of the features less their mean over their deviation
    variance: Floats  # (k,)
    rest: Floats  # (1,): the variance of every other direction
    limit: Floats  # (1,): a larger distance is no picture of this kind
    brightness: Floats  # (256,): quantiles of the pictures' brightness, 0..255
    palette: Floats  # (256, 3): the mean colour at each brightness, RGB
    # (len(ATTRIBUTES), POINTS): quantiles over the pictures; all 0 = not measured, as an older guard's pose.
    attributes: Floats = field(default_factory=lambda: np.zeros((len(ATTRIBUTES), POINTS), np.float32))

    def score(self, features: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """(N, D) -> (N,): distance over the limit. Above 1 is no picture of this kind; NaN stays NaN."""
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite stays so
            away = (np.asarray(features, np.float64) - self.mean) / self.deviation
            along = away @ self.basis.T.astype(np.float64)
            beside = np.maximum(np.square(away).sum(axis=1) - np.square(along).sum(axis=1), 0.0)
            squared = (np.square(along) / self.variance).sum(axis=1) + beside / self.rest[0]
        return np.asarray(np.sqrt(squared) / float(self.limit[0]), np.float64)

    @property
    def size(self) -> int:
        """How many features a picture has."""
        return len(self.mean)


def fit(features: NDArray[np.floating[Any]]) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Mean, deviation, basis, variance and rest of (N, D) features, for `Statistics`.

    Half as many directions as pictures at most: of fewer pictures the smallest variances are those of a
    sample, far below the true ones.
    """
    x = np.asarray(features, np.float64)
    count, size = x.shape
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    deviation = np.maximum(deviation, FLOOR * max(float(deviation.max()), FLOOR))
    _, singular, directions = np.linalg.svd((x - mean) / deviation, full_matrices=False)
    spread = np.square(singular) / count
    kept = max(1, min(DIRECTIONS, count // 4, size - 1))
    rest = max(float(spread[kept:].sum()) / max(size - kept, 1), FLOOR)
    variance = np.maximum(spread[:kept], rest)
    return (
        mean.astype(np.float32),
        deviation.astype(np.float32),
        directions[:kept].astype(np.float32),
        variance.astype(np.float32),
        np.array([rest], np.float32),
    )


def bytes_from_statistics(statistics: Statistics) -> bytes:
    """As an .npz file; equal statistics give equal bytes."""
    target = io.BytesIO()
    np.savez(target, **{field.name: getattr(statistics, field.name) for field in fields(Statistics)})
    return target.getvalue()


def statistics_from_bytes(data: bytes) -> Statistics:
    """Read and check; BundleError if it is no such file, or if it cannot judge (NaN, no variance)."""
    try:
        arrays = _arrays(data)
        found = Statistics(**arrays)
        _check(found)
    except (ValueError, OSError, EOFError, NotImplementedError, zipfile.BadZipFile) as error:
        raise BundleError(
            f"found a damaged guard ({error!s:.120}); wanted the calibration's statistics: "
            "export the bundle again"
        ) from error
    return found


def _arrays(data: bytes) -> dict[str, Floats]:
    names = {f"{field.name}.npy" for field in fields(Statistics)}
    if len(data) > MAX_BYTES:
        raise ValueError(f"{len(data):,} bytes")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if {entry.filename for entry in entries} != names or len(entries) != len(names):
            raise ValueError("other entries than a guard's")
        if any(e.compress_type or e.flag_bits or e.file_size > MAX_BYTES for e in entries):
            raise ValueError("packed or encrypted entries")
        found = {name.removesuffix(".npy"): _array(archive.read(name)) for name in names}
    if found["attributes"].shape == (WITHOUT_POSE, POINTS):
        found["attributes"] = np.pad(found["attributes"], ((0, len(ATTRIBUTES) - WITHOUT_POSE), (0, 0)))
    for name, array in found.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name} is not finite")
    return found


def _array(data: bytes) -> Floats:
    """Of a .npy file. NumPy's reader makes room for whatever shape is stated: 4 TB for 128 bytes."""
    head = _HEAD.match(data)
    if head is None:
        raise ValueError("an entry that is not float32 as NumPy writes it")
    shape = tuple(int(side) for side in head[1].split(b",") if side.strip())
    return np.frombuffer(data, "<f4", offset=head.end()).reshape(shape).astype(np.float32)


def _check(found: Statistics) -> None:
    size, kept = found.mean.size, found.variance.size
    wanted = {
        "mean": (size,),
        "deviation": (size,),
        "basis": (kept, size),
        "variance": (kept,),
        "rest": (1,),
        "limit": (1,),
        "brightness": (256,),
        "palette": (256, 3),
        "attributes": (len(ATTRIBUTES), POINTS),
    }
    for name, shape in wanted.items():
        if getattr(found, name).shape != shape:
            raise ValueError(f"{name} is {getattr(found, name).shape}, wanted {shape}")
    if not 1 <= size <= MAX_FEATURES or not 1 <= kept <= size:
        raise ValueError(f"{size} features, {kept} directions")
    for name in ("deviation", "variance", "rest", "limit"):
        if not (getattr(found, name) > 0.0).all():
            raise ValueError(f"{name} is not above zero")
    if (np.diff(found.brightness) < 0.0).any() or found.brightness[0] < 0.0 or found.brightness[-1] > 255.0:
        raise ValueError("brightness does not rise from 0 to 255")
    if found.palette.min() < 0.0 or found.palette.max() > 255.0:
        raise ValueError("palette is not within 0..255")
    if (np.diff(found.attributes, axis=1) < 0.0).any():
        raise ValueError("attributes do not rise")
    if np.abs(found.basis @ found.basis.T - np.eye(kept)).max() > 1e-3:
        raise ValueError("basis is not orthonormal")
