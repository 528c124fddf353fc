"""ONNX Runtime on a GPU: the ways to open a graph there, and runs whose memory stays where it is."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from getgan.runtime.backends import Shape
from getgan.runtime.manifest import Precision

# Each keeps its layers' memory on the GPU, as its captured graph holds their addresses.
MAX_SHAPES = 4
NO_GRAPH = "-1"  # ONNX Runtime's own sign for a run that captures and replays nothing


@dataclass(frozen=True)
class Attempt:
    """A way to open a graph on a GPU."""

    strict: bool  # ONNX Runtime itself refuses a node that would run elsewhere; and CUDA graphs
    settings: dict[str, Any]  # of the CUDA provider
    entries: dict[str, str] = field(default_factory=dict)  # of the session


def attempts(gpu: int, precision: Precision) -> tuple[Attempt, ...]:
    """Strictly with CUDA graphs; then, for a graph that counts its pixels on the CPU, without either.

    The strict way refuses such a graph, and is right to: no CUDA graph holds a CPU's node. The other way is
    judged by its profile (`placement`). The strict way ran on an H100; the other has not run on a GPU yet.
    """
    # TF32 has 10 bits of mantissa; fp32 means fp32.
    settings: dict[str, Any] = {"device_id": gpu, "use_tf32": 0}
    if precision == "fp16":
        settings["prefer_nhwc"] = 1  # the order in which tensor cores want their channels
    strictly = Attempt(True, settings | {"enable_cuda_graph": 1}, {"session.disable_cpu_ep_fallback": "1"})
    return strictly, Attempt(False, settings)


@dataclass(frozen=True)
class _Bound:
    """A shape's memory on the device."""

    input: Any  # onnxruntime.OrtValue
    outputs: tuple[Any, ...]
    binding: Any
    options: Any  # onnxruntime.RunOptions with the number of its CUDA graph


class Bindings:
    """Runs a session with input and outputs in the device's memory, for callers in turn.

    A CUDA graph reads and writes where it was captured, and must not run twice at once.
    """

    def __init__(
        self, onnxruntime: Any, session: Any, names: tuple[str, tuple[str, ...]], device: tuple[str, int]
    ) -> None:
        """names: of the input and the outputs. device: ("cuda", 0)."""
        self._library = onnxruntime
        self._session = session
        self._input, self._outputs = names
        self._device = device
        self._bound: dict[Shape, _Bound] = {}
        self._turn = threading.Lock()

    def run(self, images: NDArray[Any]) -> list[NDArray[Any]]:
        """Each output, the caller's own."""
        with self._turn:
            bound = self._bound.get(images.shape)
            if bound is None and len(self._bound) < MAX_SHAPES:
                bound = self._bound[images.shape] = self._bind(images)
            if bound is None:
                feed = {self._input: images}
                found: list[NDArray[Any]] = self._session.run(
                    list(self._outputs), feed, self._options(NO_GRAPH)
                )
                return found
            bound.input.update_inplace(images)
            self._session.run_with_iobinding(bound.binding, bound.options)
            return [_own(value.numpy()) for value in bound.outputs]

    def close(self) -> None:
        """Let go of the memory, once the call that runs has ended."""
        with self._turn:
            self._bound.clear()
            self._session = None

    def _bind(self, images: NDArray[Any]) -> _Bound:
        """The shapes of the outputs come from a first run; after it their memory stays."""
        make = self._library.OrtValue.ortvalue_from_shape_and_type
        source = make(list(images.shape), images.dtype.type, *self._device)
        source.update_inplace(images)
        first = self._session.io_binding()
        first.bind_ortvalue_input(self._input, source)
        for name in self._outputs:
            first.bind_output(name, *self._device)
        self._session.run_with_iobinding(first, self._options(NO_GRAPH))
        results = tuple(
            make(value.shape(), value.numpy().dtype.type, *self._device) for value in first.get_outputs()
        )
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self._input, source)
        for name, value in zip(self._outputs, results, strict=True):
            binding.bind_ortvalue_output(name, value)
        return _Bound(source, results, binding, self._options(str(len(self._bound) + 1)))

    def _options(self, graph: str) -> Any:
        options = self._library.RunOptions()
        options.add_run_config_entry("gpu_graph_id", graph)
        return options


def _own(array: NDArray[Any]) -> NDArray[Any]:
    """On a GPU it is a copy already; in the CPU's memory it is the buffer itself."""
    return array if array.flags.owndata else np.array(array)
