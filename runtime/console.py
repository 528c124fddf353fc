"""How far long work is, on stderr: one line redrawn on a terminal, now and then a new line elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time

from getgan.printing import one_line

REDRAW_S = 0.2
LINE_S = 60.0  # a log file wants few lines
LINE_SHARE = 0.1  # and so much of a step is worth one


class StatusLine:
    """Prints at most every REDRAW_S (terminal) or LINE_S (file); a context manager that clears the line."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._every = REDRAW_S if self._terminal else LINE_S
        self._shown = float("-inf")
        self._drawn = False

    def __enter__(self) -> StatusLine:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def show(self, text: str, *, now: bool = False) -> None:
        """Show it if it is time, or now."""
        text = one_line(text)
        moment = time.monotonic()
        if self._quiet or (not now and moment - self._shown < self._every):
            return
        self._shown = moment
        if self._terminal:
            _print(f"\r\x1b[2K{text}", end="")
            self._drawn = True
        else:
            _print(text)

    def note(self, text: str) -> None:
        """A line that stays, unless quiet."""
        if not self._quiet:
            self.message(text)

    def message(self, text: str) -> None:
        """A line that stays, quiet or not."""
        self._clear()
        _print(one_line(text))

    def _clear(self) -> None:
        if self._drawn:
            _print("\r\x1b[2K", end="")
            self._drawn = False


def _print(text: str, end: str = "\n") -> None:
    """To stderr, which may be closed, or a terminal that is gone: that must not end the work."""
    with contextlib.suppress(OSError, ValueError):
        print(text, end=end, file=sys.stderr, flush=True)


class ShareLine(StatusLine):
    """What is being done and how much of the whole is, with the time left."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__(quiet=quiet)
        self._started = time.monotonic()
        self._step = ""
        self._said = 0.0

    def __enter__(self) -> ShareLine:
        return self

    def share(self, what: str, share: float) -> None:
        """share: of the whole, 0 to 1. A new step is shown at once, and each LINE_SHARE of the whole.

        A step that counts ends in ", COUNT".
        """
        step = what.partition(", ")[0]
        passed = time.monotonic() - self._started
        left = f", {clock(passed / share - passed)} left" if 0.02 < share < 1.0 else ""
        now = step != self._step or abs(share - self._said) >= LINE_SHARE - 1e-9
        self.show(f"{100 * share:3.0f} %  {what}{left}", now=now)
        self._step = step
        if now:
            self._said = share


def clock(seconds: float) -> str:
    """1:05 or 2:01:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
