"""The benchmark as a whole on a tiny bundle: what stands in its report, what it says, and what it leaves."""

from __future__ import annotations

import getpass
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from bench_helpers import make_report
from bundle_helpers import make_bundle
from cli_helpers import getgan, getgan_process

from getgan.benchmarks import contest as contest_module
from getgan.benchmarks.contest import Contest
from getgan.benchmarks.jobs import LoadJob, Opening, OverheadDone, OverheadJob
from getgan.benchmarks.measure import measure
from getgan.benchmarks.options import BASE, BenchOptions, floats, integers, names
from getgan.benchmarks.percentiles import percentiles
from getgan.benchmarks.pools import pool, ratios
from getgan.benchmarks.reportfile import json_from_report, report_from_json
from getgan.benchmarks.sampling import Sampler
from getgan.benchmarks.schema import (
    STAGES,
    Contestant,
    Growth,
    Overhead,
    Quality,
    Reading,
    Report,
    Run,
    Series,
    Setting,
)
from getgan.benchmarks.validity import flags, in_words
from getgan.benchmarks.words import text_of
from getgan.errors import BundleError, ConfigError, DeviceError, GetganError, UsageError
from getgan.runtime.bundle import Bundle
from getgan.runtime.devices import library_version

pytestmark = pytest.mark.skipif(
    not library_version("onnxruntime"), reason="the peer is ONNX Runtime, which is not installed"
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, list[tuple[str, float]]]:
    """One run with everything that is quick, and what it told on the way."""
    folder = tmp_path_factory.mktemp("bench")
    options = BenchOptions(
        bundle=make_bundle(folder / "tiny"),
        precision=("fp32", "fp16"),
        backend=("onnxruntime",),
        threads=1,
        concurrency=(1, 2),
        batch=(1, 2),
        rate=(20.0,),
        camera=(30.0,),
        duration=0.05,
        repeats=2,
        soak=0.1,
        peers=("onnxruntime", "torch-eager", "trtexec"),
        label="the box in room 3",
    )
    told: list[tuple[str, float]] = []
    return measure(options, lambda what, share: told.append((what, share))), told


def test_a_report_holds_every_run_of_every_contestant(
    measured: tuple[Report, list[tuple[str, float]]],
) -> None:
    report, told = measured
    shares = [share for _, share in told]
    assert shares == sorted(shares) and shares[-1] == 1.0
    by_name = {each.name: each for each in report.contestants}
    main, peer = by_name["getgan onnxruntime fp32"], by_name["onnxruntime"]
    assert "no fp16" in by_name["getgan onnxruntime fp16"].unavailable
    assert "--checkpoint" in by_name["torch-eager"].unavailable
    assert "NVIDIA GPUs only" in by_name["trtexec"].unavailable
    for each in (main, peer):
        assert each.quality is not None and (each.quality.psnr or 99.0) > 60.0 and each.quality.images == 2
        assert each.threads == 1 and each.open_seconds and each.first_seconds
    settings = [(run.setting.kind, run.setting.concurrency, run.setting.batch) for run in report.runs]
    assert settings.count(("closed", 1, 1)) == 4  # two contestants, two repeats
    for kind in (("closed", 2, 1), ("closed", 1, 2), ("open", 2, 1), ("camera", 1, 1)):
        assert settings.count(kind) == 2
    assert settings.count(("soak", 1, 1)) == 1
    for run in report.runs:
        times = run.latencies.seconds()
        assert run.percentiles == percentiles(times) and times.min() > 0
        assert run.starts.count == run.waits.count == run.latencies.count == len(times)
        found = {stage.name: stage for stage in run.stages}
        assert tuple(found) == STAGES
        assert "a CPU reads the picture where it lies" in found["copy_in"].absent
        for name in ("decode", "pre", "network", "post", "encode"):
            assert found[name].times is not None
        # The stages are parts of the whole.
        parts = sum(s.times.seconds() for s in run.stages if s.times is not None)
        served = slice(None) if run.unserved == 0 else slice(0, -run.unserved)
        assert (parts <= (times - run.waits.seconds())[served] + 1e-5).all()
    (search,) = report.searches
    assert search.rate is None or search.rate > 1.0


