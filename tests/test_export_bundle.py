"""A bundle is complete, verifies, says where it comes from, and appears whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import html.parser
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from bundle_helpers import replace_file
from export_helpers import EXAMPLES, checkpoint_of, saved
from onnx import numpy_helper
from onnx_helpers import endless, huge

from getgan.errors import BundleError, CheckpointError, ConfigError, DataError, ExportError, OutputError
from getgan.export import bundle as bundle_module
from getgan.export import firststeps
from getgan.export import folder as folder_module
from getgan.export import source as source_module
from getgan.export.bundle import ExportOptions, ExportReport, export_bundle
from getgan.export.facts import CheckpointFacts, inspect_checkpoint, name_of
from getgan.export.gate import Gate
from getgan.export.record import VariantRecord, json_from_record, record_from_json
from getgan.export.reference import PyTorchReference
from getgan.export.verify import verify_bundle
from getgan.models.checkpoint import load_checkpoint
from getgan.runtime import firstrun
from getgan.runtime.bundle import Bundle
from getgan.runtime.devices import BF16_FLAGS, machine
from getgan.runtime.images import bytes_from_image, image_from_bytes, write_image
from getgan.runtime.metrics import max_error
from getgan.runtime.pixels import image_from_tensor, map_from_tensor
from getgan.runtime.quality import THRESHOLDS

CHECKPOINT = EXAMPLES / "getgan-64.safetensors"


def quiet(_what: str, _share: float) -> None:
    pass


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExportReport, list[tuple[str, float]]]:
    """The bundle of a shipped checkpoint, as a folder, with what was reported meanwhile."""
    folder = tmp_path_factory.mktemp("made")
    own = folder / "Jane Doe 1984.png"
    write_image(own, np.random.default_rng(3).integers(0, 256, (50, 70, 3), np.uint8))
    seen: list[tuple[str, float]] = []
    options = ExportOptions(outputs=("face", "occlusion"), images=(own,), frames=True, threads=2)
    report = export_bundle(
        CHECKPOINT, folder / "net", options, lambda what, share: seen.append((what, share))
    )
    assert sorted(path.name for path in folder.iterdir()) == ["Jane Doe 1984.png", "net"]
    return folder / "net", report, seen


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


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, ExportReport]:
    """A tiny checkpoint and its bundle."""
    folder = tmp_path_factory.mktemp("small")
    checkpoint = saved(folder, "resnet")
    return checkpoint, folder / "net", export_bundle(checkpoint, folder / "net", ExportOptions(), quiet)


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
        state["shared.10.conv_block.1.weight"].mul_(3e5)  # in the trunk, which no plan keeps in FP32

    path = saved(tmp_path, "getgan-1x1", overflow)
    report = export_bundle(path, tmp_path / "net", ExportOptions(), quiet)
    assert not (tmp_path / "net" / "graphs" / "fp16.onnx").exists()
    reasons = {refused.name: refused.reason for refused in report.manifest.refused}
    assert "above FP16's 65,504" in reasons["fp16"]
    assert reasons["fp16"] in report.text()
    with pytest.raises(BundleError, match=r"holds no fp16 \(.*above FP16's 65,504"):
        report.manifest.variant("fp16")


# --- what goes wrong ------------------------------------------------------------------------------------


def listing(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def old(small: Any, tmp_path: Path) -> tuple[Path, Path, dict[str, bytes]]:
    """A checkpoint and an old bundle that must survive."""
    checkpoint = Path(shutil.copy(small[0], tmp_path))
    shutil.copytree(small[1], tmp_path / "net")
    manifest = tmp_path / "net" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"created": "20', '"created": "19'))
    return checkpoint, tmp_path / "net", listing(tmp_path)


@pytest.fixture(scope="module")
def judged(small: Any) -> bundle_module.Judged:
    """What is about to be written, made once."""
    return bundle_module._judge(small[0], ExportOptions(), quiet, {})


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def stopped(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def rename_once(real: Callable[..., None]) -> Callable[..., None]:
    calls: list[object] = []

    def rename(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == 2:  # the new bundle into the old one's place
            full_disk()
        real(source, target)

    return rename


@pytest.fixture
def old_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """A C library that cannot let two folders change places."""
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_refused_fp32_writes_nothing(old: Any, monkeypatch: pytest.MonkeyPatch, overwrite: bool) -> None:
    checkpoint, output, before = old
    refused = VariantRecord("fp32", False, "onnxruntime", "max error 0.5 on 'hand'")
    monkeypatch.setattr(Gate, "judge", lambda *_: refused)
    target = output if overwrite else output.with_name("new")
    with pytest.raises(
        ExportError, match=r"PyTorch's pictures: max error 0\.5 on 'hand'; nothing was written"
    ):
        export_bundle(checkpoint, target, ExportOptions(overwrite=overwrite), quiet)
    assert listing(output.parent) == before


@pytest.mark.parametrize(
    ("place", "name", "failure", "error"),
    [
        (folder_module, "write_bytes_atomic", full_disk, OutputError),
        (folder_module, "write_bytes_atomic", stopped, KeyboardInterrupt),
        (bundle_module, "move_into_place", stopped, KeyboardInterrupt),
        (os, "rename", None, OutputError),
    ],
)
def test_a_failure_while_writing_leaves_the_old_bundle(
    old: Any,
    judged: Any,
    monkeypatch: pytest.MonkeyPatch,
    place: Any,
    name: str,
    failure: Any,
    error: type[BaseException],
) -> None:
    checkpoint, output, before = old
    monkeypatch.setattr(bundle_module, "_judge", lambda *_: judged)
    if failure is None:
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    monkeypatch.setattr(place, name, failure or rename_once(os.rename))
    with pytest.raises(error) as caught:
        export_bundle(checkpoint, output, ExportOptions(overwrite=True), quiet)
    monkeypatch.undo()
    if error is OutputError:
        assert "No space left on device" in str(caught.value)
    assert listing(output.parent) == before
    assert sorted(p.name for p in output.parent.iterdir()) == ["net", "resnet.safetensors"]


@pytest.mark.parametrize("system", ["exchange", "old_system"])
def test_overwriting_replaces_the_old_bundle(
    old: Any, judged: Any, monkeypatch: pytest.MonkeyPatch, system: str, request: pytest.FixtureRequest
) -> None:
    checkpoint, output, before = old
    if system == "old_system":
        request.getfixturevalue(system)
    monkeypatch.setattr(bundle_module, "_judge", lambda *_: judged)
    with pytest.raises(OutputError, match="net exists; pass --overwrite or choose another name"):
        export_bundle(checkpoint, output, ExportOptions(), quiet)
    assert listing(output.parent) == before
    export_bundle(checkpoint, output, ExportOptions(overwrite=True), quiet)
    bundle = Bundle.open(output)
    assert bundle.verify() > 0 and bundle.manifest.export.created == judged.export.created
    assert sorted(p.name for p in output.parent.iterdir()) == ["net", "resnet.safetensors"]


@pytest.mark.parametrize("version", [1, 2])
def test_a_bundle_that_another_getgan_wrote_is_replaced(
    old: Any, judged: Any, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    checkpoint, output, _ = old
    manifest = json.loads((output / "manifest.json").read_text())
    manifest |= {"version": version, "of old": 1}
    del manifest["export"]
    (output / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError):
        Bundle.open(output)
    monkeypatch.setattr(bundle_module, "_judge", lambda *_: judged)
    (output / "mine").write_text("precious")
    with pytest.raises(OutputError, match=r"holds more than its bundle \(mine\)"):
        export_bundle(checkpoint, output, ExportOptions(overwrite=True), quiet)
    (output / "mine").unlink()
    export_bundle(checkpoint, output, ExportOptions(overwrite=True), quiet)
    assert Bundle.open(output).verify() > 0


def test_a_folder_of_somebody_else_is_never_replaced(small: Any, tmp_path: Path) -> None:
    checkpoint = small[0]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter-1.txt").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "thesis")
    (tmp_path / "file").write_text("precious")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "manifest.json").write_text('{"name": "a web application"}')
    (tmp_path / "site" / "photos.txt").write_text("precious")
    (tmp_path / "notes.getgan").write_text("precious")
    (tmp_path / "folder.getgan").mkdir()
    shutil.copytree(small[1], tmp_path / "bundle-link-target")
    (tmp_path / "bundle-link").symlink_to(tmp_path / "bundle-link-target")
    before = listing(tmp_path)
    options = ExportOptions(overwrite=True)
    for name in ("thesis", "link", "file", "site", "notes.getgan", "folder.getgan", "bundle-link"):
        with pytest.raises(OutputError, match="is no bundle, so it is not replaced"):
            export_bundle(checkpoint, tmp_path / name, options, quiet)
    with pytest.raises(OutputError, match="mkdir -p"):
        export_bundle(checkpoint, tmp_path / "no" / "net", options, quiet)
    assert listing(tmp_path) == before
    assert (tmp_path / "folder.getgan").is_dir()


@pytest.mark.parametrize("extra", ["notes.txt", "golden/mine.png", "faces/", ".hidden", "graphs/fp32.bak"])
def test_a_bundle_that_holds_more_is_not_replaced(small: Any, tmp_path: Path, extra: str) -> None:
    output = tmp_path / "net"
    shutil.copytree(small[1], output)
    if extra.endswith("/"):
        (output / extra).mkdir()
    else:
        (output / extra).write_text("precious")
    before = listing(output)
    named = extra.rstrip("/")
    with pytest.raises(OutputError, match=rf"holds more than its bundle \({named}\), so it is not"):
        export_bundle(small[0], output, ExportOptions(overwrite=True), quiet)
    assert listing(output) == before and (output / extra).exists()


def test_what_came_while_the_gate_ran_is_not_replaced(
    old: Any, judged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, output, _ = old

    def slow(*_: object) -> Any:
        (output / "notes.txt").write_text("precious")
        (output.parent / "new").mkdir()
        return judged

    monkeypatch.setattr(bundle_module, "_judge", slow)
    with pytest.raises(OutputError, match=r"holds more than its bundle \(notes\.txt\)"):
        export_bundle(checkpoint, output, ExportOptions(overwrite=True), quiet)
    assert (output / "notes.txt").read_text() == "precious"
    (output.parent / "new").rmdir()
    with pytest.raises(OutputError, match="new exists; pass --overwrite"):
        export_bundle(checkpoint, output.parent / "new", ExportOptions(), quiet)


KILLED = """
import ctypes, os, sys
from pathlib import Path
from getgan.export import folder

