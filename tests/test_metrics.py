"""PSNR, SSIM and AUROC against values by hand and against formulas written out pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from getgan.runtime.metrics import (
    auroc,
    gaussian_window,
    max_error,
    mean_error,
    psnr,
    ssim,
    ssim_in,
    ssim_map,
)


def noise(seed: int, height: int = 16, width: int = 20) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_psnr_by_hand() -> None:
    reference = np.full((4, 5, 3), 100, np.uint8)
    image = np.full((4, 5, 3), 110, np.uint8)
    assert psnr(image, reference) == pytest.approx(20 * math.log10(25.5))  # every difference is 10 levels
    assert psnr(image, reference) == psnr(reference, image)
    assert psnr(image, image) == float("inf")


def test_errors_see_the_sign_of_unsigned_bytes() -> None:
    reference = np.zeros((2, 2, 3), np.uint8)
    image = reference.copy()
    image[0, 0, 2] = 255
    assert max_error(reference, image) == max_error(image, reference) == 255
    assert mean_error(reference, image) == pytest.approx(255 / 12)
    assert psnr(reference, image) == pytest.approx(10 * math.log10(12))


def test_a_mask_leaves_the_rest_out() -> None:
    reference, image = noise(0), noise(0).copy()
    image[:, 10:] = 255 - image[:, 10:]
    mask = np.zeros(image.shape[:2], np.bool_)
    mask[:, :10] = True
    assert psnr(image, reference, mask) == float("inf")
    assert max_error(image, reference, mask) == 0
    right = psnr(image, reference, ~mask)
    assert right == pytest.approx(psnr(image[:, 10:], reference[:, 10:]))


def brute_force_ssim(
    a: NDArray[np.uint8], b: NDArray[np.uint8], row: int, column: int, channel: int
) -> float:
    """Wang et al. 2004, equations 13 to 16, for the window centred on one pixel, in plain loops."""
    weights = [[math.exp(-(i * i + j * j) / (2 * 1.5**2)) for j in range(-5, 6)] for i in range(-5, 6)]
    total = sum(map(sum, weights))
    mean_a = mean_b = var_a = var_b = covariance = 0.0
    for moment in (1, 2):
        for i in range(-5, 6):
            for j in range(-5, 6):
                w = weights[i + 5][j + 5] / total
                p, q = float(a[row + i, column + j, channel]), float(b[row + i, column + j, channel])
                if moment == 1:
                    mean_a, mean_b = mean_a + w * p, mean_b + w * q
                else:
                    var_a += w * (p - mean_a) ** 2
                    var_b += w * (q - mean_b) ** 2
                    covariance += w * (p - mean_a) * (q - mean_b)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    )


def test_ssim_is_the_formula_written_out() -> None:
    a, b = noise(1), noise(2)
    b[:, :12] = a[:, :12] // 2 + 20  # similar on the left, unrelated on the right
    values = ssim_map(a, b)
    assert values.shape == (6, 10)
    for row, column in ((5, 5), (10, 14), (7, 9)):
        by_hand = np.mean([brute_force_ssim(a, b, row, column, channel) for channel in range(3)])
        assert values[row - 5, column - 5] == pytest.approx(by_hand, abs=1e-10)
    assert ssim(a, b) == pytest.approx(values.mean())


def test_ssim_of_flat_images_is_its_light_term() -> None:
    a, b = np.full((12, 12, 3), 50, np.uint8), np.full((12, 12, 3), 150, np.uint8)
    c1 = 2.55**2
    assert ssim(a, b) == pytest.approx((2 * 50 * 150 + c1) / (50**2 + 150**2 + c1), abs=1e-9)
    assert ssim(a, a) == pytest.approx(1.0)


def test_masked_ssim_is_the_mean_of_the_map_over_the_mask() -> None:
    a, b = noise(3), noise(4)
    mask = np.zeros(a.shape[:2], np.bool_)
    mask[7, 9] = mask[8, 11] = mask[0, 0] = True  # the corner has no whole window and does not count
    values = ssim_map(a, b)
    assert ssim(a, b, mask) == pytest.approx((values[2, 4] + values[3, 6]) / 2)
    assert ssim_in(values, mask) == ssim(a, b, mask)
    mask[5:-5, 5:-5] = False
    with pytest.raises(ValueError, match="no pixel"):
        ssim(a, b, mask)


def test_window_is_the_papers() -> None:
    window = gaussian_window()
    assert window.shape == (11,)
    assert window.sum() == pytest.approx(1.0)
    assert window[5] / window[4] == pytest.approx(math.exp(1 / 4.5))
    assert np.array_equal(window, window[::-1])


def test_auroc_by_hand() -> None:
    labels = np.array([False, True, False, True])
    assert auroc(np.array([0.1, 0.2, 0.3, 0.4]), labels) == 0.75  # 3 of the 4 pairs are in order
    assert auroc(np.array([0.0, 1.0, 0.0, 1.0]), labels) == 1.0
    assert auroc(np.array([1.0, 0.0, 1.0, 0.0]), labels) == 0.0
    assert auroc(np.array([1.0, 1.0, 1.0, 1.0]), labels) == 0.5
    assert auroc(np.array([1.0, 1.0, 0.0, 2.0]), labels) == 0.875  # one tie counts half


def test_auroc_is_the_share_of_ordered_pairs() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        n = int(rng.integers(4, 40))
        scores = rng.integers(0, 6, n).astype(np.float64)  # few values, so that ties are many
        labels = rng.random(n) < 0.4
        labels[:2] = True, False
        wins = [(p > q) + 0.5 * (p == q) for p in scores[labels] for q in scores[~labels]]
        assert auroc(scores, labels) == pytest.approx(np.mean(wins))


def test_auroc_takes_maps() -> None:
    mask = np.zeros((8, 8), np.bool_)
    mask[2:5, 3:6] = True
    assert auroc(mask.astype(np.float32), mask) == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: psnr(a, a[:-1]), "same shape"),
        (lambda a: psnr(a.astype(np.float32), a), "wanted uint8"),
        (lambda a: psnr(a[:, :, 0], a[:, :, 0]), "wanted uint8"),
        (lambda a: psnr(a, a, np.zeros(a.shape[:2], np.bool_)), "empty"),
        (lambda a: psnr(a, a, np.ones(a.shape[:2], np.uint8)), "wanted bool"),
        (lambda a: psnr(a, a, np.ones((3, 3), np.bool_)), "wanted bool"),
        (lambda a: ssim(a[:10], a[:10]), "11 pixels"),
        (lambda a: ssim(a, a, np.ones((3, 3), np.bool_)), "whole image"),
        (lambda a: auroc(np.zeros(3), np.ones(3, np.bool_)), "some of each"),
        (lambda a: auroc(np.zeros(3), np.zeros(4, np.bool_)), "as many"),
        (lambda a: auroc(np.array([0.0, np.nan]), np.array([True, False])), "NaN"),
    ],
)
def test_what_cannot_be_compared_is_refused(call, message: str) -> None:  # type: ignore[no-untyped-def]  # lambdas
    with pytest.raises(ValueError, match=message):
        call(noise(5))
