"""ONNX Runtime as anybody would write it, on the graph that PyTorch's exporter writes."""

from __future__ import annotations

from dataclasses import replace

from getgan.benchmarks.peers import Asked, plain_onnxruntime
from getgan.benchmarks.peers.torch_export import own_export
from getgan.benchmarks.ways import Opened


def open_peer(asked: Asked) -> Opened:
    """See plain_onnxruntime.py."""
    return plain_onnxruntime.open_peer(replace(asked, graph=own_export(asked)))
