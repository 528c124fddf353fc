"""The self-test: every output of a bundle, against what the gate recorded for it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from backend_helpers import INSTALLED, needs_backend
from bundle_helpers import (
    FIGURES,
    edit_manifest,
    make_bundle,
    network,
    noise,
    replace_file,
    sample,
    translate,
)

from getgan.errors import DeviceError
from getgan.runtime.backends import Candidate, Engine, Graph
from getgan.runtime.backends.catalog import backend_of
from getgan.runtime.bundle import Bundle
from getgan.runtime.images import bytes_from_image
from getgan.runtime.manifest import Figures, Plan, Variant
from getgan.runtime.metrics import psnr
from getgan.runtime.outputs import shape_fault, value_fault
from getgan.runtime.pixels import map_from_tensor, tensor_from_images
from getgan.runtime.quality import THRESHOLDS, limits_elsewhere
from getgan.runtime.selftest import GoldenPair, golden_of, self_test
from getgan.runtime.session import open_session

OUTPUTS = ("face", "occlusion")


def figures(db: float | None, levels: int, ssim: float) -> Figures:
    return Figures(0.0, 0.0, levels, db, ssim, None)


def engine_of(graph: bytes) -> Engine:
    candidate = Candidate(INSTALLED[0], "cpu", "fp32")
    found = Graph(lambda: graph, "fp32", "image", ("face",))
    return backend_of(candidate).open(found, candidate, 1)


def golden(graph: bytes, db: float) -> GoldenPair:
    """A golden pair from whose output the graph's is `db` away, evenly over the picture."""
    picture = sample(64)
    right = translate(graph, picture)
    spread = 255.0 * 10.0 ** (-db / 20.0)
    moved = right + np.random.default_rng(0).normal(0.0, spread, right.shape)
    output = np.clip(np.rint(moved), 0, 255).astype(np.uint8)
    assert psnr(output, right) == pytest.approx(db, abs=0.8)
    return GoldenPair("face", picture, output)


@needs_backend
@pytest.mark.parametrize(
    ("db", "recorded", "accepted"),
    [
        (44.5, 45.1, True),  # what the gate just let pass, a hair worse on this CPU
        (41.0, 45.1, False),
        (50.0, 52.0, True),
        (50.0, 86.0, False),  # far above every limit of a gate, and still not what was recorded
        (50.0, None, False),
    ],
)
def test_the_limit_is_what_was_recorded(db: float, recorded: float | None, accepted: bool) -> None:
    graph = network()
    seen, limits = figures(recorded, 24, 0.99), THRESHOLDS["bf16"]
    variant = Variant("bf16", "graphs/fp32.onnx", "bf16", Plan(), "test", 1, seen, limits)
    engine = engine_of(graph)
    if accepted:
        assert self_test(engine, golden(graph, db), variant)[1].psnr == pytest.approx(db, abs=0.8)
    else:
        with pytest.raises(DeviceError, match=r"comes out differently on this machine: .*PSNR .* wanted"):
            self_test(engine, golden(graph, db), variant)
    engine.close()


def test_slack_is_bounded_at_both_ends() -> None:
    at_the_gate = THRESHOLDS["bf16"]
    found = limits_elsewhere(figures(at_the_gate.psnr, at_the_gate.max_levels or 0, at_the_gate.ssim))
    assert (found.psnr, found.max_levels) == (42.0, 37)
    assert found.ssim == pytest.approx(0.99)
    equal = limits_elsewhere(FIGURES["fp32"])
    assert (equal.psnr, equal.max_levels) == (67.0, 1)
    assert equal.ssim == pytest.approx(0.999)


@needs_backend
@pytest.mark.parametrize(
    ("times", "message"),
    [
        (0.0, "the output occlusion is 0 everywhere"),
        (float("nan"), "100.0% of the output occlusion is NaN"),
        (1e6, r"the output occlusion reaches from .* wanted 0 to 1"),
        (-1.0, r"the output occlusion reaches from -.* wanted 0 to 1"),
    ],
)
@pytest.mark.parametrize("backend", INSTALLED)
def test_a_map_that_is_no_map_is_refused(times: float, message: str, backend: str, tmp_path: Path) -> None:
    graph = network(outputs=OUTPUTS, occlusion_times=times)
    bundle = Bundle.open(make_bundle(tmp_path / "b", graph=graph, outputs=OUTPUTS))
    with pytest.raises(DeviceError, match=message):
        open_session(bundle, backend=backend, precision="fp32")


@needs_backend
@pytest.mark.parametrize(("off", "accepted"), [(0, True), (1, True), (3, False)])
def test_a_golden_map_is_compared(off: int, accepted: bool, tmp_path: Path) -> None:
    graph = network(outputs=OUTPUTS)
    folder = make_bundle(tmp_path / "b", graph=graph, outputs=OUTPUTS)
    bundle = Bundle.open(folder)
    with open_session(bundle, precision="fp32") as session:
        found = session.run(tensor_from_images([golden_of(bundle).input]))
    levels = map_from_tensor(found["occlusion"][0])
    levels[3, 3] += off
    name = "golden/face.occlusion.png"
    replace_file(folder, name, bytes_from_image(np.repeat(levels[..., None], 3, axis=2)))
    first, *others = [msgspec.to_builtins(golden) for golden in bundle.manifest.golden]
    edit_manifest(folder, golden=[{**first, "occlusion": name}, *others])
    if accepted:
        open_session(Bundle.open(folder), precision="fp32").close()
    else:
        with pytest.raises(DeviceError, match=r"the occlusion map is 0.012 away .* wanted 0.006"):
            open_session(Bundle.open(folder), precision="fp32")


def test_shapes_that_no_output_may_have() -> None:
    images = (2, 3, 16, 24)
    face, hidden = np.zeros(images, np.float32), np.zeros((2, 1, 4, 6), np.float32)
    assert shape_fault({"face": face, "occlusion": hidden, "error": face}, images) == ""
    for name, array in (
        ("face", face[:0]),
        ("face", face[:1]),
        ("face", face[0]),
        ("face", np.float32(1.0)),
        ("error", face[:, :1]),
        ("occlusion", hidden[:0]),
        ("occlusion", hidden[:, :0]),
        ("occlusion", hidden[0]),
        ("occlusion", np.zeros((2, 1, 32, 24), np.float32)),
        ("occlusion", np.float32(1.0)),
    ):
        assert f"the network gave {name} " in shape_fault({name: np.asarray(array)}, images)


def test_values_that_no_output_may_have() -> None:
    good = noise(16).astype(np.float32).transpose(2, 0, 1) / 255.0
    for name in ("face", "occlusion", "error"):
        assert value_fault(name, good) == value_fault(name, good * 1.005) == ""
        assert "wanted" in value_fault(name, good * 1.02)
        for value in (np.nan, np.inf, -np.inf):
            spoiled = good.copy()
            spoiled[1, 2, 3] = value
            assert f"of the output {name} is NaN or infinite" in value_fault(name, spoiled)
    assert value_fault("face", -good) == value_fault("error", -good) == ""
    assert "wanted 0 to 1" in value_fault("occlusion", -good)
