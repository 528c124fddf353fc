"""How queries are sent: closed loop, open loop, and a camera whose latest frame wins.

A query's latency runs from when it was meant to start. In an open loop that is its arrival: a program that
is slow once makes the queries behind it wait, and their waiting counts (no coordinated omission).
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

Answer = TypeVar("Answer")
Query = Callable[[int], Answer]  # the query's number -> what came of it
# time.sleep wakes 60 us and more too late here; the rest of the way to an arrival is spent looking at the
# clock, which costs a camera at 60 Hz 0.6 % of a core.
SPIN_S = 1e-4


class Clock(Protocol):
    """Seconds that only rise."""

    def now(self) -> float:
        """Since any fixed moment."""

    def sleep_until(self, when: float) -> None:
        """Not at all if it is past."""


class WallClock:
    """The machine's."""

    now = staticmethod(time.perf_counter)

    def sleep_until(self, when: float) -> None:
        """See Clock; to some microseconds."""
        rest = when - time.perf_counter() - SPIN_S
        if rest > 0:
            time.sleep(rest)
        while time.perf_counter() < when:
            pass


WALL_CLOCK = WallClock()


@dataclass(frozen=True, slots=True)
class Taken(Generic[Answer]):
    """One query; seconds since the load's begin."""

    intended: float
    started: float
    ended: float
    answer: Answer


@dataclass(frozen=True)
class Load(Generic[Answer]):
    """What came of a load, in the order of the intended starts."""

    queries: tuple[Taken[Answer], ...]
    unserved: tuple[float, ...] = ()  # arrivals before the end whose turn never came
    dropped: int = 0  # camera: frames that a newer one replaced
    seconds: float = 0.0  # until the last query ended

    @property
    def latencies(self) -> list[float]:
        """From the intended starts; of the unserved what they had waited at the end, which is too little."""
        served = [query.ended - query.intended for query in self.queries]
        return served + [self.seconds - intended for intended in self.unserved]


def closed_loop(
    query: Query[Answer], concurrency: int, seconds: float, clock: Clock = WALL_CLOCK, least: int = 1
) -> Load[Answer]:
    """`concurrency` callers; each sends its next query when its last one is answered.

    least: queries of each caller, however long they take.
    """
    begin = clock.now()
    numbers = itertools.count()

    def call() -> list[tuple[float, float, float, Answer]]:
        taken: list[tuple[float, float, float, Answer]] = []
        start = clock.now()
        while start < begin + seconds or len(taken) < least:
            answer = query(next(numbers))
            end = clock.now()
            taken.append((start, start, end, answer))
            # What this loop does between two queries is in the next one's time.
            start = end
        return taken

    return _load(begin, _together(call, concurrency))


def open_loop(
    query: Query[Answer],
    arrivals: Sequence[float],
    concurrency: int,
    patience: float,
    clock: Clock = WALL_CLOCK,
) -> Load[Answer]:
    """Queries at rising times, whoever is still busy; `concurrency` servers take them in their order.

    patience: once a query has waited that long for its turn, no more are sent.
    """
    begin = clock.now()
    numbers = itertools.count()
    full = threading.Event()
    unserved: list[float] = []

    def serve() -> list[tuple[float, float, float, Answer]]:
        taken: list[tuple[float, float, float, Answer]] = []
        # A server takes the next arrival before it waits for it, so they are served in their order.
        while not full.is_set() and (number := next(numbers)) < len(arrivals):
            intended = begin + arrivals[number]
            clock.sleep_until(intended)
            start = clock.now()
            if start - intended > patience:
                unserved.append(arrivals[number])
                full.set()
                break
            answer = query(number)
            taken.append((intended, start, clock.now(), answer))
        return taken

    load = _load(begin, _together(serve, concurrency))
    if full.is_set():
        unserved += [arrival for arrival in arrivals[next(numbers) :] if arrival <= load.seconds]
    return Load(load.queries, tuple(sorted(unserved)), 0, load.seconds)


def camera_loop(query: Query[Answer], rate: float, seconds: float, clock: Clock = WALL_CLOCK) -> Load[Answer]:
    """A frame each 1/rate seconds; whoever is free takes the newest, and those before it are lost."""
    begin = clock.now()
    taken: list[tuple[float, float, float, Answer]] = []
    frames = max(1, round(rate * seconds))
    dropped, following = 0, 0
    while following < frames:
        clock.sleep_until(begin + following / rate)
        # The sum's rounding may leave the clock a hair before the frame that it has waited for.
        newest = min(frames - 1, max(following, int((clock.now() - begin) * rate)))
        dropped += newest - following
        start = clock.now()
        answer = query(newest)
        taken.append((begin + newest / rate, start, clock.now(), answer))
        following = newest + 1
    load = _load(begin, taken)
    return Load(load.queries, (), dropped, load.seconds)


def constant_arrivals(rate: float, count: int) -> list[float]:
    """One each 1/rate seconds."""
    return [number / rate for number in range(count)]


def poisson_arrivals(rate: float, count: int, seed: int) -> list[float]:
    """Independent of each other, `rate` per second in the mean; the same seed gives the same times."""
    gaps = np.random.default_rng(seed).exponential(1.0 / rate, count)
    return [float(each) for each in np.cumsum(gaps) - gaps[0]]


def _together(
    work: Callable[[], list[tuple[float, float, float, Answer]]], count: int
) -> list[tuple[float, float, float, Answer]]:
    """The results of `count` threads; one works in the caller's."""
    if count == 1:
        return work()
    with ThreadPoolExecutor(count) as pool:
        parts = [pool.submit(work) for _ in range(count)]
        return [each for part in parts for each in part.result()]


def _load(begin: float, taken: list[tuple[float, float, float, Answer]]) -> Load[Answer]:
    taken.sort(key=lambda each: each[:3])
    queries = tuple(
        Taken(intended - begin, start - begin, end - begin, answer) for intended, start, end, answer in taken
    )
    return Load(queries, seconds=max((query.ended for query in queries), default=0.0))
