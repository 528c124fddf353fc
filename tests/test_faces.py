"""The synthetic faces: same seed same scene, an exact mask, a true truth, apart domains, a yaw that turns."""

import dataclasses

import cv2
import numpy as np
import pytest

from getgan.training.faces import (
    DOMAINS,
    OCCLUDER_KINDS,
    SPLITS,
    Pose,
    SceneConfig,
    identity_from_int,
    render_photo,
    render_truth,
    render_ultrasound,
    seed_of,
)
from getgan.training.faces.photo import portrait
from getgan.training.faces.sheet import sample_sheet
from getgan.training.faces.ultrasound import scan

SEEDS = [seed_of("ultrasound", "test", index) for index in range(12)]
STRAIGHT = Pose(yaw=0.0, pitch=0.0, roll=0.0, shift_x=0.0, shift_y=0.0, scale=0.75)


def test_same_seed_same_scene_whatever_the_threads() -> None:
    config = SceneConfig()
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        one, photo = render_ultrasound(config, 5), render_photo(config, 5)
        cv2.setNumThreads(4)
        two, again = render_ultrasound(config, 5), render_photo(config, 5)
    finally:
        cv2.setNumThreads(threads)
    for name in ("ultrasound", "clean", "truth", "mask", "face", "occluded"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert one.pose == two.pose
    assert np.array_equal(photo.image, again.image)
    assert not np.array_equal(one.clean, render_ultrasound(config, 6).clean)
    assert not np.array_equal(photo.image, render_photo(config, 6).image)


@pytest.mark.parametrize("size", [32, 64, 90])
def test_shapes_and_types(size: int) -> None:
    scene, photo = render_ultrasound(SceneConfig(size=size), 3), render_photo(SceneConfig(size=size), 3)
    for picture in (scene.ultrasound, scene.clean, scene.truth, photo.image):
        assert picture.shape == (size, size, 3) and picture.dtype == np.uint8
    for area in (scene.mask, scene.face, scene.occluded, photo.face):
        assert area.shape == (size, size) and area.dtype == np.bool_
    assert 0.25 < photo.face.mean() < 0.75


@pytest.mark.parametrize("kind", OCCLUDER_KINDS)
def test_mask_is_exact(kind: str) -> None:
    config = SceneConfig(kinds=(kind,), occlusion=1.0)
    shares = []
    for seed in SEEDS:
        scene = render_ultrasound(config, seed)
        differs = np.any(scene.ultrasound != scene.clean, axis=2)
        assert scene.kind == kind
        assert not np.any(differs & ~scene.occluded)
        assert differs[scene.occluded].mean() > 0.93
        assert np.array_equal(scene.mask, scene.occluded & scene.face)
        shares.append(scene.mask.sum() / scene.face.sum())
    assert 0.12 < np.mean(shares) < 0.45
    assert max(shares) < 0.75


def test_a_hand_is_lit_and_casts_a_shadow(monkeypatch: pytest.MonkeyPatch) -> None:
    config = SceneConfig(kinds=("hand",), occlusion=1.0)
    scenes = [render_ultrasound(config, seed) for seed in SEEDS]
    monkeypatch.setattr("getgan.training.faces.ultrasound.SHADOW", 0.0)
    darker = []
    for seed, scene in zip(SEEDS, scenes, strict=True):
        hand = render_ultrasound(config, seed).occluded
        change = scene.ultrasound.mean(axis=2) - scene.clean.mean(axis=2)
        assert (change[hand] > 30).mean() > 0.25  # over dark water and skin
        darker.append(change[scene.mask & ~hand])
    shadow = np.concatenate(darker)
    assert shadow.size > 200 and shadow.max() <= 0 and shadow.mean() < -10


def test_no_occluder_leaves_no_trace() -> None:
    scene = render_ultrasound(SceneConfig(occlusion=0.0), 4)
    assert scene.kind is None
    assert not scene.mask.any() and not scene.occluded.any()
    assert np.array_equal(scene.ultrasound, scene.clean)


def test_clean_scene_does_not_know_the_occluder() -> None:
    hidden = render_ultrasound(SceneConfig(occlusion=1.0), 4)
    bare = render_ultrasound(SceneConfig(occlusion=0.0), 4)
    assert hidden.mask.any()
    assert np.array_equal(hidden.clean, bare.clean)
    assert np.array_equal(hidden.truth, bare.truth)


def test_truth_is_the_photo_of_the_same_identity_and_pose() -> None:
    scene, other = (render_ultrasound(SceneConfig(), seed) for seed in SEEDS[:2])
    image, head = portrait(identity_from_int(scene.identity), scene.pose, 64)
    assert np.array_equal(scene.truth, image)
    assert not np.array_equal(scene.truth, render_truth(other.identity, scene.pose, 64))
    assert not np.array_equal(scene.truth, render_truth(scene.identity, other.pose, 64))
    assert (scene.face & head).sum() / (scene.face | head).sum() > 0.85  # the same head


def test_domains_and_splits_share_nobody() -> None:
    seeds = [seed_of(domain, split, i) for domain in DOMAINS for split in SPLITS for i in range(200)]
    assert len(set(seeds)) == len(seeds)
    config = SceneConfig(size=32)
    x = {render_ultrasound(config, seed).identity for seed in range(10)}
    y = {render_photo(config, seed).identity for seed in range(10)}
    assert len(x) == len(y) == 10 and not x & y
    assert len({dataclasses.replace(identity_from_int(number), number=0) for number in x | y}) == 20


def test_each_domain_keeps_its_yaw_range() -> None:
    config = SceneConfig(size=32, yaw_x=(-40.0, -10.0), yaw_y=(5.0, 15.0))
    x = [render_ultrasound(config, seed).pose.yaw for seed in range(40)]
    y = [render_photo(config, seed).pose.yaw for seed in range(40)]
    assert -40 <= min(x) < -34 and -16 < max(x) <= -10
    assert 5 <= min(y) < 7 and 13 < max(y) <= 15


@pytest.mark.parametrize("domain", DOMAINS)
def test_yaw_carries_the_nose_along(domain: str) -> None:
    who = identity_from_int(11)
    flat = dataclasses.replace(who, nose_height=0.5 * who.nose_height)
    centres = []
    for yaw in (-40.0, -20.0, 0.0, 20.0, 40.0):
        pose = dataclasses.replace(STRAIGHT, yaw=yaw)
        if domain == "photo":
            a, b = (portrait(one, pose, 64)[0] for one in (who, flat))
        else:
            a, b = (scan(SceneConfig(), one, pose, None, 1).clean for one in (who, flat))
        weight = np.abs(a.astype(np.float64) - b).sum(axis=(0, 2))  # only the nose differs
        centres.append(float((weight * np.arange(64)).sum() / weight.sum()))
    assert np.all(np.diff(centres) > 3.0), centres
    assert abs(centres[2] - 31.5) < 2.5


def test_a_larger_picture_shows_the_same_scene() -> None:
    for seed in SEEDS[:3]:
        small, large = (render_ultrasound(SceneConfig(size=size), seed) for size in (64, 128))
        other = render_ultrasound(SceneConfig(), seed + 60)
        for name in ("ultrasound", "clean", "truth"):
            shrunk = cv2.resize(getattr(large, name), (64, 64), interpolation=cv2.INTER_AREA)
            shrunk = shrunk.astype(np.float64)
            near = np.abs(shrunk - getattr(small, name)).mean()
            far = np.abs(shrunk - getattr(other, name)).mean()
            assert near < 6.0 and near < 0.25 * far, (name, near, far)


def test_most_scenes_are_occluded_and_mostly_by_hands() -> None:
    kinds = [render_ultrasound(SceneConfig(size=32), seed).kind for seed in range(150)]
    assert 0.63 < 1 - kinds.count(None) / len(kinds) < 0.87
    assert kinds.count("hand") > max(kinds.count(kind) for kind in OCCLUDER_KINDS[1:])
    assert all(kind in kinds for kind in OCCLUDER_KINDS)


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("size", 31, "32"),
        ("yaw_x", (10.0, -10.0), "min <= max"),
        ("yaw_y", (0.0, 80.0), "-60 .. 60"),
        ("scale", (0.8, 0.7), "min <= max"),
        ("scale", (0.1, 0.7), "0.3 .. 1.2"),
        ("occlusion", 1.5, "0 .. 1"),
        ("kinds", ("hand", "fish"), "placenta"),
        ("kinds", (), "hand"),
        ("kind_weights", (0.5,), "positive weight"),
    ],
)
def test_a_bad_config_is_named(field: str, value: object, wanted: str) -> None:
    with pytest.raises(ValueError, match=f"SceneConfig.{field}: found") as caught:
        SceneConfig(**{field: value})  # type: ignore[arg-type]  # a wrong value is the point
    assert wanted in str(caught.value)


def test_a_bad_seed_is_named() -> None:
    for domain, split, index in (("mri", "test", 0), ("photo", "holiday", 0), ("photo", "test", -1)):
        with pytest.raises(ValueError, match=r"found .* wanted"):
            seed_of(domain, split, index)


def test_sheet_has_a_row_for_everything() -> None:
    assert sample_sheet(SceneConfig(size=32), 2).shape == (5 * 48, 64, 3)
    with pytest.raises(ValueError, match="found 0"):
        sample_sheet(SceneConfig(size=32), 0)
