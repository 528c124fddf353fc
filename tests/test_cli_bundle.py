"""The main job from the command line: a checkpoint becomes a bundle, which is verified and runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_helpers import getgan, one_line
from export_helpers import checkpoint_of

from getgan.models.checkpoint import save_checkpoint
from getgan.runtime.images import read_image


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoints") / "tiny.safetensors"
    save_checkpoint(checkpoint_of("getgan-1x1"), path)
    return path


@pytest.fixture(scope="module")
def bundle(checkpoint: Path) -> Path:
    folder = checkpoint.parent / "bundle"
    done = getgan("export", checkpoint, "-o", folder, "--occlusion", "--frames", "--json")
    assert done.returncode == 0, done.stderr
    manifest = json.loads(done.stdout)["manifest"]
    assert manifest["outputs"] == ["face", "occlusion"]
    assert "fp16-frames" in [each["name"] for each in manifest["variants"] + manifest["refused"]]
    assert done.stderr == ""
    return folder


def test_verify_passes_its_own_checkpoint_and_no_other(bundle: Path, checkpoint: Path) -> None:
    done = getgan("verify", bundle, checkpoint)
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.rstrip().endswith("verified  yes")
    other = checkpoint.parent / "other.safetensors"
    save_checkpoint(checkpoint_of("resnet"), other)
    refused = getgan("verify", bundle, other)
    assert refused.returncode == 1
    assert "pass the checkpoint that it was exported from" in one_line(refused)


def test_export_never_overwrites_by_chance(bundle: Path, checkpoint: Path) -> None:
    before = (bundle / "manifest.json").read_bytes()
    done = getgan("export", checkpoint, "-o", bundle)
    assert done.returncode == 1
    assert "exists" in one_line(done) and "--overwrite" in one_line(done)
    assert (bundle / "manifest.json").read_bytes() == before


def test_inspect_tells_of_a_checkpoint(checkpoint: Path) -> None:
    assert "architecture  getgan" in getgan("inspect", checkpoint).stdout
    assert json.loads(getgan("inspect", checkpoint, "--json").stdout)["model"]["arch"] == "getgan"


@pytest.mark.parametrize("name", ["cut.safetensors", "text.pt", "gone.safetensors", "empty.safetensors"])
def test_what_is_no_checkpoint_is_one_line(name: str, checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.startswith("cut"):
        path.write_bytes(checkpoint.read_bytes()[:-100])
    elif name.startswith("text"):
        path.write_text("no checkpoint\n")
    elif name.startswith("empty"):
        path.touch()
    for done in (getgan("inspect", path), getgan("export", path, "-o", tmp_path / "bundle")):
        assert done.returncode == 1
        assert str(path) in one_line(done)
    assert not (tmp_path / "bundle").exists()


def test_the_demo_goes_the_whole_way(checkpoint: Path, tmp_path: Path) -> None:
    done = getgan("demo", checkpoint, "-o", tmp_path / "demo", "--json")
    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    summary = report["run"]["summary"]
    # A random network may give a flat picture, which the guard refuses.
    assert summary["translated"] + summary["failed"] == 7 and summary["translated"] > 3
    sheet = read_image(Path(report["sheet"]))
    assert sheet.shape[1] > 7 * 200 and sheet.std() > 20
    assert Path(report["page"]).read_text().startswith("<!")
