"""Bundle → session: the fastest accepted way to run the graph on this machine, proven on a golden image."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from getgan.errors import ConfigError, DeviceError, UsageError
from getgan.runtime.answers import Answers, answers_of
from getgan.runtime.backends import CLOSED, Candidate, Engine, Unsuitable
from getgan.runtime.backends.catalog import BACKEND_NAMES, backend_of, candidates
from getgan.runtime.bundle import Bundle
from getgan.runtime.devices import available_cores, machine
from getgan.runtime.firstrun import first_run, graph_of
from getgan.runtime.manifest import Manifest, Precision, Variant
from getgan.runtime.outputs import shape_fault
from getgan.runtime.pixels import check_frames, check_tensor
from getgan.runtime.selftest import (
    GoldenPair,
    Nonsense,
    SelfTest,
    golden_of,
    nonsense_of,
    refuses,
    self_test,
)

MAX_THREADS = 1024
T = TypeVar("T")


@dataclass(frozen=True)
class SessionInfo:
    """What runs, and why; known after a real inference."""

    backend: str
    device: str  # "cpu" or "cuda:N"
    precision: str  # the variant's name
    provider: str
    version: str
    threads: int  # 0 on a GPU
    why: str
    self_test: SelfTest
    preferred_batch: int = 1  # so many frames of one size take less time together
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

    def translate(self, frames: NDArray[np.uint8]) -> Answers:
        """uint8 (N, H, W, 3) RGB -> the faces, and what is wrong with each; one's fault is no other's.

        ConfigError for a size outside the contract, DeviceError if the backend fails.
        """

    def run(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """float32 (N, 3, H, W) RGB in the contract's range -> (N, C, H', W') by output name.

        Errors as `translate`; ConfigError too where the graph takes frames and computes no such floats.
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

    @contextmanager
    def entered(self) -> Iterator[Engine | None]:
        """The engine for one call; None = retired."""
        with self._lock:
            engine = None if self._retired else self._engine
            self._calls += engine is not None
        try:
            yield engine
        finally:
            if engine is not None:
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

    info: SessionInfo

    def __init__(self, manifest: Manifest, golden: GoldenPair, nonsense: Nonsense | None = None) -> None:
        self.outputs: tuple[str, ...] = manifest.outputs
        self._manifest = manifest
        self._golden, self._nonsense = golden, nonsense
        self._slot: _Slot | None = None
        self._closed = False
        self._lock = threading.Lock()

    def translate(self, frames: NDArray[np.uint8]) -> Answers:
        """See Session."""
        contract = self._manifest.contract
        check_frames(frames, contract)
        frames = np.ascontiguousarray(frames)
        return self._with_engine(lambda engine: answers_of(engine, frames, contract.range))

    def run(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """See Session."""
        check_tensor(images, self._manifest.contract)
        images = np.ascontiguousarray(images)
        return self._with_engine(lambda engine: _run(engine, images))

    def _with_engine(self, use: Callable[[Engine], T]) -> T:
        """What `use` gives of the engine that is the session's when the call begins."""
        while (slot := self._slot) is not None:
            with slot.entered() as engine:
                if engine is not None:
                    return use(engine)
        raise DeviceError(CLOSED)

    def replace(
        self,
        engine: Engine,
        variant: Variant,
        candidate: Candidate,
        why: str,
        skipped: Sequence[str] = (),
        warnings: Sequence[str] = (),
    ) -> None:
        """Run another engine from the next call on, once it has shown the golden image; `info` tells of it.

        Calls that run end in the one they began in. The engine is the session's from here on: where it fails
        it is closed, the one before stays, and DeviceError says what was wrong.
        """
        try:
            provider, result = self_test(engine, self._golden, variant)
            if self._nonsense is not None:
                refuses(engine, self._nonsense)
            info = SessionInfo(
                backend=candidate.backend,
                device=candidate.device,
                precision=variant.name,
                provider=provider,
                version=engine.version,
                threads=engine.threads,
                why=why,
                self_test=result,
                preferred_batch=engine.preferred_batch,
                skipped=tuple(skipped),
                warnings=tuple(warnings),
            )
            with self._lock:
                if self._closed:
                    raise DeviceError(CLOSED)
                before, self._slot, self.info = self._slot, _Slot(engine), info
        except BaseException:
            engine.close()
            raise
        if before is not None:
            before.retire()

    def close(self) -> None:
        """See Session."""
        with self._lock:
            slot, self._slot, self._closed = self._slot, None, True
        if slot is not None:
            slot.retire()

    def __enter__(self) -> BundleSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _run(engine: Engine, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    if engine.frames != "float32":
        taken = f"{engine.version} runs a graph that takes frames, uint8 (N, H, W, 3)"
        raise ConfigError(f"{taken}, and gives no floats; wanted `translate`, or another precision")
    found = engine.infer(images)
    if fault := shape_fault(found, images.shape):
        raise DeviceError(f"{engine.version}: {fault}; run `getgan verify` on the bundle")
    return found


def open_session(
    bundle: Bundle, *, device: str = "auto", precision: str = "auto", backend: str = "auto", threads: int = 0
) -> BundleSession:
    """The fastest candidate that the bundle accepted and that shows the golden image on this machine.

    device: auto, cpu, cuda, cuda:N. precision: auto or a variant's name. backend: auto or one of
    BACKEND_NAMES. threads: of the CPU, 0 = all cores that this process may use. What is named is kept:
    DeviceError says why it cannot run. Under auto the next candidate is taken, and `info` tells of those
    before it. BundleError for a damaged bundle or a named variant that the gate refused; UsageError for an
    unknown name.
    """
    wanted = _wanted(bundle.manifest, device, precision, backend)
    if not 0 <= threads <= MAX_THREADS:
        raise UsageError(f"found {threads} threads; wanted 0 (all cores) to {MAX_THREADS}")
    this = machine()
    threads = threads or available_cores()
    golden = golden_of(bundle)
    session = BundleSession(bundle.manifest, golden, nonsense_of(bundle))
    skipped: list[str] = []
    faults: list[str] = []
    for variant, candidate in wanted:
        library = backend_of(candidate)
        way = f"{candidate.backend} {candidate.device} {variant.name if variant else candidate.precision}"
        try:
            if variant is None:
                raise Unsuitable(_lacking(bundle.manifest, candidate.precision))
            library.check(candidate, this)
            first_run(bundle, golden, variant, candidate, this, threads)
            engine = library.open(graph_of(bundle, variant), candidate, threads)
            why = _why(way, device, precision, backend)
            session.replace(engine, variant, candidate, why, skipped, faults)
        except Unsuitable as reason:
            skipped.append(f"{way}: {reason}")
        except DeviceError as fault:
            faults.append(f"{way}: {fault}")
        else:
            return session
    asked = f"device {device}, precision {precision}, backend {backend}"
    raise DeviceError(f"{bundle.path}: nothing runs it here with {asked}: {_listed(faults + skipped)}")


def _wanted(
    manifest: Manifest, device: str, precision: str, backend: str
) -> list[tuple[Variant | None, Candidate]]:
    """Each way that the names leave with each variant for it; None where the bundle has none."""
    place = re.fullmatch(r"auto|cpu|cuda|cuda:\d{1,3}", device)
    if place is None:
        raise UsageError(f"found device {device!r:.40}; wanted auto, cpu, cuda or cuda:N")
    if backend != "auto" and backend not in BACKEND_NAMES:
        raise UsageError(f"found backend {backend!r:.40}; wanted auto, {', '.join(BACKEND_NAMES)}")
    named = None if precision == "auto" else manifest.variant(precision)
    devices = {"auto": ("cuda:0", "cpu"), "cuda": ("cuda:0",)}.get(device, (device,))
    ways = [
        way
        for way in candidates(devices)
        if backend in ("auto", way.backend) and (way.precision == named.hint if named else not way.only_named)
    ]
    if not ways:
        there = ", ".join(str(way) for way in candidates(("cuda:0", "cpu")))
        asked = f"device {device}, precision {precision}, backend {backend}"
        raise DeviceError(f"found no way to run with {asked}; there are: {there}")
    # uint8 frames first: a quarter of the bytes go to the device and back.
    offered = [named] if named else sorted(manifest.variants, key=lambda each: each.frames != "uint8")
    found: list[tuple[Variant | None, Candidate]] = []
    for way in ways:
        found += [(each, way) for each in offered if each.hint == way.precision] or [(None, way)]
    return found


def _lacking(manifest: Manifest, precision: Precision) -> str:
    reasons = {refused.name: refused.reason for refused in manifest.refused}
    return f"the bundle holds no {precision} ({reasons.get(precision, 'it was not exported')})"


def _why(way: str, *asked: str) -> str:
    named = [name for name in asked if name != "auto"]
    among = f" of those with {', '.join(named)}" if named else ""
    return f"{way} is the fastest way{among} that the bundle accepted and that passed its self-test"


def _listed(reasons: list[str]) -> str:
    """Reasons as one line, candidates with the same reason together."""
    together: dict[str, list[str]] = {}
    for reason in reasons:
        candidate, _, text = reason.partition(": ")
        together.setdefault(text, []).append(candidate)
    return "; ".join(f"{', '.join(candidates)}: {text}" for text, candidates in together.items())
