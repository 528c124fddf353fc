"""One way to run a graph, in a process that waits: each line on stdin is one timed inference.

`python -m getgan.benchmarks.worker BUNDLE SIZE THREADS FACE BACKEND PRECISION` runs our session,
`... BUNDLE SIZE THREADS FACE plain GRAPH` ONNX Runtime as anybody would write it, on the same graph. The end
of stdin ends it, so it never outlives the process that asked. Every answer is a line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from getgan.errors import DeviceError, GetganError
from getgan.runtime.bundle import Bundle
from getgan.runtime.pixels import tensor_from_images
from getgan.runtime.session import open_session

PLAIN = "plain"
WARM_UP = 2
Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def main(bundle: str, size: str, threads: str, face: str, backend: str, last: str) -> None:
    """Open, warm up, leave the picture in FACE (.npy, float32 (1, 3, H, W)), then one inference per line."""
    answers = _answers()
    opened = Bundle.open(Path(bundle))
    try:
        version, run = (
            _plain(opened, Path(last), int(threads))
            if backend == PLAIN
            else _ours(opened, backend, last, int(threads))
        )
    except GetganError as reason:
        _say(answers, {"unavailable": str(reason)})
        return
    side = int(size)
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    tensor = tensor_from_images([image], opened.manifest.contract.range)
    for _ in range(WARM_UP):
        picture = run(tensor)
    np.save(face, picture)
    _say(answers, {"version": version})
    waiting = time.process_time()
    for _ in sys.stdin:
        idle = time.process_time() - waiting
        start = time.perf_counter()
        run(tensor)
        seconds = time.perf_counter() - start
        waiting = time.process_time()
        _say(answers, {"seconds": seconds, "idle": idle})


def _answers() -> TextIO:
    """The real stdout for us alone; what a library prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _say(answers: TextIO, answer: dict[str, Any]) -> None:
    print(json.dumps(answer), file=answers, flush=True)


def _ours(bundle: Bundle, backend: str, precision: str, threads: int) -> tuple[str, Run]:
    session = open_session(bundle, device="cpu", backend=backend, precision=precision, threads=threads)
    return f"{session.info.version}, {session.info.provider}", lambda tensor: session.run(tensor)["face"]


def _plain(bundle: Bundle, graph: Path, threads: int) -> tuple[str, Run]:
    try:
        import onnxruntime
    except ImportError as error:
        raise DeviceError("onnxruntime is not installed: pip install onnxruntime") from error

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session: Any = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    name = bundle.manifest.input

    def run(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        face: NDArray[np.float32] = session.run(None, {name: tensor})[0]
        return face

    return f"onnxruntime {onnxruntime.__version__}", run


if __name__ == "__main__":
    main(*sys.argv[1:])
