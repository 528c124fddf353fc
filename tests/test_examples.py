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
    write_image(tmp_path / "scan.png", sample(240))
    done = getgan("run", BUNDLE, tmp_path / "scan.png", "-o", tmp_path / "face.png")
    assert done.returncode == 0, done.stderr
    assert read_image(tmp_path / "face.png").shape == (240, 240, 3)
