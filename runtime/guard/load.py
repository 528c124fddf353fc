"""A bundle's guard, read and checked."""

from __future__ import annotations

from getgan.errors import BundleError
from getgan.runtime.bundle import Bundle
from getgan.runtime.guard.judge import Guard
from getgan.runtime.guard.statistics import statistics_from_bytes


def guard_of(bundle: Bundle) -> Guard | None:
    """None: the bundle has none. BundleError if it is damaged, or another bundle's."""
    record = bundle.manifest.guard
    if record is None:
        return None
    try:
        return Guard(statistics_from_bytes(bundle.read(record.file)), record.hidden, record.aspects)
    except BundleError as error:
        raise BundleError(f"{bundle.path}: {error}") from error
