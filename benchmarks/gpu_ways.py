"""Which ways to run a bundle on a GPU are tried, and how each is opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from getgan.benchmarks.gpu_contenders import Contender, EngineContender, TorchContender, torch_name
from getgan.errors import DeviceError
from getgan.runtime.backends import Candidate
from getgan.runtime.backends.onnxruntime import OnnxRuntime
from getgan.runtime.backends.tensorrt import TensorRt
from getgan.runtime.bundle import Bundle
from getgan.runtime.devices import Machine
from getgan.runtime.engines.builder import BuildOptions, build_engine
from getgan.runtime.engines.fingerprint import FLAVOURS, Flavour
from getgan.runtime.engines.store import EngineStore
from getgan.runtime.firstrun import graph_of
from getgan.runtime.manifest import Precision, Variant

Open = Callable[[], Contender]


class GateFailed(DeviceError):
    """An engine that was built here and does not give the right pictures."""


@dataclass
class Ways:
    """All of them, for one bundle on one GPU."""

    bundle: Bundle
    checkpoint: Path | None
    device: str
    machine: Machine
    size: tuple[int, int]  # height, width
    batches: tuple[int, ...]
    folder: Path  # for engines
    plans: dict[str, Path] = field(default_factory=dict)  # the engine of each way that has been opened

    def all(self) -> Iterator[tuple[str, Open]]:
        """By name, and what opens it: Unsuitable or DeviceError where it cannot run."""
        for variant in self.bundle.manifest.variants:
            if variant.hint == "bf16":
                continue  # a way to run the fp32 graph on a CPU
            for flavour in FLAVOURS:
                name = f"{flavour} {variant.name}"
                yield name, self._engine(name, variant, flavour)
            name = f"onnxruntime cuda {variant.name}"
            yield name, self._onnxruntime(name, variant)
        kinds: tuple[tuple[Precision, bool], ...] = (("fp32", False), ("fp16", False), ("fp16", True))
        for precision, compiled in kinds:
            yield torch_name(precision, compiled), self._torch(precision, compiled)

    def _engine(self, name: str, variant: Variant, flavour: Flavour) -> Open:
        def build() -> Contender:
            store = EngineStore(self.folder / flavour)
            height, width = self.size
            asked = BuildOptions(
                flavour, variant.name, self.batches, (f"{width}x{height}",), device=self.device
            )
            record = build_engine(self.bundle, asked, store)
            if record.gate.verdict == "failed":
                raise GateFailed(f"failed its gate: {record.gate.why}")
            if not record.passed:
                raise DeviceError(f"{record.gate.verdict}: {record.gate.why}")
            self.plans[name] = store.folder / record.fingerprint.key / f"{record.sha256}.plan"
            way = Candidate(TensorRt.name, self.device, variant.hint)
            engine = TensorRt(store.folder).open(graph_of(self.bundle, variant), way, 1)
            return EngineContender(name, engine, self.bundle.manifest.contract.range)

        return build

    def _onnxruntime(self, name: str, variant: Variant) -> Open:
        def start() -> Contender:
            backend, way = OnnxRuntime(), Candidate(OnnxRuntime.name, self.device, variant.hint)
            backend.check(way, self.machine)
            engine = backend.open(graph_of(self.bundle, variant), way, 1)
            return EngineContender(name, engine, self.bundle.manifest.contract.range)

        return start

    def _torch(self, precision: Precision, compiled: bool) -> Open:
        def start() -> Contender:
            if self.checkpoint is None:
                raise DeviceError("not measured: give the bundle's checkpoint too")
            from getgan.models.checkpoint import load_checkpoint

            return TorchContender(
                load_checkpoint(self.checkpoint),
                self.device,
                precision,
                self.bundle.manifest.contract.range,
                compiled=compiled,
            )

        return start
