"""train, evaluate, faces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from getgan.commands.calibrating import guard_after_training
from getgan.commands.common import Json, Threads, imports, is_installed, tell
from getgan.errors import TrainingError
from getgan.printing import printable


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
    start: Annotated[
        Path | None,
        typer.Option("--start-from", help="Checkpoint to take the first weights from: what fits of it."),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(help="Checkpoint that methods distil and trunk learn from; else that of --start-from."),
    ] = None,
    guard: Annotated[
        bool, typer.Option(help="Afterwards calibrate the guard that getgan export puts into a bundle.")
    ] = True,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print warnings only.")] = False,
    json: Json = False,
) -> None:
    """Train GET-GAN, CycleGAN or U-GAT-IT. Several GPUs: torchrun --nproc-per-node N -m getgan train ..."""
    with imports("train"):
        from getgan.training.config import load_config
        from getgan.training.console import Console
        from getgan.training.folder import CONFIG
        from getgan.training.loop import Trainer
        from getgan.training.processes import is_first_process

    folders = [f'data.root="{data.as_posix()}"', "data.kind=folders"] if data else []
    own = output / CONFIG
    if resume and config is None:
        if not own.exists():
            raise TrainingError(
                f"no run to go on with in {output}: no {CONFIG} there; name its folder with -o, "
                "or, if it was stopped before it began, the TOML that it was given"
            )
        config = own
    options = load_config(config, folders + (override or []))
    first = is_first_process()
    console = Console(quiet=quiet or json or not first)
    trainer = Trainer(options, output, console, resume=resume, start=start, teacher=teacher)
    trained = not trainer.complete
    trainer.run()
    if first:
        tell(trainer.summary(), json)
    if first and guard and not trainer.interrupted and is_installed("export"):
        silent = quiet or json
        guard_after_training(
            output,
            options.data,
            options.run.threads,
            lambda line: None if silent else print(printable(line), flush=True),
            trained=trained,
        )
    if trainer.interrupted:
        raise typer.Exit(130)


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
    with imports("train"):
        from getgan.runtime.console import ShareLine
        from getgan.training.evaluation import (
            Entry,
            EvaluationOptions,
            refuse_foreign_page,
            table,
            write_page,
        )
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
    if output is not None:
        refuse_foreign_page(output)
    with ShareLine(quiet=json) as line:
        report = compare(entries, options, line.share)
    # The table first: a page that cannot be written must not cost the minutes that the figures took.
    print(report.to_json() if json else printable(table(report)))
    if output is not None:
        page = write_page(report, output)
        if not json:
            print(f"\npage: {page}  pictures: {output / 'pictures.png'}")


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
    with imports():
        from getgan.runtime.console import ShareLine
        from getgan.training.faces.dataset import write_dataset, write_sheet

    if not dataset:
        print(write_sheet(output, size, count, seed))
        return
    with ShareLine() as line:
        written = write_dataset(output, size, count, seed, line.share)
    print(written)


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
