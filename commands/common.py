"""What the commands share: common options, imports that say what is missing, how a report is printed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer
from typer.core import TyperGroup

from getgan.errors import ConfigError
from getgan.printing import printable
from getgan.runtime.interrupts import interrupts_wait

if TYPE_CHECKING:
    from getgan.runtime.console import StatusLine

# What a command needs beside the runtime: the modules that each extra of pyproject.toml brings.
EXTRAS = {
    "export": ("torch", "onnx", "onnxruntime", "onnxscript", "safetensors"),
    "train": ("torch", "safetensors"),
    "dicom": ("pydicom", "PIL"),
}

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text.")]
Threads = Annotated[int, typer.Option(help="CPU threads; 0 = all cores.", min=0)]


class RunByDefault(TyperGroup):
    """`getgan bench BUNDLE` is `getgan bench run BUNDLE`, and `--compare A B` is `compare A B`.

    A bundle called like a command needs the `run`.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # Typer's Context, or Click's before 0.20
        """See TyperGroup."""
        if args[:1] == ["--compare"]:
            args = ["compare", *args[1:]]
        elif args and args[0] not in (*self.commands, "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


def is_installed(extra: str) -> bool:
    """Whether all that an extra brings is there."""
    return all(find_spec(module) is not None for module in EXTRAS[extra])


class Report(Protocol):
    """What a command found."""

    def text(self) -> str:
        """For people."""

    def to_json(self) -> str:
        """For machines."""


def tell(report: Report, json: bool) -> None:
    """Print it. Names, notes and paths in it may come from a stranger's file."""
    print(report.to_json() if json else printable(report.text()))


def warn(warnings: Iterable[str], line: StatusLine) -> None:
    """On stderr, also where the report is JSON."""
    for warning in warnings:
        line.message(f"warning: {warning}")


@contextmanager
def imports(*extras: str) -> Iterator[None]:
    """For a command's imports: ConfigError if what they need is not installed; Ctrl-C waits until the end."""
    missing = {extra: [module for module in EXTRAS[extra] if find_spec(module) is None] for extra in extras}
    if names := list(dict.fromkeys(module for modules in missing.values() for module in modules)):
        wanted = ",".join(extra for extra, modules in missing.items() if modules)
        are = "is" if len(names) == 1 else "are"
        found = f"this command needs {', '.join(names)}, which {are} not installed"
        raise ConfigError(f"{found}: pip install 'getgan[{wanted}]'")
    with interrupts_wait():
        yield
