"""A graph's first run on a machine, in a process with limits: it may loop for ever, or fill the memory.

Only the golden image goes there. As a command, `python -m getgan.runtime.firstrun BUNDLE SHA256 VARIANT
CANDIDATE THREADS` runs a bundle's graph once and prints one JSON object.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import msgspec

from getgan.errors import BundleError, DeviceError, GetganError
from getgan.runtime.answers import answers_of
from getgan.runtime.backends import Candidate, Graph, Unsuitable
from getgan.runtime.backends.catalog import backend_of
from getgan.runtime.bundle import Bundle
from getgan.runtime.cache import is_known, remember
from getgan.runtime.child import run_child
from getgan.runtime.devices import Machine
from getgan.runtime.manifest import Variant
from getgan.runtime.selftest import GoldenPair, golden_of

# To import the library, load the graph and run it once: some 1 s for a GET-GAN (ngf 64, 256x256). A CPU that
# computes longer for a picture is of no use in an ultrasound room; CUDA's first start takes 20 s on an
# embedded board. The second figure is for a process that hangs, or is starved. An engine is no stranger's: it
# passed its gate here, and TensorRT-RTX compiles the kernels of its shapes whenever it is opened. So it has
# the gate's time: what passed within it is not refused for it later.
BUSY_S = {"cpu": 9, "cuda": 60, "engine": 600}
END_S = {"cpu": 120, "cuda": 180, "engine": 600}
# Measured for the GET-GAN: 221 MB, and 322 at 512x512. Not for CUDA.
BASE_MB = {"cpu": 200, "cuda": 4000, "engine": 4000}
GRAPH_TIMES = 3  # the file, and what a library makes of it
PIXEL_KB = 2  # of the golden image: channels in float32, several layers at once
THREAD_MB = 8


class Answer(msgspec.Struct, frozen=True):
    """What the child found; "" = it ran, and the shapes are right."""

    fault: str
    unsuitable: bool = False


def graph_of(bundle: Bundle, variant: Variant) -> Graph:
    """What a backend opens for the variant."""
    manifest = bundle.manifest
    return Graph(
        read=lambda: bundle.read(variant.graph),
        precision=variant.hint,
        input=manifest.input,
        outputs=manifest.outputs_of(variant),
        sha256=manifest.files[variant.graph].sha256,
        frames=variant.frames,
    )


def first_run(
    bundle: Bundle, golden: GoldenPair, variant: Variant, candidate: Candidate, machine: Machine, threads: int
) -> None:
    """Run the variant's graph once elsewhere, unless it has run on this machine.

    BundleError if it breaks a limit, whatever could run it: each try would cost as much again. DeviceError or
    Unsuitable if this candidate cannot run it.
    """
    graph, shape = graph_of(bundle, variant), (1, 3, *golden.input.shape[:2])
    key = backend_of(candidate).key(graph, candidate, machine, (shape,))
    if is_known(key):
        return
    kind = kind_of(candidate)
    size = bundle.manifest.files[variant.graph].bytes
    memory_mb = BASE_MB[kind] + threads * THREAD_MB
    memory_mb += (GRAPH_TIMES * size >> 20) + (PIXEL_KB * shape[2] * shape[3] >> 10)
    run_elsewhere(
        f"{bundle.path}: its graph for {candidate}",
        "ask who made the bundle, or name another precision or backend",
        "getgan.runtime.firstrun",
        str(bundle.path),
        graph.sha256,
        variant.name,
        msgspec.json.encode(candidate).decode(),
        str(threads),
        seconds=END_S[kind],
        busy_seconds=BUSY_S[kind],
        memory_mb=memory_mb,
    )
    remember(key, f"{candidate} ran graph {graph.sha256}")


def kind_of(candidate: Candidate) -> str:
    """Of limits."""
    return "engine" if candidate.backend == "tensorrt" else candidate.device.partition(":")[0]


def run_elsewhere(
    what: str,
    advice: str,
    module: str,
    *arguments: str,
    seconds: float,
    busy_seconds: float,
    memory_mb: int,
) -> None:
    """Run a module that prints an Answer, with limits as `run_child`; what and advice are for the message.

    BundleError if it breaks one of them, DeviceError or Unsuitable if it answers so.
    """
    ended = run_child(module, *arguments, seconds=seconds, busy_seconds=busy_seconds, memory_mb=memory_mb)
    if ended.over_limit:
        raise BundleError(
            f"{what} {ended.how} when it ran for the first time, in a process of its own; it is not run: "
            f"{advice}"
        )
    if ended.how:
        raise DeviceError(f"its process {ended.how}")
    answer = msgspec.json.decode(ended.last, type=Answer)
    if answer.unsuitable:
        raise Unsuitable(answer.fault)
    if answer.fault:
        raise DeviceError(answer.fault)


def run_here(path: str, sha256: str, name: str, candidate: Candidate, threads: int) -> Answer:
    """The same in this process."""
    backend = backend_of(candidate)
    try:
        bundle = Bundle.open(Path(path))
        graph = graph_of(bundle, bundle.manifest.variant(name))
        if graph.sha256 != sha256:
            return Answer(f"{path} changed since it was opened; open it again")
        golden = golden_of(bundle)
        answers_of(backend.open(graph, candidate, threads), golden.input[None], golden.range)
    except Unsuitable as reason:
        return Answer(str(reason), unsuitable=True)
    except GetganError as error:
        return Answer(str(error))
    return Answer("")


if __name__ == "__main__":
    way = msgspec.json.decode(sys.argv[4], type=Candidate)
    if hasattr(signal, "alarm"):  # should nobody wait for this process any more
        signal.alarm(END_S[kind_of(way)])
    answer = run_here(sys.argv[1], sys.argv[2], sys.argv[3], way, int(sys.argv[5]))
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.flush()
    if not answer.fault:
        # Without a fault nothing is left to remove, and Python and OpenVINO take 0.2 s to give back what
        # the system takes anyway.
        os._exit(0)
