"""One batch at a time through an engine: a stream, and for each shape a context, buffers and a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from getgan.errors import DeviceError
from getgan.runtime.backends import Shape
from getgan.runtime.engines.cuda import Cuda

Arrays = dict[str, NDArray[Any]]
WARM_UPS = 2  # the first run of a shape loads kernels, which no capture may do


@dataclass(frozen=True)
class Tensor:
    """An input or output of an engine."""

    name: str
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class Buffer:
    """A tensor's memory, for one shape."""

    name: str
    host: NDArray[Any]  # pinned
    device: int  # the address that the engine works with
    copied: bool  # False = the GPU works in `host` itself


@dataclass
class Bucket:
    """A shape that the engine was built for."""

    context: Any  # tensorrt.IExecutionContext, of this shape alone
    input: Buffer
    outputs: tuple[Buffer, ...]
    graph: Any = None  # cudaGraphExec_t; None = each step is given by itself


class Lane:
    """A stream and what runs in it; used by one thread at a time.

    A context for each shape, as a captured graph holds the addresses and the choices of its context: one that
    changed its shape would leave the graph with the wrong ones. Their scratch memory is one, since the
    contexts of a lane never run at once.
    """

    def __init__(
        self,
        trt: Any,
        engine: Any,
        cuda: Cuda,
        tensors: tuple[Tensor, tuple[Tensor, ...]],
        shapes: Sequence[Shape],
        said: Callable[[], str],
    ) -> None:
        self.note = ""  # why it has no CUDA graphs; "" = it has them
        self._cuda = cuda
        self._said = said
        self._stream = cuda.stream()
        self._handle = int(self._stream)
        self._marks = (cuda.event(), cuda.event())
        self.buckets: dict[Shape, Bucket] = {}
        try:
            self._fill(trt, engine, tensors, shapes)
        except BaseException:
            self.settle()  # what is given back must be at rest
            raise

    def _fill(
        self,
        trt: Any,
        engine: Any,
        tensors: tuple[Tensor, tuple[Tensor, ...]],
        shapes: Sequence[Shape],
    ) -> None:
        size = engine.device_memory_size_v2  # for the largest of its profiles
        scratch = self._cuda.device_memory(size) if size else 0
        for shape in shapes:
            context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
            if context is None:
                raise DeviceError(f"the engine gives no execution context: {self._said()}")
            source, results = tensors
            profile = profile_of(engine, source.name, shape)
            self._ask("take its profile", context.set_optimization_profile_async(profile, self._handle))
            self._cuda.wait(self._stream)
            self._ask(f"take the shape {shape}", context.set_input_shape(source.name, shape))
            if scratch:
                context.set_device_memory(scratch, size)
            sides = {tensor.name: tuple(context.get_tensor_shape(tensor.name)) for tensor in results}
            for name, found in sides.items():
                if found[:1] != shape[:1] or min(found) < 1:
                    raise DeviceError(
                        f"the engine's {name} is {found} for {shape}; wanted {shape[0]} of them"
                    )
            bucket = Bucket(
                context,
                self._buffer(source, shape),
                tuple(self._buffer(tensor, sides[tensor.name]) for tensor in results),
            )
            for buffer in (bucket.input, *bucket.outputs):
                self._ask(f"place {buffer.name}", context.set_tensor_address(buffer.name, buffer.device))
            for _ in range(WARM_UPS):
                self._give(bucket)
                self._cuda.wait(self._stream)
            bucket.graph = self._captured(bucket)
            self.buckets[shape] = bucket

    def start(self, shape: Shape, images: NDArray[Any]) -> None:
        """Begin a batch, which may be smaller than its shape; returns at once."""
        bucket = self.buckets[shape]
        np.copyto(bucket.input.host[: len(images)], images, casting="no")
        if bucket.graph is None:
            self._give(bucket)
        else:
            self._cuda.launch(bucket.graph, self._stream)

    def collect(self, shape: Shape, count: int) -> Arrays:
        """The results of the batch that was started, the caller's own, when they are there."""
        self._cuda.wait(self._stream)
        return {buffer.name: buffer.host[:count].copy() for buffer in self.buckets[shape].outputs}

    def settle(self) -> None:
        """Until the GPU has left the buffers, after a fault that is told already."""
        self._cuda.settle(self._stream)

    def device_seconds(self, shape: Shape, rounds: int) -> list[float]:
        """What the engine alone takes, by the GPU's clock: no copies, no CUDA graph."""
        first, last = self._marks
        found = []
        for _ in range(rounds):
            self._cuda.mark(first, self._stream)
            self._execute(self.buckets[shape])
            self._cuda.mark(last, self._stream)
            self._cuda.wait(self._stream)
            found.append(self._cuda.seconds_between(first, last))
        return found

    def _buffer(self, tensor: Tensor, shape: Shape) -> Buffer:
        size = int(np.prod(shape)) * tensor.dtype.itemsize
        bytes_there, there = self._cuda.host_memory(size)
        host = bytes_there.view(tensor.dtype).reshape(shape)
        if there:
            return Buffer(tensor.name, host, there, copied=False)
        return Buffer(tensor.name, host, self._cuda.device_memory(size), copied=True)

    def _give(self, bucket: Bucket) -> None:
        if bucket.input.copied:
            self._cuda.to_device(bucket.input.device, bucket.input.host, self._stream)
        self._execute(bucket)
        for output in bucket.outputs:
            if output.copied:
                self._cuda.to_host(output.host, output.device, self._stream)

    def _execute(self, bucket: Bucket) -> None:
        self._ask("run", bucket.context.execute_async_v3(self._handle))

    def _captured(self, bucket: Bucket) -> Any:
        """A graph of all steps, copies and engine; None where they cannot be captured, and `note` says so."""
        try:
            with self._cuda.captured(self._stream) as graph:
                self._give(bucket)
        except DeviceError as error:
            self.note = f"without CUDA graphs ({error})"
            self._give(bucket)  # shows that the context came out of it unharmed
            self._cuda.wait(self._stream)
            return None
        return graph[0]

    def _ask(self, what: str, done: bool) -> None:
        if not done:
            raise DeviceError(f"the engine does not {what}: {self._said()}")


def profile_of(engine: Any, name: str, shape: Shape) -> int:
    """The number of the optimisation profile for a shape, the one made for just this shape if there is."""
    fixed = tuple(engine.get_tensor_shape(name))
    if min(fixed) >= 0:  # without a side left open there is one profile, which has no shapes
        if fixed != shape:
            raise DeviceError(f"the engine's {name} is {fixed}, its record says {shape}; build it again")
        return 0
    fitting: list[tuple[bool, int]] = []
    for number in range(engine.num_optimization_profiles):
        low, best, high = (tuple(sides) for sides in engine.get_tensor_profile_shape(name, number))
        if len(low) == len(shape) and all(a <= s <= b for a, s, b in zip(low, shape, high, strict=True)):
            fitting.append((best != shape, number))
    if not fitting:
        raise DeviceError(f"the engine has no profile for {name} {shape}; build it again")
    return min(fitting)[1]