def test_repeats_take_turns(measured: tuple[Report, list[tuple[str, float]]]) -> None:
    base = [run for run in measured[0].runs if run.setting == BASE]
    order = [(run.contestant, run.repeat) for run in base]
    ours, theirs = "getgan onnxruntime fp32", "onnxruntime"
    assert order == [(ours, 0), (theirs, 0), (theirs, 1), (ours, 1)]
    assert [run.began for run in base] == sorted(run.began for run in base)


def test_another_network_takes_its_turns(tmp_path: Path) -> None:
    own, other = make_bundle(tmp_path / "own"), make_bundle(tmp_path / "other", seed=7)
    options = BenchOptions(
        bundle=own,
        backend=("onnxruntime",),
        threads=1,
        camera=(),
        duration=0.05,
        repeats=2,
        search=False,
        peers=("onnxruntime",),
        beside=other,
    )
    report = measure(options)
    larger = f"onnxruntime with {Bundle.open(other).manifest.model.name}"
    by_name = {each.name: each for each in report.contestants}
    assert list(by_name) == ["getgan onnxruntime fp32", "onnxruntime", larger]
    found = by_name[larger]
    assert found.graph_sha256 != by_name["onnxruntime"].graph_sha256
    # Judged by its own pictures, and not by the other's.
    assert found.quality is not None and (found.quality.psnr or 99.0) > 60.0
    assert "another network, bundle " in found.about
    assert [each.another for each in report.contestants] == [False, False, True]
    assert report.settings.beside == Bundle.open(other).sha256
    assert f"{larger} (fp32, another network)" in text_of(report)
    assert {ratio.peer for ratio in report.ratios} == {"onnxruntime", larger}
    assert "--beside other" in report.command
    with pytest.raises(BundleError):
        measure(replace(options, beside=tmp_path / "nowhere"))


def test_a_report_names_no_user_no_host_and_no_folder(
    measured: tuple[Report, list[tuple[str, float]]],
) -> None:
    report, _ = measured
    text = json_from_report(report).decode()
    assert report_from_json(text.encode()) == report
    assert tempfile.gettempdir() not in text and str(Path.home()) not in text
    host, user = platform.node(), getpass.getuser()
    words = set(text.replace("/", " ").replace('"', " ").replace(",", " ").split())
    assert user not in words and (len(host) < 4 or host not in words)
    assert report.machine.label == "the box in room 3"


def test_the_text_begins_with_the_ratio(measured: tuple[Report, list[tuple[str, float]]]) -> None:
    report, _ = measured
    text = text_of(report)
    (ratio,) = report.ratios
    first, second = text.splitlines()[:2]
    assert first.startswith("getgan onnxruntime fp32: p50 ") and f"{ratio.median:.2f}x as fast" in second
    pairs = [
        [r.percentiles.p50 for r in report.runs if r.contestant == n and r.setting == BASE]
        for n in ("onnxruntime", "getgan onnxruntime fp32")
    ]
    assert ratio.ratios == pytest.approx([peer / own for peer, own in zip(*pairs, strict=True)])
    for words in (
        "torch-eager",
        "not here: a bundle holds no PyTorch",
        "camera at 30/s",
        "absent: ",
        "harness",
    ):
        assert words in text
    assert "MLPerf" not in text and "beware (samples)" in text


def test_a_soak_is_one_run_of_many_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contest_module, "SLICE_S", 0.02)
    bundle = make_bundle(tmp_path / "b")
    with Contest(tmp_path) as contest, Sampler([]) as sampler:
        entry = contest.open(Opening("getgan", str(bundle), 32, 1, precision="fp32"), "getgan", "")
        run = contest.run(entry, LoadJob(Setting("soak", 1, 1), 0.2, 0, 2), 0, sampler)
    starts, times = run.starts.seconds(), run.latencies.seconds()
    assert run.seconds >= 0.2 and starts[-1] > 0.15 and (np.diff(starts) > 0).all() and run.warm_up >= 2
    assert starts[-1] + times[-1] == pytest.approx(run.seconds, abs=1e-4)
    assert all(stage.times is None or stage.times.count == len(times) for stage in run.stages)
    assert run.throughput == pytest.approx(len(times) / run.seconds)


