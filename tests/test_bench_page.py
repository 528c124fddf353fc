"""The report's page: whole, loading nothing, unbroken by hostile names; its plots are XML and true."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pytest
from bench_helpers import make_report
from cli_helpers import getgan, one_line

from getgan.benchmarks.plots import frontier, plots
from getgan.benchmarks.pools import pool, ratios
from getgan.benchmarks.reportfile import write_report
from getgan.benchmarks.schema import (
    Contestant,
    Flag,
    Growth,
    Quality,
    RateSearch,
    Reading,
    Report,
    Run,
    Sensor,
    Series,
    Setting,
    Trial,
)
from getgan.benchmarks.svg import BOTTOM, COLOURS, TOP, WIDTH, Scale, labels, number
from getgan.benchmarks.timeline import throttled
from getgan.benchmarks.webpage import html_from_report, write_page
from getgan.benchmarks.words import text_of
from getgan.errors import DataError, OutputError

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert(1)</script>\"'&\x1b[31m\x00\u202e]]>"


def full_report(name: str = "getgan", peer: str = "peer") -> Report:
    """A report with something for each plot; name and peer: of the contestants."""
    random = np.random.default_rng(0)
    times = {
        who: tuple(tuple(random.lognormal(mean, 0.2, 90).tolist()) for _ in range(3))
        for who, mean in (("getgan", -4.0), ("peer", -3.0))
    }
    report = make_report(latencies=times)
    readings = (Reading("load", (0.5, 0.7)), Reading("cpu throttling", (3.0, 4.0)))
    runs = [
        msgspec.structs.replace(run, began=float(place), sampled=(0.1, 0.2), readings=readings)
        for place, run in enumerate(report.runs)
    ]
    first = runs[0]
    others = [
        *(Setting("closed", 1, callers) for callers in (2, 4)),
        *(Setting("closed", batch, 1) for batch in (2, 4)),
        *(Setting("open", 1, 1, rate, "poisson") for rate in (5.0, 20.0, 60.0)),
    ]
    runs += [
        msgspec.structs.replace(first, setting=each, unserved=7 if each.rate == 60.0 else 0, readings=())
        for each in others
    ]
    renamed = {"getgan": name, "peer": peer}
    runs = [msgspec.structs.replace(run, contestant=renamed[run.contestant]) for run in runs]
    contestants = (
        Contestant(name, "getgan", "ours", precision="bf16", quality=Quality(4, "a", 53.0, 0.99, 3, 0.001)),
        Contestant(peer, "peer", "theirs", precision="fp32", quality=Quality(4, "a", None, 1.0, 0, 0.0)),
        Contestant(f"absent {peer}", "peer", "not here", unavailable=f"no {peer}"),
    )
    return msgspec.structs.replace(
        report,
        contestants=contestants,
        runs=tuple(runs),
        pooled=pool(runs),
        ratios=ratios(contestants, runs),
        searches=(RateSearch(name, 1, 54.3, 0.02, (Trial(54.3, True, 0.001, 0.02),)),),
        sensors=(
            Sensor("load", "programs", "/proc/loadavg"),
            Sensor("cpu throttling", "times", "/sys"),
            Sensor("cpu clock", "MHz", "/sys", "a virtual machine"),
        ),
        flags=(Flag("busy", f"{peer} took the CPU"), Flag("samples", "few", name)),
    )


class Page(HTMLParser):
    """Its tags with their attributes, and all of its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_holds_every_number_of_the_headline() -> None:
    report = full_report()
    text = Page(html_from_report(report)).text
    (ratio,) = report.ratios
    assert ratio.median > 2.0
    for value in (ratio.median, min(ratio.ratios), max(ratio.ratios)):
        assert f"{value:.2f}" in text
    base = report.pooled[0].percentiles
    for seconds in (base.p50, base.p90, base.p95, base.p99, base.max):
        assert f"{1000 * seconds:.2f}" in text
    for words in (report.machine.cpu, report.bundle.sha256[:12], report.created, "53.0", "equal", "54.30"):
        assert words in text
    assert "peer took the CPU" in text and "The machine was busy" in text
    assert "absent peer: no peer" in text and "a virtual machine" in text


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    page = Page(html_from_report(full_report()))
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "img", "image", "object", "embed", "base", "form", "use"}
    for _, attributes in page.tags:
        assert not attributes.keys() & {"src", "href", "xlink:href", "srcset", "action", "data"}
        assert not [each for each in attributes if each.startswith("on")]
    html = html_from_report(full_report())
    assert re.findall(r"https?://[^\"\s]+", html) == ["http://www.w3.org/2000/svg"] * 7
    assert "url(" not in html and "@import" not in html
    policy = [a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_a_hostile_name_is_text_and_nothing_else() -> None:
    plain, hostile = full_report(), full_report(name=f"getgan {HOSTILE}", peer=HOSTILE)
    hostile = msgspec.structs.replace(
        hostile,
        command=HOSTILE,
        machine=msgspec.structs.replace(hostile.machine, cpu=HOSTILE, label=HOSTILE),
        bundle=msgspec.structs.replace(hostile.bundle, name=HOSTILE, arch=HOSTILE),
    )
    page = html_from_report(hostile)
    assert [tag for tag, _ in Page(page).tags].count("script") == 0
    # The same elements in the same order: nothing of a name became one. (A label adds a line.)
    added = [tag for tag, _ in Page(page).tags if tag not in ("dt", "dd")]
    assert added == [tag for tag, _ in Page(html_from_report(plain)).tags if tag not in ("dt", "dd")]
    assert "<script>alert(1)</script>" in Page(page).text
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", page)
    for plot in plots(hostile):
        ET.fromstring(plot.svg)


@pytest.mark.parametrize("place", range(7))
def test_each_plot_is_xml_of_a_phones_width_and_stays_inside(place: int) -> None:
    plot = plots(full_report())[place]
    assert plot.absent == "" and plot.title in plot.svg
    root = ET.fromstring(plot.svg)
    left, top, width, height = map(float, root.attrib["viewBox"].split())
    assert (left, top, width) == (0.0, 0.0, WIDTH)
    coordinates = {"x": width, "cx": width, "y": height, "cy": height}
    for element in root.iter():
        for name, end in coordinates.items():
            assert 0.0 <= float(element.attrib.get(name, 0.0)) <= end
        for pair in element.attrib.get("points", "").split():
            x, y = map(float, pair.split(","))
            assert 0.0 <= x <= width and 0.0 <= y <= height
    # Every plot names a unit or what it counts.
    words = " ".join(text.text or "" for text in root.iter(f"{SVG}text"))
    assert re.search(r"\bms\b|dB|per second|%", words)


def test_what_was_not_measured_is_a_sentence_and_no_plot() -> None:
    report = make_report()
    missing = {plot.name: plot.absent for plot in plots(report) if not plot.svg}
    assert missing.keys() == {"pareto", "stages", "throughput", "rates"}
    assert "--rate" in missing["rates"] and "--concurrency" in missing["throughput"]
    assert "--rate" in Page(html_from_report(report)).text
    nothing = msgspec.structs.replace(report, runs=())
    assert all(plot.absent for plot in plots(nothing))


def test_a_report_without_getgan_has_no_page() -> None:
    report = msgspec.structs.replace(make_report(), contestants=(Contestant("peer", "peer", "theirs"),))
    with pytest.raises(DataError, match="no run of getgan"):
        html_from_report(report)


def test_the_worst_latency_stays_in_the_plots() -> None:
    report = make_report(latencies={"getgan": ((0.01,) * 50 + (7.654,),)})
    distribution, curve = plots(report)[:2]
    assert "max 7654" in distribution.svg
    lines = [line for line in marks(curve.svg, "polyline") if line.get("stroke") == COLOURS[0]]
    highest = min(float(pair.split(",")[1]) for line in lines for pair in line.attrib["points"].split())
    # 10 ms to 7654 ms fill the field, with a twentieth of room at its ends.
    assert TOP < highest < TOP + 0.06 * (BOTTOM + 30 - TOP)


def marks(svg: str, tag: str = "circle") -> list[ET.Element]:
    return list(ET.fromstring(svg).iter(f"{SVG}{tag}"))


@pytest.mark.parametrize(("seconds", "slope"), [(5.0, "none under 60 s"), (60.0, "+72.0 MB an hour")])
def test_a_short_soak_tells_no_growth_an_hour(seconds: float, slope: str) -> None:
    report = make_report()
    grown = (Growth("host", 167.0, 167.1, 167.1, 72.0),)
    soak = msgspec.structs.replace(
        report.runs[0], setting=Setting("soak", 1, 1), seconds=seconds, growth=grown
    )
    said = text_of(msgspec.structs.replace(report, runs=(*report.runs, soak)))
    assert f"soak of {seconds:.0f} s, host memory: " in said and f"line through all: {slope}" in said


def test_the_limit_of_the_rates_stands_where_no_mark_can_cover_it() -> None:
    (plot,) = (each for each in plots(full_report()) if each.name == "rates")
    (at,) = re.findall(r'y="([\d.]+)"[^>]*>dashes: keeps up to 54.3/s<', plot.svg)
    assert float(at) < TOP


def test_a_stopped_run_is_hollow_and_a_throttled_one_stands_in_red() -> None:
    report = full_report()
    by_name = {plot.name: plot for plot in plots(report)}
    # p50's marks are circles: three rates, of which the last was stopped.
    fills = [mark.attrib["fill"] for mark in marks(by_name["rates"].svg)]
    assert fills.count("#FFFFFF") == 1 and len(set(fills)) == 2
    bands = [box for box in marks(by_name["timeline"].svg, "rect") if box.get("fill") == "#D55E00"]
    assert len(bands) == sum(throttled(run) for run in report.runs) == 6
    assert "does not tell: cpu clock" in by_name["timeline"].svg


def test_a_gpus_reason_is_a_throttling_and_a_counter_that_rests_is_none() -> None:
    run = make_report().runs[0]

    def watched(sensor: str, *values: float | None) -> Run:
        readings = (Reading(sensor, values),)
        return msgspec.structs.replace(run, sampled=tuple(map(float, range(len(values)))), readings=readings)

    assert throttled(watched("gpu throttling", 0.0, None, 4.0))
    assert not throttled(watched("gpu throttling", 0.0, 0.0))
    assert throttled(watched("cpu throttling", 5.0, 6.0)) and not throttled(
        watched("cpu throttling", 5.0, 5.0)
    )


def test_the_frontier_is_what_nobody_beats_in_both() -> None:
    points = [(3.0, 90.0), (1.0, 50.0), (2.0, 50.0), (2.5, 70.0), (4.0, 90.0), (2.5, 60.0)]
    assert frontier(points) == [(1.0, 50.0), (2.5, 70.0), (3.0, 90.0)]


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "values", [(1.0, 1.0), (0.012, 0.013), (0.3, 4000.0), (99.0, 101.0), (1e-6, 1e6), (0.0, 5.0)]
)
def test_an_axis_has_a_few_round_numbers_within(values: tuple[float, ...], log: bool) -> None:
    scale = Scale.of(values, 0.0, 100.0, log=log)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 7 or (values == (1e-6, 1e6) and log)
    assert all(scale.low <= tick <= scale.high or tick == pytest.approx(0.0) for tick in ticks)
    assert [scale(tick) for tick in ticks] == sorted(scale(tick) for tick in ticks)
    assert len(set(labels(ticks))) == len(ticks)


