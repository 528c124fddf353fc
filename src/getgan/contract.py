"""What pictures a network takes and gives: one record for checkpoints, bundles and sessions."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from getgan.errors import ConfigError

MAX_SIZE = 2048  # pixels each way
Range: TypeAlias = tuple[float, float]  # what black and white are
SIGNED: Range = (-1.0, 1.0)
Output = Literal["face", "occlusion", "error"]
OUTPUTS: tuple[Output, ...] = ("face", "occlusion", "error")


class Contract(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pictures as (N, 3, H, W) float32."""

    size: int  # height and width in training, pixels
    min_size: int  # smallest legal height and width, pixels
    multiple_of: int  # height and width are multiples of this
    channels: Literal["RGB"] = "RGB"
    range: Range = SIGNED
    fixed: bool = False  # takes size x size and nothing else

    def __post_init__(self) -> None:
        low, high = self.range
        whole = all(abs(end) < 65536.0 and float(end).is_integer() for end in (low, high))
        if self.multiple_of < 1 or self.min_size < 1 or not (whole and low < high):
            raise ConfigError(f"found an impossible image contract ({self!s:.200})")
        if self.size > MAX_SIZE:
            raise ConfigError(f"found contract.size {self.size!s:.40}; wanted at most {MAX_SIZE}")
        if self.size < self.min_size or self.size % self.multiple_of:
            wanted = f"a multiple of {self.multiple_of}, at least min_size = {self.min_size}"
            raise ConfigError(f"found contract.size {self.size}; wanted {wanted}")


def half_width(value_range: Range) -> float:
    """Half of what lies between black and white; errors are stated in it, as for [-1, 1], where it is 1."""
    return (value_range[1] - value_range[0]) / 2.0


def range_in_words(value_range: Range) -> str:
    """[-1, 1]."""
    return f"[{value_range[0]:g}, {value_range[1]:g}]"
