"""Signals that ask a run to stop: it ends after the iteration in progress, with its state saved."""

from __future__ import annotations

from contextlib import AbstractContextManager

from getgan.runtime.interrupts import signals_go_to


class StopSignals:
    """Counts them while it listens; the second ends the process at once."""

    def __init__(self) -> None:
        self._count = 0

    @property
    def asked(self) -> bool:
        """Whether one has come."""
        return self._count > 0

    def listening(self) -> AbstractContextManager[None]:
        """Take the signals' handlers, and give them back afterwards."""
        return signals_go_to(self._count_one)

    def _count_one(self, number: int, frame: object) -> None:
        self._count += 1
        if self._count > 1:
            raise KeyboardInterrupt
