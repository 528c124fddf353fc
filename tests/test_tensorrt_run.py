"""An engine at work, by every call that it makes: order, shapes, addresses, streams, lifetimes."""

from __future__ import annotations

import enum
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cuda_double import CudaDouble, EngineDouble, TrtDouble, cudaError_t
from numpy.typing import NDArray

from getgan.errors import ConfigError, DeviceError
from getgan.runtime.engines import cuda as ours
from getgan.runtime.engines.lane import profile_of
from getgan.runtime.engines.runner import EngineRunner

SIDES = (8, 8, 3)
SHAPES = tuple((batch, *SIDES) for batch in (1, 4))
ANY = [((1, 8, 8, 3), (4, 8, 8, 3), (8, 16, 16, 3))]
MAKING = ("Alloc", "Malloc", "Create", "Instantiate", "Free", "Destroy", "Capture")

Open = Callable[..., EngineRunner]


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> CudaDouble:
    double = CudaDouble()
    monkeypatch.setitem(sys.modules, "cuda", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "cuda.bindings", SimpleNamespace(runtime=double))
    monkeypatch.setattr(ours, "_lost", {})
    return double


def engine(cuda: CudaDouble, *, frames: bool = True) -> EngineDouble:
    return EngineDouble(cuda, ANY, frames=frames)


def opened(cuda: CudaDouble, found: EngineDouble | None = None, **options: Any) -> EngineRunner:
    return EngineRunner(TrtDouble, found or engine(cuda), 0, SHAPES, **options)


def frames(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, *SIDES), np.uint8)


@pytest.mark.parametrize("integrated", [False, True])
@pytest.mark.parametrize("count", [1, 2, 4, 5, 11])
def test_any_number_of_frames_comes_out_in_its_order(cuda: CudaDouble, count: int, integrated: bool) -> None:
    cuda.integrated = integrated
    runner = opened(cuda)
    images = frames(count)
    for _ in range(2):  # a buffer keeps what was in it last
        found = runner.infer(images)
        assert np.array_equal(found["face"], 255 - images)
        extent = [[face.min(), face.max()] for face in 255 - images]
        assert np.array_equal(found["extent"], np.array(extent, np.float32))
        images = images[::-1]
    runner.close()
    assert cuda.wrong == []


def test_floats_go_through_as_floats(cuda: CudaDouble) -> None:
    runner = opened(cuda, engine(cuda, frames=False))
    assert runner.input.dtype == np.float32
    images = np.linspace(-1, 1, 8 * 8 * 3, dtype=np.float32).reshape(1, *SIDES)
    assert np.array_equal(runner.infer(images)["face"], -images)
    with pytest.raises(ConfigError, match=r"uint8.*built for float32"):
        runner.infer(frames(1))
    runner.close()


def test_the_results_are_the_callers_own(cuda: CudaDouble) -> None:
    runner = opened(cuda)
    first, image = runner.infer(frames(1)), frames(1)
    kept = {name: value.copy() for name, value in first.items()}
    runner.infer(frames(1, seed=1))
    runner.close()
    assert all(np.array_equal(first[name], value) for name, value in kept.items())
    assert np.array_equal(first["face"], 255 - image)


def test_everything_is_made_before_the_first_call(cuda: CudaDouble) -> None:
    """A call copies, launches the shape's graph and waits; nothing is allocated, captured or given back."""
    found = engine(cuda)
    runner = opened(cuda, found)
    made = cuda.counts()
    assert made["cudaGraphInstantiate"] == made["cudaStreamBeginCapture"] == 2 * len(SHAPES)
    assert made["cudaStreamCreateWithFlags"] == 2
    runs = [context.runs for context in found.contexts]
    assert runs == [3] * 4  # two warm-ups, one capture
    del cuda.calls[:]
    for _ in range(5):
        runner.infer(frames(1))
    assert cuda.calls == ["cudaSetDevice", "cudaGraphLaunch", "cudaStreamSynchronize"] * 5
    runner.infer(frames(11))
    assert not [name for name in cuda.calls if any(word in name for word in MAKING)]
    assert [context.runs for context in found.contexts] == runs
    runner.close()


def test_a_shape_has_its_own_context_addresses_and_profile(cuda: CudaDouble) -> None:
    found = EngineDouble(cuda, [(SHAPES[0],) * 3, (SHAPES[1],) * 3], frames=True)
    runner = opened(cuda, found)
    chosen = [(context.profile, context.shape) for context in found.contexts]
    assert chosen == [(0, SHAPES[0]), (1, SHAPES[1])] * 2
    places = [place for context in found.contexts for place in context.places.values()]
    assert len(set(places)) == len(places)
    lanes = [[context.memory for context in found.contexts[start : start + 2]] for start in (0, 2)]
    assert lanes[0][0] == lanes[0][1] != lanes[1][0] == lanes[1][1]  # scratch is one in a lane
    runner.close()


