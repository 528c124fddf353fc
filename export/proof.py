"""The error branch is gone and nothing else: the same y_* bit for bit, none of its weights in the graph."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from getgan.errors import ExportError
from getgan.export.graph import Array, OnnxModel, initializers
from getgan.export.trace import Inference, export_onnx
from getgan.models.catalog import Generator
from getgan.models.checkpoint import Checkpoint
from getgan.models.getgan import GetGanGenerator, GetGanOutput
from getgan.models.ugatit import UgatitOutput
from getgan.runtime.manifest import Branch

PREFIX = "error."  # of the branch's weights, in the state dict and in a graph


def prove_branch(checkpoint: Checkpoint, model: OnnxModel, inputs: Sequence[Array]) -> Branch:
    """Compare the whole generator with what was exported, on float32 (1, 3, H, W) inputs.

    ExportError if y_* differs in one bit, or if a weight of a dropped branch is in the graph.
    """
    whole = checkpoint.generator()
    exported = Inference(checkpoint.generator(), model.outputs).eval()
    with torch.no_grad():
        for array in inputs:
            image = torch.from_numpy(array)
            if not torch.equal(_face(whole, image), exported(image)[0]):
                raise ExportError(
                    "y_* without the error branch differs from y_* with it; wanted equal bits: report this"
                )
    kept = "error" in model.outputs
    before = model.operations
    if isinstance(whole, GetGanGenerator) and not kept:
        _check_absent(checkpoint, model)
        before = export_onnx(checkpoint, outputs=("face", "error")).operations
    return Branch(
        kept=kept,
        operations_before=before,
        operations_after=model.operations,
        parameters_before=_count(whole),
        parameters_after=_count(exported),
        bit_equal=True,
    )


def _face(generator: Generator, image: torch.Tensor) -> torch.Tensor:
    """y_* by the forward pass that training uses."""
    result = generator(image)
    if isinstance(result, GetGanOutput):
        return result.y_star
    face: torch.Tensor = result.image if isinstance(result, UgatitOutput) else result
    return face


def _check_absent(checkpoint: Checkpoint, model: OnnxModel) -> None:
    """By name, and by content too, since an exporter may rename."""
    graph = initializers(model.proto)
    named = [name for name in graph if name.startswith(PREFIX)]
    contents = {array.tobytes() for array in graph.values()}
    branch, rest = {}, set()
    for key, tensor in checkpoint.state.items():
        data = tensor.detach().cpu().numpy().tobytes()
        if key.startswith(PREFIX):
            branch[key] = data
        else:
            rest.add(data)
    # A bias of zeros is equal to any other; only what the branch alone has tells.
    found = named + [key for key, data in branch.items() if data in contents and data not in rest]
    if found:
        raise ExportError(
            f"found the error branch's '{found[0]}' in the graph; wanted none of it: report this"
        )


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
