"""Other people's names for the layers of a known network → the names that its own authors gave them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")
# CycleGAN's generator in three lists: stem and two convolutions, blocks, decoder.
_THREE = re.compile(r"model_(head|body|tail)\.(\d{1,3})\.(.+)")
_HEAD = 10  # layers: padding, then convolution, norm and ReLU, three times
_UNET = "unet_model."
# The same with each convolution, its norm and its ReLU in a list of their own.
_NESTED = re.compile(r"res_model\.(\d{1,3})\.(res_block\.)?(?:(\d)\.)?(?:(\d)\.)?(\w+)")


def renamed(state: Mapping[str, T]) -> dict[str, T]:
    """The same values under canonical keys; unchanged where the layout is none of those known here."""
    if state and all(key.startswith(f"{_UNET}model.") for key in state):
        return {f"model.{key.removeprefix(_UNET)}": value for key, value in state.items()}
    if state and all(_NESTED.fullmatch(key) for key in state):
        return _flat(state)
    matches = {key: _THREE.fullmatch(key) for key in state}
    parts = {key: (match[1], int(match[2]), match[3]) for key, match in matches.items() if match}
    if len(parts) < len(state) or len({part for part, _, _ in parts.values()}) < 3:
        return dict(state)
    blocks = max(place for part, place, _ in parts.values() if part == "body") + 1
    starts = {"head": 0, "body": _HEAD, "tail": _HEAD + blocks}
    return {f"model.{starts[part] + place}.{rest}": state[key] for key, (part, place, rest) in parts.items()}


def _flat(state: Mapping[str, T]) -> dict[str, T]:
    """A generator of nested lists: 0 padding, 1 to 3 convolutions, blocks, two more, padding, the last."""
    found = [(match, value) for key, value in state.items() if (match := _NESTED.fullmatch(key))]
    blocks = len({match[1] for match, _ in found if match[2]})
    flat = {}
    for match, value in found:
        place, inner, deeper = int(match[1]), int(match[3] or 0), int(match[4] or 0)
        if match[2]:  # padding, list, [dropout,] padding, convolution, norm
            layer = f"{_HEAD + place - 4}.conv_block.{inner + deeper if inner < 2 else inner + 2}"
        elif place < 4:
            layer = f"{3 * place - 2 + inner}"
        else:
            behind = place - 4 - blocks
            layer = f"{_HEAD + blocks + (3 * behind + inner if behind < 2 else behind + 4)}"
        flat[f"model.{layer}.{match[5]}"] = value
    return flat
