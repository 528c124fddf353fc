"""Eyes, nose and mouth: found in true photos, and missed where they are gone, doubled, moved or blurred."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from getgan.training.evaluation import report_from_json, table
from getgan.training.evaluation.landmarks import (
    Found,
    LandmarkFinder,
    hidden_parts,
    learn_landmark_finder,
)
from getgan.training.evaluation.measures import parts_found
from getgan.training.evaluation.testsets import (
    Head,
    head_of,
    mean_photo,
    render_learning_photos,
    wide_poses,
)
from getgan.training.faces import SceneConfig, render_photo, seed_of

Images = NDArray[np.uint8]
COUNTS = {64: 100, 128: 40, 256: 20}


@pytest.fixture(scope="module")
def finder() -> LandmarkFinder:
    photos = render_learning_photos(wide_poses(SceneConfig(size=64), None), 200)
    return learn_landmark_finder(photos.images, photos.heads)


@pytest.fixture(scope="module", params=COUNTS)
def unseen(request: pytest.FixtureRequest) -> tuple[Images, list[Head]]:
    """Photos of the test split, and their heads."""
    scene = SceneConfig(size=request.param)
    photos = [render_photo(scene, seed_of("photo", "test", n)) for n in range(COUNTS[request.param])]
    heads = [head_of(photo.identity, photo.pose, scene.size) for photo in photos]
    return np.stack([photo.image for photo in photos]), heads


def skin_over(image: Images, head: Head, part: int) -> Images:
    """One colour, that of the cheek beside the nose, over a part; not what the filters learned from."""
    made = image.copy()
    nose, mouth = head.landmarks[2], head.landmarks[3]
    up = (nose - mouth) / np.linalg.norm(nose - mouth)
    side = np.array([-up[1], up[0]]) * 0.18 * head.height
    inside = [p for p in (nose + side, nose - side) if (p >= 0).all() and (p < len(image)).all()]
    colour = np.max([image[int(y), int(x)] for x, y in inside], axis=0)
    x, y = head.landmarks[part]
    axes = np.array(((0.16, 0.12), (0.16, 0.12), (0.14, 0.10), (0.19, 0.10))[part]) * head.height * 16
    cv2.ellipse(
        made,
        (int(x * 16 - 8), int(y * 16 - 8)),
        (int(axes[0]), int(axes[1])),
        head.roll,
        0,
        360,
        tuple(map(int, colour)),
        -1,
        cv2.LINE_AA,
        4,
    )
    return made


def moved(image: Images, head: Head, part: int, offset: tuple[float, float]) -> Images:
    """A part cut out, its place painted over, and put somewhere else; the offset in eye distances."""
    rows, columns = np.mgrid[: len(image), : len(image)].astype(np.float32)
    dx, dy = np.array(offset) * head.eyes_apart
    shifted = cv2.remap(image, columns - np.float32(dx), rows - np.float32(dy), cv2.INTER_LINEAR)
    x, y = head.landmarks[part] + (dx, dy)
    away = np.hypot(columns + 0.5 - x, rows + 0.5 - y) / (0.13 * head.height)
    amount = np.clip((1.2 - away) / 0.4, 0.0, 1.0)[..., None]
    base = skin_over(image, head, part)
    return np.asarray(np.rint(base * (1 - amount) + shifted * amount), np.uint8)


def test_every_part_of_a_true_photo_is_in_its_place(
    finder: LandmarkFinder, unseen: tuple[Images, list[Head]]
) -> None:
    found = finder(*unseen)
    assert (found.in_place.mean(axis=0) >= 0.97).all()
    assert found.both_eyes.mean() >= 0.97
    assert (found.further_eyes > 0).mean() <= 0.03
    assert (np.nanmedian(found.distance_where_there, axis=0) < 2.5).all()  # % of the head's height


@pytest.mark.parametrize("part", range(4))
def test_a_part_under_skin_is_missed_and_the_others_are_not(
    finder: LandmarkFinder, unseen: tuple[Images, list[Head]], part: int
) -> None:
    images, heads = unseen
    found = finder(np.stack([skin_over(*each, part) for each in zip(images, heads, strict=True)]), heads)
    assert found.in_place[:, part].mean() <= 0.05
    others = [other for other in range(4) if other != part]
    assert found.in_place[:, others].mean() > 0.8
    if part < 2:
        assert found.both_eyes.mean() <= 0.05


@pytest.mark.parametrize(("part", "offset"), [(0, (0.0, -0.45)), (3, (0.0, 0.4)), (3, (0.5, 0.0))])
def test_a_part_elsewhere_is_misplaced(
    finder: LandmarkFinder, unseen: tuple[Images, list[Head]], part: int, offset: tuple[float, float]
) -> None:
    images, heads = unseen
    made = np.stack([moved(*each, part, offset) for each in zip(images, heads, strict=True)])
    found = finder(made, heads)
    assert found.in_place[:, part].mean() <= 0.1


def test_a_small_shift_is_measured(finder: LandmarkFinder, unseen: tuple[Images, list[Head]]) -> None:
    """The whole picture moved by 4 % of the head's height: still in place, and as far off as that."""
    images, heads = unseen
    offset = np.float32(0.04 * np.mean([head.height for head in heads]))
    rows, columns = np.mgrid[: images.shape[1], : images.shape[2]].astype(np.float32)
    made = [
        cv2.remap(each, columns - offset, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for each in images
    ]
    found = finder(np.stack(made).astype(np.uint8), heads)
    assert found.in_place.mean() > 0.95
    assert np.nanmedian(found.distance_where_there) == pytest.approx(4.0, abs=0.7)
    assert found.eyes_mean_offset == pytest.approx(4.0, abs=0.7)


def test_what_is_off_to_both_sides_is_not_always_off(
    finder: LandmarkFinder, unseen: tuple[Images, list[Head]]
) -> None:
    images, heads = unseen
    rows, columns = np.mgrid[: images.shape[1], : images.shape[2]].astype(np.float32)
    shift = 0.04 * float(np.mean([head.height for head in heads]))

    def shifted(image: NDArray[np.uint8], by: float) -> NDArray[np.uint8]:
        moved_to = columns - np.float32(by)
        made = cv2.remap(image, moved_to, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(made, np.uint8)

    both = np.stack([shifted(each, shift if n % 2 else -shift) for n, each in enumerate(images)])
    found = finder(both, heads)
    assert np.nanmedian(found.distance_where_there[:, :2]) == pytest.approx(4.0, abs=0.7)
    assert found.eyes_mean_offset < 1.0
    assert np.isnan(finder(np.full_like(images, 128), heads).eyes_mean_offset)


def test_mean_offset_is_of_each_eye_and_of_both_the_mean() -> None:
    """Of a face that is askew, both eyes together are off by nothing."""
    offset = np.zeros((2, 4, 2))
    offset[:, 0], offset[:, 1] = (0.0, 3.0), (0.0, -5.0)
    found = Found(np.ones((2, 4)), offset, np.ones((2, 4), np.bool_), np.zeros(2, np.int64))
    assert found.eyes_mean_offset == pytest.approx(4.0)
    assert found.distance[0].tolist() == [3.0, 5.0, 0.0, 0.0]
    found.answer[0, 0] = 0.0  # not there: its offset says nothing
    offset[0, 0] = (50.0, 50.0)
    assert found.eyes_mean_offset == pytest.approx(4.0)
    found.answer[1, 0] = 0.0
    assert np.isnan(found.eyes_mean_offset)


def test_a_third_eye_is_counted(finder: LandmarkFinder, unseen: tuple[Images, list[Head]]) -> None:
    images, heads = unseen
    made = []
    for image, head in zip(images, heads, strict=True):
        left, right, nose, mouth = head.landmarks
        # On the forehead, above the middle between the two.
        x, y = 0.5 * (right - left) / head.eyes_apart + 0.7 * (nose - mouth) / np.linalg.norm(nose - mouth)
        third = moved(image, head, 0, (float(x), float(y)))
        amount = (third != skin_over(image, head, 0)).any(axis=2)[..., None]
        made.append(np.where(amount, third, image))
    found = finder(np.stack(made), heads)
    assert (found.further_eyes > 0).mean() >= 0.9
    assert found.both_eyes.mean() <= 0.1


def test_nothing_is_found_in_a_blurred_face_or_a_flat_one(
    finder: LandmarkFinder, unseen: tuple[Images, list[Head]]
) -> None:
    images, heads = unseen
    size = images.shape[1]
    blurred = np.stack([cv2.GaussianBlur(each, (0, 0), size / 12) for each in images]).astype(np.uint8)
    small = mean_photo(SceneConfig(size=64), 60)  # has no detail that a larger one would show
    average = np.broadcast_to(cv2.resize(small, (size, size)).astype(np.uint8), images.shape)
    for made in (blurred, average, np.full_like(images, 128)):
        found = finder(made, heads)
        assert found.in_place.mean() <= 0.02
        assert not found.both_eyes.any()


def test_the_same_photos_make_the_same_filters() -> None:
    photos = render_learning_photos(SceneConfig(size=32), 12)
    one, two = (learn_landmark_finder(photos.images, photos.heads) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one.kernels, two.kernels, strict=True))
    assert one.offsets == two.offsets


def test_a_part_is_hidden_where_the_mask_covers_it() -> None:
    landmarks = np.array([(20.0, 30.0), (40.0, 30.0), (30.0, 38.0), (30.0, 46.0)])
    head = Head(landmarks, roll=0.0, height=48.0, eyes_apart=20.0)
    mask = np.zeros((2, 64, 64), np.bool_)
    mask[0, 20:40, 10:30] = True  # all of the left eye, of the nose the left half less a bit
    mask[1, 42:] = True
    assert hidden_parts(mask, [head, head]).tolist() == [[True, False, False, False], [False] * 3 + [True]]


def test_shares_are_split_by_what_is_hidden(
    finder: LandmarkFinder, unseen: tuple[Images, list[Head]]
) -> None:
    """Every second scene hides its left eye and shows none there."""
    images, heads = unseen[0][:10].copy(), unseen[1][:10]
    hidden = np.zeros((10, 4), np.bool_)
    hidden[::2, 0] = True
    for i in range(0, 10, 2):
        images[i] = skin_over(images[i], heads[i], 0)
    figures = parts_found(finder(images, heads), hidden)
    assert (figures["eyes_place"], figures["eyes_place_hidden"], figures["eyes_place_visible"]) == (
        50.0,
        0.0,
        100.0,
    )
    assert figures["mouth_place"] == figures["mouth_place_visible"]
    assert np.isnan(figures["mouth_place_hidden"])
    assert 0.0 < figures["eyes_distance"] < 2.5


def test_a_report_from_before_these_rows_is_read() -> None:
    path = Path(__file__).resolve().parents[1] / "examples" / "evaluation-64.json"
    text = table(report_from_json(path.read_text("utf-8")))
    assert "both eyes" in text
