"""One file per library that runs graphs: it opens a graph in one precision on one device, or says why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from getgan.runtime.manifest import Precision

CLOSED = "the session is closed; wanted an open one: open_session(bundle)"


@dataclass(frozen=True)
class Graph:
    """An ONNX graph, and what the manifest says of it."""

    # Its checked bytes. A call and no value, so that 45 MB are not kept while the backend unpacks them.
    read: Callable[[], bytes]
    precision: Precision
    input: str
    outputs: tuple[str, ...]


class Unsuitable(Exception):
    """A backend cannot run this here, for a plain reason: not installed, no such CPU or GPU.

    A fault (the library is there and fails) is a DeviceError instead: `open_session` reports it louder.
    """


class Engine(Protocol):
    """A graph that is ready to run, for callers in any number of threads."""

    version: str  # "openvino 2026.4.1"
    threads: int  # CPU threads, 0 on a GPU

    def infer(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """float32 (N, 3, H, W) in [-1, 1] -> each output by name, float32, the caller's own.

        DeviceError if the library fails, or if the engine is closed.
        """

    def ran_on(self) -> str:
        """After an inference: the provider and precision that really ran; DeviceError if not as asked."""

    def close(self) -> None:
        """Give the memory back; may be called twice, and while another thread is in `infer`."""
