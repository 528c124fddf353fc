"""One finding of the doctor: what was looked at, what was found, and the command that repairs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# none: not here and not needed. warn: works, but slower or less than it could. fault: does not work.
NAME_WIDTH = 31  # letters of a name in a column; a longer one is rare and shifts its line
Status = Literal["ok", "none", "warn", "fault"]


@dataclass(frozen=True)
class Check:
    """A finding. A warning or fault has a repair: a command, or what to do where there is none."""

    name: str
    status: Status
    found: str
    repair: str = ""
