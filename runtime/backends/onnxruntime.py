"""ONNX Runtime on the CPU or on one NVIDIA GPU, with exactly the execution provider that was asked for."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from getgan.errors import DeviceError
from getgan.runtime.backends import (
    CLOSED,
    Candidate,
    Engine,
    Graph,
    Shape,
    Unsuitable,
    gpu_index,
    key_of,
    wanted_gpu,
)
from getgan.runtime.backends.bindings import Bindings, attempts
from getgan.runtime.backends.memory import graph_in_memory
from getgan.runtime.backends.placement import Profile, placement
from getgan.runtime.devices import Machine, library_version
from getgan.runtime.interrupts import interrupts_wait

BOTH = (
    "onnxruntime and onnxruntime-gpu are both installed and overwrite each other: "
    "pip uninstall -y onnxruntime onnxruntime-gpu, then pip install {package}"
)
TYPES = {"float32": "tensor(float)", "uint8": "tensor(uint8)"}
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class OnnxRuntime:
    """See Backend."""

    name = "onnxruntime"
    distributions = ("onnxruntime", "onnxruntime-gpu")

    def candidates(self, device: str) -> tuple[Candidate, ...]:
        """See Backend; it has no bf16 convolutions."""
        if device != "cpu":
            return (Candidate(self.name, device, "fp16", 2), Candidate(self.name, device, "fp32", 4))
        # Milliseconds, measured as OpenVINO's. An fp16 graph wins nothing on an x86 CPU: ONNX Runtime (1.32,
        # by its own profile) widens every value and computes all of it in fp32.
        fp16 = Candidate(self.name, device, "fp16", 286, only_named=True)
        return (Candidate(self.name, device, "fp32", 285), fp16)

    def check(self, candidate: Candidate, machine: Machine) -> None:
        """See Backend."""
        cpu_package, gpu_package = machine.version("onnxruntime"), machine.version("onnxruntime-gpu")
        if candidate.device == "cpu":
            if not cpu_package and not gpu_package:
                raise Unsuitable("onnxruntime is not installed: pip install onnxruntime")
            return
        wanted_gpu(candidate, machine)
        if not gpu_package:
            swap = "pip uninstall -y onnxruntime, then " if cpu_package else ""
            raise Unsuitable(f"onnxruntime-gpu is not installed: {swap}pip install onnxruntime-gpu")
        if cpu_package:
            raise Unsuitable(BOTH.format(package="onnxruntime-gpu"))

    def key(self, graph: Graph, candidate: Candidate, machine: Machine, shapes: Sequence[Shape] = ()) -> str:
        """See Backend."""
        versions = f"{machine.version('onnxruntime')} {machine.version('onnxruntime-gpu')}"
        return key_of(graph, candidate, versions, machine, shapes)

    def open(self, graph: Graph, candidate: Candidate, threads: int) -> Engine:
        """See Backend."""
        gpu = None if candidate.device == "cpu" else gpu_index(candidate.device)
        return OnnxRuntimeEngine(graph, threads, gpu)


class OnnxRuntimeEngine:
    """An inference session; gpu None = CPU."""

    def __init__(self, graph: Graph, threads: int, gpu: int | None) -> None:
        package = "onnxruntime" if gpu is None else "onnxruntime-gpu"
        # With the CUDA and cuDNN libraries of its own version; a mismatch is what fails most often.
        self._repair = f"pip install -U {package}" + ("" if gpu is None else "[cuda,cudnn]")
        if library_version("onnxruntime") and library_version("onnxruntime-gpu"):
            self._repair = BOTH.format(package=package)
        try:
            with interrupts_wait():
                import onnxruntime
                from onnxruntime.capi import onnxruntime_pybind11_state as native
        except (ImportError, OSError) as error:
            raise DeviceError(f"{package} cannot be imported ({_line(error)}); {self._repair}") from error
        # Its exceptions have no base of their own.
        found = [value for value in vars(native).values() if isinstance(value, type)]
        self._errors: tuple[type[Exception], ...] = (
            RuntimeError,
            *(value for value in found if issubclass(value, Exception)),
        )
        self.version = f"{package} {onnxruntime.__version__}"
        self.threads = threads if gpu is None else 0
        # On a CPU all cores work on one picture: two take twice the time, and the memory. A GPU is not filled
        # by one picture of 256x256, and each call waits for two copies. Four is not measured.
        self.preferred_batch = 1 if gpu is None else 4
        self.frames = graph.frames
        self._provider = CPU if gpu is None else CUDA
        self._outputs = graph.outputs
        self._input = graph.input
        self._precision = graph.precision
        self._library: Any = onnxruntime
        self._profile: Profile | None = None
        self._bindings: Bindings | None = None
        self._placed = self._provider
        if gpu is not None:
            if CUDA not in onnxruntime.get_available_providers():
                raise DeviceError(f"{package} has no {CUDA}; {self._repair}")
            os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # else CUDA numbers the fastest 0
            # 1.31 warns, in colour, that the provider is no plug-in; that logger has no other switch.
            onnxruntime.set_default_logger_severity(3)
            if hasattr(onnxruntime, "preload_dlls"):  # since 1.21: CUDA libraries that pip installed
                with contextlib.redirect_stdout(sys.stderr):  # it prints what it does not find
                    onnxruntime.preload_dlls()
        try:
            with graph_in_memory(graph) as place:
                self._session: Any = (
                    self._on_cpu(place, threads) if gpu is None else self._on_gpu(place, threads, gpu)
                )
        except self._errors as error:
            raise DeviceError(f"{package} cannot load the graph ({_line(error)}); {self._repair}") from error
        self._check_provider()
        inputs = [node.name for node in self._session.get_inputs()]
        names = [node.name for node in self._session.get_outputs()]
        if inputs != [graph.input] or names != list(graph.outputs):
            wanted = (graph.input, *graph.outputs)
            raise DeviceError(f"the graph has {inputs} -> {names}, the manifest says {wanted}")
        for node in (*self._session.get_inputs(), *self._session.get_outputs()):
            if node.type != (right := TYPES[graph.type_of(node.name)]):
                raise DeviceError(f"the graph's {node.name} is a {node.type}, wanted a {right}")

    def _on_cpu(self, place: str | bytes, threads: int) -> Any:
        return self._library.InferenceSession(
            place, self._options(threads), providers=[self._provider], enable_fallback=False
        )

    def _on_gpu(self, place: str | bytes, threads: int, gpu: int) -> Any:
        """Strictly, or else so that a profile shows where its nodes ran."""
        refused: Exception | None = None
        for attempt in attempts(gpu, self._precision):
            options = self._options(threads)
            for name, value in attempt.entries.items():
                options.add_session_config_entry(name, value)
            profile = None if attempt.strict else Profile(options)
            providers = [(self._provider, attempt.settings)]
            try:
                session = self._library.InferenceSession(
                    place, options, providers=providers, enable_fallback=False
                )
            except self._errors as error:
                refused = error
                continue
            self._profile = profile
            if attempt.strict:
                self._placed = f"{self._provider}, every node, as a CUDA graph"
            names = (self._input, self._outputs)
            self._bindings = Bindings(self._library, session, names, ("cuda", gpu))
            return session
        assert refused is not None
        raise refused

    def _options(self, threads: int) -> Any:
        options = self._library.SessionOptions()
        options.log_severity_level = 4  # an error is raised, and need not be printed as well
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        return options

    def infer(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """See Engine."""
        session = self._session  # a session takes calls from many threads, and lives until the last one ends
        if session is None:
            raise DeviceError(CLOSED)
        try:
            if self._bindings is not None:
                found = self._bindings.run(images)
            else:
                found = session.run(list(self._outputs), {self._input: images})
        except self._errors as error:
            raise DeviceError(
                f"{self.version} fails while it runs ({_line(error)}); {self._repair}"
            ) from error
        return dict(zip(self._outputs, found, strict=True))

    def ran_on(self) -> str:
        """The provider of every node that computes pictures; on a GPU from a profile up to here."""
        self._check_provider()
        if self._profile is not None:
            profile, self._profile = self._profile.end(self._session), None
            try:
                self._placed = placement(profile, self._provider)
            except DeviceError as error:
                raise DeviceError(f"{self.version}: {error}; {self._repair}") from error
        if self._precision == "fp16" and self._provider == CPU:
            return f"{CPU}, fp16 weights, fp32 arithmetic where it has no fp16 kernel (on x86 nowhere)"
        return self._placed

    def _check_provider(self) -> None:
        providers = self._session.get_providers()
        if providers[:1] != [self._provider]:
            raise DeviceError(
                f"{self.version} fell back to {providers}, wanted {self._provider}; {self._repair}"
            )

    def close(self) -> None:
        """See Engine."""
        if self._bindings is not None:
            self._bindings.close()
        self._session = None


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]
