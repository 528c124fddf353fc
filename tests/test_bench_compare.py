"""What changed between two reports: a planted slow-down is found, chance is not, others are refused."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from bench_helpers import make_report
from cli_helpers import getgan, one_line

from getgan.benchmarks.compare import compare, resampled, share
from getgan.benchmarks.comparison import Change
from getgan.benchmarks.reportfile import write_report
from getgan.benchmarks.schema import Flag, Report
from getgan.errors import UsageError


def sampled(seed: int, slower: float = 1.0, peer: float = 1.0, drift: float = 0.02) -> Report:
    """Five repeats of 150 queries, `drift` apart; slower, peer: factors of the two's times."""
    random = np.random.default_rng(seed)

    def repeats(factor: float) -> tuple[tuple[float, ...], ...]:
        levels = random.normal(1.0, drift, 5)
        return tuple(tuple((factor * level * random.lognormal(-4.0, 0.1, 150)).tolist()) for level in levels)

    return make_report(latencies={"getgan": repeats(slower), "peer": repeats(peer)})


def change(changes: tuple[Change, ...], contestant: str, figure: str) -> Change:
    (found,) = (each for each in changes if (each.contestant, each.figure) == (contestant, figure))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_a_planted_fifth_is_found_in_every_figure(seed: int) -> None:
    found = compare(sampled(seed), sampled(seed + 100, slower=1.2), regression=0.05)
    assert not found.passed and found.text().splitlines()[-1].startswith("REGRESSION: 3 of 3 figures")
    for figure, ratio in (("p50", 1.2), ("p99", 1.2), ("throughput", 1 / 1.2)):
        each = change(found.changes, "getgan", figure)
        assert each.verdict == "regression" and each.judged
        assert each.low < ratio < each.high or figure == "p99"
        assert each.ratio == pytest.approx(ratio, rel=0.06) and each.slower == pytest.approx(0.2, abs=0.07)
        assert change(found.changes, "peer", figure).verdict == "no change"


@pytest.mark.parametrize("seed", range(6))
def test_two_samples_of_one_distribution_are_no_regression(seed: int) -> None:
    found = compare(sampled(seed), sampled(seed + 100), regression=0.05)
    assert found.passed and found.text().splitlines()[-1].startswith("no regression: 0 of 3")
    assert change(found.changes, "getgan", "p50").ratio == pytest.approx(1.0, abs=0.05)


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    # Five repeats are few: a bootstrap over them is known to be a little too sure.
    held = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        sides = [
            [random.normal(1.0, 0.03) * random.lognormal(0.0, 0.1, 40) for _ in range(5)] for _ in range(2)
        ]
        low, high = np.quantile(resampled(sides[0], sides[1], 4, random)[:, 0], (0.025, 0.975))
        held += low <= 1.0 <= high
    assert held >= 16


def test_faster_is_an_improvement_and_a_peers_fall_is_none_of_ours() -> None:
    found = compare(sampled(0), sampled(100, slower=0.8, peer=1.5), regression=0.05)
    assert found.passed
    assert change(found.changes, "getgan", "p50").verdict == "improvement"
    assert change(found.changes, "getgan", "throughput").verdict == "improvement"
    theirs = change(found.changes, "peer", "p50")
    assert (
        theirs.verdict == "no change" and not theirs.judged and theirs.slower == pytest.approx(0.5, abs=0.1)
    )


def test_what_repeats_cannot_tell_is_undecided_and_not_a_regression() -> None:
    before = make_report(latencies={"getgan": ((0.010,) * 20, (0.020,) * 20, (0.012,) * 20)})
    after = make_report(latencies={"getgan": ((0.015,) * 20, (0.013,) * 20, (0.016,) * 20)})
    found = compare(before, after, regression=0.05)
    assert change(found.changes, "getgan", "p50").verdict == "undecided" and found.passed
    assert "measure more repeats" in found.text()


def test_a_slow_down_within_what_is_allowed_passes() -> None:
    before, after = sampled(0, drift=0.001), sampled(100, slower=1.1, drift=0.001)
    assert compare(before, after, regression=0.2).passed
    assert not compare(before, after, regression=0.05).passed


def test_faster_with_worse_pictures_is_a_regression() -> None:
    worse = Flag("quality", "other pictures: PSNR 30.0 dB (a), wanted 45", "getgan")
    before, after = sampled(0), sampled(100, slower=0.8)
    after = msgspec.structs.replace(after, flags=(worse,))
    found = compare(before, after, regression=0.05)
    assert not found.passed and "PSNR 30.0 dB" in found.text().splitlines()[-1]
    # It was so before: nothing changed.
    assert compare(msgspec.structs.replace(before, flags=(worse,)), after, regression=0.05).passed
    of_peer = msgspec.structs.replace(after, flags=(msgspec.structs.replace(worse, contestant="peer"),))
    assert compare(before, of_peer, regression=0.05).passed


