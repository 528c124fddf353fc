"""Where nodes ran, judged on real profiles: of the CPU as they are, and as if a GPU had run a part."""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backend_helpers import needs_onnxruntime
from bundle_helpers import network
from onnx_helpers import FLOAT, GraphWriter

from getgan.errors import DeviceError
from getgan.runtime.backends.placement import Profile, placement

pytestmark = needs_onnxruntime
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
PICTURE = ("batch", 3, "h", "w")


def counting() -> bytes:
    """A network that divides by the number of its pixels, as U-GAT-IT's norms do."""
    graph = GraphWriter()
    graph.add("Shape", ["image"], "sides")
    graph.constant("two", np.array([2, 3], np.int64))
    graph.add("Gather", ["sides", "two"], "height.width")
    graph.add("ReduceProd", ["height.width"], "count", keepdims=0)
    graph.add("Cast", ["count"], "pixels", to=FLOAT)
    graph.constant("one", np.array(1.0, np.float32))
    graph.add("Sub", ["pixels", "one"], "pixels-1")
    graph.add("Div", ["image", "pixels-1"], "face")
    return graph.model({"image": PICTURE}, {"face": PICTURE})


def profile_of(graph: bytes) -> bytes:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    profile = Profile(options)
    session = onnxruntime.InferenceSession(graph, options, providers=[CPU])
    image = np.zeros((1, 3, 32, 32), np.float32)
    session.run(None, {"image": image})
    found = profile.end(session)
    session.run(None, {"image": image})
    return found


def as_if(profile: bytes, on_gpu: Callable[[str], bool]) -> bytes:
    """The same profile with those operations run by CUDA."""
    events: list[dict[str, Any]] = json.loads(profile)
    for event in events:
        arguments = event.get("args", {})
        if "provider" in arguments and on_gpu(arguments["op_name"]):
            arguments["provider"] = CUDA
    return json.dumps(events).encode()


def test_all_on_the_provider() -> None:
    profile = profile_of(network())
    assert placement(profile, CPU).startswith(f"{CPU}, ")
    assert placement(as_if(profile, lambda op: True), CUDA).startswith(f"{CUDA}, ")
    with pytest.raises(DeviceError, match=rf"nodes ran elsewhere than on {CUDA}: .* on {CPU}"):
        placement(profile, CUDA)


def test_shapes_may_be_counted_on_the_cpu_and_pictures_not() -> None:
    profile = profile_of(counting())
    only_pictures = as_if(profile, lambda op: op == "Div")
    assert placement(only_pictures, CUDA) == f"{CUDA}, 1 of 1 nodes, 5 of shapes on the CPU"


@pytest.mark.parametrize("lost", ["Conv", "Tanh", "InstanceNormalization"])
def test_one_kind_of_node_on_the_cpu_is_named(lost: str) -> None:
    profile = profile_of(network())
    with pytest.raises(DeviceError, match=rf": \d {lost} on {CPU}"):
        placement(as_if(profile, lambda op: op != lost), CUDA)


def test_a_profile_without_nodes_proves_nothing() -> None:
    for profile in (b"[]", b'[{"cat":"Session","name":"model_loading","args":{}}]'):
        with pytest.raises(DeviceError, match="names no node"):
            placement(profile, CUDA)


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    profile_of(network())
    never_read = Profile(types.SimpleNamespace())
    assert len(list(tmp_path.iterdir())) == 1
    del never_read
    assert list(tmp_path.iterdir()) == []
