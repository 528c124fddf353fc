"""Two real bundles that several files of tests look at, each exported once by each test process."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from export_helpers import EXAMPLES, saved

from getgan.export.bundle import ExportOptions, ExportReport, export_bundle
from getgan.runtime.images import write_image

CHECKPOINT = EXAMPLES / "getgan-64.safetensors"


def quiet(_what: str, _share: float) -> None:
    """For whoever wants no progress."""


@cache
def made_bundle() -> tuple[Path, ExportReport, list[tuple[str, float]]]:
    """The bundle of a shipped checkpoint, as a folder, with what was reported meanwhile."""
    folder = _folder("made")
    own = folder / "Jane Doe 1984.png"
    write_image(own, np.random.default_rng(3).integers(0, 256, (50, 70, 3), np.uint8))
    seen: list[tuple[str, float]] = []
    options = ExportOptions(outputs=("face", "occlusion"), images=(own,), frames=True, threads=2)
    report = export_bundle(
        CHECKPOINT, folder / "net", options, lambda what, share: seen.append((what, share))
    )
    assert sorted(path.name for path in folder.iterdir()) == ["Jane Doe 1984.png", "net"]
    return folder / "net", report, seen


@cache
def small_bundle() -> tuple[Path, Path, ExportReport]:
    """A tiny checkpoint and its bundle."""
    folder = _folder("small")
    checkpoint = saved(folder, "resnet")
    return checkpoint, folder / "net", export_bundle(checkpoint, folder / "net", ExportOptions(), quiet)


def _folder(name: str) -> Path:
    """A new one, which goes with the tests' cache."""
    return Path(mkdtemp(prefix=f"{name}-", dir=os.environ["XDG_CACHE_HOME"]))
