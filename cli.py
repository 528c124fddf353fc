"""The `getgan` command: which commands there are, and how an error of ours ends one."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Annotated

import typer

from getgan import __version__
from getgan.commands import benchmarks, bundles, calibrating, engines, manual, running, training
from getgan.commands.common import RunByDefault
from getgan.errors import GetganError, UsageError
from getgan.offline import leave_no_folder
from getgan.printing import one_line

app = typer.Typer(
    name="getgan",
    help="Take a trained GET-GAN generator into the ultrasound room: train, verify, export, run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # an error of ours is one line; any other shows a plain traceback
    rich_markup_mode=None,  # a usage error is one line, not a box; and --help answers twice as fast
)
bench = typer.Typer(
    cls=RunByDefault,
    no_args_is_help=True,
    help="Measure, beside a peer in the same run; `getgan bench BUNDLE` is `getgan bench run BUNDLE`.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"getgan {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    pass


app.command()(training.train)
app.command()(training.evaluate)
app.command()(training.faces)
app.command()(bundles.inspect)
app.command()(calibrating.calibrate)
app.command()(bundles.export)
app.command()(bundles.verify)
app.command()(running.run)
app.command()(running.doctor)
app.command()(engines.build)
app.command()(engines.engines)
app.command()(running.drift)
app.command()(bundles.demo)
app.add_typer(bench, name="bench")
bench.command("run")(benchmarks.bench_run)
bench.command("page")(benchmarks.bench_page)
bench.command("compare")(benchmarks.bench_compare)
bench.command("runtime")(benchmarks.bench_runtime)
bench.command("train")(benchmarks.bench_train)
bench.command("recognise")(benchmarks.bench_recognise)
bench.command("guard")(benchmarks.bench_guard)
bench.command("gpu")(benchmarks.bench_gpu)
app.command("help")(manual.print_page)


def main() -> None:
    """Run the command line. Exit code 1: one of our errors, as one line; 2: wrong usage; 130: Ctrl-C."""
    leave_no_folder()
    _open_closed_streams()
    try:
        app()
    except GetganError as error:
        print(f"getgan: {one_line(error)}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except OSError as error:  # of the machine: a name that is too long, a full disk, a pipe that was closed
        _leave_stdout_alone()
        about = f": {error.filename}" if error.filename else ""
        print(f"getgan: {one_line(f'{error.strerror or error}{about}')}", file=sys.stderr)
        sys.exit(1)
    except SystemExit as end:
        if end.code == 130:  # Typer makes this of Ctrl-C, without a word
            print("getgan: stopped", file=sys.stderr)
        raise


def _open_closed_streams() -> None:
    """Python has None in place of a stream that is closed at the start (`2>&-`)."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for the process


def _leave_stdout_alone() -> None:
    """What cannot be written there now could not be at the end of the process either."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
