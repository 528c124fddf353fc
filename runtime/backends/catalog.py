"""The backends that getgan knows; a new one is a file beside this one and an entry here."""

from __future__ import annotations

from collections.abc import Iterable

from getgan.runtime.backends import Backend, Candidate
from getgan.runtime.backends.onnxruntime import OnnxRuntime
from getgan.runtime.backends.openvino import OpenVino
from getgan.runtime.backends.tensorrt import TensorRt

BACKENDS: tuple[Backend, ...] = (TensorRt(), OpenVino(), OnnxRuntime())
BACKEND_NAMES = tuple(backend.name for backend in BACKENDS)
DISTRIBUTIONS = tuple(name for backend in BACKENDS for name in backend.distributions)


def candidates(devices: Iterable[str]) -> list[Candidate]:
    """Every way to run a graph on these devices, the fastest first."""
    ways = [way for device in devices for backend in BACKENDS for way in backend.candidates(device)]
    return sorted(ways, key=lambda way: way.rank)


def backend_of(candidate: Candidate) -> Backend:
    """The backend of a candidate."""
    return next(backend for backend in BACKENDS if backend.name == candidate.backend)
