"""What the guard's features cost: a network with and without them, in turn, in each way of this CPU."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from getgan.benchmarks.untrained import write_untrained
from getgan.export.features import with_features
from getgan.export.graph import INPUT
from getgan.export.trace import export_onnx
from getgan.models.checkpoint import Checkpoint, load_checkpoint
from getgan.runtime.backends import Candidate, Engine, Graph, Unsuitable
from getgan.runtime.backends.catalog import backend_of
from getgan.runtime.devices import machine

NGF, SIZE = 64, 256  # of the large network, which is not trained
WAYS = (
    Candidate("openvino", "cpu", "bf16"),
    Candidate("openvino", "cpu", "fp32"),
    Candidate("onnxruntime", "cpu", "fp32"),
)
FASTEST = 0.1  # of the rounds: those that other work disturbed least


class Cost(msgspec.Struct, frozen=True):
    """Of one network in one way."""

    network: str
    way: str
    without: tuple[float, ...] = ()  # seconds, one a round
    features: tuple[float, ...] = ()
    unavailable: str = ""

    def ratio(self, quantile: float) -> float:
        """Of this quantile's time."""
        return float(np.quantile(self.features, quantile) / np.quantile(self.without, quantile))

    def text(self) -> str:
        """One line."""
        if self.unavailable:
            return f"- {self.network}, {self.way}: {self.unavailable}"
        return (
            f"- {self.network}, {self.way}: {self.ratio(FASTEST) - 1.0:+.1%} ({self.ratio(0.5) - 1.0:+.1%}) "
            f"of {1000 * np.quantile(self.without, FASTEST):.1f} ms, {len(self.without)} rounds"
        )


def measure_cost(checkpoint: Checkpoint | None, rounds: int, threads: int) -> tuple[Cost, ...]:
    """Of an untrained network of ngf NGF for SIZE pixels, and of the checkpoint."""
    found = []
    with tempfile.TemporaryDirectory(prefix="getgan-guard-") as place:
        path = Path(place) / "untrained.safetensors"
        write_untrained(path, ngf=NGF, size=SIZE)
        large = load_checkpoint(path)
    for way in WAYS:
        found.append(_cost(f"ngf {NGF}, {SIZE} px", large, way, rounds, threads))
    if checkpoint is not None:
        name = f"the checkpoint, {checkpoint.contract.size} px"
        found += [_cost(name, checkpoint, way, 10 * rounds, threads) for way in WAYS]
    return tuple(found)


def _cost(name: str, checkpoint: Checkpoint, way: Candidate, rounds: int, threads: int) -> Cost:
    size, said = checkpoint.contract.size, f"{way.backend} {way.precision}"
    plain = export_onnx(checkpoint)
    image = np.random.default_rng(0).uniform(-1.0, 1.0, (1, 3, size, size)).astype(np.float32)
    seconds: tuple[list[float], list[float]] = ([], [])
    with ExitStack() as stack:
        try:
            library = backend_of(way)
            library.check(way, machine())
            engines: list[Engine] = []
            for model in (plain, with_features(plain, checkpoint.contract)):
                graph = Graph(partial(getattr, model, "data"), way.precision, INPUT, model.outputs)
                engines.append(stack.enter_context(closing(library.open(graph, way, threads))))
        except Unsuitable as reason:
            return Cost(name, said, unavailable=str(reason))
        for turn in range(rounds + 2):
            for which in (0, 1) if turn % 2 else (1, 0):
                start = time.perf_counter()
                engines[which].infer(image)
                if turn >= 2:
                    seconds[which].append(time.perf_counter() - start)
    return Cost(name, said, tuple(seconds[0]), tuple(seconds[1]))
