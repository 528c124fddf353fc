"""The guard on its way into a bundle: features, calibration, the gate, the files, the self-test."""

from __future__ import annotations

import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from bundle_helpers import replace_file
from cli_helpers import getgan
from dicom_helpers import EXPLICIT, element, image, meta, pixels
from export_helpers import EXAMPLES, checkpoint_of, exported, run_graph, saved
from guard_helpers import grey
from onnx import helper

from getgan.commands.calibrating import folder_frames
from getgan.errors import BundleError, DataError, DeviceError, ExportError, OutputError
from getgan.export import guardfiles
from getgan.export.bundle import ExportOptions, export_bundle
from getgan.export.calibration import Shot, _first_half
from getgan.export.convert import HALF, convert
from getgan.export.diagnosis import diagnose
from getgan.export.features import PREFIX, with_features
from getgan.export.fp16 import node_precisions
from getgan.export.frames import frames_from_tensors
from getgan.export.graph import Array, OnnxModel
from getgan.export.guardfiles import Made, save_guard, saved_guard
from getgan.export.guardgate import GuardGate, Shown
from getgan.export.guarding import (
    Frames,
    calibrate_and_save,
    calibrate_checkpoint,
)
from getgan.export.photographs import COLOURED, off_palette
from getgan.export.record import record_from_json
from getgan.export.steps import StepRunner
from getgan.export.verify import verify_bundle
from getgan.files import write_bytes_atomic
from getgan.models.checkpoint import load_checkpoint
from getgan.runtime.bundle import Bundle
from getgan.runtime.guard.judge import Guard
from getgan.runtime.guard.load import guard_of
from getgan.runtime.guard.statistics import bytes_from_statistics
from getgan.runtime.images import bytes_from_image, image_from_bytes, write_image
from getgan.runtime.manifest import FEATURES
from getgan.runtime.pixels import tensor_from_images
from getgan.runtime.session import open_session
from getgan.training.faces import SceneConfig, render_photo, render_ultrasound, seed_of

NETS = ["getgan-1x1", "resnet-batch-resize", "ugatit"]


def scans(count: int) -> list[Array]:
    scene = SceneConfig(size=32)
    return [
        render_ultrasound(scene, seed_of("ultrasound", "probe", 100 + n)).ultrasound for n in range(count)
    ]


@pytest.fixture(scope="module")
def pictures() -> list[Array]:
    return scans(120)


def frames(pictures: list[Array]) -> Frames:
    return Frames([Shot(picture) for picture in pictures], "rendered scans")


@pytest.fixture(scope="module")
def made(pictures: list[Array]) -> Made:
    return calibrate_checkpoint(checkpoint_of("getgan-1x1"), frames(pictures), 1)


# --- the graph -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETS)
def test_the_face_is_the_same_bit_for_bit_and_features_are_mean_and_deviation(name: str) -> None:
    plain = exported(name)
    graph = with_features(plain, checkpoint_of(name).contract)
    image = tensor_from_images(scans(2))
    found = run_graph(graph, image)
    assert np.array_equal(found["face"], run_graph(plain, image)["face"])
    bottleneck = next(node for node in graph.proto.graph.node if node.name == f"{PREFIX}mean").input[0]
    values = {
        value_name: value
        for _, value_name, value in StepRunner(graph, 1).walk(image)
        if value_name == bottleneck
    }[bottleneck]
    wanted = np.concatenate([values.mean(axis=(2, 3)), values.std(axis=(2, 3))], axis=1)
    assert found[FEATURES].shape == wanted.shape
    assert np.allclose(found[FEATURES], wanted, atol=1e-4)


@pytest.mark.parametrize("name", NETS)
def test_fp16_decides_every_other_node_as_without_the_guard(name: str) -> None:
    plain = exported(name)
    graph = with_features(plain, checkpoint_of(name).contract)
    found = node_precisions(graph.proto)
    assert {key: half for key, half in found.items() if not key.startswith(PREFIX)} == node_precisions(
        plain.proto
    )
    assert {half for key, half in found.items() if key.startswith(PREFIX)} == {False}


