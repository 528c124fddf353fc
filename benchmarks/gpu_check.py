"""Every way to run a bundle on an NVIDIA GPU, in one run: are the pictures right, and how fast is it.

    python -m getgan.benchmarks.gpu_check [BUNDLE [CHECKPOINT]] [--batch 1,16] [--json FILE]

Engines are built in a temporary store, which takes minutes. Without a GPU it says so and ends with 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec

from getgan.benchmarks.gpu_contenders import Contender
from getgan.benchmarks.gpu_limits import matrix_peak, operations, trtexec_seconds
from getgan.benchmarks.gpu_measure import measure
from getgan.benchmarks.gpu_report import GpuReport, Way
from getgan.benchmarks.gpu_ways import GateFailed, Ways
from getgan.benchmarks.processes import run_getgan
from getgan.errors import ConfigError, DeviceError, GetganError, UsageError
from getgan.files import write_bytes_atomic
from getgan.runtime.backends import Unsuitable
from getgan.runtime.bundle import Bundle
from getgan.runtime.devices import machine
from getgan.runtime.engines.fingerprint import MAX_BATCH, gpu_of
from getgan.runtime.selftest import golden_of

Say = Callable[[str], None]


@dataclass(frozen=True)
class GpuOptions:
    """What is measured."""

    bundle: Path | None = None  # None = an untrained network, exported here
    checkpoint: Path | None = None  # of the bundle, for PyTorch; None = PyTorch is left out
    batches: tuple[int, ...] = (1, 16)
    ngf: int = 64  # of the untrained network
    size: int = 256  # of the untrained network
    blocks: int = 34  # rounds, of 20 calls each: as many as a p99 wants
    device: str = "cuda:0"


def check_gpu(options: GpuOptions, say: Say = lambda what: None) -> GpuReport:
    """Measure everything that is installed. DeviceError without that GPU; what else fails is told of."""
    this = machine()
    gpu = gpu_of(this, options.device)
    if gpu is None:
        raise DeviceError(f"found no {options.device} ({this.gpus_note}); wanted an NVIDIA GPU to measure")
    with tempfile.TemporaryDirectory(prefix="getgan-gpu-") as name, ExitStack() as opened:
        folder = Path(name)
        bundle, checkpoint, network = _network(options, folder, say)
        golden = golden_of(bundle)
        size = golden.input.shape[:2]
        every = Ways(bundle, checkpoint, options.device, this, size, options.batches, folder)
        contenders: list[Contender] = []
        missing: list[Way] = []
        for way, start in every.all():
            say(f"opening {way}")
            try:
                contenders.append(start())
                opened.callback(contenders[-1].close)
            except (Unsuitable, GetganError, ImportError, RuntimeError) as reason:
                wrong = "its gate failed" if isinstance(reason, GateFailed) else ""
                missing.append(Way(way, 0, unavailable=" ".join(str(reason).split())[:200], wrong=wrong))
        ways: list[Way] = []
        figures = {variant.name: variant.figures for variant in bundle.manifest.variants}
        for batch in options.batches:
            say(f"measuring batches of {batch}")
            ways += measure(contenders, golden, figures, batch, options.blocks)
        ways = [_beside_trtexec(way, bundle, every, say) for way in ways] + missing
        notes: list[str] = []
        peak = count = None
        if checkpoint is not None:
            from getgan.models.checkpoint import load_checkpoint

            say("measuring the matrix peak")
            try:
                count = operations(load_checkpoint(checkpoint), size[0])
                peak = matrix_peak(options.device)
            except (AssertionError, RuntimeError) as error:  # of a PyTorch without CUDA
                notes.append(f"the matrix peak was not measured: {error!s:.120}")
    return GpuReport(
        network=network,
        size=size[0],
        gpu=gpu,
        system=this.system,
        python=this.python,
        libraries={library.name: library.version for library in this.libraries},
        ways=tuple(ways),
        operations=count,
        peak=peak,
        notes=tuple(notes),
    )


def _network(options: GpuOptions, folder: Path, say: Say) -> tuple[Bundle, Path | None, str]:
    if options.bundle is not None:
        bundle = Bundle.open(options.bundle)
        return bundle, options.checkpoint, f"{bundle.manifest.model.name}, {bundle.manifest.model.arch}"
    try:
        from getgan.benchmarks.untrained import write_untrained
    except ModuleNotFoundError as error:
        advice = "give a bundle, or pip install 'getgan[export]'"
        raise ConfigError(f"an untrained network needs {error.name}, which is not here: {advice}") from error
    say("exporting an untrained network")
    checkpoint, path = folder / "untrained.safetensors", folder / "untrained"
    about = write_untrained(checkpoint, ngf=options.ngf, size=options.size)
    run_getgan(folder, "export", str(checkpoint), "-o", str(path), "--frames", "--json")
    return Bundle.open(path), checkpoint, about


def _beside_trtexec(way: Way, bundle: Bundle, every: Ways, say: Say) -> Way:
    """The same engine by NVIDIA's tool, which is TensorRT's and not TensorRT-RTX's."""
    plan = every.plans.get(way.name)
    if plan is None or way.unavailable or not way.name.startswith("tensorrt "):
        return way
    height, width = every.size
    variant = bundle.manifest.variant(way.name.removeprefix("tensorrt "))
    shape = (way.batch, 3, height, width) if variant.frames == "float32" else (way.batch, height, width, 3)
    try:
        return msgspec.structs.replace(way, trtexec=trtexec_seconds(plan, bundle.manifest.input, shape))
    except DeviceError as reason:
        say(str(reason))
        return way


def batches_from(text: str) -> tuple[int, ...]:
    """Of "1,16"; UsageError for anything else."""
    parts = text.split(",")
    if not all(part.isdecimal() and 0 < int(part) <= MAX_BATCH for part in parts):
        raise UsageError(f"found --batch {text!r:.40}; wanted numbers from 1 to {MAX_BATCH}, like 1,16")
    return tuple(sorted({int(part) for part in parts}))


def main(arguments: Sequence[str] | None = None) -> int:
    """As a command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", nargs="?", type=Path)
    parser.add_argument("checkpoint", nargs="?", type=Path)
    parser.add_argument("--batch", default="1,16", help="like 1,4,16")
    parser.add_argument("--ngf", type=int, default=64, help="width of the untrained network")
    parser.add_argument("--size", type=int, default=256, help="pixels of the untrained network")
    parser.add_argument("--blocks", type=int, default=GpuOptions.blocks, help="rounds of 20 calls each")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--json", type=Path, help="also write the report there")
    given = parser.parse_args(arguments)
    try:
        options = GpuOptions(
            given.bundle,
            given.checkpoint,
            batches_from(given.batch),
            given.ngf,
            given.size,
            given.blocks,
            given.device,
        )
        report = check_gpu(options, lambda what: print(what, file=sys.stderr, flush=True))
        if given.json:
            write_bytes_atomic(given.json, report.to_json().encode() + b"\n")
    except GetganError as error:
        print(f"getgan: {error}", file=sys.stderr)
        return 1
    print(report.text())
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
