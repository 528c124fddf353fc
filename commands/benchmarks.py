"""bench run, page, compare, runtime, train, recognise, guard, gpu."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from getgan.commands.common import Json, Threads, imports, tell
from getgan.printing import printable


def bench_run(
    bundle: Annotated[Path, typer.Argument(help="Bundle: folder or .getgan file.")],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; the peers follow.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, or some of the bundle's, like fp32,bf16.")] = "auto",
    backend: Annotated[str, typer.Option(help="auto, or some of those that getgan doctor shows.")] = "auto",
    threads: Threads = 0,
    batch: Annotated[str, typer.Option(help="Pictures in a query, like 1,2.")] = "1",
    size: Annotated[int, typer.Option(help="Pixels each way; 0 = as trained.", min=0)] = 0,
    concurrency: Annotated[str, typer.Option(help="Queries at a time, like 1,2,4.")] = "1",
    rate: Annotated[str, typer.Option(help="Open loops: pictures per second, like 5,10.")] = "",
    arrivals: Annotated[
        Literal["poisson", "constant"], typer.Option(help="How the pictures of an open loop arrive.")
    ] = "poisson",
    camera: Annotated[str, typer.Option(help="Hz of cameras whose latest frame wins.")] = "30,60",
    duration: Annotated[float, typer.Option(help="Seconds of each run.")] = 5.0,
    repeats: Annotated[int, typer.Option(help="Of everything, in turn.", min=1)] = 3,
    soak: Annotated[float, typer.Option(help="Seconds of one long run that watches the memory.")] = 0.0,
    peer: Annotated[str, typer.Option(help="all, none, or some of the peers' names.")] = "all",
    checkpoint: Annotated[
        Path | None, typer.Option(help="What the bundle was exported from, for PyTorch as a peer.")
    ] = None,
    beside: Annotated[
        Path | None,
        typer.Option(
            help="Bundle of another network, whose FP32 graph takes turns under plain ONNX Runtime."
        ),
    ] = None,
    scenario: Annotated[
        str, typer.Option(help="MLPerf LoadGen's: all, none, or some of their names; needs -o.")
    ] = "none",
    machine_label: Annotated[
        str, typer.Option(help="What the report calls this machine; it takes no name by itself.")
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for report.json, report.html and LoadGen's logs."),
    ] = None,
    json: Json = False,
) -> None:
    """Latency, throughput, camera rates, memory, power and quality of a bundle, in turn with its peers."""
    with imports():
        from getgan.benchmarks.loadgen import SCENARIOS
        from getgan.benchmarks.measure import measure
        from getgan.benchmarks.options import BenchOptions, floats, integers, names
        from getgan.benchmarks.peers import NAMES
        from getgan.benchmarks.reportfile import json_from_report, prepare_folder, write_report
        from getgan.benchmarks.schema import ScenarioName
        from getgan.benchmarks.webpage import PAGE_NAME, check_page, write_page
        from getgan.benchmarks.words import text_of
        from getgan.runtime.console import ShareLine

    options = BenchOptions(
        bundle=bundle,
        device=device,
        precision=names("precision", precision),
        backend=names("backend", backend),
        threads=threads,
        batch=integers("batch", batch),
        size=size,
        concurrency=integers("concurrency", concurrency),
        rate=floats("rate", rate),
        camera=floats("camera", camera),
        arrivals=arrivals,
        duration=duration,
        repeats=repeats,
        soak=soak,
        peers=names("peer", peer, NAMES),
        checkpoint=checkpoint,
        beside=beside,
        scenarios=cast("tuple[ScenarioName, ...]", names("scenario", scenario, SCENARIOS)),
        output=output,
        label=machine_label,
    )
    if output is not None:
        prepare_folder(output)
        check_page(output / PAGE_NAME)
    with ShareLine(quiet=json) as line:
        report = measure(options, line.share)
    print(json_from_report(report).decode() if json else printable(text_of(report)))
    if output is not None:
        path, page = write_report(report, output), write_page(report, output / PAGE_NAME)
        if not json:
            print(f"\nreport: {path}\npage:   {page}")


def bench_page(
    report: Annotated[Path, typer.Argument(help="report.json, or the folder that holds it.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="HTML file that takes the page; report.html beside the report."),
    ] = None,
) -> None:
    """Draw a report's page anew: one HTML file with its plots, which loads nothing."""
    with imports():
        from getgan.benchmarks.reportfile import read_report
        from getgan.benchmarks.webpage import PAGE_NAME, write_page

    found = read_report(report)
    folder = report if report.is_dir() else report.parent
    print(printable(f"page: {write_page(found, output or folder / PAGE_NAME)}"))


