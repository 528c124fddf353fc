"""The guard's parts: the score, its limit, the file, the tones, the second looks, the verdict."""

from __future__ import annotations

import io
import math
import struct
import zipfile
from dataclasses import fields, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from getgan.contract import Contract
from getgan.errors import BundleError
from getgan.export.calibration import hidden_limit
from getgan.runtime.geometry import lay, placement
from getgan.runtime.guard.aspect import in_known_aspect
from getgan.runtime.guard.attributes import measure, quantiles_of
from getgan.runtime.guard.judge import SECOND_LIMIT, Guard
from getgan.runtime.guard.looks import LOOKS
from getgan.runtime.guard.pose import face_pose
from getgan.runtime.guard.statistics import (
    ATTRIBUTES,
    Statistics,
    bytes_from_statistics,
    fit,
    statistics_from_bytes,
)
from getgan.runtime.guard.tone import Picture, brightness, tone_of, toned
from getgan.training.faces import SceneConfig, render_photo, render_ultrasound, seed_of

SCENE = SceneConfig(size=64)


def scan(index: int) -> Picture:
    return render_ultrasound(SCENE, seed_of("ultrasound", "test", index)).ultrasound


@pytest.fixture(scope="module")
def scans() -> list[Picture]:
    return [scan(index) for index in range(24)]


def features_of(picture: Picture) -> NDArray[np.float64]:
    """In place of a network: the picture's mean and deviation in 8x8 tiles, 384 numbers."""
    tiles = picture.reshape(8, 8, 8, 8, 3).astype(np.float64)
    return np.concatenate([tiles.mean(axis=(1, 3)).ravel(), tiles.std(axis=(1, 3)).ravel()])


def statistics_of(pictures: list[Picture], limit: float = 1.0) -> Statistics:
    features = np.stack([features_of(picture) for picture in pictures])
    return Statistics(*fit(features), np.array([limit], np.float32), *tone_of(pictures))


# --- the score -----------------------------------------------------------------------------------------


def test_the_score_is_mahalanobis_distance_under_the_fitted_covariance() -> None:
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((6, 6))
    x = rng.standard_normal((400, 6)) @ mix + 3.0
    mean, deviation, basis, variance, rest = fit(x)
    tone = tone_of([scan(0)])
    statistics = Statistics(mean, deviation, basis, variance, rest, np.array([2.0], np.float32), *tone)
    unit = (x - x.mean(0)) / x.std(0)
    kept = basis.T.astype(np.float64) @ np.diag(variance - rest) @ basis
    covariance = kept + float(rest[0]) * np.eye(6)
    wanted = np.sqrt(np.einsum("ni,ij,nj->n", unit, np.linalg.inv(covariance), unit)) / 2.0
    assert np.allclose(statistics.score(x), wanted, rtol=1e-4)
    # With five of six directions kept, nothing was shrunk.
    assert np.allclose(covariance, np.cov(unit.T, bias=True), atol=1e-5)


def test_equal_pictures_are_no_division_by_zero() -> None:
    features = np.tile(np.arange(12.0), (20, 1))
    statistics = Statistics(*fit(features), np.array([1.0], np.float32), *tone_of([scan(0)]))
    assert statistics.score(features).max() == 0.0
    assert statistics.score(features + 1.0).min() > 1.0


# --- the file ------------------------------------------------------------------------------------------


def test_the_file_holds_the_statistics_and_is_the_same_each_time(scans: list[Picture]) -> None:
    statistics = statistics_of(scans)
    data = bytes_from_statistics(statistics)
    assert data == bytes_from_statistics(statistics)
    read = statistics_from_bytes(data)
    assert all(
        np.array_equal(getattr(read, field.name), getattr(statistics, field.name))
        for field in fields(Statistics)
    )


