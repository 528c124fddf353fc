"""The graph that PyTorch's exporter writes, as one has it without getgan; two peers run it."""

from __future__ import annotations

from pathlib import Path

from getgan.benchmarks.peers import Absent, Asked


def own_export(asked: Asked) -> Path:
    """The checkpoint's face alone, FP32, of one size; Absent without PyTorch or without a checkpoint."""
    if asked.checkpoint is None:
        raise Absent("a bundle holds no PyTorch weights: give --checkpoint, the file it was exported from")
    try:
        import torch

        from getgan.export.noise import quiet_exporter
        from getgan.export.trace import Inference
        from getgan.models.checkpoint import load_checkpoint
    except ImportError as error:
        raise Absent(f"{error.name} is not installed: pip install 'getgan[export]'") from error

    module = Inference(load_checkpoint(asked.checkpoint).generator()).eval()
    path = asked.folder / "torch.onnx"
    with quiet_exporter(), torch.no_grad():
        torch.onnx.export(
            module,
            (torch.zeros(2, 3, asked.size, asked.size),),
            path,
            dynamo=True,
            external_data=False,
            verbose=False,
            input_names=[asked.input],
            output_names=["face"],
            dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
        )
    return path
