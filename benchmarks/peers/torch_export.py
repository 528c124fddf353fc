"""The graph that PyTorch's exporter writes, as one has it without getgan; two peers run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from getgan.benchmarks.peers import Absent, Asked

EXPORT_S = 300


def own_export(asked: Asked) -> Path:
    """The checkpoint's face alone, FP32, of one size; Absent without PyTorch or without a checkpoint.

    In a process of its own: the peer's memory is the peer's.
    """
    if asked.checkpoint is None:
        raise Absent("a bundle holds no PyTorch weights: give --checkpoint, the file it was exported from")
    path = asked.folder / "torch.onnx"
    command = [sys.executable, "-m", __name__, str(asked.checkpoint), str(path), asked.input, str(asked.size)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=EXPORT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise Absent(f"PyTorch's export took more than {EXPORT_S} s") from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise Absent(f"PyTorch cannot export the checkpoint ({said:.200})")
    return path


def main(checkpoint: str, path: str, name: str, size: str) -> None:
    """Write the graph, its batch dynamic and its input called `name`."""
    import torch

    from getgan.export.noise import quiet_exporter
    from getgan.export.trace import Inference
    from getgan.models.checkpoint import load_checkpoint

    module = Inference(load_checkpoint(Path(checkpoint)).generator()).eval()
    with quiet_exporter(), torch.no_grad():
        torch.onnx.export(
            module,
            (torch.zeros(2, 3, int(size), int(size)),),
            path,
            dynamo=True,
            external_data=False,
            verbose=False,
            input_names=[name],
            output_names=["face"],
            dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