@pytest.mark.parametrize("length", [0, 1, 100, 5000])
def test_a_cut_file_is_refused(scans: list[Picture], length: int) -> None:
    with pytest.raises(BundleError, match="damaged guard"):
        statistics_from_bytes(bytes_from_statistics(statistics_of(scans))[:length])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mean", np.nan),
        ("variance", 0.0),
        ("deviation", -1.0),
        ("limit", np.inf),
        ("rest", 0.0),
        ("basis", 2.0),
        ("palette", 300.0),
        ("brightness", -1.0),
    ],
)
def test_numbers_that_cannot_judge_are_refused(scans: list[Picture], name: str, value: float) -> None:
    statistics = statistics_of(scans)
    wrong = getattr(statistics, name).copy()
    wrong.flat[0] = value
    with pytest.raises(BundleError, match="damaged guard"):
        statistics_from_bytes(bytes_from_statistics(replace(statistics, **{name: wrong})))


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }",  # 4 TB
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({'9' * 4000},), }}",
        "{'descr': '<f4', 'x",
        "-" * 9000 + "1",
    ],
)
def test_an_entry_that_states_what_it_has_not_is_refused(scans: list[Picture], header: str) -> None:
    entry = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + f"{header}\n".encode() + bytes(64)
    good, bad = io.BytesIO(bytes_from_statistics(statistics_of(scans))), io.BytesIO()
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w") as target:
        for name in source.namelist():
            target.writestr(name, entry if name == "mean.npy" else source.read(name))
    with pytest.raises(BundleError, match="damaged guard"):
        statistics_from_bytes(bad.getvalue())


@pytest.mark.parametrize("bits", [0x01, 0x20, 0x41])
def test_an_encrypted_entry_is_refused(scans: list[Picture], bits: int) -> None:
    data = bytearray(bytes_from_statistics(statistics_of(scans)))
    struct.pack_into("<H", data, data.index(b"PK\x01\x02") + 8, bits)
    with pytest.raises(BundleError, match="damaged guard"):
        statistics_from_bytes(bytes(data))


def test_a_packed_or_pickled_entry_is_refused(scans: list[Picture]) -> None:
    statistics = statistics_of(scans)
    packed = io.BytesIO()
    np.savez_compressed(packed, **{f.name: getattr(statistics, f.name) for f in fields(Statistics)})
    with pytest.raises(BundleError, match="packed"):
        statistics_from_bytes(packed.getvalue())
    pickled = io.BytesIO()
    arrays = {f.name: getattr(statistics, f.name) for f in fields(Statistics)}
    np.savez(pickled, **{**arrays, "mean": np.array([{}], dtype=object)})
    with pytest.raises(BundleError, match="damaged guard"):
        statistics_from_bytes(pickled.getvalue())
    with zipfile.ZipFile(pickled, "a") as archive:
        archive.writestr("more.npy", b"")
    with pytest.raises(BundleError, match="other entries"):
        statistics_from_bytes(pickled.getvalue())


# --- tones ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [0.6, 1.5])
def test_a_curve_of_brightness_and_a_lost_palette_fall_out(scans: list[Picture], gamma: float) -> None:
    statistics = statistics_of(scans)
    picture = scans[0]
    grey = np.repeat(brightness(picture)[:, :, None], 3, axis=2)
    other = np.rint(255.0 * (grey / 255.0) ** gamma).astype(np.uint8)
    wanted, found = toned(picture, statistics).astype(int), toned(other, statistics).astype(int)
    assert np.abs(wanted - found).mean() < 1.5
    assert np.abs(other.astype(int) - picture).mean() > 10.0


def test_tones_of_black_and_white_pictures_are_finite() -> None:
    for level in (0, 255):
        flat = np.full((8, 8, 3), level, np.uint8)
        values, palette = tone_of([flat])
        assert np.array_equal(values, np.full(256, level)) and np.array_equal(
            palette, np.full((256, 3), level)
        )


# --- verdicts ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guard(scans: list[Picture]) -> Guard:
    """One that knows these very scans, and little more."""
    statistics = statistics_of(scans)
    known = [*scans, *(toned(each, statistics) for each in scans)]
    scores = statistics.score(np.stack([features_of(each) for each in known]))
    return Guard(replace(statistics, limit=np.array([scores.max() * 1.02 / SECOND_LIMIT], np.float32)))


def test_known_pictures_are_ok(guard: Guard, scans: list[Picture]) -> None:
    for each in scans:
        verdict = guard.judge(each, features_of(each), features_of)
        assert (verdict.kind, verdict.code, verdict.view) == ("ok", "", None)
        assert verdict.score <= 1.0


