"""Bundle → session: the fastest accepted way to run the graph on this machine, proven on a golden image."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from getgan.errors import DeviceError, UsageError
from getgan.runtime.backends import CLOSED, Engine, Graph, Unsuitable
from getgan.runtime.bundle import Bundle
from getgan.runtime.devices import available_cores
from getgan.runtime.manifest import PRECISIONS, Contract, Precision
from getgan.runtime.pixels import check_tensor
from getgan.runtime.selftest import SelfTest, golden_of, self_test

Backend = Literal["openvino", "onnxruntime"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
MAX_THREADS = 1024


@dataclass(frozen=True)
class Candidate:
    """A way to run a bundle."""

    backend: Backend
    device: Literal["cpu", "cuda"]
    precision: Precision
    only_named: bool = False  # runs if its precision is asked for by name

    def __str__(self) -> str:
        return f"{self.backend} {self.device} {self.precision}"


# Fastest first. CPU, measured on a GET-GAN (ngf 64, 256x256, 2 threads of a Zen 5 server): OpenVINO bf16
# 0.112 s, OpenVINO fp32 0.224 s, ONNX Runtime fp32 0.285 s. An fp16 graph wins nothing on an x86 CPU: ONNX
# Runtime (1.32, by its own profile) widens every value and computes all of it in fp32.
CANDIDATES = (
    Candidate("onnxruntime", "cuda", "fp16"),
    Candidate("onnxruntime", "cuda", "fp32"),
    Candidate("openvino", "cpu", "bf16"),
    Candidate("openvino", "cpu", "fp32"),
    Candidate("onnxruntime", "cpu", "fp32"),
    Candidate("onnxruntime", "cpu", "fp16", only_named=True),
)


@dataclass(frozen=True)
class SessionInfo:
    """What runs, and why; known after a real inference."""

    backend: Backend
    device: str  # "cpu" or "cuda:N"
    precision: Precision
    provider: str
    version: str
    threads: int  # 0 on a GPU
    why: str
    self_test: SelfTest
    skipped: tuple[str, ...] = ()  # faster ways that machine or bundle do not have, and why
    warnings: tuple[str, ...] = ()  # faster ways that should work here and failed, and how

    def text(self) -> str:
        """One line for people."""
        threads = f", {self.threads} threads" if self.threads else ""
        return f"{self.version} on {self.device}, {self.precision}{threads}: {self.why}"


class Session(Protocol):
    """Runs the generator, for callers in any number of threads; a context manager."""

    @property
    def info(self) -> SessionInfo:
        """What runs, and why."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names that `run` gives: "face" first."""

    def run(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """float32 (N, 3, H, W) RGB in [-1, 1] -> (N, C, H', W') by output name.

        ConfigError for a size outside the contract, DeviceError if the backend fails.
        """

    def close(self) -> None:
        """Give the memory back, once the calls that run have ended; may be called twice."""

    def __enter__(self) -> Session: ...

    def __exit__(self, *_: object) -> None: ...


class _Slot:
    """An engine and the calls that are in it: it is closed when it is retired and the last one has left."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._calls = 0
        self._retired = False

    def infer(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]] | None:
        """See Engine; None = retired."""
        with self._lock:
            if self._retired:
                return None
            self._calls += 1
        try:
            return self._engine.infer(images)
        finally:
            self._leave(1)

    def retire(self) -> None:
        """Take no more calls."""
        self._retired = True
        self._leave(0)

    def _leave(self, calls: int) -> None:
        with self._lock:
            self._calls -= calls
            over = self._retired and not self._calls
        if over:
            self._engine.close()


class BundleSession:
    """The session of `open_session`."""

    def __init__(
        self, engine: Engine, contract: Contract, outputs: tuple[str, ...], info: SessionInfo
    ) -> None:
        self.info = info
        self.outputs = outputs
        self._slot: _Slot | None = _Slot(engine)
        self._contract = contract

    def run(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """See Session."""
        check_tensor(images, self._contract)
        images = np.ascontiguousarray(images)
        while (slot := self._slot) is not None:
            if (found := slot.infer(images)) is not None:
                return found
        raise DeviceError(CLOSED)

    def close(self) -> None:
        """See Session."""
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.retire()

    def __enter__(self) -> BundleSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_session(
    bundle: Bundle, *, device: str = "auto", precision: str = "auto", backend: str = "auto", threads: int = 0
) -> Session:
    """The first of CANDIDATES that the bundle accepted and that shows the golden image on this machine.

    device: auto, cpu, cuda, cuda:N. precision: auto, fp32, fp16, bf16. backend: auto, openvino, onnxruntime.
    threads: of the CPU, 0 = all cores that this process may use. What is named is kept: DeviceError says why
    it cannot run. Under auto the next candidate is taken, and `info` tells of those before it. BundleError
    for a damaged bundle or a named precision that the gate did not accept; ConfigError for an unknown name.
    """
    wanted, gpu = _wanted(device, precision, backend)
    if not 0 <= threads <= MAX_THREADS:
        raise UsageError(f"found {threads} threads; wanted 0 (all cores) to {MAX_THREADS}")
    if precision != "auto":
        bundle.manifest.variant(precision)
    golden = golden_of(bundle)
    skipped: list[str] = []
    faults: list[str] = []
    for candidate in wanted:
        try:
            engine = _engine(candidate, bundle, threads or available_cores(), gpu)
        except Unsuitable as reason:
            skipped.append(f"{candidate}: {reason}")
            continue
        except DeviceError as fault:
            faults.append(f"{candidate}: {fault}")
            continue
        try:
            provider, result = self_test(engine, golden, candidate.precision)
        except DeviceError as fault:
            engine.close()
            faults.append(f"{candidate}: {fault}")
            continue
        info = SessionInfo(
            backend=candidate.backend,
            device="cpu" if candidate.device == "cpu" else f"cuda:{gpu}",
            precision=candidate.precision,
            provider=provider,
            version=engine.version,
            threads=engine.threads,
            why=_why(candidate, (device, precision, backend), skipped, faults),
            self_test=result,
            skipped=tuple(skipped),
            warnings=tuple(faults),
        )
        return BundleSession(engine, bundle.manifest.contract, bundle.manifest.outputs, info)
    asked = f"device {device}, precision {precision}, backend {backend}"
    raise DeviceError(f"{bundle.path}: nothing runs it here with {asked}: {_listed(faults + skipped)}")


def _wanted(device: str, precision: str, backend: str) -> tuple[list[Candidate], int]:
    """The candidates that the names leave, and the GPU's index."""
    place = re.fullmatch(r"(auto|cpu|cuda)|cuda:(\d{1,3})", device)
    if place is None:
        raise UsageError(f"found device {device!r:.40}; wanted auto, cpu, cuda or cuda:N")
    _check_name("precision", precision, PRECISIONS)
    _check_name("backend", backend, BACKENDS)
    found = [
        candidate
        for candidate in CANDIDATES
        if (place[1] or "cuda") in ("auto", candidate.device)
        and precision
        in (("auto", candidate.precision) if not candidate.only_named else (candidate.precision,))
        and backend in ("auto", candidate.backend)
    ]
    if not found:
        ways = ", ".join(str(candidate) for candidate in CANDIDATES)
        asked = f"device {device}, precision {precision}, backend {backend}"
        raise DeviceError(f"found no way to run with {asked}; there are: {ways}")
    return found, int(place[2] or 0)


def _check_name(kind: str, name: str, known: Sequence[str]) -> None:
    if name != "auto" and name not in known:
        raise UsageError(f"found {kind} {name!r:.40}; wanted auto, {', '.join(known)}")


def _engine(candidate: Candidate, bundle: Bundle, threads: int, gpu: int) -> Engine:
    from getgan.runtime.backends import onnxruntime, openvino

    manifest, precision = bundle.manifest, candidate.precision
    variant = next((variant for variant in manifest.variants if variant.precision == precision), None)
    if variant is None:
        refused = next(
            (r.reason for r in manifest.refused if r.precision == precision), "it was not exported"
        )
        raise Unsuitable(f"the bundle holds no {precision} ({refused})")
    path = variant.graph
    graph = Graph(lambda: bundle.read(path), precision, manifest.input, manifest.outputs)
    if candidate.backend == "openvino":
        openvino.check(precision)
        return openvino.OpenVinoEngine(graph, threads)
    index = None if candidate.device == "cpu" else gpu
    onnxruntime.check(precision, index)
    return onnxruntime.OnnxRuntimeEngine(graph, threads, index)


def _why(candidate: Candidate, asked: tuple[str, str, str], skipped: list[str], faults: list[str]) -> str:
    named = [name for name in asked if name != "auto"]
    among = f" of those with {', '.join(named)}" if named else ""
    why = f"{candidate} is the fastest way{among} that the bundle accepted and that passed its self-test here"
    others = faults + skipped
    return f"{why}; not {_listed(others)}" if others else why


def _listed(reasons: list[str]) -> str:
    """Reasons as one line, candidates with the same reason together."""
    together: dict[str, list[str]] = {}
    for reason in reasons:
        candidate, _, text = reason.partition(": ")
        together.setdefault(text, []).append(candidate)
    return "; ".join(f"{', '.join(candidates)}: {text}" for text, candidates in together.items())