def test_a_dead_contestant_is_named(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    with Contest(tmp_path) as contest, Sampler([]) as sampler:
        opening = Opening("getgan", str(bundle), 32, 1, precision="fp32")
        entry = contest.open(opening, "getgan", "")
        assert entry.running and entry.pid is not None
        contest.run(entry, LoadJob(BASE, 0.01, 0, 1), 0, sampler)
        os.kill(entry.pid, signal.SIGKILL)
        with pytest.raises(DeviceError, match="the process of getgan 0 ended with -9"):
            contest.run(entry, LoadJob(BASE, 0.01, 0, 1), 1, sampler)


def test_a_peer_that_dies_while_it_opens_is_missing_and_a_way_of_ours_is_not(tmp_path: Path) -> None:
    broken = msgspec.structs.replace(Opening("peer", "b", 32, 1), size="x")
    with Contest(tmp_path) as contest:
        entry = contest.open(broken, "peer", "")
        assert not entry.running and "the process of peer 0 ended with 1" in entry.ready.unavailable
        with pytest.raises(DeviceError, match="the process of ours 1 ended with 1"):
            contest.open(msgspec.structs.replace(broken, kind="getgan"), "ours", "")


def test_the_harness_alone_is_measured_through_the_same_loops(tmp_path: Path) -> None:
    with Contest(tmp_path) as contest:
        entry = contest.open(Opening("null", "", 0, 1), "null session", "nothing")
        done = entry.ask(OverheadJob(500), OverheadDone)
    assert 0 < done.closed < 0.01 and 0 < done.open_wait < 1.0


# --- flags ----------------------------------------------------------------------------------------------

QUIET = Overhead(1.0, 1.0, 1, 20.0)


def run_with(readings: dict[str, list[float | None]], *, setting: Setting = BASE, **more: object) -> Run:
    base = make_report().runs[0]
    found = tuple(Reading(name, tuple(values)) for name, values in readings.items())
    return msgspec.structs.replace(base, readings=found, setting=setting, **more)


def kinds(*runs: Run, load: float | None = 0.0, overhead: Overhead = QUIET, **more: object) -> set[str]:
    contestant = msgspec.structs.replace(Contestant("getgan", "getgan", ""), **more)
    found = flags(load, overhead, [contestant], runs, pool(runs), [])
    return {flag.kind for flag in found if flag.kind not in ("samples", "spread")}


def test_a_quiet_machine_raises_no_flag() -> None:
    steady: dict[str, list[float | None]] = {
        "cpu of other programs": [0.1, 0.2],
        "cpu clock": [3000.0, 3010.0],
        "cpu throttling": [5.0, 5.0],
    }
    assert kinds(run_with({**steady, "gpu throttling": [0.0]})) == set()


@pytest.mark.parametrize(
    ("kind", "readings"),
    [
        ("busy", {"cpu of other programs": [None, 0.9, 0.8, 0.0]}),
        ("clocks", {"cpu clock": [3000.0, 2500.0]}),
        ("clocks", {"gpu clock": [1980.0, 1200.0]}),
        ("throttled", {"cpu throttling": [5.0, 6.0]}),
        ("throttled", {"gpu throttling": [0.0, 0x40]}),
    ],
)
def test_what_a_sensor_saw_is_flagged(kind: str, readings: dict[str, list[float | None]]) -> None:
    assert kinds(run_with(readings)) == {kind}


def test_other_doubts_are_flagged_too() -> None:
    assert kinds(load=3.0) == {"busy"} and kinds(load=None) == set()
    assert (
        kinds(overhead=Overhead(30.0, 1.0, 1, 20.0))
        == kinds(overhead=Overhead(1.0, 30.0, 1, 20.0))
        == {"overhead"}
    )
    assert kinds(quality=Quality(4, "hand", 30.0, 0.9, 40, None)) == {"quality"}
    assert kinds(quality=Quality(4, "hand", 50.0, 0.9, 40, None)) == set()
    assert kinds(run_with({}, unserved=3)) == {"overload"}


def test_memory_that_grows_all_through_a_soak_is_flagged() -> None:
    soak = Setting("soak", 1, 1)
    growing = [100.0 + n for n in range(50)]
    filling = [50.0, 90.0, *[100.0] * 48]
    for values, found in ((growing, {"memory"}), (filling, set())):
        growth = Growth("host", values[0], values[-1], max(values), 100.0)
        run = run_with({"host memory": [*values]}, setting=soak, growth=(growth,))
        assert kinds(run) == found
        assert kinds(msgspec.structs.replace(run, setting=BASE)) == set()


def test_repeats_that_differ_and_few_queries_are_flagged() -> None:
    report = make_report(latencies={"getgan": ((0.01,) * 700, (0.02,) * 700), "peer": ((0.01,) * 9,)})
    runs = [msgspec.structs.replace(r, percentiles=percentiles(r.latencies.seconds())) for r in report.runs]
    found = flags(0.0, QUIET, report.contestants, runs, pool(runs), [])
    texts = {(flag.kind, flag.contestant): flag.text for flag in found}
    assert "p50 of the repeats from 10.00 to 20.00 ms" in texts["spread", "getgan"]
    assert texts["samples", "getgan"].endswith("1400 queries are too few for p99.9")
    assert "too few for p90, p95, p99" in texts["samples", "peer"] and ("spread", "peer") not in texts


def test_a_peer_that_times_the_network_alone_is_compared_with_ours_alone() -> None:
    report = make_report()
    own = report.runs[0]
    stages = [
        msgspec.structs.replace(s, times=Series.of([0.001]), absent="") if s.name == "decode" else s
        for s in own.stages
    ]
    own = msgspec.structs.replace(own, stages=tuple(stages))  # its network: 10 and 20 ms
    peer = next(run for run in report.runs if run.contestant == "peer")  # reads no file; 40 ms
    (ratio,) = ratios(report.contestants, [own, peer])
    assert ratio.what == "network" and ratio.median == pytest.approx(0.04 / 0.015)
    assert in_words(Setting("open", 1, 2, 12.5, "poisson")).startswith("open loop (poisson) at 12.5/s")


# --- options --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"threads": -1}, UsageError, "found -1 threads"),
        ({"batch": (0,)}, UsageError, "found batch 0; wanted numbers from 1"),
        ({"concurrency": ()}, UsageError, "found concurrency nothing"),
        ({"rate": (-5.0,)}, UsageError, "found rate -5; wanted above 0"),
        ({"camera": (float("nan"),)}, UsageError, "found camera nan"),
        ({"duration": 0.0}, UsageError, "found duration 0 s"),
        ({"repeats": 0}, UsageError, "found 0 repeats"),
        ({"peers": ("tvm",)}, UsageError, "found peer 'tvm'; wanted some of onnxruntime, openvino"),
        ({"scenarios": ("Edge",)}, UsageError, "found scenario 'Edge'; wanted some of SingleStream"),
        ({"size": 30}, UsageError, "found size 30; wanted a multiple of 4"),
        ({"bundle": Path("nowhere")}, BundleError, "nowhere: is missing"),
        ({"precision": ("fp16",)}, DeviceError, "bundle holds no fp16"),
        ({"precision": ("int7",)}, UsageError, "found precision 'int7'"),
        ({"device": "tpu"}, UsageError, "found device 'tpu'"),
    ],
)
def test_a_wrong_option_is_told(
    change: dict[str, object], error: type[GetganError], words: str, tmp_path: Path
) -> None:
    options = replace(BenchOptions(make_bundle(tmp_path / "b"), peers=()), **change)  # type: ignore[arg-type]
    with pytest.raises(error, match=words):
        measure(options)


