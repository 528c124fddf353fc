"""docs/benchmarks.md: the page on which this project's claims of speed stand, each beside its command."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from getgan.benchmarks.plots import plots
from getgan.benchmarks.reportfile import read_report
from getgan.benchmarks.schema import Contestant, Pooled, Report
from getgan.benchmarks.svg import escaped
from getgan.benchmarks.validity import in_words
from getgan.benchmarks.webpage import IN_WORDS
from getgan.benchmarks.words import about, base_of, headline_base, main_way, peer_words, ratio_words
from getgan.files import write_bytes_atomic
from getgan.printing import one_line

NAME, IMAGES = "benchmarks.md", "images"
HEAD = """# Measured

`make bench` writes this page and its plots; nobody edits them. What is timed: [benchmark.md](benchmark.md).
What start, memory, export and disk cost: [performance.md](performance.md).

A ratio is the median over the repeats, in which all took turns; the lowest and the highest stand beside it.
A latency is from a picture's file to its face's file, both in memory; no outlier is removed.
"""
COLUMNS = ("p50 ms", "p99 ms", "max ms", "pictures/s", "opens s", "peak MB", "PSNR dB", "SSIM")


def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m getgan.benchmarks.docspage docs REPORT...`, for `make bench`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("reports", type=Path, nargs="+")
    asked = parser.parse_args(arguments)
    print(f"page: {write_docs([read_report(path) for path in asked.reports], asked.folder)}")


def write_docs(reports: Sequence[Report], folder: Path) -> Path:
    """The page, and its plots in IMAGES; pictures of older reports with other names are left."""
    images = folder / IMAGES
    images.mkdir(parents=True, exist_ok=True)
    parts = [HEAD]
    for number, report in enumerate(reports, 1):
        for plot in plots(report):
            if plot.svg:
                write_bytes_atomic(images / _image(number, plot.name), plot.svg.encode() + b"\n")
        parts += ["\n".join(_section(report, number)), ""]
    write_bytes_atomic(folder / NAME, "\n".join(parts).encode())
    return folder / NAME


def _image(number: int, name: str) -> str:
    return f"bench-{number}-{name}.svg"


def _section(report: Report, number: int) -> Iterator[str]:
    main = main_way(report)
    yield f"## {_text(report.bundle.name)}, {report.settings.size}x{report.settings.size}"
    yield ""
    yield "```"
    yield one_line(report.command)
    yield "```"
    yield ""
    base = base_of(report, main.name)
    if base is not None:
        yield f"{_text(headline_base(main, base))}; {report.created[:10]}."
        yield ""
    for ratio in report.ratios:
        if ratio.contestant == main.name:
            yield f"- **{_text(ratio_words(ratio))}** {_text(peer_words(report, ratio))}"
    yield ""
    yield from _flags(report)
    yield from _table(report)
    yield from _figures(report, number)
    yield from _loads(report, main)
    yield from _machine(report)


def _flags(report: Report) -> Iterator[str]:
    if not report.flags:
        yield "No flag: the machine was quiet, the clocks held, the repeats agree."
    else:
        kinds = dict.fromkeys(flag.kind for flag in report.flags)
        yield f"**Why a figure may not hold:** {' '.join(IN_WORDS[kind] for kind in kinds)}"
    yield ""


def _table(report: Report) -> Iterator[str]:
    yield f"| one picture at a time | {' | '.join(COLUMNS)} |"
    yield "|---" * (1 + len(COLUMNS)) + "|"
    missing = []
    for each in report.contestants:
        base = base_of(report, each.name)
        if each.unavailable or base is None:
            missing.append(f"{_text(each.name)}: {_text(each.unavailable or 'not run')}")
            continue
        found = base.percentiles
        cells = [f"{1000 * value:.1f}" for value in (found.p50, found.p99, found.max)]
        cells.append(f"{base.throughput.median:.2f}")
        cells.append("-" if each.open_seconds is None else f"{each.open_seconds:.1f}")
        cells.append("-" if each.peak_mb is None else f"{each.peak_mb:.0f}")
        yield f"| {_text(each.name)} ({_text(each.precision)}) | {' | '.join([*cells, *_quality(each)])} |"
    yield ""
    if missing:
        yield f"Not here: {'; '.join(missing)}."
        yield ""


def _quality(contestant: Contestant) -> list[str]:
    quality = contestant.quality
    if quality is None:
        return ["-", "-"]
    return ["equal" if quality.psnr is None else f"{quality.psnr:.1f}", f"{quality.ssim:.5f}"]


def _figures(report: Report, number: int) -> Iterator[str]:
    """Two beside each other where there is room, below each other on a phone."""
    for plot in plots(report):
        if plot.svg:
            path = f"{IMAGES}/{_image(number, plot.name)}"
            yield f'<img src="{path}" width="400" alt="{escaped(f"{plot.title}. {plot.caption}")}">'
    yield ""


def _loads(report: Report, main: Contestant) -> Iterator[str]:
    rest: list[Pooled] = [each for each in report.pooled if each is not base_of(report, each.contestant)]
    if rest:
        yield f"| {_text(main.name)}, from the intended start | p50 ms | p99 ms | pictures/s | frames lost |"
        yield "|---|---|---|---|---|"
        for each in rest:
            share = each.dropped_share
            lost = "-" if share is None else f"{100 * share:.1f} %"
            found = [f"{1000 * value:.1f}" for value in (each.percentiles.p50, each.percentiles.p99)]
            mark = " (stopped)" if each.unserved else ""
            cells = " | ".join([*found, f"{each.throughput.median:.2f}", lost])
            yield f"| {_text(in_words(each.setting))}{mark} | {cells} |"
        yield ""
    for search in report.searches:
        rate = "none that was tried" if search.rate is None else f"{search.rate:.2f} pictures per second"
        yield f"Highest rate that {_text(search.contestant)} keeps up with: {rate}."
        yield ""


def _machine(report: Report) -> Iterator[str]:
    for line in about(report):
        name, _, rest = line.partition(" ")
        yield f"- {_text(name)}: {_text(rest.strip())}"
    missing = [sensor.name for sensor in report.sensors if sensor.absent]
    if missing:
        yield f"- not told by this machine: {_text(', '.join(missing))}"
    yield ""


def _text(text: object) -> str:
    """In a cell of a table, where Markdown and HTML have no power."""
    found = escaped(text)
    for mark in "\\`*_[]|":
        found = found.replace(mark, f"\\{mark}")
    return found.replace("&#x27;", "'")


if __name__ == "__main__":
    main()
