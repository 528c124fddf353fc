"""Signals that ask a run to stop: it ends after the iteration in progress, with its state saved."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

# Ctrl-C; systemd, timeout, docker stop; a closed terminal.
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """Counts them while it listens; the second ends the process at once."""

    def __init__(self) -> None:
        self._count = 0

    @property
    def asked(self) -> bool:
        """Whether one has come."""
        return self._count > 0

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals' handlers, and give them back afterwards."""
        # What is ignored stays so: nohup's SIGHUP, a background job's SIGINT.
        wanted = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._count_one) for number in wanted}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _count_one(self, number: int, frame: object) -> None:
        self._count += 1
        if self._count > 1:
            raise KeyboardInterrupt
