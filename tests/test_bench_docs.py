"""The page of this project's claims: it holds the reports' figures, its plots are there, names stay text."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest
from test_bench_page import HOSTILE, full_report

from getgan.benchmarks.docspage import main, write_docs
from getgan.benchmarks.reportfile import write_report

ROOT = Path(__file__).resolve().parents[1]


def images(page: Path) -> list[Path]:
    return [page.parent / name for name in re.findall(r'<img src="([^"]+)"', page.read_text())]


def test_the_page_holds_the_figures_beside_their_command(tmp_path: Path) -> None:
    report = msgspec.structs.replace(full_report(), command="getgan bench tiny --repeats 3")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_report(report, tmp_path / name)
    main([str(tmp_path / "docs"), str(tmp_path / "a"), str(tmp_path / "b")])
    page = tmp_path / "docs" / "benchmarks.md"
    text = page.read_text()
    assert text.count("\ngetgan bench tiny --repeats 3\n") == 2 and text.count("\n## tiny, 32x32") == 2
    (ratio,) = report.ratios
    assert f"**{ratio.median:.2f}x as fast ({min(ratio.ratios):.2f}-{max(ratio.ratios):.2f}) as**" in text
    for pooled in report.pooled:
        assert f"| {1000 * pooled.percentiles.p50:.1f} | {1000 * pooled.percentiles.p99:.1f} |" in text
    assert "The machine was busy" in text and "54.30 pictures per second" in text and "(stopped)" in text
    assert len(images(page)) == 14 and len(set(images(page))) == 14
    for image in images(page):
        ET.parse(image)


def test_a_hostile_name_is_no_markup(tmp_path: Path) -> None:
    plain = write_docs([full_report()], tmp_path / "plain").read_text()
    report = full_report(name=f"| x | {HOSTILE}", peer=f"[a](b) | {HOSTILE}\n# Big")
    bundle = msgspec.structs.replace(report.bundle, name=f"{HOSTILE}\n![x](http://x)")
    hostile = write_docs([msgspec.structs.replace(report, bundle=bundle)], tmp_path / "hostile").read_text()
    assert len(hostile.splitlines()) == len(plain.splitlines())
    assert "<script" not in hostile and not re.search(r"(?<!\\)\]\((http|b\))", hostile)
    cells = [[len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines()] for text in (plain, hostile)]
    assert cells[0] == cells[1]


@pytest.mark.parametrize("name", ["README.md", "docs/benchmark.md", "docs/performance.md"])
def test_the_page_is_found_from_the_others(name: str) -> None:
    assert "benchmarks.md" in (ROOT / name).read_text()


def test_the_committed_page_has_its_plots() -> None:
    page = ROOT / "docs" / "benchmarks.md"
    assert len(images(page)) == 14
    for image in images(page):
        assert ET.parse(image).getroot().tag.endswith("svg")
