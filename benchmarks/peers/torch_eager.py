"""PyTorch, straight from the checkpoint; the face alone, so that no peer pays for an output nobody wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from getgan.benchmarks.peers import Absent, Asked
from getgan.benchmarks.ways import Opened, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable


def open_peer(asked: Asked) -> Opened:
    """Eager."""
    return open_torch(asked, lambda module: module, "eager")


def open_torch(asked: Asked, prepare: Callable[[Any], Any], provider: str) -> Opened:
    """prepare: of the module, once it is in place; Absent without PyTorch or without a checkpoint."""
    if asked.checkpoint is None:
        raise Absent("a bundle holds no PyTorch weights: give --checkpoint, the file it was exported from")
    try:
        import torch

        from getgan.export.trace import Inference
        from getgan.models.checkpoint import load_checkpoint
    except ImportError as error:
        raise Absent(f"{error.name} is not installed: pip install 'getgan[export]'") from error

    if asked.device == "cpu":
        torch.set_num_threads(asked.threads)
    elif not torch.cuda.is_available():
        raise Absent("this PyTorch sees no CUDA GPU")
    checkpoint = load_checkpoint(asked.checkpoint)
    module = prepare(Inference(checkpoint.generator(), ("face",)).eval().to(asked.device))

    def run(tensor: Tensor) -> Tensor:
        with torch.inference_mode():
            face: Tensor = module(torch.from_numpy(tensor).to(asked.device))[0].cpu().numpy()
        return face

    return Opened(
        run,
        version=f"torch {torch.__version__}",
        precision="fp32",
        device=asked.device,
        provider=provider,
        threads=torch.get_num_threads() if asked.device == "cpu" else 0,
    )
