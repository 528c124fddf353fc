"""A session runs what was asked for, in the precision that was asked for, or says why it cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backend_helpers import INSTALLED, needs_backend, needs_onnxruntime, needs_openvino
from bundle_helpers import make_bundle, network, noise, reencoded, replace_file, sample

from getgan.errors import BundleError, ConfigError, DeviceError
from getgan.runtime import session as session_module
from getgan.runtime.backends import Engine
from getgan.runtime.backends.catalog import candidates
from getgan.runtime.bundle import Bundle
from getgan.runtime.devices import BF16_FLAGS, Gpu, Library, cpu_flags, machine
from getgan.runtime.pixels import image_from_tensor, tensor_from_images
from getgan.runtime.session import Session, open_session

HAS_BF16 = bool(set(cpu_flags()[0] or ()) & set(BF16_FLAGS))
pytestmark = needs_backend
needs_bf16 = pytest.mark.skipif(not HAS_BF16, reason="this CPU has no bf16 instructions")
needs_no_gpu = pytest.mark.skipif(bool(machine().gpus), reason="this machine has an NVIDIA GPU")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    outputs = ("face", "occlusion")
    return make_bundle(
        tmp_path_factory.mktemp("made") / "bundle",
        graph=network(outputs=outputs),
        graphs={"fp16": network(outputs=outputs, half=True)},
        precisions=("fp32", "fp16", "bf16"),
        outputs=outputs,
    )


@pytest.fixture
def bundle(made: Path) -> Bundle:
    return Bundle.open(made)


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "bundle"))


def on_a_machine(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    """As if this machine had these fields of Machine."""
    this = replace(machine(), **fields)
    monkeypatch.setattr(session_module, "machine", lambda: this)


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """As if these distributions were not installed."""
    kept = tuple(library for library in machine().libraries if library.name not in names)
    on_a_machine(monkeypatch, libraries=kept)


def faces(opened: Session) -> np.ndarray[Any, np.dtype[np.float32]]:
    images = [sample(32, 1), sample(32, 2), noise(32, 3)]
    return opened.run(tensor_from_images(images))["face"]


# --- what runs ------------------------------------------------------------------------------------------


@needs_openvino
@needs_onnxruntime
def test_openvino_and_onnxruntime_give_the_same_picture(bundle: Bundle) -> None:
    with (
        open_session(bundle, backend="openvino", precision="fp32") as one,
        open_session(bundle, backend="onnxruntime", precision="fp32") as other,
    ):
        assert np.abs(faces(one) - faces(other)).max() < 1e-5
        assert one.outputs == other.outputs == ("face", "occlusion")
        tensor = tensor_from_images([sample(64, width=48)])
        found, expected = one.run(tensor), other.run(tensor)
        assert {name: array.shape for name, array in found.items()} == {
            "face": (1, 3, 64, 48),
            "occlusion": (1, 1, 16, 12),
        }
        for name, array in found.items():
            assert array.dtype == np.float32
            assert np.abs(array - expected[name]).max() < 1e-5
        assert (one.info.backend, one.info.precision, one.info.device) == ("openvino", "fp32", "cpu")
        assert one.info.provider == "CPU, 5 of 5 convolutions in f32"
        assert other.info.provider == "CPUExecutionProvider"
        assert other.info.version.startswith("onnxruntime 1.")
        assert one.info.version.startswith("openvino 202")


@needs_openvino
@needs_bf16
def test_bf16_is_really_bf16_and_fp32_is_not(bundle: Bundle) -> None:
    with (
        open_session(bundle, precision="bf16") as half,
        open_session(bundle, backend="openvino", precision="fp32") as full,
    ):
        difference = np.abs(faces(half) - faces(full)).max()
        assert 1e-4 < difference < 0.1
        assert half.info.precision == "bf16"
        assert half.info.provider.endswith("of 5 convolutions in bf16")


@needs_openvino
@needs_bf16
def test_openvino_that_ignores_the_hint_is_found_out(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    from getgan.runtime.backends import openvino

    # Asks for f32 where bf16 is wanted, and the other way round.
    monkeypatch.setattr(openvino, "HINTS", {"fp32": "bf16", "bf16": "f32"})
    engine = openvino.OpenVinoEngine(graph_of(bundle), 1)
    engine.infer(tensor_from_images([sample()]))
    monkeypatch.setattr(openvino, "HINTS", {"fp32": "f32", "bf16": "bf16"})
    with pytest.raises(DeviceError, match=r"OpenVINO ran of 5 convolutions .* in bf16.*; wanted f32"):
        engine.ran_on()


def graph_of(bundle: Bundle) -> Any:
    from getgan.runtime.backends import Graph

    return Graph(lambda: bundle.read("graphs/fp32.onnx"), "fp32", "image", ("face", "occlusion"))


def test_auto_takes_the_fastest_and_says_what_and_why(bundle: Bundle) -> None:
    with open_session(bundle, device="cpu") as opened:
        info = opened.info
        expected = next(
            c
            for c in candidates(["cpu"])
            if c.backend in INSTALLED and not (c.precision == "bf16" and not HAS_BF16)
        )
        assert (info.backend, info.precision) == (expected.backend, expected.precision)
        assert info.why.startswith(
            f"{expected} is the fastest way of those with cpu that the bundle accepted"
        )
        assert info.warnings == ()
        assert all(
            "cuda" in skipped or "bf16" in skipped or "openvino" in skipped for skipped in info.skipped
        )
        assert info.self_test.image == "face"
        assert info.self_test.psnr > 45
        assert info.self_test.seconds > 0


@needs_onnxruntime
def test_fp16_on_the_cpu_runs_only_by_name(bundle: Bundle) -> None:
    with open_session(bundle, precision="fp16", device="cpu") as half:
        assert (half.info.backend, half.info.precision) == ("onnxruntime", "fp16")
        assert "fp16 weights, fp32 arithmetic" in half.info.provider
        with open_session(bundle, precision="fp32", backend="onnxruntime") as full:
            assert 0 < np.abs(faces(half) - faces(full)).max() < 0.02
            assert full.info.precision == "fp32"


def test_threads_are_what_was_asked_for(bundle: Bundle) -> None:
    from getgan.runtime.devices import available_cores

    for backend in (*INSTALLED, "auto"):
        with open_session(bundle, threads=1, backend=backend) as opened:
            assert opened.info.threads == 1
    with open_session(bundle) as opened:
        assert opened.info.threads == available_cores()
    for threads in (-1, 5000):
        with pytest.raises(ConfigError, match=f"found {threads} threads; wanted 0"):
            open_session(bundle, threads=threads)


def test_the_single_file_runs_as_the_folder_does(bundle: Bundle, tmp_path: Path) -> None:
    from getgan.runtime.bundle import pack_bundle

    pack_bundle(bundle.path, tmp_path / "tiny.getgan")
    with open_session(bundle) as one, open_session(Bundle.open(tmp_path / "tiny.getgan")) as other:
        assert np.array_equal(faces(one), faces(other))


def test_a_closed_session_says_so(bundle: Bundle) -> None:
    with open_session(bundle) as opened:
        pass
    opened.close()
    with pytest.raises(DeviceError, match="the session is closed"):
        faces(opened)


def test_results_are_the_callers_own(bundle: Bundle) -> None:
    for backend in INSTALLED:
        with open_session(bundle, backend=backend) as opened:
            first = opened.run(tensor_from_images([sample(32, 1)]))["face"]
            kept = first.copy()
            opened.run(tensor_from_images([noise(32, 2)]))
            assert np.array_equal(first, kept)


# --- sizes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 3, 4, 8), (1, 3, 30, 32), (1, 3, 32, 31), (1, 3, 6, 6)])
def test_sizes_outside_the_contract_never_reach_the_backend(bundle: Bundle, shape: tuple[int, ...]) -> None:
    with (
        open_session(bundle) as opened,
        pytest.raises(ConfigError, match="multiples of 4, 8 or more each way"),
    ):
        opened.run(np.zeros(shape, np.float32))


def test_arrays_of_another_kind_are_refused(bundle: Bundle) -> None:
    arrays: list[Any] = [
        np.zeros((3, 32, 32), np.float32),
        np.zeros((1, 3, 32, 32)),
        np.zeros((1, 1, 32, 32), np.float32),
    ]
    with open_session(bundle) as opened:
        for array in [*arrays, np.zeros((0, 3, 32, 32), np.float32)]:
            with pytest.raises(ConfigError, match=r"wanted float32 \(N, 3, H, W\)"):
                opened.run(array)


def test_a_network_of_one_size_takes_that_size_only(tmp_path: Path) -> None:
    opened = open_session(Bundle.open(make_bundle(tmp_path / "b", fixed=True)))
    with opened, pytest.raises(ConfigError, match="found 64x32 pixels; wanted 32x32, the only size"):
        opened.run(np.zeros((1, 3, 32, 64), np.float32))


# --- what cannot run ------------------------------------------------------------------------------------


def test_unknown_names(bundle: Bundle) -> None:
    for device in ("gpu", "cuda:x", "cpu:0", "CPU", "", "cuda:-1"):
        with pytest.raises(ConfigError, match=r"found device .* wanted auto, cpu, cuda or cuda:N"):
            open_session(bundle, device=device)
    with pytest.raises(ConfigError, match=r"found precision 'int8'; wanted auto or .* bundle's: fp32"):
        open_session(bundle, precision="int8")
    with pytest.raises(ConfigError, match="found backend 'tvm'; wanted auto, tensorrt, openvino"):
        open_session(bundle, backend="tvm")


def test_a_named_way_that_does_not_exist(bundle: Bundle) -> None:
    for backend, device, precision in (
        ("openvino", "cuda", "auto"),
        ("onnxruntime", "auto", "bf16"),
        ("openvino", "auto", "fp16"),
    ):
        with pytest.raises(DeviceError, match=r"found no way to run with .*there are: tensorrt cuda:0"):
            open_session(bundle, backend=backend, device=device, precision=precision)


@needs_no_gpu
def test_a_gpu_that_is_not_there_is_never_replaced_by_the_cpu(bundle: Bundle) -> None:
    for device in ("cuda", "cuda:3"):
        with pytest.raises(DeviceError, match=r"no GPU \d here: (no NVIDIA|nvidia-ml-py is)") as caught:
            open_session(bundle, device=device)
        assert "\n" not in str(caught.value)


def fake_gpu(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    """As if there were one GPU, and these distributions."""
    libraries = tuple(Library(name.replace("_", "-"), version) for name, version in versions.items())
    gpus = (Gpu(0, "RTX", 8000, "580", "8.9"),)
    on_a_machine(monkeypatch, gpus=gpus, libraries=libraries)


def test_a_gpu_without_its_onnxruntime(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_gpu(monkeypatch, onnxruntime="1.23.0")
    swap = "pip uninstall -y onnxruntime, then pip install onnxruntime-gpu"
    with pytest.raises(DeviceError, match=f"onnxruntime-gpu is not installed: {swap}"):
        open_session(bundle, device="cuda")
    with pytest.raises(DeviceError, match=r"no GPU 1 here: there is cuda:0 \(RTX\)"):
        open_session(bundle, device="cuda:1")
    fake_gpu(monkeypatch, onnxruntime="1.23.0", onnxruntime_gpu="1.23.0")
    both = "both installed .*: pip uninstall -y onnxruntime onnxruntime-gpu, then pip install onnxruntime-gpu"
    with pytest.raises(DeviceError, match=both):
        open_session(bundle, device="cuda")


@needs_no_gpu
@needs_onnxruntime
def test_a_package_without_cuda_is_a_fault_and_auto_goes_on(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_gpu(monkeypatch, onnxruntime_gpu="1.23.0")  # the metadata says so; what is imported is the CPU's
    with pytest.raises(DeviceError, match="onnxruntime-gpu has no CUDAExecutionProvider"):
        open_session(bundle, device="cuda")
    with open_session(bundle, backend="onnxruntime") as opened:
        assert opened.info.device == "cpu"
        assert "onnxruntime cuda:0 fp16: onnxruntime-gpu has no CUDA" in opened.info.warnings[0]


@needs_onnxruntime
def test_without_openvino_auto_takes_onnxruntime(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "openvino")
    with open_session(bundle) as opened:
        assert (opened.info.backend, opened.info.precision) == ("onnxruntime", "fp32")
        assert opened.info.warnings == ()
        assert "openvino cpu fp32: openvino is not installed: pip install openvino" in opened.info.skipped
        assert "openvino" not in opened.info.text()  # what is not there is the doctor's to tell
    with pytest.raises(DeviceError, match="openvino is not installed: pip install openvino"):
        open_session(bundle, backend="openvino")


def test_a_cpu_without_bf16(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_machine(monkeypatch, flags=("avx2",))
    with pytest.raises(DeviceError, match=r"openvino is not installed|this CPU has no bf16 instructions"):
        open_session(bundle, precision="bf16")
    with open_session(bundle) as opened:
        assert opened.info.precision == "fp32"


def test_without_any_backend_the_command_is_named(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "openvino", "onnxruntime", "onnxruntime-gpu")
    with pytest.raises(DeviceError, match="pip install onnxruntime") as caught:
        open_session(bundle)
    assert "\n" not in str(caught.value)


@needs_openvino
@needs_onnxruntime
def test_an_openvino_that_cannot_be_imported_is_reported(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with open_session(bundle) as opened:
        assert opened.info.backend == "onnxruntime"
        faults = [w for w in opened.info.warnings if "openvino is installed and cannot be imported" in w]
        assert faults and all("pip install -U openvino" in fault for fault in faults)
    with pytest.raises(DeviceError, match="cannot be imported"):
        open_session(bundle, backend="openvino")


def test_a_precision_that_the_gate_refused(tmp_path: Path) -> None:
    bundle = Bundle.open(make_bundle(tmp_path / "b", precisions=("fp32",)))
    with pytest.raises(BundleError, match=r"no bf16 \(a test leaves it out\); wanted one of fp32"):
        open_session(bundle, precision="bf16")
    with open_session(bundle) as opened:
        assert opened.info.precision == "fp32"
        assert any("no bf16 (a test leaves it out)" in skipped for skipped in opened.info.skipped)


# --- the self-test --------------------------------------------------------------------------------------


def test_a_golden_output_that_was_altered_consistently(folder: Path) -> None:
    name = "golden/face.output.png"
    replace_file(folder, name, reencoded((folder / name).read_bytes(), lambda picture: 255 - picture))
    bundle = Bundle.open(folder)
    bundle.verify()  # the hashes are right
    with pytest.raises(
        DeviceError, match=r"golden image face comes out differently .*PSNR .* wanted at least"
    ):
        open_session(bundle)


def test_one_level_of_rounding_is_accepted_and_two_are_not(folder: Path) -> None:
    def shifted(by: int) -> Callable[[Any], Any]:
        def change(picture: Any) -> Any:
            changed = picture.copy()
            changed[5, 5] = np.where(changed[5, 5] > 128, changed[5, 5] - by, changed[5, 5] + by)
            return changed

        return change

    name = "golden/face.output.png"
    original = (folder / name).read_bytes()
    for by in (1, 3):
        replace_file(folder, name, reencoded(original, shifted(by)))
        if by == 1:
            open_session(Bundle.open(folder), precision="fp32").close()
        else:
            with pytest.raises(DeviceError, match="max error 3 of 255 levels, wanted at most 1"):
                open_session(Bundle.open(folder), precision="fp32")


def test_another_network_with_the_right_hash(folder: Path) -> None:
    replace_file(folder, "graphs/fp32.onnx", network(outputs=("face", "occlusion"), seed=5))
    with pytest.raises(DeviceError, match="comes out differently"):
        open_session(Bundle.open(folder), precision="fp32")


@needs_onnxruntime
def test_a_backend_that_gives_other_pictures_is_reported_and_passed_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the fp16 file is wrong; where it comes first it must not hide that, nor stop what is right."""
    replace_file(folder, "graphs/fp16.onnx", network(outputs=("face", "occlusion"), half=True, seed=5))
    ways = [replace(way, only_named=False) for way in candidates(["cpu"])]
    ways.sort(key=lambda way: way.precision != "fp16")
    monkeypatch.setattr(session_module, "candidates", lambda devices: ways)
    with open_session(Bundle.open(folder)) as opened:
        assert opened.info.precision != "fp16"
        assert "onnxruntime cpu fp16: golden image face comes out differently" in opened.info.warnings[0]
    with pytest.raises(DeviceError, match="comes out differently"):
        open_session(Bundle.open(folder), precision="fp16")


