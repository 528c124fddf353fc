"""How far an image is from its reference: PSNR, SSIM, error in 8-bit levels; AUROC of a map against a mask.

Images are uint8 (H, W, 3) RGB. A mask is bool (H, W): only its pixels count, all three channels of each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

# Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural
# similarity", IEEE Transactions on Image Processing 13(4), 2004: window 11, sigma 1.5, K1 0.01, K2 0.03.
SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_C1 = (0.01 * 255) ** 2
SSIM_C2 = (0.03 * 255) ** 2


def psnr(image: Image, reference: Image, mask: Mask | None = None) -> float:
    """Peak signal-to-noise ratio in dB, 10 log10(255^2 / MSE); inf where nothing differs."""
    error = _difference(image, reference, mask)
    mse = float(np.mean(np.square(error)))
    return float("inf") if mse == 0.0 else float(10.0 * np.log10(255.0**2 / mse))


def max_error(image: Image, reference: Image, mask: Mask | None = None) -> int:
    """Largest absolute difference, 0..255 levels."""
    return int(np.abs(_difference(image, reference, mask)).max())


def mean_error(image: Image, reference: Image, mask: Mask | None = None) -> float:
    """Mean absolute difference, 0..255 levels."""
    return float(np.abs(_difference(image, reference, mask)).mean())


def ssim(image: Image, reference: Image, mask: Mask | None = None) -> float:
    """Structural similarity, -1..1, 1 = equal: the mean of `ssim_map`, over the mask's pixels if given.

    Only pixels whose window lies inside the image count; a mask without such a pixel is a ValueError.
    """
    values = ssim_map(image, reference)
    return float(values.mean()) if mask is None else ssim_in(values, mask)


def ssim_in(values: Floats, mask: Mask) -> float:
    """The mean of a `ssim_map` over a mask of the whole image, bool (H, W)."""
    inside = _crop(mask)
    if inside.shape != values.shape:
        raise ValueError(
            f"mask is {mask.shape}, the SSIM map {values.shape}; wanted a mask of the whole image"
        )
    if not inside.any():
        raise ValueError("the mask has no pixel whose SSIM window lies inside the image")
    return float(values[inside].mean())


def ssim_map(image: Image, reference: Image) -> Floats:
    """SSIM at each pixel with a whole window, mean over the channels: float64 (H - 10, W - 10).

    Wang et al. 2004, with their Gaussian window and population moments, for each channel in float64.
    """
    import cv2

    _check_pair(image, reference)
    if min(image.shape[:2]) < SSIM_WINDOW:
        raise ValueError(f"image is {image.shape[:2]}; SSIM wants {SSIM_WINDOW} pixels or more each way")
    a, b = image.astype(np.float64), reference.astype(np.float64)
    # One filter call over 15 channels: a third of the time of five calls.
    stack = np.concatenate([a, b, a * a, b * b, a * b], axis=2)
    window = gaussian_window()
    moments = np.asarray(cv2.sepFilter2D(stack, cv2.CV_64F, window, window), np.float64)
    mean_a, mean_b, square_a, square_b, product = np.split(_crop(moments), 5, axis=2)
    var_a, var_b = square_a - mean_a * mean_a, square_b - mean_b * mean_b
    covariance = product - mean_a * mean_b
    light = (2.0 * mean_a * mean_b + SSIM_C1) / (mean_a * mean_a + mean_b * mean_b + SSIM_C1)
    shape = (2.0 * covariance + SSIM_C2) / (var_a + var_b + SSIM_C2)
    return np.asarray((light * shape).mean(axis=2), np.float64)


def gaussian_window() -> Floats:
    """The 11 weights of SSIM's window along one side, float64, sum 1."""
    offsets = np.arange(SSIM_WINDOW, dtype=np.float64) - SSIM_WINDOW // 2
    weights = np.exp(-0.5 * (offsets / SSIM_SIGMA) ** 2)
    return np.asarray(weights / weights.sum(), np.float64)


def auroc(scores: NDArray[np.floating[Any]], positives: Mask) -> float:
    """Area under the ROC curve, 0..1: the chance that a positive scores above a negative, a tie counts half.

    scores and positives have one shape; Mann-Whitney's U by mid-ranks. ValueError if a class is empty.
    """
    labels = np.asarray(positives, np.bool_).ravel()
    values = np.asarray(scores, np.float64).ravel()
    if labels.shape != values.shape:
        raise ValueError(f"found {values.size} scores and {labels.size} labels; wanted as many of each")
    if not np.isfinite(values).all():
        raise ValueError("scores hold NaN or infinity, which have no rank")
    n_positive = int(labels.sum())
    n_negative = labels.size - n_positive
    if n_positive == 0 or n_negative == 0:
        raise ValueError(f"found {n_positive} positives, {n_negative} negatives; wanted some of each")
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2.0)[place.ravel()]  # 1-based; equal scores share the middle rank
    u = float(ranks[labels].sum()) - n_positive * (n_positive + 1) / 2.0
    return u / (n_positive * n_negative)


def _difference(image: Image, reference: Image, mask: Mask | None) -> Floats:
    _check_pair(image, reference)
    difference = image.astype(np.float64) - reference.astype(np.float64)
    if mask is None:
        return difference
    if mask.shape != image.shape[:2] or mask.dtype != np.bool_:
        raise ValueError(f"mask is {mask.dtype} {mask.shape}; wanted bool {image.shape[:2]}")
    if not mask.any():
        raise ValueError("the mask is empty; wanted at least one pixel")
    return difference[mask]


def _check_pair(image: Image, reference: Image) -> None:
    for name, array in (("image", image), ("reference", reference)):
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
            raise ValueError(f"{name} is {array.dtype} {array.shape}; wanted uint8 (H, W, 3)")
    if image.shape != reference.shape:
        raise ValueError(f"image is {image.shape}, reference {reference.shape}; wanted the same shape")


def _crop(array: NDArray[Any]) -> NDArray[Any]:
    """Without the border where the window would leave the image."""
    edge = SSIM_WINDOW // 2
    return array[edge : array.shape[0] - edge, edge : array.shape[1] - edge]
