"""What a run sees is a function of seed and iteration; bad folders are named."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from training_helpers import write_pictures

from getgan.errors import DataError
from getgan.models.tensors import images_from_tensor, tensor_from_images
from getgan.runtime.images import write_image
from getgan.training.config import DataConfig
from getgan.training.data import (
    Batches,
    augment,
    centre_crop,
    open_domains,
    open_folder,
)

PLAIN = DataConfig(size=32, load_size=32, flip=False, kind="faces")


@dataclass(frozen=True)
class Numbered:
    """Picture `index` is of the colour `index`."""

    count: int

    def picture(self, index: int) -> NDArray[np.uint8]:
        return np.full((32, 32, 3), index, np.uint8)


def numbers(images: Tensor) -> list[int]:
    return [int(image[0, 0, 0]) for image in images_from_tensor(images)]


def seen(
    iterations: range, *, count: int = 7, batch: int = 1, seed: int = 0, rank: int = 0, world: int = 1
) -> tuple[list[int], list[int]]:
    batches = Batches(PLAIN, (Numbered(count), Numbered(count)), batch, seed, rank, world)
    drawn = [batches.batch(n) for n in iterations]
    return [n for x, _ in drawn for n in numbers(x)], [n for _, y in drawn for n in numbers(y)]


def test_every_picture_once_an_epoch_in_an_order_of_its_own() -> None:
    x, y = seen(range(21))
    for one in (x, y):
        epochs = [one[0:7], one[7:14], one[14:21]]
        assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
        assert len(set(map(tuple, epochs))) == 3
    assert x != y  # unpaired: the two domains are shuffled apart


def test_a_batch_is_a_function_of_seed_and_iteration_alone() -> None:
    forward = seen(range(12), batch=2)
    backward = [seen(range(n, n + 1), batch=2) for n in reversed(range(12))]
    assert forward[0] == [n for x, _ in reversed(backward) for n in x]
    assert forward[1] == [n for _, y in reversed(backward) for n in y]
    assert forward != seen(range(12), batch=2, seed=1)


@pytest.mark.parametrize("batch", [1, 2])
def test_ranks_share_an_epoch_without_overlap(batch: int) -> None:
    ranks = [seen(range(4), count=8 * batch, batch=batch, rank=rank, world=2) for rank in range(2)]
    for domain in (0, 1):
        together = ranks[0][domain] + ranks[1][domain]
        assert sorted(together) == list(range(8 * batch))


def test_crop_and_mirror_are_drawn_anew_and_repeat_with_the_iteration(tmp_path: Path) -> None:
    for side in ("trainA", "trainB"):
        write_pictures(tmp_path / side, 2)
    data = DataConfig(kind="folders", root=str(tmp_path), size=32, load_size=40)
    batches = Batches(data, open_domains(data), 1, 5, 0, 1)
    first = [batches.batch(n) for n in range(12)]
    again = [batches.batch(n) for n in range(12)]
    assert all(
        torch.equal(a, b)
        for one, two in zip(first, again, strict=True)
        for a, b in zip(one, two, strict=True)
    )
    assert len({x.numpy().tobytes() for x, _ in first}) > 8  # two pictures, many crops
    x, _ = first[0]
    assert x.shape == (1, 3, 32, 32)
    assert x.dtype == torch.float32
    assert -1.0 <= float(x.min()) < float(x.max()) <= 1.0
    other = Batches(data, open_domains(data), 1, 6, 0, 1).batch(0)[0]
    assert not torch.equal(x, other)


def gradient_picture(height: int, width: int) -> NDArray[np.uint8]:
    """Red grows to the right, green downwards."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(width)[None]
    image[..., 1] = np.arange(height)[:, None]
    return image


def test_augment_crops_within_and_mirrors_half_of_the_time() -> None:
    data = DataConfig(kind="folders", root="x", size=32, load_size=48)
    image = gradient_picture(48, 60)
    lefts, tops, mirrored = set(), set(), 0
    for n in range(300):
        out = augment(image, data, np.random.default_rng(n))
        assert out.shape == (32, 32, 3)
        row = out[0, :, 0].astype(int)
        turned = bool(row[0] > row[-1])
        mirrored += turned
        row = row[::-1] if turned else row
        assert list(np.diff(row)) == [1] * 31
        lefts.add(int(row[0]))
        tops.add(int(out[0, 0, 1]))
    assert lefts == set(range(60 - 32 + 1))
    assert tops == set(range(48 - 32 + 1))
    assert 120 < mirrored < 180
    still = replace(data, flip=False)
    for n in range(20):
        row = augment(image, still, np.random.default_rng(n))[0, :, 0].astype(int)
        assert row[0] < row[-1]


def test_augment_resizes_the_shorter_side_and_leaves_faces_whole() -> None:
    data = DataConfig(kind="folders", root="x", size=32, load_size=32, flip=False)
    for height, width in ((64, 100), (100, 64), (16, 20), (33, 32)):
        out = augment(gradient_picture(height, width), data, np.random.default_rng(0))
        assert out.shape == (32, 32, 3)
    face = gradient_picture(32, 32)
    assert np.array_equal(augment(face, PLAIN, np.random.default_rng(0)), face)


