"""The watch sees a collapse, the run says so once and keeps its best checkpoint; poses are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from training_helpers import from_folders, log_of, tiny

from getgan.models.checkpoint import load_checkpoint
from getgan.models.tensors import tensor_from_images
from getgan.training.console import Console
from getgan.training.data import open_domains, scene_config
from getgan.training.evaluation.pose import learn_pose_reader
from getgan.training.evaluation.rows import COLLAPSED_BELOW
from getgan.training.evaluation.testsets import render_learning_photos, wide_poses
from getgan.training.faces import SceneConfig, render_photo, render_ultrasound, seed_of
from getgan.training.loop import Trainer
from getgan.training.watch import Reading, Watch

Translate = Callable[[Tensor], Tensor]
IMAGES = 8


@pytest.fixture(scope="module")
def watch() -> Watch:
    data = tiny().data
    return Watch(data, open_domains(data), IMAGES)


@pytest.fixture(scope="module")
def truth() -> Translate:
    """The true photo of every probe scene, with and without its occluder."""
    scene = scene_config(tiny().data)
    known = {}
    for n in range(IMAGES):
        shown = render_ultrasound(scene, seed_of("ultrasound", "probe", n))
        x, clean, truth = tensor_from_images(np.stack([shown.ultrasound, shown.clean, shown.truth]))
        known[x.numpy().tobytes()] = known[clean.numpy().tobytes()] = truth
        known[clean.flip(2).numpy().tobytes()] = truth.flip(2)
    return lambda x: torch.stack([known[image.numpy().tobytes()] for image in x])


def constant(x: Tensor) -> Tensor:
    """One face for every input."""
    return torch.linspace(-1, 1, x[0].numel()).view_as(x[0]).expand_as(x)


def test_the_truth_is_healthy(watch: Watch, truth: Translate) -> None:
    reading = watch.read(truth)
    assert not reading.collapsed
    assert reading.dependence == pytest.approx(1.0)
    assert reading.psnr_clean is not None
    assert reading.psnr_clean > 100
    assert reading.yaw_correlation is not None
    assert reading.yaw_correlation > 0.8
    assert reading.score == reading.psnr_clean
    assert reading.both_eyes == 1.0
    assert reading.in_mirror == 0.0


def leaning(x: Tensor) -> Tensor:
    """Brighter to the right, by 0.2 of 2."""
    return x + torch.linspace(-0.1, 0.1, 32)


def test_who_draws_everything_to_one_side_does_otherwise_in_the_mirror(watch: Watch, tmp_path: Path) -> None:
    data = from_folders(tmp_path / "data").data
    for each in (watch, Watch(data, open_domains(data), IMAGES)):  # a folder has no truth, and needs none
        assert each.read(lambda x: x).in_mirror == 0.0
        found = each.read(leaning).in_mirror
        assert found == pytest.approx(127.5 * 2 * float(leaning(torch.zeros(32)).abs().mean()), rel=1e-4)


def test_one_face_for_every_input_is_a_collapse(watch: Watch, truth: Translate) -> None:
    reading = watch.read(constant)
    assert reading.collapsed
    assert reading.dependence < 1e-3
    assert reading.both_eyes == 0.0
    assert reading.yaw_correlation is not None
    assert abs(reading.yaw_correlation) < 0.5
    # Nearly one face: the mean of all truths and a little of each.
    mean = watch.read(lambda x: 0.8 * truth(x).mean(dim=0, keepdim=True) + 0.2 * truth(x))
    assert mean.collapsed
    assert mean.dependence == pytest.approx(0.2, abs=1e-3)
    half = watch.read(lambda x: 0.5 * truth(x).mean(dim=0, keepdim=True) + 0.5 * truth(x))
    assert not half.collapsed


def test_eyes_are_looked_for_in_what_becomes_of_the_occluded_input(watch: Watch, truth: Translate) -> None:
    occluded = {image.numpy().tobytes() for image in watch.inputs}

    def eyeless(x: Tensor) -> Tensor:
        """Right where the input is clean; of an occluded one, the true photo without its upper half."""
        made = truth(x).clone()
        for place, image in enumerate(x):
            if image.numpy().tobytes() in occluded:
                made[place, :, : made.shape[2] * 5 // 8] = made[place].mean()
        return made

    assert watch.read(eyeless).both_eyes == 0.0


def test_psnr_counts_the_face_alone(watch: Watch, truth: Translate) -> None:
    off = watch.read(lambda x: truth(x) + 0.2)  # 0.1 of the full range
    assert off.psnr_clean == pytest.approx(20.0, abs=1e-3)
    scene = scene_config(tiny().data)
    masks = [render_ultrasound(scene, seed_of("ultrasound", "probe", n)).face for n in range(IMAGES)]
    outside = ~torch.from_numpy(np.stack(masks)).bool()[:, None]
    spoilt = watch.read(lambda x: torch.where(outside, -truth(x), truth(x)))
    assert spoilt.psnr_clean is not None
    assert spoilt.psnr_clean > 100


def test_no_training_picture_is_a_probe(watch: Watch) -> None:
    data = tiny("data.count=0").data
    x, _ = open_domains(data)
    seen = {tensor_from_images(x.picture(n)[None]).numpy().tobytes() for n in range(3 * IMAGES)}
    assert watch.inputs.shape == (IMAGES, 3, 32, 32)
    assert not seen & {image.numpy().tobytes() for image in watch.inputs}


def test_folders_are_watched_without_a_truth(tmp_path: Path) -> None:
    data = from_folders(tmp_path / "data").data
    watch = Watch(data, open_domains(data), IMAGES)
    assert len(watch.inputs) == 5  # all there are
    healthy, collapsed = watch.read(lambda x: x), watch.read(constant)
    assert (healthy.psnr_clean, healthy.yaw_correlation, healthy.both_eyes) == (None, None, None)
    assert healthy.score == healthy.dependence > COLLAPSED_BELOW
    assert collapsed.collapsed
    assert not healthy.collapsed


def test_a_run_warns_once_and_keeps_its_best_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = from_folders(tmp_path / "data", "optim.iterations=5", "run.probe_every=1")
    trainer = Trainer(config, tmp_path / "run", Console(quiet=True), resume=False)

    def translate(x: Tensor) -> Tensor:
        """Healthy, best at iteration 2, and one face from 4 on."""
        return (0.0, 0.7, 0.9, 0.8, 0.0, 0.0)[trainer.progress.iteration] * x

    monkeypatch.setattr(trainer, "_translate", translate)
    progress = trainer.run()
    errors = capsys.readouterr().err
    assert errors.count("collapse at iteration 4") == errors.count("warning") == 1
    assert "best.safetensors holds iteration 2" in errors
    assert (progress.best_iteration, progress.collapsed) == (2, True)
    best, last = (load_checkpoint(tmp_path / "run" / f"{name}.safetensors") for name in ("best", "last"))
    assert (best.provenance.iterations, last.provenance.iterations) == (2, 5)
    assert load_checkpoint(tmp_path / "run" / "best.reverse.safetensors").provenance.iterations == 2
    probes = [line["probe"]["dependence"] for line in log_of(tmp_path / "run") if "probe" in line]
    assert len(probes) == 5
    assert probes[3] == probes[4] < COLLAPSED_BELOW < min(probes[:3])
    assert "COLLAPSED" in trainer.summary().text()


def test_a_collapsed_reading_is_never_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However good its other figures look; and what recovers may be."""
    config = from_folders(tmp_path / "data", "optim.iterations=4", "run.probe_every=1")
    trainer = Trainer(config, tmp_path / "run", Console(quiet=True), resume=False)
    readings = iter([Reading(0.1, 30.0), Reading(0.6, 12.0), Reading(0.2, 31.0), Reading(0.6, 13.0)])
    monkeypatch.setattr(trainer.watch, "read", lambda translate: next(readings))
    progress = trainer.run()
    assert (progress.best_iteration, progress.best_score, progress.collapsed) == (4, 13.0, False)


