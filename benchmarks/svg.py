"""Plain SVG: axes, marks and text on a drawing that reads on a phone's width and needs nothing from outside.

Own code, since it is short: matplotlib takes 60 MB on the disk, keeps a font list in the user's home, and its
letters shrink with the picture.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from getgan.printing import one_line

WIDTH = 400.0  # a phone's: there the letters are as large as they are set here
LEFT, RIGHT, TOP, BOTTOM = 46.0, 388.0, 48.0, 240.0  # of the field between a plot's axes
LETTER = 6.1  # pixels that a letter of 11 px takes, in the mean and a bit more
# Okabe and Ito's colours, which people tell apart however they see colours; yellow is last, weak on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
DASHES = ("", "5 2", "2 2", "8 2 2 2")  # of lines; the same colour comes back with another one
MARKS = ("circle", "square", "triangle", "diamond", "cross")
GREY, PALE, INK = "#555555", "#DDDDDD", "#222222"


def escaped(text: object) -> str:
    """A stranger's text inside HTML or XML, attributes too: no tag, no control character."""
    return html.escape(one_line(text))


def colour(place: int) -> str:
    """The place-th thing's, on every plot of a report."""
    return COLOURS[place % len(COLOURS)]


def shortened(text: str, letters: int) -> str:
    """With an ellipsis where it is longer."""
    return text if len(text) <= letters else text[: letters - 1] + "…"


