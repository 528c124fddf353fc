"""Two reports of one machine, bundle and settings: what changed, how sure that is, what is a regression."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from getgan.benchmarks.comparison import LEVEL, Change, Comparison, Figure, Verdict
from getgan.benchmarks.percentiles import WANTED
from getgan.benchmarks.schema import Ratio, Report, Run
from getgan.benchmarks.validity import in_words
from getgan.errors import UsageError

RESAMPLES = 1000


def compare(
    before: Report, after: Report, *, regression: float, anyway: bool = False, seed: int = 0
) -> Comparison:
    """B against A.

    regression: the share by which a figure must be worse; it counts if its interval rules out no change.
    UsageError, without `anyway`, for reports of other machines, bundles or settings.
    """
    different = tuple(_differences(before, after))
    if different and not anyway:
        raise UsageError(
            f"the reports do not compare: {'; '.join(different)}; measure both alike, or say --anyway"
        )
    rows, others = _grouped(before), _grouped(after)
    generator = np.random.default_rng(seed)
    ours = {each.name for each in (*before.contestants, *after.contestants) if each.role == "getgan"}
    changes: list[Change] = []
    for key, runs in rows.items():
        if key in others:
            cycle = max(1, before.settings.pictures // runs[0].setting.batch)
            changes += _changes(runs, others[key], cycle, key[0] in ours, regression, generator)
    gone = {key: f"{_row(runs[0])}, in A alone" for key, runs in rows.items() if key not in others}
    unpaired = [*gone.values()]
    unpaired += [f"{_row(runs[0])}, in B alone" for key, runs in others.items() if key not in rows]
    # A way that no longer opens, or another one in its place, leaves no figure that could be worse.
    lost = () if anyway else tuple(row for (name, _), row in gone.items() if name in ours)
    if not changes and not lost:
        raise UsageError("the reports share no run of the same contestant and setting; measure both alike")
    return Comparison(
        before=_name(before),
        after=_name(after),
        regression=regression,
        different=different,
        libraries=tuple(_libraries(before, after)),
        changes=tuple(changes),
        pictures=tuple(_worse_pictures(before, after)),
        notes=tuple(_notes(before, after)),
        unpaired=tuple(unpaired),
        lost=lost,
    )


def share(text: str) -> float:
    """0.05 of "5%" or "0.05"; UsageError for what is neither."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0 <= value < 10:
        raise UsageError(f"found regression {text!r:.40}; wanted a share like 5% or 0.05")
    return value


def resampled(
    before: Sequence[NDArray[np.float64]],
    after: Sequence[NDArray[np.float64]],
    cycle: int,
    generator: np.random.Generator,
) -> NDArray[np.float64]:
    """B over A of p50, p99 and the mean, RESAMPLES times (paired bootstrap): float64 (RESAMPLES, 3).

    before, after: latencies, repeat by repeat. A draw takes the same repeats of both, since both sent the
    same pictures there, with the same seed; of a repeat it takes blocks of `cycle` queries in a row: each
    holds every picture once, and a slow moment of the machine stays in one piece.
    """
    count = min(len(before), len(after))
    ratios = np.empty((RESAMPLES, 3))
    for number in range(RESAMPLES):
        repeats = generator.integers(count, size=count)
        old, new = (
            _figures(np.concatenate([_blocks(side[k], cycle, generator) for k in repeats]))
            for side in (before, after)
        )
        ratios[number] = new / old
    return ratios


