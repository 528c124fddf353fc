"""`getgan drift`: pictures, or what runs kept of theirs, against the calibration of a bundle's guard."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from getgan.errors import ConfigError, DataError, UsageError
from getgan.files import read_small, write_bytes_atomic
from getgan.printing import counted
from getgan.runtime.bundle import Bundle
from getgan.runtime.drift.findings import findings_of, missing_of
from getgan.runtime.drift.page import MARK, page_of
from getgan.runtime.drift.report import DriftReport
from getgan.runtime.drift.series import DAY, Point, date_of
from getgan.runtime.drift.shares import shares_of
from getgan.runtime.drift.trail import read_trail
from getgan.runtime.guard.judge import Guard
from getgan.runtime.guard.load import guard_of
from getgan.runtime.media.openers import Opener
from getgan.runtime.media.sources import open_source
from getgan.runtime.pipeline import Pipeline
from getgan.runtime.session import open_session

EVERY_S = 1.0  # of a video, as its neighbours show the same


def find_drift(
    bundle_path: Path,
    source_text: str,
    output: Path | None = None,
    *,
    device: str = "auto",
    threads: int = 0,
    openers: Sequence[Opener] = (),
    on_progress: Callable[[str], None] = lambda text: None,
) -> DriftReport:
    """Compare the pictures of the source, or with "" the record of this machine; the page goes to output.

    ConfigError for a bundle without guard, or a page that would replace another file; DataError if there is
    nothing to compare; others as `getgan run`.
    """
    if output is not None:
        _check_page(output)
    bundle = Bundle.open(bundle_path)
    guard = guard_of(bundle)
    if guard is None or not guard.statistics.attributes.any():
        raise ConfigError(
            f"{bundle_path}: found no guard, or one that knows no brightness and colours; wanted a "
            "bundle of: getgan export CKPT -o BUNDLE --calibration FOLDER"
        )
    failed = empty = 0
    if source_text:
        points, failed, empty = _measured(bundle, guard, source_text, device, threads, openers, on_progress)
    else:
        points = [
            Point(row.hour, row.run, row.kind, tuple(math.nan if v is None else v for v in row.values))
            for row in read_trail(bundle.sha256)
        ]
    if not points:
        raise DataError(f"found no picture in {source_text} that could be read and measured; wanted some")
    known = [point.moment for point in points if point.moment is not None]
    # Files that were copied together have one time.
    timed = len(known) == len(points) and max(known) - min(known) >= DAY
    if timed:
        points.sort(key=lambda point: point.moment or 0.0)
    unit = "file" if source_text else "run"
    kinds = [point.kind for point in points]
    record = bundle.manifest.guard
    promised = record.share if record else 0.0
    report = DriftReport(
        bundle=str(bundle.path),
        source=source_text,
        pictures=len(points),
        unit=unit,
        units=len({point.unit for point in points}),
        failed=failed,
        empty=empty,
        ok=kinds.count("ok"),
        unusual=kinds.count("unusual"),
        not_face=kinds.count("refused"),
        promised=promised,
        first=date_of(min(known)) if timed else "",
        last=date_of(max(known)) if timed else "",
        shares=shares_of(points, promised, timed=timed, unit=unit),
        findings=findings_of(points, guard.statistics, timed=timed, unit=unit),
        missing=missing_of(points, guard.statistics),
        page="" if output is None else str(output),
    )
    if output is not None:
        page = page_of(report, points, guard.statistics, timed=timed)
        output.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomic(output, page.encode())
    return report


def _measured(
    bundle: Bundle,
    guard: Guard,
    source_text: str,
    device: str,
    threads: int,
    openers: Sequence[Opener],
    on_progress: Callable[[str], None],
) -> tuple[list[Point], int, int]:
    """Every picture through the network; those that could not be read, or gave nothing, are counted."""
    points: list[Point] = []
    failed = empty = 0
    next_time: dict[str, float] = {}  # of each clip
    source = open_source(source_text, openers=openers)
    with contextlib.closing(source):
        if source.live:
            raise UsageError(
                f"found the camera {source_text}; wanted files, or nothing: what `getgan run` sees of a "
                "camera it keeps, and getgan drift BUNDLE reads that"
            )
        with open_session(bundle, device=device, threads=threads) as session:
            # Never explained: which of the looks helps says nothing of drift.
            pipeline = Pipeline(session, bundle.manifest.contract, None, guard, math.inf)
            for pending in source:
                if pending is None or (pending.time or 0.0) < next_time.get(pending.name, 0.0):
                    continue
                if pending.time is not None:
                    next_time[pending.name] = pending.time + EVERY_S
                try:
                    (result,) = pipeline.translate([pending.frame().image])
                except DataError:
                    failed += 1
                    continue
                if result.verdict is None or not result.attributes:  # one flat colour, or a broken output
                    empty += 1
                    continue
                moment = _moment(Path(source_text), pending.name)
                points.append(Point(moment, pending.name, result.verdict.kind, result.attributes))
                on_progress(counted(len(points), "picture"))
    return points, failed, empty


def _moment(path: Path, name: str) -> float | None:
    """When the file of a picture was written."""
    with contextlib.suppress(OSError):
        return (path / name if path.is_dir() else path).stat().st_mtime
    return None


def _check_page(output: Path) -> None:
    """ConfigError unless the page is a new file, or an earlier one of this command's."""
    if output.suffix.lower() != ".html":
        raise UsageError(f"found {output} for the page; wanted a name that ends in .html")
    if os.path.lexists(output) and not _ours(output):
        raise ConfigError(f"{output} exists, and is no page of getgan drift; wanted a new name")


def _ours(output: Path) -> bool:
    try:
        return MARK.encode() in read_small(output, 200)
    except OSError:
        return False
