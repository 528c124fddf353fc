"""Picture → face: any uint8 picture through a session and back, guarded, labelled, each stage timed."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from getgan.contract import Contract
from getgan.errors import ConfigError, DataError
from getgan.runtime.answers import Answers
from getgan.runtime.geometry import Fit, Placement, check_size, lay, lift, placement, resize
from getgan.runtime.guard.aspect import in_known_aspect
from getgan.runtime.guard.judge import Guard, Verdict
from getgan.runtime.guard.screen import GuardMode, Judged, Screen
from getgan.runtime.label import add_label
from getgan.runtime.media.plate import labelled_card, with_banner
from getgan.runtime.session import Session

OUTPUT_SIZES = ("input", "network")
# Both in 8-bit levels, as the largest standard deviation of the three channels. Speckle alone has 20 and
# more, and a generator that has collapsed gives less than 1. A flat input (the probe is off the skin) is not
# translated: normalisation divides by its spread, so rounding noise would come out (docs/bundle-format.md).
FLAT_OUTPUT = 1.0
FLAT_INPUT = 4.0
# Of the canvases that go through the network together, in pixels: they need no more memory than one picture
# of 1024x1024, and larger ones fill a GPU alone.
BATCH_PIXELS = 1024 * 1024


@dataclass(frozen=True)
class PipelineOptions:
    """How pictures are brought to the network and back."""

    size: int = 0  # pixels: about size * size of them reach the network; 0 = the contract's
    fit: Fit = "fit"
    label: bool = True  # False is for engineers only
    output_size: Literal["input", "network"] = "input"
    guard: GuardMode = "refuse"  # counts where there is a guard


@dataclass(frozen=True)
class Timings:
    """Seconds for one frame; of what several frames share, its part."""

    pre: float  # cut, scale, normalise
    network: float  # it ran for as long as all frames that went through it together say in sum
    post: float  # guard, to 8 bit, scale back, label
    looks: float = 0.0  # further network runs, for the guard

    @property
    def total(self) -> float:
        """All four."""
        return self.pre + self.network + self.post + self.looks


@dataclass(frozen=True)
class _Laid:
    """A frame as the network sees it."""

    where: Placement
    view: NDArray[np.uint8]
    fault: str
    seconds: float


@dataclass(frozen=True)
class Result:
    """A translated frame."""

    image: NDArray[np.uint8] | None  # (H, W, 3) RGB, labelled: a face, or a card; None = there is a fault
    fault: str  # what was wrong with the output, in words; "" = nothing
    occlusion: NDArray[np.uint8] | None  # (H, W), 255 = hidden, the image's size before its label
    timings: Timings
    verdict: Verdict | None = None  # None: nobody looked, or there was nothing to look at
    attributes: tuple[float, ...] = ()  # what was measured of it, see ATTRIBUTES; () = nothing
    card: bool = False  # image is the guard's card


class Pipeline:
    """Translates pictures with a session; the session stays the caller's to close."""

    def __init__(
        self,
        session: Session,
        contract: Contract,
        options: PipelineOptions | None = None,
        guard: Guard | None = None,
        explain_every: float = 0.0,
    ) -> None:
        """guard: of the bundle, None = it has none. explain_every: see `guard.screen.Screen`."""
        self.options = options or PipelineOptions()
        if self.options.output_size not in OUTPUT_SIZES:
            raise ConfigError(f"found output_size {self.options.output_size!r:.40}; wanted input or network")
        self.size = check_size(self.options.size, self.options.fit, contract)
        self._session = session
        self._contract = contract
        self.guard = self.options.guard if guard is not None else "none"
        self._screen: Screen | None = None
        self._guard = guard if self.options.guard == "refuse" else None  # whose cards are shown
        self._aspects = guard.aspects if guard is not None else None
        if guard is not None and self.options.guard != "off":
            self._screen = Screen(guard, session.translate, explain_every)

    def translate(self, frames: Sequence[NDArray[np.uint8]]) -> list[Result]:
        """Translate uint8 (H, W, 3) RGB pictures of any sizes, each in its own right.

        The image has the frame's size ("crop": of its middle square), or a multiple of it where the label
        needs the room. What the guard refuses is a card of that size, or has a banner. A broken output gives
        a Result without image. DataError, before any frame is
        translated, for a picture that is too small, too long, or no uint8 (H, W, 3).
        """
        places = [self._placement(number, frame) for number, frame in enumerate(frames)]
        pairs = zip(frames, places, strict=True)
        results: list[Result] = []
        for (height, width), group in itertools.groupby(pairs, key=lambda pair: pair[1].canvas):
            most = max(1, min(self.preferred_batch, BATCH_PIXELS // (height * width)))
            while batch := list(itertools.islice(group, most)):
                results += self._translate([_laid(frame, where) for frame, where in batch])
        return results

    @property
    def preferred_batch(self) -> int:
        """So many frames of one canvas take less time in one call of `translate`; 1 = they do not."""
        return self._session.info.preferred_batch

    def _placement(self, number: int, frame: NDArray[np.uint8]) -> Placement:
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise DataError(f"frame {number} is {frame.dtype} {frame.shape}; wanted uint8 (H, W, 3) RGB")
        height, width = frame.shape[:2]
        return placement(height, width, self.size, self.options.fit, self._contract)

    def _translate(self, frames: list[_Laid]) -> list[Result]:
        """Frames of one canvas, all but the flat ones at once."""
        shown = [frame for frame in frames if not frame.fault]
        if not shown:
            return [self._flat_input(frame) for frame in frames]
        start = time.perf_counter()
        views = [frame.view for frame in shown]
        answers = self._session.translate(np.stack(views) if len(views) > 1 else views[0][None])
        spans = (answers.began - start, answers.ended - answers.began, time.perf_counter() - answers.ended)
        share = Timings(*(seconds / len(shown) for seconds in spans))
        numbers = itertools.count()
        return [
            self._flat_input(frame) if frame.fault else self._result(frame, answers, next(numbers), share)
            for frame in frames
        ]

    def _flat_input(self, frame: _Laid) -> Result:
        """A card where the guard shows cards, or else a fault."""
        start = time.perf_counter()
        if self._guard is None:
            return Result(None, frame.fault, None, Timings(frame.seconds, 0.0, 0.0))
        verdict = self._guard.blank(lift(frame.view, frame.where, "network"))
        image = self._card(verdict, frame.where)
        timings = Timings(frame.seconds, 0.0, time.perf_counter() - start)
        return Result(image, "", None, timings, verdict, card=True)

    def _card(self, verdict: Verdict, where: Placement) -> NDArray[np.uint8]:
        return labelled_card(verdict.code, *self._output_sides(where), label=self.options.label)

    def _result(self, frame: _Laid, answers: Answers, number: int, share: Timings) -> Result:
        start = time.perf_counter()
        judged: Judged | None = None
        if self._screen is not None and not answers.faults[number]:
            shaped = partial(
                in_known_aspect, frame.view, frame.where, self._aspects, self.size, self._contract
            )
            judged = self._screen.judge(frame.view, answers, number, shaped)
            answers, number = judged.answers, judged.number
        image = occlusion = None
        fault = ""
        refused = judged is not None and judged.verdict.kind == "refused"
        card = refused and self.options.guard == "refuse"
        if judged is not None and card:
            image = self._card(judged.verdict, frame.where)
        else:
            fault = answers.faults[number] or _flat(lift(answers.faces[number], frame.where, "network"))
            if not fault:
                image, occlusion = self._shown(frame.where, answers, number, banner=refused)
        looks = judged.seconds if judged else 0.0
        post = share.post + time.perf_counter() - start - looks
        timings = Timings(frame.seconds + share.pre, share.network, post, looks)
        if judged is None:
            return Result(image, fault, occlusion, timings)
        return Result(image, fault, occlusion, timings, judged.verdict, judged.attributes, card)

    def _shown(
        self, where: Placement, answers: Answers, number: int, *, banner: bool
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        """A face as it is shown, and its occlusion map."""
        image = lift(answers.faces[number], where, self.options.output_size)
        occlusion = None
        if answers.occlusion is not None:
            hidden = resize(answers.occlusion[number], *where.canvas)
            occlusion = lift(hidden, where, self.options.output_size)
        if self.options.label:
            image = add_label(image)
        return (with_banner(image) if banner else image), occlusion

    def _output_sides(self, where: Placement) -> tuple[int, int]:
        """Height and width of a face, before its label."""
        sides = where.source if self.options.output_size == "input" else where.place
        return sides[2], sides[3]


def _laid(frame: NDArray[np.uint8], where: Placement) -> _Laid:
    """The network's view; a fault if it is one flat colour."""
    start = time.perf_counter()
    view = lay(frame, where)
    spread = _spread(lift(view, where, "network"))  # without bars
    flat = f"the input is one flat colour (spread {spread:.2f} of 255 levels): nothing to translate"
    return _Laid(where, view, flat if spread < FLAT_INPUT else "", time.perf_counter() - start)


def _flat(image: NDArray[np.uint8]) -> str:
    """Whether the output shows nothing, though the input shows something."""
    spread = _spread(image)
    if spread >= FLAT_OUTPUT:
        return ""
    return f"the output is one flat colour (spread {spread:.2f} of 255 levels), the input is not"


def _spread(image: NDArray[np.uint8]) -> float:
    import cv2

    return float(cv2.meanStdDev(image)[1].max())
