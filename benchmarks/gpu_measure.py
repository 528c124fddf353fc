"""Ways to translate the same frames in turn: whether the pictures are right, and how long each takes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from getgan.benchmarks.gpu_contenders import Contender, EngineContender, Frames
from getgan.benchmarks.gpu_report import Way
from getgan.errors import GetganError
from getgan.runtime.manifest import Figures
from getgan.runtime.quality import difference, limits_elsewhere, missed
from getgan.runtime.selftest import GoldenPair

BLOCK = 20  # calls in a row: then each way's caches are its own, and heat and clocks are shared
WARM_UP = 20  # calls
MANY = 4  # batches in a call where the rate counts: enough to fill both lanes


def measure(
    contenders: Sequence[Contender],
    golden: GoldenPair,
    figures: Mapping[str, Figures],
    batch: int,
    blocks: int,
) -> list[Way]:
    """Warm every way up, judge its picture, then let them take turns, BLOCK calls each."""
    frames: Frames = np.repeat(golden.input[None], batch, axis=0)
    ways: dict[str, Way] = {}
    for each in contenders:
        try:
            for _ in range(WARM_UP):
                face = each.faces(frames)[-1]
        except GetganError as error:
            ways[each.name] = Way(each.name, batch, each.version, unavailable=str(error))
            continue
        found = difference(face, golden.output)
        ways[each.name] = Way(
            each.name,
            batch,
            each.version,
            max_levels=found.max_levels,
            psnr=None if np.isinf(found.psnr) else found.psnr,
            ssim=found.ssim,
            wrong=", ".join(missed(limits_elsewhere(_recorded(each.name, figures)), found)),
        )
    running = [each for each in contenders if not ways[each.name].unavailable]
    seconds: dict[str, list[float]] = {each.name: [] for each in running}
    for _ in range(blocks):
        for each in running:
            each.faces(frames)  # what another way left in the caches is not its own to pay for
            for _ in range(BLOCK):
                start = time.perf_counter()
                each.faces(frames)
                seconds[each.name].append(time.perf_counter() - start)
    return [_measured(each, ways[each.name], seconds.get(each.name, []), frames) for each in contenders]


def _measured(contender: Contender, way: Way, seconds: list[float], frames: Frames) -> Way:
    if not seconds:
        return way
    device = contender.device_seconds(frames, BLOCK)
    p50, p99 = np.percentile(seconds, (50, 99))
    many = np.concatenate([frames] * MANY) if isinstance(contender, EngineContender) else frames
    for _ in range(2):  # a shape that was not seen yet: what a GPU prepares for it is no part of the rate
        contender.faces(many)
    start = time.perf_counter()
    for _ in range(BLOCK):
        contender.faces(many)
    rate = BLOCK * len(many) / (time.perf_counter() - start)
    return msgspec.structs.replace(
        way,
        calls=len(seconds),
        p50=float(p50),
        p99=float(p99),
        device=None if device is None else float(np.median(device)),
        per_second=rate,
    )


def _recorded(name: str, figures: Mapping[str, Figures]) -> Figures:
    """What the gate recorded for the variant, or for PyTorch the precision, that a way's name holds."""
    words = name.split()
    return next((figures[word] for word in reversed(words) if word in figures), figures["fp32"])
