"""The bundle in examples/: whole, of the checkpoint beside it, and running as it is."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
from backend_helpers import needs_backend
from bundle_helpers import sample
from cli_helpers import getgan

from getgan.runtime.bundle import Bundle
from getgan.runtime.images import read_image, write_image
from getgan.runtime.selftest import golden_of

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
BUNDLE = EXAMPLES / "getgan-64.getgan"
MAX_BYTES = 8_000_000


def test_it_is_the_export_of_the_shipped_checkpoint() -> None:
    bundle = Bundle.open(BUNDLE)
    bundle.verify()
    assert BUNDLE.stat().st_size <= MAX_BYTES
    checkpoint = hashlib.sha256((EXAMPLES / "getgan-64.safetensors").read_bytes()).hexdigest()
    assert checkpoint in msgspec.json.encode(bundle.manifest.model).decode()


@needs_backend
def test_it_runs(tmp_path: Path) -> None:
    """With its guard: a face scan comes out as a face, a pattern as none."""
    write_image(tmp_path / "scan.png", golden_of(Bundle.open(BUNDLE)).input)
    done = getgan("run", BUNDLE, tmp_path / "scan.png", "-o", tmp_path / "face.png")
    assert done.returncode == 0, done.stderr
    assert min(read_image(tmp_path / "face.png").shape[:2]) >= 64
    write_image(tmp_path / "pattern.png", sample(240))
    done = getgan("run", BUNDLE, tmp_path / "pattern.png", "-o", tmp_path / "none.png")
    assert (done.returncode, "no face: pattern.png" in done.stderr) == (4, True)
