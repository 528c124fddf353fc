"""TensorRT as a backend: which engines it takes, what it says where it takes none, and a session with one."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from backend_helpers import needs_onnxruntime
from bundle_helpers import make_bundle, sample
from cuda_double import CudaDouble, EngineDouble, TrtDouble
from engine_helpers import needs_rtx, record_of
from numpy.typing import NDArray

from getgan.errors import ConfigError, DeviceError
from getgan.runtime import session as session_module
from getgan.runtime.answers import answers_of
from getgan.runtime.backends import Candidate, Graph, Unsuitable
from getgan.runtime.backends import tensorrt as backend_module
from getgan.runtime.backends.catalog import BACKENDS
from getgan.runtime.backends.onnxruntime import OnnxRuntimeEngine
from getgan.runtime.backends.tensorrt import TensorRt
from getgan.runtime.bundle import Bundle
from getgan.runtime.cache import remember
from getgan.runtime.devices import Gpu, Library, Machine, machine
from getgan.runtime.engines import adapter
from getgan.runtime.engines import cuda as our_cuda
from getgan.runtime.engines.fingerprint import Place, Profile, place_of
from getgan.runtime.engines.store import EngineRecord, EngineStore
from getgan.runtime.pixels import image_from_tensor, tensor_from_images
from getgan.runtime.session import open_session

GPU = Gpu(0, "NVIDIA RTX A2000", 6000, "580.1", "8.6")
VERSION = "10.16.1.11"
WAY = Candidate("tensorrt", "cuda:0", "fp32")
PLAN = b"an engine"
Build = Callable[..., EngineRecord]


@pytest.fixture
def this(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """A machine with a GPU, TensorRT and TensorRT-RTX, and an empty store."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    ours = ("tensorrt", VERSION), ("tensorrt-rtx-cu13", "1.7.1.116"), ("cuda-bindings", "13.5.0")
    others = [library for library in machine().libraries if library.name not in dict(ours)]
    libraries = (*(Library(name, version) for name, version in ours), *others)
    found = replace(machine(), gpus=(GPU,), libraries=libraries)
    monkeypatch.setattr(session_module, "machine", lambda: found)
    monkeypatch.setattr(backend_module, "machine", lambda: found)
    return found


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> CudaDouble:
    double = CudaDouble()
    monkeypatch.setitem(sys.modules, "cuda", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "cuda.bindings", SimpleNamespace(runtime=double))
    monkeypatch.setattr(our_cuda, "_lost", {})
    return double


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.open(make_bundle(tmp_path / "bundle", precisions=("fp32",)))


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch, cuda: CudaDouble, bundle: Bundle) -> TrtDouble:
    """TensorRT whose engines compute what the bundle's graph says."""
    cpu = OnnxRuntimeEngine(graph_of(bundle), 1, None)
    profiles = [((batch, 3, 32, 32),) * 3 for batch in (1, 2)]
    double = TrtDouble(
        lambda plan: (
            EngineDouble(cuda, profiles, compute=lambda image: cpu.infer(image.copy()))
            if plan == PLAN
            else None
        )
    )
    monkeypatch.setitem(sys.modules, "tensorrt", double)
    monkeypatch.setattr(adapter, "_loggers", {})
    return double


def graph_of(bundle: Bundle, sha256: str = "") -> Graph:
    path = "graphs/fp32.onnx"
    found = sha256 or bundle.manifest.files[path].sha256
    return Graph(lambda: bundle.read(path), "fp32", "image", ("face",), found)


def here(version: str = VERSION) -> Place:
    return place_of("tensorrt", version, GPU)


def put(bundle: Bundle, place: Place, plan: bytes = PLAN, **changes: Any) -> EngineRecord:
    record = record_of(plan, place=place, graph=graph_of(bundle).sha256)
    recipe = msgspec.structs.replace(
        record.fingerprint.recipe, profiles=(Profile(1, 32, 32), Profile(2, 32, 32))
    )
    fingerprint = msgspec.structs.replace(record.fingerprint, recipe=recipe)
    record = msgspec.structs.replace(record, fingerprint=fingerprint, **changes)
    EngineStore().put(record, plan)
    return record


