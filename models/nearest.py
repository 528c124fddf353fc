"""Why a state dict is no generator's: what else it is, or where the nearest network differs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Set
from typing import Any

import torch
from torch import Tensor

from getgan.models.catalog import ARCHITECTURES
from getgan.models.generator import Generator

_NAMES = ", ".join(kind.arch for kind in ARCHITECTURES)
WANTED = f"the state dict of a generator ({_NAMES}): getgan help checkpoints"
NEAR = 0.25  # of all kinds of keys that either has, both have
NEAR_IN_SHAPES = 0.15  # of all kinds of convolution that either has
PICTURE = 4  # channels of one, at the most
# Of kohya, PEFT and old diffusers (to_q_lora.down); and its kin LoHa and LoKr.
_LORA = re.compile(r"lora_|_lora\.|\.lora\.|hada_w\d|lokr_w\d")


def unknown_state(state: Mapping[str, Tensor]) -> str:
    """Why no architecture has this state dict: found, wanted, what to do; one line."""
    if any(_LORA.search(key) for key in state):
        return (
            "found a LoRA, which only changes another network's weights; wanted a whole generator: "
            "merge it into its base first"
        )
    if _is_discriminator(state):
        return (
            "found a discriminator (its last convolution gives one channel of scores); wanted the generator: "
            "its file is called netG or net_G where this one is called netD or net_D"
        )
    found = f"found a state dict with keys {first_three(sorted(state))}"
    if (near := _nearest(state, _patterns, NEAR)) is not None:
        kind, wanted = near
        differences = misfit(wanted, state)
        # Widths show in every key; they say nothing as long as keys differ.
        where = "; ".join(differences[:2] if "keys" in differences[0] else differences)
        return f"{found}; the nearest is {kind.arch} ({kind.layout}), but against its default {where}"
    if (near := _nearest(state, _convolutions, NEAR_IN_SHAPES)) is not None:
        kind, wanted = near
        own, its = _convolutions(wanted), _convolutions(state)
        where = "; ".join(misfit(wanted, state)[:2])
        return (
            f"{found}; by its shapes the nearest is {kind.arch} ({kind.layout}): it has {len(own & its)} of "
            f"that one's {len(own)} kinds of convolution and {len(its - own)} others, under other names: "
            f"{where}"
        )
    return f"{found}; wanted {WANTED}"


def misfit(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """Where two state dicts differ, in words: keys that are missing, keys too many, other shapes or types."""
    problems = []
    if missing := [key for key in wanted if key not in found]:
        problems.append(f"missing keys {first_three(missing)}")
    if unexpected := [key for key in found if key not in wanted]:
        problems.append(f"unexpected keys {first_three(unexpected)}")
    different = [
        f"{key} is {_kind_of(found[key])} instead of {_kind_of(wanted[key])}"
        for key in wanted
        if key in found and _kind_of(found[key]) != _kind_of(wanted[key])
    ]
    if different:
        problems.append(first_three(different))
    return problems


def first_three(names: list[str]) -> str:
    """The first three names and how many more there are, on one line whatever a file calls them."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    shown = (name if name.isprintable() else ascii(name) for name in names[:3])
    return (", ".join(f"{name:.200}" for name in shown) or "none") + more


def _nearest(
    state: Mapping[str, Tensor], traits: Callable[[Mapping[str, Tensor]], Set[Any]], least: float
) -> tuple[type[Generator], dict[str, Tensor]] | None:
    """The architecture whose default shares most traits, more than `least` of both's, and its state dict."""
    found = traits(state)
    best, near = least, None
    for kind in ARCHITECTURES:
        with torch.device("meta"):
            own = kind().state_dict()
        wanted = traits(own)
        share = len(found & wanted) / len(found | wanted)
        if share > best:
            best, near = share, (kind, own)
    return near


def _patterns(state: Mapping[str, Tensor]) -> set[str]:
    """Keys, whatever their numbers."""
    return {re.sub(r"\d+", "#", key) for key in state}


def _convolutions(state: Mapping[str, Tensor]) -> set[tuple[float, ...]]:
    """Kinds of convolution, whatever their names and direction: channels by the least width, and kernel."""
    shapes = [value.shape for value in state.values() if value.ndim == 4]
    width = min((side for shape in shapes for side in shape[:2] if side > PICTURE), default=1)
    return {
        (*sorted(side if side <= PICTURE else side / width for side in shape[:2]), *shape[2:])
        for shape in shapes
    }


def _is_discriminator(state: Mapping[str, Tensor]) -> bool:
    """PatchGAN, pixel and U-GAT-IT's: convolutions in a row, the last of which gives one channel."""
    convolutions = [value for value in state.values() if value.ndim == 4]
    if len(convolutions) < 2 or any("block" in key.lower() for key in state):
        return False
    # The order of the keys is the layers' in a .pt, and the alphabet's in a .safetensors.
    channels = {value.shape[0] for value in convolutions}
    kernel = tuple(min(convolutions, key=lambda value: value.shape[1]).shape[2:])
    return 1 in channels and 3 not in channels and kernel in ((4, 4), (1, 1), (3, 3))


def _kind_of(tensor: Tensor) -> str:
    kind = f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
    return kind if tensor.layout == torch.strided else f"{tensor.layout} {kind}"
