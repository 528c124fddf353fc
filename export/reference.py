"""What graphs are judged against: PyTorch in FP32, and in FP64 to tell rounding from error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from getgan.contract import Output
from getgan.export.graph import Array
from getgan.export.trace import Inference
from getgan.models.checkpoint import Checkpoint


class Reference(Protocol):
    """Gives the right outputs for any images."""

    @property
    def about(self) -> str:
        """Its name, for messages: "PyTorch"."""
        ...

    @property
    def exactly(self) -> str:
        """What `infer_exactly` computes in, for messages: "FP64", or "FP32" where there is no more."""
        ...

    @property
    def step(self) -> float:
        """How far an input in [-1, 1] is moved to see whether rounding decides the picture."""
        ...

    def infer(self, images: Array) -> dict[str, Array]:
        """float32 (N, 3, H, W) RGB in [-1, 1] -> every output by name, computed in FP32.

        ConfigError for a size that the network does not take.
        """
        ...

    def infer_exactly(self, images: Array) -> dict[str, Array]:
        """The same computed as exactly as can be."""
        ...


class PyTorchReference:
    """A checkpoint's generator."""

    about = "PyTorch"
    exactly = "FP64"
    step = 2.0**-23  # FP32's, of a value from 1 to 2

    def __init__(self, checkpoint: Checkpoint, outputs: Sequence[Output] = ("face",)) -> None:
        self.outputs = tuple(outputs)
        self._checkpoint = checkpoint
        self._module = self._new()

    def infer(self, images: Array) -> dict[str, Array]:
        """See Reference."""
        return self._run(self._module, torch.from_numpy(images))

    def infer_exactly(self, images: Array) -> dict[str, Array]:
        """See Reference."""
        return self._run(self._new().double(), torch.from_numpy(images).double())

    @property
    def parameters(self) -> int:
        """Numbers that the wanted outputs need."""
        return sum(parameter.numel() for parameter in self._module.parameters())

    def _new(self) -> Inference:
        return Inference(self._checkpoint.generator(), self.outputs).eval()

    def _run(self, module: Inference, images: torch.Tensor) -> dict[str, Array]:
        with torch.no_grad():
            found = module(images)
        return {name: value.numpy() for name, value in zip(self.outputs, found, strict=True)}