def test_others_are_refused_in_words_unless_asked() -> None:
    here = sampled(0)
    there = msgspec.structs.replace(here, machine=msgspec.structs.replace(here.machine, cpu="another CPU"))
    other = msgspec.structs.replace(here, bundle=msgspec.structs.replace(here.bundle, sha256="1" * 64))
    longer = msgspec.structs.replace(here, settings=msgspec.structs.replace(here.settings, threads=2))
    cases = {
        "machine: cpu a CPU in A, another CPU in B": there,
        "bundle: tiny 000000000000 in A, tiny 111111111111 in B": other,
        "settings: threads 1 in A, 2 in B": longer,
    }
    for words, report in cases.items():
        with pytest.raises(UsageError, match=rf"{words}.*--anyway"):
            compare(here, report, regression=0.05)
        found = compare(here, report, regression=0.05, anyway=True)
        assert found.different == (words,) and f"beware: {words}" in found.text() and found.passed


def test_a_machine_that_was_not_quiet_is_told() -> None:
    quiet = sampled(0)
    busy = msgspec.structs.replace(quiet, flags=(Flag("busy", "3 programs"), Flag("samples", "few")))
    found = compare(quiet, busy, regression=0.05)
    assert "flags of B: busy, samples" in found.notes
    assert [note for note in found.notes if "not quiet in B" in note] and "not quiet in A" not in found.text()
    few = msgspec.structs.replace(quiet, flags=(Flag("samples", "few"),))
    assert "not quiet" not in compare(quiet, few, regression=0.05).text()


def test_a_newer_library_is_told_and_compared() -> None:
    here = sampled(0)
    newer = msgspec.structs.replace(here, libraries={"openvino": "2027.0"}, getgan="1.0")
    found = compare(here, newer, regression=0.05)
    assert found.libraries == ("getgan 0 in A, 1.0 in B", "openvino not there in A, 2027.0 in B")


def test_rows_of_one_report_alone_are_named() -> None:
    here = sampled(0)
    ours = tuple(run for run in here.runs if run.contestant == "getgan")
    lonely = msgspec.structs.replace(here, runs=ours)
    found = compare(here, lonely, regression=0.05)
    assert found.unpaired == ("peer, closed loop, batch 1, concurrency 1, in A alone",)
    with pytest.raises(UsageError, match="share no run"):
        compare(msgspec.structs.replace(here, runs=()), here, regression=0.05)


def test_what_ran_before_and_does_not_run_now_is_no_pass() -> None:
    """A backend that fails to open in B leaves no figure that could be worse."""
    here = sampled(0)
    peers = tuple(run for run in here.runs if run.contestant == "peer")
    for left in (peers, ()):
        found = compare(here, msgspec.structs.replace(here, runs=left), regression=0.05)
        assert not found.passed
        said = found.text().splitlines()[-1]
        assert said.startswith("REGRESSION: 0 of 0 figures")
        assert said.endswith("did not run in B: getgan, closed loop, batch 1, concurrency 1")
    fewer = msgspec.structs.replace(here, settings=msgspec.structs.replace(here.settings, concurrency=(2,)))
    alone = msgspec.structs.replace(fewer, runs=peers)
    assert compare(here, alone, regression=0.05, anyway=True).passed  # it was asked for something else


def test_a_share_is_read_with_and_without_a_percent_sign() -> None:
    assert share("5%") == pytest.approx(0.05) and share("0.05") == 0.05 and share("0") == 0.0
    for text in ("five", "-1%", "nan", "", "%", "1000%"):
        with pytest.raises(UsageError, match=r"5% or 0\.05"):
            share(text)


def test_the_same_reports_give_the_same_answer() -> None:
    first, second = (compare(sampled(0), sampled(1), regression=0.05) for _ in range(2))
    assert first == second


def test_the_commands_exit_code_gates(tmp_path: Path) -> None:
    reports = {"a": sampled(0), "same": sampled(100), "slow": sampled(100, slower=1.2)}
    reports["other"] = msgspec.structs.replace(
        reports["a"], machine=msgspec.structs.replace(reports["a"].machine, label="room 3")
    )
    for name, report in reports.items():
        (tmp_path / name).mkdir()
        write_report(report, tmp_path / name)
    same = getgan("bench", "compare", tmp_path / "a", tmp_path / "same")
    assert (same.returncode, same.stderr) == (0, "") and "no regression" in same.stdout
    slow = getgan("bench", "--compare", tmp_path / "a", tmp_path / "slow" / "report.json")
    assert slow.returncode == 1 and "REGRESSION" in slow.stdout and slow.stderr == ""
    assert (
        getgan("bench", "compare", tmp_path / "a", tmp_path / "slow", "--regression", "30%").returncode == 0
    )
    refused = getgan("bench", "compare", tmp_path / "a", tmp_path / "other")
    assert refused.returncode == 2 and "label nothing in A, room 3 in B" in one_line(refused)
    assert getgan("bench", "compare", tmp_path / "a", tmp_path / "other", "--anyway").returncode == 0
    done = getgan("bench", "compare", tmp_path / "a", tmp_path / "slow", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 1 and document["passed"] is False and document["level"] == 0.95
    assert {each["figure"] for each in document["changes"]} == {"p50", "p99", "throughput"}
