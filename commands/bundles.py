"""inspect, export, verify, demo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from getgan.commands.calibrating import FalseAlarms, folder_frames
from getgan.commands.common import Json, Threads, imports, tell, warn
from getgan.errors import DataError, UsageError

if TYPE_CHECKING:
    from getgan.contract import Output

Direction = Annotated[
    str, typer.Option(help="Which of a file's generators: A2B, B2A, or its name there. Default: A2B.")
]
Setting = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        help="name=value of what the keys do not tell, like padding=reflect; repeatable.",
    ),
]


def inspect(
    path: Annotated[
        Path, typer.Argument(help="Checkpoint file, ONNX graph, or bundle (folder or .getgan file).")
    ],
    direction: Direction = "",
    option: Setting = None,
    size: Annotated[
        int, typer.Option(help="Pixels each way that work and memory are stated for; 0 = recommended.", min=0)
    ] = 0,
    json: Json = False,
) -> None:
    """Say what a checkpoint or a bundle is: network, image sizes, provenance, precisions."""
    from getgan.runtime.bundle import SUFFIX

    if not path.exists():
        raise DataError(f"{path}: is missing; wanted a checkpoint file or a bundle")
    if path.is_dir() or path.suffix == SUFFIX:
        from getgan.runtime.facts import inspect_bundle

        if direction or option or size:
            raise UsageError("--direction, --option and --size are for a checkpoint; a bundle has them all")
        tell(inspect_bundle(path), json)
        return
    with imports("export"):
        from getgan.export.facts import inspect_checkpoint
        from getgan.export.onnxfacts import inspect_onnx
        from getgan.export.onnxfile import is_onnx
        from getgan.models.settings import told_from_flags
    if is_onnx(path):
        if direction or option or size:
            raise UsageError("--direction, --option and --size are for a checkpoint; found an ONNX graph")
        tell(inspect_onnx(path), json)
        return
    tell(inspect_checkpoint(path, told_from_flags(direction, option or []), size), json)


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint file, or ONNX graph.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Bundle: a new folder, or one file if it ends in .getgan.")
    ],
    occlusion: Annotated[
        bool, typer.Option("--occlusion", help="Also give the gate's occlusion map, 1 - s.")
    ] = False,
    with_error: Annotated[
        bool, typer.Option("--with-error", help="Also give y_e, the error branch's picture: for research.")
    ] = False,
    frames: Annotated[
        bool, typer.Option("--frames", help="Also an FP16 graph that takes and gives 8-bit frames.")
    ] = False,
    images: Annotated[
        Path | None, typer.Option(help="Folder of own images that the gate shall judge too; none is kept.")
    ] = None,
    direction: Direction = "",
    option: Setting = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Folder of own scans, pictures or DICOM, that the guard shall know; none is kept."),
    ] = None,
    false_alarms: FalseAlarms = 0.01,
    range_: Annotated[
        str, typer.Option("--range", help="Of an ONNX graph: what black and white are; -1,1 or 0,1 or 0,255.")
    ] = "",
    size: Annotated[
        int, typer.Option(help="Of an ONNX graph: pixels each way; 0 = its own, or 256.", min=0, max=2048)
    ] = 0,
    multiple_of: Annotated[
        int, typer.Option(help="Of an ONNX graph: sides are multiples of it; 0 = tried.", min=0, max=2048)
    ] = 0,
    min_size: Annotated[
        int, typer.Option(help="Of an ONNX graph: smallest side; 0 = tried.", min=0, max=2048)
    ] = 0,
    fixed: Annotated[bool, typer.Option("--fixed", help="Of an ONNX graph: it takes --size alone.")] = False,
    input_name: Annotated[str, typer.Option(help="Of an ONNX graph: which input is the picture.")] = "",
    output_name: Annotated[str, typer.Option(help="Of an ONNX graph: which output is the picture.")] = "",
    clip: Annotated[
        bool, typer.Option("--clip", help="Of an ONNX graph: cut off what leaves the range.")
    ] = False,
    threads: Threads = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is there.")] = False,
    json: Json = False,
) -> None:
    """Checkpoint or ONNX graph to bundle: FP32, FP16, bf16, each let in only if it gives its pictures."""
    with imports("export"):
        from getgan.export.bundle import ExportOptions, export_bundle
        from getgan.export.onnxports import OnnxOptions
        from getgan.models.settings import told_from_flags
        from getgan.runtime.console import ShareLine
        from getgan.runtime.images import list_images

    outputs: list[Output] = ["face"]
    outputs += ["occlusion"] if occlusion else []
    outputs += ["error"] if with_error else []
    options = ExportOptions(
        outputs=tuple(outputs),
        images=tuple(list_images(images)) if images else (),
        calibration=None if calibration is None else folder_frames(calibration, false_alarms),
        frames=frames,
        overwrite=overwrite,
        threads=threads,
        told=told_from_flags(direction, option or []),
        onnx=OnnxOptions(range_, size, multiple_of, min_size, fixed, input_name, output_name, clip),
    )
    with ShareLine(quiet=json) as line:
        report = export_bundle(checkpoint, output, options, line.share)
        warn(report.warnings, line)
    tell(report, json)


def verify(
    bundle: Annotated[Path, typer.Argument(help="Bundle: folder or .getgan file.")],
    checkpoint: Annotated[Path, typer.Argument(help="The checkpoint or ONNX graph of its export.")],
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


def demo(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint file.")] = Path(
        "examples/getgan-256.safetensors"
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
        from getgan.runtime.summary import NOT_FACE_EXIT_CODE
        from getgan.training.faces.dataset import example_scenes

    with ShareLine(quiet=json) as line:
        report = run_demo(checkpoint, [*example_scenes(256), *example_frames()], output, line.share, threads)
        warn(report.export.warnings, line)
    tell(report, json)
    code = report.run.summary.exit_code
    raise typer.Exit(0 if code == NOT_FACE_EXIT_CODE else code)  # hearts and limbs are among the pictures
