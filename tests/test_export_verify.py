"""A bundle is judged again, on any machine: what was altered is found, and what does harm is not run."""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from bundle_helpers import replace_file
from export_helpers import EXAMPLES, checkpoint_of, saved
from made_bundles import CHECKPOINT, made_bundle, quiet, small_bundle
from onnx import numpy_helper
from onnx_helpers import endless, huge

from getgan.errors import BundleError, CheckpointError
from getgan.export import firststeps
from getgan.export.facts import CheckpointFacts, inspect_checkpoint
from getgan.export.record import json_from_record, record_from_json
from getgan.export.verify import verify_bundle
from getgan.runtime import firstrun
from getgan.runtime.devices import BF16_FLAGS, machine
from getgan.runtime.images import bytes_from_image


@pytest.fixture(scope="module")
def made() -> Any:
    return made_bundle()


@pytest.fixture(scope="module")
def small() -> Any:
    return small_bundle()


def test_verify_judges_again(made: Any) -> None:
    path = made[0]
    report = verify_bundle(path, CHECKPOINT, quiet, 2)
    assert report.passed
    assert report.golden_levels == 0
    assert {verdict.name: verdict.result for verdict in report.verdicts}["fp16"] == "passed"
    assert report.verdicts[-1].name == "fp16-frames" and report.verdicts[-1].result == "passed"
    assert "every hash is right" in report.text()
    assert json.loads(report.to_json())["passed"] is True


def with_variants(folder: Path, target: Path, *variants: dict[str, Any]) -> Path:
    """A copy whose manifest accepts these variants only; each is an old one's fields, changed."""
    shutil.copytree(folder, target)
    manifest = json.loads((target / "manifest.json").read_bytes())
    known = {variant["name"]: variant for variant in manifest["variants"]}
    manifest["variants"] = [{**known["fp32"], **variant} for variant in variants]
    (target / "manifest.json").write_text(json.dumps(manifest))
    record = record_from_json((target / "quality.json").read_bytes())
    same = [msgspec.structs.replace(record.variant("fp32"), name=v["name"]) for v in manifest["variants"]]
    replace_file(
        target, "quality.json", json_from_record(msgspec.structs.replace(record, variants=tuple(same)))
    )
    return target


def test_verify_judges_the_graph_that_the_variant_names(small: Any, tmp_path: Path) -> None:
    checkpoint, folder, _ = small
    # The right graph lies there under the right name, and the variant runs another one.
    proto = onnx.load(folder / "graphs/fp32.onnx")
    weight = next(tensor for tensor in proto.graph.initializer if tensor.name.endswith("weight"))
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.5), weight.name))
    wrong = with_files(folder, tmp_path / "a", {"graphs/other.onnx": proto.SerializeToString()}, honest=True)
    named = with_variants(wrong, tmp_path / "b", {"graph": "graphs/other.onnx"})
    report = verify_bundle(named, checkpoint, quiet, 2)
    assert not report.passed
    assert [verdict.result for verdict in report.verdicts] == ["failed"]
    # And the other way round: fp32's graph may be called anything.
    right = (folder / "graphs/fp32.onnx").read_bytes()
    renamed = with_files(folder, tmp_path / "c", {"graphs/other.onnx": right}, honest=True)
    assert verify_bundle(
        with_variants(renamed, tmp_path / "d", {"graph": "graphs/other.onnx"}), checkpoint, quiet, 2
    ).passed