def test_nan_in_the_self_test(folder: Path) -> None:
    replace_file(folder, "graphs/fp32.onnx", network(outputs=("face", "occlusion"), divide_by_zero=True))
    with pytest.raises(DeviceError, match=r"100\.0% of the output face is NaN"):
        open_session(Bundle.open(folder), precision="fp32")


@needs_onnxruntime
def test_every_engine_that_fails_is_closed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Engine] = []
    from getgan.runtime.backends.onnxruntime import OnnxRuntimeEngine

    close = OnnxRuntimeEngine.close

    def closing(engine: OnnxRuntimeEngine) -> None:
        closed.append(engine)
        close(engine)

    monkeypatch.setattr(OnnxRuntimeEngine, "close", closing)
    replace_file(folder, "graphs/fp32.onnx", network(outputs=("face", "occlusion"), seed=5))
    with pytest.raises(DeviceError):
        open_session(Bundle.open(folder), precision="fp32", backend="onnxruntime")
    assert len(closed) == 1


def test_graphs_that_are_none_and_graphs_of_other_names(folder: Path) -> None:
    for graph, message in (
        (b"no graph at all", "cannot load the graph"),
        (network()[:500], "cannot load the graph"),
        (network(), r"the graph has .*, the manifest says \('image', 'face', 'occlusion'\)"),
    ):
        replace_file(folder, "graphs/fp32.onnx", graph)
        for backend in INSTALLED:
            with pytest.raises(DeviceError, match=message) as caught:
                open_session(Bundle.open(folder), backend=backend, precision="fp32")
            assert "\n" not in str(caught.value)