def test_a_refused_picture_is_never_the_guards_fault() -> None:
    plain = exported("resnet-batch-resize")
    graph = with_features(plain, checkpoint_of("resnet-batch-resize").contract)
    image = tensor_from_images(scans(1))
    without = diagnose(plain, convert(plain, HALF), (), image, "scan", 1)
    # The guard alone is far off.
    half = OnnxModel(convert(graph, HALF).data)
    for node in half.proto.graph.node:
        if node.name == f"{PREFIX}square":
            node.op_type = "Add"
    half = OnnxModel(half.proto.SerializeToString())
    assert diagnose(graph, half, (), image, "scan", 1) == without


def test_features_of_a_graph_of_frames_are_float32_and_those_of_the_tensors() -> None:
    graph = with_features(exported("getgan-1x1"), checkpoint_of("getgan-1x1").contract)
    levels = scans(2)
    of_frames = StepRunner(frames_from_tensors(graph), 1).run(np.stack(levels))
    of_tensors = run_graph(graph, tensor_from_images(levels))
    assert of_frames["face"].dtype == np.uint8 and of_frames[FEATURES].dtype == np.float32
    assert np.allclose(of_frames[FEATURES], of_tensors[FEATURES], atol=1e-4)
    half = StepRunner(convert(graph, HALF), 1).run(tensor_from_images(levels))[FEATURES]
    assert half.dtype == np.float32 and np.allclose(half, of_tensors[FEATURES], atol=0.02)


def test_a_graph_without_a_bottleneck_is_refused_in_words() -> None:
    picture = ("batch", 3, "h", "w")
    node = helper.make_node("Tanh", ["image"], ["face"], "only")
    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, picture) for name in ("image", "face")
    ]
    proto = helper.make_model(
        helper.make_graph([node], "flat", values[:1], values[1:]), opset_imports=[helper.make_opsetid("", 18)]
    )
    with pytest.raises(ExportError, match="found no bottleneck"):
        with_features(OnnxModel(proto.SerializeToString()), checkpoint_of("getgan-1x1").contract)


# --- calibration ---------------------------------------------------------------------------------------


def test_one_picture_and_equal_pictures_are_refused_in_words(pictures: list[Array]) -> None:
    checkpoint = checkpoint_of("getgan-1x1")
    with pytest.raises(
        DataError, match=r"found 1 picture to calibrate with; wanted 40 or more, and for 1% of.* 198 "
    ):
        calibrate_checkpoint(checkpoint, frames(pictures[:1]), 1)
    with pytest.raises(DataError, match="all alike"):
        calibrate_checkpoint(checkpoint, frames(pictures[:1] * 60), 1)


def test_too_few_pictures_for_one_per_cent_promise_less(made: Made) -> None:
    found = made.calibration
    assert (found.fitted, found.tested) == (60, 60)
    assert found.share == pytest.approx(1 / 61) and found.low < found.share < found.high
    assert (
        "refuses 1.6% of such scans on the average (this one between 0.1% and 4.9%, with 90 %)"
        in made.in_words()
    )
    (warning,) = made.warnings
    assert warning.endswith("with 120 pictures: it takes about 198, and 1.6% is promised")


def test_the_aspects_of_nine_in_ten_pictures_are_recorded(pictures: list[Array]) -> None:
    wide = [np.ascontiguousarray(picture[4:-4]) for picture in pictures[:28]]  # 4:3
    odd = [np.ascontiguousarray(picture[:, 8:-8]) for picture in pictures[:2]]  # 1:2
    found = calibrate_checkpoint(checkpoint_of("getgan-1x1"), frames([*pictures[:30], *wide, *odd]), 1)
    assert found.calibration.aspects is not None
    assert found.calibration.aspects == pytest.approx((1.0, 4 / 3))
    assert "1.00 to 1.33 times as wide as high" in found.in_words()


