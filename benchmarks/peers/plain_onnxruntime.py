"""ONNX Runtime as anybody would write it."""

from __future__ import annotations

import hashlib
from typing import Any

from getgan.benchmarks.peers import Absent, Asked
from getgan.benchmarks.ways import Opened, Tensor


def open_peer(asked: Asked) -> Opened:
    """On a GPU with CUDAExecutionProvider, and Absent if ONNX Runtime falls back from it."""
    try:
        import onnxruntime
    except ImportError as error:
        raise Absent("onnxruntime is not installed: pip install onnxruntime") from error

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = asked.threads
    providers: list[Any] = ["CPUExecutionProvider"]
    if asked.device != "cpu":
        providers = [("CUDAExecutionProvider", {"device_id": int(asked.device.partition(":")[2] or 0)})]
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise Absent("this ONNX Runtime has no CUDAExecutionProvider: pip install onnxruntime-gpu")
    session: Any = onnxruntime.InferenceSession(str(asked.graph), options, providers=providers)
    provider = session.get_providers()[0]
    if asked.device != "cpu" and provider != "CUDAExecutionProvider":
        raise Absent(f"ONNX Runtime fell back to {provider}")

    def run(tensor: Tensor) -> Tensor:
        face: Tensor = session.run(None, {asked.input: tensor})[0]
        return face

    return Opened(
        run,
        version=f"onnxruntime {onnxruntime.__version__}",
        precision="fp32",
        device=asked.device,
        provider=provider,
        threads=asked.threads if asked.device == "cpu" else 0,
        graph_sha256=hashlib.sha256(asked.graph.read_bytes()).hexdigest(),
    )
