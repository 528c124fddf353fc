"""The `getgan` command: parse, call one function, print."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

import typer

from getgan import __version__
from getgan.errors import ConfigError, DataError, GetganError, TrainingError, UsageError
from getgan.offline import leave_no_folder
from getgan.printing import one_line, printable
from getgan.runtime.interrupts import interrupts_wait

if TYPE_CHECKING:
    from getgan.contract import Output
    from getgan.runtime.console import StatusLine
    from getgan.runtime.doctor.check import Check
    from getgan.runtime.session import SessionInfo

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

# What a command needs beside the runtime: the modules that each extra of pyproject.toml brings.
EXTRAS = {
    "export": ("torch", "onnx", "onnxruntime", "onnxscript", "safetensors"),
    "train": ("torch", "safetensors"),
    "dicom": ("pydicom", "PIL"),
}
PAGES = Path(__file__).resolve().parent / "docs"

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
    start: Annotated[
        Path | None,
        typer.Option("--start-from", help="Checkpoint to take the first weights from: what fits of it."),
    ] = None,
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
                f"no run to go on with in {output}: no {CONFIG} there; name its folder with -o"
            )
        config = own
    options = load_config(config, folders + (override or []))
    first = is_first_process()
    console = Console(quiet=quiet or json or not first)
    trainer = Trainer(options, output, console, resume=resume, start=start)
    trainer.run()
    if first:
        tell(trainer.summary(), json)
    if trainer.interrupted:
        raise typer.Exit(130)


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
    with imports():
        from getgan.runtime.console import ShareLine
        from getgan.training.faces.dataset import write_dataset, write_sheet

    if not dataset:
        print(write_sheet(output, size, count, seed))
        return
    with ShareLine() as line:
        written = write_dataset(output, size, count, seed, line.share)
    print(written)


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="Checkpoint file, or bundle (folder or .getgan file).")],
    json: Json = False,
) -> None:
    """Say what a checkpoint or a bundle is: network, image sizes, provenance, precisions."""
    from getgan.runtime.bundle import SUFFIX

    if not path.exists():
        raise DataError(f"{path}: is missing; wanted a checkpoint file or a bundle")
    if path.is_dir() or path.suffix == SUFFIX:
        from getgan.runtime.facts import inspect_bundle

        tell(inspect_bundle(path), json)
        return
    with imports("export"):
        from getgan.export.facts import inspect_checkpoint
    tell(inspect_checkpoint(path), json)


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint file.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Bundle: a new folder, or one file if it ends in .getgan.")
    ],
    occlusion: Annotated[
        bool, typer.Option("--occlusion", help="Also give the gate's occlusion map, 1 - s.")
    ] = False,
    with_error: Annotated[
        bool, typer.Option("--with-error", help="Also give y_e, the error branch's picture: for research.")
    ] = False,
    images: Annotated[
        Path | None, typer.Option(help="Folder of own images that the gate shall judge too; none is kept.")
    ] = None,
    threads: Threads = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is there.")] = False,
    json: Json = False,
) -> None:
    """Checkpoint to bundle: ONNX in FP32, FP16 and bf16, each let in only if it gives PyTorch's pictures."""
    with imports("export"):
        from getgan.export.bundle import ExportOptions, export_bundle
        from getgan.runtime.console import ShareLine
        from getgan.runtime.images import list_images

    outputs: list[Output] = ["face"]
    outputs += ["occlusion"] if occlusion else []
    outputs += ["error"] if with_error else []
    options = ExportOptions(
        outputs=tuple(outputs),
        images=tuple(list_images(images)) if images else (),
        overwrite=overwrite,
        threads=threads,
    )
    with ShareLine(quiet=json) as line:
        report = export_bundle(checkpoint, output, options, line.share)
    tell(report, json)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="Bundle: folder or .getgan file.")],
    checkpoint: Annotated[Path, typer.Argument(help="The checkpoint that it was exported from.")],
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Judge a bundle again on this machine, against its checkpoint. Exit code 1 if it does not pass."""
    with imports("export"):
        from getgan.export.verify import verify_bundle
        from getgan.runtime.console import ShareLine

    with ShareLine(quiet=json) as line:
        report = verify_bundle(bundle, checkpoint, line.share, threads)
    tell(report, json)
    if not report.passed:
        raise typer.Exit(1)


@app.command()
def run(
    bundle: Annotated[Path, typer.Argument(help="Bundle: folder or .getgan file.")],
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="Image, DICOM, folder, video, camera number or stream URL.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder, or a picture or video by its suffix.")
    ],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; a named one is kept.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, fp16 or bf16.")] = "auto",
    backend: Annotated[str, typer.Option(help="auto, or a name that getgan doctor shows.")] = "auto",
    threads: Threads = 0,
    size: Annotated[int, typer.Option(help="Pixels each way in the network; 0 = as trained.", min=0)] = 0,
    fit: Annotated[
        Literal["fit", "letterbox", "crop"],
        typer.Option(help="Keep the aspect, pad to a square, or cut the middle square."),
    ] = "fit",
    output_size: Annotated[
        Literal["input", "network"], typer.Option(help="Size of the pictures that are written.")
    ] = "input",
    no_label: Annotated[
        bool, typer.Option("--no-label", help='For engineers only: no "AI-generated, not diagnostic".')
    ] = False,
    view: Annotated[
        Literal["output", "side-by-side", "occlusion", "both", "all"],
        typer.Option(help="What is written for each frame; occlusion: the gate's map, for engineers."),
    ] = "output",
    region: Annotated[
        str, typer.Option(help="x,y,w,h in input pixels: all that is translated and shown.")
    ] = "",
    preset: Annotated[str, typer.Option(help="Take the region that was saved under this name.")] = "",
    save_preset: Annotated[str, typer.Option(help="Save --region under this name, one per device.")] = "",
    timeout: Annotated[
        float, typer.Option(help="Seconds without a frame after which a camera is gone.", min=0.1)
    ] = 5.0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace older outputs of getgan's, never other files.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print failures and the summary only.")] = False,
    json: Json = False,
) -> None:
    """Translate images, videos or a camera with a bundle; no PyTorch. More: getgan help running."""
    with imports():
        import cv2  # noqa: F401  # which functions import when they first need it, unprotected

        from getgan.clinic.source import DicomOpener
        from getgan.runtime.console import StatusLine
        from getgan.runtime.media.presets import region_of
        from getgan.runtime.pipeline import PipelineOptions
        from getgan.runtime.run import RunOptions, run_bundle

    options = RunOptions(
        device=device,
        precision=precision,
        backend=backend,
        threads=threads,
        pipeline=PipelineOptions(size=size, fit=fit, label=not no_label, output_size=output_size),
        view=view,
        overwrite=overwrite,
        timeout=timeout,
        region=region_of(region, preset, save_preset),
        save_preset=save_preset,
    )
    with StatusLine(quiet=quiet or json) as line:
        report = run_bundle(
            bundle,
            source,
            output,
            options,
            openers=[DicomOpener()],
            on_session=lambda info: _tell(info, line),
            on_progress=lambda progress: line.show(progress.text()),
            on_failure=lambda failure: line.message(
                f"{'refused' if failure.refused else 'failed'}: {failure.name}: {failure.reason}"
            ),
            on_note=line.message,
        )
    tell(report, json)
    raise typer.Exit(report.summary.exit_code)


@app.command()
def doctor(
    bundle: Annotated[Path | None, typer.Argument(help="Also verify this bundle and run it here.")] = None,
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Say what this machine offers, what of it really works, and how to repair the rest."""
    with imports():
        from getgan.runtime.doctor.check import NAME_WIDTH
        from getgan.runtime.doctor.diagnosis import check_lines, diagnose

    def tell_check(check: Check) -> None:
        if not json:
            print(printable("\n".join(check_lines(check, NAME_WIDTH))), flush=True)

    diagnosis = diagnose(bundle, threads=threads, on_check=tell_check)
    print(diagnosis.to_json() if json else diagnosis.closing())
    raise typer.Exit(diagnosis.exit_code)


