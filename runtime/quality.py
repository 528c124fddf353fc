"""How like the original a picture must be: to enter a bundle, and on another machine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from getgan.runtime.manifest import Figures, Limits, Precision
from getgan.runtime.metrics import max_error, psnr, ssim

# fp32 and fp16: a person and a histogram see no difference. In a flat window, one level of rounding at 60 dB
# has SSIM 0.999. bf16 keeps 8 bits of mantissa, so single pixels move; docs/bundle-format.md has the
# measurements behind its limits. The occlusion map's: 1 and 5 levels of 255 in fp16 and bf16; measured on
# examples/getgan-64.safetensors are 5e-7, 2e-4 and 1.3e-3.
THRESHOLDS: dict[Precision, Limits] = {
    "fp32": Limits(max_error=1e-4, max_levels=1, psnr=60.0, ssim=0.9999, occlusion=1e-4),
    "fp16": Limits(max_error=None, max_levels=1, psnr=60.0, ssim=0.999, occlusion=0.004),
    "bf16": Limits(max_error=None, max_levels=24, psnr=45.0, ssim=0.995, occlusion=0.02),
}

# Of the self-test; `limits_elsewhere` says why.
PSNR_SLACK = 3.0  # dB
PSNR_CAP = 70.0
SSIM_CAP = 0.9995
OCCLUSION_SLACK = 1.5 / 255.0  # the golden map is in whole levels


@dataclass(frozen=True)
class Difference:
    """Between two pictures, uint8."""

    max_levels: int
    psnr: float  # inf = equal
    ssim: float


def difference(image: NDArray[np.uint8], reference: NDArray[np.uint8]) -> Difference:
    """Compare two uint8 (H, W, 3) RGB pictures, 11 pixels or more each way."""
    return Difference(max_error(image, reference), psnr(image, reference), ssim(image, reference))


def limits_elsewhere(figures: Figures) -> Limits:
    """What another machine must keep of the figures that the gate recorded for a variant.

    Slack: 3 dB (errors larger by 1.4), half as many levels more and one, twice the distance to SSIM 1,
    half as much error of the occlusion map and one level more.
    Figures above the caps count values at the edge of rounding, and there every order of summation differs:
    the fp32 graph of `getgan-64` gave 84 dB to "equal" with one and two threads of two libraries.
    """
    recorded = PSNR_CAP if figures.psnr is None else min(figures.psnr, PSNR_CAP)
    return Limits(
        max_error=None,
        max_levels=figures.max_levels * 3 // 2 + 1,
        psnr=recorded - PSNR_SLACK,
        ssim=1.0 - 2.0 * (1.0 - min(figures.ssim, SSIM_CAP)),
        occlusion=1.5 * (figures.occlusion or 0.0) + OCCLUSION_SLACK,
    )


def missed(limit: Limits, seen: Difference, float_error: float = 0.0) -> tuple[str, ...]:
    """What of a threshold is not kept, in words; empty = accepted. NaN is not accepted."""
    found: list[str] = []
    if limit.max_error is not None and not float_error <= limit.max_error:
        found.append(f"max error {float_error:.2e}, wanted at most {limit.max_error:.0e}")
    if limit.max_levels is not None and seen.max_levels > limit.max_levels:
        found.append(f"max error {seen.max_levels} of 255 levels, wanted at most {limit.max_levels}")
    if not seen.psnr >= limit.psnr:
        found.append(f"PSNR {seen.psnr:.1f} dB, wanted at least {limit.psnr:.4g}")
    if not seen.ssim >= limit.ssim:
        found.append(f"SSIM {seen.ssim:.5f}, wanted at least {limit.ssim:.5g}")
    return tuple(found)
