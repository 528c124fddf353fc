"""Tensors that lie in a file: their shapes are known at once, their numbers when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import torch
from torch import Tensor

CHUNK = 1 << 22  # bytes that are looked at in one go


@dataclass(frozen=True)
class Stored:
    """A dense tensor of a file; the reader of the format has compared its place with the file's length."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # of a contiguous tensor, whatever the order of its sides
    place: int  # of the first number, in bytes
    count: int  # of numbers

    def blank(self) -> Tensor:
        """Shape and type alone."""
        return torch.empty_strided(self.shape, self.strides, dtype=self.dtype, device="meta")

    def read(self, file: BinaryIO) -> Tensor:
        """With memory of its own; EOFError where the file has become shorter."""
        numbers = torch.empty(self.count, dtype=self.dtype)
        _fill(file, self.place, numbers)
        return numbers.as_strided(self.shape, self.strides)

    def finite(self, file: BinaryIO) -> bool:
        """Whether all numbers are, with a few MB of memory."""
        return all(bool(torch.isfinite(part).all()) for part in self._parts(file))

    def _parts(self, file: BinaryIO) -> Iterator[Tensor]:
        step = CHUNK // self.dtype.itemsize
        for start in range(0, self.count, step):
            numbers = torch.empty(min(step, self.count - start), dtype=self.dtype)
            _fill(file, self.place + start * self.dtype.itemsize, numbers)
            yield numbers


def _fill(file: BinaryIO, place: int, numbers: Tensor) -> None:
    if not numbers.numel():
        return
    target = memoryview(numbers.view(torch.uint8).numpy().data)
    file.seek(place)
    while target:
        # A file that is not buffered may give less than it has.
        if not (got := file.readinto(target)):  # type: ignore[attr-defined]  # of every file that we open
            raise EOFError
        target = target[got:]