def test_what_is_missing_is_said(this: Machine) -> None:
    backend = TensorRt()
    backend.check(WAY, this)
    without = replace(this, libraries=(Library("tensorrt-rtx-cu13", "1.7"),))
    with pytest.raises(Unsuitable, match=r"^cuda-bindings is not installed: pip install cuda-bindings$"):
        backend.check(WAY, without)
    rule = "neither TensorRT nor TensorRT-RTX is installed: pip install tensorrt or pip install tensorrt-rtx"
    with pytest.raises(Unsuitable, match=rule):
        backend.check(WAY, replace(this, libraries=()))
    with pytest.raises(Unsuitable, match=r"^no GPU 0 here: no driver$"):
        backend.check(WAY, replace(this, gpus=(), gpus_note="no driver"))
    with pytest.raises(Unsuitable, match=r"^no GPU 1 here: there is cuda:0 \(NVIDIA RTX A2000\)$"):
        backend.check(replace(WAY, device="cuda:1"), this)


def test_it_is_the_first_of_the_gpu_and_none_of_the_cpu() -> None:
    assert isinstance(BACKENDS[0], TensorRt)
    assert BACKENDS[0].candidates("cpu") == ()
    assert [way.precision for way in BACKENDS[0].candidates("cuda:1")] == ["fp16", "fp32"]


@needs_onnxruntime
def test_no_engine_that_passed_here_is_one_sentence(this: Machine, bundle: Bundle) -> None:
    backend, graph = TensorRt(), graph_of(bundle)
    with pytest.raises(Unsuitable, match=r"^.*engines holds no engine of it: getgan build BUNDLE$"):
        backend.key(graph, WAY, this)
    put(bundle, here(), gate=msgspec.structs.replace(record_of(b"").gate, verdict="failed"))
    with pytest.raises(
        Unsuitable, match=r"^its engine failed its gate: a test says so: getgan build BUNDLE$"
    ):
        backend.key(graph, WAY, this)
    put(bundle, msgspec.structs.replace(here(), driver="570.2"))
    with pytest.raises(Unsuitable, match=r"^its engine failed"):  # the one of this place is nearer
        backend.key(graph, WAY, this)
    assert TensorRt().key(graph, WAY, replace(this, gpus=(replace(GPU, driver="570.2"),)))


@needs_onnxruntime
def test_a_new_driver_is_one_sentence(this: Machine, bundle: Bundle) -> None:
    put(bundle, msgspec.structs.replace(here(), driver="570.2"))
    rule = "^its engine is for another place: the NVIDIA driver was 570.2 and is 580.1: getgan build BUNDLE$"
    with pytest.raises(Unsuitable, match=rule):
        TensorRt().key(graph_of(bundle), WAY, this)


@needs_onnxruntime
def test_another_engine_or_library_has_another_key(this: Machine, bundle: Bundle) -> None:
    backend, graph = TensorRt(), graph_of(bundle)
    put(bundle, here())
    first = backend.key(graph, WAY, this)
    assert backend.key(graph, WAY, this) == first
    newer = tuple(Library(library.name, "11.0") for library in this.libraries)
    assert backend.key(graph, WAY, replace(this, libraries=newer)) != first
    put(bundle, here(), b"another")
    assert backend.key(graph, WAY, this) != first


@needs_onnxruntime
def test_a_session_runs_it(this: Machine, bundle: Bundle, trt: TrtDouble, cuda: CudaDouble) -> None:
    put(bundle, here())
    golden = (1, 3, 32, 32)
    remember(TensorRt().key(graph_of(bundle), WAY, this, (golden,)), "a child has run it")
    picture = tensor_from_images([sample(32, seed) for seed in range(5)])
    with (
        open_session(bundle, backend="tensorrt", precision="fp32") as session,
        open_session(bundle, backend="onnxruntime", device="cpu", precision="fp32") as other,
    ):
        assert session.info.version == f"TensorRT {VERSION}"
        assert session.info.provider == (
            "NVIDIA RTX A2000, 2 of 2 convolutions in Half, by its inspector, CUDA graphs"
        )
        assert (session.info.device, session.info.threads) == ("cuda:0", 0)
        assert np.abs(session.run(picture)["face"] - other.run(picture)["face"]).max() < 1e-6
        with pytest.raises(ConfigError, match=r"found pictures of float32 \(1, 3, 64, 64\); this engine was"):
            session.run(tensor_from_images([sample(64)]))
    assert trt.taken == [PLAN]
    assert cuda.live == {} and cuda.wrong == []


@needs_onnxruntime
def test_only_the_hashed_bytes_are_deserialized(this: Machine, bundle: Bundle, trt: TrtDouble) -> None:
    record = put(bundle, here())
    file = EngineStore().folder / record.fingerprint.key / f"{record.sha256}.plan"
    file.write_bytes(b"an Engine")
    with pytest.raises(DeviceError, match="is damaged or was altered"):
        TensorRt().open(graph_of(bundle), WAY, 1)
    assert trt.taken == []