def test_other_tones_are_unusual_and_come_with_the_picture_to_translate(
    guard: Guard, scans: list[Picture]
) -> None:
    inverse_free = np.rint(255.0 * (scans[0] / 255.0) ** 0.4).astype(np.uint8)
    verdict = guard.judge(inverse_free, features_of(inverse_free), features_of)
    assert (verdict.kind, verdict.code) == ("unusual", "tones")
    assert verdict.view is not None and verdict.score > 1.0
    assert guard.judge(verdict.view, features_of(verdict.view), features_of).kind == "ok"


def test_a_head_upside_down_is_refused_and_said_so(guard: Guard, scans: list[Picture]) -> None:
    turned = np.ascontiguousarray(scans[1][::-1])
    verdict = guard.judge(turned, features_of(turned), features_of)
    assert (verdict.kind, verdict.code) == ("refused", "upside-down")
    assert "upside down" in verdict.reason


@pytest.mark.parametrize(("second", "kind"), [(0.97, "refused"), (0.85, "unusual")])
def test_matched_tones_alone_must_lie_well_inside_the_limit(
    scans: list[Picture], second: float, kind: str
) -> None:
    """They make a photo of a baby look like a scan: what is so translated must be known for certain."""
    statistics = statistics_of(scans)
    other = np.rint(255.0 * (scan(30) / 255.0) ** 0.4).astype(np.uint8)
    matched = float(statistics.score(features_of(toned(other, statistics))[None])[0])
    guard = Guard(replace(statistics, limit=np.array([matched / second], np.float32)))
    assert guard.judge(other, features_of(other), features_of, explain=False).kind == kind
    assert second < SECOND_LIMIT or kind == "refused"


def test_the_look_that_helps_most_says_why_and_a_poor_one_says_nothing(
    guard: Guard, scans: list[Picture]
) -> None:
    """A head on its side is a little more like a scan upside down; a photo nearly passes some look."""
    turned = np.ascontiguousarray(np.rot90(scans[1]))

    def reason(*scores: float) -> str:
        """Of a picture that scores 3, and so much in each of the looks."""
        answers = iter([3.0, *scores])
        statistics = guard.statistics

        def look(_: Picture) -> NDArray[np.float64]:
            away = next(answers, 3.0) * float(statistics.limit[0]) * math.sqrt(float(statistics.variance[0]))
            return np.asarray(statistics.mean + statistics.deviation * statistics.basis[0] * away)

        return guard.judge(turned, look(turned), look).code

    assert reason(3.0, 0.8, 0.4) == "turned"
    assert reason(3.0, 0.8) == "upside-down"
    assert reason(3.0, 0.97, 0.98) == "other"


