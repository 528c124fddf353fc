"""Signals that ask a command to stop: who hears of them for how long, and who heard of them before."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

# Ctrl-C; systemd, timeout, docker stop; a closed terminal, which Windows does not tell of.
STOPPING = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


@contextmanager
def signals_go_to(
    handler: Callable[[int, FrameType | None], None], signals: Sequence[signal.Signals] = STOPPING
) -> Iterator[None]:
    """Until the end of the block, in the main thread: no other may set handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # What is ignored stays so: nohup's SIGHUP, a background job's SIGINT. None was not set from Python, and
    # could not be set back.
    wanted = [number for number in signals if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    before = {number: signal.signal(number, handler) for number in wanted}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Hold Ctrl-C back until the end of the block, for imports and nothing longer.

    A KeyboardInterrupt inside a C extension's start becomes an ImportError, a SystemError, or nothing, and
    leaves the library half made: a backend then seems faulty and the next one runs instead.
    """
    held = False

    def hold(number: int, stack: FrameType | None) -> None:
        nonlocal held
        held = True

    try:
        with signals_go_to(hold, [signal.SIGINT]):
            yield
    finally:
        if held:
            signal.raise_signal(signal.SIGINT)
