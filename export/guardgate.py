"""The guard's score and verdict in every precision against FP32's: the same answer on every machine."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from getgan.contract import Range
from getgan.errors import ExportError
from getgan.export.compare import Run
from getgan.export.graph import Array
from getgan.export.images import GateImage
from getgan.export.record import ScoreRecord
from getgan.runtime.guard.judge import SECOND_LIMIT, Guard, Verdict
from getgan.runtime.guard.tone import Picture
from getgan.runtime.manifest import FEATURES
from getgan.runtime.pixels import tensor_from_images

MOST_MOVED = 0.05  # of the score
# So near to a limit a verdict may be another one: of the calibration's own pictures one in a hundred lies
# just beyond it, and rounding decides which.
MARGIN = 0.02
CLEAR = 1.2  # least score of the picture that every machine must refuse


@dataclass(frozen=True, eq=False)
class Shown:
    """A picture that the guard judges: uint8 (H, W, 3) RGB of a size that the contract allows."""

    name: str
    picture: Picture


@dataclass(frozen=True)
class _Answer:
    verdict: Verdict
    second: float  # score after the tones were matched, where that was asked


class GuardGate:
    """Holds what the guard says by FP32's features, and judges other variants' against it."""

    def __init__(self, guard: Guard, shown: Sequence[Shown], run: Run, value_range: Range) -> None:
        self._guard, self._range = guard, value_range
        self._shown = tuple(shown)
        self._wanted = {each.name: self._answer(each.picture, run) for each in shown}

    def own(self) -> tuple[ScoreRecord, ...]:
        """FP32's scores, as a record."""
        return tuple(_record(name, answer.verdict) for name, answer in self._wanted.items())

    def judge(self, run: Run, undetermined: Collection[str] = ()) -> tuple[tuple[ScoreRecord, ...], str]:
        """A variant's scores, and why it is refused, "" = it is not; its features are those of `run`."""
        records = []
        for each in self._shown:
            found = self._answer(each.picture, run)
            failures: tuple[str, ...] = ()
            if each.name not in undetermined:
                failures = _failures(self._wanted[each.name], found, flat=np.ptp(each.picture) == 0)
            records.append(_record(each.name, found.verdict, failures))
        failed = [record for record in records if record.failures]
        if not failed:
            return tuple(records), ""
        others = f" (and on {len(failed) - 1} more pictures)" if len(failed) > 1 else ""
        return tuple(records), f"guard: {'; '.join(failed[0].failures)} on '{failed[0].name}'{others}"

    def must_refuse(self, offered: Sequence[Shown]) -> Shown:
        """The first of these that FP32 clearly refuses; ExportError if there is none."""
        for each in offered:
            answer = self._wanted[each.name]
            if min(answer.verdict.score, answer.second) >= CLEAR and answer.verdict.kind == "refused":
                return each
        names = ", ".join(each.name for each in offered)
        raise ExportError(
            f"the guard would refuse none of {names}; wanted one at least: the calibration's pictures differ "
            "too much from each other, or the network was not trained: pass scans alone to --calibration"
        )

    def _answer(self, picture: Picture, run: Run) -> _Answer:
        seen: list[float] = []

        def look(view: Picture) -> Array:
            features = self._features(view, run)
            seen.append(float(self._guard.statistics.score(features[None])[0]))
            return features

        verdict = self._guard.judge(picture, self._features(picture, run), look, explain=False)
        return _Answer(verdict, seen[0] if seen else verdict.score)

    def _features(self, picture: Picture, run: Run) -> Array:
        outputs = run(tensor_from_images([picture], self._range))
        wanted = (1, self._guard.statistics.size)
        found = outputs.get(FEATURES)
        if found is None or found.shape != wanted:
            what = "none" if found is None else f"features of shape {found.shape}"
            raise ExportError(f"found {what}; wanted the guard's {wanted}: export the bundle again")
        return np.asarray(found[0])


def guard_pictures(images: Sequence[GateImage], calibration: Sequence[Picture]) -> list[Shown]:
    """The gate's real and hard pictures; scans upside down and in other tones; some of the calibration's."""
    judged = [image for image in images if image.kind != "own"]
    scans = [image for image in judged if image.kind == "real"][:4]
    shown = [Shown(image.name, image.pixels) for image in judged]
    for image in scans:
        shown.append(Shown(f"{image.name}-upside-down", np.ascontiguousarray(image.pixels[::-1])))
        grey = np.repeat(image.pixels.mean(axis=2, keepdims=True), 3, axis=2)
        shown.append(Shown(f"{image.name}-grey-gamma", _gamma(grey, 0.6)))
    shown += [Shown(f"calibration-{n}", view) for n, view in enumerate(calibration, start=1)]
    return shown


def nonsense(images: Sequence[GateImage]) -> list[Shown]:
    """Pictures of which one must be refused on every machine: made of a golden one, the likeliest first."""
    golden = next(image for image in images if image.golden).pixels
    flipped = np.ascontiguousarray(golden[::-1])
    negative = np.asarray(255 - golden, np.uint8)
    noise = next(image.pixels for image in images if image.name == "noise")
    board = next(image.pixels for image in images if image.name == "contrast")
    return [
        Shown("a scan upside down", flipped),
        Shown("a scan cut into tiles and shuffled", _shuffled(golden)),
        Shown("a scan as a negative", negative),
        Shown("black and white squares", board),
        Shown("white noise", noise),
    ]


def _shuffled(picture: Picture) -> Picture:
    """Four by four tiles in another order."""
    height, width = (side // 4 for side in picture.shape[:2])
    tiles = [
        picture[y * height : (y + 1) * height, x * width : (x + 1) * width]
        for y in range(4)
        for x in range(4)
    ]
    order = np.random.default_rng(0).permutation(16)
    new = picture.copy()
    for place, number in enumerate(order):
        y, x = divmod(place, 4)
        new[y * height : (y + 1) * height, x * width : (x + 1) * width] = tiles[number]
    return new


def _gamma(picture: Array, gamma: float) -> Picture:
    return np.asarray(np.rint(255.0 * (picture / 255.0) ** gamma), np.uint8)


def _record(name: str, verdict: Verdict, failures: tuple[str, ...] = ()) -> ScoreRecord:
    score = verdict.score if np.isfinite(verdict.score) else None
    return ScoreRecord(name, score, verdict.kind, failures)


def _failures(wanted: _Answer, found: _Answer, *, flat: bool) -> tuple[str, ...]:
    """What of a variant's answer is not FP32's, in words; a flat picture's score is rounding noise."""
    failures = []
    near = abs(wanted.verdict.score - 1.0) <= MARGIN or abs(wanted.second - SECOND_LIMIT) <= MARGIN
    if wanted.verdict.kind != found.verdict.kind and not near:
        failures.append(f"found {found.verdict.kind}, wanted {wanted.verdict.kind} as in FP32")
    first, second = wanted.verdict.score, found.verdict.score
    if not flat and not abs(second - first) <= MOST_MOVED * first:  # also inf or NaN
        failures.append(f"score {second:.3f}, wanted FP32's {first:.3f} to {MOST_MOVED:.0%}")
    return tuple(failures)
