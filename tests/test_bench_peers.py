"""Peers give the same picture as the bundle, or say why they are not here; MLPerf LoadGen's own verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from bundle_helpers import make_bundle

from getgan.benchmarks.golden import golden_faces, judge
from getgan.benchmarks.jobs import ScenarioJob
from getgan.benchmarks.loadgen import SCENARIOS, run_scenario, scenario_from_logs
from getgan.benchmarks.peers import NAMES, PEERS, Absent, Asked, open_peer
from getgan.benchmarks.peers.trtexec import measured, run_trtexec
from getgan.benchmarks.schema import ScenarioName
from getgan.benchmarks.ways import NOT_APART, OwnWay, PeerWay, Picture
from getgan.errors import DeviceError
from getgan.runtime.bundle import Bundle
from getgan.runtime.devices import library_version
from getgan.runtime.images import image_from_bytes

NEEDS = {"onnxruntime": "onnxruntime", "openvino": "openvino", "ncnn": "pnnx"}


def asked(folder: Path, *, checkpoint: Path | None = None) -> tuple[Bundle, Asked]:
    bundle = Bundle.open(make_bundle(folder / "bundle"))
    graph = folder / "fp32.onnx"
    graph.write_bytes(bundle.read("graphs/fp32.onnx"))
    return bundle, Asked(graph, bundle.manifest.input, 32, 1, "cpu", 1, folder, checkpoint)


def inputs(bundle: Bundle) -> dict[str, Picture]:
    return {g.name: image_from_bytes(bundle.read(g.input)) for g in bundle.manifest.golden}


@pytest.mark.parametrize("name", list(NEEDS))
def test_a_peer_gives_the_golden_faces(name: str, tmp_path: Path) -> None:
    if not library_version(NEEDS[name]):
        pytest.skip(f"{NEEDS[name]} is not installed")
    bundle, question = asked(tmp_path)
    peer, opened = open_peer(name, question)
    way = PeerWay(opened, peer.about, bundle.manifest.contract)
    faces = {golden: way.face(picture) for golden, picture in inputs(bundle).items()}
    quality = judge(faces, golden_faces(bundle))
    # OpenVINO's defaults take bf16 where the CPU has it, and the report says so.
    assert quality.images == 2 and (quality.psnr or 99.0) > (35.0 if way.facts.precision == "bf16" else 60.0)
    assert way.facts.threads == 1 and way.facts.version.startswith(f"{name} ")
    frames = list(inputs(bundle).values())
    together, times, fault = way.translate(frames)
    assert len(together) == 2 and fault == "" and np.abs(together[1].astype(int) - faces["noise"]).max() <= 2
    assert min(times.pre, times.network, times.post) > 0 and np.isnan(times.copy_in)
    way.close()


@pytest.mark.parametrize("name", ["torch-eager", "torch-onnxruntime", "torch-openvino"])
def test_torch_runs_from_the_checkpoint(name: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip(name.removeprefix("torch-").replace("eager", "torch"))
    from getgan.benchmarks.untrained import write_untrained
    from getgan.models.checkpoint import load_checkpoint

    path = tmp_path / "net.safetensors"
    write_untrained(path, ngf=2, size=32)
    threads = torch.get_num_threads()
    try:
        _, question = asked(tmp_path, checkpoint=path)
        _, opened = open_peer(name, question)
        tensor = np.random.default_rng(0).uniform(-1, 1, (2, 3, 32, 32)).astype(np.float32)
        with torch.inference_mode():
            wanted = (
                load_checkpoint(path).generator().eval().answer(torch.from_numpy(tensor), ("face",))["face"]
            )
        rounding = 0.02 if opened.precision == "bf16" else 1e-5  # OpenVINO's choice where the CPU has it
        assert np.abs(opened.run(tensor) - wanted.numpy()).max() < rounding
        assert np.abs(opened.run(tensor[:1]) - wanted[:1].numpy()).max() < rounding
        assert opened.provider in ("eager", "CPU", "CPUExecutionProvider") and opened.threads == 1
    finally:
        torch.set_num_threads(threads)


def test_a_peer_that_is_not_here_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, question = asked(tmp_path)
    for name in ("torch-eager", "torch-compile", "torch-onnxruntime", "torch-openvino"):
        with pytest.raises(Absent, match=r"give --checkpoint|needs g\+\+"):
            open_peer(name, question)
    with pytest.raises(Absent, match="trtexec runs on NVIDIA GPUs only"):
        run_trtexec(question, 1.0)
    on_gpu = replace(question, device="cuda:0")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Absent, match="OpenVINO does not run on NVIDIA GPUs"):
        open_peer("openvino", on_gpu)
    with pytest.raises(Absent, match="CPU only"):
        open_peer("ncnn", on_gpu)
    if library_version("onnxruntime"):
        with pytest.raises(Absent, match="has no CUDAExecutionProvider"):
            open_peer("onnxruntime", on_gpu)
    if not Path("/usr/src/tensorrt/bin/trtexec").exists():
        with pytest.raises(Absent, match="there is no trtexec here"):
            run_trtexec(on_gpu, 1.0)
    assert len(set(NAMES)) == len(NAMES) == len(PEERS) + 1


def test_a_graph_that_pnnx_cannot_convert_is_told(tmp_path: Path) -> None:
    pytest.importorskip("ncnn")
    _, question = asked(tmp_path)
    question.graph.write_bytes(b"no graph")
    with pytest.raises(Absent, match="pnnx cannot convert the graph"):
        open_peer("ncnn", question)


def test_trtexec_s_times_are_read(tmp_path: Path) -> None:
    # As exportJSONTrace of TensorRT 10's samples/common writes them.
    trace = {"startEnqMs": 9.0, "endEnqMs": 9.1, "startH2dMs": 8.0, "endH2dMs": 8.5, "startComputeMs": 8.5}
    trace |= {"endComputeMs": 10.5, "startD2hMs": 10.5, "endD2hMs": 10.75}
    trace |= {"h2dMs": 0.5, "computeMs": 2.0, "d2hMs": 0.25, "latencyMs": 2.75}
    path = tmp_path / "times.json"
    path.write_text(json.dumps([trace, {**trace, "startH2dMs": 11.0, "latencyMs": 3.0}]))
    found = measured(path, "&&&& RUNNING TensorRT.trtexec [TensorRT v101300] [b35]\n")
    assert found.version == "TensorRT 101300" and found.starts == [0.0, 0.003]
    assert (found.copy_in[0], found.network[0], found.copy_out[0]) == (0.0005, 0.002, 0.00025)
    assert found.latencies == [0.00275, 0.003] and found.seconds == pytest.approx(0.006)
    path.write_text("[\n]\n")
    with pytest.raises(Absent, match="measured nothing"):
        measured(path, "")


def test_own_way_is_the_pipeline_and_its_session_alone(tmp_path: Path) -> None:
    bundle = Bundle.open(make_bundle(tmp_path / "bundle"))
    way = OwnWay(bundle, device="cpu", precision="fp32", backend="auto", threads=1, size=32)
    pictures = inputs(bundle)
    quality = judge({name: way.face(picture) for name, picture in pictures.items()}, golden_faces(bundle))
    assert quality.psnr is None or quality.psnr > 60.0
    (labelled,), times, fault = way.translate([pictures["face"]])
    assert fault == "" and labelled.shape[0] > 32 and times.network > 0  # larger, for the label
    assert np.isnan([times.copy_in, times.copy_out]).all() and np.isnan(NOT_APART)
    # A flat picture is refused by the guard: no face, and the reason.
    refused, times, fault = way.translate([np.full((32, 32, 3), 9, np.uint8)])
    assert refused == [] and "flat colour" in fault and times.network == 0.0
    graph = bundle.manifest.variant("fp32").graph
    assert way.facts.graph_sha256 == bundle.manifest.files[graph].sha256
    way.close()


def test_the_worst_golden_image_counts() -> None:
    golden = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    other = golden.copy()
    other[0, 0, 0] ^= 16
    quality = judge({"same": golden, "other": other}, {"same": golden, "other": golden})
    assert (quality.worst, quality.max_levels, quality.images) == ("other", 16, 2)
    assert quality.psnr is not None and quality.ssim < 1.0
    assert judge({"same": golden}, {"same": golden}).psnr is None
    assert (quality.perceptual is None) == bool(quality.perceptual_absent)


# --- MLPerf LoadGen -------------------------------------------------------------------------------------


def scenario(name: ScenarioName, folder: Path) -> tuple[ScenarioJob, list[Picture]]:
    draw = np.random.default_rng(0)
    pictures = [draw.integers(0, 256, (16, 16, 3), np.uint8) for _ in range(3)]
    return ScenarioJob(name, str(folder), 0.1, qps=2000.0, p99=0.01, seed=1), pictures


@pytest.mark.parametrize("name", SCENARIOS)
def test_loadgen_measures_and_its_answers_are_compared(name: ScenarioName, tmp_path: Path) -> None:
    pytest.importorskip("mlperf_loadgen")
    job, pictures = scenario(name, tmp_path)

    def wrong_once(picture: Picture) -> Picture:
        return picture ^ np.uint8(64) if (picture == pictures[1]).all() else picture

    done = run_scenario(job, pictures, wrong_once)
    found = scenario_from_logs(tmp_path, done, name, "getgan", pictures, "logs")
    assert found.sampled > 0 and found.loadgen == library_version("mlcommons-loadgen")
    assert found.figures["query_count"] >= 1 and found.settings["min_duration_ms"] == 100
    assert found.psnr is not None and found.psnr < 20.0 and found.ssim is not None and found.ssim < 0.9
    assert found.valid == (not found.reasons)
    right = scenario_from_logs(
        tmp_path, run_scenario(job, pictures, lambda p: p), name, "g", pictures, "logs"
    )
    assert right.psnr is None and right.ssim == pytest.approx(1.0)


def test_what_loadgen_calls_invalid_has_its_reasons(tmp_path: Path) -> None:
    pytest.importorskip("mlperf_loadgen")
    job, pictures = scenario("Server", tmp_path)
    impossible = msgspec.structs.replace(job, p99=1e-9)  # so no answer is in time
    done = run_scenario(impossible, pictures, lambda picture: picture)
    found = scenario_from_logs(tmp_path, done, "Server", "getgan", pictures, "logs")
    assert not found.valid and "perf constraints" in found.reasons
    assert found.figures["overlatency_query_count"] == found.figures["query_count"] > 0


def test_a_query_that_fails_under_loadgen_is_told(tmp_path: Path) -> None:
    pytest.importorskip("mlperf_loadgen")
    job, pictures = scenario("SingleStream", tmp_path)

    def broken(picture: Picture) -> Picture:
        raise RuntimeError("no memory")

    with pytest.raises(DeviceError, match=r"SingleStream: [0-9]+ queries failed: no memory"):
        run_scenario(job, pictures, broken)
