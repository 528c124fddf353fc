"""A measured figure beside its target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One figure; `value` None = not measured or not offered here, and `note` says why."""

    name: str
    unit: str  # "x", "%", "s", "MB"
    value: float | None
    target: float | None = None  # None = for information
    at_least: bool = False  # the target is a lower bound, otherwise an upper one
    expected: bool = False  # without a value the target counts as missed: this machine should offer it
    note: str = ""

    @property
    def passed(self) -> bool | None:
        """Whether the target is met; None = not judged."""
        if self.target is None:
            return None
        if self.value is None:
            return False if self.expected else None
        return self.value >= self.target if self.at_least else self.value <= self.target


def figures_text(figures: Sequence[Figure]) -> str:
    """A table for people."""
    lines = [f"{'':50}{'found':>11}{'target':>15}"]
    for figure in figures:
        target = (
            "-"
            if figure.target is None
            else f"{'>=' if figure.at_least else '<='} {_number(figure, figure.target)}"
        )
        found = "-" if figure.value is None else _number(figure, figure.value)
        verdict = {None: "", True: "met", False: "MISSED"}[figure.passed]
        line = f"{figure.name:50}{found:>11}{target:>15}  {verdict:7}{figure.note}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def _number(figure: Figure, value: float) -> str:
    digits = {"x": 2, "s": 2, "%": 1, "MB": 0}[figure.unit]
    space = "" if figure.unit == "x" else " "
    return f"{value:.{digits}f}{space}{figure.unit}"
