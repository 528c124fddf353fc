"""Calibration: the frames that a generator was made for become the guard's statistics and limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from getgan.contract import Contract
from getgan.errors import DataError, ExportError
from getgan.export.graph import Array
from getgan.export.limit import fewest_for, limit_of
from getgan.printing import counted
from getgan.runtime.geometry import FITS, lay, placement
from getgan.runtime.guard.aspect import Aspects
from getgan.runtime.guard.attributes import measure, quantiles_of
from getgan.runtime.guard.statistics import ATTRIBUTES, Statistics, fit
from getgan.runtime.guard.tone import Picture, ToneCount
from getgan.runtime.manifest import FEATURES
from getgan.runtime.pixels import image_from_tensor, tensor_from_images

SHARE = 0.01  # of false alarms that is promised
FEWEST = 40  # pictures: of fewer neither half says anything
FEWEST_FITTED = 10  # of them in the fit's half, where studies are very unequal
SEED = 7203  # of the split, so that equal frames give an equal guard
# Scores of equal pictures would be their rounding noise.
LEAST_SPREAD = 1e-3  # of the features' size
LEAST_HIDDEN_SPAN = 0.1  # of the picture, between the calibration's least and most hidden scan

Run = Callable[[Array], dict[str, Array]]  # float32 (N, 3, H, W) -> every output by name
Progress = Callable[[float], None]


@dataclass(frozen=True)
class Shot:
    """A calibration frame: a picture, and the study or sweep that it is from, "" = not known."""

    picture: Picture
    study: str = ""
    name: str = ""  # for a message; it is not kept


@dataclass(frozen=True, eq=False)
class Calibration:
    """What the guard judges by, and what its promise rests on."""

    statistics: Statistics
    share: float  # of false alarms that was asked for; the promise, where there are pictures enough
    low: float  # with limit.CONFIDENCE the true share of this guard lies between the two
    high: float
    fitted: int  # pictures
    tested: int
    studies: int  # 0 = not known: each picture counts as one
    hidden: float  # a scan of which the occlusion map says that more is hidden is refused; 1 = none is
    aspects: Aspects | None = None  # that the pictures have; None = not recorded, of an older calibration


def calibrate(
    shots: Iterable[Shot],
    run: Run,
    contract: Contract,
    share: float = SHARE,
    progress: Progress | None = None,
) -> Calibration:
    """Fit on one half of the pictures, and take the limit from the other, which the fit has not seen.

    Halves of studies, where two or more are known: frames of one sweep are alike. A picture whose study is
    not known is one of its own. DataError for too few pictures, or equal ones. Where the share asks for more
    studies than there are, the largest score counts, and `share` says which share that is worth.
    """
    if not 0.0 < share < 0.5:
        raise ExportError(f"found a share of false alarms of {share}; wanted one between 0 and 0.5")
    features, studies, rows, aspects = [], [], [], []
    tone = ToneCount()
    for shot in shots:
        view = view_of(shot, contract)
        outputs = run(tensor_from_images([view], contract.range))
        features.append(outputs[FEATURES][0])
        studies.append(shot.study)
        aspects.append(shot.picture.shape[1] / shot.picture.shape[0])
        tone.add(view)
        hidden = float(outputs["occlusion"].mean()) if "occlusion" in outputs else math.nan
        face = image_from_tensor(np.nan_to_num(outputs["face"][0]), contract.range)
        rows.append(measure(view, math.nan, hidden, face))
        if progress is not None:
            progress(float(len(features)))
    x = np.asarray(features, np.float64)
    _check(x)
    groups = _groups(studies)
    first = _first_half(groups)
    if first.sum() < FEWEST_FITTED:
        raise DataError(
            f"found {len(x)} calibration pictures, nearly all of one study; wanted studies of like size: "
            "take fewer pictures of that one"
        )
    statistics = Statistics(*fit(x[first]), np.ones(1, np.float32), *tone.tone())
    scores = statistics.score(x[~first])
    found = limit_of(
        scores, [group for group, fitted in zip(groups, first, strict=True) if not fitted], share
    )
    limit = found.score
    table = np.asarray(rows, np.float64)
    shares = table[:, ATTRIBUTES.index("hidden")]
    hidden = hidden_limit(shares[np.isfinite(shares)])
    table[~first, ATTRIBUTES.index("score")] = scores / limit  # of the pictures that the fit has not seen
    statistics = replace(statistics, limit=np.array([limit], np.float32), attributes=quantiles_of(table))
    return Calibration(
        statistics,
        found.share,
        found.low,
        found.high,
        int(first.sum()),
        len(scores),
        _known(studies, groups),
        hidden,
        aspect_range(aspects),
    )


def aspect_range(aspects: Sequence[float]) -> Aspects:
    """Least and largest width over height of nine in ten pictures: a few odd ones teach a guard nothing."""
    low, high = np.quantile(aspects, [0.05, 0.95], method="nearest")
    return float(low), float(high)


def hidden_limit(shares: NDArray[np.float64]) -> float:
    """Of which share of hidden picture on a scan is refused, 0..1, from the calibration's; 1 = of none.

    Beyond every one of them by a tenth of their range, so that the promised share of false alarms stays the
    score's. A map that says nearly the same of every scan (getgan-64's: 0.633 to 0.638, though three of four
    have an occluder) cannot tell how much is hidden, and refuses none.
    """
    span = float(shares.max() - shares.min()) if len(shares) else 0.0
    return min(1.0, float(shares.max()) + span / 10.0) if span >= LEAST_HIDDEN_SPAN else 1.0


def view_of(shot: Shot, contract: Contract) -> Picture:
    """As `getgan run` lays it before the network when nothing else is said; DataError for one of no use."""
    height, width = shot.picture.shape[:2]
    how = "letterbox" if contract.fixed else FITS[0]
    try:
        return lay(shot.picture, placement(height, width, contract.size, how, contract))
    except DataError as error:
        start = f"{shot.name}: " if shot.name else ""
        raise DataError(f"{start}{error}; cut it, or take it out of the folder") from error


def _check(features: NDArray[np.float64]) -> None:
    if len(features) < FEWEST:
        raise DataError(
            f"found {counted(len(features), 'picture')} to calibrate with; wanted {FEWEST} or more, and for "
            f"{SHARE:.0%} of false alarms {fewest_for(SHARE)} or more, each of another study"
        )
    if not np.isfinite(features).all():
        raise ExportError("the network's features of a calibration picture are not finite; run getgan verify")
    size = np.abs(features).mean()
    if features.std(axis=0).mean() < LEAST_SPREAD * size:
        raise DataError(
            f"found {len(features)} calibration pictures that are all alike; wanted different scans"
        )


def _groups(studies: Sequence[str]) -> list[str]:
    """The study of each picture; its own where that is not known, and where all are of one."""
    alone = len(set(studies)) == 1
    return [f"picture {n}" if alone or not study else f"study {study}" for n, study in enumerate(studies)]


def _known(studies: Sequence[str], groups: Sequence[str]) -> int:
    """How many studies there are; 0 = no picture's is known."""
    return len(set(groups) if len(set(studies)) > 1 else set(studies) - {""})


def _first_half(groups: Sequence[str]) -> NDArray[np.bool_]:
    """Which pictures the fit sees: whole groups, about half of all pictures."""
    names = sorted(set(groups))
    order = np.random.default_rng(SEED).permutation(len(names))
    place = {name: number for number, name in enumerate(names)}
    members = np.array([place[group] for group in groups])
    counts = np.bincount(members, minlength=len(names))
    chosen, seen = np.zeros(len(names), bool), 0
    for number in order[:-1]:  # the limit needs a study too
        if seen < len(groups) / 2:
            chosen[number] = True
            seen += int(counts[number])
    return np.asarray(chosen[members], np.bool_)
