"""The `getgan` command: parse, call one function, print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from getgan import __version__
from getgan.errors import GetganError

app = typer.Typer(
    name="getgan",
    help="Take a trained GET-GAN generator into the ultrasound room: train, verify, export, run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # an error of ours is one line; any other shows a plain traceback
    rich_markup_mode=None,  # a usage error is one line, not a box; and --help answers twice as fast
)
bench = typer.Typer(no_args_is_help=True, help="Measure, beside a peer in the same run.")
app.add_typer(bench, name="bench")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text.")]
Threads = Annotated[int, typer.Option(help="CPU threads; 0 = all cores.", min=0)]


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


@app.command()
def train(
    config: Annotated[Path | None, typer.Argument(help="TOML file, like examples/getgan-64.toml.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")] = Path("runs/getgan"),
    override: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value, over the file; repeatable.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder with trainA and trainB; short for data.kind and data.root.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print warnings only.")] = False,
    json: Json = False,
) -> None:
    """Train GET-GAN, CycleGAN or U-GAT-IT. Several GPUs: torchrun --nproc-per-node N -m getgan train ..."""
    from getgan.training.config import load_config
    from getgan.training.console import Console
    from getgan.training.loop import Trainer, is_first_process

    folders = [f'data.root="{data.as_posix()}"', "data.kind=folders"] if data else []
    options = load_config(config, folders + (override or []))
    first = is_first_process()
    trainer = Trainer(options, output, Console(quiet=quiet or json or not first), resume=resume)
    trainer.run()
    if first:
        summary = trainer.summary()
        print(summary.to_json() if json else summary.text())


@app.command()
def evaluate(
    checkpoints: Annotated[
        list[str],
        typer.Argument(help="Checkpoint files, or LABEL=FILE; files of one label are training seeds of it."),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for index.html, report.json, pictures.png.")
    ] = None,
    scenes: Annotated[int, typer.Option(help="Test scenes per seed.")] = 200,
    seeds: Annotated[str, typer.Option(help="Test seeds, comma-separated.")] = "0,1,2",
    size: Annotated[int | None, typer.Option(help="Pixels; the checkpoints' own if not given.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    threads: Threads = 0,
    perceptual: Annotated[bool, typer.Option(help="Perceptual distance and KID.")] = True,
    json: Json = False,
) -> None:
    """Compare checkpoints on synthetic faces whose truth is known: table, JSON, and a page with pictures."""
    from getgan.training.console import ShareLine
    from getgan.training.evaluation import Entry, EvaluationOptions, table, write_page
    from getgan.training.evaluation import evaluate as compare

    entries = [Entry(label or _label_of(path), Path(path)) for label, path in map(_labelled, checkpoints)]
    options = EvaluationOptions(
        scenes=scenes,
        seeds=_integers(seeds),
        size=size,
        device=device,
        threads=threads,
        perceptual=perceptual,
    )
    with ShareLine(quiet=json) as line:
        report = compare(entries, options, line.show)
    # The table first: a page that cannot be written must not cost the minutes that the figures took.
    print(report.to_json() if json else table(report))
    if output is not None:
        page = write_page(report, output)
        if not json:
            print(f"\npage: {page}  pictures: {output / 'pictures.png'}")


@app.command()
def faces(
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG sheet, or a folder with --dataset.")],
    size: Annotated[int, typer.Option(help="Pixels of a picture, 32 or more.")] = 128,
    count: Annotated[int, typer.Option(help="Scenes on the sheet, or pictures per folder.", min=1)] = 6,
    dataset: Annotated[
        bool, typer.Option("--dataset", help="Write trainA trainB testA testB instead of a sheet.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Index of the first picture.", min=0)] = 0,
) -> None:
    """Render synthetic faces: a sheet to look at, or a CycleGAN-style data set."""
    from getgan.training.console import ShareLine
    from getgan.training.faces.dataset import write_dataset, write_sheet

    if not dataset:
        print(write_sheet(output, size, count, seed))
        return
    with ShareLine() as line:
        written = write_dataset(output, size, count, seed, line.show)
    print(written)


@bench.command("train")
def bench_train(
    size: Annotated[int, typer.Option(help="Pixels.")] = 64,
    ngf: Annotated[int, typer.Option(help="Width of the generators.")] = 24,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds; the median counts.", min=1)] = 15,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Time per training iteration: GET-GAN (sequential, joint) over CycleGAN, interleaved."""
    from getgan.benchmarks.training import compare_iterations

    result = compare_iterations(size=size, ngf=ngf, rounds=rounds, device=device, threads=threads)
    print(result.to_json() if json else result.text())


def _labelled(argument: str) -> tuple[str, str]:
    """("label", "path") of "label=path"; a path alone has no label."""
    label, equals, path = argument.partition("=")
    return (label, path) if equals and not Path(argument).exists() else ("", argument)


def _label_of(path: str) -> str:
    """The file's name; a run's last and best checkpoint are told apart by the run's folder."""
    place = Path(path)
    return f"{place.parent.name}/{place.stem}" if place.stem in ("last", "best") else place.stem


def _integers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"found {text!r}; wanted integers like 0,1,2", param_hint="--seeds"
        ) from None


def main() -> None:
    """Run the command line. Exit code 1: one of our errors, as one line; 2: wrong usage; 130: Ctrl-C."""
    try:
        app()
    except GetganError as error:
        print(f"getgan: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("getgan: stopped", file=sys.stderr)
        sys.exit(130)
