"""The doctor: what this machine offers, what of it really works, and how to repair the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from getgan import __version__
from getgan.printing import json_text
from getgan.runtime.devices import Machine, machine
from getgan.runtime.doctor.check import Check


@dataclass(frozen=True)
class Diagnosis:
    """All findings, in the order in which they were made."""

    machine: Machine
    checks: tuple[Check, ...]

    @property
    def exit_code(self) -> int:
        """1 if there is a fault; warnings are none."""
        return 1 if any(check.status == "fault" for check in self.checks) else 0

    def text(self) -> str:
        """For people: one line each, the repair below it."""
        wide = max(len(check.name) for check in self.checks)
        lines = [line for check in self.checks for line in check_lines(check, wide)]
        return "\n".join([*lines, self.closing()])

    def closing(self) -> str:
        """The last line, for who has seen the others as they came."""
        counts = {status: sum(c.status == status for c in self.checks) for status in ("fault", "warn")}
        return f"\ngetgan {__version__}: {counts['fault']} faults, {counts['warn']} warnings"

    def to_json(self) -> str:
        """For machines."""
        return json_text(asdict(self) | {"getgan": __version__, "exit_code": self.exit_code})


def diagnose(
    bundle: Path | None = None, *, threads: int = 0, on_check: Callable[[Check], None] = lambda check: None
) -> Diagnosis:
    """Look at everything; takes some seconds, as each backend runs in a process of its own.

    bundle: also verify it, and run it in every way that works here. on_check hears of each finding at once.
    """
    this = machine()
    checks: list[Check] = []
    for check in _all_checks(this, bundle, threads):
        checks.append(check)
        on_check(check)
    return Diagnosis(this, tuple(checks))


def check_lines(check: Check, wide: int = 0) -> list[str]:
    """A finding as text, names padded to `wide` letters."""
    lines = [f"{check.status:5} {check.name:{wide}}  {check.found}"]
    if check.repair:
        lines.append(f"{'':5} {'':{wide}}  → {check.repair}")
    return lines


def _all_checks(this: Machine, bundle: Path | None, threads: int) -> Iterator[Check]:
    from getgan.runtime.doctor import backends as doctor_backends
    from getgan.runtime.doctor import files as doctor_files
    from getgan.runtime.doctor import machine as doctor_machine
    from getgan.runtime.doctor import tensorrt as doctor_tensorrt
    from getgan.runtime.doctor.engines import engines_check

    yield from doctor_machine.checks(this)
    working = []
    for candidate, check in doctor_backends.checks(this):
        yield check
        if check.status == "ok":
            working.append(candidate)
    yield from doctor_tensorrt.checks(this)
    yield engines_check(this)
    yield from doctor_files.checks()
    if bundle is not None:
        working = [*doctor_tensorrt.ways(this), *working]
        yield from doctor_backends.bundle_checks(bundle, working, threads)
