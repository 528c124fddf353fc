"""What one would otherwise use, one small file each; PEERS is the one list of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from getgan.benchmarks.ways import Opened
from getgan.errors import DeviceError


@dataclass(frozen=True)
class Asked:
    """What a peer may use."""

    graph: Path  # the bundle's FP32 ONNX file; the face is its first output
    input: str  # its name in the graph
    size: int  # pixels each way
    batch: int
    device: str  # "cpu" or "cuda:N"
    threads: int
    folder: Path  # for its own files of the moment
    checkpoint: Path | None  # None = none was given


@dataclass(frozen=True)
class Peer:
    """A name on the command line, and where it is written."""

    name: str
    about: str
    module: str  # with a function open_peer(Asked) -> Opened, which raises Absent


class Absent(DeviceError):
    """This peer does not run here, and this is why."""


PLAIN = Peer("onnxruntime", "plain ONNX Runtime: InferenceSession(path)", "plain_onnxruntime")
PEERS = (
    PLAIN,
    Peer("openvino", "plain OpenVINO: compile_model(path) with its defaults", "plain_openvino"),
    Peer("torch-onnxruntime", "PyTorch's own ONNX export under plain ONNX Runtime", "torch_onnxruntime"),
    Peer("torch-openvino", "PyTorch's own ONNX export under plain OpenVINO", "torch_openvino"),
    Peer("torch-eager", "PyTorch eager, the face alone, inference mode", "torch_eager"),
    Peer("torch-compile", "torch.compile with its defaults, the face alone", "torch_compile"),
    Peer("ncnn", "ncnn with its defaults, converted by pnnx", "ncnn"),
)
# trtexec is a program with a loop of its own: see trtexec.py.
TRTEXEC = Peer("trtexec", "trtexec --onnx with its defaults: the network and its copies alone", "trtexec")
NAMES = tuple(peer.name for peer in (*PEERS, TRTEXEC))


def open_peer(name: str, asked: Asked) -> tuple[Peer, Opened]:
    """Absent, or whatever the peer's library raises, where it does not run."""
    peer = next(peer for peer in PEERS if peer.name == name)
    module = import_module(f"getgan.benchmarks.peers.{peer.module}")
    opening: Callable[[Asked], Opened] = module.open_peer
    return peer, opening(asked)