@needs_onnxruntime
def test_nothing_is_deserialized_before_cuda_has_answered(
    this: Machine, bundle: Bundle, trt: TrtDouble, cuda: CudaDouble
) -> None:
    put(bundle, here())
    cuda.gpus = 0
    with pytest.raises(DeviceError, match=r"CUDA finds no GPU or no driver \(cudaErrorNoDevice\)"):
        TensorRt().open(graph_of(bundle), WAY, 1)
    assert trt.taken == []


@needs_onnxruntime
def test_a_library_of_another_version_is_not_given_the_engine(
    this: Machine, bundle: Bundle, trt: TrtDouble
) -> None:
    put(bundle, here())
    trt.__version__ = "10.16.2.10"
    rule = "the version of the library was 10.16.1.11 and is 10.16.2.10: getgan build BUNDLE"
    with pytest.raises(Unsuitable, match=rule):
        TensorRt().open(graph_of(bundle), WAY, 1)
    assert trt.taken == []


@needs_onnxruntime
def test_an_engine_that_the_library_refuses(
    this: Machine, bundle: Bundle, trt: TrtDouble, cuda: CudaDouble
) -> None:
    put(bundle, here(), b"of another library")
    with pytest.raises(
        DeviceError, match=r"TensorRT 10.16.1.11 does not take the engine: .*getgan build BUNDLE"
    ):
        TensorRt().open(graph_of(bundle), WAY, 1)
    assert cuda.live == {}


@needs_onnxruntime
def test_an_engine_of_another_graph_is_refused(
    this: Machine, bundle: Bundle, trt: TrtDouble, cuda: CudaDouble
) -> None:
    put(bundle, here())
    graph = replace(graph_of(bundle), outputs=("face", "occlusion"))
    with pytest.raises(
        DeviceError, match=r"the engine has .*'face': 'float32'.* the manifest says .*occlusion"
    ):
        TensorRt().open(graph, WAY, 1)
    assert cuda.live == {} and cuda.wrong == []


@needs_onnxruntime
def test_an_engine_of_frames_takes_and_gives_frames(
    this: Machine, bundle: Bundle, trt: TrtDouble, cuda: CudaDouble
) -> None:
    put(bundle, here())
    floats = OnnxRuntimeEngine(graph_of(bundle), 1, None)

    def compute(frames: NDArray[Any]) -> dict[str, NDArray[Any]]:
        face = floats.infer(tensor_from_images(frames))["face"]
        flat = face.reshape(len(face), -1)
        pictures = np.stack([image_from_tensor(each) for each in face])
        return {"face": pictures, "extent": np.stack([flat.min(1), flat.max(1)], 1)}

    profiles = [((batch, 32, 32, 3),) * 3 for batch in (1, 2)]
    trt.engine = lambda plan: EngineDouble(cuda, profiles, frames=True, compute=compute)
    graph = replace(graph_of(bundle), frames="uint8", outputs=("face", "extent"))
    engine = TensorRt().open(graph, WAY, 1)
    assert (engine.frames, engine.preferred_batch) == ("uint8", 4)
    frames = np.stack([sample(32, seed) for seed in range(3)])
    found = answers_of(engine, frames, (-1.0, 1.0))
    assert np.array_equal(found.faces, answers_of(floats, frames, (-1.0, 1.0)).faces)
    assert found.faults == ("", "", "") and found.occlusion is None
    engine.close()
    assert cuda.live == {} and cuda.wrong == []


WITHOUT_GPU = """
import sys
from getgan.errors import DeviceError
from getgan.runtime.bundle import Bundle
from getgan.runtime.engines.adapter import TensorRt
from getgan.runtime.engines.fingerprint import Profile, Settings
from getgan.runtime.engines.runner import load
library, profiles = TensorRt("tensorrt-rtx"), [Profile(1, 32, 32)]
graph = Bundle.open(__import__("pathlib").Path(sys.argv[1])).read("graphs/fp32.onnx")
plan = library.build(graph, profiles, Settings()).plan
for data in (plan, plan[:-1], b"garbage"):
    try:
        load(library, data, 0, profiles)
    except DeviceError as error:
        print(error)
"""


@needs_rtx
@pytest.mark.skipif(bool(machine().gpus), reason="this machine has an NVIDIA GPU")
def test_a_real_engine_without_a_gpu_is_refused_in_words(bundle: Bundle, tmp_path: Path) -> None:
    """In a process of its own, as always before a GPU was seen to answer."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_GPU, str(bundle.path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all(
        re.match(r"TensorRT-RTX \S+ (does not take the engine|finds no NVIDIA GPU)", line) for line in lines
    )
    assert all("getgan build BUNDLE" in line or "finds no" in line for line in lines)
