"""Starting a run from another run's checkpoint: what fits is taken, the rest stays freshly drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from getgan.errors import ConfigError, GetganError, TrainingError
from getgan.models.checkpoint import load_checkpoint
from getgan.models.getgan import GetGanGenerator
from getgan.models.patchgan import SCALES
from getgan.training.config import config_from_toml_text
from getgan.training.folder import STATE
from getgan.training.methods import Method
from getgan.training.state import read_state

DISCRIMINATORS = ("disc_y", "disc_x", "critic")
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


def start_from(method: Method, path: Path, size: int) -> str:
    """Put what fits of a checkpoint, and of what its run left beside it, into freshly built networks.

    Beside it lie the reverse net, and the state with the discriminators if the checkpoint is its last.

    A part fits where it stands in the same place and has the same shape. Residual blocks are counted from
    the first, levels from the trunk outwards: so a net with one more level keeps all but its ends, which
    is what growing from 64 to 128 to 256 pixels needs. Of a GET-GAN with as many blocks in all and its gate
    elsewhere among them, the blocks keep their order and the gate alone moves; if it moves back, the face's
    blocks come before it and the error's are lost. Returns what was taken, for people.
    """
    lines = [_take(method.nets["forward"], path).text("generator")]
    if "reverse" not in method.nets:
        return "\n".join([*lines, _take_discriminators(method, path, size)])
    reverse = path.with_name(path.name.removesuffix(".safetensors") + REVERSE_SUFFIX)
    if reverse.exists() and reverse != path:
        lines.append(_take(method.nets["reverse"], reverse).text("reverse generator"))
    else:
        lines.append(f"reverse generator fresh: no {reverse.name} beside the checkpoint")
    return "\n".join([*lines, _take_discriminators(method, path, size)])


def _take_discriminators(method: Method, path: Path, size: int) -> str:
    """Of the state beside a checkpoint, if that is the run which the checkpoint is of.

    In a run of larger pictures each further scale sees what the one before it saw.
    """
    told = "critic" if "critic" in method.nets else "discriminators"
    state = path.with_name(STATE)
    if not state.exists():
        return f"{told} fresh: no {STATE} beside the checkpoint"
    try:
        document = read_state(state)
        grown = size // config_from_toml_text(document["config"]).data.size
    except ConfigError as error:
        return f"{told} fresh: {STATE} is of another version, {error}"
    except GetganError:
        return f"{told} fresh: {STATE} cannot be read as a training state of this version"
    kept = document["nets"]
    if not _same(document.get("ema") or kept.get("forward"), load_checkpoint(path).state):
        return f"{told} fresh: {STATE} beside {path.name} is of another iteration or run"
    doublings = max(0, grown.bit_length() - 1)
    taken = []
    for name in (name for name in DISCRIMINATORS if name in method.nets):
        source = _scales(kept.get(name))
        for scale, own in _scales(method.nets[name].state_dict()).items():
            before = SCALES[max(0, SCALES.index(scale) - doublings)]
            other = source.get(before, {})
            if _shapes(own) == _shapes(other):
                _copy(other, own)
                taken.append(f"{name} {scale}")
    return f"{told} from {STATE}: {', '.join(taken) or 'nothing fits'}"


@torch.no_grad()
def _copy(source: Mapping[str, Tensor], into: Mapping[str, Tensor]) -> None:
    for key, value in into.items():
        value.copy_(source[key])


def _shapes(state: Mapping[str, object]) -> dict[str, object]:
    """None for what cannot be copied: no tensor, or a sparse, complex or empty one."""
    return {
        key: value.shape
        if isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type != "meta"
        and not value.is_complex()
        else None
        for key, value in state.items()
    }


def _same(one: object, other: Mapping[str, Tensor]) -> bool:
    """Whether the first are tensors of the same names and values."""
    if not isinstance(one, dict) or one.keys() != other.keys():
        return False
    return all(
        isinstance(value, Tensor) and value.dtype == other[key].dtype and torch.equal(value, other[key])
        for key, value in one.items()
    )


def _scales(state: object) -> dict[str, dict[str, Tensor]]:
    """A discriminator's tensors by the scale that they look at; one with a single scale looks at the fine."""
    found: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items() if isinstance(state, dict) else ():
        scale, dot, rest = str(key).partition(".")
        if dot and scale in SCALES:
            found.setdefault(scale, {})[rest] = value
        else:
            found.setdefault("fine", {})[key] = value
    return found


def _take(net: nn.Module, path: Path) -> Taken:
    checkpoint = load_checkpoint(path)
    generator = checkpoint.generator()
    source = {place: state for place, _, state in _parts(generator)}
    taken, fresh = [], []
    for place, name, own in _parts(net):
        other = source.get(_before_the_gate_moved(place, net, generator), {})
        if _shapes(own) != _shapes(other):
            fresh.append(name)
            continue
        _copy(other, own)
        taken.append(name)
    if not taken:
        raise TrainingError(
            f"no part of {path.name} ({checkpoint.arch}) fits this run's {type(net).__name__}; wanted a "
            "checkpoint of the same method with a layer of the same width: change model.widths or model.ngf"
        )
    return Taken(path.name, checkpoint.sha256 or "", tuple(taken), tuple(fresh))


def _before_the_gate_moved(place: tuple[str, ...], net: nn.Module, source: nn.Module) -> tuple[str, ...]:
    """Where in a source that has as many blocks a part of this network stands."""
    if not (isinstance(net, GetGanGenerator) and isinstance(source, GetGanGenerator)) or place[1:2] != (
        "block",
    ):
        return place
    root, part, kind, count = place
    own, other = net.config, source.config
    if own.shared_blocks + own.branch_blocks != other.shared_blocks + other.branch_blocks:
        return place
    number = int(count) + (0 if root == "shared" else own.shared_blocks)
    if number <= other.shared_blocks:
        return "shared", part, kind, str(number)
    # A block that comes before the gate now was the face's.
    return "fake" if root == "shared" else root, part, kind, str(number - other.shared_blocks)


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