@app.command()
def demo(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint file.")] = Path(
        "examples/getgan-64.safetensors"
    ),
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for everything.")] = Path(
        "build/demo"
    ),
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """The whole way once: export, gate, bundle; translate ultrasound frames and rendered scenes; a sheet."""
    with imports("export", "train", "dicom"):
        from getgan.clinic.examples import example_frames
        from getgan.export.demo import run_demo
        from getgan.runtime.console import ShareLine
        from getgan.training.faces.dataset import example_scenes

    with ShareLine(quiet=json) as line:
        report = run_demo(checkpoint, [*example_scenes(256), *example_frames()], output, line.share, threads)
    tell(report, json)
    raise typer.Exit(report.run.summary.exit_code)


@bench.command("runtime")
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


@bench.command("train")
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


@app.command("help")
def print_page(
    page: Annotated[str | None, typer.Argument(help="Its name; without one, all names.")] = None,
) -> None:
    """Print a page of the manual, like `getgan help running`."""
    names = sorted(path.stem for path in PAGES.glob("*.md"))
    if page is None:
        print("\n".join(names))
    elif page in names:
        print((PAGES / f"{page}.md").read_text(encoding="utf-8"), end="")
    else:
        raise UsageError(f"found no page {page!r:.40}; wanted one of {', '.join(names)}")


class Report(Protocol):
    """What a command found."""

    def text(self) -> str:
        """For people."""

    def to_json(self) -> str:
        """For machines."""


def tell(report: Report, json: bool) -> None:
    """Print it. Names, notes and paths in it may come from a stranger's file."""
    print(report.to_json() if json else printable(report.text()))


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


def _tell(info: SessionInfo, line: StatusLine) -> None:
    """What runs, and each faster way that should have worked here and did not."""
    line.note(info.text())
    for warning in info.warnings:
        line.message(f"warning: {warning}")


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