def test_golden_images_that_cannot_be_used(folder: Path) -> None:
    name = "golden/face.input.png"
    original = (folder / name).read_bytes()
    for data, message in (
        (b"no image", f"golden image {name} .*no image that getgan reads"),
        (reencoded(original, lambda p: p[:30]), "golden image .* wanted multiples of 4"),
        (reencoded(original, lambda p: p[:16]), "wanted one size"),
    ):
        replace_file(folder, name, data)
        with pytest.raises(BundleError, match=message):
            open_session(Bundle.open(folder))


def test_a_graph_altered_after_opening_is_never_run(folder: Path) -> None:
    bundle = Bundle.open(folder)
    data = bytearray((folder / "graphs/fp32.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "graphs/fp32.onnx").write_bytes(data)
    with pytest.raises(BundleError, match="damaged or was altered"):
        open_session(bundle, precision="fp32")


# --- numbers and imports --------------------------------------------------------------------------------


def test_every_8_bit_level_survives_the_way_to_the_network_and_back() -> None:
    ramp = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    tensor = tensor_from_images([ramp, ramp[::-1]])
    assert tensor.shape == (2, 3, 16, 16) and tensor.dtype == np.float32
    assert (tensor.min(), tensor.max()) == (-1.0, 1.0)
    assert np.array_equal(image_from_tensor(tensor[0]), ramp)
    assert np.array_equal(image_from_tensor(tensor[1]), ramp[::-1])
    outside = np.array([-3.0, 3.0, 0.0], np.float32)[:, None, None]
    assert image_from_tensor(outside).ravel().tolist() == [0, 255, 128]


def test_the_runtime_loads_neither_torch_nor_onnx(made: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from getgan.runtime.bundle import Bundle;"
        "from getgan.runtime.pipeline import Pipeline; from getgan.runtime.session import open_session;"
        f"b = Bundle.open(Path({str(made)!r})); heavy = ('cv2', 'openvino', 'onnxruntime');"
        "print([m for m in heavy if m in sys.modules]); s = open_session(b);"
        "Pipeline(s, b.manifest.contract); s.close();"
        "print([m for m in ('torch', 'onnx', 'safetensors') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]


@needs_onnxruntime
def test_onnx_runtime_reports_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    code = "import getgan, onnxruntime"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []
