"""Whether a backend really computes here: three convolutions, compared with numpy, in a process of its own.

As a command, `python -m getgan.runtime.doctor.probe BACKEND DEVICE PRECISION` prints one JSON object.
"""

from __future__ import annotations

import itertools
import sys
import time
from importlib.resources import files

import msgspec
import numpy as np
from numpy.typing import NDArray

from getgan.errors import DeviceError
from getgan.runtime.backends import Candidate, Graph, Unsuitable
from getgan.runtime.backends.catalog import backend_of
from getgan.runtime.child import run_child
from getgan.runtime.devices import machine
from getgan.runtime.manifest import Precision

SIZE = 32  # pixels each way
CHANNELS = 16
# Largest difference from numpy's float32 in an output in [-1, 1]: some 30 times what was measured (fp32 3e-7,
# fp16 6e-4, bf16 6e-3 on a Zen 5 server), a hundredth of what a wrong weight makes.
TOLERANCE: dict[Precision, float] = {"fp32": 1e-5, "fp16": 2e-2, "bf16": 1e-1}
TIMEOUT_S = 60.0  # the first start of CUDA on an embedded board takes 20


class Probe(msgspec.Struct, frozen=True):
    """What a backend did. ok: it ran as asked and gave numpy's numbers."""

    ok: bool
    found: str  # provider and difference, or what went wrong
    unsuitable: bool = False  # it is not for this machine, for a plain reason


def probe(candidate: Candidate) -> Probe:
    """Run it in another process: a library for another CPU or driver does not raise, it dies or hangs."""
    ended = run_child(
        "getgan.runtime.doctor.probe",
        candidate.backend,
        candidate.device,
        candidate.precision,
        seconds=TIMEOUT_S,
    )
    if ended.how:
        return Probe(False, f"its process {ended.how}")
    return msgspec.json.decode(ended.last, type=Probe)


def probe_here(candidate: Candidate) -> Probe:
    """The same in this process."""
    image = np.random.default_rng(0).uniform(-1.0, 1.0, (1, 3, SIZE, SIZE)).astype(np.float32)
    precision = candidate.precision
    graph = Graph(lambda: probe_graph(precision), precision, "image", ("face",))
    backend = backend_of(candidate)
    try:
        backend.check(candidate, machine())
        engine = backend.open(graph, candidate, 1)
        start = time.perf_counter()
        output = engine.infer(image)["face"]
        seconds = time.perf_counter() - start
        provider = engine.ran_on()
        engine.close()
    except Unsuitable as reason:
        return Probe(False, str(reason), unsuitable=True)
    except DeviceError as error:
        return Probe(False, str(error))
    wanted = _by_numpy(image, probe_weights())
    if output.shape != wanted.shape or not np.isfinite(output).all():
        return Probe(False, f"gave {output.shape} with NaN or infinity; wanted finite {wanted.shape}")
    error_found = float(np.abs(output - wanted).max())
    ran = f"{engine.version}, {provider}, {1000 * seconds:.1f} ms, max error {error_found:.1e}"
    if error_found > TOLERANCE[precision]:
        return Probe(False, f"computes wrongly: {ran}, wanted at most {TOLERANCE[precision]:.0e}")
    openvino = candidate.backend == "openvino" and precision == "fp32"
    return Probe(True, ran + (_openvino_default() if openvino else ""))


def _openvino_default() -> str:
    """Which precision OpenVINO would run an fp32 graph in, had getgan not named one."""
    from getgan.runtime.backends.openvino import core

    default = core().get_property("CPU", "INFERENCE_PRECISION_HINT").get_type_name()
    return (
        ""
        if default == "f32"
        else f"; OpenVINO alone would silently run {default}, getgan names the precision"
    )


def probe_graph(precision: Precision) -> bytes:
    """The shipped ONNX file: image → three convolutions → tanh → face, float32 outside; fp16: inside too.

    `python -m getgan.export.probegraphs FOLDER` makes both files.
    """
    name = f"probe-{'fp16' if precision == 'fp16' else 'fp32'}.onnx"
    return files("getgan.runtime.doctor").joinpath(name).read_bytes()


def probe_weights() -> list[NDArray[np.float32]]:
    """Of the convolutions, (out, in, 3, 3): by a rule in whole numbers, equal with every numpy."""
    sides = [3, CHANNELS, CHANNELS, 3]
    weights = []
    for before, after in itertools.pairwise(sides):
        number = np.arange(after * before * 9, dtype=np.int64).reshape(after, before, 3, 3)
        even = (number * 7919 % 2003) / 2003 - 0.5  # spread evenly over [-0.5, 0.5)
        weights.append((even * np.sqrt(12.0 / (9 * before))).astype(np.float32))
    return weights


def _by_numpy(image: NDArray[np.float32], weights: list[NDArray[np.float32]]) -> NDArray[np.float64]:
    x = image[0].astype(np.float64)
    for weight in weights:
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))  # (C, H, W, 3, 3)
        x = np.einsum("chwij,ocij->ohw", windows, weight, optimize=True)
    return np.asarray(np.tanh(x)[None], np.float64)


if __name__ == "__main__":
    names = dict(zip(("backend", "device", "precision"), sys.argv[1:], strict=True))
    answer = probe_here(msgspec.convert(names, Candidate))
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