def bench_compare(
    before: Annotated[Path, typer.Argument(metavar="A", help="The older report: file or folder.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="The newer one.")],
    regression: Annotated[str, typer.Option(help="A figure may get worse by so much.")] = "5%",
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Also other machines, bundles, settings or ways.")
    ] = False,
    json: Json = False,
) -> None:
    """What changed between two reports, with intervals; exit 1 = a regression, 2 = they do not compare."""
    with imports():
        from getgan.benchmarks.compare import compare, share
        from getgan.benchmarks.reportfile import read_report

    allowed = share(regression)
    found = compare(read_report(before), read_report(after), regression=allowed, anyway=anyway)
    tell(found, json)
    if not found.passed:
        raise typer.Exit(1)


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


def bench_guard(
    path: Annotated[Path, typer.Argument(metavar="BUNDLE-or-CHECKPOINT", help="What has the guard.")],
    draws: Annotated[int, typer.Option(help="Calibrations, each of other scans.", min=1)] = 5,
    scans: Annotated[int, typer.Option(help="Rendered scans of each calibration.", min=40)] = 600,
    unseen: Annotated[int, typer.Option(help="Scans of each draw that are to pass.", min=1)] = 300,
    pictures: Annotated[int, typer.Option(help="Pictures of each other kind in each draw.", min=1)] = 40,
    photographs: Annotated[
        Path | None, typer.Option(help="Folder of pictures that are no scans of faces: shown too, as far.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Of the features' cost; 0 = not measured.", min=0)] = 20,
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Which pictures a guard refuses, over several calibrations; AUROC, false alarms, what it costs."""
    with imports("export", "train", "dicom"):
        from getgan.benchmarks.guard import GuardOptions, measure_guard
        from getgan.benchmarks.guardpictures import photographs_of
        from getgan.clinic.examples import example_frames
        from getgan.runtime.console import ShareLine

    options = GuardOptions(
        path,
        draws,
        scans,
        unseen,
        pictures,
        rounds=rounds,
        threads=threads,
        others=tuple(example_frames()),
        photographs=() if photographs is None else photographs_of(photographs),
    )
    with ShareLine(quiet=json) as line:
        report = measure_guard(options, line.share)
    tell(report, json)


def bench_gpu(
    bundle: Annotated[
        Path | None, typer.Argument(help="Bundle; an untrained network is exported if not given.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Argument(help="The bundle's checkpoint: PyTorch is measured beside it.")
    ] = None,
    batch: Annotated[str, typer.Option(help="Batches, like 1,4,16.")] = "1,16",
    size: Annotated[int, typer.Option(help="Pixels of the untrained network.", min=1)] = 256,
    ngf: Annotated[int, typer.Option(help="Width of the untrained network.", min=1)] = 64,
    blocks: Annotated[int, typer.Option(help="Rounds of 20 calls of each way.", min=1)] = 34,
    device: Annotated[str, typer.Option(help="cuda:N.")] = "cuda:0",
    json: Json = False,
) -> None:
    """TensorRT, ONNX Runtime, PyTorch on an NVIDIA GPU, whatever is installed; exit 1 = a wrong picture."""
    import sys

    from getgan.benchmarks.gpu_check import GpuOptions, batches_from, check_gpu

    options = GpuOptions(bundle, checkpoint, batches_from(batch), ngf, size, blocks, device)
    report = check_gpu(options, lambda what: print(what, file=sys.stderr, flush=True))
    tell(report, json)
    if not report.passed:
        raise typer.Exit(1)
