"""OpenVINO on the CPU, in fp32 or bf16, whichever was asked for and never the other."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from getgan.errors import DeviceError
from getgan.runtime.backends import CLOSED, Candidate, Engine, Graph, Shape, Unsuitable, key_of
from getgan.runtime.backends.memory import graph_in_memory
from getgan.runtime.devices import BF16_FLAGS, Machine
from getgan.runtime.interrupts import interrupts_wait
from getgan.runtime.manifest import Precision

REPAIR = "pip install -U openvino"
HINTS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16"}
# Milliseconds of a GET-GAN (ngf 64, 256x256) with 2 threads of a Zen 5 server.
RANKS: dict[Precision, int] = {"bf16": 112, "fp32": 224}
# The small layers at both ends may stay in fp32; in a GET-GAN all 23 convolutions run in bf16.
BF16_SHARE = 0.5
TYPES = {"float32": "f32", "uint8": "u8"}


class OpenVino:
    """See Backend."""

    name = "openvino"
    distributions = ("openvino",)

    def candidates(self, device: str) -> tuple[Candidate, ...]:
        """See Backend; its CPU plugin has no fp16 of its own."""
        if device != "cpu":
            return ()
        return tuple(Candidate(self.name, device, precision, rank) for precision, rank in RANKS.items())

    def check(self, candidate: Candidate, machine: Machine) -> None:
        """See Backend."""
        if not machine.version("openvino"):
            raise Unsuitable("openvino is not installed: pip install openvino")
        flags = machine.flags
        if candidate.precision == "bf16" and flags is not None and not set(flags) & set(BF16_FLAGS):
            # OpenVINO takes the hint on such a CPU too and imitates bf16, slower than fp32.
            raise Unsuitable(f"this CPU has no bf16 instructions ({' or '.join(BF16_FLAGS)})")

    def key(self, graph: Graph, candidate: Candidate, machine: Machine, shapes: Sequence[Shape] = ()) -> str:
        """See Backend."""
        return key_of(graph, candidate, machine.version("openvino"), machine, shapes)

    def open(self, graph: Graph, candidate: Candidate, threads: int) -> Engine:
        """See Backend."""
        return OpenVinoEngine(graph, threads)


class OpenVinoEngine:
    """A compiled model with one inference request, which callers take in turn.

    A request has one set of outputs: two threads in it got each other's results, or "Infer Request is busy".
    A request for each caller wins nothing: one stream (the fastest for one picture) runs one at a time.

    No CACHE_DIR: a GET-GAN compiles in 0.09 s, from the cache in 0.03 s (ngf 64, 2 threads), and for these
    0.06 s of 0.6 there would be 45 MB more on the disk, 40 MB more in memory, and a blob that no hash covers.
    """

    def __init__(self, graph: Graph, threads: int) -> None:
        try:
            with interrupts_wait():
                import openvino
        except (ImportError, OSError) as error:
            raise DeviceError(
                f"openvino is installed and cannot be imported ({_line(error)}); {REPAIR}"
            ) from error
        self.version = f"openvino {openvino.__version__.split('-')[0]}"
        self.threads = threads
        self.frames = graph.frames
        # All cores work on one picture: two take twice the time and the memory, and are rounded otherwise.
        self.preferred_batch = 1
        self._precision = graph.precision
        self._input = graph.input
        hint = HINTS[graph.precision]
        # Without the hint OpenVINO runs bf16 wherever the CPU has it, whatever the graph says.
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": hint,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
        }
        try:
            library = core()
            if graph.precision == "bf16" and "BF16" not in library.get_property(
                "CPU", "OPTIMIZATION_CAPABILITIES"
            ):
                raise Unsuitable("OpenVINO finds no bf16 instructions in this CPU")
            with graph_in_memory(graph) as place:
                model = library.read_model(place)
            self._compiled: Any = library.compile_model(model, "CPU", settings)
            taken = self._compiled.get_property("INFERENCE_PRECISION_HINT")
            self._request: Any = self._compiled.create_infer_request()
            self._turn = threading.Lock()
        except RuntimeError as error:
            raise DeviceError(f"OpenVINO cannot load the graph ({_line(error)}); {REPAIR}") from error
        if taken != getattr(openvino.Type, hint):
            raise DeviceError(f"OpenVINO took {taken.get_type_name()} where {hint} was asked for; {REPAIR}")
        # A port has several names where a node that does nothing was removed behind it.
        inputs = [port.get_names() for port in self._compiled.inputs]
        names = [port.get_names() for port in self._compiled.outputs]
        wanted = (graph.input, *graph.outputs)
        pairs = zip(wanted, inputs + names, strict=False)
        if len(inputs) != 1 or len(names) != len(graph.outputs) or any(n not in p for n, p in pairs):
            raise DeviceError(f"the graph has {inputs} -> {names}, the manifest says {wanted}")
        for name, port in zip(wanted, (*self._compiled.inputs, *self._compiled.outputs), strict=True):
            kind, right = port.get_element_type().get_type_name(), TYPES[graph.type_of(name)]
            if kind != right:
                raise DeviceError(f"the graph's {name} is of type {kind}, wanted {right}")
        self._outputs = graph.outputs

    def infer(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """See Engine."""
        with self._turn:
            if self._request is None:
                raise DeviceError(CLOSED)
            try:
                # Inputs are not copied, as the caller waits; outputs are, before the next one's turn.
                found = self._request.infer({self._input: images}, share_inputs=True, share_outputs=False)
            except RuntimeError as error:
                raise DeviceError(f"OpenVINO fails while it runs ({_line(error)}); {REPAIR}") from error
        return {name: np.asarray(found[place]) for place, name in enumerate(self._outputs)}

    def ran_on(self) -> str:
        """From the executed graph: in which precision each convolution ran."""
        layers = Counter[str]()
        for node in self._compiled.get_runtime_model().get_ops():
            about = node.get_rt_info()
            if about["layerType"].astype(str) in ("Convolution", "Deconvolution"):
                layers[about["runtimePrecision"].astype(str)] += 1
        hint, total = HINTS[self._precision], layers.total()
        wanted = total if self._precision == "fp32" else total * BF16_SHARE
        if layers[hint] < wanted:
            ran = ", ".join(f"{count} in {name}" for name, count in layers.items())
            raise DeviceError(f"OpenVINO ran of {total} convolutions {ran}; wanted {hint}: {REPAIR}")
        devices = "+".join(self._compiled.get_property("EXECUTION_DEVICES"))
        return f"{devices}, {layers[hint]} of {total} convolutions in {hint}"

    def close(self) -> None:
        """See Engine."""
        with self._turn:
            self._request = self._compiled = None


@lru_cache(maxsize=1)
def core() -> Any:
    """One for the process, never let go of.

    With the first, OpenVINO's CPU plugin gives the calling thread a stack for signals, and unmaps it with the
    last. Where that happens in another thread, the next signal ends the process: Ctrl-C was a segmentation
    fault after an engine had been closed elsewhere (2026.4.1; a test keeps it so).
    """
    import openvino

    return openvino.Core()


def _line(error: BaseException) -> str:
    """The last line of OpenVINO's many says what happened; the first ones name its source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]
