"""The report as text: the ratio to each peer first, then tables, then why a figure may not hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from getgan.benchmarks.options import BASE
from getgan.benchmarks.percentiles import WANTED
from getgan.benchmarks.schema import (
    STAGES,
    Contestant,
    Percentiles,
    Pooled,
    Ratio,
    Report,
    Scenario,
)
from getgan.benchmarks.validity import in_words

SLOPE_S = 60.0  # 0.1 MB in a soak of 5 s would be told as 72 MB an hour


def text_of(report: Report) -> str:
    """For people."""
    parts = [_headline(report), about(report), _table(report), _quality(report), _stages(report)]
    parts += [_loads(report), _rates(report), _scenarios(report), _memory(report), _sensors(report)]
    parts.append(warnings(report))
    return "\n\n".join("\n".join(part) for part in map(list, parts) if part)


def _headline(report: Report) -> Iterator[str]:
    """By the first of getgan's ways."""
    main = main_way(report)
    base = base_of(report, main.name)
    if base is None:
        return
    yield headline_base(main, base)
    for ratio in report.ratios:
        if ratio.contestant == main.name:
            yield f"  {ratio_words(ratio):24} {peer_words(report, ratio)}"
    if not any(ratio.contestant == main.name for ratio in report.ratios):
        yield "  no peer ran: nothing to compare with"


def headline_base(main: Contestant, base: Pooled) -> str:
    """What getgan takes."""
    return f"{main.name}: p50 {ms(base.percentiles.p50)} from a picture's file to its face's"


def ratio_words(ratio: Ratio) -> str:
    """2.41x as fast (2.38-2.44)."""
    spread = f" ({min(ratio.ratios):.2f}-{max(ratio.ratios):.2f})" if len(ratio.ratios) > 1 else ""
    return f"{ratio.median:.2f}x as fast{spread} as"


def peer_words(report: Report, ratio: Ratio) -> str:
    """onnxruntime (fp32, 98.1 dB)."""
    peer = _contestant(report, ratio.peer)
    alone = "" if ratio.what == "file to file" else ", the network and its copies alone"
    quality = ", another network" if peer.another else _psnr(peer)
    return f"{peer.name} ({peer.precision}{quality}{alone})"


def _psnr(contestant: Contestant) -> str:
    quality = contestant.quality
    if quality is None:
        return ", quality not measured"
    return ", equal pictures" if quality.psnr is None else f", {quality.psnr:.1f} dB"


def about(report: Report) -> Iterator[str]:
    """Machine, software, network, settings."""
    machine, bundle, settings = report.machine, report.bundle, report.settings
    flags = ", ".join(machine.flags or ()) or "instruction sets unknown"
    libraries = ", ".join(f"{name} {version}" for name, version in report.libraries.items())
    gpus = "; ".join(machine.gpus) or machine.gpus_note
    if machine.label:
        yield f"machine   {machine.label}"
    yield f"cpu       {machine.cpu}, {machine.cores} cores ({flags}), {machine.memory_mb or '?'} MB"
    yield f"gpu       {gpus}"
    yield f"software  getgan {report.getgan}, Python {machine.python}, {libraries}, {machine.system}"
    yield f"network   {bundle.name}, {bundle.arch}, {bundle.parameters:,} numbers, {bundle.sha256[:12]}"
    yield (
        f"pictures  {settings.pictures} of {settings.size}x{settings.size}, PNG files of "
        f"{settings.file_bytes / 1000:.0f} kB in memory"
    )
    yield (
        f"runs      {settings.repeats} repeats of {settings.duration:g} s in turn, each after "
        f"{settings.warm_up} queries or more; {settings.threads} threads; no outlier removed"
    )
    overhead = report.overhead
    late = "" if overhead.open_wait_us is None else f", {overhead.open_wait_us:.1f} us in an open loop"
    yield f"harness   {overhead.closed_us:.1f} us a query{late} (a session that does nothing)"