def test_a_dead_generator_is_a_collapse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = from_folders(tmp_path / "data", "optim.iterations=1", "optim.lr=1e-12")
    trainer = Trainer(config, tmp_path / "run", Console(quiet=True), resume=False)
    with torch.no_grad():
        for parameter in trainer.method.nets["forward"].parameters():
            parameter.zero_()
    assert trainer.run().collapsed
    assert "no good checkpoint was kept" in capsys.readouterr().err
    assert not (tmp_path / "run" / "best.safetensors").exists()


def test_yaw_and_pitch_are_read_off_photos() -> None:
    scene = SceneConfig(size=64)
    photos = render_learning_photos(wide_poses(scene, None), 200)
    reader = learn_pose_reader(photos.images, photos.pose)
    held_out = [render_photo(scene, seed_of("photo", "test", n)) for n in range(60)]
    read = reader(np.stack([photo.image for photo in held_out]))
    assert read.shape == (60, 2)
    yaw = np.array([photo.pose.yaw for photo in held_out])
    assert np.corrcoef(read[:, 0], yaw)[0, 1] > 0.8
    assert np.abs(read[:, 0] - yaw).mean() < 12  # degrees, not only a rank
    mirrored = reader(np.stack([photo.image[:, ::-1] for photo in held_out]))
    assert np.corrcoef(mirrored[:, 0], yaw)[0, 1] < -0.8
