"""bench runtime, bench train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from getgan.commands.common import Json, Threads, imports, tell


def bench_runtime(
    bundle: Annotated[
        Path | None, typer.Argument(help="Bundle; an untrained network is exported if not given.")
    ] = None,
    size: Annotated[int, typer.Option(help="Pixels; 0 = the bundle's, or 256.", min=0)] = 0,
    ngf: Annotated[int, typer.Option(help="Width of the untrained network.", min=1)] = 64,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds; the median counts.", min=1)] = 15,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 = all cores.", min=0)] = 2,
    json: Json = False,
) -> None:
    """Latency, memory, start, export, install size, beside plain ONNX Runtime; exit 1 = a target missed."""
    with imports(*([] if bundle else ["export"])):
        from getgan.benchmarks.runtime import RuntimeOptions, measure_runtime
        from getgan.runtime.console import ShareLine

    options = RuntimeOptions(bundle=bundle, size=size, ngf=ngf, threads=threads, rounds=rounds)
    with ShareLine(quiet=json) as line:
        report = measure_runtime(options, line.share)
    tell(report, json)
    if not report.passed:
        raise typer.Exit(1)


def bench_train(
    size: Annotated[int, typer.Option(help="Pixels.")] = 64,
    ngf: Annotated[int, typer.Option(help="Width of the generators.")] = 24,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds; the median counts.", min=1)] = 15,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    threads: Threads = 0,
    recipe: Annotated[
        Path | None, typer.Option(help="TOML file: time its networks, losses and updates instead.")
    ] = None,
    json: Json = False,
) -> None:
    """Time per training iteration: GET-GAN (sequential, joint) or a recipe over CycleGAN, interleaved."""
    with imports("train"):
        from getgan.benchmarks.training import compare_iterations

    tell(
        compare_iterations(size=size, ngf=ngf, rounds=rounds, device=device, threads=threads, recipe=recipe),
        json,
    )


def bench_recognise(
    size: Annotated[int, typer.Option(help="Pixels of the full U-GAT-IT; 256 has 1.1 GB.", min=8)] = 256,
    rounds: Annotated[int, typer.Option(help="Rounds in turn; the median counts.", min=1)] = 5,
    json: Json = False,
) -> None:
    """Time and peak memory to say what a large checkpoint is, over plain loading of it."""
    with imports("export"):
        from getgan.benchmarks.recognition import measure_recognition
        from getgan.runtime.console import ShareLine

    with ShareLine(quiet=json) as line:
        report = measure_recognition(size, rounds, line.share)
    tell(report, json)
