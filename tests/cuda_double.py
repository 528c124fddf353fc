"""CUDA and TensorRT as they are called, without a GPU: every call is recorded, and work is late, as on one.

What a stream is given happens when somebody waits for it, and in real memory: who reads too early reads old
bytes, who frees too early breaks, and a wrong order gives wrong pictures. Like CUDA it knows the calling
thread's device, refuses allocations in a capture, and gives the same error for ever once a kernel has failed.
"""

from __future__ import annotations

import ctypes
import enum
import threading
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Work = Callable[[], None]


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorInvalidValue = 1
    cudaErrorNoDevice = 100
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901


class cudaDeviceAttr(enum.IntEnum):
    cudaDevAttrIntegrated = 18
    cudaDevAttrCanMapHostMemory = 19


class cudaMemcpyKind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaStreamCaptureMode(enum.IntEnum):
    cudaStreamCaptureModeThreadLocal = 1


OK = cudaError_t.cudaSuccess
NO_DEVICE = ("cudaGetDeviceCount", "cudaSetDevice", "cudaGetLastError")


class Stream(int):
    """A handle; int as the real one is turned into."""

    pending: list[Work]
    capturing: list[Work] | None
    broken: bool


class CudaDouble:
    """Stands for the module cuda.bindings.runtime."""

    cudaError_t, cudaDeviceAttr, cudaMemcpyKind = cudaError_t, cudaDeviceAttr, cudaMemcpyKind
    cudaStreamCaptureMode = cudaStreamCaptureMode
    cudaStreamNonBlocking, cudaHostAllocDefault, cudaHostAllocMapped, cudaEventDefault = 1, 0, 2, 0

    def __init__(self, *, integrated: bool = False, gpus: int = 1) -> None:
        self.integrated, self.gpus = integrated, gpus
        self.calls: list[str] = []
        self.live: dict[int, Any] = {}  # address or handle: what it is
        self.wrong: list[str] = []  # what a real GPU would not forgive
        self.failing: dict[str, cudaError_t] = {}  # the next call of that name
        self.lost: cudaError_t | None = None
        self.lock = threading.RLock()
        self.thread = threading.local()
        self.streams: dict[int, Stream] = {}
        self.next = 1000

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if not name.startswith("cuda") or not callable(found) or isinstance(found, type):
            return found

        def call(*arguments: Any) -> Any:
            with self.lock:
                self.calls.append(name)
                free = name.startswith(("cudaFree", "cudaGetLastError")) or "Destroy" in name
                if error := self.failing.pop(name, None) or (None if free else self.lost):
                    return (error,) if name in ONE else (error, None)
                if name not in NO_DEVICE and getattr(self.thread, "device", None) is None:
                    self.wrong.append(f"{name} in a thread without its device")
                return found(*arguments)

        call.__name__ = name
        return call

    def counts(self) -> Counter[str]:
        return Counter(self.calls)

    def handle(self, thing: Any) -> int:
        self.next += 1
        self.live[self.next] = thing
        return self.next

    def gone(self, handle: int, kind: str) -> Any:
        found = self.live.pop(int(handle), None)
        if found is None:
            self.wrong.append(f"a {kind} that is not there was given back")
        return (OK,)

    # Devices.
    def cudaGetDeviceCount(self) -> Any:
        return (OK, self.gpus) if self.gpus else (cudaError_t.cudaErrorNoDevice, None)

    def cudaSetDevice(self, index: int) -> Any:
        self.thread.device = index
        return (OK,)

    def cudaDeviceGetAttribute(self, kind: Any, index: int) -> Any:
        return OK, int(self.integrated)

    def cudaDeviceSynchronize(self) -> Any:
        for stream in self.streams.values():
            if stream.capturing is not None:
                return (cudaError_t.cudaErrorStreamCaptureUnsupported,)
            self._run(stream)
        return (self.lost or OK,)

    def cudaGetLastError(self) -> Any:
        return (OK,)

    # Memory.
    def _memory(self, size: int, kind: str) -> Any:
        if any(stream.capturing is not None for stream in self.streams.values()):
            self.wrong.append(f"{kind} memory was asked for in a capture")
        block = ctypes.create_string_buffer(bytes([0xAB]) * size, size)
        place = ctypes.addressof(block)
        self.live[place] = block
        return OK, place

    def cudaMalloc(self, size: int) -> Any:
        return self._memory(size, "device")

    def cudaHostAlloc(self, size: int, flags: int) -> Any:
        return self._memory(size, "host")

    def cudaHostGetDevicePointer(self, place: int, flags: int) -> Any:
        return OK, place

    def cudaFree(self, place: int) -> Any:
        return self.gone(place, "device memory")

    def cudaFreeHost(self, place: int) -> Any:
        return self.gone(place, "host memory")

    def inside(self, place: int, size: int) -> bool:
        return any(
            start <= place and place + size <= start + ctypes.sizeof(block)
            for start, block in self.live.items()
            if isinstance(block, ctypes.Array)
        )

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: Any, stream: Stream) -> Any:
        def work() -> None:
            if self.inside(to, size) and self.inside(source, size):
                ctypes.memmove(to, source, size)
            else:
                self.wrong.append("a copy from or to memory that was given back")

        return (self.give(stream, work),)

    # Streams.
    def give(self, stream: Stream, work: Work) -> Any:
        if stream.capturing is not None:
            stream.capturing.append(work)
        else:
            stream.pending.append(work)
        return OK

    def _run(self, stream: Stream) -> None:
        while stream.pending:
            stream.pending.pop(0)()

    def cudaStreamCreateWithFlags(self, flags: int) -> Any:
        stream = Stream(self.handle("stream"))
        stream.pending, stream.capturing, stream.broken = [], None, False
        self.streams[int(stream)] = stream
        return OK, stream

    def cudaStreamDestroy(self, stream: Stream) -> Any:
        if stream.pending and self.lost is None:
            self.wrong.append("a stream with work was destroyed")
        del self.streams[int(stream)]
        return self.gone(stream, "stream")

    def cudaStreamSynchronize(self, stream: Stream) -> Any:
        if stream.capturing is not None:
            stream.broken = True
            return (cudaError_t.cudaErrorStreamCaptureUnsupported,)
        self._run(stream)
        return (self.lost or OK,)

    def cudaStreamBeginCapture(self, stream: Stream, mode: Any) -> Any:
        if stream.pending:
            self.wrong.append("a capture began before the stream was empty")
        stream.capturing = []
        return (OK,)

    def cudaStreamEndCapture(self, stream: Stream) -> Any:
        steps, stream.capturing = stream.capturing, None
        if stream.broken:
            stream.broken = False
            return cudaError_t.cudaErrorStreamCaptureInvalidated, None
        return OK, self.handle(steps)

    def cudaGraphInstantiate(self, graph: int, flags: int) -> Any:
        return OK, self.handle(list(self.live[graph]))

    def cudaGraphDestroy(self, graph: int) -> Any:
        return self.gone(graph, "graph")

    def cudaGraphExecDestroy(self, graph: int) -> Any:
        return self.gone(graph, "executable graph")

    def cudaGraphLaunch(self, graph: int, stream: Stream) -> Any:
        for work in self.live[graph]:
            self.give(stream, work)
        return (OK,)

    # Marks.
    def cudaEventCreateWithFlags(self, flags: int) -> Any:
        return OK, self.handle("event")

    def cudaEventDestroy(self, event: int) -> Any:
        return self.gone(event, "event")

    def cudaEventRecord(self, event: int, stream: Stream) -> Any:
        return (self.give(stream, lambda: None),)

    def cudaEventElapsedTime(self, first: int, last: int) -> Any:
        return OK, 1.5