def _figures(times: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([*np.percentile(times, (50, 99)), times.mean()])


def _blocks(times: NDArray[np.float64], cycle: int, generator: np.random.Generator) -> NDArray[np.float64]:
    length = min(cycle, len(times))
    starts = generator.integers(len(times) - length + 1, size=-(-len(times) // length))
    drawn: NDArray[np.float64] = times[(starts[:, None] + np.arange(length)).ravel()]
    return drawn


def _changes(
    before: Sequence[Run],
    after: Sequence[Run],
    cycle: int,
    judged: bool,
    regression: float,
    generator: np.random.Generator,
) -> Iterator[Change]:
    old, new = ([np.maximum(run.latencies.seconds(), 1e-6) for run in side] for side in (before, after))
    ratios = resampled(old, new, cycle, generator)
    whole = np.stack([_figures(np.concatenate(side)) for side in (old, new)])
    setting = before[0].setting
    who, where = before[0].contestant, in_words(setting)
    yield _change(who, where, "p50", whole[:, 0], ratios[:, 0], judged, regression)
    if min(sum(map(len, side)) for side in (old, new)) >= WANTED["p99"]:
        yield _change(who, where, "p99", whole[:, 1], ratios[:, 1], judged, regression)
    # In a closed loop nobody waits: so many pictures each mean latency. Elsewhere it is what was offered.
    if setting.kind == "closed":
        rates = setting.batch * setting.concurrency / whole[:, 2]
        yield _change(who, where, "throughput", rates, 1 / ratios[:, 2], judged, regression)


def _change(
    contestant: str,
    setting: str,
    figure: Figure,
    sides: NDArray[np.float64],
    ratios: NDArray[np.float64],
    judged: bool,
    regression: float,
) -> Change:
    a, b = (float(side) for side in sides)
    ratio = b / a
    low, high = (float(q) for q in np.quantile(ratios, (0.5 - LEVEL / 2, 0.5 + LEVEL / 2)))
    # Worse is longer, or fewer.
    slower, sure, better = (
        (1 / ratio - 1, high < 1, low > 1) if figure == "throughput" else (ratio - 1, low > 1, high < 1)
    )
    verdict: Verdict = "no change"
    if slower > regression and judged:
        verdict = "regression" if sure else "undecided"
    elif better:
        verdict = "improvement"
    return Change(contestant, setting, figure, a, b, ratio, low, high, slower, verdict, judged)


def _differences(before: Report, after: Report) -> Iterator[str]:
    for what in ("machine", "settings"):
        a, b = (msgspec.to_builtins(getattr(report, what)) for report in (before, after))
        for field, value in a.items():
            if value != b[field]:
                yield f"{what}: {field.replace('_', ' ')} {_shown(value)} in A, {_shown(b[field])} in B"
    if before.bundle.sha256 != after.bundle.sha256:
        shas = [f"{each.bundle.name} {each.bundle.sha256[:12]}" for each in (before, after)]
        yield f"bundle: {shas[0]} in A, {shas[1]} in B"


def _shown(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text if text else "nothing"


def _libraries(before: Report, after: Report) -> Iterator[str]:
    a, b = ({"getgan": each.getgan, **each.libraries} for each in (before, after))
    for name in sorted(a.keys() | b.keys()):
        if a.get(name) != b.get(name):
            yield f"{name} {a.get(name, 'not there')} in A, {b.get(name, 'not there')} in B"


def _grouped(report: Report) -> dict[tuple[str, object], list[Run]]:
    """The runs that did something, by contestant and setting, repeat by repeat."""
    found: dict[tuple[str, object], list[Run]] = {}
    for run in sorted(report.runs, key=lambda run: run.repeat):
        if run.latencies.count:
            found.setdefault((run.contestant, run.setting), []).append(run)
    return found


def _worse_pictures(before: Report, after: Report) -> Iterator[str]:
    """Faster and worse is no improvement."""
    had = {flag.contestant for flag in before.flags if flag.kind == "quality"}
    ours = {each.name for each in after.contestants if each.role == "getgan"}
    for flag in after.flags:
        if flag.kind == "quality" and flag.contestant in ours - had:
            yield f"{flag.contestant}: {flag.text}"


def _notes(before: Report, after: Report) -> Iterator[str]:
    old = {each.name: each for each in before.contestants if not each.unavailable}
    for new in after.contestants:
        was = old.get(new.name)
        if was is None or new.unavailable:
            continue
        facts = [
            ("PSNR dB", was.quality and was.quality.psnr, new.quality and new.quality.psnr),
            ("peak MB", was.peak_mb, new.peak_mb),
            ("opens s", was.open_seconds, new.open_seconds),
        ]
        known = [f"{name} {a:.1f} -> {b:.1f}" for name, a, b in facts if a is not None and b is not None]
        graph = "the same graph" if was.graph_sha256 == new.graph_sha256 else "ANOTHER GRAPH"
        version = "" if was.version == new.version else f"{was.version} -> {new.version}; "
        yield f"{new.name}: {version}{graph}; {', '.join(known)}"
    headline = {(each.contestant, each.peer): each for each in before.ratios}
    for ratio in after.ratios:
        if (was_ratio := headline.get((ratio.contestant, ratio.peer))) is not None:
            both = f"{_spread(was_ratio)} -> {_spread(ratio)}"
            yield f"{ratio.contestant} is as fast as {ratio.peer} times {both}"
    for name, report in (("A", before), ("B", after)):
        kinds = {flag.kind for flag in report.flags}
        if kinds:
            yield f"flags of {name}: {', '.join(sorted(kinds))}"
        # No interval knows of it: two equal reports of a busy machine have differed by a third, "surely".
        if kinds & {"busy", "clocks", "throttled"}:
            yield f"beware: the machine was not quiet in {name}; a change may be the machine's: measure again"


def _spread(ratio: Ratio) -> str:
    return f"{ratio.median:.2f} ({min(ratio.ratios):.2f}-{max(ratio.ratios):.2f})"


def _row(run: Run) -> str:
    return f"{run.contestant}, {in_words(run.setting)}"


def _name(report: Report) -> str:
    return f"{report.created}  getgan {report.getgan}  {report.bundle.name} {report.bundle.sha256[:12]}"
