"""A backend as docs/development.md sketches one, OpenCV on the CPU in fp32; only a test adds it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from getgan.errors import DeviceError
from getgan.runtime.backends import CLOSED, Candidate, Engine, Graph, Shape, Unsuitable, key_of
from getgan.runtime.devices import Machine

MAJOR = 5  # the engine of OpenCV 4 was not tried


class OpenCv:
    """See Backend."""

    name = "opencv"
    distributions = ("opencv-python", "opencv-python-headless")

    def candidates(self, device: str) -> tuple[Candidate, ...]:
        """See Backend; the last one to be tried."""
        return (Candidate(self.name, device, "fp32", 1000),) if device == "cpu" else ()

    def check(self, candidate: Candidate, machine: Machine) -> None:
        """See Backend."""
        version = self._version(machine)
        if int(version.partition(".")[0] or 0) < MAJOR:
            raise Unsuitable(f"found OpenCV {version or 'not at all'}; wanted {MAJOR} or later")

    def key(self, graph: Graph, candidate: Candidate, machine: Machine, shapes: Sequence[Shape] = ()) -> str:
        """See Backend."""
        return key_of(graph, candidate, self._version(machine), machine, shapes)

    def open(self, graph: Graph, candidate: Candidate, threads: int) -> Engine:
        """See Backend."""
        return OpenCvEngine(graph, threads)

    def _version(self, machine: Machine) -> str:
        return next((found for name in self.distributions if (found := machine.version(name))), "")


class OpenCvEngine:
    """A network with one set of inputs and outputs, which callers use in turn."""

    _turn = threading.Lock()  # of all engines: OpenCV's number of threads is the process's

    def __init__(self, graph: Graph, threads: int) -> None:
        import cv2

        self.version = f"opencv {cv2.__version__}"
        self.threads = threads
        self.frames = graph.frames
        self.preferred_batch = 1
        self._cv2: Any = cv2
        self._input, self._outputs = graph.input, graph.outputs
        try:
            data = np.frombuffer(graph.read(), np.uint8)
            self._net: Any = self._cv2.dnn.readNetFromONNX(data, self._cv2.dnn.ENGINE_NEW)
            names = tuple(self._net.getUnconnectedOutLayersNames())
        except cv2.error as error:
            raise DeviceError(f"OpenCV cannot load the graph ({_line(error)})") from error
        if names != graph.outputs:
            raise DeviceError(f"the graph gives {names}, the manifest says {graph.outputs}")

    def infer(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """See Engine."""
        with self._turn:
            if self._net is None:
                raise DeviceError(CLOSED)
            try:
                self._cv2.setNumThreads(self.threads)
                self._net.setInput(images, self._input)
                found = [np.array(value) for value in self._net.forward(list(self._outputs))]
            except self._cv2.error as error:
                raise DeviceError(f"OpenCV fails while it runs ({_line(error)})") from error
        for name, value in zip(self._outputs, found, strict=True):
            if value.dtype != np.float32:
                raise DeviceError(f"the graph's {name} is a {value.dtype}, wanted float32")
        return dict(zip(self._outputs, found, strict=True))

    def ran_on(self) -> str:
        """What was asked for: OpenCV tells of no layer how it ran, and so this is no proof."""
        return "CPU"

    def close(self) -> None:
        """See Engine."""
        with self._turn:
            self._net = None


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]
