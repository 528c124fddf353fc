"""build, engines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from getgan.commands.common import Json, imports, tell
from getgan.errors import UsageError

Store = Annotated[
    Path | None, typer.Option(help="Folder of this machine's engines; by default in the cache folder.")
]


def build(
    bundle: Annotated[Path, typer.Argument(help="Bundle: folder or .getgan file.")],
    target: Annotated[str, typer.Option(help="auto, tensorrt or tensorrt-rtx.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, or one of the bundle's: fp16, fp32.")] = "auto",
    batch: Annotated[str, typer.Option(help="Pictures at once, like 1,4,8: a shape for each.")] = "1",
    size: Annotated[
        list[str] | None,
        typer.Option(help="256 = all shapes of that size, 320x256 = one, width first; repeatable."),
    ] = None,
    compute_capability: Annotated[
        list[str] | None, typer.Option(help="TensorRT-RTX: build for this GPU, like SM86; repeatable.")
    ] = None,
    workspace: Annotated[int, typer.Option(help="MB of GPU memory for the build; 0 = any.", min=0)] = 0,
    optimization_level: Annotated[
        int | None, typer.Option(help="0 (a quick build) to 5 (a fast engine).", min=0, max=5)
    ] = None,
    hardware_compatibility: Annotated[
        str, typer.Option(help="TensorRT: AMPERE_PLUS or SAME_COMPUTE_CAPABILITY.")
    ] = "",
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="TensorRT: also for later versions of it.")
    ] = False,
    dla: Annotated[int | None, typer.Option(help="Core of a Jetson's DLA.", min=0)] = None,
    device: Annotated[str, typer.Option(help="GPU that it is proven on, cuda:N.")] = "cuda:0",
    store: Store = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print no progress.")] = False,
    json: Json = False,
) -> None:
    """Compile a bundle into this machine's TensorRT engine, and prove it. More: getgan help engines.

    Exit code 1 if it does not pass; without a GPU it is built and kept, and never loaded.
    """
    with imports():
        from getgan.runtime.bundle import Bundle
        from getgan.runtime.console import StatusLine
        from getgan.runtime.engines.builder import BuildOptions, build_engine
        from getgan.runtime.engines.fingerprint import Settings
        from getgan.runtime.engines.report import BuildReport
        from getgan.runtime.engines.store import EngineStore

    options = BuildOptions(
        target=target,
        variant=precision,
        batches=_batches(batch),
        sizes=tuple(size or ()),
        settings=Settings(
            workspace_mb=workspace,
            optimization_level=optimization_level,
            compute_capabilities=tuple(dict.fromkeys(compute_capability or ())),
            hardware_compatibility=hardware_compatibility,
            version_compatible=version_compatible,
            dla=dla,
        ),
        device=device,
    )
    engines = EngineStore(store)
    with StatusLine(quiet=quiet or json) as line:
        record = build_engine(
            Bundle.open(bundle), options, engines, lambda progress: line.show(progress.text())
        )
    tell(BuildReport(record, engines.folder, engines.get(record.fingerprint)), json)
    raise typer.Exit(1 if record.gate.verdict == "failed" else 0)


def engines(
    store: Store = None,
    remove_old: Annotated[
        bool,
        typer.Option("--remove-old", help="Remove failed engines, and those of before an update."),
    ] = False,
    json: Json = False,
) -> None:
    """List this machine's engines: what they are, where they passed, and why others are not loaded."""
    with imports():
        from getgan.runtime.engines.builder import places_here
        from getgan.runtime.engines.report import StoreReport
        from getgan.runtime.engines.store import EngineStore

    kept = EngineStore(store)
    removed = kept.remove_old(places_here()) if remove_old else ()
    records = kept.records()
    tell(StoreReport(kept.folder, records, tuple(map(kept.fault, records)), removed), json)


def _batches(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() and len(part.strip()) < 5 for part in parts):
        raise UsageError(f"found batch {text!r:.40}; wanted numbers like 1,4,8")
    return tuple(int(part) for part in parts)
