"""What a GPU and NVIDIA's own tool reach without getgan: the measure for what getgan adds."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from getgan.errors import DeviceError

if TYPE_CHECKING:
    from getgan.models.checkpoint import Checkpoint

TRTEXEC = ("trtexec", "/usr/src/tensorrt/bin/trtexec")  # the second is JetPack's
TRTEXEC_S = 120.0


def matrix_peak(device: str) -> float:
    """FP16 operations per second of a large matrix product, the best of some: what the GPU really does."""
    import torch

    side, cuda = 8192, vars(torch)["cuda"]
    left = torch.randn(side, side, device=device, dtype=torch.float16)
    first, last = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
    best = 0.0
    for _ in range(20):
        first.record()
        torch.matmul(left, left)
        last.record()
        last.synchronize()
        best = max(best, 2.0 * side**3 / (first.elapsed_time(last) / 1000.0))
    return best


def operations(checkpoint: Checkpoint, size: int) -> float:
    """Of one picture, counted as PyTorch counts: a multiplication and an addition are two."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    network = checkpoint.generator()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network.translate(torch.zeros(1, 3, size, size))
    return float(counter.get_total_flops())


def trtexec_seconds(plan: Path, input_name: str, shape: tuple[int, ...]) -> float:
    """The median of the engine alone by NVIDIA's own tool; DeviceError where it is not here or fails."""
    program = next(filter(None, map(shutil.which, TRTEXEC)), None)
    if program is None:
        raise DeviceError("trtexec is not here: it comes with TensorRT's own packages, not with pip's")
    shapes = f"--shapes={input_name}:{'x'.join(map(str, shape))}"
    command = [program, f"--loadEngine={plan}", shapes, "--useCudaGraph", "--noDataTransfers", "--duration=5"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TRTEXEC_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeviceError(f"trtexec does not run: {error!s:.200}") from error
    return seconds_from_trtexec(done.stdout + done.stderr)


def seconds_from_trtexec(text: str) -> float:
    """Of its summary; DeviceError, with its last error, if there is none."""
    found = re.search(r"GPU Compute Time: .*?median = ([\d.]+) ms", text)
    if found is None:
        errors = [line for line in text.splitlines() if "[E]" in line]
        raise DeviceError(f"trtexec gives no time: {(errors or ['it says nothing'])[-1]:.200}")
    return float(found[1]) / 1000.0