def _table(report: Report) -> Iterator[str]:
    """One picture at a time, everybody."""
    yield f"{'file to file, ms':28}{_columns()}{'pictures/s':>12}{'opens':>9}{'peak MB':>9}{'J/image':>9}"
    for contestant in report.contestants:
        if contestant.unavailable:
            yield f"{contestant.name:28}  not here: {contestant.unavailable}"
            continue
        pooled = base_of(report, contestant.name)
        if pooled is None:
            continue
        opens = "-" if contestant.open_seconds is None else f"{contestant.open_seconds:.1f} s"
        memory = "-" if contestant.peak_mb is None else f"{contestant.peak_mb:.0f}"
        joules = "-" if pooled.joules_per_image is None else f"{pooled.joules_per_image.median:.2f}"
        cells = f"{_cells(pooled.percentiles)}{pooled.throughput.median:>12.2f}"
        yield f"{contestant.name:28}{cells}{opens:>9}{memory:>9}{joules:>9}"


def _quality(report: Report) -> Iterator[str]:
    judged = [each for each in report.contestants if each.quality is not None]
    if not judged:
        return
    images = judged[0].quality.images if judged[0].quality else 0
    yield f"{f'worst of {images} golden images':28}{'PSNR dB':>9}{'SSIM':>9}{'levels':>8}{'perceptual':>12}"
    absent = ""
    for each in judged:
        quality = each.quality
        assert quality is not None
        psnr = "equal" if quality.psnr is None else f"{quality.psnr:.1f}"
        distance = "-" if quality.perceptual is None else f"{quality.perceptual:.5f}"
        absent = absent or quality.perceptual_absent
        figures = f"{psnr:>9}{quality.ssim:>9.5f}{quality.max_levels:>8}{distance:>12}"
        yield f"{f'{each.name} ({each.precision})':28}{figures}"
    if absent:
        yield f"no perceptual distance: {absent}"


def _stages(report: Report) -> Iterator[str]:
    """Medians, everybody; absent ones with their reason."""
    columns = "".join(f"{name.replace('_', ' '):>10}" for name in STAGES)
    yield f"{'median ms':28}{columns}"
    reasons: dict[str, list[str]] = {}
    for contestant in report.contestants:
        pooled = base_of(report, contestant.name)
        if pooled is None:
            continue
        found = (pooled.stages.get(name) for name in STAGES)
        cells = "".join(f"{'-':>10}" if value is None else f"{1000 * value:>10.3f}" for value in found)
        yield f"{contestant.name:28}{cells}"
        run = next(run for run in report.runs if run.contestant == contestant.name)
        for stage in run.stages:
            if stage.times is None and stage.name not in (names := reasons.setdefault(stage.absent, [])):
                names.append(stage.name)
    yield main_way(report).about
    for reason, names in reasons.items():
        yield f"no {', '.join(name.replace('_', ' ') for name in names)}: {reason}"


def _loads(report: Report) -> Iterator[str]:
    rest = [pooled for pooled in report.pooled if pooled.setting != BASE]
    if not rest:
        return
    yield f"{'from the intended start, ms':52}{_columns()}{'pictures/s':>12}{'dropped':>9}"
    for pooled in rest:
        share = pooled.dropped_share
        dropped = "-" if share is None else f"{100 * share:.1f} %"
        cells = f"{_cells(pooled.percentiles)}{pooled.throughput.median:>12.2f}{dropped:>9}"
        yield f"{in_words(pooled.setting):52}{cells}"


def _rates(report: Report) -> Iterator[str]:
    for search in report.searches:
        tried = ", ".join(f"{t.rate:.2f} {'yes' if t.kept_up else 'no'}" for t in search.trials)
        rate = "none that was tried" if search.rate is None else f"{search.rate:.2f} pictures/s"
        yield f"highest rate that {search.contestant} keeps up with: {rate} (tried {tried})"