def test_scenarios_need_a_folder_for_their_logs(tmp_path: Path) -> None:
    pytest.importorskip("mlperf_loadgen")
    with pytest.raises(ConfigError, match="name its folder with -o"):
        BenchOptions(tmp_path, scenarios=("Offline",)).check()


def test_lists_are_read() -> None:
    assert integers("batch", "1,2") == (1, 2) and floats("rate", "30,59.94") == (30.0, 59.94)
    assert floats("rate", "") == () and names("peer", "all", ("a", "b")) == ("a", "b")
    assert names("peer", "none", ("a",)) == () and names("precision", "fp32, bf16") == ("fp32", "bf16")
    for call in (
        lambda: integers("batch", "1,x"),
        lambda: floats("rate", "1,,2"),
        lambda: names("peer", "a,a"),
    ):
        with pytest.raises(UsageError, match="found"):
            call()


# --- the command ----------------------------------------------------------------------------------------

QUICK = ["--duration", "0.05", "--repeats", "1", "--peer", "onnxruntime", "--camera", "", "--threads", "1"]


def test_the_command_writes_its_report_and_loadgen_s_logs(tmp_path: Path) -> None:
    bundle, folder = make_bundle(tmp_path / "b"), tmp_path / "new" / "report"
    more = ["--scenario", "SingleStream"] if library_version("mlcommons-loadgen") else []
    done = getgan("bench", str(bundle), *QUICK, *more, "-o", str(folder))
    assert done.returncode == 0, done.stderr
    document = json.loads((folder / "report.json").read_bytes())
    assert document["format"] == "getgan-benchmark" and document["settings"]["threads"] == 1
    assert f"report: {folder / 'report.json'}" in done.stdout and "as fast as" in done.stdout
    if more:
        assert "measured with MLPerf LoadGen; no MLPerf result" in done.stdout
        (scenario,) = document["scenarios"]
        assert (folder / scenario["logs"] / "mlperf_log_summary.txt").read_text()
        assert scenario["sampled"] > 0
    logs = ["loadgen"] if more else []
    assert sorted(path.name for path in folder.iterdir()) == [*logs, "report.html", "report.json"]
    assert document["bundle"]["sha256"][:12] in (folder / "report.html").read_text()
    # A report of ours is replaced by the next one, any other file is not.
    (folder / "report.json").write_text("{}")
    refused = getgan("bench", "run", str(bundle), *QUICK, "-o", str(folder))
    assert refused.returncode == 1 and "it is not replaced: choose another folder" in refused.stderr
    assert (folder / "report.json").read_text() == "{}"
    (folder / "report.json").unlink()
    (folder / "report.html").write_text("mine")
    refused = getgan("bench", "run", str(bundle), *QUICK, "-o", str(folder))
    assert refused.returncode == 1 and "is no page of getgan bench" in refused.stderr
    # It was said before anything was measured.
    assert not (folder / "report.json").exists() and (folder / "report.html").read_text() == "mine"


