"""What a bundle is made of: a checkpoint or an ONNX graph, each with its reference and contract."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch

from getgan.contract import Contract, Output
from getgan.errors import BundleError, ConfigError
from getgan.export.compare import Expected
from getgan.export.facts import model_of, told_of
from getgan.export.graph import OnnxModel
from getgan.export.onnxfile import is_onnx, read_onnx
from getgan.export.onnxports import NOTHING_STATED, OnnxOptions
from getgan.export.onnxsource import OnnxSource, open_onnx, options_of
from getgan.export.proof import prove_branch
from getgan.export.reference import PyTorchReference, Reference
from getgan.export.trace import export_onnx
from getgan.models.checkpoint import NOTHING_TOLD, Checkpoint, checkpoint_sha256, load_checkpoint
from getgan.models.settings import Told
from getgan.runtime.manifest import Branch, Manifest, Model


class Source(Protocol):
    """A network in a file."""

    @property
    def contract(self) -> Contract:
        """The pictures that it takes."""
        ...

    @property
    def reference(self) -> Reference:
        """What its graphs are judged against."""
        ...

    @property
    def sha256(self) -> str:
        """Of the file."""
        ...

    @property
    def torch(self) -> str:
        """The version of PyTorch that makes its graph, "" = none does."""
        ...

    def graph(self) -> OnnxModel:
        """In FP32."""
        ...

    def prove(self, fp32: OnnxModel, expected: Sequence[Expected]) -> Branch | None:
        """What is known of the graph before it runs; ExportError where the answers are no pictures."""
        ...

    def model(self, name: str) -> Model:
        """As the manifest states it."""
        ...


class CheckpointSource:
    """A generator of ours, or one that was recognised."""

    torch = str(torch.__version__)

    def __init__(self, checkpoint: Checkpoint, outputs: Sequence[Output]) -> None:
        self.checkpoint, self.outputs = checkpoint, tuple(outputs)
        self.reference = PyTorchReference(checkpoint, outputs)
        self.contract, self.sha256 = checkpoint.contract, checkpoint.sha256 or ""

    def graph(self) -> OnnxModel:
        """See Source."""
        return export_onnx(self.checkpoint, outputs=self.outputs)

    def prove(self, fp32: OnnxModel, expected: Sequence[Expected]) -> Branch | None:
        """See Source."""
        return prove_branch(self.checkpoint, fp32, [expected[0].input, expected[-1].input])

    def model(self, name: str) -> Model:
        """See Source."""
        return model_of(self.checkpoint, name, self.reference.parameters)


def open_source(
    path: Path,
    outputs: Sequence[Output] = ("face",),
    told: Told = NOTHING_TOLD,
    stated: OnnxOptions = NOTHING_STATED,
    threads: int = 0,
) -> CheckpointSource | OnnxSource:
    """By the file's name; ConfigError for flags that belong to the other kind."""
    if is_onnx(path):
        if told != NOTHING_TOLD or tuple(outputs) != ("face",):
            raise ConfigError(
                f"{path}: found an ONNX graph; wanted no --direction, --option, --occlusion or --with-error"
            )
        return open_onnx(path, stated, threads)
    if stated != NOTHING_STATED:
        raise ConfigError(
            f"{path}: found a checkpoint; wanted none of --range, --size and the other flags of an ONNX "
            "graph: --option size=N states its size"
        )
    return CheckpointSource(load_checkpoint(path, told=told), outputs)


def reopened(path: Path, manifest: Manifest, bundle: Path, threads: int = 0) -> CheckpointSource | OnnxSource:
    """The source of a bundle as its export read it; BundleError where it is another file."""
    sha256 = read_onnx(path).sha256 if is_onnx(path) else checkpoint_sha256(path)
    if sha256 != manifest.model.source_sha256:
        found = f"found a bundle of checkpoint {manifest.model.source_sha256[:12]}"
        wanted = f"wanted {sha256[:12]}, which is {path}"
        raise BundleError(f"{bundle}: {found}; {wanted}: pass the checkpoint that it was exported from")
    if is_onnx(path):
        source: CheckpointSource | OnnxSource = open_onnx(path, options_of(manifest), threads)
    else:
        source = open_source(path, manifest.outputs, told_of(manifest))
    if source.contract != manifest.contract:
        found = f"found {manifest.contract}; wanted {source.contract}"
        raise BundleError(f"{bundle}: {found}: export it again")
    return source
