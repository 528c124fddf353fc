"""A small real bundle with a guard, and pictures that it knows, also in other colours."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
from bundle_helpers import make_bundle, network, noise
from numpy.typing import NDArray

from getgan.contract import Contract
from getgan.export.calibration import Calibration, Shot, calibrate
from getgan.export.features import with_features
from getgan.export.graph import model_from_proto
from getgan.runtime.guard.statistics import bytes_from_statistics
from getgan.runtime.images import bytes_from_image
from getgan.runtime.manifest import (
    MANIFEST_NAME,
    File,
    GuardRecord,
    json_from_manifest,
    manifest_from_json,
)

SIZE = 32
COUNT = 240
Picture = NDArray[np.uint8]


def scan(seed: int, size: int = SIZE) -> Picture:
    """A bright head above a dark ground, in the colours of old gold; upside down it is another picture."""
    rng = np.random.default_rng(1000 + seed)
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    x = np.abs(x - 0.5)  # alike on the left and on the right
    head = np.exp(-((x / rng.uniform(0.2, 0.24)) ** 2 + ((y - 0.3) / rng.uniform(0.18, 0.22)) ** 2))
    level = 170 * head * rng.uniform(0.9, 1.1) + 50 * (1.0 - y) + 12 + rng.normal(0, 4, (size, size))
    colours = np.array([1.0, 0.75, 0.45])
    return np.asarray(np.clip(level[..., None] * colours, 0, 255), np.uint8)


def grey(picture: Picture) -> Picture:
    """The same scan by a device with another palette."""
    level: Picture = picture.max(axis=2, keepdims=True)
    return np.concatenate([level, level, level], axis=2)


def make_guarded(folder: Path, *, outputs: tuple[str, ...] = ("face", "occlusion")) -> Path:
    """`make_bundle` with features in its graph and a guard calibrated with COUNT scans."""
    contract = Contract(size=SIZE, min_size=8, multiple_of=4)
    plain = model_from_proto(onnx.load_from_string(network(outputs=outputs)), outputs)
    graph = with_features(plain, contract).proto.SerializeToString()
    make_bundle(folder, graph=graph, outputs=outputs, precisions=("fp32",))
    found = _calibrated(graph, contract)
    files = {
        "guard.npz": bytes_from_statistics(found.statistics),
        "golden/refused.png": bytes_from_image(noise(SIZE)),
    }
    manifest = manifest_from_json((folder / MANIFEST_NAME).read_bytes())
    for name, data in files.items():
        (folder / name).write_bytes(data)
        manifest.files[name] = File(len(data), hashlib.sha256(data).hexdigest())
    record = GuardRecord(
        "guard.npz",
        "test scans",
        found.share,
        found.low,
        found.high,
        found.fitted,
        found.tested,
        found.studies,
        1.0,
        "golden/refused.png",
        found.aspects,
    )
    manifest = msgspec.structs.replace(manifest, guard=record)
    (folder / MANIFEST_NAME).write_bytes(json_from_manifest(manifest))
    return folder


def _calibrated(graph: bytes, contract: Contract) -> Calibration:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    shots = [Shot(scan(number)) for number in range(COUNT)]
    return calibrate(
        shots, lambda image: dict(zip(names, session.run(names, {"image": image}), strict=True)), contract
    )
