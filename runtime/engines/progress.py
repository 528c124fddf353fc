"""How far a build is: the library's nested phases as one number, and the time that is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from getgan.runtime.console import clock
from getgan.runtime.manifest import Record

# Before that the first phases, which are short, say nothing of the long one that follows.
ETA_AFTER_S = 5.0
ETA_FROM = 0.02
EVERY_S = 0.2


class Progress(Record, frozen=True):
    """One line of a build."""

    phase: str  # the innermost one that runs
    done: float  # 0 to 1, of the whole build
    seconds: float  # since its start
    left_s: float | None  # at the speed so far; None = too early to tell

    def text(self) -> str:
        """One line for people."""
        left = "" if self.left_s is None else f", about {clock(self.left_s)} left"
        return f"{100 * self.done:3.0f} %  {self.phase}, {clock(self.seconds)}{left}"


class Phases:
    """Keeps the phases that run, and tells of them no more often than EVERY_S; called in any thread."""

    def __init__(self, tell: Callable[[Progress], None]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._open: dict[str, _Phase] = {}
        self._start = time.monotonic()
        self._told = 0.0
        self._furthest = 0.0

    def start(self, name: str, parent: str, steps: int) -> None:
        """A phase of so many steps begins, inside another one or at the top ("")."""
        with self._lock:
            self._open[name] = _Phase(parent, max(1, steps))
        self._say(name)

    def step(self, name: str, step: int) -> None:
        """Its step of that number, from 0, has ended."""
        with self._lock:
            if name in self._open:
                self._open[name].done = max(self._open[name].done, step + 1)
        self._say(name)

    def finish(self, name: str) -> None:
        """It has ended."""
        with self._lock:
            self._open.pop(name, None)

    def _say(self, name: str) -> None:
        now = time.monotonic()
        with self._lock:
            if now - self._told < EVERY_S:
                return
            self._told = now
            seconds = now - self._start
            # A phase may run twice; going back would only unsettle who watches.
            done = self._furthest = max(self._furthest, self._share(""))
        known = seconds >= ETA_AFTER_S and done >= ETA_FROM
        self._tell(Progress(name, done, seconds, seconds * (1.0 - done) / done if known else None))

    def _share(self, parent: str) -> float:
        """How much of the parent's present step its inner phases have done; at the top: of everything."""
        shares = [
            min(1.0, (phase.done + self._share(name)) / phase.steps)
            for name, phase in self._open.items()
            if phase.parent == parent
        ]
        return max(shares, default=0.0)


class _Phase:
    def __init__(self, parent: str, steps: int) -> None:
        self.parent = parent
        self.steps = steps
        self.done = 0