ONE = (
    "cudaSetDevice",
    "cudaDeviceSynchronize",
    "cudaGetLastError",
    "cudaMemcpyAsync",
    "cudaStreamSynchronize",
    "cudaStreamBeginCapture",
    "cudaGraphLaunch",
    "cudaEventRecord",
)


class TrtDouble:
    """Stands for the module tensorrt."""

    DataType = enum.Enum("DataType", "FLOAT HALF UINT8")
    TensorIOMode = enum.Enum("TensorIOMode", "INPUT OUTPUT")
    TensorLocation = enum.Enum("TensorLocation", "DEVICE HOST")
    ExecutionContextAllocationStrategy = enum.Enum(
        "ExecutionContextAllocationStrategy", "STATIC USER_MANAGED"
    )

    def __init__(self, engine: Callable[[bytes], Any], version: str = "10.16.1.11") -> None:
        """engine: what becomes of a plan; None = refused."""
        self.__version__ = version
        self.engine = engine
        self.taken: list[bytes] = []

        class ILogger:
            pass

        def deserialize(plan: bytes) -> Any:
            self.taken.append(plan)
            return self.engine(plan)

        self.ILogger = ILogger
        self.Runtime = lambda logger: SimpleNamespace(deserialize_cuda_engine=deserialize)


SCRATCH = 512


