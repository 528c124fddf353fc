"""Ways from a picture to a face, all timed alike: getgan's pipeline, a peer's call, and nothing at all."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from getgan.benchmarks.schema import StageName
from getgan.contract import Contract
from getgan.runtime.bundle import Bundle
from getgan.runtime.pipeline import Pipeline, PipelineOptions
from getgan.runtime.pixels import image_from_tensor, tensor_from_images
from getgan.runtime.session import open_session

Picture = NDArray[np.uint8]  # (H, W, 3) RGB
Tensor = NDArray[np.float32]  # (N, 3, H, W) RGB in the contract's range
NOT_APART = math.nan


class Times(NamedTuple):
    """Seconds of one query; NaN = not timed apart."""

    pre: float
    copy_in: float
    network: float
    copy_out: float
    post: float


@dataclass(frozen=True)
class Facts:
    """What it is."""

    about: str
    version: str
    precision: str
    device: str
    provider: str
    threads: int
    graph_sha256: str
    absent: dict[StageName, str]


class Way(Protocol):
    """Open until `close`."""

    @property
    def facts(self) -> Facts:
        """What it is; known after the opening."""

    def translate(self, frames: Sequence[Picture]) -> tuple[list[Picture], Times, str]:
        """The faces as an application gets them, the stages' times, what the guard refused ("" = nothing)."""

    def face(self, frame: Picture) -> Picture:
        """What the network makes of a picture of a legal size: no label, no scaling."""

    def close(self) -> None:
        """Give everything back."""


def copies(device: str) -> dict[StageName, str]:
    """Why the copies are not timed apart."""
    on_cpu = "a CPU reads the picture where it lies"
    within = "in the network's time: this call copies by itself"
    why = on_cpu if device == "cpu" else within
    return {"copy_in": why, "copy_out": why}


class OwnWay:
    """`open_session` and `Pipeline`, with guard and label, as `getgan run` has them."""

    def __init__(
        self, bundle: Bundle, *, device: str, precision: str, backend: str, threads: int, size: int
    ) -> None:
        contract = bundle.manifest.contract
        self._session = open_session(
            bundle, device=device, precision=precision, backend=backend, threads=threads
        )
        options = PipelineOptions(size=size, fit="crop" if contract.fixed else "fit")
        self._pipeline = Pipeline(self._session, contract, options)
        info = self._session.info
        graph = bundle.manifest.variant(info.precision).graph
        self.facts = Facts(
            about="getgan: pipeline with guard and label (a small face is made larger for it)",
            version=info.version,
            precision=info.precision,
            device=info.device,
            provider=info.provider,
            threads=info.threads,
            graph_sha256=bundle.manifest.files[graph].sha256,
            absent=copies(info.device),
        )

    def translate(self, frames: Sequence[Picture]) -> tuple[list[Picture], Times, str]:
        """See Way."""
        if len(frames) > 1:
            return self._batch(np.stack(frames))
        (result,) = self._pipeline.translate(frames)
        taken = result.timings
        times = Times(taken.pre, NOT_APART, taken.network, NOT_APART, taken.post)
        return [] if result.image is None else [result.image], times, result.fault

    def _batch(self, frames: NDArray[np.uint8]) -> tuple[list[Picture], Times, str]:
        """All in one call of the session, also where the pipeline would not: that is what is measured."""
        start = time.perf_counter()
        answers = self._session.translate(frames)
        end = time.perf_counter()
        network = answers.ended - answers.began
        times = Times(answers.began - start, NOT_APART, network, NOT_APART, end - answers.ended)
        return list(answers.faces), times, next(filter(None, answers.faults), "")

    def face(self, frame: Picture) -> Picture:
        """See Way."""
        face: Picture = self._session.translate(frame[None]).faces[0]
        return face

    def close(self) -> None:
        """See Way."""
        self._session.close()


@dataclass(frozen=True)
class Opened:
    """What a peer's file gives: one call, and what it is."""

    run: Callable[[Tensor], Tensor]  # the face alone
    version: str
    precision: str
    device: str = "cpu"
    provider: str = ""
    threads: int = 0
    graph_sha256: str = ""
    close: Callable[[], None] = field(default=lambda: None)


class PeerWay:
    """A peer's call with what any application needs around it: to float, and back to 8 bit."""

    def __init__(self, opened: Opened, about: str, contract: Contract) -> None:
        self._opened = opened
        self._contract = contract
        self.facts = Facts(
            about=about,
            version=opened.version,
            precision=opened.precision,
            device=opened.device,
            provider=opened.provider,
            threads=opened.threads,
            graph_sha256=opened.graph_sha256,
            absent=copies(opened.device),
        )

    def translate(self, frames: Sequence[Picture]) -> tuple[list[Picture], Times, str]:
        """See Way."""
        return _translate(frames, self._contract, self._opened.run)

    def face(self, frame: Picture) -> Picture:
        """See Way."""
        return self.translate([frame])[0][0]

    def close(self) -> None:
        """See Way."""
        self._opened.close()


class NullWay:
    """Gives back what it gets: what is left is the harness."""

    facts = Facts("nothing", "", "", "cpu", "", 0, "", {})

    def translate(self, frames: Sequence[Picture]) -> tuple[list[Picture], Times, str]:
        """See Way."""
        return list(frames), _NO_TIMES, ""

    def face(self, frame: Picture) -> Picture:
        """See Way."""
        return frame

    def close(self) -> None:
        """See Way."""


_NO_TIMES = Times(*[NOT_APART] * 5)


def _translate(
    frames: Sequence[Picture], contract: Contract, run: Callable[[Tensor], Tensor]
) -> tuple[list[Picture], Times, str]:
    """Pictures of one size, which the network takes as they are."""
    start = time.perf_counter()
    tensor = tensor_from_images(frames, contract.range)
    ready = time.perf_counter()
    faces = run(tensor)
    done = time.perf_counter()
    pictures = [image_from_tensor(face, contract.range) for face in faces]
    end = time.perf_counter()
    return pictures, Times(ready - start, NOT_APART, done - ready, NOT_APART, end - done), ""
