"""Frames → answers: pictures through an engine and pictures again, with what is wrong with each."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from getgan.contract import Range
from getgan.errors import DeviceError
from getgan.runtime.backends import Engine
from getgan.runtime.manifest import EXTENT, FEATURES
from getgan.runtime.outputs import range_fault, shape_fault, value_fault
from getgan.runtime.pixels import image_from_tensor, map_from_tensor, tensor_from_images

_Pictures = tuple[NDArray[np.uint8], NDArray[np.uint8] | None, tuple[str, ...]]


@dataclass(frozen=True)
class Answers:
    """What became of N frames of one size, in their order."""

    faces: NDArray[np.uint8]  # (N, H, W, 3) RGB; black where there is a fault
    occlusion: NDArray[np.uint8] | None  # (N, H', W'), 255 = hidden; None: the bundle has none
    faults: tuple[str, ...]  # what is wrong with each, in words; "" = nothing
    began: float  # time.perf_counter() when the engine got them,
    ended: float  # and when it had answered
    features: NDArray[np.float32] | None = None  # (N, D) for the guard; None: the bundle has none


def answers_of(engine: Engine, frames: NDArray[np.uint8], value_range: Range) -> Answers:
    """Translate uint8 (N, H, W, 3) RGB of a size that the network takes; value_range: of its pictures.

    DeviceError if the engine fails, or gives something else than N pictures.
    """
    given = frames if engine.frames == "uint8" else tensor_from_images(frames, value_range)
    began = time.perf_counter()
    outputs = engine.infer(given)
    ended = time.perf_counter()
    if fault := shape_fault(outputs, given.shape, engine.frames):
        raise DeviceError(f"{engine.version}: {fault}; run `getgan verify` on the bundle")
    judge = _judged if engine.frames == "uint8" else _converted
    return Answers(*judge(outputs, value_range), began, ended, outputs.get(FEATURES))


def _judged(outputs: Mapping[str, NDArray[Any]], value_range: Range) -> _Pictures:
    """The pictures that a graph made itself, by the extent that it tells."""
    faults = tuple(range_fault("face", float(low), float(high), value_range) for low, high in outputs[EXTENT])
    faces = outputs["face"]
    for number, fault in enumerate(faults):
        if fault:
            faces[number] = 0
    return faces, outputs.get("occlusion"), faults


def _converted(outputs: Mapping[str, NDArray[Any]], value_range: Range) -> _Pictures:
    """The pictures of float outputs, each judged by all its values: a batch has one NaN's fault once."""
    count, _, height, width = outputs["face"].shape
    faces, hidden, faults = np.zeros((count, height, width, 3), np.uint8), None, []
    if "occlusion" in outputs:
        hidden = np.zeros((count, *outputs["occlusion"].shape[2:]), np.uint8)
    for number in range(count):
        found = (value_fault(name, array[number], value_range) for name, array in outputs.items())
        faults.append(next(filter(None, found), ""))
        if faults[number]:
            continue
        faces[number] = image_from_tensor(outputs["face"][number], value_range)
        if hidden is not None:
            hidden[number] = map_from_tensor(outputs["occlusion"][number])
    return faces, hidden, tuple(faults)