class EngineDouble:
    """Turns every picture into its negative: of floats, or of frames with its extent."""

    device_memory_size_v2 = SCRATCH

    def __init__(
        self,
        cuda: CudaDouble,
        profiles: list[Any],
        *,
        frames: bool = False,
        compute: Callable[[NDArray[Any]], dict[str, NDArray[Any]]] | None = None,
    ) -> None:
        """profiles: smallest, best and largest shape of the input. compute: instead of the negative."""
        self.cuda, self.profiles, self.frames = cuda, profiles, frames
        self.compute = compute or (_negative if frames else lambda image: {"face": -image})
        self.names = ("image", "face", "extent") if frames else ("image", "face")
        self.contexts: list[ContextDouble] = []
        self.refuse: set[str] = set()
        self.fixed: tuple[int, ...] = ()

    @property
    def num_io_tensors(self) -> int:
        return len(self.names)

    @property
    def num_optimization_profiles(self) -> int:
        return max(1, len(self.profiles))

    def get_tensor_name(self, number: int) -> str:
        return self.names[number]

    def get_tensor_dtype(self, name: str) -> Any:
        plain = name == "extent" or not self.frames
        return TrtDouble.DataType.FLOAT if plain else TrtDouble.DataType.UINT8

    def get_tensor_location(self, name: str) -> Any:
        return TrtDouble.TensorLocation.DEVICE

    def get_tensor_mode(self, name: str) -> Any:
        return TrtDouble.TensorIOMode.INPUT if name == "image" else TrtDouble.TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> Any:
        return list(self.fixed) or ([-1, -1, -1, 3] if self.frames else [-1, 3, -1, -1])

    def get_tensor_profile_shape(self, name: str, number: int) -> Any:
        return self.profiles[number]

    def create_execution_context(self, strategy: Any) -> Any:
        assert strategy == TrtDouble.ExecutionContextAllocationStrategy.USER_MANAGED
        if "context" in self.refuse:
            return None
        self.contexts.append(ContextDouble(self))
        return self.contexts[-1]


class ContextDouble:
    """An execution context that wants every setting before it runs."""

    def __init__(self, engine: EngineDouble) -> None:
        self.engine = engine
        self.profile = -1
        self.shape: tuple[int, ...] = ()
        self.memory = (0, 0)
        self.places: dict[str, int] = {}
        self.runs = 0
        self.dynamic_after_capture = False

    def set_optimization_profile_async(self, number: int, stream: int) -> bool:
        self.profile = number
        return 0 <= number < self.engine.num_optimization_profiles

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if self.profile < 0:
            self.engine.cuda.wrong.append("a shape before the profile")
        self.shape = tuple(shape)
        return "shape" not in self.engine.refuse

    def set_device_memory(self, place: int, size: int) -> None:
        self.memory = (place, size)

    def get_tensor_shape(self, name: str) -> list[int]:
        return [self.shape[0], 2] if name == "extent" else list(self.shape)

    def set_tensor_address(self, name: str, place: int) -> bool:
        self.places[name] = place
        return "address" not in self.engine.refuse

    def execute_async_v3(self, handle: int) -> bool:
        cuda = self.engine.cuda
        if {*self.places} != {*self.engine.names} or self.memory[1] < SCRATCH:
            cuda.wrong.append("a run without all addresses and memory")
        if "run" in self.engine.refuse:
            return False
        stream = cuda.streams[handle]
        if "capture" in self.engine.refuse and stream.capturing is not None:
            stream.broken = True
        self.runs += 1
        places, shape = dict(self.places), self.shape

        def work() -> None:
            if not cuda.inside(*self.memory):
                cuda.wrong.append("scratch memory that was given back")
            if "kernel" in self.engine.refuse:
                cuda.lost = cudaError_t.cudaErrorIllegalAddress
                return
            image = self._array("image", places, shape)
            for name, value in self.engine.compute(image).items():
                self._array(name, places, value.shape)[:] = value

        cuda.give(stream, work)
        return True

    def _array(self, name: str, places: dict[str, int], shape: tuple[int, ...]) -> NDArray[Any]:
        plain = self.engine.get_tensor_dtype(name) == TrtDouble.DataType.FLOAT
        dtype = np.dtype(np.float32 if plain else np.uint8)
        size = int(np.prod(shape)) * dtype.itemsize
        if not self.engine.cuda.inside(places[name], size):
            self.engine.cuda.wrong.append("a tensor outside its memory")
        data = (ctypes.c_uint8 * size).from_address(places[name])
        return np.ctypeslib.as_array(data).view(dtype).reshape(shape)


def _negative(image: NDArray[Any]) -> dict[str, NDArray[Any]]:
    face = 255 - image
    flat = face.reshape(len(face), -1)
    return {"face": face, "extent": np.stack([flat.min(1), flat.max(1)], 1)}
