"""How the faces of what was timed differ from PyTorch's, image by image; the worst counts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from getgan.benchmarks.schema import Quality
from getgan.errors import GetganError
from getgan.runtime.bundle import Bundle
from getgan.runtime.images import image_from_bytes
from getgan.runtime.quality import difference

if TYPE_CHECKING:
    from getgan.models.perceptual import PerceptualDistance

Picture = NDArray[np.uint8]


def golden_faces(bundle: Bundle) -> dict[str, Picture]:
    """The exporter's, FP32, by name."""
    return {golden.name: image_from_bytes(bundle.read(golden.output)) for golden in bundle.manifest.golden}


def judge(faces: Mapping[str, Picture], goldens: Mapping[str, Picture]) -> Quality:
    """Each figure is the worst image's."""
    found = {name: difference(face, goldens[name]) for name, face in faces.items()}
    worst = min(found, key=lambda name: found[name].psnr)
    psnr = found[worst].psnr
    distance, absent = _perceptual(faces, goldens)
    return Quality(
        images=len(found),
        worst=worst,
        psnr=psnr if math.isfinite(psnr) else None,
        ssim=min(each.ssim for each in found.values()),
        max_levels=max(each.max_levels for each in found.values()),
        perceptual=distance,
        perceptual_absent=absent,
    )


@cache
def _network() -> PerceptualDistance:
    """Loaded once: it takes seconds."""
    from getgan.models.perceptual import PerceptualDistance

    return PerceptualDistance.load()


def _perceptual(faces: Mapping[str, Picture], goldens: Mapping[str, Picture]) -> tuple[float | None, str]:
    """The largest distance; None and why."""
    if missing := [name for name in ("torch", "stlpips_pytorch") if find_spec(name) is None]:
        return None, f"{' and '.join(missing)} are not installed: pip install 'getgan[export]'"
    import torch

    from getgan.models.perceptual import MIN_SIZE

    if min(min(face.shape[:2]) for face in faces.values()) < MIN_SIZE:
        return None, f"the golden images are smaller than {MIN_SIZE} pixels"
    try:
        measure = _network()
    except GetganError as error:
        return None, str(error)

    def tensor(picture: Picture) -> torch.Tensor:
        return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1.0

    with torch.inference_mode():
        return max(
            float(measure.distance(tensor(face), tensor(goldens[name]))[0]) for name, face in faces.items()
        ), ""
