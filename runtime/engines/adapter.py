"""TensorRT 10.3 to 11.x and TensorRT-RTX as one library: what a strongly typed build needs, by name.

Every name is looked up in the library that is installed. One that was asked for and is not there is an error:
a flag that is "set if it exists" writes an engine that is not what was asked for, and exits with 0.
"""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from getgan.errors import DeviceError, UsageError
from getgan.runtime.backends import Unsuitable
from getgan.runtime.engines.fingerprint import Flavour, Profile, Settings
from getgan.runtime.engines.progress import Phases
from getgan.runtime.engines.proof import Layer, layers_from_json, layers_from_log
from getgan.runtime.interrupts import interrupts_wait

MODULES: dict[Flavour, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
TITLES: dict[Flavour, str] = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
INSTALL: dict[Flavour, str] = {
    "tensorrt": "pip install tensorrt (on a Jetson it comes with JetPack)",
    "tensorrt-rtx": "pip install tensorrt-rtx-cu13",
}
OLDEST = (10, 3)  # of TensorRT: that of JetPack 6.1

# What the libraries say of a graph or a machine, and what it means.
_MEANINGS = (
    (
        "must have same input types",
        "the graph adds or joins values of different types, which a strongly typed network does not convert: "
        "export the bundle again",
    ),
    ("Plugin not found", "the graph has an operation that it does not know: export the bundle again"),
    ("MODEL_DESERIALIZE_FAILED", "the graph is no ONNX file, or is cut off: copy the bundle again"),
    ("at least one output", "the graph is empty: copy the bundle again"),
    ("external weights", "the graph keeps its weights in another file: export the bundle again"),
    ("Failed to open file", "the graph keeps its weights in another file: export the bundle again"),
    ("within workspace limit", "its workspace is too small: name a larger --workspace, or none"),
    (
        "no optimization profile has been defined",
        "the graph takes several sizes, and none was named: use --size and --batch",
    ),
)
MEMORY_SIGNS = ("out of memory", "outofmemory", "insufficient memory", "bad_alloc", "insufficient workspace")
# They are said of every build, and of nothing that went wrong.
_NOISE = ("Thread context has not been set", "catchCudaError", "--- Begin node", "--- End node")

_loggers: dict[Flavour, Any] = {}


class OutOfMemory(DeviceError):
    """A build that asked for more memory than there is; a smaller one may succeed."""


@dataclass(frozen=True)
class Built:
    """What a build gave."""

    plan: bytes
    layers: tuple[Layer, ...]  # as far as they can be read without opening the engine
    timing_cache: bytes  # for the next build; b"" = the library keeps none
    warnings: tuple[str, ...]
    seconds: float


class TensorRt:
    """One of the two libraries, imported; Unsuitable if it is not installed, or too old."""

    def __init__(self, flavour: Flavour) -> None:
        self.flavour = flavour
        try:
            with interrupts_wait():
                self.module: Any = importlib.import_module(MODULES[flavour])
        except ImportError as error:
            if getattr(error, "name", None) == MODULES[flavour]:
                raise Unsuitable(f"{TITLES[flavour]} is not installed: {INSTALL[flavour]}") from error
            raise DeviceError(f"{TITLES[flavour]} cannot be imported ({_short(str(error))})") from error
        except OSError as error:
            raise DeviceError(f"{TITLES[flavour]} cannot be imported ({_short(str(error))})") from error
        self.version = str(self.module.__version__)
        self.title = f"{TITLES[flavour]} {self.version}"
        numbers = tuple(int(part) for part in re.findall(r"\d+", self.version)[:2])
        if flavour == "tensorrt" and numbers < OLDEST:
            raise Unsuitable(f"found {self.title}; wanted 10.3 or later: {INSTALL[flavour]}")

    def logger(self) -> Any:
        """The library's one logger in this process, whose messages are kept: it ignores a second one."""
        if self.flavour not in _loggers:
            _loggers[self.flavour] = _logger_class(self.module)()
        return _loggers[self.flavour]

    def said(self) -> str:
        """The errors since the last call, in one line."""
        messages = self.logger().take()
        return "; ".join(_errors(messages))

    def runtime(self) -> Any:
        """What deserializes engines. Never in a process that is to live: without a GPU a lean one crashes."""
        try:
            return self.module.Runtime(self.logger())
        except TypeError as error:  # of pybind11: "factory function returned nullptr"
            raise DeviceError(f"{self.title} finds no NVIDIA GPU that works here; {self.said()}") from error

    def inspect(self, engine: Any) -> tuple[Layer, ...]:
        """The layers of a deserialized engine."""
        form = self._member("LayerInformationFormat", "JSON")
        return layers_from_json(engine.create_engine_inspector().get_engine_information(form))

    def build(
        self,
        graph: bytes,
        profiles: Sequence[Profile],
        settings: Settings,
        phases: Phases | None = None,
        timing_cache: bytes = b"",
    ) -> Built:
        """Compile an ONNX graph, in the precision that its own types state.

        DeviceError says what the library said; OutOfMemory, what a smaller workspace may help. Weights
        outside the graph are read from the current folder, so that is to be an empty one.
        """
        start = time.monotonic()
        self.logger().take()
        try:
            builder = self.module.Builder(self.logger())
        except TypeError as error:  # of pybind11: "factory function returned nullptr"
            needs = f"{TITLES[self.flavour]} builds on the GPU that is to run the engine"
            raise DeviceError(f"{self.title} finds no NVIDIA GPU that works here; {needs}") from error
        typed = 1 << int(self._member("NetworkDefinitionCreationFlag", "STRONGLY_TYPED"))
        network = builder.create_network(typed)
        parser = self.module.OnnxParser(network, self.logger())
        if not parser.parse(graph):
            raise self._fault(
                "cannot read the graph", [parser.get_error(n).desc() for n in range(parser.num_errors)]
            )
        config = builder.create_builder_config()
        self._configure(builder, config, settings)
        self._add_profiles(builder, network, config, profiles)
        # Without it neither the log nor the inspector tells the layers' types.
        config.profiling_verbosity = self._member("ProfilingVerbosity", "DETAILED")
        cache = self._timing_cache(config, timing_cache)
        monitor = _monitor_class(self.module)(phases) if phases is not None else None
        config.progress_monitor = monitor
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise self._fault("cannot build the engine", [])
        messages = self.logger().take()
        return Built(
            plan=bytes(plan),
            layers=layers_from_log(text for _, text in messages),
            timing_cache=b"" if cache is None else bytes(cache.serialize()),
            warnings=tuple(dict.fromkeys(_short(text) for kind, text in messages if kind == "WARNING")),
            seconds=time.monotonic() - start,
        )

    def _member(self, enum: str, name: str) -> Any:
        """A member of one of the library's enumerations; DeviceError if this version has none so called."""
        members = getattr(getattr(self.module, enum, None), "__members__", {})
        if name not in members:
            there = f"there is {', '.join(members)}" if members else f"it has no {enum} at all"
            raise DeviceError(f"{self.title} has no {enum}.{name}; {there}")
        return members[name]

    def _configure(self, builder: Any, config: Any, settings: Settings) -> None:
        # On by default: 10 bits of mantissa where the graph says float32. fp32 means fp32.
        config.clear_flag(self._member("BuilderFlag", "TF32"))
        if settings.workspace_mb:
            pool = self._member("MemoryPoolType", "WORKSPACE")
            config.set_memory_pool_limit(pool, settings.workspace_mb << 20)
        if settings.optimization_level is not None:
            config.builder_optimization_level = settings.optimization_level
        if settings.compute_capabilities:
            self._set_compute_capabilities(config, settings.compute_capabilities)
        if self.flavour == "tensorrt-rtx" and (
            settings.hardware_compatibility or settings.version_compatible
        ):
            raise DeviceError(
                f"{self.title} makes engines for several GPUs with --compute-capability and for no other "
                f"version of itself; hardware and version compatibility are TensorRT's"
            )
        if settings.hardware_compatibility:
            level = self._member("HardwareCompatibilityLevel", settings.hardware_compatibility)
            config.hardware_compatibility_level = level
        if settings.version_compatible:
            config.set_flag(self._member("BuilderFlag", "VERSION_COMPATIBLE"))
            # Else the engine brings a library along, which runs only if code from engines is allowed to.
            config.set_flag(self._member("BuilderFlag", "EXCLUDE_LEAN_RUNTIME"))
        if settings.dla is not None:
            cores = int(builder.num_DLA_cores)
            if not 0 <= settings.dla < cores:
                raise DeviceError(
                    f"found --dla {settings.dla}, but {self.title} finds {cores} DLA cores here"
                )
            config.default_device_type = self._member("DeviceType", "DLA")
            config.DLA_core = settings.dla
            config.set_flag(self._member("BuilderFlag", "GPU_FALLBACK"))

    def _set_compute_capabilities(self, config: Any, names: Sequence[str]) -> None:
        if not hasattr(config, "set_compute_capability"):
            raise DeviceError(
                f"{self.title} builds for the GPU that is there; --compute-capability is TensorRT-RTX's"
            )
        config.num_compute_capabilities = len(names)
        for place, name in enumerate(names):
            if not name.startswith("SM"):  # NONE and CURRENT are of the enumeration too
                raise UsageError(f"found compute capability {name!r:.40}; wanted one like SM86")
            if not config.set_compute_capability(self._member("ComputeCapability", name), place):
                raise DeviceError(f"{self.title} does not build for {name}; {self.said()}")

    def _add_profiles(self, builder: Any, network: Any, config: Any, profiles: Sequence[Profile]) -> None:
        if network.num_inputs != 1:
            raise DeviceError(f"found {network.num_inputs} inputs in the graph; wanted one picture")
        picture = network.get_input(0)
        sides = tuple(int(side) for side in picture.shape)
        for profile in profiles:
            shape = tensor_shape(profile, sides)
            if any(side not in (-1, wanted) for side, wanted in zip(sides, shape, strict=True)):
                raise DeviceError(
                    f"the graph takes pictures of {sides} and not {shape}: name another --size or --batch"
                )
            if -1 not in sides:
                continue  # it has one shape, and wants no profile
            made = builder.create_optimization_profile()
            # All three the same: kernels are chosen for exactly this shape, and another one is refused.
            made.set_shape(picture.name, shape, shape, shape)
            if config.add_optimization_profile(made) < 0:
                raise self._fault(f"refuses the shape {profile}", [])

    def _timing_cache(self, config: Any, data: bytes) -> Any:
        """None for TensorRT-RTX, which times nothing."""
        if self.flavour == "tensorrt-rtx":
            return None
        # What another version wrote is no cache: then it starts with an empty one.
        cache = config.create_timing_cache(data) or config.create_timing_cache(b"")
        if cache is None or not config.set_timing_cache(cache, False):
            cache = config.create_timing_cache(b"")
            if cache is None or not config.set_timing_cache(cache, False):
                return None
        return cache

    def _fault(self, what: str, said: Sequence[str]) -> DeviceError:
        errors = [*_errors(self.logger().take()), *map(_short, said)]
        whole = " ".join(errors)
        kind = OutOfMemory if any(sign in whole.lower() for sign in MEMORY_SIGNS) else DeviceError
        first = _short(errors[0]) if errors else "it does not say why"
        meaning = next((f": {meaning}" for sign, meaning in _MEANINGS if sign in whole), "")
        return kind(f"{self.title} {what}{meaning} ({first})")


def tensor_shape(profile: Profile, sides: Sequence[int]) -> tuple[int, ...]:
    """(N, 3, H, W), or (N, H, W, 3) for a graph that takes frames; DeviceError for any other graph."""
    if len(sides) == 4 and sides[1] == 3:
        return (profile.batch, 3, profile.height, profile.width)
    if len(sides) == 4 and sides[3] == 3:
        return (profile.batch, profile.height, profile.width, 3)
    raise DeviceError(f"the graph takes {tuple(sides)}; wanted pictures of 3 colours")


def _logger_class(trt: Any) -> Any:
    class Logger(trt.ILogger):  # type: ignore[misc]  # the base is known when it is imported
        """Keeps what the library says, and prints nothing."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._messages: list[tuple[str, str]] = []

        def log(self, severity: Any, msg: str) -> None:
            """Called by the library, in any thread. Of its details only the layers are of use."""
            if severity.name != "VERBOSE" or msg.startswith("Layers:"):
                self._messages.append((severity.name, msg))

        def take(self) -> list[tuple[str, str]]:
            """Severity and text since the last call."""
            messages, self._messages = self._messages, []
            return messages

    return Logger


def _monitor_class(trt: Any) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # as above
        """Passes on what the library says of its progress."""

        def __init__(self, phases: Phases) -> None:
            trt.IProgressMonitor.__init__(self)
            self._phases = phases

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._phases.start(phase_name, parent_phase or "", num_steps)

        def phase_finish(self, phase_name: str) -> None:
            self._phases.finish(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._phases.step(phase_name, step)
            return True  # False would end the build

    return Monitor


def _errors(messages: Sequence[tuple[str, str]]) -> list[str]:
    found = (_short(text) for kind, text in messages if kind in ("ERROR", "INTERNAL_ERROR"))
    return list(dict.fromkeys(text for text in found if text and not any(noise in text for noise in _NOISE)))


def _short(text: str) -> str:
    return " ".join(text.split())[:240]
