"""The benchmark: getgan and its peers in turn, on the same pictures; loads, scenarios, soak, quality."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import msgspec
import numpy as np

from getgan import __version__
from getgan.benchmarks.contest import OUTSIDE, Contest, Entry, in_turn, watched
from getgan.benchmarks.described import artefact, command, fingerprint, settings
from getgan.benchmarks.golden import golden_faces, judge
from getgan.benchmarks.jobs import (
    Judged,
    LoadJob,
    Opening,
    OverheadDone,
    OverheadJob,
    QualityJob,
    ScenarioDone,
    ScenarioJob,
    Searched,
    SearchJob,
)
from getgan.benchmarks.loadgen import scenario_from_logs
from getgan.benchmarks.options import BASE, BenchOptions
from getgan.benchmarks.peers import PEERS, PLAIN, TRTEXEC, Absent, Asked
from getgan.benchmarks.peers.trtexec import run_trtexec
from getgan.benchmarks.percentiles import percentiles
from getgan.benchmarks.pools import pool, ratios
from getgan.benchmarks.processes import check_system, temporary_folder
from getgan.benchmarks.sampling import Sampler
from getgan.benchmarks.schema import (
    STAGES,
    Contestant,
    Overhead,
    RateSearch,
    Report,
    Run,
    Scenario,
    Series,
    Setting,
    Stage,
    StageName,
)
from getgan.benchmarks.sensors import host_probes
from getgan.benchmarks.sensors_gpu import gpu_probes
from getgan.benchmarks.validity import flags, in_words
from getgan.errors import DeviceError, UsageError
from getgan.files import write_bytes_atomic
from getgan.runtime.bundle import Bundle
from getgan.runtime.devices import available_cores, machine
from getgan.runtime.geometry import check_size

Progress = Callable[[str, float], None]  # what is being done, share of the whole that is done
LIMIT_US = 20.0  # what the harness may take of each query
OVERHEAD_QUERIES = 20_000
SEARCH_S = 20.0  # what a search is expected to take, for the progress alone
OPEN_S = 5.0  # the same of an opening


class Measurement:
    """One measurement from its options to its report."""

    def __init__(self, options: BenchOptions, progress: Progress) -> None:
        options.check()
        check_system()
        self.options = options
        self.bundle = Bundle.open(options.bundle)
        contract = self.bundle.manifest.contract
        self.size = check_size(options.size, "crop" if contract.fixed else "fit", contract)
        self.other = None if options.beside is None else Bundle.open(options.beside)
        if self.other is not None:
            wanted = self.other.manifest.contract
            check_size(self.size, "crop" if wanted.fixed else "fit", wanted)
        self.threads = options.threads or available_cores()
        self.machine = machine()
        self.load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        self._progress = progress
        self._done = 0.0
        self._whole = self._seconds()

    def report(self) -> Report:
        """Measure; nothing but the report and LoadGen's logs stays on the disk."""
        options = self.options
        began = time.perf_counter()
        created = datetime.now(timezone.utc)
        with temporary_folder() as folder, Contest(folder) as contest:
            overhead = self._overhead(contest)
            self._open(contest, folder)
            entries = [entry for entry in contest.entries if entry.running]
            main = entries[0]
            with (
                gpu_probes(main.ready.device, lambda: contest.pid) as gpu,
                Sampler([*host_probes(lambda: contest.pid), *gpu]) as sampler,
            ):
                self._loads(contest, entries, sampler)
                external = self._trtexec(main, folder, sampler, contest)
                searches = self._search(main)
                scenarios = self._scenarios(main)
                if options.soak:
                    self._one(contest, main, Setting("soak", 1, 1), 0, sampler, options.soak)
            contestants = self._judged(contest, folder)
            sensors = tuple(probe.sensor for probe in sampler.probes)
        runs = [run for entry in contest.entries for run in entry.runs]
        for contestant, run in external:
            contestants.append(contestant)
            runs += [run] if run else []
        runs.sort(key=lambda run: run.began)
        pooled = pool(runs)
        self._progress("measured", 1.0)
        return Report(
            getgan=__version__,
            created=created.strftime("%Y-%m-%dT%H:%M:%SZ"),
            seconds=time.perf_counter() - began,
            command=command(options, self.threads, self.size),
            bundle=artefact(self.bundle),
            machine=fingerprint(self.machine, options.label),
            libraries={library.name: library.version for library in self.machine.libraries},
            settings=settings(options, main.ready, self.threads, self.size, self.other),
            load=self.load,
            overhead=overhead,
            sensors=sensors,
            contestants=tuple(contestants),
            runs=tuple(runs),
            pooled=pooled,
            ratios=ratios(contestants, runs),
            searches=searches,
            scenarios=scenarios,
            flags=flags(self.load, overhead, contestants, runs, pooled, scenarios),
        )

    def _overhead(self, contest: Contest) -> Overhead:
        self._tell("the harness alone", 1.0)
        entry = contest.open(Opening("null", "", 0, 1), "null session", "nothing")
        done = entry.ask(OverheadJob(OVERHEAD_QUERIES), OverheadDone)
        contest.entries.remove(entry)
        return Overhead(1e6 * done.closed, 1e6 * done.open_wait, OVERHEAD_QUERIES, LIMIT_US)

    def _open(self, contest: Contest, folder: Path) -> None:
        """getgan's ways, then the peers on the first one's device; DeviceError if getgan runs in no way."""
        options = self.options
        common = Opening("getgan", str(options.bundle), self.size, self.threads, device=options.device)
        for backend in options.backend:
            for precision in options.precision:
                self._tell(f"opening getgan {backend} {precision}", OPEN_S)
                opening = msgspec.structs.replace(common, precision=precision, backend=backend)
                entry = contest.open(opening, f"getgan {backend} {precision}", "getgan")
                if entry.ready.usage:
                    raise UsageError(entry.ready.unavailable)
                if not entry.ready.unavailable:
                    entry.name = f"getgan {entry.ready.version.partition(' ')[0]} {entry.ready.precision}"
                if entry.name in [other.name for other in contest.entries if other is not entry]:
                    contest.entries.remove(entry)  # auto chose what was named as well
        running = [entry for entry in contest.entries if entry.running]
        if not running:
            raise DeviceError("; ".join(entry.ready.unavailable for entry in contest.entries))
        contest.entries.sort(key=lambda entry: not entry.running)
        common = msgspec.structs.replace(
            common, kind="peer", device=running[0].ready.device, folder=str(folder)
        )
        graph = _fp32(self.bundle, folder / "fp32.onnx")
        for peer in PEERS:
            if peer.name in options.peers:
                self._tell(f"opening {peer.name}", OPEN_S)
                opening = msgspec.structs.replace(
                    common, peer=peer.name, graph=graph, checkpoint=str(options.checkpoint or "")
                )
                contest.open(opening, peer.name, peer.about)
        if self.other is not None and options.beside is not None:
            other, peer = self.other, PLAIN
            name = f"{peer.name} with {other.manifest.model.name}"
            self._tell(f"opening {name}", OPEN_S)
            opening = msgspec.structs.replace(
                common, bundle=str(options.beside), peer=peer.name, graph=_fp32(other, folder / "other.onnx")
            )
            about = f"{peer.about}; another network, bundle {other.sha256[:12]}, judged by its own pictures"
            contest.open(opening, name, about)

    def _loads(self, contest: Contest, entries: list[Entry], sampler: Sampler) -> None:
        """Each repeat holds everything once, so that a machine that slows down slows all alike."""
        for repeat in range(self.options.repeats):
            for entry in in_turn(entries, repeat):
                self._one(contest, entry, BASE, repeat, sampler, self.options.duration)
            for setting in self.options.settings()[1:]:
                self._one(contest, entries[0], setting, repeat, sampler, self.options.duration)

    def _one(
        self, contest: Contest, entry: Entry, setting: Setting, repeat: int, sampler: Sampler, seconds: float
    ) -> None:
        self._tell(f"{entry.name}: {in_words(setting)}", seconds)
        job = LoadJob(setting, seconds, self.options.seed + repeat, self.options.warm_up)
        contest.run(entry, job, repeat, sampler)

    def _trtexec(
        self, main: Entry, folder: Path, sampler: Sampler, contest: Contest
    ) -> list[tuple[Contestant, Run | None]]:
        """A program of its own, after the others: it cannot wait."""
        if TRTEXEC.name not in self.options.peers:
            return []
        asked = Asked(
            graph=folder / "fp32.onnx",
            input=self.bundle.manifest.input,
            size=self.size,
            batch=1,
            device=main.ready.device,
            threads=self.threads,
            folder=folder,
            checkpoint=None,
        )
        begin = time.perf_counter()
        about = Contestant(TRTEXEC.name, "peer", TRTEXEC.about, device=main.ready.device)
        try:
            found = run_trtexec(asked, self.options.duration)
        except Absent as reason:
            return [(msgspec.structs.replace(about, unavailable=str(reason)), None)]
        times: dict[StageName, list[float]] = {
            "copy_in": found.copy_in,
            "network": found.network,
            "copy_out": found.copy_out,
        }
        run = Run(
            contestant=TRTEXEC.name,
            setting=BASE,
            repeat=0,
            began=begin - contest.began,
            seconds=found.seconds,
            warm_up=0,
            starts=Series.of(found.starts),
            waits=Series.of([0.0] * len(found.starts)),
            latencies=Series.of(found.latencies),
            stages=tuple(
                Stage(name, Series.of(times[name])) if name in times else Stage(name, None, OUTSIDE[name])
                for name in STAGES
            ),
            percentiles=percentiles(found.latencies),
            throughput=len(found.latencies) / found.seconds,
        )
        run = watched(run, sampler, begin, time.perf_counter())
        known = msgspec.structs.replace(about, version=found.version, precision="fp32", provider="TensorRT")
        return [(known, run)]

    def _search(self, main: Entry) -> tuple[RateSearch, ...]:
        if not self.options.search:
            return ()
        self._tell(f"{main.name}: the highest rate that it keeps up with", SEARCH_S)
        base = [run for run in main.runs if run.setting == BASE]
        guess = float(np.median([run.throughput for run in base]))
        found = main.ask(SearchJob(1, guess), Searched)
        return (RateSearch(main.name, 1, found.rate, found.tolerance, found.trials),)

    def _scenarios(self, main: Entry) -> tuple[Scenario, ...]:
        """Their logs lie beside the report."""
        found = []
        goldens = list(golden_faces(self.bundle).values()) if self.options.scenarios else []
        for name in self.options.scenarios:
            assert self.options.output is not None
            self._tell(f"{main.name}: MLPerf LoadGen, {name}", self.options.duration)
            logs = Path("loadgen") / f"{main.name.replace(' ', '-')}-{name}"
            folder = self.options.output / logs
            folder.mkdir(parents=True, exist_ok=True)
            base = next(run for run in main.runs if run.setting == BASE)
            job = ScenarioJob(
                name,
                str(folder.resolve()),
                self.options.duration,
                base.throughput,
                base.percentiles.p99,
                self.options.seed,
            )
            done = main.ask(job, ScenarioDone)
            found.append(scenario_from_logs(folder, done, name, main.name, goldens, logs.as_posix()))
        return tuple(found)

    def _judged(self, contest: Contest, folder: Path) -> list[Contestant]:
        """Quality last: the session is the one that was timed."""
        goldens = {str(self.options.bundle): golden_faces(self.bundle)}
        if self.other is not None:  # judged by its own pictures
            goldens[str(self.options.beside)] = golden_faces(self.other)
        contestants = []
        for number, entry in enumerate(contest.entries):
            another = entry.opening.bundle != str(self.options.bundle)
            record = msgspec.structs.replace(entry.record(), another=another)
            if entry.running:
                self._tell(f"{entry.name}: quality", 1.0)
                path = folder / f"faces-{number}.npz"
                entry.ask(QualityJob(str(path)), Judged)
                with np.load(path) as faces:
                    record = msgspec.structs.replace(
                        record, quality=judge(dict(faces), goldens[entry.opening.bundle])
                    )
            contestants.append(record)
        return contestants

    def _seconds(self) -> float:
        """What the whole will take, for the progress; at least."""
        options = self.options
        ways = len(options.backend) * len(options.precision)
        contestants = ways + len(options.peers) + (self.other is not None)
        runs = options.repeats * (contestants + len(options.settings()) - 1) + len(options.scenarios)
        rest = OPEN_S * contestants + SEARCH_S * options.search + contestants + 1.0
        return runs * options.duration + options.soak + rest

    def _tell(self, what: str, seconds: float) -> None:
        """This begins, and takes so long."""
        self._progress(what, min(0.99, self._done / self._whole))
        self._done += seconds


def _fp32(bundle: Bundle, path: Path) -> str:
    """A bundle's FP32 graph as a file of its own."""
    write_bytes_atomic(path, bundle.read(bundle.manifest.variant("fp32").graph))
    return str(path)


def measure(options: BenchOptions, progress: Progress = lambda what, share: None) -> Report:
    """Measure everything that the options ask for.

    UsageError or ConfigError for options that cannot be, BundleError for a bundle that cannot be read,
    DeviceError if none of getgan's ways runs here or a process dies.
    """
    return Measurement(options, progress).report()
