"""The benchmark's report as JSON: the same records come back, and nothing else is taken for one."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from bench_helpers import make_report

from getgan.benchmarks.reportfile import (
    REPORT_NAME,
    json_from_report,
    read_report,
    report_from_json,
    write_report,
)
from getgan.benchmarks.schema import MAX_TIMES, Ratio, Report, Series, Setting
from getgan.errors import DataError


def test_times_come_back_to_the_microsecond_and_take_few_bytes() -> None:
    seconds = np.random.default_rng(0).gamma(50.0, 0.002, 10_000)
    series = Series.of(seconds)
    assert np.abs(series.seconds() - seconds).max() <= 0.5e-6
    assert len(series.data) < 4 * len(seconds) < len(json.dumps(seconds.tolist()))
    assert Series.of([-1.0, 86400.25]).seconds().tolist() == [0.0, 86400.25]  # a soak lasts for days
    assert Series.of([]).seconds().tolist() == []


@pytest.mark.parametrize("count", [1, 3, MAX_TIMES + 1, -1])
def test_times_that_do_not_fit_their_count_are_refused(count: int) -> None:
    with pytest.raises(DataError, match="times"):
        Series(count, Series.of([1.0, 2.0]).data).seconds()
    with pytest.raises(DataError, match="damaged times"):
        Series(2, b"no zlib").seconds()


def test_a_report_comes_back_from_its_file_and_its_folder(tmp_path: Path) -> None:
    report = make_report()
    path = write_report(report, tmp_path)
    assert path.name == REPORT_NAME
    assert read_report(path) == read_report(tmp_path) == report
    document = json.loads(path.read_bytes())
    assert (document["format"], document["version"]) == ("getgan-benchmark", 1)
    assert report_from_json(path.read_bytes()).runs[1].latencies.seconds().tolist() == [0.01, 0.03]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "version 2; wanted 'getgan-benchmark' version 1"),
        ({"format": "x"}, "found 'x' version 1"),
        ({"runs": [{"contestant": 1}]}, r"damaged report .*runs\[0\]"),
        ({"contestants": []}, "found 0 contestants"),
    ],
)
def test_what_is_no_report_is_told(change: dict[str, object], words: str, tmp_path: Path) -> None:
    document = msgspec.json.decode(json_from_report(make_report())) | change
    (tmp_path / "a.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=rf"a\.json: .*{words}"):
        read_report(tmp_path / "a.json")


def test_what_no_measurement_gives_is_told() -> None:
    def told(report: Report) -> str:
        with pytest.raises(DataError) as caught:
            report_from_json(json_from_report(report))
        return str(caught.value)

    change = msgspec.structs.replace
    report = make_report()
    getgan, peer = report.contestants
    run = report.runs[0]
    assert "found 2 contestants of 1 names" in told(change(report, contestants=(getgan, getgan)))
    assert "'peer', which is no contestant that ran" in told(change(report, contestants=(getgan,)))
    gone = change(peer, unavailable="not installed")
    assert "'peer', which is no contestant that ran" in told(change(report, contestants=(getgan, gone)))
    none = change(run, setting=Setting("closed", 0, 1))
    assert "damaged report" in told(change(report, runs=(none,)))
    ratio = Ratio("getgan", "peer", "file to file", (), 1.0)
    assert "damaged report" in told(change(report, ratios=(ratio,)))
    # Zeros pack to a thousandth: each run may be small, and all together fill the memory.
    many = change(run, latencies=Series(MAX_TIMES // 2 + 1, b""))
    assert "more than 20,000,000 times" in told(change(report, runs=(many, many)))


def test_a_missing_or_cut_report_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"report\.json: cannot be read .*getgan bench BUNDLE -o REPORT"):
        read_report(tmp_path)
    with pytest.raises(DataError, match="damaged report"):
        report_from_json(json_from_report(make_report())[:-100])