def test_centre_crop_takes_the_middle() -> None:
    out = centre_crop(gradient_picture(32, 52), 32)
    assert np.array_equal(out[..., 0], np.tile(np.arange(10, 42, dtype=np.uint8), (32, 1)))
    assert centre_crop(gradient_picture(90, 40), 32).shape == (32, 32, 3)


def test_a_tensor_is_the_picture_in_minus_one_to_one() -> None:
    levels = np.arange(256, dtype=np.uint8)
    image = np.stack(
        [np.tile(levels, (2, 1)), np.tile(levels[::-1], (2, 1)), np.full((2, 256), 9, np.uint8)], -1
    )
    tensor = tensor_from_images(image[None])
    assert tensor.shape == (1, 3, 2, 256)
    assert float(tensor.min()) == -1.0
    assert float(tensor.max()) == 1.0
    assert np.array_equal(images_from_tensor(tensor)[0], image)
    beyond = torch.full((1, 3, 1, 1), 1.7)
    assert images_from_tensor(beyond).max() == 255
    assert images_from_tensor(-beyond).min() == 0


# Rendered faces.


def face_data(**options: int) -> DataConfig:
    return replace(PLAIN, **options)  # type: ignore[arg-type]


def test_endless_faces_never_repeat_and_fixed_ones_do() -> None:
    endless = Batches(face_data(count=0), open_domains(face_data(count=0)), 1, 0, 0, 1)
    pictures = [x.numpy().tobytes() for x, _ in (endless.batch(n) for n in range(12))]
    assert len(set(pictures)) == 12
    fixed = Batches(face_data(count=3), open_domains(face_data(count=3)), 1, 0, 0, 1)
    often = Counter(x.numpy().tobytes() for x, _ in (fixed.batch(n) for n in range(12)))
    assert sorted(often.values()) == [4, 4, 4]


def test_first_gives_runs_pictures_of_their_own_and_splits_differ() -> None:
    def pictures(split: str, **options: int) -> set[bytes]:
        return {
            domain.picture(n).tobytes()
            for domain in open_domains(face_data(**options), split)
            for n in range(3)
        }

    assert len(pictures("train", count=3)) == 6
    assert not pictures("train", count=3) & pictures("train", count=3, first=3)
    assert len(pictures("train", count=3) & pictures("train", count=3, first=2)) == 2
    assert not pictures("train", count=3) & pictures("test", count=3)
    assert pictures("train", count=3) == pictures("train", count=0)


def test_a_pose_range_that_cannot_be_rendered_is_named() -> None:
    with pytest.raises(DataError, match="yaw_x"):
        open_domains(replace(PLAIN, yaw_x=(-90.0, 0.0)))


# Folders.


def test_folders_are_a_and_b_of_the_split(tmp_path: Path) -> None:
    for name, count in (("trainA", 2), ("trainB", 3), ("testA", 4), ("testB", 5)):
        write_pictures(tmp_path / name, count)
    data = DataConfig(kind="folders", root=str(tmp_path), size=32, load_size=36)
    assert [domain.count for domain in open_domains(data)] == [2, 3]
    assert [domain.count for domain in open_domains(data, "test")] == [4, 5]
    image = open_domains(data)[1].picture(0)
    assert image.shape == (40, 48, 3)
    assert image.dtype == np.uint8


def test_bad_folders_are_named(tmp_path: Path) -> None:
    data = DataConfig(kind="folders", root=str(tmp_path), size=32, load_size=36)
    with pytest.raises(DataError, match=r"no folder .*trainA"):
        open_domains(data)
    write_pictures(tmp_path / "trainA", 2)
    with pytest.raises(DataError, match=r"no folder .*trainB"):
        open_domains(data)
    (tmp_path / "trainB").mkdir()
    (tmp_path / "trainB" / "notes.txt").write_text("no picture")
    with pytest.raises(DataError, match=r"trainB holds no image; wanted at least 2"):
        open_domains(data)
    write_image(tmp_path / "trainB" / "0.png", gradient_picture(40, 40))
    with pytest.raises(DataError, match=r"trainB holds one image; wanted at least 2"):
        open_domains(data)
    write_image(tmp_path / "trainB" / "1.png", gradient_picture(40, 40))
    assert open_domains(data)[1].count == 2


@pytest.mark.parametrize("damage", ["empty", "cut", "noise"])
def test_a_corrupt_picture_is_named(tmp_path: Path, damage: str) -> None:
    write_pictures(tmp_path / "trainA", 3)
    bad = tmp_path / "trainA" / "1.png"
    whole = bad.read_bytes()
    bad.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "noise": b"noise" * 99}[damage])
    folder = open_folder(tmp_path / "trainA")
    batches = Batches(
        DataConfig(kind="folders", root="x", size=32, load_size=32), (folder, folder), 3, 0, 0, 1
    )
    with pytest.raises(DataError) as error:
        batches.batch(0)
    assert str(bad) in str(error.value)
    assert "\n" not in str(error.value)