def test_a_note_from_before_the_aspects_is_read_without_them(tmp_path: Path, made: Made) -> None:
    path = tmp_path / "net.safetensors"
    note, _ = save_guard(made, path, "a" * 64)
    assert "1.00 times as wide as high" in made.in_words()
    said = json.loads(note.read_bytes())
    assert said.pop("aspects") == [1.0, 1.0]
    note.write_text(json.dumps(said))
    found = saved_guard(path, "a" * 64)
    assert isinstance(found, Made) and found.calibration.aspects is None
    assert "aspects not recorded" in found.in_words()


def test_dicom_studies_are_told_by_their_uid_and_never_split(tmp_path: Path, pictures: list[Array]) -> None:
    """Frames of one sweep on both sides of the split would make the limit too small, and nobody would see."""
    for number, picture in enumerate(pictures[:40]):
        uid = f"1.2.3.{number // 4}".encode()
        data = element(0x0020000D, b"UI", uid) + image(32, 32) + pixels(picture[:, :, 1].tobytes())
        (tmp_path / f"{number:02}.dcm").write_bytes(meta(EXPLICIT) + data)
    found = folder_frames(tmp_path, 0.01)
    studies = [shot.study for shot in found.shots]
    assert found.about == "own scans, 40 DICOM files, studies told by StudyInstanceUID"
    assert [studies.index(study) for study in studies] == [number // 4 * 4 for number in range(40)]
    assert not any("1.2.3" in study for study in studies)
    seen = _first_half(studies)
    assert [len(set(seen[first : first + 4])) for first in range(0, 40, 4)] == [1] * 10
    assert seen.sum() == 20
    made = calibrate_checkpoint(checkpoint_of("getgan-1x1"), folder_frames(tmp_path, 0.01), 1)
    assert made.calibration.studies == 10
    # Five are for the limit, of which twenty pictures promise no more.
    assert made.calibration.share == pytest.approx(1 / 6)
    assert "with 10 studies: it takes about 198, and 16.7% is promised" in made.warnings[0]


def test_one_study_alone_is_said_and_one_that_has_nearly_all_is_refused(pictures: list[Array]) -> None:
    checkpoint = checkpoint_of("getgan-1x1")
    of_one = calibrate_checkpoint(checkpoint, Frames([Shot(each, "a") for each in pictures], "own"), 1)
    assert of_one.calibration.studies == 1 and "for that study alone" in of_one.warnings[0]
    assert "of 1 study," in of_one.in_words()
    found = []
    for few, many in ("ab", "ba"):  # one of the two is drawn for the fit
        shots = [Shot(each, few if number < 3 else many) for number, each in enumerate(pictures)]
        try:
            made = calibrate_checkpoint(checkpoint, Frames(shots, "own"), 1)
            found.append(f"{made.calibration.fitted} fitted, {made.calibration.share}")
        except DataError as error:
            found.append(str(error).partition(";")[0])
    assert sorted(found) == ["117 fitted, 0.5", "found 120 calibration pictures, nearly all of one study"]


def test_a_folder_s_studies_are_its_sub_folders(tmp_path: Path, pictures: list[Array]) -> None:
    for number, picture in enumerate(pictures[:6]):
        folder = tmp_path / f"patient {number // 2}"
        folder.mkdir(exist_ok=True)
        write_image(folder / f"{number}.png", picture)
    found = folder_frames(tmp_path, 0.01)
    assert [shot.study for shot in found.shots] == [f"patient {n // 2}" for n in range(6)]
    assert found.about == "own scans, 6 pictures, studies told by sub-folder"
    with pytest.raises(DataError, match="no picture and no DICOM"):
        (tmp_path / "empty").mkdir()
        folder_frames(tmp_path / "empty", 0.01)


def test_files_beside_a_checkpoint_are_taken_for_that_checkpoint_alone(tmp_path: Path, made: Made) -> None:
    path = tmp_path / "net.safetensors"
    assert "no guard was calibrated" in str(saved_guard(path, "a" * 64))
    _, file = save_guard(made, path, "a" * 64)
    found = saved_guard(path, "a" * 64)
    assert isinstance(found, Made) and found.record() == made.record()
    assert "another checkpoint's (aaaaaaaaaaaa" in str(saved_guard(path, "b" * 64))
    data = file.read_bytes()
    file.write_bytes(data[:500])
    assert "cannot be used" in str(saved_guard(path, "a" * 64))
    other = replace(made.calibration.statistics, rest=np.array([7.0], np.float32))
    file.write_bytes(bytes_from_statistics(other))
    assert "is not the one that" in str(saved_guard(path, "a" * 64))


@pytest.mark.parametrize("wrong", [{"aspects": [1, 1e308]}, {"low": 0.9, "high": 0.1}, {"hidden": -1}])
def test_a_note_that_no_calibration_writes_is_no_guard(
    tmp_path: Path, made: Made, wrong: dict[str, object]
) -> None:
    path = tmp_path / "net.safetensors"
    note, _ = save_guard(made, path, "a" * 64)
    note.write_text(json.dumps({**json.loads(note.read_bytes()), **wrong}))
    assert "cannot be used (no note of a guard: " in str(saved_guard(path, "a" * 64))


def test_a_pipe_or_nested_json_beside_a_checkpoint_is_no_guard(tmp_path: Path, made: Made) -> None:
    path = tmp_path / "net.safetensors"
    note, _ = save_guard(made, path, "a" * 64)
    note.write_bytes(b"[" * 50_000)
    assert "cannot be used" in str(saved_guard(path, "a" * 64))
    note.unlink()
    os.mkfifo(note)  # an export waited here for ever
    assert "is no regular file" in str(saved_guard(path, "a" * 64))


@pytest.mark.parametrize("name", ["net.guard.json", "net.guard.npz"])
def test_a_file_of_the_guard_s_name_that_is_none_is_not_replaced(
    tmp_path: Path, made: Made, name: str
) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(OutputError, match="is there already, and is no guard"):
        save_guard(made, tmp_path / "net.safetensors", "a" * 64)
    assert (tmp_path / name).read_text() == "precious"
    (tmp_path / name).unlink()
    for _ in range(2):  # its own are
        save_guard(made, tmp_path / "net.safetensors", "a" * 64)


def test_photos_in_place_of_the_scans_that_were_there_before_are_said(
    tmp_path: Path, pictures: list[Array]
) -> None:
    path = saved(tmp_path, "getgan-1x1")
    photos = [np.ascontiguousarray(255 - picture[::-1, :, ::-1]) for picture in pictures[:60]]

    def about(shown: list[Array]) -> str:
        return calibrate_and_save(path, frames(shown), 1, lambda what, share: None).guard.about

    assert about(pictures) == about(pictures) == "rendered scans"
    assert "% of them are unlike the scans that the checkpoint was calibrated with" in about(photos)


def test_photos_of_faces_are_told_without_a_guard_from_before(tmp_path: Path, pictures: list[Array]) -> None:
    scene = SceneConfig(size=32)
    photos = [render_photo(scene, seed_of("photo", "test", number)).image for number in range(40)]
    path = saved(tmp_path, "getgan-1x1")
    told: list[str] = []
    found = calibrate_and_save(path, frames(photos), 1, lambda what, share: told.append(what))
    assert told[1:3] == ["calibrating, 1 picture", "calibrating, 2 pictures"]
    assert any(
        "100% of the calibration pictures have colours like a photo" in said for said in found.warnings
    )
    assert "colours like a photograph's" in found.guard.about
    mixed = calibrate_checkpoint(checkpoint_of("getgan-1x1"), frames([*pictures, *photos[:10]]), 1)
    assert not any("photograph" in said for said in mixed.warnings)


@pytest.mark.parametrize("quality", [60, 90])
def test_scans_of_any_palette_are_not_taken_for_photos(quality: int) -> None:
    import cv2

    scene = SceneConfig(size=64)
    for number in range(12):
        photo = render_photo(scene, seed_of("photo", "test", number)).image
        scan = render_ultrasound(scene, seed_of("ultrasound", "probe", number)).ultrasound
        lettered = scan.copy()
        cv2.putText(lettered, "GA 28w", (2, 10), cv2.FONT_HERSHEY_SIMPLEX, 0.3, (255, 255, 0))
        _, packed = cv2.imencode(".jpg", scan, [cv2.IMWRITE_JPEG_QUALITY, quality])
        for picture in (scan, grey(scan), lettered, cv2.imdecode(packed, cv2.IMREAD_COLOR)):
            assert off_palette(np.asarray(picture, np.uint8)) < COLOURED - 0.03
        assert off_palette(photo) > COLOURED + 0.03


def test_a_picture_that_cannot_be_used_is_named(tmp_path: Path, pictures: list[Array]) -> None:
    for number, picture in enumerate(pictures[:3]):
        write_image(tmp_path / f"{number}.png", picture)
    write_image(tmp_path / "ruler.png", np.zeros((1, 2000, 3), np.uint8))
    with pytest.raises(
        DataError, match=r"ruler\.png: found a picture of 2000x1 .* take it out of the folder"
    ):
        calibrate_checkpoint(checkpoint_of("getgan-1x1"), folder_frames(tmp_path, 0.01), 1)


# --- two at once, and one that is killed ---------------------------------------------------------------


@pytest.fixture
def others(made: Made) -> Made:
    """Another calibration of the same checkpoint."""
    statistics = replace(made.calibration.statistics, rest=np.array([7.0], np.float32))
    return replace(made, calibration=replace(made.calibration, statistics=statistics), about="others")


def test_two_calibrations_at_once_leave_the_pair_of_one(
    tmp_path: Path, made: Made, others: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.safetensors"
    second = threading.Thread(target=save_guard, args=(others, path, "a" * 64))

    def write(place: Path, data: bytes) -> None:
        """And the second starts when the first has written one of its two."""
        write_bytes_atomic(place, data)
        if not second.ident:
            second.start()
            second.join(0.5)  # until it is done, or waits

    monkeypatch.setattr(guardfiles, "write_bytes_atomic", write)
    save_guard(made, path, "a" * 64)
    second.join()
    found = saved_guard(path, "a" * 64)
    assert isinstance(found, Made) and found.about == "others"


def test_a_calibration_that_is_killed_in_the_middle_is_said_by_an_export(
    tmp_path: Path, made: Made, others: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, "getgan-1x1")
    sha256 = load_checkpoint(path).sha256 or ""

    def stop(place: Path, data: bytes) -> None:
        write_bytes_atomic(place, data)
        raise KeyboardInterrupt

    def killed(kept: Made) -> str:
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(guardfiles, "write_bytes_atomic", stop)
            save_guard(kept, path, sha256)
        return str(saved_guard(path, sha256))

    assert "cannot be used" in killed(others)  # there was none before
    save_guard(made, path, sha256)
    assert "is not the one that" in killed(others)
    done = getgan("export", path, "-o", tmp_path / "net", "--json")
    (warning,) = json.loads(done.stdout)["warnings"]
    assert "NO GUARD, any picture becomes a face" in warning and "run getgan calibrate" in warning
    assert (done.returncode, f"warning: {warning}" in done.stderr) == (0, True)


# --- the gate ------------------------------------------------------------------------------------------


def test_a_variant_whose_verdict_flips_or_whose_score_moves_is_refused(
    made: Made, pictures: list[Array]
) -> None:
    graph = with_features(exported("getgan-1x1"), checkpoint_of("getgan-1x1").contract)

    def run(images: Array) -> dict[str, Array]:
        return run_graph(graph, images)

    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    guard = Guard(made.calibration.statistics)
    gate = GuardGate(guard, [Shown("scan", pictures[0]), Shown("noise", noise)], run, (-1.0, 1.0))
    assert gate.judge(run)[1] == ""

    def elsewhere(images: Array) -> dict[str, Array]:
        outputs = run(images)
        return {**outputs, FEATURES: outputs[FEATURES] * np.float32(1.5)}

    records, reason = gate.judge(elsewhere)
    assert reason.startswith("guard: ") and "on 'scan'" in reason
    assert records[0].failures


# --- the bundle ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a shipped checkpoint, with the guard that stands beside it."""
    path = tmp_path_factory.mktemp("guarded") / "net"
    report = export_bundle(
        EXAMPLES / "getgan-64.safetensors", path, ExportOptions(threads=2), lambda what, share: None
    )
    assert "600 of them for the limit" in report.guard
    return path


def test_a_bundle_has_a_guard_that_every_variant_agrees_with(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    record, guard = opened.manifest.guard, guard_of(opened)
    assert record is not None and guard is not None and record.tested == 600
    variants = record_from_json(opened.read("quality.json")).variants
    for variant in variants:
        if variant.accepted:
            names = {score.name: score.verdict for score in variant.guard}
            assert names["hand"] == "ok" and names["hand-upside-down"] == names["noise"] == "refused"
    with open_session(opened, threads=2) as session:
        picture = image_from_bytes(opened.read(record.refused))
        assert session.translate(picture[None]).features is not None


@pytest.fixture
def copied(bundle: Path, tmp_path: Path) -> Path:
    shutil.copytree(bundle, tmp_path / "copy")
    return tmp_path / "copy"


def test_a_machine_on_which_the_picture_passes_is_refused(copied: Path) -> None:
    record = Bundle.open(copied).manifest.guard
    assert record is not None
    scan = Bundle.open(copied).read(Bundle.open(copied).manifest.golden[0].input)
    replace_file(copied, record.refused, bytes_from_image(image_from_bytes(scan)))
    with pytest.raises(DeviceError, match="lets a picture pass"):
        open_session(Bundle.open(copied), precision="fp32", threads=2)


def test_a_guard_of_another_network_or_a_damaged_one_is_refused(copied: Path, made: Made) -> None:
    record = Bundle.open(copied).manifest.guard
    assert record is not None
    replace_file(copied, record.file, bytes_from_statistics(made.calibration.statistics))
    with pytest.raises(DeviceError, match="the guard wants features"):
        open_session(Bundle.open(copied), precision="fp32", threads=2)
    replace_file(copied, record.file, b"PK\x03\x04")
    with pytest.raises(BundleError, match="damaged guard"):
        open_session(Bundle.open(copied), threads=2)


def test_verify_judges_the_guard_again_and_finds_one_that_lets_all_pass(copied: Path) -> None:
    checkpoint = EXAMPLES / "getgan-64.safetensors"
    report = verify_bundle(copied, checkpoint, lambda what, share: None, threads=2)
    assert report.passed and "600 of them for the limit" in report.guard
    for verdict in report.verdicts:
        judged = {score.name: score.verdict for score in verdict.record.guard}
        assert judged["hand"] == "ok" and judged["hand-upside-down"] == "refused", verdict.name
    bundle = Bundle.open(copied)
    guard, record = guard_of(bundle), bundle.manifest.guard
    assert guard is not None and record is not None
    blind = replace(guard.statistics, limit=np.array([1e6], np.float32))
    replace_file(copied, record.file, bytes_from_statistics(blind))
    with pytest.raises(BundleError, match="the guard would refuse none of"):
        verify_bundle(copied, checkpoint, lambda what, share: None, threads=2)


def test_without_calibration_the_bundle_says_that_it_has_no_guard(tmp_path: Path) -> None:
    report = export_bundle(
        saved(tmp_path, "getgan-1x1"), tmp_path / "net", ExportOptions(threads=2), lambda what, share: None
    )
    assert report.manifest.guard is None and "none: no guard was calibrated" in report.text()
    assert report.warnings == ()  # nobody calibrated
    assert "any picture becomes a face" in (tmp_path / "net" / "index.html").read_text()
    assert guard_of(Bundle.open(tmp_path / "net")) is None
