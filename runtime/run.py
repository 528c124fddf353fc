"""`getgan run`: a bundle, an input and an output become a session, a pipeline and a translation."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from getgan import __version__
from getgan.errors import ConfigError
from getgan.printing import json_text
from getgan.runtime.bundle import Bundle
from getgan.runtime.drift.trail import Trail
from getgan.runtime.engines.rebuild import rebuild_for_next_start
from getgan.runtime.guard.load import guard_of
from getgan.runtime.guard.screen import EXPLAIN_EVERY_S
from getgan.runtime.media.camera import TIMEOUT_S
from getgan.runtime.media.openers import Opener
from getgan.runtime.media.outputs import VIEWS, Views, plan_output
from getgan.runtime.media.presets import save_preset
from getgan.runtime.media.record import Recipe
from getgan.runtime.media.region import Region
from getgan.runtime.media.sources import open_source
from getgan.runtime.pipeline import Pipeline, PipelineOptions
from getgan.runtime.session import SessionInfo, open_session
from getgan.runtime.summary import Failure, Progress, Summary
from getgan.runtime.translate import translate


@dataclass(frozen=True)
class RunOptions:
    """How to run; "auto" and 0 leave it to the machine and the bundle."""

    device: str = "auto"
    precision: str = "auto"
    backend: str = "auto"
    threads: int = 0
    pipeline: PipelineOptions = field(default_factory=PipelineOptions)
    view: Views = "output"
    overwrite: bool = False
    timeout: float = TIMEOUT_S  # seconds without a frame after which a camera is gone
    region: Region | None = None  # all that is seen of each picture
    save_preset: str = ""  # the name under which the region is kept, with the first picture's size
    record: bool = True  # keep what the guard measured, for `getgan drift`; no picture and no name


@dataclass(frozen=True)
class RunReport:
    """What ran, on what, and how it ended."""

    bundle: str
    bundle_sha256: str
    output: str
    session: SessionInfo
    summary: Summary
    guard: str = "none"  # refuse, mark or off; "none" = the bundle has no guard

    def text(self) -> str:
        """For people; what ran was told at the start."""
        done = self.summary
        written = done.translated or done.skipped or done.not_face
        return f"{self.summary.text()}\noutput: {self.output}" if written else self.summary.text()

    def to_json(self) -> str:
        """For machines."""
        document = {"getgan": __version__, **asdict(self), "exit_code": self.summary.exit_code}
        return json_text(document)


def run_bundle(
    bundle_path: Path,
    source_text: str,
    output: Path,
    options: RunOptions,
    *,
    openers: Sequence[Opener] = (),
    on_session: Callable[[SessionInfo], None] = lambda info: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_failure: Callable[[Failure], None] = lambda failure: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> RunReport:
    """Translate all of the source into the output; `translate` says what happens to frames that fail.

    What cannot work is told before the first frame: BundleError, DataError, ConfigError, DeviceError,
    OutputError.
    """
    bundle = Bundle.open(bundle_path)
    if "occlusion" in VIEWS[options.view] and "occlusion" not in bundle.manifest.outputs:
        raise ConfigError(
            f"{bundle_path}: gives no occlusion map; wanted a bundle that was exported with --occlusion, or "
            "another --view"
        )
    guard = guard_of(bundle)
    source = open_source(
        source_text,
        timeout=options.timeout,
        region=options.region,
        on_region=partial(save_preset, options.save_preset) if options.save_preset else lambda region: None,
        openers=openers,
    )
    with contextlib.closing(source):
        plan = plan_output(output, source, view=options.view, overwrite=options.overwrite)
        with (
            contextlib.closing(plan),
            open_session(
                bundle,
                device=options.device,
                precision=options.precision,
                backend=options.backend,
                threads=options.threads,
            ) as session,
        ):
            every = 0.0 if source.fps is None else EXPLAIN_EVERY_S
            pipeline = Pipeline(session, bundle.manifest.contract, options.pipeline, guard, every)
            sink = plan.open(recipe_of(bundle, session.info, pipeline, source.region))
            on_session(session.info)
            for note in (*_guard_notes(pipeline, bundle), *plan.notes, *source.notes):
                on_note(note)
            if "side-by-side" in VIEWS[options.view] and source.whole:
                on_note(
                    "beside the output the source is shown whole, with the names that a screen may hold; "
                    "--region x,y,w,h shows a part"
                )
            # The record beside a recording names one engine, so that a new one waits for the next start.
            rebuild = None
            if source.live and options.backend in ("auto", "tensorrt") and options.device != "cpu":
                rebuild = rebuild_for_next_start(session, bundle, device=_gpu_of(options.device))
            if rebuild is not None:
                on_note(rebuild.why)
            trail = Trail(bundle.sha256, still=source.fps is None) if options.record else None
            summary = translate(
                source,
                sink,
                pipeline,
                on_progress=on_progress,
                on_failure=on_failure,
                on_result=trail.add if trail else lambda result: None,
            )
            if rebuild is not None:
                on_note(rebuild.said)
            return RunReport(
                str(bundle.path), bundle.sha256, str(output), session.info, summary, pipeline.guard
            )


def _guard_notes(pipeline: Pipeline, bundle: Bundle) -> list[str]:
    """What is to be told at every start where nobody looks at the pictures, or not as was calibrated."""
    notes = {
        "off": "--guard off: nobody looks whether a picture is a face scan, and any picture becomes a face",
        "none": "no guard: this bundle was exported without calibration, and any picture becomes a face",
    }
    if pipeline.guard in notes:
        return [notes[pipeline.guard]]
    calibrated = bundle.manifest.contract.size
    if pipeline.size == calibrated:
        return []
    return [
        f"--size {pipeline.size}: the guard was calibrated at {calibrated}, so that it may refuse good scans"
    ]


def _gpu_of(device: str) -> str:
    return device if device.startswith("cuda:") else "cuda:0"


def recipe_of(bundle: Bundle, session: SessionInfo, pipeline: Pipeline, region: str = "") -> Recipe:
    """Everything that decides a pixel of the run's outputs."""
    chosen = pipeline.options
    return Recipe(
        getgan=__version__,
        bundle=bundle.sha256,
        precision=session.precision,
        backend=session.version,
        device=session.device.partition(":")[0],
        size=pipeline.size,
        fit=chosen.fit,
        output_size=chosen.output_size,
        label=chosen.label,
        threads=session.threads,
        region=region,
        guard=pipeline.guard,
    )
