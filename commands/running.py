"""run, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from getgan.commands.common import Json, Threads, imports, tell, warn
from getgan.printing import printable

if TYPE_CHECKING:
    from getgan.runtime.console import StatusLine
    from getgan.runtime.doctor.check import Check
    from getgan.runtime.session import SessionInfo


def run(
    bundle: Annotated[Path, typer.Argument(help="Bundle: folder or .getgan file.")],
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="Image, DICOM, folder, video, camera number or stream URL.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder, or a picture or video by its suffix.")
    ],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; a named one is kept.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, or one that getgan inspect shows.")] = "auto",
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
    guard: Annotated[
        Literal["refuse", "mark", "off"],
        typer.Option(help="What is no face scan: a card in the face's place, a banner on it, or nothing."),
    ] = "refuse",
    no_record: Annotated[
        bool, typer.Option("--no-record", help="Keep no measurements for getgan drift.")
    ] = False,
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
        pipeline=PipelineOptions(
            size=size, fit=fit, label=not no_label, output_size=output_size, guard=guard
        ),
        view=view,
        overwrite=overwrite,
        timeout=timeout,
        region=region_of(region, preset, save_preset),
        save_preset=save_preset,
        record=not no_record,
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
            on_failure=lambda failure: line.message(failure.text()),
            on_note=line.message,
        )
    tell(report, json)
    raise typer.Exit(report.summary.exit_code)


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


def drift(
    bundle: Annotated[Path, typer.Argument(help="Bundle with a guard: folder or .getgan file.")],
    source: Annotated[
        str,
        typer.Argument(metavar="[INPUT]", help="As of run; without it, what the runs on this machine kept."),
    ] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write one page with plots, ending in .html.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Say in what pictures differ from those of the calibration, and since when. More: getgan help drift."""
    with imports():
        import cv2  # noqa: F401  # as in run

        from getgan.clinic.source import DicomOpener
        from getgan.runtime.console import StatusLine
        from getgan.runtime.drift.find import find_drift

    with StatusLine(quiet=json) as line:
        report = find_drift(
            bundle,
            source,
            output,
            device=device,
            threads=threads,
            openers=[DicomOpener()],
            on_progress=lambda text: line.show(text),
        )
    tell(report, json)


def _tell(info: SessionInfo, line: StatusLine) -> None:
    """What runs, and each faster way that should have worked here and did not."""
    line.note(info.text())
    warn(info.warnings, line)
