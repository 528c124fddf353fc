"""The gate of an engine, by real ones of the CPU; the proof of its types; the swap behind a session."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from backend_helpers import INSTALLED, needs_backend
from bundle_helpers import make_bundle, sample
from engine_helpers import PLACE, needs_rtx, record_of, two_precisions
from frame_helpers import mjpeg_server
from guard_helpers import make_guarded, scan
from numpy.typing import NDArray

from getgan.errors import DeviceError
from getgan.runtime.backends import Candidate, Engine, Graph
from getgan.runtime.backends.catalog import backend_of
from getgan.runtime.bundle import Bundle
from getgan.runtime.devices import Gpu, Machine, machine
from getgan.runtime.engines import builder
from getgan.runtime.engines import rebuild as rebuild_module
from getgan.runtime.engines.builder import BuildOptions, build_engine
from getgan.runtime.engines.fingerprint import Fingerprint, Profile, Recipe, Settings
from getgan.runtime.engines.gate import GateJob, judge, judge_elsewhere
from getgan.runtime.engines.proof import Layer, layers_from_json, layers_from_log, prove
from getgan.runtime.engines.rebuild import Rebuild, lost_engine, options_again, rebuild_for_next_start
from getgan.runtime.engines.report import BuildReport
from getgan.runtime.engines.store import EngineRecord, EngineStore, Gate
from getgan.runtime.manifest import FEATURES, Frames
from getgan.runtime.pixels import tensor_from_images
from getgan.runtime.run import RunOptions, run_bundle
from getgan.runtime.session import BundleSession, open_session

BOTH = (Profile(1, 32, 32), Profile(3, 32, 32))


def cpu_engine(bundle: Bundle, name: str = "fp32") -> Engine:
    """A real engine, of the graph that the bundle holds under this name."""
    manifest = bundle.manifest
    candidate = Candidate(INSTALLED[0], "cpu", "fp32")
    file = manifest.variant(name).graph
    outputs = manifest.outputs_of(manifest.variant(name))
    graph = Graph(lambda: bundle.read(file), "fp32", manifest.input, outputs)
    return backend_of(candidate).open(graph, candidate, 1)


class Spoiled:
    """A real engine, some of whose pictures come out inverted."""

    version, threads, preferred_batch = "spoiled", 1, 1
    frames: Frames = "float32"

    def __init__(self, bundle: Bundle) -> None:
        self._right = cpu_engine(bundle)

    def wrong(self, images: NDArray[np.float32]) -> bool:
        raise NotImplementedError

    def infer(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        found = self._right.infer(images)
        return {name: -array if self.wrong(images) else array for name, array in found.items()}

    def ran_on(self) -> str:
        return self._right.ran_on()

    def close(self) -> None:
        self._right.close()


# --- the gate -------------------------------------------------------------------------------------------


@needs_backend
def test_an_engine_that_shows_every_golden_image_passes(tmp_path: Path) -> None:
    bundle = Bundle.open(two_precisions(tmp_path / "bundle"))
    gate = judge(bundle, bundle.manifest.variant("fp32"), cpu_engine(bundle), BOTH)
    assert gate.verdict == "passed"
    assert [seen.image for seen in gate.images] == ["face", "noise"]
    assert all(seen.max_levels <= 1 for seen in gate.images)


@needs_backend
def test_an_engine_of_another_network_fails(tmp_path: Path) -> None:
    bundle = Bundle.open(two_precisions(tmp_path / "bundle"))
    other = Bundle.open(make_bundle(tmp_path / "other", seed=7))
    gate = judge(bundle, bundle.manifest.variant("fp32"), cpu_engine(other), BOTH)
    assert gate.verdict == "failed" and "golden image face comes out differently" in gate.why


@needs_backend
def test_an_engine_that_is_wrong_in_a_batch_only_fails(tmp_path: Path) -> None:
    """As a library that mixes up a batch's pictures; one alone is right."""
    bundle = Bundle.open(two_precisions(tmp_path / "bundle"))

    class Wrong(Spoiled):
        def wrong(self, images: NDArray[np.float32]) -> bool:
            return len(images) > 1

    variant = bundle.manifest.variant("fp32")
    assert judge(bundle, variant, Wrong(bundle), BOTH[:1]).verdict == "passed"
    assert judge(bundle, variant, Wrong(bundle), BOTH).verdict == "failed"


