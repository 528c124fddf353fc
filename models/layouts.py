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


def renamed(state: Mapping[str, T]) -> dict[str, T]:
    """The same values under canonical keys; unchanged where the layout is none of those known here."""
    if state and all(key.startswith(f"{_UNET}model.") for key in state):
        return {f"model.{key.removeprefix(_UNET)}": value for key, value in state.items()}
    matches = {key: _THREE.fullmatch(key) for key in state}
    parts = {key: (match[1], int(match[2]), match[3]) for key, match in matches.items() if match}
    if len(parts) < len(state) or len({part for part, _, _ in parts.values()}) < 3:
        return dict(state)
    blocks = max(place for part, place, _ in parts.values() if part == "body") + 1
    starts = {"head": 0, "body": _HEAD, "tail": _HEAD + blocks}
    return {f"model.{starts[part] + place}.{rest}": state[key] for key, (part, place, rest) in parts.items()}
