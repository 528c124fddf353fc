"""The report's file: written whole, read strictly, never in the place of a file that is none."""

from __future__ import annotations

from pathlib import Path

import msgspec

from getgan.benchmarks.schema import FORMAT, MAX_TIMES, VERSION, Report
from getgan.errors import DataError, OutputError
from getgan.files import read_small, write_bytes_atomic
from getgan.printing import one_line

REPORT_NAME = "report.json"
MAX_REPORT_BYTES = 1 << 28


class _Header(msgspec.Struct):
    """What every version has."""

    format: str
    version: int


def json_from_report(report: Report) -> bytes:
    """Readable JSON; NaN and infinity become null."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"


def report_from_json(data: bytes) -> Report:
    """DataError says what is wrong with it."""
    try:
        header = msgspec.json.decode(data, type=_Header)
        if header.format != FORMAT or header.version != VERSION:
            found = f"{header.format!r:.40} version {header.version}"
            raise DataError(f"found {found}; wanted {FORMAT!r} version {VERSION}: measure again")
        report = msgspec.json.decode(data, type=Report)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"found a damaged report ({one_line(error)}); measure again") from error
    if problem := _problem(report):
        raise DataError(f"found {problem}; measure again")
    return report


def _problem(report: Report) -> str:
    """What no measurement gives, and the commands would stumble over; "" = nothing."""
    names = [each.name for each in report.contestants]
    ran = {each.name for each in report.contestants if not each.unavailable}
    if not names or len(set(names)) < len(names):
        return f"{len(names)} contestants of {len(set(names))} names"
    named = {run.contestant for run in report.runs} | {each.contestant for each in report.pooled}
    named |= {name for each in report.ratios for name in (each.contestant, each.peer)}
    if strange := sorted(named - ran):
        return f"figures of {strange[0]!r:.80}, which is no contestant that ran"
    # Times are packed: 100 kB of them may become 100 MB, and there may be any number of runs.
    if sum(max(0, run.latencies.count) for run in report.runs) > MAX_TIMES:
        return f"more than {MAX_TIMES:,} times"
    return ""


def read_report(path: Path) -> Report:
    """A report's file, or the folder that holds it; DataError names the path."""
    file = path / REPORT_NAME if path.is_dir() else path
    try:
        return report_from_json(read_small(file, MAX_REPORT_BYTES))
    except OSError as error:
        wanted = "wanted a report: getgan bench BUNDLE -o REPORT"
        raise DataError(f"{file}: cannot be read ({error.strerror}); {wanted}") from error
    except DataError as error:
        raise DataError(f"{file}: {error}") from error


def prepare_folder(folder: Path) -> None:
    """Make it, before the minutes of work; OutputError rather than replace a file that is no report."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {folder} ({error.strerror}); choose another folder") from error
    path = folder / REPORT_NAME
    if path.exists():
        try:
            read_report(path)
        except DataError as error:
            raise OutputError(f"{error}; it is not replaced: choose another folder") from error


def write_report(report: Report, folder: Path) -> Path:
    """REPORT_NAME in a folder that is there; OutputError leaves the older one."""
    path = folder / REPORT_NAME
    write_bytes_atomic(path, json_from_report(report))
    return path