output, steps, system = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if system == "old":
    ctypes.CDLL = lambda *_, **__: object()

def counted(real):
    def call(*arguments, **named):
        global steps
        if steps == 0:
            os.kill(os.getpid(), 9)
        steps -= 1
        return real(*arguments, **named)
    return call

os.rename = counted(os.rename)
folder.shutil.rmtree = counted(folder.shutil.rmtree)
new = output.with_name("new")
folder.move_into_place(new, output)
folder.shutil.rmtree(new)
"""


@pytest.mark.parametrize(
    ("system", "steps"), [("exchange", 0), ("old", 1), ("old", 2), ("old", 3), ("old", 4)]
)
def test_kill_9_at_any_step_loses_no_bundle(small: Any, tmp_path: Path, system: str, steps: int) -> None:
    output = tmp_path / "net"
    for name in ("net", "new"):
        shutil.copytree(small[1], tmp_path / name)
    done = subprocess.run([sys.executable, "-c", KILLED, output, str(steps), system], check=False)
    assert done.returncode == -9
    assert output.is_dir() or (system, steps) == ("old", 2)
    # The next export finds a bundle there, as if nothing had happened, and can replace it.
    with pytest.raises(OutputError, match="net exists; pass --overwrite"):
        folder_module.check_output(output, overwrite=False)
    assert Bundle.open(output).verify() > 0
    folder_module.check_output(output, overwrite=True)
    shutil.copytree(small[1], tmp_path / "newer")
    folder_module.move_into_place(tmp_path / "newer", output)
    assert Bundle.open(output).verify() > 0


KILLED_INSIDE = """
import os, sys
from pathlib import Path
from getgan.export.folder import temporary_folder

