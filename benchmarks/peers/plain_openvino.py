"""OpenVINO as anybody would write it: it chooses the precision, which the report states."""

from __future__ import annotations

import hashlib
from typing import Any

from getgan.benchmarks.peers import Absent, Asked
from getgan.benchmarks.ways import Opened, Tensor

NAMES = {"f32": "fp32", "f16": "fp16", "bf16": "bf16"}


def open_peer(asked: Asked) -> Opened:
    """On the CPU, with its number of threads and nothing else set."""
    if asked.device != "cpu":
        raise Absent("OpenVINO does not run on NVIDIA GPUs")
    try:
        import openvino
    except ImportError as error:
        raise Absent("openvino is not installed: pip install openvino") from error

    settings = {"INFERENCE_NUM_THREADS": asked.threads}
    compiled: Any = openvino.Core().compile_model(str(asked.graph), "CPU", settings)
    chosen = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()

    def run(tensor: Tensor) -> Tensor:
        # The result owns its memory: the request's next inference may come from another thread.
        face: Tensor = compiled.create_infer_request().infer([tensor])[0]
        return face

    return Opened(
        run,
        version=f"openvino {openvino.__version__.partition('-')[0]}",
        precision=NAMES.get(chosen, chosen),
        provider="CPU",
        threads=int(compiled.get_property("INFERENCE_NUM_THREADS")),
        graph_sha256=hashlib.sha256(asked.graph.read_bytes()).hexdigest(),
    )
