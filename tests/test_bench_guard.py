"""The guard's benchmark: its figures by hand, its pictures, and one small run of all of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from bundle_helpers import make_bundle, noise
from export_helpers import saved
from guard_helpers import make_guarded

from getgan.benchmarks.guard import GuardOptions, measure_guard
from getgan.benchmarks.guardpictures import CHANGES, photographs_of, shown
from getgan.benchmarks.guardreport import auroc, binomial_band
from getgan.errors import DataError, UsageError
from getgan.runtime.guard.tone import brightness
from getgan.runtime.images import write_image
from getgan.training.faces import SceneConfig


def test_figures_by_hand() -> None:
    assert auroc([2.0, 3.0], [0.0, 1.0]) == 1.0
    assert auroc([0.0, 1.0], [2.0, 3.0]) == 0.0
    assert auroc([1.0, 2.0], [1.0, 1.0]) == 0.75
    # Of ten coins 0 or 10 heads come in 0.2 % of all tries, 0, 1, 9 or 10 in 2.1 %.
    assert binomial_band(10, 0.5) == (1, 9)
    assert binomial_band(10, 1e-9) == (0, 0)


def test_each_kind_has_so_many_pictures_and_another_draw_has_others() -> None:
    scene, palette = SceneConfig(size=32), np.repeat(np.arange(256, dtype=np.float32)[:, None], 3, axis=1)
    kinds = {each.name: each for each in shown(scene, [("heart", noise(64))], palette, 2, 0)}
    assert len(kinds) == len(CHANGES) + 7
    assert all(each.pictures[0].dtype == np.uint8 for each in kinds.values())
    flipped, mirrored, hidden = (
        kinds[name].pictures[0] for name in ("upside down", "mirrored", "everything hidden")
    )
    assert np.array_equal(flipped[::-1], mirrored[:, ::-1])
    levels = [np.sort(brightness(picture), axis=None) for picture in (hidden, mirrored)]
    assert np.array_equal(levels[0], levels[1]) and not np.array_equal(hidden, mirrored)
    other = next(shown(scene, [], palette, 1, 1)).pictures[0]
    assert not np.array_equal(other, mirrored)


def test_photographs_of_a_folder_are_shown_whole_and_cropped(tmp_path: Path) -> None:
    for number, shape in enumerate([(40, 60), (90, 30), (32, 32)]):
        write_image(tmp_path / f"{number}.png", noise(96)[: shape[0], : shape[1]])
    (tmp_path / "notes.txt").write_text("no picture")
    photographs = photographs_of(tmp_path)
    assert [photo.shape[:2] for photo in photographs] == [(40, 60), (90, 30), (32, 32)]
    scene, palette = SceneConfig(size=32), np.zeros((256, 3), np.float32)
    kinds = {each.name: each for each in shown(scene, [], palette, 2, 0, photographs)}
    whole, crops = kinds["photographs"], kinds["photographs, cropped"]
    assert (whole.group, crops.group) == ("far", "far")
    assert len(whole.pictures) == len(crops.pictures) == 2
    assert all(any(np.array_equal(each, photo) for photo in photographs) for each in whole.pictures)
    assert all(each.shape[0] == each.shape[1] for each in crops.pictures)
    write_image(tmp_path / "long.png", noise(96)[:20])
    with pytest.raises(DataError, match=r"long.png: found 96x20 pixels; wanted an aspect of 3:1"):
        photographs_of(tmp_path)
    with pytest.raises(DataError, match="found no picture"):
        (tmp_path / "empty").mkdir()
        photographs_of(tmp_path / "empty")


def options(path: Path) -> GuardOptions:
    return GuardOptions(
        path, draws=2, scans=40, unseen=6, pictures=2, rounds=0, threads=1, others=[("noise", noise(64))]
    )


def test_a_checkpoint_and_a_bundle_are_measured(tmp_path: Path) -> None:
    for path in (saved(tmp_path, "getgan-1x1"), make_guarded(tmp_path / "bundle")):
        report = measure_guard(options(path), lambda what, share: None)
        rows = {row.name: row for row in report.rows}
        assert rows["unseen scans"].pictures == 12 and rows["mirrored"].pictures == 4
        for row in report.rows:
            assert row.ok.mean + row.unusual.mean + row.refused.mean == pytest.approx(1.0)
        refused = 12 * (1.0 - rows["unseen scans"].ok.mean)
        assert sum(report.false_alarms) == pytest.approx(refused)
        assert rows["unseen scans"].auroc.mean == 0.5
        assert "| upside down | near |" in report.text()
        assert json.loads(report.to_json())["auroc_by_group"].keys() == {"near", "far"}


def test_a_bundle_without_a_guard_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no guard"):
        measure_guard(options(make_bundle(tmp_path / "bundle")), lambda what, share: None)
