"""The numbers of one contestant on one test set that need no network."""

from __future__ import annotations

import cv2
import numpy as np

from getgan.runtime.metrics import psnr, ssim_in, ssim_map
from getgan.training.evaluation.landmarks import MOUTH, NOSE, Found, LandmarkFinder, hidden_parts
from getgan.training.evaluation.pose import PoseReader, correlation
from getgan.training.evaluation.testsets import Floats, Images, Masks, TestSet, large_enough
from getgan.training.evaluation.translate import Outputs

# PSNR of equal pictures, and of any that are closer: the mean over scenes stays a number.
PSNR_CAP = 100.0
LOOK_SIDE = 16  # of the grey pictures that identity is looked up by


def regions(test: TestSet) -> dict[str, Masks]:
    """Where y_* of the occluded input is compared with the truth."""
    return {"hidden": test.mask, "visible": test.visible, "face": test.face}


def measure(
    test: TestSet, far: TestSet | None, outputs: Outputs, reader: PoseReader, finder: LandmarkFinder
) -> dict[str, float]:
    """Key of a metric (report.METRICS) -> its mean over the scenes; NaN where no scene has it."""
    found = {"trace": mean_of(outputs.trace)}
    found |= likeness(test.truth, outputs.hidden, regions(test))
    found |= likeness(test.truth, outputs.clean, {"clean": test.face})
    found["dependence"] = dependence(outputs.clean, test.truth)
    found["identity_top1"], found["identity_rank"] = identity(outputs.hidden, test.truth, test.face)
    found |= _pose("", reader(outputs.hidden), test.pose)
    if far is not None and outputs.far is not None:
        found |= _pose("far_", reader(outputs.far), far.pose)
    found |= parts_found(finder(outputs.hidden, test.heads), hidden_parts(test.mask, test.heads))
    found |= {f"auroc_{name}": mean_of(values) for name, values in outputs.aurocs.items()}
    return found


def likeness(truth: Images, made: Images, where: dict[str, Masks]) -> dict[str, float]:
    """PSNR in dB and SSIM, mean over the scenes, in each region that covers 1 % of the picture or more."""
    values: dict[str, list[float]] = {f"{kind}_{name}": [] for name in where for kind in ("psnr", "ssim")}
    counted = {name: large_enough(masks) for name, masks in where.items()}
    for i, (image, reference) in enumerate(zip(made, truth, strict=True)):
        similarity = ssim_map(image, reference)
        for name, masks in where.items():
            if counted[name][i]:
                values[f"psnr_{name}"].append(min(psnr(image, reference, masks[i]), PSNR_CAP))
                if masks[i][5:-5, 5:-5].any():  # SSIM wants whole windows
                    values[f"ssim_{name}"].append(ssim_in(similarity, masks[i]))
    return {key: mean_of(np.array(each, np.float64)) for key, each in values.items()}


def dependence(outputs: Images, truth: Images) -> float:
    """How much outputs differ from each other, over how much the true photos do; a collapsed model has ~0.

    The mean L1 distance over all pairs. Of clean inputs, where a left-over occluder cannot pass for it.
    """
    return spread(outputs) / spread(truth)


def spread(images: Images) -> float:
    """Mean over all pairs of images, pixels and channels of |a - b|, levels; uint8 (N, H, W, 3)."""
    count = len(images)
    # Of sorted values a_0 <= a_1 ..., the sum over pairs of |a_i - a_j| is that of (2 i - n + 1) a_i.
    ordered = np.sort(images.reshape(count, -1), axis=0).astype(np.float64)
    weights = 2.0 * np.arange(count) - count + 1
    return float((weights @ ordered).mean() / (count * (count - 1) / 2))


def identity(made: Images, truth: Images, face: Masks) -> tuple[float, float]:
    """Is the true photo of the same scene the one that looks most like it, among all scenes?

    Returns how often it comes first, %, and how many of the others it beats, % (chance: 100 / N and 50).
    Looked up by correlation of 16x16 grey pictures where at least half of all scenes have face: the same
    place for all, so that a face's outline gives nothing away. Ties share their rank.
    """
    inside = _small(face.astype(np.float32)).mean(axis=0) > 0.5
    if not inside.any():
        return float("nan"), float("nan")
    likes = _normalised(_small(_grey(made))[:, inside]) @ _normalised(_small(_grey(truth))[:, inside]).T
    # Rounded, so that equal pictures tie and a last digit decides nothing.
    likes = np.round(likes, 9)
    right = np.diag(likes)[:, None]
    above, ties = (likes > right).sum(axis=1), (likes == right).sum(axis=1)  # the right one ties with itself
    top = np.where(above == 0, 1.0 / ties, 0.0)
    beaten = len(likes) - above - (ties + 1) / 2
    return 100.0 * float(top.mean()), 100.0 * float((beaten / (len(likes) - 1)).mean())


def parts_found(found: Found, hidden: Masks) -> dict[str, float]:
    """Share of the scenes with both eyes, nose, mouth in place, %, and how far off those are.

    Also over the scenes that hide the part (of the eyes, at least one) and those that do not; hidden (N, 4).
    """
    figures = {
        "eyes_missing": 100.0 * float(found.eye_missing.mean()),
        "eyes_further": 100.0 * float((found.further_eyes > 0).mean()),
        "eyes_offset": found.eyes_mean_offset,
    }
    for name, good, parts in (
        ("eyes", found.both_eyes, [0, 1]),
        ("nose", found.in_place[:, NOSE], [NOSE]),
        ("mouth", found.in_place[:, MOUTH], [MOUTH]),
    ):
        share = np.where(good, 100.0, 0.0)
        behind = hidden[:, parts].any(axis=1)
        distances = found.distance_where_there[:, parts]
        figures[f"{name}_place"] = mean_of(share)
        figures[f"{name}_place_hidden"] = mean_of(share[behind])
        figures[f"{name}_place_visible"] = mean_of(share[~behind])
        there = distances[~np.isnan(distances)]
        figures[f"{name}_distance"] = float(np.median(there)) if there.size else float("nan")
    return figures


def mean_of(values: Floats) -> float:
    """The mean without NaN; NaN if nothing is left."""
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if kept.size else float("nan")


def _pose(prefix: str, read: Floats, true: Floats) -> dict[str, float]:
    found = {}
    for place, angle in enumerate(("yaw", "pitch")):
        found[f"{prefix}{angle}_r"] = correlation(read[:, place], true[:, place])
        found[f"{prefix}{angle}_error"] = float(np.abs(read[:, place] - true[:, place]).mean())
    return found


def _grey(images: Images) -> Floats:
    return np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]).astype(np.float64)


def _small(stack: Floats) -> Floats:
    """(N, H, W) -> (N, 16, 16)."""
    side = (LOOK_SIDE, LOOK_SIDE)
    return np.stack([cv2.resize(each, side, interpolation=cv2.INTER_AREA) for each in stack]).astype(
        np.float64
    )


def _normalised(rows: Floats) -> Floats:
    """Mean 0 and length 1; a flat row becomes 0, which is like nothing."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(np.where(length > 1e-9, centred / np.maximum(length, 1e-9), 0.0), np.float64)
