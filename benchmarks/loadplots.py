"""Plots of how getgan's first way bears more than one picture at a time."""

from __future__ import annotations

from getgan.benchmarks.schema import Report
from getgan.benchmarks.svg import (
    BOTTOM,
    COLOURS,
    DASHES,
    INK,
    LEFT,
    MARKS,
    RIGHT,
    TOP,
    Drawing,
    Entry,
    Plot,
    Scale,
    legend,
    legend_height,
    number,
)
from getgan.benchmarks.words import main_way


def throughput(report: Report) -> Plot:
    """Against the callers and against the pictures in a query."""
    name, title = "throughput", "Throughput"
    caption = (
        "More callers at a time, or more pictures in one query: what it brings on this machine. The bars are "
        "the repeats' lowest and highest."
    )
    main = main_way(report)
    closed = [
        pooled
        for pooled in report.pooled
        if pooled.contestant == main.name and pooled.setting.kind == "closed"
    ]
    lines = {
        "callers at a time, one picture each": {
            p.setting.concurrency: p for p in closed if p.setting.batch == 1
        },
        "pictures in a query, one caller": {p.setting.batch: p for p in closed if p.setting.concurrency == 1},
    }
    shown = {label: points for label, points in lines.items() if len(points) > 1}
    if not shown:
        return Plot(
            name,
            title,
            caption,
            "",
            "it wants several callers or pictures: --concurrency 1,2,4 --batch 1,2,4",
        )
    entries = [Entry(label, COLOURS[place], MARKS[place], DASHES[place]) for place, label in enumerate(shown)]
    drawing = Drawing(title, BOTTOM + 36 + legend_height(entries))
    counts = sorted({count for points in shown.values() for count in points})
    x = Scale(counts[0] / 1.2, counts[-1] * 1.2, LEFT, RIGHT, log=True)
    tops = [p.throughput.high for points in shown.values() for p in points.values()]
    y = Scale.of([0.0, *tops], BOTTOM, TOP, zero=True)
    drawing.axes(x, y, "callers, or pictures in a query", f"pictures per second, {main.name}", counts)
    for entry, points in zip(entries, shown.values(), strict=True):
        ordered = sorted(points.items())
        path = [(x(count), y(p.throughput.median)) for count, p in ordered]
        drawing.line(path, entry.colour, width=2, dash=entry.dash or "")
        for (a, b), (_, p) in zip(path, ordered, strict=True):
            drawing.line([(a, y(p.throughput.low)), (a, y(p.throughput.high))], entry.colour, width=1.5)
            drawing.mark(a, b, entry.mark, entry.colour)
    legend(drawing, entries, BOTTOM + 34)
    return Plot(name, title, caption, drawing.svg())


def rates(report: Report) -> Plot:
    """Latency in open loops, and the highest rate that was kept up with."""
    name, title = "rates", "Latency against offered rate"
    caption = (
        "Pictures arrive when they arrive, and their waiting counts. A hollow mark is a run that was "
        "stopped, since its queue grew: its latency is a lower bound."
    )
    opened = sorted(
        (pooled for pooled in report.pooled if pooled.setting.kind == "open" and pooled.setting.rate),
        key=lambda pooled: pooled.setting.rate or 0.0,
    )
    if not opened:
        return Plot(name, title, caption, "", "no rate was offered: --rate 5,10,20")
    entries = [
        Entry(label, COLOURS[place], MARKS[place], DASHES[place])
        for place, label in enumerate(("p50", "p95", "p99"))
    ]
    drawing = Drawing(title, BOTTOM + 36 + legend_height(entries))
    found = next((search for search in report.searches if search.rate), None)
    offered = [pooled.setting.rate or 0.0 for pooled in opened]
    x = Scale.of([0.0, *offered, *([found.rate] if found and found.rate else [])], LEFT, RIGHT, zero=True)
    columns = {
        entry.name: [1e3 * getattr(pooled.percentiles, entry.name) for pooled in opened] for entry in entries
    }
    y = Scale.of([value for column in columns.values() for value in column], BOTTOM, TOP, log=True)
    arrivals = opened[0].setting.arrivals
    drawing.axes(x, y, f"offered, queries per second ({arrivals})", "ms from the arrival (logarithmic)")
    if found and found.rate:
        at = x(found.rate)
        drawing.line([(at, BOTTOM), (at, TOP)], INK, width=1.5, dash="6 3")
        # Above the marks: one that lies high would cover it.
        drawing.text(RIGHT, TOP - 8, f"dashes: keeps up to {number(found.rate)}/s", anchor="end")
    for entry in entries:
        path = [(x(rate), y(value)) for rate, value in zip(offered, columns[entry.name], strict=True)]
        drawing.line(path, entry.colour, width=2, dash=entry.dash or "")
        for (a, b), pooled in zip(path, opened, strict=True):
            drawing.mark(a, b, entry.mark, entry.colour, hollow=pooled.unserved > 0)
    legend(drawing, entries, BOTTOM + 34)
    return Plot(name, title, caption, drawing.svg())
