"""`getgan drift`: pictures, or what runs kept of theirs, against the calibration of a bundle's guard."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from getgan import __version__
from getgan.errors import ConfigError, DataError, UsageError
from getgan.files import read_small, write_bytes_atomic
from getgan.printing import json_text
from getgan.runtime.bundle import Bundle
from getgan.runtime.drift.findings import DAY, Finding, Point, date_of, findings_of, unrecorded
from getgan.runtime.drift.page import MARK, page_of
from getgan.runtime.drift.trail import read_trail
from getgan.runtime.guard.judge import Guard
from getgan.runtime.guard.load import guard_of
from getgan.runtime.media.openers import Opener
from getgan.runtime.media.sources import open_source
from getgan.runtime.pipeline import Pipeline
from getgan.runtime.session import open_session

EVERY_S = 1.0  # of a video, as its neighbours show the same


@dataclass(frozen=True)
class DriftReport:
    """In what pictures differ from those of the calibration."""

    bundle: str
    source: str  # "" = what runs on this machine kept
    pictures: int
    units: int  # files or runs
    failed: int  # could not be read
    ok: int
    unusual: int
    not_face: int
    promised: float  # share of false alarms of pictures like the calibration's
    first: str  # date of the first picture; "" = only the order is known
    last: str
    findings: tuple[Finding, ...]
    unrecorded: tuple[str, ...]  # attributes that the calibration did not measure
    page: str  # "" = none was asked for

    @property
    def headline(self) -> str:
        """The most important sentence, or that there is nothing to say."""
        drifted = sorted((f for f in self.findings if f.drifted), key=lambda f: -abs(f.delta))
        if drifted:
            return "; ".join(finding.words for finding in drifted)
        if self.findings and all(finding.p is None for finding in self.findings):
            return "too few files or runs for a test; no drift was found"
        return "no drift was found: these pictures are like those of the calibration"

    def counts(self) -> str:
        """How many pictures there are, and what the guard says of them."""
        when = f", {self.first} to {self.last}" if self.first else ""
        failed = f", {self.failed} could not be read" if self.failed else ""
        return (
            f"{self.pictures} pictures of {self.units} {'files' if self.source else 'runs'}{when}: "
            f"{self.ok} as in the calibration, {self.unusual} unusual, {self.not_face} no face scans"
            f"{failed}; of pictures like the calibration's {self.promised:.1%} at most would be refused"
            + "".join(
                f"; the calibration did not record the {name}: calibrate again" for name in self.unrecorded
            )
        )

    def text(self) -> str:
        """For people."""
        lines = [self.headline, self.counts()]
        for each in self.findings:
            p = "p not tested" if each.p is None else f"p {each.p:.3f}"
            low, middle, high = each.reference
            lines.append(
                f"{'drift' if each.drifted else 'ok':5} {each.name:15} {each.median:8.3f}, calibration "
                f"{middle:.3f} ({low:.3f} to {high:.3f}); Kolmogorov-Smirnov {each.distance:.2f}, {p}; "
                f"Cliff's delta {each.delta:+.2f}"
            )
        return "\n".join([*lines, *([f"page: {self.page}"] if self.page else [])])

    def to_json(self) -> str:
        """For machines."""
        return json_text(asdict(self) | {"getgan": __version__, "headline": self.headline})


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
    failed = 0
    if source_text:
        points, failed = _measured(bundle, guard, source_text, device, threads, openers, on_progress)
    else:
        points = [
            Point(row.hour, row.run, row.kind, tuple(math.nan if v is None else v for v in row.values))
            for row in read_trail(bundle.sha256)
        ]
    if not points:
        raise DataError(f"found no picture in {source_text} that could be read; wanted some")
    known = [point.moment for point in points if point.moment is not None]
    # Files that were copied together have one time.
    timed = len(known) == len(points) and max(known) - min(known) >= DAY
    if timed:
        points.sort(key=lambda point: point.moment or 0.0)
    kinds = [point.kind for point in points]
    record = bundle.manifest.guard
    report = DriftReport(
        bundle=str(bundle.path),
        source=source_text,
        pictures=len(points),
        units=len({point.unit for point in points}),
        failed=failed,
        ok=kinds.count("ok"),
        unusual=kinds.count("unusual"),
        not_face=kinds.count("refused"),
        promised=record.share if record else 0.0,
        first=date_of(min(known)) if timed else "",
        last=date_of(max(known)) if timed else "",
        findings=findings_of(points, guard.statistics, timed=timed),
        unrecorded=unrecorded(guard.statistics),
        page="" if output is None else str(output),
    )
    if output is not None:
        page = page_of(
            report.headline, report.counts(), report.findings, points, guard.statistics, timed=timed
        )
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
) -> tuple[list[Point], int]:
    """Every picture through the network; those that could not be read are counted."""
    points: list[Point] = []
    failed = 0
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
                    failed += 1
                    continue
                moment = _moment(Path(source_text), pending.name)
                points.append(Point(moment, pending.name, result.verdict.kind, result.attributes))
                on_progress(f"{len(points)} pictures")
    return points, failed


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