def test_an_integrated_gpu_works_in_the_pinned_memory_itself(cuda: CudaDouble) -> None:
    cuda.integrated = True
    found = engine(cuda)
    runner = opened(cuda, found)
    made = cuda.counts()
    assert made["cudaMemcpyAsync"] == 0
    assert made["cudaMalloc"] == 2  # scratch of the two lanes
    assert runner.shares_memory
    runner.close()
    assert cuda.wrong == []


def test_two_batches_are_on_their_way_at_once(cuda: CudaDouble) -> None:
    runner = opened(cuda)
    del cuda.calls[:]
    runner.infer(frames(12))
    order = [name for name in cuda.calls if name != "cudaSetDevice"]
    launch, wait = "cudaGraphLaunch", "cudaStreamSynchronize"
    assert order == [launch, launch, wait, launch, wait, wait]
    assert runner.preferred_batch == 8
    runner.close()


def test_threads_get_their_own_pictures(cuda: CudaDouble) -> None:
    runner = opened(cuda)
    wrong: list[int] = []

    def work(seed: int) -> None:
        for count in (1, 3, 6, 9):
            images = frames(count, seed)
            if not np.array_equal(runner.infer(images)["face"], 255 - images):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    runner.close()
    assert wrong == [] and cuda.wrong == []


def test_what_was_made_is_given_back_once(cuda: CudaDouble) -> None:
    runner = opened(cuda)
    assert len(cuda.live) > 20
    runner.close()
    runner.close()
    assert cuda.live == {} and cuda.wrong == []
    for _ in range(2):
        with pytest.raises(DeviceError, match="the session is closed"):
            runner.infer(frames(1))


def test_closing_waits_for_a_call_and_ends_those_that_wait(cuda: CudaDouble) -> None:
    runner = opened(cuda, lanes=1)
    inside, go_on = threading.Event(), threading.Event()
    copy = runner._lanes[0].collect
    found: list[Any] = []

    def slow(*arguments: Any) -> Any:
        inside.set()
        go_on.wait(10)
        return copy(*arguments)

    runner._lanes[0].collect = slow  # type: ignore[assignment]

    def work() -> None:
        try:
            found.append(runner.infer(frames(1))["face"])
        except DeviceError as error:
            found.append(str(error))

    first = threading.Thread(target=work)
    first.start()
    assert inside.wait(10)
    closing = threading.Thread(target=runner.close)
    closing.start()
    late = threading.Thread(target=work)
    go_on.set()
    first.join(10)
    closing.join(10)
    late.start()
    late.join(10)
    assert np.array_equal(found[0], 255 - frames(1))
    assert "closed" in found[1]
    assert cuda.live == {} and cuda.wrong == []


@pytest.mark.parametrize(
    "images", [frames(0), np.zeros((1, 16, 8, 3), np.uint8), np.zeros((1, *SIDES), np.float32)]
)
def test_an_unknown_shape_is_refused_in_words(cuda: CudaDouble, images: NDArray[Any]) -> None:
    runner = opened(cuda)
    calls = len(cuda.calls)
    with pytest.raises(ConfigError, match=r"built for uint8 \(1, 8, 8, 3\), \(4, 8, 8, 3\).*getgan build"):
        runner.infer(images)
    assert len(cuda.calls) == calls
    runner.close()


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("context", "gives no execution context: out of luck"),
        ("shape", r"does not take the shape \(1, 8, 8, 3\): out of luck"),
        ("address", "does not place image"),
        ("run", "does not run: out of luck"),
    ],
)
def test_an_engine_that_refuses_leaves_nothing_behind(cuda: CudaDouble, part: str, words: str) -> None:
    found = engine(cuda)
    found.refuse.add(part)
    with pytest.raises(DeviceError, match=words):
        opened(cuda, found, said=lambda: "out of luck")
    assert cuda.live == {} and cuda.wrong == []


def test_an_engine_that_cannot_be_captured_runs_without_graphs(cuda: CudaDouble) -> None:
    found = engine(cuda)
    found.refuse.add("capture")
    runner = opened(cuda, found)
    assert "without CUDA graphs" in runner.note and "cudaErrorStreamCaptureInvalidated" in runner.note
    images = frames(5)
    assert np.array_equal(runner.infer(images)["face"], 255 - images)
    assert cuda.counts()["cudaGraphLaunch"] == 0
    runner.close()
    assert cuda.live == {} and cuda.wrong == []


