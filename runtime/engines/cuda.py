"""One GPU of this process: memory, streams and graphs of NVIDIA's CUDA runtime, its errors as our own."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from getgan.errors import DeviceError

PACKAGE = "cuda-bindings"
INSTALL = f"pip install {PACKAGE}"

# GPUs whose context this process has lost: CUDA gives every later call the same error until it ends.
_lost: dict[int, str] = {}


def cuda_runtime() -> Any:
    """The module cuda.bindings.runtime; DeviceError if it is not there."""
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # else CUDA numbers the fastest 0
    try:
        from cuda.bindings import runtime
    except (ImportError, OSError) as error:
        raise DeviceError(f"{PACKAGE} cannot be imported ({error}); {INSTALL}") from error
    return runtime


def find_gpus() -> int:
    """How many GPUs CUDA sees; DeviceError where there is none, or no driver that answers."""
    runtime = cuda_runtime()
    error, count = runtime.cudaGetDeviceCount()
    if int(error):
        raise DeviceError(f"CUDA finds no GPU or no driver ({error.name}); see `getgan doctor`")
    return int(count)


class Cuda:
    """A GPU's memory, streams and graphs, for callers in any number of threads.

    What it makes it hands to `owned`, which gives it back in the reverse order. Whether that succeeds is not
    asked: it fails only for a GPU that is lost, and a lost one has nothing to give back.
    """

    def __init__(self, index: int, owned: ExitStack) -> None:
        self.index = index
        self._owned = owned
        self._runtime: Any = cuda_runtime()
        self._refuse_lost()
        count = find_gpus()
        if index >= count:
            raise DeviceError(f"CUDA sees {count} GPUs; wanted cuda:{index}: see `getgan doctor`")
        self.enter()
        kinds = self._runtime.cudaDeviceAttr
        integrated = self._call(self._runtime.cudaDeviceGetAttribute, kinds.cudaDevAttrIntegrated, index)
        maps = self._call(self._runtime.cudaDeviceGetAttribute, kinds.cudaDevAttrCanMapHostMemory, index)
        # The GPU and the CPU have one memory: a copy between them would only cost time.
        self.shares_memory = bool(integrated and maps)

    def enter(self) -> None:
        """Make it the calling thread's GPU: CUDA keeps one for each thread. DeviceError if it is lost."""
        self._refuse_lost()
        self._call(self._runtime.cudaSetDevice, self.index)

    def stream(self) -> Any:
        """A stream of its own, that waits for no other."""
        flags = self._runtime.cudaStreamNonBlocking
        stream = self._call(self._runtime.cudaStreamCreateWithFlags, flags)
        self._owned.callback(self._runtime.cudaStreamDestroy, stream)
        return stream

    def device_memory(self, size: int) -> int:
        """The address of so many bytes on the GPU."""
        place = int(self._call(self._runtime.cudaMalloc, size))
        self._owned.callback(self._runtime.cudaFree, place)
        return place

    def host_memory(self, size: int) -> tuple[NDArray[np.uint8], int]:
        """Pinned bytes, zeroed, and the address by which the GPU reaches them, 0 if it has its own memory.

        The GPU copies from pinned memory by itself; from any other the driver copies it first, and waits.
        """
        runtime = self._runtime
        flags = runtime.cudaHostAllocMapped if self.shares_memory else runtime.cudaHostAllocDefault
        place = int(self._call(runtime.cudaHostAlloc, size, flags))
        self._owned.callback(runtime.cudaFreeHost, place)
        array = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(place))
        array[:] = 0
        there = int(self._call(runtime.cudaHostGetDevicePointer, place, 0)) if self.shares_memory else 0
        return array, there

    def to_device(self, device: int, host: NDArray[Any], stream: Any) -> None:
        """Copy all of an array in pinned memory, in the order of the stream."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call(self._runtime.cudaMemcpyAsync, device, host.ctypes.data, host.nbytes, kind, stream)

    def to_host(self, host: NDArray[Any], device: int, stream: Any) -> None:
        """Fill an array in pinned memory, in the order of the stream."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call(self._runtime.cudaMemcpyAsync, host.ctypes.data, device, host.nbytes, kind, stream)

    def wait(self, stream: Any) -> None:
        """Until all that the stream was given is done; Python's other threads run on meanwhile."""
        self._call(self._runtime.cudaStreamSynchronize, stream)

    @contextmanager
    def captured(self, stream: Any) -> Iterator[list[Any]]:
        """Record what the block gives the stream; the list then holds the graph that `launch` repeats."""
        found: list[Any] = []
        # Of this thread: other threads may allocate meanwhile.
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call(self._runtime.cudaStreamBeginCapture, stream, mode)
        try:
            yield found
        except BaseException:
            self._end_capture(stream)
            raise
        graph = self._call(self._runtime.cudaStreamEndCapture, stream)
        try:
            executable = self._call(self._runtime.cudaGraphInstantiate, graph, 0)
        finally:
            self._runtime.cudaGraphDestroy(graph)
        self._owned.callback(self._runtime.cudaGraphExecDestroy, executable)
        found.append(executable)

    def launch(self, graph: Any, stream: Any) -> None:
        """Give the stream all that was captured, with one call."""
        self._call(self._runtime.cudaGraphLaunch, graph, stream)

    def event(self) -> Any:
        """A mark in a stream, with its time."""
        event = self._call(self._runtime.cudaEventCreateWithFlags, self._runtime.cudaEventDefault)
        self._owned.callback(self._runtime.cudaEventDestroy, event)
        return event

    def mark(self, event: Any, stream: Any) -> None:
        """Put the mark behind what the stream was given so far."""
        self._call(self._runtime.cudaEventRecord, event, stream)

    def seconds_between(self, first: Any, last: Any) -> float:
        """Between two marks that the GPU has passed."""
        return float(self._call(self._runtime.cudaEventElapsedTime, first, last)) / 1000.0

    def settle(self, stream: Any) -> None:
        """As `wait`, after a fault that is told already."""
        self._runtime.cudaStreamSynchronize(stream)

    def _refuse_lost(self) -> None:
        if self.index in _lost:
            raise DeviceError(_lost[self.index])

    def _end_capture(self, stream: Any) -> None:
        # The capture is broken, and what it gives with it; only the stream must leave it.
        _, graph = (*self._runtime.cudaStreamEndCapture(stream), None)[:2]
        if graph is not None and int(graph):
            self._runtime.cudaGraphDestroy(graph)
        self._runtime.cudaGetLastError()

    def _call(self, function: Any, *arguments: Any) -> Any:
        error, *values = function(*arguments)
        if int(error):
            raise DeviceError(self._words(function.__name__, error))
        return values[0] if len(values) == 1 else tuple(values)

    def _words(self, name: str, error: Any) -> str:
        """What happened; and whether this process has lost the GPU: then CUDA fails ever after."""
        runtime = self._runtime
        runtime.cudaGetLastError()  # forgets an error that is over
        what = f"cuda:{self.index}: {name} failed: {error.name}"
        if int(error) == int(runtime.cudaError_t.cudaErrorMemoryAllocation):
            return f"{what}: its memory is full; close other programs, or build for a smaller batch"
        if error.name.startswith("cudaErrorStreamCapture"):
            return what  # while a stream is captured, the question below is an error itself
        (still,) = runtime.cudaDeviceSynchronize()
        if not int(still):
            return what
        return _lost.setdefault(
            self.index,
            f"{what}; this process has lost the GPU, and every later call fails: start the process again "
            "(no session can be opened on it in this one)",
        )
