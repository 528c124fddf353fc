"""Time of one inference: our sessions beside plain ONNX Runtime, in waiting processes that take turns."""

from __future__ import annotations

import contextlib
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from getgan.benchmarks.waiting import WaitingProcess
from getgan.benchmarks.worker import PLAIN
from getgan.files import write_bytes_atomic
from getgan.runtime.bundle import Bundle

PEER = "plain onnxruntime fp32"
OURS = ("openvino bf16", "openvino fp32", "onnxruntime fp32")
# ONNX Runtime's threads spin for work after an inference before they sleep: 35 ms of CPU time, measured here
# as "idle CPU" (OpenVINO's: 1 ms). Whoever comes next would pay for it: without a pause OpenVINO's bf16 took
# 144 ms on 2 cores, with one of 50 or 200 ms 115 ms.
PAUSE_S = 0.1


@dataclass(frozen=True)
class Case:
    """One way to run the graph; all lists are empty if `unavailable` says why it does not run here."""

    name: str
    version: str
    seconds: tuple[float, ...]  # round by round
    idle: tuple[float, ...]  # CPU seconds that it burnt while it waited for its turn
    max_error: float  # of its picture from the peer's, range [-1, 1]; 0 without a peer
    unavailable: str = ""


@dataclass(frozen=True)
class Latency:
    """Round k of every case ran side by side with round k of the peer."""

    size: int
    threads: int
    cases: tuple[Case, ...]  # the peer is the last

    def speedups(self, name: str) -> tuple[float, ...]:
        """By round, the peer's time over the case's: 2 = twice as fast; empty if one of them did not run."""
        case, peer = (next(case for case in self.cases if case.name == wanted) for wanted in (name, PEER))
        pairs = zip(case.seconds, peer.seconds, strict=False)
        return tuple(theirs / ours for ours, theirs in pairs)

    def text(self) -> str:
        """A table for people."""
        rounds = max((len(case.seconds) for case in self.cases), default=0)
        lines = [
            f"y_* at {self.size}x{self.size}, {self.threads} threads, {rounds} interleaved rounds",
            f"{'':24}{'median':>10}{'min':>10}{'max':>10}{'plain/this':>12}{'idle CPU':>11}{'off by':>9}",
        ]
        for case in self.cases:
            if case.unavailable:
                lines.append(f"{case.name:24}  not offered here: {case.unavailable}")
                continue
            times = (statistics.median(case.seconds), min(case.seconds), max(case.seconds))
            cells = "".join(f"{1000 * seconds:>7.1f} ms" for seconds in times)
            speedups = self.speedups(case.name)
            ratio = f"{statistics.median(speedups):>11.2f}x" if speedups else f"{'-':>12}"
            idle = f"{1000 * statistics.median(case.idle):>8.1f} ms"
            lines.append(f"{case.name:24}{cells}{ratio}{idle}{case.max_error:>9.0e}")
        return "\n".join(lines)


def measure_latency(
    bundle: Bundle,
    folder: Path,
    *,
    size: int,
    threads: int,
    rounds: int,
    progress: Callable[[float], None] = lambda share: None,
) -> Latency:
    """Every case in turn, `rounds` times; folder takes files of the moment.

    A case that cannot run here stays in the result, with the reason. DeviceError if a process dies.
    """
    graph = folder / "fp32.onnx"
    write_bytes_atomic(graph, bundle.read(bundle.manifest.variant("fp32").graph))
    arguments = {name: tuple(name.split()) for name in OURS} | {PEER: (PLAIN, str(graph))}
    with contextlib.ExitStack() as stack:
        workers: list[Worker] = []
        for name, (backend, last) in arguments.items():
            face = folder / f"{backend}-{len(workers)}.npy"
            command = [str(bundle.path), str(size), str(threads), str(face), backend, last]
            # One after the other: they would disturb each other's start too.
            workers.append(stack.enter_context(Worker(name, command, folder)))
        running = [worker for worker in workers if not worker.unavailable]
        for turn in range(rounds):
            # Nobody always comes after the same other one.
            start = turn % max(1, len(running))
            for worker in running[start:] + running[:start]:
                time.sleep(PAUSE_S)
                worker.run()
            progress((turn + 1) / rounds)
    return Latency(size, threads, tuple(_cases(workers)))


class Worker(WaitingProcess):
    """A process of `worker.py`."""

    def __init__(self, name: str, arguments: Sequence[str], folder: Path) -> None:
        super().__init__(name, "getgan.benchmarks.worker", arguments, folder)
        self.face = Path(arguments[3])
        self.seconds: list[float] = []
        self.idle: list[float] = []
        self.version = self.unavailable = ""

    def __enter__(self) -> Worker:
        super().__enter__()
        try:
            answer = json.loads(self.answer())
        except BaseException:
            self.__exit__()
            raise
        self.version, self.unavailable = answer.get("version", ""), answer.get("unavailable", "")
        return self

    def run(self) -> None:
        """One inference; its times are kept."""
        self.send(b"")
        answer = json.loads(self.answer())
        self.seconds.append(answer["seconds"])
        self.idle.append(answer["idle"])


def _cases(workers: Sequence[Worker]) -> list[Case]:
    faces = {worker.name: np.load(worker.face) for worker in workers if not worker.unavailable}
    cases = []
    for worker in workers:
        error = 0.0
        if worker.name in faces and PEER in faces:
            error = float(np.abs(faces[worker.name] - faces[PEER]).max())
        times = (tuple(worker.seconds), tuple(worker.idle))
        cases.append(Case(worker.name, worker.version, *times, error, worker.unavailable))
    return cases
