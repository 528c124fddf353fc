"""Contestants as seen from outside: opened one after the other, asked in turn, watched while they work."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from getgan.benchmarks.jobs import (
    Failed,
    Job,
    Loaded,
    LoadJob,
    Opening,
    Ready,
)
from getgan.benchmarks.latency import PAUSE_S
from getgan.benchmarks.percentiles import percentiles
from getgan.benchmarks.sampling import Sampler
from getgan.benchmarks.schema import STAGES, Contestant, Run, Series, Stage
from getgan.benchmarks.sensors import ROOT
from getgan.benchmarks.waiting import WaitingProcess
from getgan.errors import DeviceError

Answer = TypeVar("Answer", bound=msgspec.Struct)
OUTSIDE: dict[str, str] = {
    "decode": "this program reads no picture",
    "pre": "this program prepares no picture",
    "post": "this program makes no picture",
    "encode": "this program writes no picture",
}


# A soak is asked for in pieces: what one process keeps of each query would look like a leak in the session.
SLICE_S = 10.0


@dataclass
class Entry:
    """One contestant and what it did."""

    opening: Opening
    ready: Ready
    name: str
    about: str
    process: WaitingProcess | None = None
    runs: list[Run] = field(default_factory=list)

    @property
    def running(self) -> bool:
        """It can be asked."""
        return self.process is not None and not self.ready.unavailable

    def ask(self, job: Job, wanted: type[Answer]) -> Answer:
        """DeviceError if it fails or has died."""
        assert self.process is not None
        self.process.send(msgspec.json.encode(job))
        answer: Answer | Failed = msgspec.json.decode(self.process.answer(), type=wanted | Failed)
        if isinstance(answer, Failed):
            raise DeviceError(f"{self.name}: {answer.error}")
        return answer

    def record(self) -> Contestant:
        """For the report; the quality is put in later."""
        ready = self.ready
        return Contestant(
            name=self.name,
            role="getgan" if self.opening.kind == "getgan" else "peer",
            about=self.about if self.opening.kind == "peer" else ready.about or self.about,
            version=ready.version,
            precision=ready.precision,
            device=ready.device,
            provider=ready.provider,
            threads=ready.threads,
            graph_sha256=ready.graph_sha256,
            open_seconds=ready.open_seconds or None,
            first_seconds=ready.first_seconds or None,
            peak_mb=peak_mb(self.pid),
            unavailable=ready.unavailable,
        )

    @property
    def pid(self) -> int | None:
        """Of its process; None = it has none."""
        return None if self.process is None else self.process.process.pid


class Contest:
    """All contestants of one measurement; a context manager that ends their processes."""

    def __init__(self, folder: Path) -> None:
        self.entries: list[Entry] = []
        self.now: Entry | None = None  # who works: the sensors watch its process
        self.began = time.perf_counter()
        self._folder = folder
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Contest:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def pid(self) -> int | None:
        """Of who works."""
        return None if self.now is None else self.now.pid

    def open(self, opening: Opening, name: str, about: str) -> Entry:
        """One after the other, since they would disturb each other's start too.

        DeviceError if the process dies; a peer's is only missing then.
        """
        number = len(self.entries)
        process = WaitingProcess(f"{name} {number}", "getgan.benchmarks.contestant", (), self._folder)
        self._stack.enter_context(process)
        process.send(msgspec.json.encode(opening))
        try:
            ready = msgspec.json.decode(process.answer(), type=Ready)
        except DeviceError as error:
            if opening.kind != "peer":
                raise
            ready = Ready(unavailable=str(error))
        entry = Entry(opening, ready, name, about, process)
        self.entries.append(entry)
        return entry

    def run(self, entry: Entry, job: LoadJob, repeat: int, sampler: Sampler) -> Run:
        """One load, with what the sensors saw of it; it is kept in the entry."""
        time.sleep(PAUSE_S)
        self.now = entry
        soaking = job.setting.kind == "soak"
        first = min(job.seconds, SLICE_S) if soaking else job.seconds
        loaded = entry.ask(msgspec.structs.replace(job, seconds=first), Loaded)
        parts = [loaded]
        while soaking and (done := _end(parts[-1]) - loaded.begin) < job.seconds:
            rest = msgspec.structs.replace(job, seconds=min(job.seconds - done, SLICE_S), warm_up=0)
            parts.append(entry.ask(rest, Loaded))
        sampler.sample()  # a run that is shorter than the pace has one reading
        self.now = None
        run = _run(entry, job, repeat, _joined(parts), self.began)
        run = watched(run, sampler, loaded.begin, time.perf_counter())
        entry.runs.append(run)
        return run


def _end(part: Loaded) -> float:
    return part.begin + part.seconds


def _joined(parts: Sequence[Loaded]) -> Loaded:
    """As if it had been one load."""
    first = parts[0]
    if len(parts) == 1:
        return first

    def joined(columns: Iterable[Series]) -> Series:
        return Series.of(np.concatenate([column.seconds() for column in columns]))

    starts = [part.starts.seconds() + (part.begin - first.begin) for part in parts]
    return msgspec.structs.replace(
        first,
        seconds=_end(parts[-1]) - first.begin,
        starts=Series.of(np.concatenate(starts)),
        waits=joined(part.waits for part in parts),
        latencies=joined(part.latencies for part in parts),
        stages={name: joined(part.stages[name] for part in parts) for name in first.stages},
        faults=sum(part.faults for part in parts),
        fault=next((part.fault for part in parts if part.fault), ""),
    )


def _run(entry: Entry, job: LoadJob, repeat: int, loaded: Loaded, began: float) -> Run:
    latencies = loaded.latencies.seconds()
    missing = "the harness alone" if entry.opening.kind == "null" else "this way does not time it apart"
    stages = tuple(
        Stage(name, loaded.stages[name])
        if name in loaded.stages
        else Stage(name, None, entry.ready.absent.get(name, missing))
        for name in STAGES
    )
    setting = job.setting
    served = len(latencies) - loaded.unserved - loaded.faults
    return Run(
        contestant=entry.name,
        setting=setting,
        repeat=repeat,
        began=loaded.begin - began,
        seconds=loaded.seconds,
        warm_up=loaded.warm_up,
        starts=loaded.starts,
        waits=loaded.waits,
        latencies=loaded.latencies,
        stages=stages,
        percentiles=percentiles(latencies),
        throughput=served * setting.batch / loaded.seconds,
        dropped=loaded.dropped if setting.kind == "camera" else None,
        unserved=loaded.unserved,
        faults=loaded.faults,
    )


def watched(run: Run, sampler: Sampler, begin: float, end: float) -> Run:
    """With the readings of its time."""
    excerpt = sampler.between(begin, end)
    sampled, readings = excerpt.kept()
    joules, source = excerpt.joules(run.seconds)
    pictures = run.throughput * run.seconds
    return msgspec.structs.replace(
        run,
        sampled=sampled,
        readings=readings,
        growth=excerpt.growth(),
        joules_per_image=joules / pictures if joules is not None and pictures else None,
        joules_source=source,
    )


def peak_mb(pid: int | None, root: Path = ROOT) -> float | None:
    """The largest resident memory of a living process so far, 10^6 bytes; None = the system does not tell."""
    with contextlib.suppress(OSError):
        for line in (root / f"proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return None


def in_turn(entries: Sequence[Entry], turn: int) -> Iterator[Entry]:
    """Nobody always comes after the same other one."""
    start = turn % max(1, len(entries))
    yield from (*entries[start:], *entries[:start])
