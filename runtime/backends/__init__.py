"""One file per library that runs graphs: the ways it knows, whether it can here, how it is opened."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from getgan.runtime.devices import Gpu, Machine
from getgan.runtime.manifest import EXTENT, FEATURES, Frames, Precision

CLOSED = "the session is closed; wanted an open one: open_session(bundle)"
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """An ONNX graph, and what the manifest says of it."""

    # Its checked bytes. A call and no value, so that 45 MB are not kept while the backend unpacks them.
    read: Callable[[], bytes]
    precision: Precision
    input: str
    outputs: tuple[str, ...]  # all that the file gives, in its order
    sha256: str = ""  # of its bytes; "" = unknown, and then it has no key
    frames: Frames = "float32"

    def type_of(self, name: str) -> Frames:
        """Of the input, or of one of the outputs."""
        return "float32" if name in (EXTENT, FEATURES) else self.frames


@dataclass(frozen=True)
class Candidate:
    """A way to run a graph."""

    backend: str
    device: str  # "cpu" or "cuda:N"
    precision: Precision
    rank: int = 0  # the smallest is tried first: the fastest
    only_named: bool = False  # runs if its precision is asked for by name

    def __str__(self) -> str:
        return f"{self.backend} {self.device} {self.precision}"


class Unsuitable(Exception):
    """A backend cannot run this here, for a plain reason: not installed, no such CPU or GPU.

    A fault (the library is there and fails) is a DeviceError instead: `open_session` reports it louder.
    """


class Engine(Protocol):
    """A graph that is ready to run, for callers in any number of threads."""

    version: str  # "openvino 2026.4.1"
    threads: int  # CPU threads, 0 on a GPU
    frames: Frames  # of its graph
    preferred_batch: int  # so many frames of one size take less time together; 1 = they do not

    def infer(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """What its graph takes (see Frames), any N -> each output by name, of its type, the caller's own.

        DeviceError if the library fails, or if the engine is closed.
        """

    def ran_on(self) -> str:
        """After an inference: the provider and precision that really ran; DeviceError if not as asked."""

    def close(self) -> None:
        """Give the memory back; may be called twice, and while another thread is in `infer`."""


class Backend(Protocol):
    """A library that runs graphs; nothing of it is imported before `open`."""

    name: str

    @property
    def distributions(self) -> tuple[str, ...]:
        """Pip's names of what brings the library, of which one is enough; the usual one first."""

    def candidates(self, device: str) -> tuple[Candidate, ...]:
        """The ways it knows on "cpu" or "cuda:N", whether or not this machine has that."""

    def check(self, candidate: Candidate, machine: Machine) -> None:
        """Unsuitable, with the reason and the command that helps, if the machine cannot run the candidate."""

    def key(self, graph: Graph, candidate: Candidate, machine: Machine, shapes: Sequence[Shape] = ()) -> str:
        """Equal for what is the same graph, run in the same way, by the same library, on the same processor.

        shapes: those that it is prepared for; none = any. Unsuitable where the graph lacks what it needs.
        """

    def open(self, graph: Graph, candidate: Candidate, threads: int) -> Engine:
        """Load the graph; DeviceError if the library fails, Unsuitable as `check`."""


def key_of(
    graph: Graph, candidate: Candidate, version: str, machine: Machine, shapes: Sequence[Shape]
) -> str:
    """The SHA-256, in hexadecimal, of everything that a compiled graph depends on."""
    if not graph.sha256:
        raise ValueError("a graph without its SHA-256 has no key")
    parts = (
        graph.sha256,
        f"{candidate.backend} {version}",
        f"{candidate.device} {candidate.precision}",
        machine.processor(candidate.device),
        f"{graph.input} {graph.outputs} {tuple(shapes)}",
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def gpu_index(device: str) -> int:
    """3 of "cuda:3"."""
    return int(device.removeprefix("cuda:"))


def wanted_gpu(candidate: Candidate, machine: Machine) -> Gpu:
    """The GPU that a candidate names; Unsuitable if the machine does not have it."""
    index = gpu_index(candidate.device)
    if index < len(machine.gpus):
        return machine.gpus[index]
    present = ", ".join(f"cuda:{found.index} ({found.name})" for found in machine.gpus)
    raise Unsuitable(f"no GPU {index} here: {f'there is {present}' if present else machine.gpus_note}")
