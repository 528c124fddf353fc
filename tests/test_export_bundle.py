"""A bundle is complete and says where it comes from."""

from __future__ import annotations

import hashlib
import html.parser
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from export_helpers import saved
from made_bundles import CHECKPOINT, made_bundle, quiet, small_bundle

from getgan.errors import BundleError, OutputError
from getgan.export.bundle import ExportOptions, ExportReport, export_bundle
from getgan.export.facts import name_of
from getgan.export.gate import Gate
from getgan.export.record import record_from_json
from getgan.export.reference import PyTorchReference
from getgan.models.checkpoint import load_checkpoint
from getgan.runtime.bundle import Bundle
from getgan.runtime.images import image_from_bytes
from getgan.runtime.metrics import max_error
from getgan.runtime.pixels import image_from_tensor, map_from_tensor
from getgan.runtime.quality import THRESHOLDS


@pytest.fixture(scope="module")
def made() -> Any:
    return made_bundle()


@pytest.fixture(scope="module")
def small() -> Any:
    return small_bundle()


def test_the_layout_and_every_hash(made: Any) -> None:
    path, report, _ = made
    bundle = Bundle.open(path)
    assert bundle.verify() == sum(file.bytes for file in bundle.manifest.files.values())
    found = {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()}
    assert found == {"manifest.json", *bundle.manifest.files}
    assert {"graphs/fp32.onnx", "graphs/fp16.onnx", "quality.json", "index.html"} <= found
    assert "golden/01-hand.input.png" in found and "golden/01-hand.output.png" in found
    assert report.manifest == bundle.manifest
    assert report.bytes == sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def test_the_manifest_says_what_it_is(made: Any) -> None:
    manifest = made[1].manifest
    assert manifest.outputs == ("face", "occlusion")
    model = manifest.model
    assert (model.name, model.arch, model.config["ngf"]) == ("getgan-64", "getgan", 24)
    assert model.source_sha256 == hashlib.sha256(CHECKPOINT.read_bytes()).hexdigest()
    assert (manifest.contract.size, manifest.contract.min_size, manifest.contract.fixed) == (64, 8, False)
    branch = manifest.export.branch
    assert branch is not None and branch.bit_equal
    assert branch.operations_after < branch.operations_before
    assert manifest.export.filtered
    assert [variant.name for variant in manifest.variants][:2] == ["fp32", "fp16"]
    framed = manifest.variant("fp16-frames")
    assert (framed.graph, framed.hint, framed.frames) == ("graphs/fp16-frames.onnx", "fp16", "uint8")
    assert framed.limits == manifest.variant("fp16").limits
    assert {variant.frames for variant in manifest.variants if variant is not framed} == {"float32"}
    assert manifest.variants[0].images == 13  # fourteen and an own one, without the two flat ones
    assert all(variant.limits == THRESHOLDS[variant.hint] for variant in manifest.variants)
    assert [golden.name for golden in manifest.golden] == ["hand", "cord", "clean-1", "letterbox"]


def test_golden_outputs_are_pytorchs(made: Any) -> None:
    path, report, _ = made
    checkpoint = load_checkpoint(CHECKPOINT)
    gate = Gate(PyTorchReference(checkpoint, ("face", "occlusion")), checkpoint.contract, [], 1)
    bundle = Bundle.open(path)
    for golden in report.manifest.golden:
        found = image_from_bytes(bundle.read(golden.output))
        outputs = gate.translate(image_from_bytes(bundle.read(golden.input)))
        # Another number of threads may round a pixel the other way.
        assert max_error(found, image_from_tensor(outputs["face"])) <= 1
        assert found.std() > 10
        hidden = image_from_bytes(bundle.read(golden.occlusion))
        assert hidden.shape == (16, 16, 3)
        assert max_error(hidden, np.repeat(map_from_tensor(outputs["occlusion"])[:, :, None], 3, axis=2)) <= 1
        assert hidden.std() > 5


def test_own_pictures_leave_no_trace_but_figures(made: Any) -> None:
    path, report, _ = made
    assert b"Jane" not in b"".join(p.read_bytes() for p in path.rglob("*") if p.is_file())
    assert not [name for name in report.manifest.files if "own" in name]
    record = record_from_json((path / "quality.json").read_bytes())
    assert "own-1" in [image.name for image in record.variant("fp32").images]


