"""What `getgan drift` says: one sentence first, then how many pictures, then each number."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from getgan import __version__
from getgan.printing import counted, json_text
from getgan.runtime.drift.findings import Finding, Missing, sentences_of
from getgan.runtime.drift.series import FEWEST
from getgan.runtime.drift.shares import Share


@dataclass(frozen=True)
class DriftReport:
    """In what pictures differ from those of the calibration."""

    bundle: str
    source: str  # "" = what runs on this machine kept
    pictures: int
    unit: str  # file or run
    units: int
    failed: int  # could not be read
    empty: int  # of one flat colour, or with a broken output: nothing was measured
    ok: int
    unusual: int
    not_face: int
    promised: float  # share of false alarms of pictures like the calibration's
    first: str  # date of the first picture; "" = only the order is known
    last: str
    shares: tuple[Share, ...]  # refused, unusual
    findings: tuple[Finding, ...]
    missing: tuple[Missing, ...]  # attributes that were not compared
    page: str  # "" = none was asked for

    @property
    def headline(self) -> str:
        """The most important sentence, or that there is nothing to say."""
        refused, unusual = self.shares
        told = [refused.words] if refused.drifted else []
        told += sentences_of(self.findings)
        told += [unusual.words] if unusual.drifted else []
        doubts = [share.words for share in self.shares if share.beyond and not share.drifted]
        if told:
            return "; ".join([*told, *doubts])
        few = f"{counted(self.units, self.unit)} {'is' if self.units == 1 else 'are'} too few for a test"
        if doubts:
            return f"{few if self.units < FEWEST else 'no drift is sure'}, but {'; '.join(doubts)}"
        if self.units < FEWEST:
            return f"{few}; wanted {FEWEST} or more"
        return "no drift was found: these pictures are like those of the calibration"

    def counts(self) -> str:
        """How many pictures there are, and what the guard says of them."""
        when = f", {self.first} to {self.last}" if self.first else ""
        failed = f", {self.failed} could not be read" if self.failed else ""
        failed += f", {self.empty} of one flat colour or broken" if self.empty else ""
        return (
            f"{counted(self.pictures, 'picture')} of {counted(self.units, self.unit)}{when}: "
            f"{self.ok} as in the calibration, {self.unusual} unusual, "
            f"{counted(self.not_face, 'no face scan')}{failed}; of pictures like the calibration's "
            f"{self.promised:.1%} at most would be refused"
        )

    def text(self) -> str:
        """For people."""
        lines = [self.headline, self.counts()]
        for share in self.shares:
            lines.append(
                f"{_kind(share):8} {share.name:15} {100 * share.share:.1f} % of "
                f"{counted(share.of, 'picture')}, promised {100 * share.promised:.1f} % at most; mean over "
                f"{counted(share.units, self.unit)} {100 * share.mean:.1f} %, {p_in_words(share.p)}; "
                f"Cohen's h {share.h:+.2f}"
            )
        for each in self.findings:
            low, middle, high = each.reference
            lines.append(
                f"{_kind(each):8} {each.name:15} {each.median:8.3f}, calibration "
                f"{middle:.3f} ({low:.3f} to {high:.3f}); over {counted(each.units, self.unit)}: "
                f"Kolmogorov-Smirnov {each.distance:.2f}, {p_in_words(each.p)}; "
                f"Cliff's delta {each.delta:+.2f}"
            )
        lines += [f"{'-':8} {each.name:15} not compared: {each.why}" for each in self.missing]
        return "\n".join([*lines, *([f"page: {self.page}"] if self.page else [])])

    def to_json(self) -> str:
        """For machines."""
        return json_text(asdict(self) | {"getgan": __version__, "headline": self.headline})


def _kind(found: Share | Finding) -> str:
    if found.drifted:
        return "drift"
    if found.p is None:
        return "untested"
    return "unsure" if isinstance(found, Share) and found.beyond else "ok"


def p_in_words(p: float | None) -> str:
    """p = 0.012; of no permutation is it below 0.001."""
    if p is None:
        return "too few for a test"
    return f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"