def test_nothing_is_verified_where_nothing_was_run(
    small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, folder, _ = small
    bundle = with_variants(folder, tmp_path / "b", {"name": "bf16", "hint": "bf16"})
    monkeypatch.setattr("getgan.runtime.devices.cpu_flags", lambda: (("sse2",), ""))
    report = verify_bundle(bundle, checkpoint, quiet, 2)
    assert [verdict.result for verdict in report.verdicts] == ["not run"]
    assert not report.passed
    assert "verified  no: nothing of it runs here" in report.text()
    assert json.loads(report.to_json())["passed"] is False


def test_a_bundle_without_fp32_is_judged_by_what_it_has(small: Any, tmp_path: Path) -> None:
    checkpoint, folder, _ = small
    bundle = with_variants(
        folder, tmp_path / "b", {"name": "fp16", "hint": "fp16"}
    )  # the FP32 graph, which passes
    report = verify_bundle(bundle, checkpoint, quiet, 2)
    assert [(verdict.name, verdict.result) for verdict in report.verdicts] == [("fp16", "passed")]
    assert report.passed


def test_verify_compares_golden_maps(made: Any, tmp_path: Path) -> None:
    path, report, _ = made
    first, second = (golden.occlusion for golden in report.manifest.golden[:2])
    exchanged = with_files(path, tmp_path / "b", {first: (path / second).read_bytes()}, honest=True)
    found = verify_bundle(with_variants(exchanged, tmp_path / "c", {}), CHECKPOINT, quiet, 2)
    assert not found.passed and found.golden_levels > 1


def test_verify_finds_a_bundle_of_another_checkpoint(made: Any) -> None:
    with pytest.raises(BundleError, match="pass the checkpoint that it was exported from"):
        verify_bundle(made[0], EXAMPLES / "cyclegan-64.safetensors", quiet)


def with_files(folder: Path, target: Path, change: dict[str, bytes], *, honest: bool) -> Path:
    """A copy with files exchanged; honest = the manifest gets the new hashes."""
    shutil.copytree(folder, target)
    manifest = json.loads((target / "manifest.json").read_bytes())
    for name, data in change.items():
        (target / name).write_bytes(data)
        if honest:
            manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (target / "manifest.json").write_text(json.dumps(manifest))
    return target


def test_verify_finds_altered_and_exchanged_files(made: Any, tmp_path: Path) -> None:
    path, report, _ = made
    graph = bytearray((path / "graphs/fp32.onnx").read_bytes())
    graph[-200] ^= 1
    altered = with_files(path, tmp_path / "altered", {"graphs/fp32.onnx": bytes(graph)}, honest=False)
    with pytest.raises(BundleError, match=r"graphs/fp32\.onnx is damaged or was altered"):
        verify_bundle(altered, CHECKPOINT, quiet)
    # Hashes that fit do not help: the pictures are compared.
    other = (path / report.manifest.golden[1].output).read_bytes()
    name = report.manifest.golden[0].output
    exchanged = with_files(path, tmp_path / "exchanged", {name: other}, honest=True)
    found = verify_bundle(exchanged, CHECKPOINT, quiet, 2)
    assert not found.passed
    assert found.golden_levels > 50
    assert "export the bundle again" in found.text()


def test_verify_finds_a_record_of_other_figures(small: Any, tmp_path: Path) -> None:
    checkpoint, folder, _ = small
    record = record_from_json((folder / "quality.json").read_bytes())
    better = [
        msgspec.structs.replace(each, figures=msgspec.structs.replace(each.figures, psnr=99.0))
        for each in record.variants
        if each.figures
    ]
    forged = json_from_record(msgspec.structs.replace(record, variants=tuple(better)))
    for number, (data, message) in enumerate(
        ((b"{}", "found a damaged quality.json"), (forged, "quality.json that state different figures"))
    ):
        bundle = with_files(folder, tmp_path / str(number), {"quality.json": data}, honest=True)
        with pytest.raises(BundleError, match=message) as caught:
            verify_bundle(bundle, checkpoint, quiet, 2)
        assert str(caught.value).count(str(bundle)) == 1


@pytest.mark.parametrize(
    ("graph", "precision", "message"),
    [
        (endless(), "fp32", "its graph for openvino cpu fp32 computed for 2 s when it ran for the first"),
        (huge(), "fp32", r"its graph for openvino cpu fp32 took more than \d+ MB of memory"),
        (endless(), "bf16", "its graph for openvino cpu bf16 computed for 2 s"),
        # A session leaves the loop out; node by node it runs.
        (endless(unused=True), "fp16", "its graph for fp16, run node by node, computed for 2 s"),
        (huge(), "fp16", r"its graph for fp16, run node by node, took more than \d+ MB of memory"),
    ],
)
def test_verify_runs_no_graph_that_does_harm(
    small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, graph: bytes, precision: str, message: str
) -> None:
    if precision == "bf16" and not set(machine().flags or ()) & set(BF16_FLAGS):
        pytest.skip("this CPU has no bf16 instructions, so that nothing is run")
    checkpoint, folder, _ = small
    monkeypatch.setattr(firstrun, "BUSY_S", {"cpu": 2})
    monkeypatch.setattr(firststeps, "BUSY_S", 2)
    harmful = with_files(folder, tmp_path / "a", {"graphs/other.onnx": graph}, honest=True)
    bundle = with_variants(
        harmful, tmp_path / "b", {"name": precision, "hint": precision, "graph": "graphs/other.onnx"}
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BundleError, match=message) as caught:
        verify_bundle(bundle, checkpoint, quiet, 2)
    assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 1_000_000  # kB; the graph's 3.6 GB


def test_verify_translates_no_golden_picture_that_the_gate_would_not_make(small: Any, tmp_path: Path) -> None:
    """PyTorch would need gigabytes for it, in this process."""
    checkpoint, folder, report = small
    name = report.manifest.golden[1].input
    large = bytes_from_image(np.zeros((2048, 2048, 3), np.uint8))
    bundle = with_files(folder, tmp_path / "b", {name: large}, honest=True)
    with pytest.raises(BundleError, match=rf"found {name} of 2048x2048 pixels; wanted 32x32 at most"):
        verify_bundle(bundle, checkpoint, quiet, 2)


def test_inspect(tmp_path: Path) -> None:
    facts = inspect_checkpoint(CHECKPOINT)
    assert facts.parameters_total - facts.model.parameters == 387_603
    # One 3x3 convolution from 96 to 96 channels at 16x16 is 21.2 MMAC; twelve of them make most of it.
    assert 0.3 < facts.gmac < 0.5
    assert "1,504,374, 1,116,771 of them to translate" in facts.text()
    assert msgspec.json.decode(facts.to_json(), type=CheckpointFacts) == facts
    fixed = inspect_checkpoint(saved(tmp_path, "ugatit-full"))
    assert fixed.contract.fixed
    assert "32x32 only" in fixed.text()
    with pytest.raises(CheckpointError, match="no such file"):
        inspect_checkpoint(tmp_path / "gone.safetensors")


def test_multiply_accumulates_by_hand(tmp_path: Path) -> None:
    n, size = 2, 32
    stem = 7 * 7 * 3 * n * size * size
    down = 9 * n * 2 * n * (size // 2) ** 2 + 9 * 2 * n * 4 * n * (size // 4) ** 2
    block = 2 * 9 * (4 * n) ** 2 * (size // 4) ** 2
    # A transposed convolution multiplies each input pixel with the whole kernel.
    up = 9 * 4 * n * 2 * n * (size // 4) ** 2 + 9 * 2 * n * n * (size // 2) ** 2
    head = 7 * 7 * n * 3 * size * size
    facts = inspect_checkpoint(saved(tmp_path, "resnet"))
    assert facts.gmac == pytest.approx((stem + down + block + up + head) / 1e9, rel=1e-9)
    assert checkpoint_of("resnet").contract.size == size