def test_white_text_on_black_is_not_too_dark(guard: Guard) -> None:
    import cv2

    page = np.zeros((64, 64, 3), np.uint8)
    for line in range(5):
        cv2.putText(page, "Report", (2, 12 + 11 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.3, (255, 255, 255))
    assert page.mean() < 0.35 * guard.statistics.brightness.mean()
    assert guard.judge(page, features_of(page), features_of).code == "other"
    dim = page // 12
    assert guard.judge(dim, features_of(dim), features_of).code == "dark"


def test_without_time_to_explain_it_is_refused_all_the_same(guard: Guard, scans: list[Picture]) -> None:
    turned = np.ascontiguousarray(scans[1][::-1])
    looks: list[Picture] = []

    def look(view: Picture) -> NDArray[np.float64]:
        looks.append(view)
        return features_of(view)

    verdict = guard.judge(turned, features_of(turned), look, explain=False)
    assert (verdict.kind, verdict.code, len(looks)) == ("refused", "other", 1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_refused(guard: Guard, scans: list[Picture], value: float) -> None:
    broken = np.full(384, value)
    verdict = guard.judge(scans[0], broken, lambda view: broken)
    assert (verdict.kind, verdict.score) == ("refused", math.inf)


def test_noise_and_a_dark_picture_are_refused(guard: Guard) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    assert guard.judge(noise, features_of(noise), features_of).code == "other"
    dark = (noise * 0.05).astype(np.uint8)
    assert guard.judge(dark, features_of(dark), features_of).code == "dark"


def test_a_known_picture_of_which_too_much_is_hidden_is_refused(guard: Guard, scans: list[Picture]) -> None:
    strict = Guard(guard.statistics, hidden_limit=0.5)
    assert strict.judge(scans[0], features_of(scans[0]), features_of, hidden=0.4).kind == "ok"
    verdict = strict.judge(scans[0], features_of(scans[0]), features_of, hidden=0.6)
    assert (verdict.kind, verdict.code) == ("refused", "hidden")


def test_a_picture_of_other_tones_is_refused_for_what_its_own_map_hides_in_the_matched_ones(
    guard: Guard, scans: list[Picture]
) -> None:
    strict = Guard(guard.statistics, hidden_limit=0.5)
    pale = np.rint(255.0 * (scans[0] / 255.0) ** 0.4).astype(np.uint8)
    shown: list[Picture] = []

    def look(view: Picture) -> NDArray[np.float64]:
        shown.append(view)
        return features_of(view)

    def verdict(first: float, matched: float) -> tuple[str, str]:
        shown.clear()
        found = strict.judge(
            pale, features_of(pale), look, hidden=first, hidden_toned=lambda: matched if shown else math.nan
        )
        return found.kind, found.code

    assert verdict(0.9, 0.4) == ("unusual", "tones")  # the first map is of tones that nobody calibrated
    assert verdict(0.4, 0.6) == ("refused", "hidden")
    assert verdict(0.4, math.nan) == ("unusual", "tones")  # without a map


def test_every_look_keeps_the_picture_s_shape_and_leaves_it_alone(scans: list[Picture]) -> None:
    for picture in (scans[0], np.ascontiguousarray(scans[0][:40])):
        before = picture.copy()
        for look in LOOKS:
            changed = look.change(picture)
            assert changed is None or (changed.shape == picture.shape and changed.dtype == np.uint8)
        assert np.array_equal(picture, before)


def test_what_is_measured_of_a_picture_has_the_names_values(scans: list[Picture]) -> None:
    half = np.zeros((64, 64, 3), np.uint8)
    half[:, :32] = (200, 100, 0)
    face = np.full((64, 64, 3), (120, 80, 20), np.uint8)
    found = dict(zip(ATTRIBUTES, measure(half, 0.7, 0.25, face), strict=True))
    assert found["brightness"] == pytest.approx(59.5, abs=1.0)  # half of 0.299 * 200 + 0.587 * 100
    assert found["contrast"] == pytest.approx(found["brightness"], abs=0.1)
    assert (found["score"], found["colour"], found["head"], found["hidden"]) == (0.7, 100.0, 0.5, 0.25)
    assert np.isnan(found["face pose"])  # one colour has no head
    assert found["face warmth"] == 100.0 and found["face brightness"] == pytest.approx(85.0, abs=1.0)
    assert np.isnan(measure(half, 0.7, 0.0, None)[-1])
    rows = [measure(scan, index / 24.0, 0.0, None) for index, scan in enumerate(scans)]
    quantiles = quantiles_of(rows)
    assert quantiles[0, 0] == 0.0 and quantiles[0, -1] == np.float32(23 / 24) and not quantiles[-1].any()
    bytes_from_statistics(replace(statistics_of(scans), attributes=quantiles))
    broken = replace(statistics_of(scans), attributes=quantiles[:, ::-1].copy())
    with pytest.raises(BundleError, match="attributes do not rise"):
        statistics_from_bytes(bytes_from_statistics(broken))


@pytest.mark.parametrize("size", [64, 128])
def test_the_pose_read_off_photos_is_the_true_yaw_s(size: int) -> None:
    """No truth is used: rendered photos in both sizes, of which the yaw is known."""
    photos = [render_photo(SceneConfig(size=size), seed_of("photo", "test", index)) for index in range(60)]
    read = np.array([face_pose(photo.image) for photo in photos])
    yaw = np.array([photo.pose.yaw for photo in photos])
    assert np.corrcoef(read, yaw)[0, 1] > 0.93
    mirrored = np.array([face_pose(np.ascontiguousarray(photo.image[:, ::-1])) for photo in photos])
    assert np.abs(read + mirrored).max() < 0.05


def test_a_picture_without_a_head_has_no_pose() -> None:
    flat, speck = np.full((64, 64, 3), 90, np.uint8), np.zeros((64, 64, 3), np.uint8)
    speck[30:33, 30:33] = (200, 100, 50)
    for picture in (flat, speck, flat[:9, :20]):
        assert math.isnan(face_pose(picture))


def test_a_guard_from_before_the_pose_is_read_without_it(scans: list[Picture]) -> None:
    statistics = replace(statistics_of(scans), attributes=np.ones((len(ATTRIBUTES), 101), np.float32))
    data = bytes_from_statistics(replace(statistics, attributes=statistics.attributes[:-1]))
    read = statistics_from_bytes(data)
    assert read.attributes[:-1].all() and not read.attributes[-1].any()
    with pytest.raises(BundleError, match="attributes is"):
        statistics_from_bytes(
            bytes_from_statistics(replace(statistics, attributes=statistics.attributes[:-2]))
        )


@pytest.mark.parametrize(
    ("shape", "aspects", "canvas"),
    [
        ((90, 160), (1.0, 1.0), (64, 64)),
        ((160, 90), (1.0, 1.0), (64, 64)),
        ((90, 160), (1.0, 4 / 3), (56, 72)),
        ((64, 64), (4 / 3, 16 / 9), (56, 72)),
        ((90, 160), (1.0, 16 / 9), None),
        ((96, 100), (1.0, 1.0), None),  # within SLACK
        ((90, 160), None, None),
        ((64, 64), (9.0, 9.0), None),  # so long is no picture
        ((64, 64), (1e3, 1e3), None),
        ((90, 160), (1e-3, 1e-3), None),
    ],
)
def test_a_picture_in_a_known_aspect(
    shape: tuple[int, int], aspects: tuple[float, float] | None, canvas: tuple[int, int] | None
) -> None:
    """Its middle is larger on the canvas than all of it, and neither is stretched."""
    contract = Contract(size=64, min_size=8, multiple_of=4)
    picture = np.zeros((*shape, 3), np.uint8)
    half = min(shape) // 4
    y, x = shape[0] // 2, shape[1] // 2
    picture[y - half : y + half, x - half : x + half] = 200
    where = placement(*shape, 64, "fit", contract)
    found = in_known_aspect(lay(picture, where), where, aspects, 64, contract)
    assert [each.shape[:2] for each in found] == ([] if canvas is None else [canvas] * 2)
    sides = []
    for each in found:
        height, width = (side // 2 for side in each.shape[:2])
        dark = each[:, :, 0] < 100  # the nearest to the middle: more is bright beyond the edges
        tall, wide = int(dark[height:, width].argmax()), int(dark[height, width:].argmax())
        assert tall > 5 and abs(tall - wide) <= 1
        sides.append(tall)
    assert sides == sorted(sides, reverse=True)


def test_text_over_a_scan_is_taken_out(scans: list[Picture]) -> None:
    import cv2

    from getgan.runtime.geometry import resize

    large = resize(scans[2], 256, 256)
    written = large.copy()
    cv2.putText(written, "GA 28w FR 12", (8, 60), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (255, 255, 255), 2)
    (look,) = [look for look in LOOKS if look.code == "text"]
    mended = look.change(written)
    assert mended is not None
    there = np.abs(written.astype(int) - large).max(axis=2) > 60
    assert (
        np.abs(mended.astype(int) - large)[there].mean()
        < 0.4 * np.abs(written.astype(int) - large)[there].mean()
    )


def test_only_a_map_that_tells_scans_apart_refuses_what_is_hidden() -> None:
    assert hidden_limit(np.array([0.633, 0.638, 0.635])) == 1.0
    assert hidden_limit(np.zeros(0)) == 1.0  # no map
    assert hidden_limit(np.array([0.05, 0.30, 0.55])) == pytest.approx(0.60)
    assert hidden_limit(np.array([0.0, 1.0])) == 1.0
