"""The page of `getgan drift`: sentences first, then one plot for each attribute; one file, no script."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from getgan.printing import counted
from getgan.runtime.drift.findings import HIGH, LOW, MEANING, Finding
from getgan.runtime.drift.report import DriftReport, p_in_words
from getgan.runtime.drift.series import Point, Series, date_of, series_of, shares_in
from getgan.runtime.drift.shares import Share
from getgan.runtime.guard.statistics import ATTRIBUTES, Statistics

MARK = "<!-- getgan drift -->"  # by which a later run knows its own page
WIDTH, HEIGHT, LEFT, BOTTOM = 760, 200, 60, 24  # pixels of a plot
LETTERS = 12  # pixels: their height
MOST = 600  # dots; of more, so many spread evenly
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 800px; margin: 2em auto; padding: 0 1em; color: #222 }
h1 { font-size: 1.5em } h2 { font-size: 1.1em; margin: 2em 0 0 } p { margin: .4em 0 }
.drift { color: #b3261e } small { color: #666 } svg { width: 100%; height: auto }
"""


def page_of(report: DriftReport, points: Sequence[Point], statistics: Statistics, *, timed: bool) -> str:
    """One HTML file; points in order of time."""
    parts = [
        f'<!doctype html>{MARK}<html lang="en"><meta charset="utf-8">',
        f"<title>getgan drift</title><style>{STYLE}</style>",
        f"<h1>{escape(_sentence(report.headline))}</h1><p>{escape(_sentence(report.counts()))}</p>",
        f"<p>Each dot is a {report.unit}. In the grey band lie nine of ten pictures of the calibration; its "
        "line is the middle one. Red dots lie beyond the band.</p>",
    ]
    for share in report.shares:
        series = shares_in(points, share.name, timed=timed)
        kind = ' class="drift"' if share.drifted else ""
        parts.append(f"<h2{kind}>{escape(_sentence(share.words))}</h2>")
        parts.append(
            f"<p>{share.name}: share of each {report.unit}'s pictures; the band is what is promised</p>"
        )
        parts.append(_plot(series, (0.0, share.promised, share.promised), (0.0, 1.0)))
        parts.append(f"<p><small>{escape(_share_numbers(share, report.unit))}</small></p>")
    for finding in report.findings:
        number = ATTRIBUTES.index(finding.name)
        series = series_of(points, number, timed=timed)
        kind = ' class="drift"' if finding.drifted else ""
        parts.append(f"<h2{kind}>{escape(_sentence(finding.words))}</h2>")
        parts.append(f"<p>{escape(finding.name)}: {escape(MEANING[finding.name][0])}</p>")
        quantiles = [float(value) for value in statistics.attributes[number]]
        band = (quantiles[LOW], quantiles[50], quantiles[HIGH])
        parts.append(_plot(series, band, (quantiles[0], quantiles[-1])))
        parts.append(f"<p><small>{escape(_numbers(finding, report.unit))}</small></p>")
    for missing in report.missing:
        parts.append(f"<p>{escape(_sentence(f'{missing.name} was not compared: {missing.why}'))}</p>")
    return "\n".join([*parts, "</html>\n"])


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def _share_numbers(share: Share, unit: str) -> str:
    return (
        f"{_over(share.units, unit, share.since)} the mean share is {100 * share.mean:.1f} %; "
        f"against {100 * share.promised:.1f} % at most: {p_in_words(share.p)}, Cohen's h {share.h:+.2f}."
    )


def _numbers(finding: Finding, unit: str) -> str:
    """Both figures over the same units."""
    pairs = round(50 * (1 + finding.delta))
    return (
        f"{_over(finding.units, unit, finding.since)}: of 100 pairs of one of these and one of the "
        f"calibration, in {pairs} this one is larger (Cliff's delta {finding.delta:+.2f}); "
        f"Kolmogorov-Smirnov {finding.distance:.2f}, {p_in_words(finding.p)}."
    )


def _over(units: int, unit: str, since: str) -> str:
    return f"Over {counted(units, unit)}" + (f" since {since}" if since else "")


def _plot(series: Series, band: tuple[float, float, float], least: tuple[float, float]) -> str:
    """Values over time, or over their order, on a band with a line; least: what the plot shows at least."""
    low, middle, high = band
    values = series.values
    across = np.arange(len(values), dtype=float) if series.moments is None else series.moments
    bottom = min(float(values.min()), least[0])
    top = max(float(values.max()), least[1])
    margin = 0.05 * (top - bottom) or 1.0
    bottom, top = bottom - margin, top + margin

    def x(value: float) -> float:
        span = float(across[-1] - across[0])
        share = (value - float(across[0])) / span if span else 0.5
        return LEFT + 8 + share * (WIDTH - LEFT - 16)

    def y(value: float) -> float:
        return (HEIGHT - BOTTOM) * (1.0 - (value - bottom) / (top - bottom))

    chosen = np.unique(np.linspace(0, len(values) - 1, min(MOST, len(values))).round().astype(int))
    dots = "".join(
        f'<circle cx="{x(float(across[i])):.1f}" cy="{y(float(values[i])):.1f}" r="3" '
        f'fill="{"#345" if low <= values[i] <= high else "#b3261e"}"/>'
        for i in chosen
    )
    ends = ("first", "last")
    if series.moments is not None:
        ends = (date_of(float(across[0])), date_of(float(across[-1])))
    labelled: list[float] = []
    for value in (high, low, middle, least[1]):
        if all(abs(y(value) - y(other)) >= LETTERS for other in labelled):
            labelled.append(value)
    labels = "".join(
        f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.3g}</text>'
        for value in labelled
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" font-size="{LETTERS}" role="img">'
        f'<rect x="{LEFT}" y="{y(high):.1f}" width="{WIDTH - LEFT}" height="{y(low) - y(high):.1f}" '
        f'fill="#ddd"/><path d="M{LEFT} {y(middle):.1f}H{WIDTH}" stroke="#999"/>'
        f'{labels}{dots}<text x="{LEFT}" y="{HEIGHT - 6}">{ends[0]}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT - 6}" text-anchor="end">{ends[1]}</text></svg>'
    )
