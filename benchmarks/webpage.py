"""The report as one HTML file: no script, nothing from outside, nothing that a stranger's name can break."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from getgan.benchmarks.plots import colours, plots
from getgan.benchmarks.schema import FlagKind, Percentiles, Report
from getgan.benchmarks.svg import Plot, escaped
from getgan.benchmarks.validity import in_words
from getgan.benchmarks.words import (
    about,
    base_of,
    headline_base,
    main_way,
    peer_words,
    ratio_words,
    text_of,
    warnings,
)
from getgan.errors import DataError, OutputError
from getgan.files import read_small, write_bytes_atomic

PAGE_NAME = "report.html"
# default-src 'none': should a name ever slip through, the browser still loads and runs nothing.
IN_WORDS: dict[FlagKind, str] = {
    "busy": "The machine was busy: other programs took the CPU.",
    "clocks": "A clock moved while it was measured.",
    "throttled": "Heat or a limit of power held a clock down.",
    "samples": "Too few queries for the higher percentiles.",
    "spread": "The repeats differ by more than a tenth.",
    "overload": "An open loop was stopped, since its queue grew: its latencies are lower bounds.",
    "memory": "Memory grew all through the soak.",
    "quality": "Somebody gives other pictures than the checkpoint does.",
    "scenario": "LoadGen calls a scenario invalid.",
    "overhead": "The harness takes more than it may.",
}
PERCENTILES = ("p50 ms", "p90 ms", "p95 ms", "p99 ms", "p99.9 ms", "max ms")
MARK = "<!DOCTYPE html>\n<!-- made by getgan bench -->\n"
HEAD = """<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ margin: 0 auto; padding: 0 14px 40px; max-width: 1340px; color: #222; background: #fff;
  font: 16px/1.5 system-ui, Helvetica, Arial, sans-serif; }}
h1 {{ font-size: 1.5rem; line-height: 1.25; margin: 1.2rem 0 .3rem; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.15rem; margin: 2rem 0 .6rem; }}
p {{ margin: .3rem 0; max-width: 75ch; }}
.ratios {{ display: flex; flex-wrap: wrap; gap: 10px; padding: 0; list-style: none; }}
.ratios li {{ flex: 1 1 210px; max-width: 420px; border: 1px solid #ccc; border-radius: 6px;
  padding: 8px 12px; }}
