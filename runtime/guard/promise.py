"""What a bundle's guard promises, in words: for inspect, the page and the report of an export."""

from __future__ import annotations

from getgan.runtime.manifest import GuardRecord

NONE = "none: any picture becomes a face"


def guard_in_words(record: GuardRecord | None) -> str:
    """One line."""
    if record is None:
        return NONE
    studies = "study" if record.studies == 1 else "studies"
    told = f"of {record.studies} {studies}" if record.studies else "whose studies are not known"
    pictures = f"{record.fitted + record.tested} pictures {told}, {record.tested} of them for the limit"
    return (
        f"refuses {promise_in_words(record)}; calibrated with {record.about}: {pictures}, "
        f"{aspects_in_words(record)}"
    )


def promise_in_words(record: GuardRecord) -> str:
    """How many scans of the calibration's kind are refused: the promise, and what is known of this guard."""
    return (
        f"{record.share:.1%} of such scans on the average (this one between {record.low:.1%} and "
        f"{record.high:.1%}, with 90 %)"
    )


def aspects_in_words(record: GuardRecord) -> str:
    """In which shapes the calibration's pictures were."""
    if record.aspects is None:
        return "aspects not recorded"
    low, high = (f"{aspect:.2f}" for aspect in record.aspects)
    return f"{low} times as wide as high" if low == high else f"{low} to {high} times as wide as high"
