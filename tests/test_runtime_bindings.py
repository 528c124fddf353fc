"""ONNX Runtime's bound memory, run for real in the CPU's; and how a graph is opened on a GPU."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from bundle_helpers import network
from numpy.typing import NDArray

from getgan.errors import DeviceError
from getgan.runtime.backends import Graph
from getgan.runtime.backends import onnxruntime as backend
from getgan.runtime.backends.bindings import MAX_SHAPES, Bindings, attempts

onnxruntime = pytest.importorskip("onnxruntime")
OUTPUTS = ("face", "occlusion")


@pytest.fixture(scope="module")
def session() -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(network(outputs=OUTPUTS), options, providers=["CPUExecutionProvider"])


def bindings(session: Any) -> Bindings:
    return Bindings(onnxruntime, session, ("image", OUTPUTS), ("cpu", 0))


def images(batch: int, side: int, seed: int = 0) -> NDArray[np.float32]:
    values = np.random.default_rng(seed).uniform(-1, 1, (batch, 3, side, side))
    return values.astype(np.float32)


def wanted(session: Any, pictures: NDArray[np.float32]) -> list[NDArray[Any]]:
    found: list[NDArray[Any]] = session.run(list(OUTPUTS), {"image": pictures})
    return found


def test_every_shape_gives_what_a_plain_run_gives(session: Any) -> None:
    """More shapes than are bound, and each again with other pictures."""
    bound = bindings(session)
    shapes = [(1, 32), (2, 32), (1, 48), (3, 16), (1, 64), (2, 64)]
    assert len(shapes) > MAX_SHAPES
    for seed in range(2):
        for batch, side in shapes:
            pictures = images(batch, side, seed)
            for found, right in zip(bound.run(pictures), wanted(session, pictures), strict=True):
                assert np.array_equal(found, right)
    assert len(bound._bound) == MAX_SHAPES


def test_the_results_are_the_callers_own(session: Any) -> None:
    bound = bindings(session)
    first = bound.run(images(1, 32))
    kept = [array.copy() for array in first]
    bound.run(images(1, 32, seed=1))
    assert all(np.array_equal(array, copy) for array, copy in zip(first, kept, strict=True))


def test_memory_is_bound_once_for_a_shape(session: Any) -> None:
    bound = bindings(session)
    bound.run(images(1, 32))
    before = bound._bound[1, 3, 32, 32]
    bound.run(images(1, 32, seed=1))
    assert bound._bound == {(1, 3, 32, 32): before}


def test_threads_take_their_turn(session: Any) -> None:
    bound = bindings(session)
    wrong: list[int] = []

    def work(seed: int) -> None:
        pictures = images(1, 32, seed)
        right = wanted(session, pictures)
        for _ in range(5):
            if not all(map(np.array_equal, bound.run(pictures), right)):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_strict_way_comes_first() -> None:
    strict, judged = attempts(1, "fp16")
    assert strict.strict and strict.entries == {"session.disable_cpu_ep_fallback": "1"}
    assert strict.settings == {"device_id": 1, "use_tf32": 0, "prefer_nhwc": 1, "enable_cuda_graph": 1}
    assert not judged.strict and judged.entries == {}
    assert judged.settings == {"device_id": 1, "use_tf32": 0, "prefer_nhwc": 1}
    assert "prefer_nhwc" not in attempts(0, "fp32")[0].settings


class Gpu:
    """The real library with one provider more, which refuses a graph strictly or at all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refuses: tuple[bool, ...]) -> None:
        self.asked: list[tuple[dict[str, Any], bool]] = []
        real, answers = onnxruntime.InferenceSession, iter(refuses)

        def make(place: Any, options: Any, providers: Any, enable_fallback: bool) -> Any:
            assert not enable_fallback
            ((name, settings),) = providers
            assert name == backend.CUDA
            self.asked.append((settings, options.enable_profiling))
            if next(answers):
                raise RuntimeError("not all nodes are on CUDA")
            # The CPU's provider is what the strict way's own entry forbids.
            kept = options if options.enable_profiling else onnxruntime.SessionOptions()
            found = real(place, kept, providers=["CPUExecutionProvider"])
            found.get_providers = lambda: [backend.CUDA, backend.CPU]
            return found

        monkeypatch.setattr(onnxruntime, "InferenceSession", make)
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [backend.CUDA])
        monkeypatch.setattr(
            backend,
            "Bindings",
            lambda library, session, names, device: Bindings(library, session, names, ("cpu", 0)),
        )


def opened() -> backend.OnnxRuntimeEngine:
    data = network(outputs=OUTPUTS)
    return backend.OnnxRuntimeEngine(Graph(lambda: data, "fp32", "image", OUTPUTS), 1, 0)


def test_a_graph_that_runs_strictly_needs_no_profile(monkeypatch: pytest.MonkeyPatch, session: Any) -> None:
    gpu = Gpu(monkeypatch, (False,))
    engine = opened()
    pictures = images(1, 32)
    assert np.array_equal(engine.infer(pictures)["face"], wanted(session, pictures)[0])
    assert engine.ran_on() == "CUDAExecutionProvider, every node, as a CUDA graph"
    assert [(settings["enable_cuda_graph"], profiled) for settings, profiled in gpu.asked] == [(1, False)]
    engine.close()
    with pytest.raises(DeviceError, match="closed"):
        engine.infer(pictures)


def test_a_graph_that_is_refused_strictly_is_judged_by_its_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(monkeypatch, (True, False))
    engine = opened()
    engine.infer(images(1, 32))
    with pytest.raises(DeviceError, match="nodes ran elsewhere than on CUDAExecutionProvider"):
        engine.ran_on()  # which it did: here is no GPU
    assert [("enable_cuda_graph" in settings, profiled) for settings, profiled in gpu.asked] == [
        (True, False),
        (False, True),
    ]
    engine.close()


def test_a_gpu_that_takes_it_in_no_way_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    Gpu(monkeypatch, (True, True))
    with pytest.raises(DeviceError, match=r"cannot load the graph .not all nodes are on CUDA"):
        opened()
