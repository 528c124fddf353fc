"""A report's plots: seven questions, each a picture of the same width, or a sentence why it is not there."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from getgan.benchmarks.loadplots import rates, throughput
from getgan.benchmarks.options import BASE
from getgan.benchmarks.schema import STAGES, Contestant, Report, StageName
from getgan.benchmarks.svg import (
    BOTTOM,
    COLOURS,
    DASHES,
    GREY,
    INK,
    LEFT,
    MARKS,
    PALE,
    RIGHT,
    TOP,
    Drawing,
    Entry,
    Plot,
    Scale,
    colour,
    legend,
    legend_height,
    number,
    shortened,
)
from getgan.benchmarks.timeline import timeline
from getgan.benchmarks.words import base_of

BINS = 90
CURVE_POINTS = 240
STAGE_COLOURS: dict[StageName, str] = {
    "decode": COLOURS[5],
    "pre": COLOURS[2],
    "copy_in": COLOURS[7],
    "network": COLOURS[0],
    "copy_out": COLOURS[6],
    "post": COLOURS[4],
    "encode": COLOURS[1],
}


def plots(report: Report) -> tuple[Plot, ...]:
    """All, in the order of the page."""
    return (
        _distribution(report),
        _percentiles(report),
        _pareto(report),
        _stages(report),
        throughput(report),
        rates(report),
        timeline(report, colours(report)),
    )


def colours(report: Report) -> dict[str, str]:
    """By contestant, the same on each plot."""
    there = [each for each in report.contestants if not each.unavailable]
    return {each.name: colour(place) for place, each in enumerate(there)}


def base_times(report: Report) -> dict[str, NDArray[np.float64]]:
    """Every latency of one picture at a time in ms, by contestant; nothing is left out."""
    found: dict[str, list[NDArray[np.float64]]] = {}
    for contestant in report.contestants:
        for run in report.runs:
            if run.contestant == contestant.name and run.setting == BASE and run.latencies.count:
                found.setdefault(run.contestant, []).append(1e3 * run.latencies.seconds())
    # The series holds whole microseconds; a logarithm takes no 0.
    return {name: np.maximum(np.concatenate(parts), 1e-3) for name, parts in found.items()}


def alone(report: Report, name: str) -> bool:
    """It times the network and its copies, and reads no file."""
    run = next(run for run in report.runs if run.contestant == name)
    return any(stage.name == "decode" and stage.times is None for stage in run.stages) and any(
        stage.name == "network" and stage.times is not None for stage in run.stages
    )


def _distribution(report: Report) -> Plot:
    times = base_times(report)
    name, title = "distribution", "Latency of each picture"
    caption = (
        "File to file, one picture at a time. The height is the share of the pictures, each row to its own "
        "peak; the line is p50, the dashes are p99, the diamond is the slowest. Nothing is left out."
    )
    if not times:
        return Plot(name, title, caption, "", "no closed loop was measured")
    row, tall = 46.0, 26.0
    bottom = 30 + row * len(times)
    drawing = Drawing(title, bottom + 36)
    x = Scale.of(np.concatenate(list(times.values())).tolist(), 12, RIGHT, log=True)
    drawing.x_axis(x, bottom, 30, "ms, file to file (logarithmic)")
    edges = np.geomspace(x.low, x.high, BINS + 1)
    for place, (who, values) in enumerate(times.items()):
        paint, foot = colours(report)[who], 30 + row * (place + 1) - 2
        shares, _ = np.histogram(values, edges)
        steps = [(x(edges[0]), foot)]
        for count, left, right in zip(shares, edges, edges[1:], strict=False):
            top = foot - tall * float(count) / float(shares.max())
            steps += [(x(left), top), (x(right), top)]
        drawing.area([*steps, (x(edges[-1]), foot)], paint, opacity=0.45)
        p50, p99 = (float(p) for p in np.percentile(values, (50, 99)))
        drawing.line([(x(p50), foot), (x(p50), foot - tall)], INK, width=1.5)
        drawing.line([(x(p99), foot), (x(p99), foot - tall * 0.7)], INK, dash="2 2")
        drawing.mark(x(float(values.max())), foot - 4, "diamond", paint, size=3)
        label = who + (" (network alone)" if alone(report, who) else "")
        drawing.text(12, foot - tall - 4, shortened(label, 36), weight="bold", fill=INK)
        figures = f"p50 {number(p50)}  p99 {number(p99)}  max {number(float(values.max()))}"
        drawing.text(RIGHT, foot - tall - 4, figures, anchor="end")
    return Plot(name, title, caption, drawing.svg())


def _percentiles(report: Report) -> Plot:
    times = base_times(report)
    name, title = "percentiles", "Latency by percentile"
    caption = (
        "How many of 100 pictures were at least as fast. A flat line is a steady answer; its right end is "
        "the worst case."
    )
    if not times:
        return Plot(name, title, caption, "", "no closed loop was measured")
    entries = _lines(report, list(times))
    bottom = BOTTOM + 30
    drawing = Drawing(title, bottom + 36 + legend_height(entries))
    most = max(len(values) for values in times.values())
    x = Scale(0.0, math.log10(2 * most) + 0.05, LEFT, RIGHT)  # nines: 1 = p90, 2 = p99
    y = Scale.of(np.concatenate(list(times.values())).tolist(), bottom, TOP, log=True)
    drawing.y_axis(y, LEFT, RIGHT, "ms, file to file (logarithmic)")
    for share in (0, 50, 90, 99, 99.9, 99.99):
        where = -math.log10(1 - share / 100)
        if where <= x.high:
            drawing.line([(x(where), bottom), (x(where), TOP)], PALE)
            drawing.text(x(where), bottom + 14, f"{share:g}", anchor="middle", fill=GREY)
    drawing.line([(LEFT, bottom), (RIGHT, bottom)], GREY)
    drawing.text(RIGHT, bottom + 28, "percentile, %", anchor="end", fill=GREY)
    for entry, values in zip(entries, times.values(), strict=True):
        ordered, count = np.sort(values), len(values)
        nines = -np.log10(1 - (np.arange(count) + 0.5) / count)
        # Even steps in nines: the slow end keeps each of its points.
        picked = np.unique(
            np.searchsorted(nines, np.linspace(nines[0], nines[-1], CURVE_POINTS)).clip(0, count - 1)
        )
        points = [(x(float(nines[i])), y(float(ordered[i]))) for i in picked]
        drawing.line(points, entry.colour, width=2, dash=entry.dash or "")
    legend(drawing, entries, bottom + 34)
    return Plot(name, title, caption, drawing.svg())


def _pareto(report: Report) -> Plot:
    name, title = "pareto", "Quality and speed"
    caption = (
        "Left is faster, up is closer to PyTorch's FP32: the worst golden image of exactly the session that "
        "was timed. The corners of the line are those that nobody beats in both."
    )
    found = [
        (contestant, pooled, contestant.quality.psnr)
        for contestant in report.contestants
        if contestant.quality is not None and (pooled := base_of(report, contestant.name)) is not None
    ]
    if not found:
        return Plot(name, title, caption, "", "no contestant's quality was judged")
    known = [psnr for _, _, psnr in found if psnr is not None]
    # No pixel differs: the PSNR has no number, and stands above all others.
    above = max(known, default=50.0) + 8
    paint = colours(report)
    entries = [Entry(_named(c), paint[c.name], MARKS[i % len(MARKS)]) for i, (c, _, _) in enumerate(found)]
    bottom = BOTTOM
    drawing = Drawing(title, bottom + 36 + legend_height(entries))
    x = Scale.of([1e3 * pooled.percentiles.p50 for _, pooled, _ in found], LEFT, RIGHT, log=True)
    top = above if len(known) < len(found) else max(known)
    y = Scale.of([*known, top], bottom, TOP)
    drawing.axes(x, y, "p50, ms, file to file (logarithmic)", "PSNR, dB (worst golden image)")
    if len(known) < len(found):
        drawing.text(RIGHT, y(above) - 7, "no pixel differs", anchor="end", fill=GREY)
        drawing.line([(LEFT, y(above)), (RIGHT, y(above))], GREY, dash="2 3")
    points = [
        (1e3 * pooled.percentiles.p50, above if psnr is None else psnr, entry)
        for (_, pooled, psnr), entry in zip(found, entries, strict=True)
    ]
    best = frontier([(speed, quality) for speed, quality, _ in points])
    steps: list[tuple[float, float]] = []
    for place, (speed, quality) in enumerate(best):
        steps += [(x(speed), y(best[place - 1][1]))] if place else []
        steps.append((x(speed), y(quality)))
    drawing.line(steps, GREY, dash="4 3")
    for speed, quality, entry in points:
        drawing.mark(x(speed), y(quality), entry.mark, entry.colour, size=5)
    legend(drawing, entries, bottom + 34)
    return Plot(name, title, caption, drawing.svg())


def frontier(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (time, quality) those that no other one beats in both, from the fastest on."""
    best: list[tuple[float, float]] = []
    for time, quality in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or quality > best[-1][1]:
            best.append((time, quality))
    return best


