"""Repeats together: pooled percentiles with the spread of the repeats, and ratios to the peers."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

import numpy as np

from getgan.benchmarks.options import BASE
from getgan.benchmarks.percentiles import percentiles, spread
from getgan.benchmarks.schema import Contestant, Pooled, Ratio, Run, StageName


def pool(runs: Sequence[Run]) -> tuple[Pooled, ...]:
    """One for each contestant and setting, in the order of their first runs."""
    together: dict[tuple[str, object], list[Run]] = {}
    for run in runs:
        together.setdefault((run.contestant, run.setting), []).append(run)
    return tuple(_pooled(group) for group in together.values())


def ratios(contestants: Sequence[Contestant], runs: Sequence[Run]) -> tuple[Ratio, ...]:
    """Each of getgan's ways to each peer, by the runs that stood side by side."""
    base: dict[str, list[Run]] = {}
    for run in runs:
        if run.setting == BASE:
            base.setdefault(run.contestant, []).append(run)
    ours = [each.name for each in contestants if each.role == "getgan" and each.name in base]
    theirs = [each.name for each in contestants if each.role == "peer" and each.name in base]
    return tuple(_ratio(base[own], base[peer]) for own in ours for peer in theirs)


def _pooled(runs: Sequence[Run]) -> Pooled:
    first = runs[0]
    every = np.concatenate([run.latencies.seconds() for run in runs])
    joules = [run.joules_per_image for run in runs if run.joules_per_image is not None]
    frames = sum(run.latencies.count + (run.dropped or 0) for run in runs)
    return Pooled(
        contestant=first.contestant,
        setting=first.setting,
        percentiles=percentiles(every),
        p50=spread([run.percentiles.p50 for run in runs]),
        p99=spread([run.percentiles.p99 for run in runs]),
        throughput=spread([run.throughput for run in runs]),
        stages=dict(_medians(runs)),
        unserved=sum(run.unserved for run in runs),
        dropped_share=None if first.dropped is None else sum(run.dropped or 0 for run in runs) / frames,
        joules_per_image=spread(joules) if joules else None,
    )


def _medians(runs: Sequence[Run]) -> Iterator[tuple[StageName, float]]:
    for place, stage in enumerate(runs[0].stages):
        parts = [times.seconds() for run in runs if (times := run.stages[place].times) is not None]
        if parts:
            yield stage.name, float(np.median(np.concatenate(parts)))


def _ratio(ours: Sequence[Run], theirs: Sequence[Run]) -> Ratio:
    """A peer that reads no file is compared with what it does: the network and the copies."""
    whole = all(stage.times is not None for stage in theirs[0].stages if stage.name == "decode")
    if whole:
        pairs = [(a.percentiles.p50, b.percentiles.p50) for a, b in zip(ours, theirs, strict=False)]
    else:
        alone = statistics.median([_network(run) for run in theirs])
        pairs = [(_network(run), alone) for run in ours]
    found = tuple(peer / own for own, peer in pairs)
    return Ratio(
        contestant=ours[0].contestant,
        peer=theirs[0].contestant,
        what="file to file" if whole else "network",
        ratios=found,
        median=statistics.median(found),
    )


def _network(run: Run) -> float:
    """Median of the network with its copies."""
    parts = [
        stage.times.seconds()
        for stage in run.stages
        if stage.name in ("copy_in", "network", "copy_out") and stage.times is not None
    ]
    return float(np.median(np.sum(parts, axis=0)))
