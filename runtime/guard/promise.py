"""What a bundle's guard promises, in words: for inspect, the page and the report of an export."""

from __future__ import annotations

from getgan.runtime.manifest import GuardRecord

NONE = "none: any picture becomes a face"


def guard_in_words(record: GuardRecord | None) -> str:
    """One line."""
    if record is None:
        return NONE
    studies = f"of {record.studies} studies" if record.studies else "whose studies are not known"
    return (
        f"refuses {record.share:.2%} of scans like its calibration's at most ({record.low:.2%} to "
        f"{record.high:.2%} with 90 %); calibrated with {record.about}: {record.fitted + record.tested} "
        f"pictures {studies}, {record.tested} of them for the limit, {aspects_in_words(record)}"
    )


def aspects_in_words(record: GuardRecord) -> str:
    """In which shapes the calibration's pictures were."""
    if record.aspects is None:
        return "aspects not recorded"
    low, high = (f"{aspect:.2f}" for aspect in record.aspects)
    return f"{low} times as wide as high" if low == high else f"{low} to {high} times as wide as high"