@pytest.mark.slow
def test_what_torch_compiles_goes_with_the_run(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from getgan.benchmarks.untrained import write_untrained

    checkpoint, bundle = tmp_path / "net.safetensors", make_bundle(tmp_path / "b")
    write_untrained(checkpoint, ngf=2, size=32)
    package = Path(measure.__code__.co_filename).parents[1]
    before = sorted(path.name for path in package.iterdir())
    more = ["--checkpoint", str(checkpoint), "--peer", "torch-compile"]
    done = getgan_process("bench", str(bundle), *QUICK, *more, "--json")
    assert done.returncode == 0, done.stderr
    (peer,) = [each for each in json.loads(done.stdout)["contestants"] if each["role"] == "peer"]
    # Needs a compiler, and then gives a network's pictures; this bundle is of another one.
    assert (peer["unavailable"] == "" and peer["provider"] == "inductor") or "needs g++" in peer[
        "unavailable"
    ]
    assert sorted(path.name for path in package.iterdir()) == before


def test_ctrl_c_leaves_neither_process_nor_file(tmp_path: Path) -> None:
    bundle, temporary = make_bundle(tmp_path / "bundle"), tmp_path / "tmp"
    temporary.mkdir()
    code = (
        "from pathlib import Path\n"
        "from getgan.benchmarks.measure import measure\n"
        "from getgan.benchmarks.options import BenchOptions\n"
        f"options = BenchOptions(Path({str(bundle)!r}), threads=1, duration=600.0, peers=('onnxruntime',))\n"
        "measure(options, lambda what, share: print(what, flush=True))\n"
    )
    environment = {**os.environ, "TMPDIR": str(temporary)}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "closed loop" in line:
            break
    (folder,) = temporary.iterdir()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    started = [int(word) for word in children.read_text().split()] if children.exists() else []
    assert started or not children.exists()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert not folder.exists() and not any(Path(f"/proc/{pid}").exists() for pid in started)
