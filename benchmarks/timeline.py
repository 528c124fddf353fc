"""The measurement from its start to its end: each run's latency, and what the machine did meanwhile."""

from __future__ import annotations

from collections.abc import Mapping

from getgan.benchmarks.schema import Report, Run
from getgan.benchmarks.svg import (
    GREY,
    LEFT,
    PALE,
    RIGHT,
    Drawing,
    Entry,
    Plot,
    Scale,
    legend,
    legend_height,
    number,
)

NAME, TITLE = "timeline", "What the machine did meanwhile"
CAPTION = (
    "A dot is a run's p50 or a sensor's reading, in the colour of who worked. A red band is a run in which "
    "the machine held a clock down. What another row shares with the first is the machine's doing, not ours."
)
THROTTLED = "#D55E00"
# In this order, where the machine tells of them.
WATCHED = (
    "cpu of other programs",
    "load",
    "cpu clock",
    "cpu temperature",
    "gpu clock",
    "gpu temperature",
    "gpu power",
    "board power",
)
HEAD, ROW, FIELD = 26.0, 70.0, 40.0


def timeline(report: Report, colours: Mapping[str, str]) -> Plot:
    """colours: by contestant."""
    runs = [run for run in report.runs if run.latencies.count]
    if not runs:
        return Plot(NAME, TITLE, CAPTION, "", "nothing ran")
    units = {sensor.name: sensor.unit for sensor in report.sensors if not sensor.absent}
    rows = [name for name in WATCHED if name in units and any(_values(run, name) for run in runs)]
    entries = [Entry(name, paint, "circle") for name, paint in colours.items()]
    bottom = HEAD + ROW * (1 + len(rows))
    hidden = [name for name in ("cpu clock", "cpu throttling", "cpu temperature") if name not in units]
    note = f"This machine does not tell: {', '.join(hidden)}." if hidden else ""
    drawing = Drawing(TITLE, bottom + 36 + legend_height(entries) + (16 if note else 0))
    first, last = min(run.began for run in runs), max(run.began + run.seconds for run in runs)
    x = Scale(first, max(last, first + 1e-6), LEFT, RIGHT)
    for run in runs:
        if throttled(run):
            width = max(2.0, x(run.began + run.seconds) - x(run.began))
            drawing.box(x(run.began), HEAD, width, bottom - HEAD, THROTTLED, opacity=0.25)
    drawing.x_axis(x, bottom, HEAD, "seconds since the start; before, everybody was opened")
    points = [(run, run.began + run.seconds / 2, 1e3 * run.percentiles.p50) for run in runs]
    _row(drawing, x, HEAD, "p50 of each run, ms (logarithmic)", points, colours, log=True)
    for place, name in enumerate(rows):
        label = f"{name}, {units[name]}".replace(", C", ", °C")
        found = [(run, when, value) for run in runs for when, value in _values(run, name)]
        _row(drawing, x, HEAD + ROW * (place + 1), label, found, colours)
    legend(drawing, entries, bottom + 34)
    drawing.text(8, drawing.height - 6, note, size=10, fill=GREY)
    return Plot(NAME, TITLE, CAPTION, drawing.svg())


def throttled(run: Run) -> bool:
    """Its CPU counted a throttling, or its GPU gave a reason for one."""
    counted = [value for _, value in _values(run, "cpu throttling")]
    return bool(counted and counted[-1] > counted[0]) or any(
        value > 0 for _, value in _values(run, "gpu throttling")
    )


def _row(
    drawing: Drawing,
    x: Scale,
    top: float,
    label: str,
    points: list[tuple[Run, float, float]],
    colours: Mapping[str, str],
    *,
    log: bool = False,
) -> None:
    values = [value for _, _, value in points]
    y = Scale.of(values, top + ROW - 8, top + ROW - 8 - FIELD, log=log)
    drawing.text(8, top + 13, label, fill=GREY)
    drawing.line([(x.start, y.start), (x.end, y.start)], PALE)
    # The same value twice would print over itself.
    for value in sorted({min(values), max(values)}):
        drawing.text(x.start - 5, y(value) + 4, number(value), anchor="end", fill=GREY)
    for run, when, value in points:
        drawing.mark(x(when), y(value), "circle", colours[run.contestant], size=1.6)


def _values(run: Run, sensor: str) -> list[tuple[float, float]]:
    """Seconds since the report's start, and what was read."""
    reading = next((each for each in run.readings if each.sensor == sensor), None)
    values = () if reading is None else reading.values
    return [
        (run.began + when, value)
        for when, value in zip(run.sampled, values, strict=False)
        if value is not None
    ]
