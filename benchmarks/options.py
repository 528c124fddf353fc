"""What is measured, how long, and beside whom; checked before anything is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from getgan.benchmarks.loadgen import SCENARIOS, check_loadgen
from getgan.benchmarks.peers import NAMES
from getgan.benchmarks.schema import ScenarioName, Setting
from getgan.errors import ConfigError, UsageError
from getgan.runtime.session import MAX_THREADS

MAX_HZ = 10_000.0
MAX_COUNT = 256  # of callers, and of pictures in a query


@dataclass(frozen=True)
class BenchOptions:
    """The command's; getgan's ways are all of `backend` times `precision`, and the first is measured most."""

    bundle: Path
    device: str = "auto"
    precision: tuple[str, ...] = ("auto",)
    backend: tuple[str, ...] = ("auto",)
    threads: int = 0  # 0 = all cores
    batch: tuple[int, ...] = (1,)
    size: int = 0  # 0 = the contract's
    concurrency: tuple[int, ...] = (1,)
    rate: tuple[float, ...] = ()  # open loops, queries per second
    camera: tuple[float, ...] = (30.0, 60.0)
    arrivals: Literal["poisson", "constant"] = "poisson"
    duration: float = 5.0  # seconds of a run
    repeats: int = 3
    warm_up: int = 3  # queries before each run, at least
    soak: float = 0.0  # seconds; 0 = none
    search: bool = True  # for the highest sustainable rate
    peers: tuple[str, ...] = NAMES
    checkpoint: Path | None = None  # for PyTorch
    beside: Path | None = None  # another network's bundle, for plain ONNX Runtime
    scenarios: tuple[ScenarioName, ...] = ()
    output: Path | None = None  # folder of the report
    label: str = ""  # what the machine is called in the report
    seed: int = 0

    def check(self) -> None:
        """UsageError or ConfigError for what cannot be."""
        if not 0 <= self.threads <= MAX_THREADS:
            raise UsageError(f"found {self.threads} threads; wanted 0 (all cores) to {MAX_THREADS}")
        for name, values in (("batch", self.batch), ("concurrency", self.concurrency)):
            if not values or not all(1 <= value <= MAX_COUNT for value in values):
                raise UsageError(f"found {name} {_listed(values)}; wanted numbers from 1 to {MAX_COUNT}")
        for name, rates in (("rate", self.rate), ("camera", self.camera)):
            if not all(0 < rate <= MAX_HZ for rate in rates):
                raise UsageError(f"found {name} {_listed(rates)}; wanted above 0 and at most {MAX_HZ:g} Hz")
        if not 0 < self.duration < 86400 or not 0 <= self.soak < 30 * 86400:
            found = f"duration {self.duration:g} s, soak {self.soak:g} s"
            raise UsageError(f"found {found}; wanted above 0 and at most a day, and at most 30 days")
        if self.repeats < 1 or self.warm_up < 0:
            found = f"{self.repeats} repeats after {self.warm_up} queries"
            raise UsageError(f"found {found}; wanted 1 repeat or more, after 0 or more")
        check_names("peer", self.peers, NAMES)
        check_names("scenario", self.scenarios, SCENARIOS)
        if self.scenarios:
            check_loadgen()
            if self.output is None:
                raise ConfigError("MLPerf LoadGen's logs are kept with the report: name its folder with -o")

    def settings(self) -> tuple[Setting, ...]:
        """Of the first way, in the order of a repeat: `BASE`, more callers, larger batches, other loads."""
        closed = [Setting("closed", 1, n) for n in self.concurrency if n > 1]
        closed += [Setting("closed", n, 1) for n in self.batch if n > 1]
        servers = max(self.concurrency)
        opened = [Setting("open", 1, servers, rate, self.arrivals) for rate in self.rate]
        cameras = [Setting("camera", 1, 1, rate, "constant") for rate in self.camera]
        return (BASE, *closed, *opened, *cameras)


BASE = Setting("closed", batch=1, concurrency=1)  # the one that all contestants run


def check_names(kind: str, names: Sequence[str], known: Sequence[str]) -> None:
    """UsageError for one that is not known."""
    for name in names:
        if name not in known:
            raise UsageError(f"found {kind} {name!r:.40}; wanted some of {', '.join(known)}, or none")


def names(kind: str, text: str, all_of_them: Sequence[str] = ()) -> tuple[str, ...]:
    """Of "a,b", "all" and "none"; UsageError for nothing at all."""
    if all_of_them and text in ("all", "none"):
        return tuple(all_of_them) if text == "all" else ()
    found = tuple(part.strip() for part in text.split(","))
    if not all(found) or len(set(found)) < len(found):
        raise UsageError(f"found {kind} {text!r:.40}; wanted names like a,b, each once")
    return found


def integers(kind: str, text: str) -> tuple[int, ...]:
    """Of "1,2"."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"found {kind} {text!r:.40}; wanted integers like 1,2") from None


def floats(kind: str, text: str) -> tuple[float, ...]:
    """Of "30,59.94"; "" has none."""
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise UsageError(f"found {kind} {text!r:.40}; wanted numbers like 30,60") from None


def _listed(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values) or "nothing"
