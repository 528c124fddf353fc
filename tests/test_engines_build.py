"""Real TensorRT-RTX engines, built without a GPU: types, shapes, targets, proof, faults, kills."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bundle_helpers import network, replace_file
from cli_helpers import getgan, one_line
from engine_helpers import needs_rtx, two_precisions
from onnx_helpers import FLOAT, FLOAT16, PICTURE, UINT8, GraphWriter

from getgan.contract import Contract
from getgan.errors import BundleError, DeviceError, GetganError
from getgan.runtime.bundle import Bundle
from getgan.runtime.engines import adapter, builder
from getgan.runtime.engines import memory as memory_module
from getgan.runtime.engines.adapter import TensorRt
from getgan.runtime.engines.builder import BuildOptions, build_engine
from getgan.runtime.engines.fingerprint import Profile, Settings, profiles_of
from getgan.runtime.engines.memory import check_memory, free_mb, ladder
from getgan.runtime.engines.progress import Phases, Progress
from getgan.runtime.engines.proof import prove
from getgan.runtime.engines.store import EngineStore

pytestmark = needs_rtx

ONE = (Profile(1, 32, 32),)
QUICK = BuildOptions(target="tensorrt-rtx", sizes=("32x32",))


@pytest.fixture(scope="module")
def rtx() -> TensorRt:
    return TensorRt("tensorrt-rtx")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.open(two_precisions(tmp_path / "bundle"))


@pytest.fixture
def store(tmp_path: Path) -> EngineStore:
    return EngineStore(tmp_path / "engines")


# --- the adapter ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("half", "precision"), [(False, "fp32"), (True, "fp16")])
def test_the_engine_computes_in_the_types_of_its_graph(rtx: TensorRt, half: bool, precision: str) -> None:
    built = rtx.build(network(half=half), ONE, Settings())
    proof = prove(built.layers, precision, "build log")  # type: ignore[arg-type]
    assert proof.multiplying == {"Half" if half else "Float": 3}
    assert proof.share == 1.0


def test_a_build_that_did_not_get_the_precision_fails(rtx: TensorRt) -> None:
    built = rtx.build(network(), ONE, Settings())
    with pytest.raises(DeviceError, match="asked for fp16, found 0 of 3 convolutions in Half"):
        prove(built.layers, "fp16", "build log")


def test_two_builds_are_the_same_bytes(rtx: TensorRt) -> None:
    graph = network(half=True)
    assert rtx.build(graph, ONE, Settings()).plan == rtx.build(graph, ONE, Settings()).plan


def test_each_compute_capability_is_another_engine(rtx: TensorRt) -> None:
    graph = network(half=True)
    plans = {
        name: rtx.build(graph, ONE, Settings(compute_capabilities=tuple(name.split()))).plan
        for name in ("SM86", "SM120", "SM86 SM120")
    }
    assert len(set(plans.values())) == 3


@pytest.mark.parametrize("level", [0, 5])
def test_the_ends_of_the_ladder_are_taken(rtx: TensorRt, level: int) -> None:
    settings = Settings(workspace_mb=memory_module.LEAST_WORKSPACE_MB, optimization_level=level)
    assert prove(rtx.build(network(half=True), ONE, settings).layers, "fp16", "build log").share == 1.0


def test_each_shape_is_a_profile(rtx: TensorRt) -> None:
    shapes = profiles_of(Contract(size=32, min_size=8, multiple_of=4), ("32x32", "40x24"), (1, 4))
    assert [str(shape) for shape in shapes] == ["1 x 32x32", "1 x 40x24", "4 x 32x32", "4 x 40x24"]
    built = rtx.build(network(), shapes, Settings())
    assert sum(layer.multiplies for layer in built.layers) == 3 * len(shapes)


def test_a_graph_of_one_shape_wants_that_one(rtx: TensorRt) -> None:
    graph = GraphWriter()
    graph.constant("w", np.full((3, 3, 1, 1), 0.1, np.float32))
    graph.add("Conv", ["image", "w"], "face")
    fixed = graph.model({"image": (1, 3, 32, 32)}, {"face": (1, 3, 32, 32)})
    assert rtx.build(fixed, ONE, Settings()).plan
    with pytest.raises(DeviceError, match=r"takes pictures of \(1, 3, 32, 32\) and not \(4, 3, 32, 32\)"):
        rtx.build(fixed, (Profile(4, 32, 32),), Settings())


def frames_graph() -> bytes:
    """uint8 (N, H, W, 3) in and out, with a convolution between."""
    graph = GraphWriter()
    graph.constant("w", np.full((3, 3, 1, 1), 0.1, np.float32))
    graph.add("Cast", ["image"], "wide", to=FLOAT)
    graph.add("Transpose", ["wide"], "planes", perm=[0, 3, 1, 2])
    graph.add("Conv", ["planes", "w"], "made")
    graph.add("Transpose", ["made"], "pixels", perm=[0, 2, 3, 1])
    graph.add("Cast", ["pixels"], "face", to=UINT8)
    sides = ("n", "h", "w", 3)
    return graph.model({"image": sides}, {"face": sides}, kinds={"image": UINT8, "face": UINT8})


def test_a_graph_that_takes_frames(rtx: TensorRt) -> None:
    built = rtx.build(frames_graph(), (Profile(2, 32, 40),), Settings())
    assert sum(layer.multiplies for layer in built.layers) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(compute_capabilities=("SM90",)), "has no ComputeCapability.SM90; there is .*SM86"),
        (Settings(compute_capabilities=("NONE",)), "found compute capability 'NONE'; wanted one like SM86"),
        (Settings(dla=0), "found --dla 0, but TensorRT-RTX .* finds 0 DLA cores here"),
        (Settings(hardware_compatibility="AMPERE_PLUS"), "hardware and version compatibility are TensorRT's"),
        (Settings(version_compatible=True), "hardware and version compatibility are TensorRT's"),
    ],
)
def test_what_is_asked_for_and_not_there_is_an_error(rtx: TensorRt, settings: Settings, message: str) -> None:
    with pytest.raises(GetganError, match=message):
        rtx.build(network(), ONE, settings)


def test_a_workspace_that_is_too_small_says_so(rtx: TensorRt) -> None:
    shipped = Bundle.open(Path(__file__).parents[1] / "examples/getgan-64.getgan")
    graph = shipped.read(shipped.manifest.variant("fp32").graph)
    with pytest.raises(DeviceError, match="workspace is too small: name a larger --workspace, or none"):
        rtx.build(graph, (Profile(1, 64, 64),), Settings(workspace_mb=1))


def test_a_name_that_the_library_lacks_is_an_error(rtx: TensorRt) -> None:
    """As SAME_COMPUTE_CAPABILITY in 10.3, or FP16 in 11: never skipped, never another number."""
    with pytest.raises(DeviceError, match=r"has no BuilderFlag\.FP16; there is DEBUG"):
        rtx._member("BuilderFlag", "FP16")
    with pytest.raises(DeviceError, match=r"has no QuantizationFlag\.X; it has no QuantizationFlag at all"):
        rtx._member("QuantizationFlag", "X")


def mixed() -> bytes:
    graph = GraphWriter()
    graph.add("Cast", ["image"], "half", to=FLOAT16)
    graph.add("Add", ["half", "image"], "face")
    return graph.model({"image": PICTURE}, {"face": PICTURE})


def unknown() -> bytes:
    graph = GraphWriter()
    graph.add("Fancy", ["image"], "face")
    return graph.model({"image": PICTURE}, {"face": PICTURE})


def grey() -> bytes:
    graph = GraphWriter()
    graph.add("Relu", ["image"], "face")
    return graph.model({"image": ("n", 1, "h", "w")}, {"face": ("n", 1, "h", "w")})


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (mixed, "adds or joins values of different types"),
        (unknown, "has an operation that it does not know"),
        (lambda: network()[:-20], "is no ONNX file, or is cut off: copy the bundle again"),
        (lambda: b"", "found 0 inputs in the graph"),
        (lambda: b"\0garbage" * 100, "found 0 inputs in the graph"),
        (grey, r"the graph takes \(-1, 1, -1, -1\); wanted pictures of 3 colours"),
    ],
)
def test_a_graph_that_cannot_be_built_says_why(
    rtx: TensorRt, graph: Callable[[], bytes], message: str
) -> None:
    with pytest.raises(DeviceError, match=message):
        rtx.build(graph(), ONE, Settings())


def test_progress_goes_forward_and_to_the_end(rtx: TensorRt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getgan.runtime.engines.progress.EVERY_S", 0.0)
    seen: list[Progress] = []
    rtx.build(network(), ONE, Settings(), Phases(seen.append))
    shares = [progress.done for progress in seen]
    assert shares == sorted(shares) and shares[0] == 0.0 and 0.8 < shares[-1] <= 1.0
    assert len({progress.phase for progress in seen}) > 5


# --- a build from a bundle ------------------------------------------------------------------------------


def test_without_a_gpu_an_engine_is_built_proven_by_its_log_and_never_loaded(
    bundle: Bundle, store: EngineStore
) -> None:
    record = build_engine(bundle, QUICK, store)
    assert record.fingerprint.recipe.variant == "fp16"  # the fastest that the bundle has
    assert record.proof.multiplying == {"Half": 3} and record.proof.source == "build log"
    assert record.gate.verdict == "not proven" and "no NVIDIA GPU here to prove it on" in record.gate.why
    assert store.records() == (record,)
    with pytest.raises(DeviceError, match="is not proven: no NVIDIA GPU here"):
        store.read(record)
    again = build_engine(bundle, QUICK, store)
    assert again.sha256 == record.sha256
    assert sorted(path.suffix for path in (store.folder / record.fingerprint.key).iterdir()) == [
        ".json",
        ".plan",
    ]


def test_the_command_says_what_was_built_read_and_not_proven(bundle: Bundle, store: EngineStore) -> None:
    asked = ["--size", "32x32", "--batch", "1,2", "--precision", "fp32", "--compute-capability", "SM86"]
    said = getgan("build", bundle.path, "--store", store.folder, *asked)
    assert said.returncode == 0, said.stderr
    assert "fp32 of graph" in said.stdout and "for SM86" in said.stdout
    assert "shapes 1 x 32x32, 2 x 32x32" in said.stdout
    assert "read     6 of 6 convolutions in Float, by its build log" in said.stdout
    assert "gate     not proven: no NVIDIA GPU here" in said.stdout
    assert "it is never loaded" in said.stdout
    listed = getgan("engines", "--store", store.folder)
    assert "1 engines:" in listed.stdout and "not proven" in listed.stdout
    machine = json.loads(getgan("engines", "--store", store.folder, "--json").stdout)
    assert machine["engines"][0]["fingerprint"]["recipe"]["settings"]["compute_capabilities"] == ["SM86"]


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--target", "cuda"], "found target 'cuda'; wanted auto, tensorrt-rtx or tensorrt", 2),
        (["--size", "64x64"], "wanted --size 32x32 too, that of the golden images", 2),
        (["--size", "33x32"], "found size 33; wanted a multiple of 4", 2),
        (["--size", "big"], "found size 'big'; wanted one like 256 or 320x256", 2),
        (["--size", "0x32", "--size", "32x32"], "found size 0x32; wanted sides of at least 8", 2),
        (["--device", "cpu"], "found device 'cpu'; wanted cuda or cuda:N", 2),
        (["--workspace", "9999999"], "found a workspace of 9,999,999 MB; wanted 0 to 1,048,576", 2),
        (["--batch", "1,x"], "found batch '1,x'; wanted numbers like 1,4,8", 2),
        (["--batch", "0"], "found batch 0; wanted 1 to 256", 2),
        (["--batch", ",".join(map(str, range(1, 99)))], "shapes to build for; wanted 1 to 64", 2),
        (["--precision", "bf16"], "holds no bf16|a way to run the fp32 graph on a CPU", None),
    ],
)
def test_a_wrong_option_is_one_line(
    bundle: Bundle, store: EngineStore, arguments: list[str], message: str, code: int | None
) -> None:
    done = getgan("build", bundle.path, "--store", store.folder, *arguments)
    assert done.returncode == code or (code is None and done.returncode in (1, 2))
    assert re.search(message, one_line(done))
    assert not store.folder.exists()


def test_a_graph_that_was_exchanged_is_not_built(bundle: Bundle, store: EngineStore) -> None:
    graph = bundle.path / "graphs/fp16.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    with pytest.raises(DeviceError, match="is damaged or was altered"):
        build_engine(bundle, QUICK, store)
    assert store.records() == ()


def test_a_graph_behind_a_link_is_not_built(bundle: Bundle, store: EngineStore, tmp_path: Path) -> None:
    graph = bundle.path / "graphs/fp16.onnx"
    graph.rename(tmp_path / "elsewhere.onnx")
    graph.symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(BundleError, match="symbolic link"):
        Bundle.open(bundle.path)
    with pytest.raises(DeviceError, match="symbolic link"):
        build_engine(bundle, QUICK, store)


def external(location: str) -> bytes:
    """A convolution whose weights lie in another file; the writer of the tests knows no such tensors."""
    onnx = pytest.importorskip("onnx")
    weight = onnx.TensorProto(name="w", data_type=1, dims=[3, 3, 1, 1], data_location=1)
    weight.external_data.add(key="location", value=location)
    weight.external_data.add(key="length", value="36")
    value = onnx.helper.make_tensor_value_info
    sides = ["n", 3, "h", "w"]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["image", "w"], ["face"])],
        "g",
        [value("image", 1, sides)],
        [value("face", 1, sides)],
        [weight],
    )
    opset = onnx.helper.make_opsetid("", 18)
    return bytes(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString())


@pytest.mark.parametrize("location", ["weights.bin", "../weights.bin", "{here}/weights.bin"])
def test_weights_outside_the_graph_are_never_read(
    bundle: Bundle, store: EngineStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    """The library reads them from the current folder, from the graph's bytes too: nobody hashed them."""
    (tmp_path / "inner").mkdir()
    for folder in (tmp_path, tmp_path / "inner"):
        (folder / "weights.bin").write_bytes(np.ones(9, np.float32).tobytes())
    replace_file(bundle.path, "graphs/fp16.onnx", external(location.format(here=tmp_path)))
    monkeypatch.chdir(tmp_path / "inner")
    with pytest.raises(DeviceError, match="keeps its weights in another file"):
        build_engine(Bundle.open(bundle.path), QUICK, store)
    assert store.records() == ()


