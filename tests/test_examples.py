"""The bundles in examples/: whole, of the checkpoint beside them, and running as they are."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest
from backend_helpers import needs_backend
from bundle_helpers import sample
from cli_helpers import getgan

from getgan.runtime.bundle import Bundle
from getgan.runtime.images import read_image, write_image
from getgan.runtime.selftest import golden_of
from getgan.training.config import load_config

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
MAX_BYTES = 8_000_000  # of a checkpoint
MAX_BUNDLE_BYTES = 8_500_000
SIZES = (64, 256)


@pytest.mark.parametrize("size", SIZES)
def test_it_is_the_export_of_the_shipped_checkpoint(size: int) -> None:
    path, source = (EXAMPLES / f"getgan-{size}.{suffix}" for suffix in ("getgan", "safetensors"))
    bundle = Bundle.open(path)
    bundle.verify()
    assert path.stat().st_size <= MAX_BUNDLE_BYTES and source.stat().st_size <= MAX_BYTES
    checkpoint = hashlib.sha256(source.read_bytes()).hexdigest()
    assert checkpoint in msgspec.json.encode(bundle.manifest.model).decode()
    assert bundle.manifest.contract.size == size
    assert {variant.name for variant in bundle.manifest.variants} == {"fp32", "fp16", "bf16"}


@pytest.mark.parametrize("recipe", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_can_be_read(recipe: Path) -> None:
    config = load_config(recipe)
    own = load_config(recipe, ["data.kind=folders", "data.root=somewhere"])
    assert own.data.load_size >= own.data.size and config.data.kind == "faces"


@needs_backend
@pytest.mark.parametrize("size", SIZES)
def test_it_runs(size: int, tmp_path: Path) -> None:
    """With its guard: a face scan comes out as a face, a pattern as none."""
    bundle = EXAMPLES / f"getgan-{size}.getgan"
    write_image(tmp_path / "scan.png", golden_of(Bundle.open(bundle)).input)
    done = getgan("run", bundle, tmp_path / "scan.png", "-o", tmp_path / "face.png")
    assert done.returncode == 0, done.stderr
    assert min(read_image(tmp_path / "face.png").shape[:2]) >= size
    write_image(tmp_path / "pattern.png", sample(240))
    done = getgan("run", bundle, tmp_path / "pattern.png", "-o", tmp_path / "none.png")
    assert (done.returncode, "no face: pattern.png" in done.stderr) == (4, True)
