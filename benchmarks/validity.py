"""Why a figure may not hold: the machine was busy, clocks moved, too few queries, repeats that differ."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from getgan.benchmarks.percentiles import too_few
from getgan.benchmarks.report import QUIET_LOAD
from getgan.benchmarks.schema import (
    Contestant,
    Flag,
    Overhead,
    Pooled,
    Run,
    Scenario,
    Setting,
)
from getgan.runtime.quality import THRESHOLDS

BUSY_CORES = 0.25  # of other programs, median of a run
CLOCK_SHARE = 0.05  # between the lowest and the highest reading
SPREAD_SHARE = 0.10  # between the p50 of the repeats
SOAK_SHARE = 0.02  # more memory at the end of a soak than a tenth after its begin
SOAK_MB = 4.0  # less is an allocator's


def flags(
    load: float | None,
    overhead: Overhead,
    contestants: Sequence[Contestant],
    runs: Sequence[Run],
    pooled: Sequence[Pooled],
    scenarios: Sequence[Scenario],
) -> tuple[Flag, ...]:
    """All that is known."""
    found: list[Flag] = []
    if load is not None and load > QUIET_LOAD:
        found.append(Flag("busy", f"{load:.1f} programs wanted the CPU in the minute before the start"))
    if max(overhead.closed_us, overhead.open_wait_us or 0.0) > overhead.limit_us:
        took = (
            f"{overhead.closed_us:.1f} us a query, {overhead.open_wait_us or 0.0:.1f} us late in an open loop"
        )
        found.append(Flag("overhead", f"the harness takes {took}; wanted {overhead.limit_us:.0f} at most"))
    for contestant in contestants:
        found += _of_contestant(contestant, [run for run in runs if run.contestant == contestant.name])
    for each in pooled:
        found += _of_pool(each)
    for scenario in scenarios:
        if not scenario.valid:
            why = "; ".join(scenario.reasons) or "no reason given"
            text = f"LoadGen calls {scenario.scenario} invalid: {why}"
            found.append(Flag("scenario", text, scenario.contestant))
    return tuple(found)


def in_words(setting: Setting) -> str:
    """closed loop, batch 1, concurrency 2."""
    rate = "" if setting.rate is None else f" at {setting.rate:g}/s"
    kind = {"closed": "closed loop", "open": f"open loop ({setting.arrivals})", "camera": "camera"}
    sizes = f", batch {setting.batch}, concurrency {setting.concurrency}"
    return f"{kind.get(setting.kind, setting.kind)}{rate}" + ("" if setting.kind == "camera" else sizes)


def _of_contestant(contestant: Contestant, runs: Sequence[Run]) -> Iterator[Flag]:
    busy = [statistics.median(each) for run in runs if (each := _values(run, "cpu of other programs"))]
    if busy and max(busy) > BUSY_CORES:
        text = f"other programs took up to {max(busy):.2f} cores (median of a run)"
        yield Flag("busy", text, contestant.name)
    for name in ("cpu clock", "gpu clock"):
        clocks = [value for run in runs for value in _values(run, name)]
        if clocks and max(clocks) - min(clocks) > CLOCK_SHARE * max(clocks):
            text = f"the {name} moved between {min(clocks):.0f} and {max(clocks):.0f} MHz"
            yield Flag("clocks", text, contestant.name)
    counts = [values for run in runs if (values := _values(run, "cpu throttling"))]
    risen = sum(values[-1] - values[0] for values in counts)
    if risen:
        yield Flag("throttled", f"heat held the CPU's clock down {risen:.0f} times", contestant.name)
    reasons = 0
    for run in runs:
        for value in _values(run, "gpu throttling"):
            reasons |= int(value)
    if reasons:
        text = f"the GPU's clock was held down (NVML clock event reasons {reasons:#x})"
        yield Flag("throttled", text, contestant.name)
    for run in runs:
        if run.setting.kind == "soak":
            yield from _of_soak(run)
    quality, wanted = contestant.quality, THRESHOLDS["bf16"].psnr
    if quality is not None and quality.psnr is not None and quality.psnr < wanted:
        text = f"other pictures: PSNR {quality.psnr:.1f} dB ({quality.worst}), wanted {wanted:.0f}"
        yield Flag("quality", text, contestant.name)


def _of_soak(run: Run) -> Iterator[Flag]:
    """A first tenth is warm-up: caches fill."""
    for growth in run.growth:
        values = _values(run, f"{growth.what} memory")
        if len(values) < 10:
            continue
        early, late = values[len(values) // 10], values[-1]
        if late - early > max(SOAK_MB, SOAK_SHARE * early) and (growth.mb_per_hour or 0.0) > 0:
            text = f"{growth.what} memory grew from {early:.0f} to {late:.0f} MB in {run.seconds:.0f} s"
            yield Flag("memory", text, run.contestant)


def _of_pool(pooled: Pooled) -> Iterator[Flag]:
    where = in_words(pooled.setting)
    if names := too_few(pooled.percentiles.count):
        text = f"{where}: {pooled.percentiles.count} queries are too few for {', '.join(names)}"
        yield Flag("samples", text, pooled.contestant)
    p50 = pooled.p50
    if p50.high - p50.low > SPREAD_SHARE * p50.median:
        text = f"{where}: p50 of the repeats from {1000 * p50.low:.2f} to {1000 * p50.high:.2f} ms"
        yield Flag("spread", text, pooled.contestant)
    if pooled.unserved:
        text = (
            f"{where}: stopped, {pooled.unserved} queries never had their turn; the latencies are too small"
        )
        yield Flag("overload", text, pooled.contestant)


def _values(run: Run, sensor: str) -> list[float]:
    reading = next((each for each in run.readings if each.sensor == sensor), None)
    return [] if reading is None else [value for value in reading.values if value is not None]
