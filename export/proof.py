"""A dropped branch is gone and nothing else: the same y_* bit for bit, none of its weights in the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from getgan.contract import OUTPUTS
from getgan.errors import ExportError
from getgan.export.graph import Array, OnnxModel, initializers
from getgan.export.trace import Inference
from getgan.models.checkpoint import Checkpoint
from getgan.runtime.manifest import Branch


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]  # PyTorch has no type for it
    """Counts what PyTorch computes; views of a tensor count too."""

    count: int = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: object, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def prove_branch(checkpoint: Checkpoint, model: OnnxModel, inputs: Sequence[Array]) -> Branch | None:
    """Compare the whole generator with what was exported, on float32 (1, 3, H, W) inputs.

    None for a network without a branch. ExportError if y_* differs in one bit, or if a weight of a
    dropped branch is in the graph.
    """
    whole, outputs = checkpoint.generator(), tuple(name for name in OUTPUTS if name in model.outputs)
    branch = whole.branch
    if not branch:
        return None
    exported = Inference(checkpoint.generator(), outputs).eval()
    with torch.no_grad():
        for array in inputs:
            image = torch.from_numpy(array)
            if not torch.equal(whole.whole(image), exported(image)[0]):
                raise ExportError(
                    f"y_* without the {branch} branch differs from y_* with it; "
                    "wanted equal bits: report this"
                )
    kept = branch in outputs
    if not kept:
        _check_absent(checkpoint, model, branch)
    return Branch(
        name=branch,
        kept=kept,
        operations_before=_operations(whole, whole.min_size),
        operations_after=_operations(exported, whole.min_size),
        parameters_before=_count(whole),
        parameters_after=_count(exported),
        bit_equal=True,
    )


def _operations(module: torch.nn.Module, size: int) -> int:
    """PyTorch's operations for one picture; whatever its size, so a small one."""
    counter = _Operations()  # type: ignore[no-untyped-call]  # as above
    with torch.no_grad(), counter:
        module(torch.zeros(1, 3, size, size))
    return int(counter.count)


def _check_absent(checkpoint: Checkpoint, model: OnnxModel, branch_name: str) -> None:
    """By name, and by content too, since an exporter may rename."""
    prefix = f"{branch_name}."  # of the branch's weights, in the state dict and in a graph
    graph = initializers(model.proto)
    named = [name for name in graph if name.startswith(prefix)]
    contents = {array.tobytes() for array in graph.values()}
    branch, rest = {}, set()
    for key, tensor in checkpoint.state.items():
        data = tensor.detach().cpu().numpy().tobytes()
        if key.startswith(prefix):
            branch[key] = data
        else:
            rest.add(data)
    # A bias of zeros is equal to any other; only what the branch alone has tells.
    found = named + [key for key, data in branch.items() if data in contents and data not in rest]
    if found:
        raise ExportError(
            f"found the {branch_name} branch's '{found[0]}' in the graph; wanted none of it: report this"
        )


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
