"""What goes from a source to a sink: frames, each with its name, number and time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]  # (H, W, 3) RGB


@dataclass(frozen=True)
class Frame:
    """A picture and where it came from."""

    image: Image
    name: str  # path below the input folder with /, the file's own name, or the camera's
    index: int  # 0-based, within its file or the camera's recording
    time: float | None = None  # seconds since the first frame, of a video or a camera
    sha256: str = ""  # of the input file's bytes; "" = there is no file, as with a camera
    whole: bool = True  # False: cut to a region, chosen or stated by the file
    # What a source of another room keeps of the file for a sink of that room; one object for all its frames.
    # It may name a patient: nothing here looks into it, prints or writes it.
    origin: object = field(default=None, repr=False)


@dataclass(frozen=True)
class Pictures:
    """What the network made of one frame."""

    face: Image
    occlusion: NDArray[np.uint8] | None = None  # (H, W), 255 = hidden; None: the bundle has none
    verdict: str = ""  # the guard's kind; "" = nobody looked
    code: str = ""  # and its reason, one word
    card: bool = False  # face is no face but the guard's card, which every view shows


@dataclass(frozen=True)
class Pending:
    """A frame that is known but not decoded, so that one whose output exists costs next to nothing."""

    name: str
    index: int
    time: float | None
    read: Callable[[], Image]  # DataError says why it cannot be had; the others still can
    # SHA-256 of the input file's bytes, of which `read` decodes exactly these; "" where there is no file, as
    # with a camera. DataError as `read`.
    sha256: Callable[[], str] = str
    whole: bool = True  # see Frame
    origin: object = field(default=None, repr=False)  # see Frame

    def frame(self) -> Frame:
        """The decoded frame; DataError."""
        image, sha256 = self.read(), self.sha256()
        return Frame(image, self.name, self.index, self.time, sha256, self.whole, self.origin)


class Source(Protocol):
    """Gives frames once, in order. Iterating raises DataError when it ends before its time."""

    @property
    def live(self) -> bool:
        """A camera: has no end, cannot be asked twice, and gives only its newest frame."""

    @property
    def total(self) -> int | None:
        """How many frames it will give, where that is known."""

    @property
    def fps(self) -> float | None:
        """Frames per second of a video or a camera; None = single pictures."""

    @property
    def dropped(self) -> int:
        """Frames so far that came faster than they were asked for."""

    @property
    def names(self) -> Sequence[str]:
        """Of the input's files, below its folder with /; none of a camera."""

    @property
    def single(self) -> bool:
        """One still picture."""

    @property
    def region(self) -> str:
        """x,y,w,h that was chosen; "" = whole pictures, or what the files state."""

    @property
    def whole(self) -> bool:
        """Whether some of its pictures may be shown whole, with the names on a screen."""

    @property
    def notes(self) -> Sequence[str]:
        """What is to be told before it starts, in one line each."""

    def claims(self, path: Path) -> bool:
        """Whether a file of this path would be one of the inputs."""

    def __iter__(self) -> Iterator[Pending | None]:
        """None: a camera was silent for a moment, and whoever waits may stop."""

    def close(self) -> None:
        """Let go of the device or file; may be called twice."""
