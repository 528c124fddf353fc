"""A damaged bundle, checkpoint, record or training config costs a line: no time, no memory, no crash."""

from __future__ import annotations

import argparse
import io
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from bundle_helpers import make_bundle
from export_helpers import checkpoint_of
from fuzzing import fuzz

from getgan.export.record import record_from_json
from getgan.models.checkpoint import load_checkpoint, save_checkpoint
from getgan.runtime.bundle import Bundle, pack_bundle
from getgan.runtime.facts import inspect_bundle
from getgan.runtime.guard.statistics import Statistics, bytes_from_statistics, fit, statistics_from_bytes
from getgan.runtime.manifest import MANIFEST_NAME, manifest_from_json
from getgan.training.config import TrainConfig, config_to_toml_text, load_config

ROUNDS = 150
# One place for all inputs: the name of a file is part of what is tried.
PLACE = Path(tempfile.gettempdir()) / f"getgan-fuzz-{os.getpid()}"


def written(data: bytes, suffix: str) -> Path:
    path = PLACE.with_suffix(suffix)
    path.write_bytes(data)
    return path


# --- the targets ----------------------------------------------------------------------------------------


def manifest(data: bytes) -> None:
    manifest_from_json(data)


def packed_bundle(data: bytes) -> None:
    path = written(data, ".getgan")
    try:
        facts = inspect_bundle(path)
        facts.text()
        facts.to_json()
    finally:
        path.unlink()


def checkpoint(data: bytes, suffix: str) -> None:
    path = written(data, suffix)
    try:
        load_checkpoint(path).generator()
    finally:
        path.unlink()


def safetensors_file(data: bytes) -> None:
    checkpoint(data, ".safetensors")


def torch_file(data: bytes) -> None:
    checkpoint(data, ".pt")


def options_file(data: bytes) -> None:
    folder = PLACE.with_suffix(".d")
    folder.mkdir()
    try:
        (folder / "net.pt").write_bytes(saved(wide=True))
        (folder / "opt.txt").write_bytes(data)
        load_checkpoint(folder / "net.pt")
    finally:
        shutil.rmtree(folder)


def guard(data: bytes) -> None:
    statistics_from_bytes(data)


def quality_record(data: bytes) -> None:
    record_from_json(data)


def training_config(data: bytes) -> None:
    path = written(data, ".toml")
    try:
        load_config(path)
    finally:
        path.unlink()


# --- fed ------------------------------------------------------------------------------------------------


def test_manifest(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bundle")
    seeds = [(folder / MANIFEST_NAME).read_bytes(), b"[" * 100_000, b'{"format": 1e999}']
    fuzz(manifest, seeds, ROUNDS, seed=1, known=[seeds[0].replace(b"contract", rb"contract\n\u001b[2J")])


def test_packed_bundle(tmp_path: Path) -> None:
    pack_bundle(make_bundle(tmp_path / "bundle"), tmp_path / "tiny.getgan")
    assert Bundle.open(tmp_path / "tiny.getgan").verify()
    data = (tmp_path / "tiny.getgan").read_bytes()
    # The end, where a zip's directory is, by itself too: most changes would fall elsewhere.
    fuzz(packed_bundle, [data, data[-3000:], saved(wide=False)], ROUNDS, seed=2)


def saved(*, wide: bool) -> bytes:
    file = io.BytesIO()
    state = dict(checkpoint_of("resnet").state)
    torch.save(state, file, _use_new_zipfile_serialization=wide)
    return file.getvalue()


def test_safetensors_file(tmp_path: Path) -> None:
    seeds = []
    for name in ("getgan-1x1", "resnet"):
        save_checkpoint(checkpoint_of(name), tmp_path / "net.safetensors")
        seeds.append((tmp_path / "net.safetensors").read_bytes())
    fuzz(safetensors_file, seeds, ROUNDS, seed=3)


def test_torch_file(tmp_path: Path) -> None:
    save_checkpoint(checkpoint_of("getgan-1x1"), tmp_path / "net.pt")
    wrapped = io.BytesIO()
    state = {f"module.{key}": value for key, value in checkpoint_of("ugatit").state.items()}
    torch.save({"genA2B": state, "genB2A": state, "optimizer": {"state": {0: {"step": 1}}}}, wrapped)
    beside = io.BytesIO()
    options = argparse.Namespace(lr=2e-4, best=np.float64(0.5))
    torch.save({"net": dict(checkpoint_of("resnet").state), "args": options, "all": np.arange(3)}, beside)
    seeds = [(tmp_path / "net.pt").read_bytes(), saved(wide=True), saved(wide=False), wrapped.getvalue()]
    seeds.append(beside.getvalue())
    fuzz(torch_file, seeds, ROUNDS, seed=4)


def test_options_file() -> None:
    text = (
        b"----- Options -----\n  crop_size: 64\t[default: 256]\nngf: 2\neval: False\ninput_nc: 3\n-- End --\n"
    )
    fuzz(options_file, [text, text + b"a: b\n" * 9999, text + b"b: " + b"[default: " * 5000], ROUNDS, seed=7)


def test_training_config() -> None:
    text = config_to_toml_text(TrainConfig())
    fuzz(
        training_config,
        [text.encode(), b"a = " + b"[" * 50_000, b"[data]\nsize = " + b"9" * 5000],
        ROUNDS,
        seed=5,
    )


def test_guard() -> None:
    rng = np.random.default_rng(0)
    levels = np.linspace(0.0, 255.0, 256, dtype=np.float32)
    one = np.ones(1, np.float32)
    statistics = Statistics(*fit(rng.normal(size=(20, 4))), one, levels, np.tile(levels[:, None], 3))
    fuzz(guard, [bytes_from_statistics(statistics)], ROUNDS, 7)


def test_quality_record() -> None:
    seeds = [
        b'{"format": "getgan-quality", "version": 1, "source_sha256": "0", "limits": {}, "variants": []}',
        b'{"variants": ' + b"[" * 100_000,
    ]
    fuzz(quality_record, seeds, ROUNDS, seed=6, known=[seeds[0].replace(b"limits", rb"lim\nits")])