def _scenarios(report: Report) -> Iterator[str]:
    if not report.scenarios:
        return
    yield "measured with MLPerf LoadGen; no MLPerf result"
    for each in report.scenarios:
        verdict = "valid" if each.valid else "INVALID"
        psnr = "equal" if each.psnr is None else f"{each.psnr:.1f} dB at worst"
        judged = f"{each.sampled} sampled answers, {psnr}" if each.sampled else "no answer was sampled"
        yield f"{each.scenario:14}{verdict:9}{_figure(each)}; {judged}; logs: {each.logs}"


def _figure(scenario: Scenario) -> str:
    """The one that LoadGen puts first for the scenario."""
    names = {
        "SingleStream": ("90.00_percentile_latency_ns", 1e6, "ms p90"),
        "MultiStream": ("99.00_percentile_per_query_latency_ns", 1e6, "ms p99 for 8 pictures"),
        "Server": ("completed_samples_per_sec", 1.0, "pictures/s"),
        "Offline": ("samples_per_second", 1.0, "pictures/s"),
    }
    key, scale, unit = names[scenario.scenario]
    value = scenario.figures.get(key)
    return "no figure" if value is None else f"{value / scale:.2f} {unit}"


def _memory(report: Report) -> Iterator[str]:
    for run in report.runs:
        if run.setting.kind == "soak":
            for growth in run.growth:
                slope = "-" if growth.mb_per_hour is None else f"{growth.mb_per_hour:+.1f} MB an hour"
                if run.seconds < SLOPE_S:
                    slope = f"none under {SLOPE_S:.0f} s"
                ends = f"from {growth.first_mb:.0f} to {growth.last_mb:.0f} MB, peak {growth.peak_mb:.0f}"
                yield f"soak of {run.seconds:.0f} s, {growth.what} memory: {ends}; line through all: {slope}"


def _sensors(report: Report) -> Iterator[str]:
    present = [sensor for sensor in report.sensors if not sensor.absent]
    if present:
        yield f"watched: {', '.join(sensor.name for sensor in present)}"
    reasons: dict[str, list[str]] = {}
    for sensor in report.sensors:
        if sensor.absent:
            reasons.setdefault(sensor.absent, []).append(sensor.name)
    for reason, names in reasons.items():
        yield f"absent: {', '.join(names)}: {reason}"


def warnings(report: Report) -> Iterator[str]:
    """Why a figure may not hold, a line each."""
    few = sum(flag.kind == "samples" for flag in report.flags)
    if few:
        wanted = ", ".join(f"{count:,} for {name}" for name, count in WANTED.items())
        yield f"beware (samples): {few} rows have fewer queries than their percentiles want ({wanted})"
    for flag in report.flags:
        if flag.kind == "samples":
            continue
        who = f"{flag.contestant}: " if flag.contestant else ""
        yield f"beware ({flag.kind}): {who}{flag.text}"


def _columns() -> str:
    return "".join(f"{name:>9}" for name in ("p50", "p90", "p95", "p99", "p99.9", "max"))


def _cells(found: Percentiles) -> str:
    values: Sequence[float | None] = (
        *(found.p50, found.p90, found.p95, found.p99),
        found.p999,
        found.max,
    )
    return "".join(f"{'-':>9}" if value is None else f"{1000 * value:>9.2f}" for value in values)


def ms(seconds: float) -> str:
    """12.34 ms."""
    return f"{1000 * seconds:.2f} ms"


def main_way(report: Report) -> Contestant:
    """getgan's first way, which was measured most; a measurement without one ends in an error."""
    return next(each for each in report.contestants if each.role == "getgan" and not each.unavailable)


def _contestant(report: Report, name: str) -> Contestant:
    return next(each for each in report.contestants if each.name == name)


def base_of(report: Report, name: str) -> Pooled | None:
    """One picture at a time, the setting that all contestants ran."""
    found = (each for each in report.pooled if each.contestant == name and each.setting == BASE)
    return next(found, None)
