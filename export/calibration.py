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
from getgan.runtime.geometry import FITS, lay, placement
from getgan.runtime.guard.aspect import Aspects
from getgan.runtime.guard.attributes import measure, quantiles_of
from getgan.runtime.guard.statistics import ATTRIBUTES, Statistics, conformal_limit, fit
from getgan.runtime.guard.tone import Picture, ToneCount
from getgan.runtime.manifest import FEATURES
from getgan.runtime.pixels import image_from_tensor, tensor_from_images

SHARE = 0.01  # of false alarms that is promised
FEWEST = 40  # pictures: of fewer neither half says anything
CONFIDENCE = 0.9  # of the interval of the share
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


@dataclass(frozen=True, eq=False)
class Calibration:
    """What the guard judges by, and what its promise rests on."""

    statistics: Statistics
    share: float  # of false alarms that was asked for; the promise, where there are pictures enough
    low: float  # with CONFIDENCE the true share of a further picture lies between the two
    high: float
    fitted: int  # pictures
    tested: int
    studies: int  # 0 = not known: pictures were split one by one
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

    Halves of studies, where those are known: frames of one sweep are alike. DataError for too few pictures,
    or equal ones. Where the share asks for more pictures than there are, the largest score counts, and
    `share` says which share that is worth.
    """
    if not 0.0 < share < 0.5:
        raise ExportError(f"found a share of false alarms of {share}; wanted one between 0 and 0.5")
    features, studies, rows, aspects = [], [], [], []
    tone = ToneCount()
    for shot in shots:
        view = view_of(shot.picture, contract)
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
    known = len(set(studies)) if all(studies) and len(set(studies)) >= 4 else 0
    first = _first_half(studies if known else [str(number) for number in range(len(x))])
    statistics = Statistics(*fit(x[first]), np.ones(1, np.float32), *tone.tone())
    scores = statistics.score(x[~first])
    limit = conformal_limit(scores, share)
    if not math.isfinite(limit):
        share, limit = 1.0 / (len(scores) + 1), float(scores.max())
    table = np.asarray(rows, np.float64)
    shares = table[:, ATTRIBUTES.index("hidden")]
    hidden = hidden_limit(shares[np.isfinite(shares)])
    table[~first, ATTRIBUTES.index("score")] = scores / limit  # of the pictures that the fit has not seen
    statistics = replace(statistics, limit=np.array([limit], np.float32), attributes=quantiles_of(table))
    low, high = share_interval(len(scores), int((scores > limit).sum()))
    return Calibration(
        statistics,
        share,
        low,
        high,
        int(first.sum()),
        len(scores),
        known,
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


def share_interval(count: int, above: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Where the true share of alarms lies, if the limit is the (count - above)-th smallest of count scores.

    It has a Beta distribution, (above + 1, count - above), over draws of the calibration.
    """
    tail = (1.0 - confidence) / 2.0
    return _beta_quantile(above + 1, count - above, tail), _beta_quantile(
        above + 1, count - above, 1.0 - tail
    )


def _beta_quantile(a: int, b: int, wanted: float) -> float:
    """By halving: P(Beta(a, b) <= x) = P(Binomial(a + b - 1, x) >= a)."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2.0
        if _binomial_tail(a + b - 1, middle, a) < wanted:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def _binomial_tail(count: int, chance: float, least: int) -> float:
    if chance <= 0.0 or chance >= 1.0:
        return float(chance >= 1.0 or least <= 0)
    terms = (
        math.lgamma(count + 1)
        - math.lgamma(k + 1)
        - math.lgamma(count - k + 1)
        + k * math.log(chance)
        + (count - k) * math.log1p(-chance)
        for k in range(least)
    )
    return 1.0 - math.fsum(math.exp(term) for term in terms)


def view_of(picture: Picture, contract: Contract) -> Picture:
    """As `getgan run` lays it before the network when nothing else is said."""
    height, width = picture.shape[:2]
    how = "letterbox" if contract.fixed else FITS[0]
    return lay(picture, placement(height, width, contract.size, how, contract))


def _check(features: NDArray[np.float64]) -> None:
    if len(features) < FEWEST:
        raise DataError(
            f"found {len(features)} calibration pictures; wanted {FEWEST} or more, and for 1 % "
            "of false alarms 200 or more, of as many studies as there are"
        )
    if not np.isfinite(features).all():
        raise ExportError("the network's features of a calibration picture are not finite; run getgan verify")
    size = np.abs(features).mean()
    if features.std(axis=0).mean() < LEAST_SPREAD * size:
        raise DataError(
            f"found {len(features)} calibration pictures that are all alike; wanted different scans"
        )


def _first_half(groups: Sequence[str]) -> NDArray[np.bool_]:
    """Which pictures the fit sees: whole groups, about half of all pictures."""
    names = sorted(set(groups))
    order = np.random.default_rng(SEED).permutation(len(names))
    place = {name: number for number, name in enumerate(names)}
    members = np.array([place[group] for group in groups])
    counts = np.bincount(members, minlength=len(names))
    chosen, seen = np.zeros(len(names), bool), 0
    for number in order:
        if seen < len(groups) / 2:
            chosen[number] = True
            seen += int(counts[number])
    return np.asarray(chosen[members], np.bool_)
