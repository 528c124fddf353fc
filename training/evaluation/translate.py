"""A contestant's pictures of a test set, its trace, and its maps of where the occlusion is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from getgan.errors import CheckpointError
from getgan.models.tensors import images_from_tensor, tensor_from_images
from getgan.training.evaluation.maps import Maps, aurocs, occlusion_maps
from getgan.training.evaluation.options import Contestant
from getgan.training.evaluation.testsets import Floats, Images, Masks, TestSet, large_enough


@dataclass(frozen=True)
class Outputs:
    """What a contestant made of a test set; uint8 (N, H, W, 3) RGB, one value per scene."""

    hidden: Images  # y_* of the ultrasound with its occluder
    clean: Images  # y_* of the same scenes without it
    far: Images | None  # y_* of the far set
    trace: Floats  # (N,) mean |G(x) - G(x clean)| inside the mask, of 2; NaN where too little is hidden
    aurocs: dict[str, Floats]  # name of a map -> (N,); only the maps that there are
    maps: Maps  # of the first scenes, as many as asked for
    y_error: Images | None  # of the same scenes


def translate_set(
    contestant: Contestant,
    test: TestSet,
    far: TestSet | None,
    device: torch.device,
    batch: int,
    pictures: int,
) -> Outputs:
    """Run a contestant over a test set; y_* is rounded to 8 bit, as a user sees it."""
    hidden, clean, trace, scores, maps, errors = [], [], [], [], [], list[Images]()
    for part in _parts(len(test.truth), batch):
        x = tensor_from_images(test.ultrasound[part], device)
        x_clean = tensor_from_images(test.clean[part], device)
        with torch.no_grad():
            explained = {} if contestant.explain is None else contestant.explain(x)
            y_star = explained["face"] if explained else contestant.translate(x)
            y_clean = contestant.translate(x_clean)
        _check(contestant, x, y_star, y_clean)
        hidden.append(images_from_tensor(y_star))
        clean.append(images_from_tensor(y_clean))
        trace.append(_trace((y_star - y_clean).abs().mean(dim=1).double().cpu().numpy(), test.mask[part]))
        found = occlusion_maps(contestant, x, y_star, explained)
        scores.append(aurocs(found, test.mask[part], test.face[part]))
        if part.start < pictures:
            maps.append(found)
            errors += [images_from_tensor(explained["error"])] if explained else []
    return Outputs(
        hidden=np.concatenate(hidden),
        clean=np.concatenate(clean),
        far=None if far is None else _translated(contestant, far.ultrasound, device, batch),
        trace=np.concatenate(trace),
        aurocs={name: np.concatenate([each[name] for each in scores]) for name in scores[0]},
        maps={name: np.concatenate([each[name] for each in maps])[:pictures] for name in scores[0] if maps},
        y_error=np.concatenate(errors)[:pictures] if errors else None,
    )


def fixed_outputs(hidden: Images, clean: Images, far: Images | None, test: TestSet) -> Outputs:
    """A reference's answers, as if a contestant had given them."""
    difference = np.abs(hidden.astype(np.float64) - clean).mean(axis=3) / 127.5
    return Outputs(hidden, clean, far, _trace(difference, test.mask), {}, {}, None)


def _translated(contestant: Contestant, images: Images, device: torch.device, batch: int) -> Images:
    made = []
    for part in _parts(len(images), batch):
        x = tensor_from_images(images[part], device)
        with torch.no_grad():
            y_star = contestant.translate(x)
        _check(contestant, x, y_star)
        made.append(images_from_tensor(y_star))
    return np.concatenate(made)


def _parts(count: int, batch: int) -> Iterator[slice]:
    return (slice(start, min(start + batch, count)) for start in range(0, count, batch))


def _check(contestant: Contestant, x: Tensor, *made: Tensor) -> None:
    for y in made:
        if y.shape != x.shape:
            raise CheckpointError(
                f"{contestant.label} made {tuple(y.shape)} of {tuple(x.shape)}; wanted the same"
            )
        if not bool(torch.isfinite(y).all()):
            raise CheckpointError(f"{contestant.label} made NaN or infinite pixels; its training diverged")


def _trace(difference: Floats, mask: Masks) -> Floats:
    """Mean of (N, H, W) over each mask, (N,)."""
    good = large_enough(mask)
    return np.array([difference[i][mask[i]].mean() if good[i] else np.nan for i in range(len(mask))])
