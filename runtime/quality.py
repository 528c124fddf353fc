"""How like the original a picture must be, for each precision: for the gate and for the self-test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from getgan.runtime.manifest import Limits, Precision
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


@dataclass(frozen=True)
class Difference:
    """Between two pictures, uint8."""

    max_levels: int
    psnr: float  # inf = equal
    ssim: float


def difference(image: NDArray[np.uint8], reference: NDArray[np.uint8]) -> Difference:
    """Compare two uint8 (H, W, 3) RGB pictures, 11 pixels or more each way."""
    return Difference(max_error(image, reference), psnr(image, reference), ssim(image, reference))


def failures(
    precision: Precision, levels: int, psnr_db: float, ssim_value: float, float_error: float = 0.0
) -> tuple[str, ...]:
    """What of the precision's threshold is not kept, in words; empty = accepted. NaN is not accepted."""
    limit = THRESHOLDS[precision]
    found: list[str] = []
    if limit.max_error is not None and not float_error <= limit.max_error:
        found.append(f"max error {float_error:.2e}, wanted at most {limit.max_error:.0e}")
    if limit.max_levels is not None and levels > limit.max_levels:
        found.append(f"max error {levels} of 255 levels, wanted at most {limit.max_levels}")
    if not psnr_db >= limit.psnr:
        found.append(f"PSNR {psnr_db:.1f} dB, wanted at least {limit.psnr:g}")
    if not ssim_value >= limit.ssim:
        found.append(f"SSIM {ssim_value:.5f}, wanted at least {limit.ssim:g}")
    return tuple(found)