@needs_backend
def test_an_engine_by_whose_features_the_guard_lets_nonsense_pass_fails(tmp_path: Path) -> None:
    """Its faces are right; its features, alone or in a batch, are always those of a scan."""
    bundle = Bundle.open(make_guarded(tmp_path / "bundle"))
    variant, right = bundle.manifest.variant("fp32"), cpu_engine(bundle)
    gate = judge(bundle, variant, right, BOTH)
    assert gate.verdict == "passed" and "the guard refuses what it must" in gate.why
    known = right.infer(tensor_from_images([scan(500)]))[FEATURES]

    class Deaf(Spoiled):
        def __init__(self, batch: int) -> None:
            super().__init__(bundle)
            self._batch = batch

        def infer(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
            found = self._right.infer(images)
            if len(images) != self._batch:
                return found
            return {**found, FEATURES: np.repeat(known, len(images), axis=0)}

    for batch in (1, 3):
        gate = judge(bundle, variant, Deaf(batch), BOTH)
        assert gate.verdict == "failed" and "lets a picture pass" in gate.why


@needs_backend
def test_a_shape_without_a_golden_image_is_compared_with_the_cpu(tmp_path: Path) -> None:
    bundle = Bundle.open(two_precisions(tmp_path / "bundle"))
    variant, shapes = bundle.manifest.variant("fp32"), (*BOTH, Profile(2, 24, 40))
    with open_session(bundle, device="cpu", precision="fp32") as session:
        gate = judge(bundle, variant, cpu_engine(bundle), shapes, session.translate)
        assert gate.verdict == "passed" and gate.why.endswith(", and 1 other shapes as on the CPU")
        assert [seen.image for seen in gate.images] == ["face", "noise", "face as 2 x 40x24"]

        class Wrong(Spoiled):
            def wrong(self, images: NDArray[np.float32]) -> bool:
                return images.shape[2:] == (24, 40)

        gate = judge(bundle, variant, Wrong(bundle), shapes, session.translate)
        assert gate.verdict == "failed" and "shape 2 x 40x24 comes out differently" in gate.why
    gate = judge(bundle, variant, cpu_engine(bundle), shapes)
    assert gate.verdict == "passed" and "1 other shapes are not judged" in gate.why


@needs_backend
def test_an_engine_without_the_golden_images_size_fails(tmp_path: Path) -> None:
    bundle = Bundle.open(two_precisions(tmp_path / "bundle"))
    gate = judge(bundle, bundle.manifest.variant("fp32"), cpu_engine(bundle), (Profile(1, 64, 64),))
    assert gate.verdict == "failed" and "it takes no golden image (32x32)" in gate.why


@needs_rtx
@pytest.mark.parametrize("plan", [b"", b"garbage" * 99])
def test_bytes_that_are_no_engine_fail_in_a_process_of_their_own(tmp_path: Path, plan: bytes) -> None:
    bundle = two_precisions(tmp_path / "bundle")
    record = record_of(plan)
    (tmp_path / "plan").write_bytes(plan)
    job = GateJob(
        str(bundle), "fp16", str(tmp_path / "plan"), len(plan), record.sha256, "tensorrt-rtx", BOTH, "cuda:0"
    )
    assert judge_elsewhere(job).verdict == "failed"
    (tmp_path / "plan").write_bytes(plan + b"x")
    assert "is damaged or was altered" in judge_elsewhere(job).why


# --- the proof ------------------------------------------------------------------------------------------


def inspector(*layers: tuple[str, dict[str, object]]) -> str:
    """As TensorRT 10 documents the inspector's JSON."""
    listed = [{"Name": f"layer {kind}", "LayerType": kind, "Inputs": [tensor]} for kind, tensor in layers]
    return json.dumps({"Layers": listed, "Bindings": ["image", "face"]})


def test_the_inspectors_layers_are_read_in_both_forms() -> None:
    text = inspector(
        ("CaskConvolution", {"Name": "a", "Format/Datatype": "Row major linear FP16 format"}),
        ("CaskDeconvolutionV2", {"Name": "b", "Format": "Channel major FP32 format"}),
        ("gemm", {"Name": "c", "Datatype": "Half", "Format": "Row major linear"}),
        ("CaskConvolution", {"Name": "d", "Format/Datatype": "Thirty-two wide channel INT8 format"}),
        ("Reformat", {"Name": "e", "Datatype": "Float"}),
    )  # fmt: skip
    layers = layers_from_json(text)
    assert [layer.precision for layer in layers] == ["Half", "Float", "Half", "Int8", "Float"]
    assert prove(layers, "fp16", "inspector").multiplying == {"Half": 2, "Float": 1, "Int8": 1}


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"Layers": 3', "[" * 100_000])
def test_an_answer_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(DeviceError, match="the engine inspector's answer cannot be read"):
        layers_from_json(text)


def test_names_without_types_prove_nothing() -> None:
    """As an engine built without detailed verbosity lists its layers."""
    with pytest.raises(DeviceError, match="nothing tells whether it computes in fp16"):
        prove(layers_from_json('{"Layers": ["conv1", "conv2"]}'), "fp16", "inspector")
    with pytest.raises(DeviceError, match="nothing tells"):
        prove(layers_from_log(["Loaded engine size: 6 MiB"]), "fp16", "build log")


def test_a_few_half_layers_among_many_are_not_fp16() -> None:
    layers = [Layer("a", "conv", "Half"), *(Layer("b", "conv", "Float") for _ in range(3))]
    with pytest.raises(DeviceError, match="found 1 of 4 convolutions in Half"):
        prove(layers, "fp16", "inspector")


# --- the rebuild ----------------------------------------------------------------------------------------

OLD = msgspec.structs.replace(PLACE, flavour="tensorrt-rtx", system="Linux x86_64", driver="540.1")
NOW = msgspec.structs.replace(OLD, driver="560.2")


def lost(bundle: Bundle, store: EngineStore) -> EngineRecord:
    """An engine of the bundle's fp16 graph that passed before the driver's update."""
    graph = bundle.manifest.files[bundle.manifest.variant("fp16").graph].sha256
    fingerprint = Fingerprint(
        OLD, Recipe(graph, "fp16", (Profile(1, 32, 32),), Settings(optimization_level=2))
    )
    record = msgspec.structs.replace(record_of(b"an engine"), fingerprint=fingerprint)
    store.put(record, b"an engine")
    return record


def test_only_an_engine_that_this_machine_had_is_built_again(tmp_path: Path) -> None:
    bundle, store = Bundle.open(two_precisions(tmp_path / "bundle")), EngineStore(tmp_path / "engines")
    graphs = tuple(file.sha256 for file in bundle.manifest.files.values())
    assert lost_engine(store, graphs, NOW) is None
    record = lost(bundle, store)
    assert lost_engine(store, graphs, NOW) == record
    assert lost_engine(store, graphs, OLD) is None
    assert lost_engine(store, ("0" * 64,), NOW) is None
    assert lost_engine(store, graphs, msgspec.structs.replace(NOW, flavour="tensorrt")) is None


def test_the_same_engine_is_asked_for_again() -> None:
    profiles = tuple(Profile(batch, *side) for batch in (1, 4) for side in ((32, 32), (24, 40)))
    recipe = Recipe("0" * 64, "fp16", profiles, Settings(workspace_mb=512))
    options = options_again(recipe, NOW, "cuda:1")
    assert (options.target, options.variant, options.device) == ("tensorrt-rtx", "fp16", "cuda:1")
    assert (options.batches, options.sizes) == ((1, 4), ("32x32", "40x24"))
    assert options.settings == recipe.settings


@pytest.fixture
def swap(tmp_path: Path) -> tuple[Bundle, EngineStore, EngineRecord, BundleSession]:
    bundle, store = Bundle.open(two_precisions(tmp_path / "bundle")), EngineStore(tmp_path / "engines")
    return bundle, store, lost(bundle, store), open_session(bundle, precision="fp32", device="cpu")


Swap = tuple[Bundle, EngineStore, EngineRecord, BundleSession]
WAY = Candidate("tensorrt", "cuda:0", "fp16")


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine that says it has a GPU, which it needs for no more than its name."""
    found = replace(machine(), gpus=(Gpu(0, NOW.gpu, 8192, NOW.driver, NOW.compute_capability),))
    monkeypatch.setattr(builder, "machine", lambda: found)
    return found


@needs_rtx
def test_the_named_gpu_is_the_one_that_proves_it(tmp_path: Path, with_gpu: Machine) -> None:
    """No other name may end as "no GPU to prove it on", beside a GPU that is there."""
    bundle = Bundle.open(two_precisions(tmp_path / "bundle"))
    plan = builder.plan_build(bundle, BuildOptions(target="tensorrt-rtx", device="cuda"), with_gpu)
    assert (plan.device, plan.note, plan.fingerprint.place.gpu) == ("cuda:0", "", NOW.gpu)
    with pytest.raises(DeviceError, match=f"no GPU 9 here: there is cuda:0 .{NOW.gpu}"):
        builder.plan_build(bundle, BuildOptions(target="tensorrt-rtx", device="cuda:9"), with_gpu)


@needs_rtx
def test_a_build_that_fails_beside_one_that_passed_says_which_stays(
    tmp_path: Path, with_gpu: Machine
) -> None:
    bundle, store = Bundle.open(two_precisions(tmp_path / "bundle")), EngineStore(tmp_path / "engines")
    options = BuildOptions(target="tensorrt-rtx", sizes=("32x32",))
    good = build_engine(bundle, options, store, judge=lambda job: Gate("passed", "equal"))
    assert "\nkept in  " in BuildReport(good, store.folder, store.get(good.fingerprint)).text()
    bad = build_engine(bundle, options, store, judge=lambda job: Gate("failed", "3 levels"))
    said = BuildReport(bad, store.folder, store.get(bad.fingerprint)).text()
    assert f"not kept: the engine of {good.created[:10]}, which passed, stays in {store.folder}" in said
    assert "never loaded" not in said


@needs_rtx
@needs_backend
def test_a_new_engine_takes_over_between_two_frames(swap: Swap, with_gpu: Machine) -> None:
    """The build is real, the engine that takes over too; only the GPU that would run it is the CPU here."""
    bundle, store, record, session = swap
    images = tensor_from_images([sample()])
    seen: list[str] = []
    stop = threading.Event()

    def frames() -> None:
        while not stop.is_set():
            seen.append(session.info.precision)
            assert session.run(images)["face"].shape == (1, 3, 32, 32)

    runner = threading.Thread(target=frames)
    runner.start()
    try:
        rebuild = Rebuild(
            session, bundle, record, NOW, WAY, store,
            open_engine=lambda built: cpu_engine(bundle, built.fingerprint.recipe.variant),
            judge=lambda job: Gate("passed", "by the CPU"),
        )  # fmt: skip
        assert rebuild.why.startswith(
            "the NVIDIA driver was 540.1 and is 560.2: the engine is built again; until"
        )
        assert rebuild.wait(120) == "swapped", rebuild.said
        while "fp16" not in seen[-1:]:
            pass
    finally:
        stop.set()
        runner.join()
    assert seen[0] == "fp32" and seen[-1] == "fp16"
    assert store.read(record) == b"an engine"  # should the update be taken back
    session.close()


@needs_rtx
@needs_backend
def test_after_an_update_the_engine_is_built_for_the_next_start(
    swap: Swap, with_gpu: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it real but the GPU's name; so the gate's process finds none, and the engine fails."""
    bundle, store, record, session = swap
    rebuild = rebuild_for_next_start(session, bundle, store)
    assert rebuild is None  # a machine without a GPU needs no engine
    monkeypatch.setattr(rebuild_module, "machine", lambda: with_gpu)
    rebuild = rebuild_for_next_start(session, bundle, store)
    assert rebuild is not None
    assert "the NVIDIA driver was 540.1 and is 560.2" in rebuild.why
    assert rebuild.wait(120) == "kept" and rebuild.said.startswith("the new engine failed its gate: ")
    assert store.read(record) == b"an engine"
    session.run(tensor_from_images([sample()]))
    session.close()


@needs_rtx
@needs_backend
def test_a_camera_run_says_that_its_engine_is_built_again(
    swap: Swap, with_gpu: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle, store, _, session = swap
    session.close()
    shutil.copytree(store.folder, EngineStore().folder)
    try:
        monkeypatch.setattr(rebuild_module, "machine", lambda: with_gpu)
        notes: list[str] = []
        with mjpeg_server(5) as url:
            run_bundle(
                bundle.path, url, tmp_path / "faces", RunOptions(precision="fp32"), on_note=notes.append
            )
    finally:
        shutil.rmtree(EngineStore().folder)
    assert [note for note in notes if "the NVIDIA driver was 540.1 and is 560.2" in note]


@needs_rtx
@needs_backend
def test_an_engine_that_is_not_proven_takes_nothing_over(swap: Swap) -> None:
    bundle, store, record, session = swap
    before = session.info
    rebuild = Rebuild(
        session, bundle, record, NOW, WAY, store, open_engine=lambda built: pytest.fail("it was opened")
    )
    assert rebuild.wait(120) == "kept"
    assert "the new engine is not proven: no NVIDIA GPU here" in rebuild.said
    assert session.info == before
    session.run(tensor_from_images([sample()]))
    session.close()


@needs_rtx
@needs_backend
def test_a_swap_that_fails_its_self_test_leaves_the_session_as_it_was(
    swap: Swap, tmp_path: Path, with_gpu: Machine
) -> None:
    bundle, store, record, session = swap
    other = Bundle.open(make_bundle(tmp_path / "other", seed=9))
    before = session.info
    rebuild = Rebuild(
        session, bundle, record, NOW, WAY, store,
        open_engine=lambda built: cpu_engine(other),
        judge=lambda job: Gate("passed", "wrongly"),
    )  # fmt: skip
    assert rebuild.wait(120) == "kept"
    assert "comes out differently on this machine" in rebuild.said
    assert session.info == before
    session.close()


@needs_backend
def test_a_build_that_cannot_start_leaves_the_session_as_it_was(swap: Swap) -> None:
    bundle, store, record, session = swap
    (bundle.path / "graphs/fp16.onnx").unlink()
    rebuild = Rebuild(
        session, bundle, record, NOW, WAY, store, open_engine=lambda built: pytest.fail("opened")
    )
    assert rebuild.wait(120) == "kept"
    assert "the engine could not be built again" in rebuild.said
    session.run(tensor_from_images([sample()]))
    session.close()
