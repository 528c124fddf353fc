"""The backends' list: every way once, a key for what was compiled, and an engine put in another's place."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backend_helpers import INSTALLED, needs_backend
from bundle_helpers import VARIANT, make_bundle, network, noise

from getgan.errors import DeviceError
from getgan.runtime.backends import Candidate, Engine, Graph
from getgan.runtime.backends.catalog import BACKENDS, backend_of, candidates
from getgan.runtime.bundle import Bundle
from getgan.runtime.devices import Gpu, Library, Machine, machine
from getgan.runtime.pixels import tensor_from_images
from getgan.runtime.session import BundleSession, open_session

FACE = ("face",)
GPU = Gpu(0, "NVIDIA T4", 15_000, "550.1", "7.5")


def graph_of(data: bytes, sha256: str = "1" * 64) -> Graph:
    return Graph(lambda: data, "fp32", "image", FACE, sha256)


def test_every_way_is_listed_once_and_the_fastest_first() -> None:
    found = candidates(["cuda:0", "cuda:1", "cpu"])
    assert len({str(way) for way in found}) == len(found)
    assert [way.rank for way in found] == sorted(way.rank for way in found)
    assert {way.backend for way in found} == {backend.name for backend in BACKENDS}
    assert [str(way) for way in candidates(["cpu"])][:2] == ["openvino cpu bf16", "openvino cpu fp32"]
    assert all(way.device == "cuda:1" for way in candidates(["cuda:1"]))


def test_a_key_changes_with_all_that_compiled_code_depends_on() -> None:
    libraries = (Library("openvino", "2026.4.1"), Library("onnxruntime-gpu", "1.32.0"))
    this = replace(machine(), cpu="A CPU", flags=("avx2",), libraries=libraries, gpus=(GPU,))
    graph = graph_of(b"")
    # TensorRT's depends on an engine: test_tensorrt_backend.py.
    ways = [way for way in candidates(["cuda:0", "cpu"]) if way.backend != "tensorrt"]
    for way in ways:
        backend = backend_of(way)
        key = backend.key(graph, way, this)
        assert key == backend.key(graph_of(b"unread"), way, this)
        others: list[tuple[Graph, Candidate, Machine, Any]] = [
            (graph_of(b"", "2" * 64), way, this, ()),
            (replace(graph, outputs=("face", "occlusion")), way, this, ()),
            (graph, way, this, ((1, 3, 256, 256),)),
            (graph, replace(way, precision="int8"), this, ()),  # type: ignore[arg-type]  # one to come
            (graph, way, replace(this, libraries=tuple(replace(x, version="1") for x in libraries)), ()),
        ]
        if way.device == "cpu":
            others += [(graph, way, replace(this, cpu="B"), ()), (graph, way, replace(this, flags=()), ())]
        else:
            others += [(graph, way, replace(this, gpus=(replace(GPU, driver="600"),)), ())]
        keys = {key, *(backend.key(*other) for other in others)}
        assert len(keys) == len(others) + 1
    assert len({backend_of(way).key(graph, way, this) for way in ways}) == len(ways) == 6
    with pytest.raises(ValueError, match="no key"):
        BACKENDS[1].key(graph_of(b"", ""), candidates(["cpu"])[0], this)


def engine(data: bytes, backend: str) -> tuple[Engine, Candidate]:
    way = Candidate(backend, "cpu", "fp32")
    return backend_of(way).open(graph_of(data), way, 1), way


@pytest.fixture
def session(tmp_path: Path) -> BundleSession:
    bundle = Bundle.open(make_bundle(tmp_path / "bundle"))
    return open_session(bundle, precision="fp32", backend=INSTALLED[0], threads=1)


@needs_backend
def test_an_engine_is_replaced_while_others_run(session: BundleSession) -> None:
    image = tensor_from_images([noise(64)])
    first = session.run(image)["face"]
    second, way = engine(network(), INSTALLED[-1])
    expected = second.infer(image)["face"]
    replaced = threading.Event()
    seen: list[Any] = []

    def work() -> None:
        while not replaced.is_set():
            seen.append(session.run(image)["face"])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    session.replace(second, VARIANT, way, "it arrived later")
    replaced.set()
    for thread in threads:
        thread.join()
    seen.append(session.run(image)["face"])
    assert all(np.array_equal(face, first) or np.array_equal(face, expected) for face in seen)
    assert np.array_equal(seen[-1], expected)
    assert (session.info.backend, session.info.version) == (INSTALLED[-1], second.version)
    assert session.info.why == "it arrived later"
    assert session.info.self_test.psnr > 67
    session.close()
    with pytest.raises(DeviceError, match="closed"):
        second.infer(image)


@needs_backend
def test_an_engine_of_another_network_never_takes_the_place(session: BundleSession) -> None:
    image = tensor_from_images([noise(64)])
    before, first = session.info, session.run(image)["face"]
    other, way = engine(network(seed=5), INSTALLED[-1])
    with pytest.raises(DeviceError, match="comes out differently"):
        session.replace(other, VARIANT, way, "it arrived later")
    assert session.info == before
    assert np.array_equal(session.run(image)["face"], first)
    with pytest.raises(DeviceError, match="closed"):
        other.infer(image)
    session.close()


@needs_backend
def test_an_engine_that_arrives_after_the_end_is_closed(session: BundleSession) -> None:
    session.close()
    late, way = engine(network(), INSTALLED[-1])
    with pytest.raises(DeviceError, match="the session is closed"):
        session.replace(late, VARIANT, way, "it arrived later")
    with pytest.raises(DeviceError, match="closed"):
        late.infer(tensor_from_images([noise(64)]))
