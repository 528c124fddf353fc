"""Tiny random generators for the export tests, each exported once."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from getgan.export.graph import INPUT, Array, OnnxModel
from getgan.export.trace import export_onnx
from getgan.models.checkpoint import Checkpoint, Provenance, load_checkpoint, save_checkpoint
from getgan.models.generator import Generator, GeneratorConfig
from getgan.models.getgan import GetGanConfig
from getgan.models.recognise import build_generator
from getgan.models.resnet import ResnetConfig
from getgan.models.ugatit import UgatitConfig
from getgan.runtime.backends import Graph
from getgan.runtime.backends.onnxruntime import OnnxRuntimeEngine

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NETS: dict[str, GeneratorConfig] = {
    "getgan-1x1": GetGanConfig(ngf=2, shared_blocks=1, branch_blocks=1),
    "getgan-3x3-resize": GetGanConfig(ngf=2, shared_blocks=1, branch_blocks=1, gate="3x3", up="resize"),
    "getgan-channel": GetGanConfig(ngf=2, shared_blocks=1, branch_blocks=1, gate="channel"),
    "getgan-none-batch": GetGanConfig(ngf=2, shared_blocks=1, branch_blocks=1, gate="none", norm="batch"),
    "resnet": ResnetConfig(ngf=2, blocks=1),
    "resnet-batch-resize": ResnetConfig(ngf=2, blocks=1, norm="batch", up="resize"),
    "ugatit": UgatitConfig(ngf=2, blocks=1),
    "ugatit-full": UgatitConfig(ngf=2, blocks=1, light=False, size=32),
}


def checkpoint_of(
    name: str, change: Callable[[dict[str, Tensor]], object] = lambda state: None
) -> Checkpoint:
    """A random net of NETS at 32x32; `change` may edit its state dict."""
    arch = name.partition("-")[0]
    torch.manual_seed(0)
    generator: Generator = build_generator(arch, NETS[name])
    for key, buffer in generator.named_buffers():
        if key.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
        elif key.endswith("running_mean"):
            buffer.uniform_(-0.5, 0.5)
    for key, parameter in generator.named_parameters():
        if key.endswith("rho"):  # 0 and 1 would hide one half of the mixed norm
            parameter.data.uniform_(0.2, 0.8)
    state = {key: value.detach().clone() for key, value in generator.state_dict().items()}
    change(state)
    contract = generator.contract(32)
    notes = "<b>tiny & random</b>"
    provenance = Provenance(trained_on="nothing", iterations=3, seed=5, notes=notes)
    return Checkpoint(arch, NETS[name], state, contract, provenance, sha256="0" * 64)


@cache
def exported(name: str) -> OnnxModel:
    """The face-only graph of an unchanged net."""
    return _once(name, lambda: export_onnx(checkpoint_of(name)))


@cache
def example(name: str) -> tuple[Checkpoint, OnnxModel]:
    """A shipped, trained checkpoint and its graph."""
    checkpoint = load_checkpoint(EXAMPLES / f"{name}.safetensors")
    return checkpoint, _once(name, lambda: export_onnx(checkpoint))


def _once(name: str, export: Callable[[], OnnxModel]) -> OnnxModel:
    """A face-only graph that the first of all test processes makes: an export takes 2 to 3 s."""
    folder = Path(os.environ["XDG_CACHE_HOME"]) / "exported"
    folder.mkdir(exist_ok=True)
    graph, said = folder / f"{name}.onnx", folder / f"{name}.json"
    with open(folder / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            model = export()
            graph.write_bytes(model.data)
            said.write_text(json.dumps(model.filtered))
    return OnnxModel(graph.read_bytes(), filtered=tuple(json.loads(said.read_text())))


def run_graph(model: OnnxModel, images: Array) -> dict[str, Array]:
    """The outputs of a graph in one session of ONNX Runtime, as a bundle's session opens it."""
    graph = Graph(lambda: model.data, "fp32", INPUT, model.outputs)
    with closing(OnnxRuntimeEngine(graph, 1, None)) as engine:
        return engine.infer(images)


def saved(
    folder: Path, name: str, change: Callable[[dict[str, Tensor]], object] = lambda state: None
) -> Path:
    """A net of NETS as a file."""
    path = folder / f"{name}.safetensors"
    save_checkpoint(checkpoint_of(name, change), path)
    return path


def random_images(count: int, height: int, width: int) -> Tensor:
    """(N, 3, H, W) float32 in [-1, 1], on the grid of 8-bit levels."""
    levels = torch.randint(0, 256, (count, 3, height, width), generator=torch.Generator().manual_seed(1))
    return levels / 127.5 - 1