with temporary_folder(Path(sys.argv[1])) as folder:
    (folder / "graphs").mkdir()
    (folder / "graphs" / "fp32.onnx").write_bytes(bytes(1000))
    os.kill(os.getpid(), 9)
"""


def test_the_next_export_removes_what_a_killed_one_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "net"
    done = subprocess.run([sys.executable, "-c", KILLED_INSIDE, output], check=False)
    assert done.returncode == -9
    (left,) = tmp_path.iterdir()
    folder_module.check_output(output, overwrite=False)
    assert left.exists()  # it may be of an export that has not locked it yet
    target = tmp_path / "precious"
    target.mkdir()
    link = tmp_path / f".getgan-{'0' * 16}.tmp"
    link.symlink_to(target)
    packed = tmp_path / f".getgan-{'1' * 16}.tmp"  # a bundle that was to become one file
    packed.write_bytes(b"half")
    with folder_module.temporary_folder(output) as held:
        for path in (left, held, packed):
            os.utime(path, (1e9, 1e9))
        os.utime(target, (1e9, 1e9))
        with monkeypatch.context() as patch:
            patch.setattr(fcntl, "flock", no_locks)
            folder_module.check_output(output, overwrite=False)
            assert left.exists() and held.exists()
        folder_module.check_output(output, overwrite=False)
        assert sorted(tmp_path.iterdir()) == sorted((held, link, target))
    assert sorted(tmp_path.iterdir()) == sorted((link, target))


def no_locks(*_: object) -> None:
    """As a network file system without a lock service."""
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_bad_input_is_said_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "export_onnx", stopped)
    output = tmp_path / "net"
    with pytest.raises(CheckpointError, match="no such file"):
        export_bundle(tmp_path / "gone.safetensors", output, ExportOptions(), quiet)
    with pytest.raises(DataError, match="no such file"):
        export_bundle(CHECKPOINT, output, ExportOptions(images=(tmp_path / "gone.png",)), quiet)
    path = saved(tmp_path, "resnet")
    with pytest.raises(ConfigError, match="has no output occlusion"):
        export_bundle(path, output, ExportOptions(outputs=("face", "occlusion")), quiet)
    assert [p.name for p in tmp_path.iterdir()] == ["resnet.safetensors"]


# --- verify and inspect ---------------------------------------------------------------------------------


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