@dataclass(frozen=True)
class Scale:
    """Values to pixels; logarithmic or not."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def of(
        cls, values: Iterable[float], start: float, end: float, *, log: bool = False, zero: bool = False
    ) -> Scale:
        """Around the values with a little room; zero: from 0."""
        found = [value for value in values if math.isfinite(value) and (value > 0 or not log)] or [1.0]
        low, high = min(found), max(found)
        if log:
            room = max((high / low) ** 0.05, 1.05)
            return cls(low / room, high * room, start, end, True)
        low = min(0.0, low) if zero else low
        room = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
        return cls(low if zero else low - room, high + room, start, end)

    def __call__(self, value: float) -> float:
        """Pixels; a value outside stays at the edge."""
        if self.log:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Round numbers within, `most` at most."""
        if self.log:
            return self._log_ticks(most)
        rough = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * n for n in (1, 2, 5, 10, 20) if power * n >= rough)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [step * number for number in range(first, last + 1)]

    def _log_ticks(self, most: int) -> list[float]:
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for digits in ((1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
            found = [n * 10.0**power for power in powers for n in digits]
            found = [value for value in found if self.low <= value <= self.high]
            if len(found) <= most:
                break
        # A narrow range lies between two of them: round numbers as on a plain axis.
        return found if len(found) > 2 else Scale(self.low, self.high, 0.0, 1.0).ticks(most - 1)


def number(value: float, figures: int = 3) -> str:
    """So many figures, without an exponent: 0.0123, 1.23, 123, 12300."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, figures - 1 - math.floor(math.log10(abs(value)) + 1e-9))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def labels(ticks: Sequence[float]) -> list[str]:
    """With as many figures as tell them apart."""
    for figures in range(3, 9):
        found = [number(tick, figures) for tick in ticks]
        if len(set(found)) == len(found):
            break
    return found


@dataclass
class Drawing:
    """Elements in the order in which they are painted."""

    title: str
    height: float
    width: float = WIDTH
    parts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.text(8, 17, self.title, size=13, weight="bold")

    def svg(self) -> str:
        """One element, for a page or, as a file, on its own."""
        size = f"{self.width:g} {self.height:g}"
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" role="img" '
            f'aria-label="{escaped(self.title)}" font-family="system-ui, Helvetica, Arial, sans-serif">'
        )
        ground = f'<rect width="{self.width:g}" height="{self.height:g}" fill="#FFFFFF"/>'
        return "\n".join([head, ground, *self.parts, "</svg>"])

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 11,
        anchor: str = "start",
        fill: str = INK,
        weight: str = "normal",
    ) -> None:
        """anchor: start, middle or end."""
        style = f'font-size="{size:g}" text-anchor="{anchor}" fill="{fill}" font-weight="{weight}"'
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escaped(text)}</text>')

    def line(
        self, points: Sequence[tuple[float, float]], stroke: str, *, width: float = 1.0, dash: str = ""
    ) -> None:
        """From point to point."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        style = f'fill="none" stroke="{stroke}" stroke-width="{width:g}"{dashes}'
        self.parts.append(f'<polyline points="{path}" {style}/>')

    def area(self, points: Sequence[tuple[float, float]], fill: str, *, opacity: float = 1.0) -> None:
        """Filled; the last point joins the first."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polygon points="{path}" fill="{fill}" fill-opacity="{opacity:g}"/>')

    def box(self, x: float, y: float, width: float, height: float, fill: str, opacity: float = 1.0) -> None:
        """A filled rectangle."""
        place = f'x="{x:.2f}" y="{y:.1f}" width="{max(width, 0.0):.2f}" height="{height:.1f}"'
        self.parts.append(f'<rect {place} fill="{fill}" fill-opacity="{opacity:g}"/>')

    def mark(
        self, x: float, y: float, kind: str, fill: str, *, size: float = 4.0, hollow: bool = False
    ) -> None:
        """One of MARKS; hollow: only its edge."""
        style = f'fill="{"#FFFFFF" if hollow else fill}" stroke="{fill}" stroke-width="1.5"'
        if kind == "circle":
            self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:g}" {style}/>')
            return
        shapes = {
            "square": "-1,-1 1,-1 1,1 -1,1",
            "triangle": "0,-1.2 1.2,1 -1.2,1",
            "diamond": "0,-1.4 1.4,0 0,1.4 -1.4,0",
            "cross": "-1,-1 1,1 0,0 1,-1 -1,1 0,0",
        }
        corners = [pair.split(",") for pair in shapes[kind].split()]
        points = " ".join(f"{x + size * float(a):.1f},{y + size * float(b):.1f}" for a, b in corners)
        self.parts.append(f'<polygon points="{points}" {style}/>')

    def axes(
        self, x: Scale, y: Scale, x_label: str, y_label: str, x_ticks: Sequence[float] | None = None
    ) -> None:
        """Grid, round numbers, labels with their units."""
        self.x_axis(x, y.start, y.end, x_label, x_ticks)
        self.y_axis(y, x.start, x.end, y_label)

    def x_axis(
        self, x: Scale, bottom: float, top: float, label: str, ticks: Sequence[float] | None = None
    ) -> None:
        """ticks: in place of round numbers."""
        ticks = x.ticks() if ticks is None else ticks
        for tick, text in zip(ticks, labels(ticks), strict=True):
            self.line([(x(tick), bottom), (x(tick), top)], PALE)
            self.text(x(tick), bottom + 14, text, anchor="middle", fill=GREY)
        self.line([(x.start, bottom), (x.end, bottom)], GREY)
        self.text(x.end, bottom + 28, label, anchor="end", fill=GREY)

    def y_axis(self, y: Scale, left: float, right: float, label: str) -> None:
        """The label stands above it, so that it reads without turning one's head."""
        ticks = y.ticks()
        for tick, text in zip(ticks, labels(ticks), strict=True):
            self.line([(left, y(tick)), (right, y(tick))], PALE)
            self.text(left - 5, y(tick) + 4, text, anchor="end", fill=GREY)
        self.text(8, y.end - 8, label, fill=GREY)


@dataclass(frozen=True)
class Entry:
    """One line of a legend."""

    name: str
    colour: str
    mark: str = "square"
    dash: str | None = None  # None = a mark, else a line with these dashes


def legend_height(entries: Sequence[Entry]) -> float:
    """Pixels that `legend` takes."""
    return 15.0 * -(-len(entries) // _columns(entries)) + 6.0


def legend(drawing: Drawing, entries: Sequence[Entry], top: float) -> None:
    """In as many columns as the names leave room for."""
    columns = _columns(entries)
    wide = (drawing.width - 16) / columns
    for place, entry in enumerate(entries):
        x = 8 + wide * (place % columns)
        y = top + 12 + 15 * (place // columns)
        if entry.dash is None:
            drawing.mark(x + 8, y - 4, entry.mark, entry.colour)
        else:
            drawing.line([(x, y - 4), (x + 17, y - 4)], entry.colour, width=2.5, dash=entry.dash)
        drawing.text(x + 21, y, shortened(entry.name, int((wide - 24) / LETTER)))


def _columns(entries: Sequence[Entry]) -> int:
    longest = max((len(entry.name) for entry in entries), default=1)
    return max(1, min(4, int((WIDTH - 16) / (24 + LETTER * min(longest, 28)))))


@dataclass(frozen=True)
class Plot:
    """One picture; `svg` is empty where `absent` says why there is none."""

    name: str
    title: str
    caption: str  # how to read it
    svg: str
    absent: str = ""