.ratios b {{ font-size: 1.25rem; display: block; }}
.beware {{ border-left: 5px solid #D55E00; background: #fdf3ec; padding: 8px 14px; }}
.beware ul {{ margin: .3rem 0; padding-left: 1.2rem; }}
.plots {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 390px), 1fr)); gap: 22px; }}
figure {{ margin: 0; }}
figure svg {{ width: 100%; max-width: 560px; height: auto; border: 1px solid #ddd; border-radius: 6px; }}
figcaption, .small {{ font-size: .85rem; color: #444; max-width: 60ch; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 4px 7px; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; }}
@media (max-width: 600px) {{ th:first-child, td:first-child {{ white-space: normal; min-width: 8em; }} }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: 2px 14px; }}
dt {{ color: #555; }}
dd {{ margin: 0; overflow-wrap: anywhere; }}
pre {{ font-size: .75rem; line-height: 1.35; }}
code {{ overflow-wrap: anywhere; }}
i.dot {{ display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .5em; }}
</style>
</head>
<body>
"""


def html_from_report(report: Report) -> str:
    """DataError for a report in which getgan did not run."""
    if not any(each.role == "getgan" and not each.unavailable for each in report.contestants):
        raise DataError("found no run of getgan in the report; wanted one to write a page of: measure again")
    title = f"getgan bench: {report.bundle.name}"
    parts = [MARK + HEAD.format(title=escaped(title)), f"<h1>{escaped(title)}</h1>"]
    parts += [*_headline(report), *_beware(report), *_table(report), *_figures(plots(report))]
    parts += [*_loads(report), *_about(report), *_rest(report), "</body>", "</html>", ""]
    return "\n".join(parts)


def check_page(path: Path) -> None:
    """OutputError rather than replace a file that is no page of ours; before the minutes of work."""
    if path.exists() and not _ours(path):
        raise OutputError(f"{path}: is no page of getgan bench and is not replaced; choose another name")


def write_page(report: Report, path: Path) -> Path:
    """Write it; OutputError leaves what was there."""
    check_page(path)
    write_bytes_atomic(path, html_from_report(report).encode())
    return path


def _ours(path: Path) -> bool:
    try:
        return read_small(path, len(MARK)) == MARK.encode()
    except OSError:
        return False


def _headline(report: Report) -> Iterator[str]:
    """What a reader with one minute reads."""
    main = main_way(report)
    base = base_of(report, main.name)
    if base is None:
        return
    yield f"<p>{escaped(headline_base(main, base))}</p>"
    found = [ratio for ratio in report.ratios if ratio.contestant == main.name]
    if not found:
        yield "<p>No peer ran: nothing to compare with.</p>"
        return
    yield '<ul class="ratios">'
    for ratio in found:
        speed, _, rest = ratio_words(ratio).partition(" ")
        yield f"<li><b>{escaped(speed)}</b> {escaped(rest)} {escaped(peer_words(report, ratio))}</li>"
    yield "</ul>"


def _beware(report: Report) -> Iterator[str]:
    """What counts most in one line each; all of them below it, for who wants to know."""
    if not report.flags:
        yield "<p>No flag: the machine was quiet, the clocks held, the repeats agree.</p>"
        return
    kinds = {flag.kind: sum(other.kind == flag.kind for other in report.flags) for flag in report.flags}
    yield '<div class="beware"><b>Why a figure may not hold</b><ul>'
    for kind, count in kinds.items():
        yield f"<li>{IN_WORDS[kind]} <small>({kind}, {count})</small></li>"
    yield f"</ul><details><summary>All {len(report.flags)}, one by one</summary><ul>"
    for line in warnings(report):
        yield f"<li>{escaped(line.removeprefix('beware '))}</li>"
    yield "</ul></details></div>"


def _table(report: Report) -> Iterator[str]:
    """One picture at a time, everybody, quality beside speed."""
    heads = ["one picture at a time", *PERCENTILES, "pictures/s", "J/picture", "peak MB", "opens s"]
    heads += ["PSNR dB", "SSIM", "perceptual"]
    yield '<h2>Everybody</h2><div class="wide"><table><tr>'
    yield "".join(f"<th>{head}</th>" for head in heads) + "</tr>"
    paint = colours(report)
    missing = []
    for each in report.contestants:
        base = base_of(report, each.name)
        if each.unavailable or base is None:
            missing.append(each)
            continue
        quality = each.quality
        cells = [
            *_percentile_cells(base.percentiles),
            f"{base.throughput.median:.2f}",
            "-" if base.joules_per_image is None else f"{base.joules_per_image.median:.2f}",
            "-" if each.peak_mb is None else f"{each.peak_mb:.0f}",
            "-" if each.open_seconds is None else f"{each.open_seconds:.1f}",
        ]
        if quality is None:
            cells += ["-"] * 3
        else:
            cells += ["equal" if quality.psnr is None else f"{quality.psnr:.1f}", f"{quality.ssim:.5f}"]
            cells += ["-" if quality.perceptual is None else f"{quality.perceptual:.5f}"]
        dot = f'<i class="dot" style="background:{paint[each.name]}"></i>'
        name = f"{dot}{escaped(each.name)} <small>{escaped(each.precision)}</small>"
        yield f"<tr><td>{name}</td>" + "".join(f"<td>{escaped(cell)}</td>" for cell in cells) + "</tr>"
    yield "</table></div>"
    for each in missing:
        yield f'<p class="small">Not here: {escaped(each.name)}: {escaped(each.unavailable or "not run")}</p>'


def _percentile_cells(found: Percentiles) -> list[str]:
    values = (found.p50, found.p90, found.p95, found.p99, found.p999, found.max)
    return ["-" if value is None else f"{1000 * value:.2f}" for value in values]


def _figures(found: tuple[Plot, ...]) -> Iterator[str]:
    yield '<h2>Plots</h2><div class="plots">'
    for plot in found:
        if plot.svg:
            yield f"<figure>{plot.svg}<figcaption>{escaped(plot.caption)}</figcaption></figure>"
    yield "</div>"
    for plot in found:
        if not plot.svg:
            yield f'<p class="small">{escaped(plot.title)}: not drawn, {escaped(plot.absent)}</p>'


def _loads(report: Report) -> Iterator[str]:
    """Settings other than one picture at a time, of getgan's first way."""
    main = main_way(report)
    rest = [each for each in report.pooled if each is not base_of(report, each.contestant)]
    if rest:
        heads = (*PERCENTILES, "pictures/s", "frames lost")
        yield f'<h2>Other loads, {escaped(main.name)}</h2><div class="wide"><table>'
        yield "<tr><th>from the intended start</th>"
        yield "".join(f"<th>{head}</th>" for head in heads) + "</tr>"
        for each in rest:
            share = each.dropped_share
            cells = [*_percentile_cells(each.percentiles), f"{each.throughput.median:.2f}"]
            cells.append("-" if share is None else f"{100 * share:.1f} %")
            row = "".join(f"<td>{cell}</td>" for cell in cells)
            yield f"<tr><td>{escaped(in_words(each.setting))}</td>{row}</tr>"
        yield "</table></div>"
    for search in report.searches:
        rate = "none that was tried" if search.rate is None else f"{search.rate:.2f} pictures/s"
        yield f"<p>Highest rate that {escaped(search.contestant)} keeps up with: {rate}.</p>"


def _about(report: Report) -> Iterator[str]:
    """Machine, versions and settings in words."""
    yield "<h2>Machine and settings</h2><dl>"
    lines = [
        *about(report),
        f"measured  {report.created}, {report.seconds:.0f} s, with report format version {report.version}",
    ]
    for line in lines:
        name, _, rest = line.partition(" ")
        yield f"<dt>{escaped(name)}</dt><dd>{escaped(rest.strip())}</dd>"
    yield f"<dt>command</dt><dd><code>{escaped(report.command)}</code></dd></dl>"


def _rest(report: Report) -> Iterator[str]:
    """Every figure once more, as the command prints it: sensors, LoadGen's scenarios, the soak."""
    lines = "\n".join(escaped(line) for line in text_of(report).split("\n"))
    yield '<h2>All figures as text</h2><div class="wide"><pre>' + lines + "</pre></div>"
