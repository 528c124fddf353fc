"""What a bundle holds, every byte of it checked: for `getgan inspect`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from getgan.printing import json_text, one_line
from getgan.runtime.bundle import Bundle
from getgan.runtime.guard.promise import guard_in_words
from getgan.runtime.manifest import Manifest, Variant


class BundleFacts(msgspec.Struct, frozen=True):
    """A bundle's manifest, and that its files are what the manifest says."""

    path: str
    sha256: str  # of the manifest, which holds all other hashes
    bytes: int
    manifest: Manifest

    def text(self) -> str:
        """For a terminal."""
        manifest = self.manifest
        model, contract, made = manifest.model, manifest.contract, manifest.export
        size = f"{contract.size}x{contract.size}"
        smallest = f"{contract.min_size}x{contract.min_size}"
        sizes = f"{size} only" if contract.fixed else f"{size} trained, {smallest} smallest"
        rows = [
            ("bundle", self.path),
            ("sha256", self.sha256),
            ("files", f"{len(manifest.files)} files, {self.bytes:,} bytes, every hash is right"),
            ("model", f"{model.name}: {model.arch}, {model.parameters:,} parameters"),
            ("made from", model.source_sha256),
            ("images", f"{contract.channels}, {sizes}, multiples of {contract.multiple_of}"),
            ("outputs", ", ".join(manifest.outputs)),
            ("exported", f"{made.created} by getgan {made.getgan}, opset {made.opset}"),
        ]
        if training := model.training:
            by = f"{training.trained_on}, {training.iterations:,} iterations, seed {training.seed}"
            rows.insert(5, ("trained on", by))
        rows.append(("guard", guard_in_words(manifest.guard)))
        rows += [(variant.name, _accepted(variant)) for variant in manifest.variants]
        rows += [(refused.name, f"refused: {refused.reason}") for refused in manifest.refused]
        if model.notes:
            rows.append(("notes", model.notes))
        return "\n".join(f"{one_line(name):13s} {one_line(value)}" for name, value in rows)

    def to_json(self) -> str:
        """For a machine."""
        return json_text(self)


def inspect_bundle(path: Path) -> BundleFacts:
    """Open and hash everything; BundleError says what is wrong."""
    bundle = Bundle.open(path)
    size = bundle.verify()
    return BundleFacts(str(path), bundle.sha256, size, bundle.manifest)


def _accepted(variant: Variant) -> str:
    figures = variant.figures
    worst = (
        "equal pictures" if figures.psnr is None else f"{figures.psnr:.1f} dB, {figures.max_levels} levels"
    )
    kept = f"; in FP32: {', '.join(variant.plan.kept)}" if variant.plan.kept else ""
    return f"accepted on {variant.images} images; worst {worst} ({figures.worst}){kept}; {variant.backend}"