def test_figures_have_three_digits() -> None:
    assert [number(value) for value in (0.012345, 1.2345, 12.0, 123.456, 54321.0, 0.0, 99.95)] == [
        "0.0123",
        "1.23",
        "12",
        "123",
        "54321",
        "0",
        "100",
    ]


def luminance(colour: str) -> float:
    """Relative, as WCAG has it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_the_first_colours_differ_also_without_hue() -> None:
    # Getgan's two ways and the first peer: told apart in grey too. All differ from white.
    first = sorted(luminance(each) for each in COLOURS[:2])
    assert (first[1] + 0.05) / (first[0] + 0.05) > 1.15
    assert len(set(COLOURS)) == 8


def test_the_command_draws_a_report_anew(tmp_path: Path) -> None:
    write_report(full_report(), tmp_path)
    done = getgan("bench", "page", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.html").read_text() == html_from_report(full_report())
    assert getgan("bench", "page", tmp_path / "report.json", "-o", tmp_path / "b.html").returncode == 0
    assert (tmp_path / "b.html").read_bytes() == (tmp_path / "report.html").read_bytes()
    assert getgan("bench", "page", tmp_path, "-o", tmp_path / "b.html").returncode == 0  # its own is replaced
    (tmp_path / "mine.html").write_text("mine")
    refused = getgan("bench", "page", tmp_path, "-o", tmp_path / "mine.html")
    assert refused.returncode == 1 and "is not replaced" in one_line(refused)
    assert (tmp_path / "mine.html").read_text() == "mine"
    with pytest.raises(OutputError):
        write_page(full_report(), tmp_path / "nowhere" / "report.html")


def test_a_series_of_nothing_is_no_plot() -> None:
    report = make_report()
    empty = [msgspec.structs.replace(run, latencies=Series.of([])) for run in report.runs]
    assert plots(msgspec.structs.replace(report, runs=tuple(empty)))[0].absent
