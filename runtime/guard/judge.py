"""A score becomes a verdict: known, known but for its tones, or no picture for this network; and why."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

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
DARK_SHARE = 0.35  # of the calibration's mean brightness


@dataclass(frozen=True)
class Verdict:
    """What the guard says of one picture."""

    kind: Kind
    score: float  # 1 = the limit; above it is no picture of the calibration's kind
    code: str = (
        ""  # "tones", "upside-down", "turned", "too-near", "too-far", "text", "dark", "hidden", "other"
    )
    reason: str = ""  # code in words
    view: Picture | None = None  # unusual: the picture that the network knows, to be translated in its place


class Guard:
    """Judges pictures by the features that the network gave for them."""

    def __init__(self, statistics: Statistics, hidden_limit: float = math.inf) -> None:
        self.statistics = statistics
        self.hidden_limit = hidden_limit  # largest share of the picture that may be hidden, 0..1

    def judge(
        self,
        view: Picture,
        features: NDArray[np.floating[Any]],
        look: Features,
        *,
        explain: bool = True,
        hidden: float = 0.0,
    ) -> Verdict:
        """The verdict on a view, uint8 (H, W, 3) RGB, of features (D,).

        look: runs the network on another view; once for a picture that is not known at first, some eight
        times more to explain a refusal. hidden: the share that the occlusion map says is hidden, 0..1.
        """
        score = self._score(features)
        if score <= 1.0:
            if hidden > self.hidden_limit:
                return Verdict("refused", score, "hidden", HIDDEN)
            return Verdict("ok", score)
        second = toned(view, self.statistics)
        again = self._score(look(second))
        if again <= 1.0:
            return Verdict("unusual", score, "tones", UNUSUAL, second)
        if explain:
            for each in LOOKS:
                changed = each.change(second)
                if changed is not None and self._score(look(changed)) <= 1.0:
                    return Verdict("refused", score, each.code, each.reason)
        if float(brightness(view).mean()) < DARK_SHARE * float(self.statistics.brightness.mean()):
            return Verdict("refused", score, "dark", DARK)
        if hidden > self.hidden_limit:
            return Verdict("refused", score, "hidden", HIDDEN)
        return Verdict("refused", score, "other", OTHER)

    def _score(self, features: NDArray[np.floating[Any]]) -> float:
        """NaN is infinitely far."""
        score = float(self.statistics.score(np.asarray(features)[None])[0])
        return score if math.isfinite(score) else math.inf
