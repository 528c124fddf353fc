"""A score becomes a verdict: known, known but for its tones, or no picture for this network; and why."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from getgan.runtime.guard.aspect import Aspects
from getgan.runtime.guard.looks import LOOKS
from getgan.runtime.guard.statistics import Statistics
from getgan.runtime.guard.tone import Picture, brightness, toned

Kind = Literal["ok", "unusual", "refused"]
# Of the network's view, (H, W, 3) -> (D,).
Features = Callable[[Picture], NDArray[np.floating[Any]]]

UNUSUAL = "its brightness or colours are unlike those of the calibration"
HIDDEN = "too much of the face is hidden: move the probe"
DARK = "too dark"
OTHER = "not a face scan"
ASPECT = "the picture is too wide or too tall for what the guard knows"
# Of a changed picture: it must lie well inside the limit. Matched tones make whatever is shown more like a
# scan: of 300 photos of babies 5.7 % then scored 1 or less, and 0.3 % this; of grey scans 100 % and 99.3 %.
SECOND_LIMIT = 0.9
# Of how bright the calibration's brightest hundredth is. Not of the mean: white text on black is not dark.
DARK_SHARE = 0.35
BRIGHTEST = 99.0  # percent


@dataclass(frozen=True)
class Verdict:
    """What the guard says of one picture."""

    kind: Kind
    score: float  # 1 = the limit; above it is no picture of the calibration's kind
    # "tones", "aspect", "upside-down", "turned", "too-near", "too-far", "text", "dark", "hidden", "other"
    code: str = ""
    reason: str = ""  # code in words
    view: Picture | None = None  # unusual: the picture that the network knows, to be translated in its place


class Guard:
    """Judges pictures by the features that the network gave for them."""

    def __init__(
        self, statistics: Statistics, hidden_limit: float = math.inf, aspects: Aspects | None = None
    ) -> None:
        self.statistics = statistics
        self.hidden_limit = hidden_limit  # largest share of the picture that may be hidden, 0..1
        self.aspects = aspects  # of the calibration's pictures; None = not known

    def judge(
        self,
        view: Picture,
        features: NDArray[np.floating[Any]],
        look: Features,
        *,
        explain: bool = True,
        hidden: float = 0.0,
        hidden_toned: Callable[[], float] = lambda: 0.0,
        shaped: Callable[[], Sequence[Picture]] = tuple,
    ) -> Verdict:
        """The verdict on a view, uint8 (H, W, 3) RGB, of features (D,).

        look: runs the network on another view; once for a picture that is not known at first, some ten
        times more to explain a refusal. hidden: the share that the occlusion map says is hidden, 0..1 or NaN;
        hidden_toned: the same of the view that look was shown last, which is then the one to be translated.
        shaped: what a picture in another aspect than the calibration's is in one of those; () = it is not.
        """
        score = self._score(features)
        if score <= 1.0:
            if hidden > self.hidden_limit:
                return Verdict("refused", score, "hidden", HIDDEN)
            return Verdict("ok", score)
        second = toned(view, self.statistics)
        again = self._score(look(second))
        if again <= SECOND_LIMIT:
            # Not by the first view's map: of other tones than the calibration's it may say anything.
            if hidden_toned() > self.hidden_limit:
                return Verdict("refused", score, "hidden", HIDDEN)
            return Verdict("unusual", score, "tones", UNUSUAL, second)
        if explain:
            code, reason = self._why(view, shaped(), look)
            if code:
                return Verdict("refused", score, code, reason)
        if self._dark(view):
            return Verdict("refused", score, "dark", DARK)
        if hidden > self.hidden_limit:
            return Verdict("refused", score, "hidden", HIDDEN)
        return Verdict("refused", score, "other", OTHER)

    def blank(self, view: Picture) -> Verdict:
        """The verdict on a view of one flat colour, which the network need not see."""
        code, reason = ("dark", DARK) if self._dark(view) else ("other", OTHER)
        return Verdict("refused", math.inf, code, reason)

    def _why(self, view: Picture, shaped: Sequence[Picture], look: Features) -> tuple[str, str]:
        """Code and reason of the change that makes a refused picture a known one; "" = none does."""
        for each in shaped:
            if self._score(look(toned(each, self.statistics))) <= SECOND_LIMIT:
                return "aspect", ASPECT
        if shaped:
            view = shaped[0]  # in another aspect no change makes it known
        changes = [(each, each.change(view)) for each in LOOKS]
        scores = [
            # Tones last: a head has a scan's tones only in its right size, and without letters. Of 40 scans
            # rendered half as large 38 were then known, and none with the tones first.
            (self._score(look(toned(changed, self.statistics))), each)
            for each, changed in changes
            if changed is not None
        ]
        # The best of all: a head on its side may pass turned and flipped.
        best, why = min(scores, key=lambda pair: pair[0])
        return (why.code, why.reason) if best <= SECOND_LIMIT else ("", "")

    def _dark(self, view: Picture) -> bool:
        bright = float(np.percentile(self.statistics.brightness, BRIGHTEST))
        return float(np.percentile(brightness(view), BRIGHTEST)) < DARK_SHARE * bright

    def _score(self, features: NDArray[np.floating[Any]]) -> float:
        """NaN is infinitely far."""
        score = float(self.statistics.score(np.asarray(features)[None])[0])
        return score if math.isfinite(score) else math.inf