def _stages(report: Report) -> Plot:
    name, title = "stages", "Where the time goes"
    caption = (
        "Each stage's share of one picture's time, by medians; their sum stands at the right. A stage "
        "that is not timed apart is in its neighbour's time."
    )
    found = [
        (contestant, pooled)
        for contestant in report.contestants
        if (pooled := base_of(report, contestant.name)) is not None and sum(pooled.stages.values()) > 0
    ]
    if not found:
        return Plot(name, title, caption, "", "no stage was timed apart")
    seen = [stage for stage in STAGES if any(stage in pooled.stages for _, pooled in found)]
    entries = [Entry(stage.replace("_", " "), STAGE_COLOURS[stage]) for stage in seen]
    row = 34.0
    bottom = 30 + row * len(found) + 4
    drawing = Drawing(title, bottom + 36 + legend_height(entries))
    x = Scale(0.0, 100.0, 12, RIGHT - 8)
    drawing.x_axis(x, bottom, 30, "% of the time")
    for place, (contestant, pooled) in enumerate(found):
        top, done, total = 30 + row * place, 0.0, sum(pooled.stages.values())
        drawing.text(12, top + 14, shortened(contestant.name, 36), weight="bold")
        drawing.text(RIGHT, top + 14, f"{number(1e3 * total)} ms", anchor="end")
        for stage in seen:
            share = 100 * pooled.stages.get(stage, 0.0) / total
            drawing.box(x(done), top + 18, x(done + share) - x(done), 13, STAGE_COLOURS[stage])
            done += share
    legend(drawing, entries, bottom + 34)
    return Plot(name, title, caption, drawing.svg())


def _lines(report: Report, names: Sequence[str]) -> list[Entry]:
    """Ours drawn through, peers dashed."""
    paint = colours(report)
    roles = {each.name: each.role for each in report.contestants}
    peers = [name for name in names if roles[name] == "peer"]
    dashes = {name: DASHES[1 + place % (len(DASHES) - 1)] for place, name in enumerate(peers)}
    return [Entry(name, paint[name], dash=dashes.get(name, "")) for name in names]


def _named(contestant: Contestant) -> str:
    """With the precision, where the name does not tell it."""
    known = contestant.precision and contestant.precision not in contestant.name
    return f"{contestant.name} ({contestant.precision})" if known else contestant.name