def test_the_quality_record(made: Any) -> None:
    path, report, _ = made
    record = record_from_json((path / "quality.json").read_bytes())
    assert [variant.name for variant in record.variants] == ["fp32", "fp16", "bf16", "fp16-frames"]
    accepted = {variant.name: variant.figures for variant in record.variants if variant.accepted}
    assert accepted == {variant.name: variant.figures for variant in report.manifest.variants}
    assert record.limits["fp32"].max_error == 1e-4
    with pytest.raises(BundleError, match=r"damaged quality\.json"):
        record_from_json(b"{}")


class Page(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_pictures_and_figures_and_loads_nothing(made: Any) -> None:
    path, report, _ = made
    page = Page()
    page.feed((path / "index.html").read_text(encoding="utf-8"))
    assert sorted(page.sources) == sorted(
        name for golden in report.manifest.golden for name in (golden.input, golden.output, golden.occlusion)
    )
    assert "script" not in page.tags
    # A phone shows it whole: figures scroll in a box of their own, everything else breaks.
    text = (path / "index.html").read_text(encoding="utf-8")
    assert '<meta name=viewport content="width=device-width,initial-scale=1">' in text
    tables = re.findall(r"(<div class=wide>)?<table><tr>(.*?)</tr>", text)
    assert len(tables) >= 4
    assert all(bool(box) == (max(head.count("<th>"), head.count("<td>")) > 2) for box, head in tables)
    for text in (
        "AI-generated, not diagnostic",
        report.manifest.model.source_sha256,
        "letterbox",
        "64x64",
    ):
        assert text in page.text
    assert (path / "index.html").stat().st_size < 30_000


def test_progress_goes_from_nothing_to_all(made: Any) -> None:
    shares = [share for _, share in made[2]]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)


def test_the_report_is_text_and_json(made: Any) -> None:
    path, report, _ = made
    text = report.text()
    assert text.splitlines()[0].startswith(f"bundle    {path} (")
    assert "fp16      accepted on 13 images; worst: " in text
    assert msgspec.json.decode(report.to_json(), type=ExportReport) == report


def test_one_file_with_the_same_graphs_and_pictures(small: Any, tmp_path: Path) -> None:
    checkpoint, _, first = small
    output = tmp_path / "net.getgan"
    report = export_bundle(checkpoint, output, ExportOptions(), quiet)
    bundle = Bundle.open(output)
    assert bundle.verify() > 0
    assert bundle.manifest == report.manifest
    assert [p.name for p in tmp_path.iterdir()] == ["net.getgan"]
    same = [name for name in first.manifest.files if name.startswith(("graphs/", "golden/"))]
    assert len(same) >= 9
    assert all(report.manifest.files[name] == first.manifest.files[name] for name in same)
    with pytest.raises(OutputError, match=r"net\.getgan exists; pass --overwrite"):
        export_bundle(checkpoint, output, ExportOptions(), quiet)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("runs/hospital-a/best.safetensors", "hospital-a"),
        ("runs/hospital-a/last.reverse.safetensors", "hospital-a.reverse"),
        ("runs/hospital-a/net-3.safetensors", "net-3"),
        ("bestof.pt", "bestof"),
    ],
)
def test_a_model_is_called_after_its_run(path: str, name: str) -> None:
    assert name_of(Path(path)) == name


def test_texts_of_a_checkpoint_are_escaped(small: Any) -> None:
    page = (small[1] / "index.html").read_text(encoding="utf-8")
    assert "<b>" not in page
    assert "&lt;b&gt;tiny &amp; random&lt;/b&gt;" in page


def test_a_precision_that_fails_stays_out_with_its_reason(tmp_path: Path) -> None:
    def overflow(state: dict[str, Any]) -> None:
        state["fake.1.weight"].mul_(3e6)  # of the first doubling, which no plan keeps in FP32

    path = saved(tmp_path, "getgan-1x1", overflow)
    report = export_bundle(path, tmp_path / "net", ExportOptions(), quiet)
    assert not (tmp_path / "net" / "graphs" / "fp16.onnx").exists()
    reasons = {refused.name: refused.reason for refused in report.manifest.refused}
    assert "above FP16's 65,504" in reasons["fp16"]
    assert reasons["fp16"] in report.text()
    with pytest.raises(BundleError, match=r"holds no fp16 \(.*above FP16's 65,504"):
        report.manifest.variant("fp16")
