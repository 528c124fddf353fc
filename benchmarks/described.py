"""What a report says of the measurement itself: bundle, machine, settings, command; no folder, no host."""

from __future__ import annotations

import shlex

from getgan.benchmarks.jobs import Ready
from getgan.benchmarks.options import BenchOptions
from getgan.benchmarks.schema import Artefact, Fingerprint, Settings
from getgan.benchmarks.sensors import power_mode
from getgan.runtime.bundle import Bundle
from getgan.runtime.devices import Machine


def artefact(bundle: Bundle) -> Artefact:
    """What was measured."""
    model = bundle.manifest.model
    return Artefact(model.name, model.arch, bundle.sha256, model.parameters)


def fingerprint(this: Machine, label: str) -> Fingerprint:
    """label: what the user calls the machine."""
    return Fingerprint(
        label=label,
        system=this.system,
        python=this.python,
        cpu=this.cpu,
        cores=this.cores,
        flags=this.flags,
        memory_mb=this.memory_mb,
        gpus=tuple(f"{gpu.name}, {gpu.memory_mb} MB, driver {gpu.driver}" for gpu in this.gpus),
        gpus_note=this.gpus_note,
        power_mode=power_mode(),
    )


def settings(options: BenchOptions, ready: Ready, threads: int, size: int, beside: Bundle | None) -> Settings:
    """As they were in the end; ready: of the first contestant."""
    return Settings(
        device=options.device,
        precision=options.precision,
        backend=options.backend,
        threads=threads,
        batch=options.batch,
        size=size,
        concurrency=options.concurrency,
        rate=options.rate,
        camera=options.camera,
        arrivals=options.arrivals,
        duration=options.duration,
        repeats=options.repeats,
        warm_up=options.warm_up,
        soak=options.soak,
        peers=options.peers,
        scenarios=options.scenarios,
        pictures=ready.pictures,
        file_bytes=ready.file_bytes,
        seed=options.seed,
        beside="" if beside is None else beside.sha256,
    )


def command(options: BenchOptions, threads: int, size: int) -> str:
    """With the names of files and not their folders."""
    words = ["getgan", "bench", options.bundle.name, "--device", options.device]
    for name in ("precision", "backend", "batch", "concurrency", "rate", "camera", "scenarios", "peers"):
        values = getattr(options, name)
        option = {"scenarios": "scenario", "peers": "peer"}.get(name, name)
        if values:
            words += [f"--{option}", ",".join(map(str, values))]
    words += ["--threads", str(threads), "--size", str(size)]
    words += ["--duration", f"{options.duration:g}", "--repeats", str(options.repeats)]
    words += ["--soak", f"{options.soak:g}"] if options.soak else []
    words += ["--checkpoint", options.checkpoint.name] if options.checkpoint else []
    words += ["--beside", options.beside.name] if options.beside else []
    return shlex.join(words)
