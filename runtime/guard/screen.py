"""Between network and picture: each frame's verdict, with the further looks that it takes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from getgan.errors import DeviceError
from getgan.runtime.answers import Answers
from getgan.runtime.guard.attributes import measure
from getgan.runtime.guard.judge import OTHER, Guard, Verdict
from getgan.runtime.guard.tone import Picture

# refuse: a card in the face's place. mark: the face with a banner. off: nobody looks.
GuardMode = Literal["refuse", "mark", "off"]
EXPLAIN_EVERY_S = 1.0  # of a video or a camera: an explanation costs some ten network runs


@dataclass(frozen=True)
class Judged:
    """A frame's verdict, and where its face is."""

    verdict: Verdict
    answers: Answers  # of the view that is to be shown: with matched tones it is another than was given
    number: int  # of the face in answers
    attributes: tuple[float, ...]  # see ATTRIBUTES
    seconds: float = 0.0  # of further network runs


class Screen:
    """Judges what a session answered; frames one after the other, as they come."""

    def __init__(
        self, guard: Guard, translate: Callable[[NDArray[np.uint8]], Answers], explain_every: float = 0.0
    ) -> None:
        """translate: the session's. explain_every: seconds at least between two explanations; 0 = always."""
        self._guard = guard
        self._translate = translate
        self._every = explain_every
        self._explained = float("-inf")  # when
        self._last: Verdict | None = None  # the explained refusal, as long as nothing but refusals follow

    def judge(
        self, view: Picture, answers: Answers, number: int, shaped: Callable[[], Sequence[Picture]]
    ) -> Judged:
        """The verdict on a view, uint8 (H, W, 3) RGB, of what the session gave for it.

        shaped: as `Guard.judge`. DeviceError if the session gave no features.
        """
        looks: list[Answers] = []
        seconds = 0.0

        def look(changed: Picture) -> NDArray[np.float32]:
            nonlocal seconds
            start = time.perf_counter()
            looks.append(self._translate(changed[None]))
            seconds += time.perf_counter() - start
            return _features(looks[-1], 0)

        explain = time.monotonic() - self._explained >= self._every
        hidden = hidden_share(answers, number)
        verdict = self._guard.judge(
            view,
            _features(answers, number),
            look,
            explain=explain,
            hidden=hidden,
            hidden_toned=lambda: hidden_share(looks[-1], 0),
            shaped=shaped,
        )
        verdict = self._held(verdict, explain)
        if verdict.kind == "unusual":  # judged on its first look, whose face is the one to show
            shown, place = looks[0], 0
        else:
            shown, place = answers, number
        face = None if verdict.kind == "refused" or shown.faults[place] else shown.faces[place]
        attributes = measure(view, verdict.score, hidden, face)
        return Judged(verdict, shown, place, attributes, seconds)

    def _held(self, verdict: Verdict, explain: bool) -> Verdict:
        """A refusal that there was no time to explain has the reason of the one before it.

        Else a card would say what is wrong once a second, and something else in between.
        """
        if verdict.kind != "refused":
            self._last = None
        elif explain:
            self._explained, self._last = time.monotonic(), verdict
        elif verdict.reason == OTHER and self._last is not None:
            return replace(verdict, code=self._last.code, reason=self._last.reason)
        return verdict


def hidden_share(answers: Answers, number: int) -> float:
    """The share of a frame that the occlusion map says is hidden, 0..1; NaN without a map."""
    return math.nan if answers.occlusion is None else float(answers.occlusion[number].mean()) / 255.0


def _features(answers: Answers, number: int) -> NDArray[np.float32]:
    if answers.features is None:
        raise DeviceError("the network gave no features for the guard; run `getgan verify` on the bundle")
    return np.asarray(answers.features[number])
