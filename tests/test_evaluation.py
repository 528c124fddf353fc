"""The evaluation tells a perfect translator from a collapsed one, a useless one and a broken one."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from getgan.errors import CheckpointError, ConfigError, DataError
from getgan.models.checkpoint import Checkpoint, Provenance, save_checkpoint
from getgan.models.generator import GeneratorConfig
from getgan.models.getgan import GetGanConfig
from getgan.models.recognise import build_generator
from getgan.models.resnet import ResnetConfig
from getgan.models.tensors import images_from_tensor, tensor_from_images
from getgan.training.config import TrainConfig, config_to_toml_text
from getgan.training.evaluation import (
    Contestant,
    Entry,
    EvaluationOptions,
    Report,
    evaluate,
    report_from_json,
)
from getgan.training.evaluation.contestants import open_entries, reverse_path
from getgan.training.evaluation.options import scene_configs
from getgan.training.evaluation.report import Column
from getgan.training.evaluation.rows import METRICS
from getgan.training.evaluation.testsets import render_far_set, render_photos, render_test_set

SIZE = 32
OPTIONS = EvaluationOptions(scenes=6, seeds=(0, 1), size=SIZE, batch=4, pictures=2, pose_photos=60, threads=1)
QUICK = dataclasses.replace(OPTIONS, scenes=2, seeds=(0,), perceptual=False, far_yaw=None, pose_photos=20)

Translate = Callable[[Tensor], Tensor]


def looked_up(options: EvaluationOptions, dirt: int = 0) -> Translate:
    """A perfect translator: it knows every test scene's true photo. dirt: levels of noise on top."""
    known: dict[bytes, NDArray[np.uint8]] = {}
    faces, far = scene_configs(options, SIZE)
    for seed in options.seeds:
        sets = [render_test_set(faces, seed, options.scenes)]
        if far is not None:
            sets.append(render_far_set(far, seed, options.scenes // 2))
        for test in sets:
            for x, clean, truth in zip(test.ultrasound, test.clean, test.truth, strict=True):
                known[x.tobytes()] = known[clean.tobytes()] = truth

    def translate(x: Tensor) -> Tensor:
        truth = np.stack([known[image.tobytes()] for image in images_from_tensor(x)]).astype(np.int64)
        noise = np.random.default_rng(0).integers(-dirt, dirt + 1, truth.shape)
        return tensor_from_images(np.clip(truth + noise, 0, 255).astype(np.uint8))

    return translate


def one_face(x: Tensor) -> Tensor:
    """A collapsed translator: the same picture for all, but for a last digit."""
    ramp = torch.linspace(-0.5, 0.5, x.shape[3]).expand(x.shape)
    return ramp + 0.01 * x


def explained(x: Tensor) -> dict[str, Tensor]:
    occlusion = torch.zeros(len(x), 1, SIZE // 4, SIZE // 4)
    occlusion[:, :, :4] = 0.8
    return {"face": one_face(x), "error": 0.5 * x, "occlusion": occlusion}


@pytest.fixture(scope="module")
def report() -> Report:
    perfect = looked_up(OPTIONS)
    return evaluate(
        [
            Contestant("perfect", perfect, reverse=lambda y: y),
            Contestant("noisy", looked_up(OPTIONS, dirt=40)),
            Contestant("<b>one & only</b>", one_face, explain=explained),
        ],
        OPTIONS,
    )


def column(report: Report, label: str) -> Column:
    (found,) = [column for column in report.columns if column.label == label]
    return found


def mean(report: Report, label: str, key: str) -> float:
    found = column(report, label).cells[key].estimate
    assert found is not None
    return found.mean


# --- what the figures tell ------------------------------------------------------------------------------


def test_a_perfect_translator_gets_the_best_of_every_row(report: Report) -> None:
    for label in ("perfect", "true photo"):
        for region in ("hidden", "visible", "face", "clean"):
            assert mean(report, label, f"psnr_{region}") == 100.0
            assert mean(report, label, f"ssim_{region}") == pytest.approx(1.0)
            assert mean(report, label, f"lpips_{region}") == pytest.approx(0.0, abs=1e-6)
        assert mean(report, label, "dependence") == pytest.approx(1.0)
        assert mean(report, label, "trace") == 0.0
        assert mean(report, label, "identity_top1") == 100.0
        assert mean(report, label, "identity_rank") == 100.0
        assert mean(report, label, "eyes_place") > 80.0  # learned on 60 photos of 32 pixels
        assert mean(report, label, "mouth_place") > 80.0
        assert not column(report, label).collapsed


def test_noise_costs_likeness_but_neither_identity_nor_dependence(report: Report) -> None:
    uniform = 10 * math.log10(255**2 / (40 * 41 / 3))  # variance of the integers -40 .. 40
    for region in ("hidden", "visible", "clean"):
        assert mean(report, "noisy", f"psnr_{region}") == pytest.approx(
            uniform, abs=1.0
        )  # clipped to 0 .. 255
        assert mean(report, "noisy", f"ssim_{region}") < 0.7
        assert mean(report, "noisy", f"lpips_{region}") > 0.05
    assert mean(report, "noisy", "identity_top1") == 100.0
    assert mean(report, "noisy", "kid") > 10 * abs(mean(report, "perfect", "kid"))
    assert not column(report, "noisy").collapsed


def test_one_face_for_all_is_called_collapsed_whatever_its_trace(report: Report) -> None:
    for label in ("<b>one & only</b>", "mean photo"):
        assert column(report, label).collapsed == 1
        assert column(report, label).verdict == "COLLAPSED"
        assert mean(report, label, "dependence") < 0.05
        assert mean(report, label, "trace") < 0.1 * mean(report, "input itself", "trace")
    # A constant picture finds identities by chance, no more and no less: 1 of 6, and half of the others.
    assert mean(report, "mean photo", "identity_top1") == pytest.approx(100 / 6)
    assert mean(report, "mean photo", "identity_rank") == pytest.approx(50.0)
    assert mean(report, "mean photo", "yaw_r") == 0.0
    assert mean(report, "mean photo", "eyes_place") == 0.0
    assert column(report, "<b>one & only</b>").cells["mouth_distance"].reason.startswith("no such part")


def test_the_input_itself_keeps_its_whole_occluder(report: Report) -> None:
    faces, _ = scene_configs(OPTIONS, SIZE)
    by_hand = []
    for seed in OPTIONS.seeds:
        test = render_test_set(faces, seed, OPTIONS.scenes)
        traces = [
            np.abs(x[mask].astype(float) - clean[mask]).mean() / 127.5
            for x, clean, mask in zip(test.ultrasound, test.clean, test.mask, strict=True)
            if mask.mean() >= 0.01
        ]
        by_hand.append(np.mean(traces))
    assert mean(report, "input itself", "trace") == pytest.approx(np.mean(by_hand))
    assert not column(report, "input itself").collapsed


def test_the_pose_is_read_from_true_photos_and_not_from_one_face(report: Report) -> None:
    for prefix in ("", "far_"):
        assert mean(report, "perfect", f"{prefix}yaw_error") == mean(
            report, "true photo", f"{prefix}yaw_error"
        )
        assert mean(report, "perfect", f"{prefix}yaw_error") < 0.8 * mean(
            report, "mean photo", f"{prefix}yaw_error"
        )
        assert mean(report, "perfect", f"{prefix}yaw_r") > 0.6


def test_maps_are_measured_where_there_are_networks_for_them(report: Report) -> None:
    own = column(report, "<b>one & only</b>").cells
    assert own["auroc_gate"].estimate is not None
    assert own["auroc_error"].estimate is not None
    assert own["auroc_cycle"].reason == "no reverse generator H given"
    perfect = column(report, "perfect").cells
    assert perfect["auroc_cycle_blurred"].estimate is not None
    assert perfect["auroc_weight"].estimate is not None
    assert perfect["auroc_gate"].reason == "has no error branch and no gate"
    for cell in column(report, "true photo").cells.values():
        assert (cell.estimate is None) == bool(cell.reason)


def test_every_column_has_every_row(report: Report) -> None:
    for each in report.columns:
        assert list(each.cells) == [metric.key for metric in METRICS]
        for cell in each.cells.values():
            assert len(cell.values) == 1
            assert len(cell.values[0]) == len(OPTIONS.seeds)


def test_test_seeds_share_no_scene_and_no_identity_is_in_both_domains() -> None:
    faces, far = scene_configs(OPTIONS, SIZE)
    assert far is not None
    sets = [render_test_set(faces, 0, 3), render_test_set(faces, 1, 3), render_far_set(far, 0, 3)]
    seen = [image.tobytes() for each in sets for image in each.truth]
    seen += [image.tobytes() for image in render_photos(faces, 0, 3)]
    assert len(set(seen)) == 12
    assert faces.occlusion == 1.0


def test_the_same_again_gives_the_same(report: Report) -> None:
    again = evaluate([Contestant("<b>one & only</b>", one_face, explain=explained)], OPTIONS)
    for label in ("<b>one & only</b>", "input itself", "mean photo"):
        for key, cell in column(again, label).cells.items():
            assert cell == column(report, label).cells[key]


# --- checkpoints ----------------------------------------------------------------------------------------


def save(
    path: Path, arch: str, config: GeneratorConfig, seed: int = 0, size: int = SIZE, toml: str = ""
) -> Path:
    torch.manual_seed(seed)
    network = build_generator(arch, config)
    state, contract = network.state_dict(), network.contract(size)
    provenance = Provenance(iterations=1200, seed=seed, config_toml=toml)
    save_checkpoint(Checkpoint(arch, config, state, contract, provenance), path)
    return path


TINY = GetGanConfig(ngf=4, shared_blocks=1, branch_blocks=1)
TINY_RESNET = ResnetConfig(ngf=4, blocks=1)


def test_checkpoints_with_and_without_a_reverse_generator(tmp_path: Path) -> None:
    sigmoid = dataclasses.replace(TrainConfig().loss, weight="sigmoid")
    toml = config_to_toml_text(dataclasses.replace(TrainConfig(), loss=sigmoid))
    whole = save(tmp_path / "whole.safetensors", "getgan", TINY, toml=toml)
    save(reverse_path(whole), "resnet", TINY_RESNET, seed=1)
    other = save(tmp_path / "other.safetensors", "getgan", TINY, seed=2)
    lone = save(tmp_path / "lone.safetensors", "resnet", TINY_RESNET, seed=3)
    bare = save(tmp_path / "bare.safetensors", "getgan", dataclasses.replace(TINY, gate="none"), seed=4)
    entries = [
        Entry("GET-GAN", whole),
        Entry("GET-GAN", other),
        Entry("CycleGAN", lone),
        Entry("no gate", bare),
    ]
    contestants, size = open_entries(entries, None, torch.device("cpu"))
    assert size == SIZE
    assert [contestant.loss.weight for contestant in contestants] == ["sigmoid", *["rescaled"] * 3]
    assert [contestant.reverse is None for contestant in contestants] == [False, True, True, True]

    found = evaluate(entries, dataclasses.replace(QUICK, seeds=(0, 7), pictures=1))
    both = column(found, "GET-GAN")
    assert [origin.file for origin in both.origins] == ["whole.safetensors", "other.safetensors"]
    assert both.origins[0].reverse_sha256
    assert not both.origins[1].reverse_sha256
    assert [origin.iterations for origin in both.origins] == [1200, 1200]
    assert len(both.cells["psnr_face"].values) == 2
    estimate = both.cells["psnr_face"].estimate
    assert estimate is not None
    assert (estimate.unit, estimate.units) == ("training seed", 2)
    assert both.cells["auroc_weight"].values[1] == (None, None)
    assert both.cells["auroc_gate"].estimate is not None
    assert "no lone.reverse.safetensors" in column(found, "CycleGAN").cells["auroc_cycle"].reason
    assert "resnet has no error branch" in column(found, "CycleGAN").cells["auroc_gate"].reason
    assert column(found, "no gate").cells["auroc_gate"].reason == "this checkpoint has no gate"
    assert column(found, "no gate").cells["auroc_error"].estimate is not None
    assert column(found, "no gate").cells["kid"].reason == "perceptual metrics were switched off"
    assert column(found, "no gate").cells["far_yaw_r"].reason == "no second yaw range was asked for"
    labels = [label for label, _ in found.galleries[0].columns]
    assert labels == ["GET-GAN", "CycleGAN", "no gate"]  # of several checkpoints, the first


def test_a_recorded_config_that_is_not_ours_is_said(tmp_path: Path) -> None:
    path = save(tmp_path / "a.safetensors", "getgan", TINY, toml="[loss]\nlambda_hope = 3\n")
    (contestant,), _ = open_entries([Entry("a", path)], None, torch.device("cpu"))
    assert contestant.origin is not None
    assert "lambda_hope" in contestant.origin.notes
    assert "W_e as by default" in contestant.origin.notes


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    small = save(tmp_path / "small.safetensors", "getgan", TINY)
    large = save(tmp_path / "large.safetensors", "getgan", TINY, size=64)
    with pytest.raises(ConfigError, match=r"sizes \[32, 64\]; say at which to compare: --size 32"):
        evaluate([Entry("a", small), Entry("b", large)], dataclasses.replace(QUICK, size=None))
    with pytest.raises(ConfigError, match="at least one checkpoint"):
        evaluate([], QUICK)
    with pytest.raises(CheckpointError, match="no such file"):
        evaluate([Entry("a", tmp_path / "gone.safetensors")], QUICK)
    save(reverse_path(small), "getgan", TINY)
    with pytest.raises(CheckpointError, match="wanted resnet or ugatit"):
        evaluate([Entry("a", small)], QUICK)
    with pytest.raises(ConfigError, match="found device 'nonsense'; wanted cpu"):
        evaluate([Entry("b", large)], dataclasses.replace(QUICK, device="nonsense"))


def test_broken_outputs_are_refused() -> None:
    with pytest.raises(CheckpointError, match="bad made NaN or infinite pixels"):
        evaluate([Contestant("bad", lambda x: x / 0.0)], QUICK)
    with pytest.raises(CheckpointError, match="wanted the same"):
        evaluate([Contestant("bad", lambda x: x[..., ::2])], QUICK)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scenes": 1}, "scenes is 1; wanted 2"),
        ({"seeds": ()}, "one or more different"),
        ({"seeds": (1, 1)}, "one or more different"),
        ({"size": 30}, "multiple of 4"),
        ({"batch": 0}, "batch is 0"),
        ({"far_yaw": (-90.0, 90.0)}, "within -60 .. 60"),
    ],
)
def test_options_that_cannot_work_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluate([Contestant("a", one_face)], dataclasses.replace(QUICK, **change))  # type: ignore[arg-type]


def test_progress_runs_from_nothing_to_done() -> None:
    said: list[tuple[str, float]] = []
    evaluate([Contestant("a", one_face)], QUICK, lambda what, share: said.append((what, share)))
    shares = [share for _, share in said]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert any("a" in what.split(": ") for what, _ in said)
    rendered = [what for what, _ in said if "rendering" in what]
    assert rendered == [f"test seed 0: rendering 2 scenes, {n} of 2" for n in (1, 2)]


def test_progress_counts_the_scenes_of_both_sets_of_each_seed() -> None:
    said: list[tuple[str, float]] = []
    options = dataclasses.replace(OPTIONS, scenes=2, perceptual=False, pose_photos=20)
    evaluate([Contestant("a", one_face)], options, lambda what, share: said.append((what, share)))
    rendered = [what for what, _ in said if "rendering" in what]
    wanted = [
        f"test seed {seed}: rendering 2 scenes and 2 turned further, {n} of 4"
        for seed in (0, 1)
        for n in (1, 2, 3, 4)
    ]
    assert rendered == wanted
    shares = [share for _, share in said]
    assert shares == sorted(shares)


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    evaluate([Contestant("a", one_face)], dataclasses.replace(QUICK, threads=before + 1))
    assert torch.get_num_threads() == before


# --- the document ---------------------------------------------------------------------------------------


def test_the_document_is_strict_json_and_comes_back(report: Report) -> None:
    text = report.to_json()
    document = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (document["schema"], document["version"]) == ("getgan-evaluation", 1)
    assert report_from_json(text) == report
    assert report_from_json(text).to_json() == text
    cell = document["columns"][0]["cells"]["trace"]
    assert set(cell) == {"mean", "half_width_95", "units", "unit", "values", "reason"}
    assert document["columns"][0]["cells"]["auroc_gate"]["mean"] is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "x", "version": 1}', "null"])
def test_another_document_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="run getgan evaluate again"):
        report_from_json(text)


def test_a_later_version_is_refused(report: Report) -> None:
    with pytest.raises(DataError, match="found getgan-evaluation version 2; wanted"):
        report_from_json(report.to_json().replace('"version": 1', '"version": 2'))