def test_an_fp32_graph_under_the_name_fp16_is_caught(bundle: Bundle, store: EngineStore) -> None:
    replace_file(bundle.path, "graphs/fp16.onnx", network())
    with pytest.raises(DeviceError, match="asked for fp16, found 0 of 3 convolutions in Half"):
        build_engine(Bundle.open(bundle.path), QUICK, store)
    assert store.records() == ()
    assert left_behind(store) == []


def left_behind(store: EngineStore) -> list[str]:
    return [str(path) for path in store.folder.rglob("*") if path.is_file()]


def test_without_space_a_build_is_one_sentence_and_leaves_nothing(bundle: Bundle, store: EngineStore) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # the child inherits it
    try:
        with pytest.raises(DeviceError, match=r"cannot write .*: File too large; free space there"):
            build_engine(bundle, QUICK, store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert left_behind(store) == []


def test_a_store_that_cannot_be_written_is_one_line(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = getgan("build", bundle.path, "--store", tmp_path / "file" / "engines", "--size", "32x32")
    assert done.returncode == 1
    assert "name another folder with --store" in one_line(done)


# --- a build that dies ----------------------------------------------------------------------------------


def build_process(bundle: Bundle, store: EngineStore, *more: str) -> subprocess.Popen[bytes]:
    command = ["build", str(bundle.path), "--store", str(store.folder), "--size", "32x32", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "getgan", *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found.append(int(entry.name))
    return found


def gone(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="children are found in /proc")
def test_a_build_that_is_killed_leaves_the_store_as_it_was(bundle: Bundle, store: EngineStore) -> None:
    """At random moments; what ends the command ends its child, and nothing is in the next build's way."""
    good = build_engine(bundle, QUICK, store)
    before = left_behind(store)
    dice = random.Random(1)
    for kills in range(1, 5):
        process = build_process(bundle, store)
        inner: list[int] = []
        deadline = time.monotonic() + 30
        while not inner and process.poll() is None and time.monotonic() < deadline:
            inner = children(process.pid)
            time.sleep(0.01)
        time.sleep(dice.random())
        process.kill()
        process.communicate()
        while not all(map(gone, inner)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert all(map(gone, inner))
        assert store.records()[0].fingerprint == good.fingerprint
        # A temporary file of each, until it is old enough: four kills take less than that.
        more = set(left_behind(store)) - set(before)
        assert len(more) <= kills and all(Path(path).name.startswith(".getgan-") for path in more)
    for path in map(Path, left_behind(store)):
        os.utime(path, (1, 1))
    assert build_engine(bundle, QUICK, store).sha256 == good.sha256
    assert left_behind(store) == before


def test_ctrl_c_ends_a_build_and_leaves_nothing(bundle: Bundle, store: EngineStore) -> None:
    process = build_process(bundle, store, "--batch", "1,2,3,4,5,6,7,8")
    while not children(process.pid):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1].decode()
    assert (process.returncode, said.splitlines()[-1]) == (130, "getgan: stopped")
    assert left_behind(store) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="children are found in /proc")
def test_a_child_that_crashes_takes_nothing_with_it(bundle: Bundle, store: EngineStore) -> None:
    process = build_process(bundle, store, "--batch", "1,2,3,4,5,6,7,8")
    deadline = time.monotonic() + 30
    while not (inner := children(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(inner[0], signal.SIGSEGV)
    said = process.communicate()[1].decode()
    assert process.returncode == 1
    assert f"the process that built it was killed by signal {int(signal.SIGSEGV)}" in said
    assert left_behind(store) == []


# --- memory ---------------------------------------------------------------------------------------------


def test_too_little_memory_is_said_before_the_build(
    bundle: Bundle, store: EngineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder, "run_child", None)  # it is not started
    monkeypatch.setattr(memory_module, "free_mb", lambda: 100)
    with pytest.raises(DeviceError, match="found 100 MB of free memory; a build for 1 shapes takes about 31"):
        build_engine(bundle, QUICK, store)


def test_a_build_without_enough_memory_is_tried_with_less_and_then_given_up(
    bundle: Bundle, store: EngineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is too small for any of them; each child really starts, grows and is ended."""
    monkeypatch.setattr(builder, "free_mb", lambda: builder.SPARE_MB + 30)
    with pytest.raises(DeviceError) as caught:
        build_engine(bundle, QUICK, store)
    said = str(caught.value)
    assert (
        "there was too little memory 4 times, with any of workspace: the process that built it took" in said
    )
    assert "took more than 30 MB of memory" in said and "with 64 MB of workspace" in said
    assert left_behind(store) == []


def test_the_ladder_goes_down() -> None:
    steps = list(ladder(Settings(workspace_mb=4096, optimization_level=5, compute_capabilities=("SM86",))))
    assert [(step.workspace_mb, step.optimization_level) for step in steps] == [
        (4096, 5),
        (2048, 5),
        (512, 2),
        (128, 1),
    ]
    assert all(step.compute_capabilities == ("SM86",) for step in steps)
    assert [step.workspace_mb for step in ladder(Settings())] == [0, 1024, 256, 64]
    assert [step.optimization_level for step in ladder(Settings(optimization_level=0))] == [0] * 4


def test_free_memory_is_known_on_linux() -> None:
    free = free_mb()
    assert free is not None and 0 < free < 1 << 24
    check_memory("tensorrt-rtx", 1 << 20, 1)


@pytest.mark.parametrize(
    ("said", "memory"),
    [
        ("Error Code 2: OutOfMemory (Requested size was 4294967296 bytes.)", True),
        ("Error Code 1: Cuda Runtime (out of memory)", True),
        ("Error Code 10: Could not find any implementation for node {ForeignNode}", False),
    ],
)
def test_a_lack_of_memory_is_told_from_other_faults(rtx: TensorRt, said: str, memory: bool) -> None:
    rtx.logger().log(rtx.module.ILogger.Severity.ERROR, said)
    error = rtx._fault("cannot build the engine", [])
    assert isinstance(error, adapter.OutOfMemory) is memory
    assert said[:30] in str(error)
