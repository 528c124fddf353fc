"""What was built and what the store holds, for people and for machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from getgan.runtime.engines.adapter import TITLES
from getgan.runtime.engines.fingerprint import Fingerprint
from getgan.runtime.engines.store import EngineRecord


@dataclass(frozen=True)
class BuildReport:
    """An engine that was built just now."""

    record: EngineRecord
    store: Path
    kept: EngineRecord | None  # what the store has of this fingerprint now: it, or one that passed before

    def text(self) -> str:
        """What was built, what was read of it, and what the gate says."""
        record = self.record
        lines = [
            f"built    {_what(record.fingerprint)}",
            f"         {_size(record)} in {record.seconds:.1f} s, shapes {_shapes(record.fingerprint)}",
            f"read     {record.proof.text()}",
            f"gate     {record.gate.verdict}: {record.gate.why}",
            *(
                f"         {seen.image}: {seen.max_levels} levels, "
                f"{'equal' if seen.psnr is None else f'{seen.psnr:.1f} dB'}, SSIM {seen.ssim:.4f}"
                for seen in record.gate.images
            ),
        ]
        folder = self.store / record.fingerprint.key
        stays = self.kept if self.kept != record else None
        if stays is None:
            lines.append(f"kept in  {folder}")
        else:
            lines.append(f"not kept: the engine of {stays.created[:10]}, which passed, stays in {folder}")
        if record.built_with != record.fingerprint.recipe.settings:
            level, space = record.built_with.optimization_level, record.built_with.workspace_mb
            lines.append(f"note     memory was short: built with {space} MB of workspace, level {level}")
        lines += [f"warning  {warning}" for warning in record.warnings]
        if not record.passed and stays is None:
            lines.append("         it is never loaded: an engine runs where it passed its gate")
        return "\n".join(lines)

    def to_json(self) -> str:
        """The record."""
        return msgspec.json.format(msgspec.json.encode(self.record), indent=2).decode()


@dataclass(frozen=True)
class StoreReport:
    """What the store holds, and what was removed from it."""

    store: Path
    records: tuple[EngineRecord, ...]
    faults: tuple[str, ...]  # of each one's file, "" = none: a copy may have been cut off since it passed
    removed: tuple[EngineRecord, ...] = ()

    def text(self) -> str:
        """A line or two for each engine."""
        lines = [f"removed  {_what(record.fingerprint)}" for record in self.removed]
        lines.append(f"{self.store}: {len(self.records)} engines" + (":" if self.records else ""))
        for record, fault in zip(self.records, self.faults, strict=True):
            state = "damaged" if fault else record.gate.verdict
            lines += [
                f"  {record.fingerprint.key[:12]}  {state:10}  {_what(record.fingerprint)}",
                f"      {_size(record)}, {record.created[:10]}, {_where(record.fingerprint)}",
                f"      {fault or f'{record.proof.text()}; {record.gate.why}'}",
            ]
        return "\n".join(lines)

    def to_json(self) -> str:
        """The records."""
        found = {
            "store": str(self.store),
            "engines": self.records,
            "faults": self.faults,
            "removed": self.removed,
        }
        return msgspec.json.format(msgspec.json.encode(found), indent=2).decode()


def _what(fingerprint: Fingerprint) -> str:
    recipe, place = fingerprint.recipe, fingerprint.place
    targets = ", ".join(recipe.settings.compute_capabilities)
    library = f"{TITLES[place.flavour]} {place.version}{f' for {targets}' if targets else ''}"
    return f"{recipe.variant} of graph {recipe.graph[:12]} with {library}"


def _where(fingerprint: Fingerprint) -> str:
    place = fingerprint.place
    if not place.gpu:
        return "built without a GPU"
    return f"{place.gpu} ({place.compute_capability}), driver {place.driver}, CUDA {place.cuda}"


def _size(record: EngineRecord) -> str:
    return f"{record.bytes / 1e6:.1f} MB"


def _shapes(fingerprint: Fingerprint) -> str:
    profiles: Sequence[str] = [str(profile) for profile in fingerprint.recipe.profiles]
    return ", ".join(profiles[:4]) + (f" and {len(profiles) - 4} more" if len(profiles) > 4 else "")
