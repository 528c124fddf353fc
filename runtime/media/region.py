"""The part of each picture that is translated and shown: what lies outside it goes nowhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from getgan.errors import DataError, UsageError
from getgan.runtime.media.frames import Image, Pending, Source

MIN_SIDE = 8


@dataclass(frozen=True)
class Region:
    """A rectangle in pixels of the input."""

    x: int
    y: int
    width: int
    height: int
    of: tuple[int, int] | None = None  # width and height of the pictures that it was made for; None = any

    @property
    def text(self) -> str:
        """As it is written on the command line."""
        return f"{self.x},{self.y},{self.width},{self.height}"

    def crop(self, image: Image) -> Image:
        """That part of uint8 (H, W, 3); DataError if it does not lie inside: cut down, it is another."""
        height, width = image.shape[:2]
        if self.of not in (None, (width, height)):
            raise DataError(
                f"found {width}x{height} pixels, and the preset's region {self.text} is for "
                f"{'x'.join(map(str, self.of or ()))}: here it may show a name; wanted --region x,y,w,h"
            )
        if self.x + self.width > width or self.y + self.height > height:
            raise DataError(
                f"found {width}x{height} pixels, in which the region {self.text} does not lie; wanted "
                "--region x,y,w,h inside the picture"
            )
        part = image[self.y : self.y + self.height, self.x : self.x + self.width]
        return np.ascontiguousarray(part)


def region_from_text(text: str) -> Region:
    """Of "x,y,w,h"; UsageError."""
    match = re.fullmatch(r"\s*(\d{1,6})\s*,\s*(\d{1,6})\s*,\s*(\d{1,6})\s*,\s*(\d{1,6})\s*", text, re.ASCII)
    if match is None:
        raise UsageError(f"found the region {text[:40]!r}; wanted x,y,w,h in pixels, like 600,120,720,540")
    x, y, wide, high = (int(part) for part in match.groups())
    region = Region(x, y, wide, high)
    if min(region.width, region.height) < MIN_SIDE:
        raise UsageError(
            f"found a region of {region.width}x{region.height} pixels; wanted {MIN_SIDE} or more"
        )
    return region


class RegionSource:
    """Another source, of which only the region is seen."""

    def __init__(
        self, source: Source, region: Region, on_first: Callable[[Region], None] = lambda region: None
    ) -> None:
        """on_first: hears of the region with the size of the first picture."""
        self._source = source
        self._region = region
        self._on_first: Callable[[Region], None] | None = on_first
        self.region = region.text
        self.live = source.live
        self.fps = source.fps
        self.single = source.single
        self.names: Sequence[str] = source.names
        self.notes: Sequence[str] = source.notes
        self.whole = False

    @property
    def total(self) -> int | None:
        """See Source."""
        return self._source.total

    @property
    def dropped(self) -> int:
        """See Source."""
        return self._source.dropped

    def __iter__(self) -> Iterator[Pending | None]:
        for pending in self._source:
            yield pending and replace(pending, read=partial(self._read, pending.read), whole=False)

    def claims(self, path: Path) -> bool:
        """See Source."""
        return self._source.claims(path)

    def close(self) -> None:
        """See Source."""
        self._source.close()

    def _read(self, read: Callable[[], Image]) -> Image:
        image = read()
        part = self._region.crop(image)
        if self._on_first is not None:
            self._on_first(replace(self._region, of=(image.shape[1], image.shape[0])))
            self._on_first = None
        return part
