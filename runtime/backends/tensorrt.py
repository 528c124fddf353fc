"""TensorRT or TensorRT-RTX on one NVIDIA GPU: only engines that were built and proven on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from numpy.typing import NDArray

from getgan.errors import DeviceError
from getgan.runtime.backends import Candidate, Engine, Graph, Shape, Unsuitable, key_of, wanted_gpu
from getgan.runtime.devices import Gpu, Machine, machine

if TYPE_CHECKING:
    from getgan.runtime.engines.fingerprint import Flavour
    from getgan.runtime.engines.store import EngineRecord, EngineStore

# By pip, and of JetPack.
PACKAGES: dict[Flavour, tuple[str, ...]] = {
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    "tensorrt-rtx": ("tensorrt-rtx", "tensorrt-rtx-cu13", "tensorrt-rtx-cu12"),
}
CUDA_PACKAGE = "cuda-bindings"
BUILD = "getgan build BUNDLE"


class TensorRt:
    """See Backend; builds nothing: whoever asks for a picture shall not wait minutes for it."""

    name = "tensorrt"
    distributions = tuple(name for names in PACKAGES.values() for name in names)

    def __init__(self, store: Path | None = None) -> None:
        """store: the folder of the engines; None = the platform's."""
        self._store = store

    def candidates(self, device: str) -> tuple[Candidate, ...]:
        """See Backend."""
        if device == "cpu":
            return ()
        # Among those of the GPU, whose order no measurement has shown yet.
        return (Candidate(self.name, device, "fp16", 1), Candidate(self.name, device, "fp32", 3))

    def check(self, candidate: Candidate, machine: Machine) -> None:
        """See Backend; whether there is an engine, `key` says: that depends on the graph."""
        wanted_gpu(candidate, machine)
        if not versions(machine):
            names = " or ".join(f"pip install {names[0]}" for names in PACKAGES.values())
            raise Unsuitable(f"neither TensorRT nor TensorRT-RTX is installed: {names}")
        if not machine.version(CUDA_PACKAGE):
            raise Unsuitable(f"{CUDA_PACKAGE} is not installed: pip install {CUDA_PACKAGE}")

    def key(self, graph: Graph, candidate: Candidate, machine: Machine, shapes: Sequence[Shape] = ()) -> str:
        """See Backend; Unsuitable where the store holds no engine of the graph that passed here."""
        found = _fitting(opened(self._store), graph, wanted_gpu(candidate, machine), versions(machine))
        engines = " ".join(f"{record.fingerprint.key} {record.sha256}" for record in found)
        about = f"{versions(machine)} {machine.version(CUDA_PACKAGE)} {engines}"
        return key_of(graph, candidate, about, machine, shapes)

    def open(self, graph: Graph, candidate: Candidate, threads: int) -> Engine:
        """See Backend. Not before it was opened once in another process, which may die: see `first_run`."""
        this = machine()
        gpu, installed = wanted_gpu(candidate, this), versions(this)
        store = opened(self._store)
        return TensorRtEngine(graph, gpu, store, _fitting(store, graph, gpu, installed))


class TensorRtEngine:
    """See Engine."""

    threads = 0

    def __init__(self, graph: Graph, gpu: Gpu, store: EngineStore, records: Sequence[EngineRecord]) -> None:
        from getgan.runtime.engines.adapter import TensorRt as Library
        from getgan.runtime.engines.cuda import find_gpus
        from getgan.runtime.engines.fingerprint import changed
        from getgan.runtime.engines.runner import load

        find_gpus()  # without a driver that answers, TensorRT may crash
        for record in records:
            place = record.fingerprint.place
            library = Library(place.flavour)
            if library.version == place.version:
                break
        else:
            now = msgspec.structs.replace(place, version=library.version)
            raise Unsuitable(f"its engine is for another place: {changed(place, now)}: {BUILD}")
        self._record = record
        self._gpu = gpu
        self.version = library.title
        self.frames = graph.frames
        self._outputs = graph.outputs
        self.runner = load(library, store.read(record), gpu.index, record.fingerprint.recipe.profiles)
        self.preferred_batch = self.runner.preferred_batch
        tensors = (self.runner.input, *self.runner.outputs)
        types = {tensor.name: str(tensor.dtype) for tensor in tensors}
        wanted = {name: graph.type_of(name) for name in (graph.input, *graph.outputs)}
        if types != wanted or self.runner.input.name != graph.input:
            self.runner.close()
            raise DeviceError(f"the engine has {types}, the manifest says {wanted}; {BUILD}")

    def infer(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """See Engine; ConfigError for a size that the engine was not built for."""
        found = self.runner.infer(images)
        return {name: found[name] for name in self._outputs}

    def ran_on(self) -> str:
        """What the proof of the build says of its layers: the engine is that build's, by its hash."""
        how = self.runner.note or "CUDA graphs"
        memory = ", in the CPU's memory" if self.runner.shares_memory else ""
        return f"{self._gpu.name}, {self._record.proof.text()}, {how}{memory}"

    def close(self) -> None:
        """See Engine."""
        self.runner.close()


def versions(machine: Machine) -> dict[Flavour, str]:
    """The installed libraries, by what their packages say; nothing is imported."""
    found: dict[Flavour, str] = {}
    for flavour, names in PACKAGES.items():
        if version := next(filter(None, map(machine.version, names)), ""):
            found[flavour] = version
    return found


def opened(store: Path | None) -> EngineStore:
    """The engine store."""
    from getgan.runtime.engines.store import EngineStore

    return EngineStore(store)


def _fitting(store: EngineStore, graph: Graph, gpu: Gpu, installed: dict[Flavour, str]) -> list[EngineRecord]:
    """Engines of the graph that passed here, the newest first; Unsuitable, in one sentence, without any.

    Here = by all but the library's own version: it may differ from its package's, and nothing is imported.
    """
    from getgan.runtime.engines.fingerprint import place_of

    places = {flavour: place_of(flavour, version, gpu) for flavour, version in installed.items()}
    found = []
    for record in store.records():
        place = record.fingerprint.place
        here = places.get(place.flavour)
        if (
            here is not None
            and record.passed
            and record.fingerprint.recipe.graph == graph.sha256
            and msgspec.structs.replace(here, version=place.version) == place
        ):
            found.append(record)
    if not found:
        of_graph = [r.fingerprint for r in store.records() if r.fingerprint.recipe.graph == graph.sha256]
        tried = [flavour for flavour in places if any(each.place.flavour == flavour for each in of_graph)]
        reasons = [store.why_none(graph.sha256, places[flavour]) for flavour in tried or [*places][:1]]
        raise Unsuitable(f"{' and '.join(reasons)}: {BUILD}")
    return found
