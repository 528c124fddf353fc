"""What the runtime costs on this machine, beside plain ONNX Runtime in the same run, against the targets."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from getgan.benchmarks.footprint import Running, measure_frames, measure_starts
from getgan.benchmarks.install import Installed, measure_install
from getgan.benchmarks.latency import measure_latency
from getgan.benchmarks.processes import check_system, run_getgan, temporary_folder
from getgan.benchmarks.report import NGF, SIZE, THREADS, ExportCost, RuntimeReport
from getgan.errors import ConfigError, UsageError
from getgan.runtime.bundle import Bundle
from getgan.runtime.devices import available_cores, machine
from getgan.runtime.geometry import check_size
from getgan.runtime.session import MAX_THREADS

Progress = Callable[[str, float], None]  # what is being done, share of the whole that is done


@dataclass(frozen=True)
class RuntimeOptions:
    """What is measured, and how often."""

    bundle: Path | None = None  # None = an untrained network, exported here
    size: int = 0  # pixels; 0 = the bundle's, or SIZE
    ngf: int = NGF  # of the untrained network
    threads: int = THREADS  # 0 = all cores
    rounds: int = 15  # of each measurement but the export, which runs once


def measure_runtime(options: RuntimeOptions, progress: Progress = lambda what, share: None) -> RuntimeReport:
    """Measure everything; some three minutes for the defaults, and nothing stays on the disk.

    ConfigError for options that cannot be, BundleError for a bundle that cannot be read, DeviceError if a
    process that is measured fails.
    """
    check_system()
    if options.rounds < 1:
        raise ConfigError(f"found {options.rounds} rounds; wanted 1 or more")
    if not 0 <= options.threads <= MAX_THREADS:
        raise UsageError(f"found {options.threads} threads; wanted 0 (all cores) to {MAX_THREADS}")
    threads = options.threads or available_cores()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with temporary_folder() as folder:
        export: ExportCost | None = None
        if options.bundle is None:
            progress("exporting an untrained network", 0.0)
            bundle, network, export = _export(options, threads, folder)
        else:
            bundle = Bundle.open(options.bundle)
            network = f"{bundle.manifest.model.name}, {bundle.manifest.model.arch}, {bundle.path}"
        contract, model = bundle.manifest.contract, bundle.manifest.model
        size = check_size(options.size, "crop" if contract.fixed else "fit", contract)
        shares = _Shares(progress, 0.4 if export else 0.0)
        latency = measure_latency(
            bundle,
            folder,
            size=size,
            threads=threads,
            rounds=options.rounds,
            progress=shares.part("inferences in turn", 0.4),
        )
        running = Running(bundle, folder, size, threads)
        frames = measure_frames(running, options.rounds, shares.part("whole pictures", 0.2))
        starts = measure_starts(running, options.rounds, shares.part("fresh processes", 0.4))
    install, torch_mb, note = _install()
    progress("measured", 1.0)
    return RuntimeReport(
        network=network,
        bundle_sha256=bundle.sha256,
        # With widths or a stride of its own, ngf is only the first of a net's widths.
        comparable=not {"widths", "stride"} & model.config.keys()
        and (model.arch, model.config.get("ngf"), size, threads) == ("getgan", NGF, SIZE, THREADS),
        size=size,
        threads=threads,
        rounds=options.rounds,
        machine=machine(),
        load=load,
        latency=latency,
        starts=starts,
        frames=frames,
        export=export,
        install=install,
        torch_mb=torch_mb,
        install_note=note,
    )


class _Shares:
    """Parts of the whole as one rising share."""

    def __init__(self, progress: Progress, start: float) -> None:
        self._progress = progress
        self._next = start
        self._rest = 1.0 - start

    def part(self, what: str, share: float) -> Callable[[float], None]:
        """The next part's own progress, 0..1; share: of what remained at the start."""
        start, width = self._next, share * self._rest
        self._next += width
        return lambda done: self._progress(what, start + done * width)


def _export(options: RuntimeOptions, threads: int, folder: Path) -> tuple[Bundle, str, ExportCost]:
    try:
        from getgan.benchmarks.untrained import write_untrained
    except ModuleNotFoundError as error:
        advice = "give a bundle, or pip install 'getgan[export]'"
        raise ConfigError(
            f"an untrained network needs {error.name}, which is not installed: {advice}"
        ) from error
    checkpoint, path = folder / "untrained.safetensors", folder / "untrained"
    network = write_untrained(checkpoint, ngf=options.ngf, size=options.size or SIZE)
    finished = run_getgan(
        folder, "export", str(checkpoint), "-o", str(path), "--json", "--threads", str(threads)
    )
    bundle = Bundle.open(path)
    refused = tuple(each.name for each in bundle.manifest.refused)
    return bundle, network, ExportCost(finished.seconds, finished.peak_mb, refused)


def _install() -> tuple[Installed | None, float | None, str]:
    """The runtime's packages; MB of PyTorch's that it does not need; why the former were not measured."""
    try:
        runtime = measure_install("getgan", frozenset({"cpu"}))
    except ConfigError as reason:
        return None, None, str(reason)
    try:
        torch = measure_install("torch")
    except ConfigError:  # not installed: nothing to compare with
        return runtime, None, ""
    shared = {package.name for package in runtime.packages}
    return runtime, sum(package.mb for package in torch.packages if package.name not in shared), ""
