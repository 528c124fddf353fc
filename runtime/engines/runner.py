"""A deserialized engine at work: all is allocated before the first call, and only used from then on."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from getgan.errors import ConfigError, DeviceError
from getgan.runtime.backends import CLOSED, Shape
from getgan.runtime.engines.adapter import TensorRt, tensor_shape
from getgan.runtime.engines.cuda import Cuda
from getgan.runtime.engines.fingerprint import Profile
from getgan.runtime.engines.lane import Arrays, Lane, Tensor

# While the GPU computes one batch, the next one is copied in and the last one out.
LANES = 2


class EngineRunner:
    """Runs an engine for callers in any number of threads."""

    def __init__(
        self,
        trt: Any,
        engine: Any,
        gpu: int,
        shapes: Sequence[Shape],
        *,
        said: Callable[[], str] = lambda: "",
        lanes: int = LANES,
    ) -> None:
        """trt: the module that `engine` came from. shapes: that it was built for, each with its batch.

        said: what the library's logger has collected, for messages. DeviceError if anything fails; then
        nothing is left on the GPU.
        """
        self.input, self.outputs = tensors_of(trt, engine)
        self.shapes = tuple(sorted(shapes))  # the smallest batch first
        self._engine = engine
        self._closing = threading.Lock()
        self._lanes: list[Lane] = []
        self._free: queue.SimpleQueue[Lane | None] = queue.SimpleQueue()
        self._owned = ExitStack()
        try:
            self._cuda = Cuda(gpu, self._owned)
            for _ in range(lanes):
                tensors = (self.input, self.outputs)
                self._lanes.append(Lane(trt, engine, self._cuda, tensors, self.shapes, said))
                self._free.put(self._lanes[-1])
        except BaseException:
            self.close()
            raise
        self.shares_memory = self._cuda.shares_memory
        self.note = self._lanes[0].note
        self.preferred_batch = lanes * max(shape[0] for shape in shapes)

    def infer(self, images: NDArray[Any]) -> Arrays:
        """Images of the input's type, any number of one known size -> each output by name.

        More than a batch go through the lanes in turn. ConfigError for a size or type that the engine was not
        built for, DeviceError if the GPU fails or the runner is closed.
        """
        batches = self._batches(images)
        found: list[Arrays] = []
        started: deque[tuple[Lane, Shape, int]] = deque()
        with self._some_lanes(len(batches)) as lanes:
            try:
                at = 0
                for number, (shape, count) in enumerate(batches):
                    lane = lanes[number % len(lanes)]
                    if len(started) == len(lanes):  # then the oldest batch is this lane's
                        found.append(_collected(started))
                    lane.start(shape, images[at : at + count])
                    started.append((lane, shape, count))
                    at += count
                while started:
                    found.append(_collected(started))
            except BaseException:
                for lane in lanes:  # nobody may get buffers that the GPU still works with
                    lane.settle()
                raise
        if len(found) == 1:
            return found[0]
        return {tensor.name: np.concatenate([part[tensor.name] for part in found]) for tensor in self.outputs}

    def device_seconds(self, shape: Shape, rounds: int) -> list[float]:
        """What the engine alone takes, by the GPU's clock: no copies, no CUDA graph."""
        with self._some_lanes(1) as lanes:
            return lanes[0].device_seconds(shape, rounds)

    def close(self) -> None:
        """Give everything back, once the calls that run have ended; may be called twice."""
        with self._closing:
            if self._engine is None:
                return
            for _ in self._lanes:
                self._free.get()
            if self._lanes:
                with suppress(DeviceError):  # a lost GPU
                    self._cuda.enter()
            for lane in self._lanes:
                lane.buckets.clear()  # contexts go before the engine, and before their memory
            self._owned.close()
            self._engine = None
            self._free.put(None)  # who waits for a lane sees the end, and passes it on

    def _batches(self, images: NDArray[Any]) -> list[tuple[Shape, int]]:
        """Shapes that take the images, and how many go into each."""
        fitting = [shape for shape in self.shapes if shape[1:] == images.shape[1:]]
        if not fitting or not len(images) or images.dtype != self.input.dtype:
            known = ", ".join(str(shape) for shape in self.shapes)
            raise ConfigError(
                f"found pictures of {images.dtype} {images.shape}; this engine was built for "
                f"{self.input.dtype} {known}, with any number of pictures: scale them (--size, --fit crop), "
                "or build it for their size: getgan build BUNDLE --size"
            )
        batches = []
        left = len(images)
        while left:
            shape = next((shape for shape in fitting if shape[0] >= left), fitting[-1])
            batches.append((shape, min(left, shape[0])))
            left -= batches[-1][1]
        return batches

    @contextmanager
    def _some_lanes(self, wanted: int) -> Iterator[list[Lane]]:
        """One lane, and up to `wanted` as long as nobody else has them: a second one is never waited for."""
        first = self._free.get()
        if first is None:
            self._free.put(None)
            raise DeviceError(CLOSED)
        lanes = [first]
        try:
            while len(lanes) < wanted:
                try:
                    lane = self._free.get_nowait()
                except queue.Empty:
                    break
                assert lane is not None  # the end waits for the first one
                lanes.append(lane)
            self._cuda.enter()
            yield lanes
        finally:
            for lane in lanes:
                self._free.put(lane)


def _collected(started: deque[tuple[Lane, Shape, int]]) -> Arrays:
    lane, shape, count = started.popleft()
    return lane.collect(shape, count)


def load(library: TensorRt, plan: bytes, gpu: int, profiles: Sequence[Profile]) -> EngineRunner:
    """Deserialize an engine and make it ready. plan: what the store gave out after it checked the hash.

    Without a GPU a lean library crashes here: only in a process that may die, or after one has lived.
    """
    library.said()
    engine = library.runtime().deserialize_cuda_engine(plan)
    if engine is None:
        raise DeviceError(f"{library.title} does not take the engine: {library.said()}; getgan build BUNDLE")
    sides = tuple(engine.get_tensor_shape(tensors_of(library.module, engine)[0].name))
    shapes = [tensor_shape(profile, sides) for profile in profiles]
    return EngineRunner(library.module, engine, gpu, shapes, said=library.said)


def tensors_of(trt: Any, engine: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The engine's input and its outputs; DeviceError unless they are what getgan's graphs have."""
    float32, uint8 = np.dtype(np.float32), np.dtype(np.uint8)
    types: dict[Any, np.dtype[Any]] = {trt.DataType.FLOAT: float32, trt.DataType.UINT8: uint8}
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    for number in range(engine.num_io_tensors):
        name = engine.get_tensor_name(number)
        found = engine.get_tensor_dtype(name)
        if found not in types or engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
            raise DeviceError(f"the engine's {name} is a {found}; wanted float32 or uint8 on the GPU")
        if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
            inputs.append(Tensor(name, types[found]))
        else:
            outputs.append(Tensor(name, types[found]))
    if len(inputs) != 1 or not outputs:
        names = [tensor.name for tensor in (*inputs, *outputs)]
        raise DeviceError(f"the engine has {len(inputs)} inputs among {names}; wanted one picture in")
    return inputs[0], tuple(outputs)
