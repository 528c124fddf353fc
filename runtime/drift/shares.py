"""How many pictures are refused or unusual, against what the guard promises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from getgan.printing import counted
from getgan.runtime.drift.compare import cohens_h, p_of_share
from getgan.runtime.drift.series import FEWEST, SURE, Point, Series, change_in, shares_in

# A Cohen's h of 0.2 is called small (Cohen, 1988): 4 % where 1 % is promised. A sonographer sees that.
FAR = 0.2
KINDS = ("refused", "unusual")  # of a scan like the calibration's neither, but for the promised share


@dataclass(frozen=True)
class Share:
    """Pictures with one verdict of the guard's."""

    name: str  # refused or unusual
    pictures: int  # that have it
    of: int
    units_with: int
    units: int  # files or runs, all of those that the pictures are of
    mean: float  # of the units' shares, which is what is tested: pictures of one are alike
    promised: float  # of pictures like the calibration's, at most
    p: float | None  # None = too few units
    h: float  # Cohen's, of the mean and the promise
    since: str  # as a finding's
    drifted: bool
    beyond: bool  # of all pictures far more than promised, whether that is sure or not
    words: str

    @property
    def share(self) -> float:
        """Of the pictures."""
        return self.pictures / self.of


def shares_of(
    points: Sequence[Point], promised: float, *, timed: bool, unit: str = "file"
) -> tuple[Share, ...]:
    """Of each of KINDS; points in order of time, one at least."""
    return tuple(_share(points, kind, promised, timed=timed, unit=unit) for kind in KINDS)


def _share(points: Sequence[Point], kind: str, promised: float, *, timed: bool, unit: str) -> Share:
    series = shares_in(points, kind, timed=timed)
    whole = _compared(points, kind, promised, series, 0, unit)
    start = change_in(
        series, lambda values: cohens_h(float(values.mean()), promised) / FAR, drifted=whole.drifted
    )
    later = _compared(points, kind, promised, series, start, unit) if start else whole
    found = later if later.drifted else whole
    return replace(found, words=_words(found, unit))


def _compared(
    points: Sequence[Point], kind: str, promised: float, series: Series, start: int, unit: str
) -> Share:
    """The units from start on, without words."""
    later = set(list(dict.fromkeys(point.unit for point in points))[start:])
    kinds = [point.kind for point in points if point.unit in later]
    pictures = kinds.count(kind)
    values = series.values[start:]
    p, mean = p_of_share(values, promised), float(values.mean())
    h = cohens_h(mean, promised)
    tested = len(values) >= FEWEST
    return Share(
        name=kind,
        pictures=pictures,
        of=len(kinds),
        units_with=int((values > 0.0).sum()),
        units=len(values),
        mean=mean,
        promised=promised,
        p=p if tested else None,
        h=h,
        since=series.since(start, unit),
        drifted=tested and p < SURE and h >= FAR,
        beyond=cohens_h(pictures / len(kinds), promised) >= FAR,
        words="",
    )


def _words(share: Share, unit: str) -> str:
    since = f"since {share.since}, " if share.since else ""
    are = "is" if share.pictures == 1 else "are"
    where = "" if share.units == share.of else f", in {share.units_with} of {counted(share.units, unit)}"
    return (
        f"{since}{share.pictures} of {counted(share.of, 'picture')} ({100 * share.share:.1f} %) {are} "
        f"{share.name}{where}, where {100 * share.promised:.1f} % at most is promised"
    )
