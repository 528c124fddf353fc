"""Ctrl-C while libraries are being imported: it waits until they are, and then stops the command."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Hold Ctrl-C back until the end of the block, for imports and nothing longer.

    A KeyboardInterrupt inside a C extension's start becomes an ImportError, a SystemError, or nothing, and
    leaves the library half made: a backend then seems faulty and the next one runs instead.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread sees signals
        return
    held = False

    def hold(number: int, stack: FrameType | None) -> None:
        nonlocal held
        held = True

    before = signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        # None: not set from Python, and so not to be set back.
        signal.signal(signal.SIGINT, signal.default_int_handler if before is None else before)
        if held:
            signal.raise_signal(signal.SIGINT)
