"""Starting a run from another run's checkpoint: what fits is taken, the rest stays freshly drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from getgan.errors import TrainingError
from getgan.models.checkpoint import load_checkpoint
from getgan.training.methods import Method

REVERSE_SUFFIX = ".reverse.safetensors"


@dataclass(frozen=True)
class Taken:
    """Which parts of a network came from a file; each part is a layer with all its tensors."""

    file: str  # name, no path: it can hold a patient's or a clinic's name
    sha256: str
    taken: tuple[str, ...]
    fresh: tuple[str, ...]

    def text(self, net: str) -> str:
        """One line for the console and for the checkpoint's provenance."""
        fresh = f"; fresh: {_counted(self.fresh)}" if self.fresh else ""
        return f"{net} from {self.file} (sha256 {self.sha256}): {_counted(self.taken)}{fresh}"


def start_from(method: Method, path: Path) -> str:
    """Put what fits of a checkpoint, and of the reverse net beside it, into freshly built networks.

    A part fits where it stands in the same place and has the same shape. Residual blocks are counted from
    the first, levels from the trunk outwards: so a net with one more level keeps all but its ends, which
    is what growing from 64 to 128 to 256 pixels needs. Returns what was taken, for people.
    """
    lines = [_take(method.nets["forward"], path).text("generator")]
    reverse = path.with_name(path.name.removesuffix(".safetensors") + REVERSE_SUFFIX)
    if reverse.exists() and reverse != path:
        lines.append(_take(method.nets["reverse"], reverse).text("reverse generator"))
    else:
        lines.append(f"reverse generator fresh: no {reverse.name} beside the checkpoint")
    return "\n".join(lines)


def _take(net: nn.Module, path: Path) -> Taken:
    checkpoint = load_checkpoint(path)
    source = {place: state for place, _, state in _parts(checkpoint.generator())}
    taken, fresh = [], []
    for place, name, own in _parts(net):
        other = source.get(place, {})
        if {key: value.shape for key, value in own.items()} != {k: v.shape for k, v in other.items()}:
            fresh.append(name)
            continue
        with torch.no_grad():
            for key, value in own.items():
                value.copy_(other[key])
        taken.append(name)
    if not taken:
        raise TrainingError(
            f"no part of {path.name} ({checkpoint.arch}) fits this run's {type(net).__name__}; wanted a "
            "checkpoint of the same method with a layer of the same width: change model.widths or model.ngf"
        )
    return Taken(path.name, checkpoint.sha256 or "", tuple(taken), tuple(fresh))


def _parts(net: nn.Module) -> Iterator[tuple[tuple[str, ...], str, dict[str, Tensor]]]:
    """(place, name for people, tensors) of every layer that has any."""
    for root, child in net.named_children():
        if not isinstance(child, nn.Sequential):
            if state := child.state_dict():
                yield (root,), root, state
            continue
        layers = [(type(layer).__name__, layer.state_dict()) for layer in child]
        blocks = [n for n, layer in enumerate(child) if any(True for _ in layer.children())]
        first, last = (blocks[0], blocks[-1]) if blocks else (0, -1)
        seen: dict[tuple[str, str], int] = {}
        # From the trunk outwards: the encoder backwards, the blocks and the decoder forwards.
        order = [*reversed(range(first)), *range(first, len(layers))]
        with_state = [n for n, (_, state) in enumerate(layers) if state]
        ends = {with_state[0]: "stem"} if first else {}
        if last < with_state[-1]:
            ends[with_state[-1]] = "head"
        for n in order:
            kind, state = layers[n]
            if not state:
                continue
            part = "down" if n < first else "block" if n <= last else "up"
            part = ends.get(n, part)
            count = seen[part, kind] = seen.get((part, kind), 0) + 1
            yield (root, part, kind, str(count)), f"{root} {part}", state


def _counted(names: tuple[str, ...]) -> str:
    """ "shared block x4, gate": each name once, with how often it occurs."""
    counts = {name: names.count(name) for name in names}
    return ", ".join(name if n == 1 else f"{name} x{n}" for name, n in counts.items()) or "nothing"
