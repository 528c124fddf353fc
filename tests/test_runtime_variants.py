"""A bundle may hold several graphs for one precision; each has a name, which --precision selects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from backend_helpers import needs_onnxruntime
from bundle_helpers import FIGURES, edit_manifest, make_bundle, network, noise

import getgan.runtime.doctor.backends as doctor_backends
from getgan.errors import BundleError, UsageError
from getgan.runtime.backends import Candidate
from getgan.runtime.bundle import Bundle
from getgan.runtime.manifest import MANIFEST_NAME
from getgan.runtime.pixels import tensor_from_images
from getgan.runtime.session import open_session


def with_another(folder: Path, name: str, **changes: Any) -> Bundle:
    """A bundle with fp32, and another variant that runs in FP32 too: the graph with FP16 weights."""
    make_bundle(folder, precisions=("fp32",), graphs={"fp16": network(half=True)})
    (fp32,) = json.loads((folder / MANIFEST_NAME).read_text())["variants"]
    figures = msgspec.to_builtins(FIGURES["fp16"])
    other = {**fp32, "name": name, "graph": "graphs/fp16.onnx", "figures": figures, **changes}
    edit_manifest(folder, variants=[fp32, other])
    return Bundle.open(folder)


@needs_onnxruntime
def test_a_name_selects_its_graph(tmp_path: Path) -> None:
    bundle = with_another(tmp_path / "b", "light-2")
    image = tensor_from_images([noise(32)])
    with (
        open_session(bundle, precision="light-2", backend="onnxruntime") as light,
        open_session(bundle, precision="fp32", backend="onnxruntime") as full,
        open_session(bundle, backend="onnxruntime") as auto,
    ):
        assert (light.info.precision, full.info.precision, auto.info.precision) == ("light-2", "fp32", "fp32")
        assert "onnxruntime cpu light-2 is the fastest way of those with light-2" in light.info.why
        faces = [session.run(image)["face"] for session in (light, full, auto)]
    assert 0 < np.abs(faces[0] - faces[1]).max() < 0.02
    assert np.array_equal(faces[1], faces[2])


@needs_onnxruntime
def test_a_graph_of_frames_goes_first_and_the_next_takes_its_place(tmp_path: Path) -> None:
    # It is none: the file has no such outputs.
    bundle = with_another(tmp_path / "b", "fp32-frames", plan={"frames": "uint8"})
    assert bundle.manifest.outputs_of(bundle.manifest.variants[0]) == ("face",)
    assert bundle.manifest.outputs_of(bundle.manifest.variants[1]) == ("face", "extent")
    with open_session(bundle, backend="onnxruntime") as session:
        assert session.info.precision == "fp32"
        (warning,) = session.info.warnings
    assert warning.startswith("onnxruntime cpu fp32-frames: ")


@needs_onnxruntime
def test_the_doctor_tries_each(tmp_path: Path) -> None:
    with_another(tmp_path / "b", "light")
    ways = [Candidate("onnxruntime", "cpu", "fp32"), Candidate("openvino", "cpu", "bf16")]
    head, *found = doctor_backends.bundle_checks(tmp_path / "b", ways, 1)
    assert head.status == "ok"
    assert [(check.name, check.status) for check in found] == [
        ("guard", "warn"),  # this bundle has none
        ("bundle on onnxruntime cpu fp32", "ok"),
        ("bundle on onnxruntime cpu light", "ok"),
        ("bundle on openvino cpu bf16", "none"),
    ]


def test_an_unknown_name_is_a_wrong_use_and_a_refused_one_has_its_reason(tmp_path: Path) -> None:
    bundle = with_another(tmp_path / "b", "light")
    with pytest.raises(UsageError, match=r"found precision 'int8'; wanted auto or .* bundle's: fp32, light$"):
        open_session(bundle, precision="int8")
    with pytest.raises(BundleError, match=r"no bf16 \(a test leaves it out\); wanted one of fp32, light"):
        open_session(bundle, precision="bf16")


@pytest.mark.parametrize("name", ["auto", "", "FP32", "a b", "-frames", "x" * 33, "fp32\n", "é"])
def test_a_name_that_no_option_could_take_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"found a variant named .*; wanted letters"):
        with_another(tmp_path / "b", name)
