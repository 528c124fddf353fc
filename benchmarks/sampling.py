"""Reads the sensors at a fixed pace in a thread of its own, and cuts out what belongs to one run."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from getgan.benchmarks.percentiles import growth
from getgan.benchmarks.schema import Growth, Reading
from getgan.benchmarks.sensors import Probe

PACE_S = 0.25
MAX_KEPT = 240  # readings of a run in the report; of a longer soak every n-th
# The first whose energy counter or power is there says what a picture costs; a GPU's is without its host.
COUNTERS = ("gpu energy", "package energy")
POWERS = ("board power", "gpu power")


@dataclass
class Sampler:
    """A context manager; `times` and `values` grow while it is open."""

    probes: Sequence[Probe]
    pace: float = PACE_S
    times: list[float] = field(default_factory=list)  # of time.perf_counter
    values: dict[str, list[float | None]] = field(default_factory=dict)

    def __enter__(self) -> Sampler:
        self.values = {probe.sensor.name: [] for probe in self.probes if probe.read}
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stop.wait(self.pace):
            self.sample()

    def sample(self) -> None:
        """One reading of everything."""
        now = time.perf_counter()
        found = {probe.sensor.name: probe.read(now) for probe in self.probes if probe.read}
        with self._lock:
            self.times.append(now)
            for name, value in found.items():
                self.values[name].append(value)

    def between(self, begin: float, end: float) -> Excerpt:
        """The readings of that time."""
        with self._lock:
            first, last = (int(np.searchsorted(self.times, edge)) for edge in (begin, end))
            times = [each - begin for each in self.times[first:last]]
            return Excerpt(times, {name: found[first:last] for name, found in self.values.items()})


@dataclass(frozen=True)
class Excerpt:
    """Readings of one run; seconds since its begin."""

    times: list[float]
    values: dict[str, list[float | None]]

    def known(self, name: str) -> tuple[list[float], list[float]]:
        """Times and values of the readings that did not fail."""
        pairs = [
            (when, value)
            for when, value in zip(self.times, self.values.get(name, ()), strict=False)
            if value is not None
        ]
        return [when for when, _ in pairs], [value for _, value in pairs]

    def growth(self) -> tuple[Growth, ...]:
        """Of host and device memory."""
        found = (growth(what, *self.known(f"{what} memory")) for what in ("host", "device"))
        return tuple(each for each in found if each is not None)

    def joules(self, seconds: float) -> tuple[float | None, str]:
        """Energy of the run, and where it was read; None and the reason."""
        for name in COUNTERS:
            times, values = self.known(name)
            if len(times) >= 2 and times[-1] > times[0]:
                return (values[-1] - values[0]) / (times[-1] - times[0]) * seconds, name
        for name in POWERS:
            _, values = self.known(name)
            if values:
                return sum(values) / len(values) * seconds, f"{name}, mean of {len(values)}"
        present = [name for name in (*COUNTERS, *POWERS) if name in self.values]
        if present:
            return None, f"the run was too short for two readings of the {present[0]}"
        return None, "no sensor tells of power or energy here"

    def kept(self) -> tuple[tuple[float, ...], tuple[Reading, ...]]:
        """For the report."""
        step = -(-len(self.times) // MAX_KEPT) or 1
        readings = tuple(Reading(name, tuple(values[::step])) for name, values in self.values.items())
        return tuple(round(each, 3) for each in self.times[::step]), readings
