"""What translates frames on a GPU, side by side; all of it begins and ends in the CPU's memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from getgan.contract import Range
from getgan.errors import DeviceError
from getgan.runtime.answers import answers_of
from getgan.runtime.backends import Engine
from getgan.runtime.backends.tensorrt import TensorRtEngine
from getgan.runtime.manifest import Precision

if TYPE_CHECKING:
    from getgan.models.checkpoint import Checkpoint

Frames = NDArray[np.uint8]  # (N, H, W, 3) RGB


class Contender(Protocol):
    """A way to translate frames."""

    name: str
    version: str

    def faces(self, frames: Frames) -> Frames:
        """uint8 in the CPU's memory to uint8 in the CPU's memory; DeviceError if it fails."""

    def device_seconds(self, frames: Frames, rounds: int) -> list[float] | None:
        """The network alone, by the GPU's clock; None = it tells none."""

    def close(self) -> None:
        """Give the memory back."""


class EngineContender:
    """One of getgan's own backends, as a session calls it."""

    def __init__(self, name: str, engine: Engine, value_range: Range) -> None:
        self.name = name
        self.version = engine.version
        self.engine = engine
        self._range = value_range

    def faces(self, frames: Frames) -> Frames:
        """See Contender."""
        answers = answers_of(self.engine, frames, self._range)
        if fault := next(filter(None, answers.faults), ""):
            raise DeviceError(fault)
        return answers.faces

    def device_seconds(self, frames: Frames, rounds: int) -> list[float] | None:
        """See Contender."""
        if not isinstance(self.engine, TensorRtEngine):
            return None
        count, height, width, _ = frames.shape
        fitting = {(count, 3, height, width), frames.shape} & {*self.engine.runner.shapes}
        return next((self.engine.runner.device_seconds(shape, rounds) for shape in fitting), None)

    def close(self) -> None:
        """See Contender."""
        self.engine.close()


class TorchContender:
    """PyTorch as one would write it by hand: frames go over as they are, the rest is the GPU's."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str,
        precision: Precision,
        value_range: Range,
        *,
        compiled: bool = False,
    ) -> None:
        """device: "cuda:0"; "cpu" for tests. compiled: with torch.compile."""
        import torch

        self._torch: Any = torch
        self._device = torch.device(device)
        self._dtype = torch.float16 if precision == "fp16" else torch.float32
        self._low, self._high = value_range
        self.name = torch_name(precision, compiled)
        self.version = f"torch {torch.__version__}"
        network: Any = checkpoint.generator().to(self._device, self._dtype)
        if precision == "fp16":
            network = network.to(memory_format=torch.channels_last)
        self._network: Callable[[Any], Any] = network.translate
        if compiled:
            # CUDA graphs, as ours: its fastest mode for one shape.
            self._network = torch.compile(network.translate, mode="reduce-overhead")

    def faces(self, frames: Frames) -> Frames:
        """See Contender."""
        torch = self._torch
        try:
            with torch.inference_mode():
                face = self._network(self._pixels(frames))
                scaled = (face.float() - self._low) * (255.0 / (self._high - self._low))
                levels = scaled.round_().clamp_(0, 255).to(torch.uint8)
                return np.ascontiguousarray(levels.permute(0, 2, 3, 1).cpu().numpy())
        except RuntimeError as error:
            raise DeviceError(f"{self.name}: {str(error).strip().splitlines()[0][:200]}") from error

    def device_seconds(self, frames: Frames, rounds: int) -> list[float] | None:
        """See Contender."""
        torch = self._torch
        if self._device.type != "cuda":
            return None
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        found = []
        with torch.inference_mode():
            pixels = self._pixels(frames)
            for _ in range(rounds):
                first.record()
                self._network(pixels)
                last.record()
                last.synchronize()
                found.append(first.elapsed_time(last) / 1000.0)
        return found

    def close(self) -> None:
        """See Contender."""
        self._network = lambda pixels: None
        if self._device.type == "cuda":
            self._torch.cuda.empty_cache()

    def _pixels(self, frames: Frames) -> Any:
        torch = self._torch
        pixels = torch.from_numpy(frames).to(self._device, non_blocking=True).permute(0, 3, 1, 2)
        return pixels.to(self._dtype).mul_((self._high - self._low) / 255.0).add_(self._low)


def torch_name(precision: Precision, compiled: bool) -> str:
    """As it stands in the table."""
    layout = " channels_last" if precision == "fp16" else ""
    return f"pytorch {precision}{layout} {'torch.compile' if compiled else 'eager'}"
