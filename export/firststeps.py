"""A bundle's graphs run node by node for the first time, in a process with limits, before the gate does so.

A session leaves out what no output needs; node by node it runs too, and each node in another way. As a
command, `python -m getgan.export.firststeps BUNDLE SHA256 VARIANT...` runs graphs of the bundle with this
SHA-256 once, on the first golden image, and prints one JSON object.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import msgspec
import onnxruntime as ort

from getgan.errors import GetganError
from getgan.export.graph import Array, OnnxModel
from getgan.export.steps import StepRunner
from getgan.runtime.backends import Candidate, key_of
from getgan.runtime.bundle import Bundle
from getgan.runtime.cache import is_known, remember
from getgan.runtime.devices import machine
from getgan.runtime.firstrun import BASE_MB, GRAPH_TIMES, Answer, graph_of, run_elsewhere
from getgan.runtime.manifest import Variant
from getgan.runtime.pixels import tensor_from_images
from getgan.runtime.selftest import golden_of

# Measured for a GET-GAN (ngf 64), its FP16 and its FP32 graph: 4 s of processor time and 550 MB at 256x256,
# 15 s and 1,370 MB at 512x512.
BUSY_S = 30
END_S = 240
PIXEL_KB = 6
WAY = Candidate("onnxruntime node by node", "cpu", "fp16")


def first_steps(bundle: Bundle, *variants: Variant) -> None:
    """Run the graphs of these variants of the bundle elsewhere, unless they have run so on this machine.

    BundleError if they break a limit, DeviceError if ONNX Runtime cannot run them.
    """
    this = machine()
    height, width = golden_of(bundle).input.shape[:2]
    graphs = [graph_of(bundle, variant) for variant in variants]
    keys = [key_of(graph, WAY, ort.__version__, this, [(1, 3, height, width)]) for graph in graphs]
    if all(map(is_known, keys)):
        return
    size = sum(bundle.manifest.files[variant.graph].bytes for variant in variants)
    run_elsewhere(
        f"{bundle.path}: its graph for fp16, run node by node,",
        "ask who made the bundle",
        "getgan.export.firststeps",
        str(bundle.path),
        bundle.sha256,
        *(variant.name for variant in variants),
        seconds=END_S,
        busy_seconds=BUSY_S,
        memory_mb=BASE_MB["cpu"] + (GRAPH_TIMES * size >> 20) + (PIXEL_KB * height * width >> 10),
    )
    for key, graph in zip(keys, graphs, strict=True):
        remember(key, f"{WAY} ran graph {graph.sha256}")


def steps_here(path: str, sha256: str, names: list[str]) -> Answer:
    """The same in this process, with one thread: a hundred sessions each have threads of their own."""
    try:
        bundle = Bundle.open(Path(path))
        if bundle.sha256 != sha256:
            return Answer(f"{path} changed since it was opened; open it again")
        picture = golden_of(bundle).input
        for name in names:
            variant = bundle.manifest.variant(name)
            graph = graph_of(bundle, variant)
            tensor = tensor_from_images([picture], bundle.manifest.contract.range)
            image: Array = picture[None] if variant.frames == "uint8" else tensor
            StepRunner(OnnxModel(graph.read(), graph.outputs), threads=1).run(image)
    except GetganError as error:
        return Answer(str(error))
    return Answer("")


if __name__ == "__main__":
    if hasattr(signal, "alarm"):  # should nobody wait for this process any more
        signal.alarm(END_S)
    sys.stdout.buffer.write(msgspec.json.encode(steps_here(sys.argv[1], sys.argv[2], sys.argv[3:])) + b"\n")