def test_full_memory_is_said_and_all_of_it_given_back(cuda: CudaDouble) -> None:
    cuda.failing["cudaMalloc"] = cudaError_t.cudaErrorMemoryAllocation
    with pytest.raises(DeviceError, match="cudaMalloc failed: cudaErrorMemoryAllocation: its memory is full"):
        opened(cuda)
    assert cuda.live == {} and cuda.wrong == []
    opened(cuda).close()  # such an error is over


def test_a_passing_error_ends_its_call_only(cuda: CudaDouble) -> None:
    runner = opened(cuda)
    cuda.failing["cudaGraphLaunch"] = cudaError_t.cudaErrorInvalidValue
    with pytest.raises(DeviceError, match=r"cudaGraphLaunch failed: cudaErrorInvalidValue$"):
        runner.infer(frames(1))
    assert np.array_equal(runner.infer(frames(1))["face"], 255 - frames(1))
    runner.close()
    assert cuda.live == {} and cuda.wrong == []


def test_a_lost_gpu_is_said_to_be_lost_until_the_process_ends(cuda: CudaDouble) -> None:
    found = engine(cuda)
    runner = opened(cuda, found)
    for context in found.contexts:
        assert context.runs  # captured work looks the fault up when it runs
    found.refuse.add("kernel")
    with pytest.raises(
        DeviceError, match=r"IllegalAddress; this process has lost the GPU.*start the process"
    ):
        runner.infer(frames(5))
    with pytest.raises(DeviceError, match="has lost the GPU"):
        runner.infer(frames(1))
    runner.close()
    assert cuda.live == {}
    calls = len(cuda.calls)
    with pytest.raises(DeviceError, match="no session can be opened"):
        opened(cuda)
    assert not [name for name in cuda.calls[calls:] if any(word in name for word in MAKING)]


def test_a_machine_without_that_gpu(cuda: CudaDouble) -> None:
    with pytest.raises(DeviceError, match=r"CUDA sees 1 GPUs; wanted cuda:3"):
        EngineRunner(TrtDouble, engine(cuda), 3, SHAPES)
    cuda.gpus = 0
    with pytest.raises(DeviceError, match=r"CUDA finds no GPU or no driver \(cudaErrorNoDevice\)"):
        opened(cuda)


def test_cuda_s_own_package_answers_without_a_gpu() -> None:
    """The real cuda-bindings: its calls exist, and where there is no driver it answers and does not crash."""
    real = pytest.importorskip("cuda.bindings.runtime")
    for name, wanted in vars(CudaDouble).items():
        if name.startswith("cuda"):
            found = getattr(real, name)
            if isinstance(wanted, type) and issubclass(wanted, enum.IntEnum):
                assert all(int(each) == int(getattr(found, each.name)) for each in wanted)
    error, _ = real.cudaGetDeviceCount()
    if error != real.cudaError_t.cudaSuccess:
        with pytest.raises(DeviceError, match="CUDA finds no GPU or no driver"):
            opened_by_cuda(real)


def opened_by_cuda(real: Any) -> None:
    EngineRunner(TrtDouble, EngineDouble(CudaDouble(), ANY, frames=True), 0, SHAPES)


def test_the_clock_of_the_gpu(cuda: CudaDouble) -> None:
    runner = opened(cuda)
    del cuda.calls[:]
    assert runner.device_seconds(SHAPES[1], 3) == [0.0015] * 3
    one = ["cudaEventRecord", "cudaEventRecord", "cudaStreamSynchronize", "cudaEventElapsedTime"]
    assert cuda.calls == ["cudaSetDevice", *one * 3]
    runner.close()
    assert cuda.live == {} and cuda.wrong == []


def test_profiles_are_found_by_the_shape(cuda: CudaDouble) -> None:
    wide, exact = ((1, 8, 8, 3), (2, 8, 8, 3), (8, 8, 8, 3)), ((4, 8, 8, 3),) * 3
    found = EngineDouble(cuda, [wide, exact])
    assert [profile_of(found, "image", (batch, *SIDES)) for batch in (1, 4, 8)] == [0, 1, 0]
    with pytest.raises(DeviceError, match=r"no profile for image \(9, 8, 8, 3\)"):
        profile_of(found, "image", (9, *SIDES))
    found.fixed = (4, *SIDES)
    assert profile_of(found, "image", (4, *SIDES)) == 0
    with pytest.raises(DeviceError, match="its record says"):
        profile_of(found, "image", (1, *SIDES))
