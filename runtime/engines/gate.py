"""The gate on the machine that runs the engine: every golden image, in every batch, before it is accepted.

It runs in a process of its own (`python -m getgan.runtime.engines.gate JOB`), because a library that finds no
GPU, or an engine of another one, may crash instead of saying so.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from getgan.errors import DeviceError, GetganError
from getgan.runtime.answers import Answers, answers_of
from getgan.runtime.backends import Engine, Unsuitable
from getgan.runtime.bundle import Bundle
from getgan.runtime.child import run_child
from getgan.runtime.engines.adapter import TensorRt
from getgan.runtime.engines.fingerprint import Flavour, Profile
from getgan.runtime.engines.runner import load
from getgan.runtime.engines.store import Gate, GoldenFigures, read_engine
from getgan.runtime.geometry import resize
from getgan.runtime.manifest import Frames, Record, Variant
from getgan.runtime.quality import difference, limits_elsewhere, missed
from getgan.runtime.selftest import GoldenPair, golden_of, nonsense_of, refuses, self_test

END_S = 600.0  # TensorRT-RTX compiles its kernels for each shape when it first runs


class GateJob(Record, frozen=True):
    """An engine that is on trial."""

    bundle: str
    variant: str
    plan: str  # its file
    bytes: int
    sha256: str
    flavour: Flavour
    profiles: tuple[Profile, ...]
    device: str  # "cuda:0"


Judge = Callable[[GateJob], Gate]
Translate = Callable[[NDArray[np.uint8]], Answers]


def judge_elsewhere(job: GateJob) -> Gate:
    """`judge` in a process of its own; one that dies has failed."""
    ended = run_child("getgan.runtime.engines.gate", msgspec.json.encode(job).decode(), seconds=END_S)
    if ended.how:
        return Gate("failed", f"the process that tried it {ended.how}")
    return msgspec.json.decode(ended.last, type=Gate)


def judge(
    bundle: Bundle,
    variant: Variant,
    engine: Engine,
    profiles: tuple[Profile, ...],
    reference: Translate | None = None,
) -> Gate:
    """Translate each golden image in every batch that the engine has for its size, and what else it takes.

    Of a bundle with a guard, the picture that it must refuse is shown in every batch too.
    No golden image has the other shapes: there the first one is resized, and `reference` (the bundle on the
    CPU) says what is right. Without it they are not judged, and the verdict says so.
    """
    figures: list[GoldenFigures] = []
    pairs = [golden_of(bundle, index) for index in range(len(bundle.manifest.golden))]
    sizes = {pair.input.shape[:2] for pair in pairs}
    others = [shape for shape in profiles if (shape.height, shape.width) not in sizes]
    nonsense = nonsense_of(bundle)
    nonsense_batches = () if nonsense is None else batches_for(nonsense.picture, profiles)
    try:
        for pair in pairs:
            batches = batches_for(pair.input, profiles)
            if not batches:
                size = f"{pair.input.shape[1]}x{pair.input.shape[0]}"
                return Gate("failed", f"it takes no golden image ({size}), so nothing tells what it gives")
            for batch in batches:
                found = self_test(_Batched(engine, batch), pair, variant)[1]
            figures.append(_figures(pair.name, found.max_levels, found.psnr, found.ssim))
        if nonsense is not None:
            for batch in nonsense_batches:
                refuses(_Batched(engine, batch), nonsense)
        if reference is not None:
            figures += [_compared(engine, shape, pairs[0], variant, reference) for shape in others]
    except (GetganError, Unsuitable) as error:
        return Gate("failed", str(error), tuple(figures))
    why = f"{len(pairs)} golden images come out as the exporter's"
    if nonsense_batches:
        why += ", the guard refuses what it must"
    if others and reference is None:
        why += f"; {len(others)} other shapes are not judged: no backend runs on this CPU to compare with"
    elif others:
        why += f", and {len(others)} other shapes as on the CPU"
    return Gate("passed", why, tuple(figures))


def _compared(
    engine: Engine, shape: Profile, pair: GoldenPair, variant: Variant, reference: Translate
) -> GoldenFigures:
    """DeviceError if the engine and the reference give different pictures."""
    frames = resize(pair.input, shape.height, shape.width)[None]
    answers, right = answers_of(_Batched(engine, shape.batch), frames, pair.range), reference(frames)
    if fault := answers.faults[0] or right.faults[0]:
        raise DeviceError(f"shape {shape}: {fault}")
    found = difference(answers.faces[0], right.faces[0])
    if wrong := missed(limits_elsewhere(variant.figures), found):
        raise DeviceError(f"shape {shape} comes out differently on the CPU: {', '.join(wrong)}")
    return _figures(f"{pair.name} as {shape}", found.max_levels, found.psnr, found.ssim)


def _figures(name: str, max_levels: int, psnr: float, ssim: float) -> GoldenFigures:
    return GoldenFigures(name, max_levels, None if math.isinf(psnr) else psnr, ssim)


def batches_for(picture: NDArray[np.uint8], profiles: tuple[Profile, ...]) -> tuple[int, ...]:
    """The batches that an engine has for pictures of this one's size, the smallest first."""
    return tuple(sorted({p.batch for p in profiles if (p.height, p.width) == picture.shape[:2]}))


class _Batched:
    """An engine that is given each picture several times at once, and whose last answer counts."""

    def __init__(self, engine: Engine, batch: int) -> None:
        self._engine = engine
        self._batch = batch
        self.version = engine.version
        self.threads = engine.threads
        self.frames = engine.frames
        self.preferred_batch = batch

    def infer(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """See Engine; one picture."""
        found = self._engine.infer(np.repeat(images, self._batch, axis=0))
        if any(len(array) != self._batch for array in found.values()):
            raise DeviceError(f"gave {[len(array) for array in found.values()]} pictures for {self._batch}")
        return {name: array[-1:] for name, array in found.items()}

    def ran_on(self) -> str:
        """See Engine."""
        return self._engine.ran_on()

    def close(self) -> None:
        """See Engine."""
        self._engine.close()


class _OnTrial:
    """An engine that the store does not have yet."""

    threads = 0
    preferred_batch = 1

    def __init__(self, job: GateJob, outputs: tuple[str, ...], frames: Frames) -> None:
        library = TensorRt(job.flavour)
        plan = read_engine(Path(job.plan), job.bytes, job.sha256)
        self.version = library.title
        self._runner = load(library, plan, int(job.device.removeprefix("cuda:")), job.profiles)
        self.frames = frames
        self._outputs = outputs

    def infer(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """See Engine."""
        found = self._runner.infer(images)
        return {name: found[name] for name in self._outputs}

    def ran_on(self) -> str:
        """See Engine."""
        return self.version

    def close(self) -> None:
        """See Engine."""
        self._runner.close()


def judge_here(job: GateJob) -> Gate:
    """The same in this process."""
    from getgan.runtime.session import open_session

    try:
        bundle = Bundle.open(Path(job.bundle))
        variant = bundle.manifest.variant(job.variant)
        engine = _OnTrial(job, bundle.manifest.outputs_of(variant), variant.frames)
        try:
            session = open_session(bundle, device="cpu")
        except DeviceError:
            return judge(bundle, variant, engine, job.profiles)
        with session:
            return judge(bundle, variant, engine, job.profiles, session.translate)
    except (GetganError, Unsuitable) as error:
        return Gate("failed", str(error))


if __name__ == "__main__":
    result = judge_here(msgspec.json.decode(sys.argv[1], type=GateJob))
    sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
    sys.stdout.flush()
    os._exit(0)  # what is left of the library takes a while to give back, and may crash over it
