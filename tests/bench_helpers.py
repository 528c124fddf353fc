"""A benchmark's report with known figures, and a clock that only moves when it is told to."""

from __future__ import annotations

from dataclasses import dataclass, field

from getgan.benchmarks.schema import (
    STAGES,
    Artefact,
    Contestant,
    Fingerprint,
    Overhead,
    Percentiles,
    Report,
    Run,
    Series,
    Setting,
    Settings,
    Stage,
)


@dataclass
class FakeClock:
    """Seconds that pass only by `sleep_until` and `spend`."""

    time: float = 0.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.time

    def sleep_until(self, when: float) -> None:
        self.slept.append(when)
        self.time = max(self.time, when)

    def spend(self, seconds: float) -> None:
        self.time += seconds


def make_report(
    *, latencies: dict[str, tuple[tuple[float, ...], ...]] | None = None, label: str = ""
) -> Report:
    """A report of one closed loop; latencies: by contestant ("getgan" first), repeat by repeat."""
    by_name = latencies or {"getgan": ((0.01, 0.02), (0.01, 0.03)), "peer": ((0.04, 0.04), (0.02, 0.06))}
    setting = Setting("closed", batch=1, concurrency=1)
    runs = []
    for name, repeats in by_name.items():
        for number, times in enumerate(repeats):
            series = Series.of(times)
            stages = tuple(
                Stage(stage, series) if stage == "network" else Stage(stage, None, "not in this test")
                for stage in STAGES
            )
            low, mean = min(times), sum(times) / len(times)
            figures = Percentiles(len(times), mean, low, low, low, low, None, max(times))
            nothing = Series.of([0.0] * len(times))
            runs.append(
                Run(name, setting, number, 0.0, sum(times), 1, nothing, nothing, series, stages, figures, 1.0)
            )
    return Report(
        getgan="0",
        created="2026-01-01T00:00:00Z",
        seconds=1.0,
        command="",
        bundle=Artefact("tiny", "getgan", "0" * 64, 1),
        machine=Fingerprint(label, "Linux", "3.11", "a CPU", 2, (), 1000, (), "no GPU", ""),
        libraries={},
        settings=Settings(
            device="auto",
            precision=("auto",),
            backend=("auto",),
            threads=1,
            batch=(1,),
            size=32,
            concurrency=(1,),
            rate=(),
            camera=(),
            arrivals="poisson",
            duration=1.0,
            repeats=2,
            warm_up=1,
            soak=0.0,
            peers=("peer",),
            scenarios=(),
            pictures=1,
            file_bytes=1,
            seed=0,
        ),
        load=0.0,
        overhead=Overhead(1.0, 1.0, 1, 20.0),
        sensors=(),
        contestants=tuple(
            Contestant(name, "getgan" if name == "getgan" else "peer", "a test") for name in by_name
        ),
        runs=tuple(runs),
        pooled=(),
        ratios=(),
    )
