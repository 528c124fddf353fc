"""Images read upright, as RGB, at 8 bit, from any path; written whole or not at all."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from getgan.errors import DataError, OutputError
from getgan.runtime.images import (
    MAX_BYTES,
    SUFFIXES,
    bytes_from_image,
    image_from_bytes,
    list_images,
    read_image,
    size_from_header,
    write_image,
)

LOSSLESS = [suffix for suffix in SUFFIXES if suffix not in (".jpg", ".jpeg")]


@pytest.fixture
def picture() -> NDArray[np.uint8]:
    """Red grows to the right, green downwards, blue is 7: a swap, a flip or a turn shows."""
    image = np.full((24, 40, 3), 7, np.uint8)
    image[..., 0] = np.arange(40) * 6
    image[..., 1] = np.arange(24)[:, None] * 10
    return image


def encoded(array: NDArray[Any], suffix: str = ".png") -> bytes:
    done, data = cv2.imencode(suffix, array)
    assert done
    return data.tobytes()


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_what_is_written_is_read_back(suffix: str, picture: NDArray[np.uint8], tmp_path: Path) -> None:
    path = tmp_path / f"얼굴 ü{suffix}"
    write_image(path, picture)
    assert np.array_equal(read_image(path), picture)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_jpeg_is_close(picture: NDArray[np.uint8], tmp_path: Path) -> None:
    write_image(tmp_path / "a.JPG", picture)
    assert np.abs(read_image(tmp_path / "a.JPG").astype(int) - picture).mean() < 4


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_header_tells_the_size(suffix: str, picture: NDArray[np.uint8]) -> None:
    assert size_from_header(bytes_from_image(picture, suffix)) == (24, 40)


def test_grey_alpha_and_16_bit_become_8_bit_rgb(picture: NDArray[np.uint8]) -> None:
    grey = picture[..., 0]
    assert np.array_equal(image_from_bytes(encoded(grey)), np.repeat(grey[..., None], 3, axis=2))
    alpha = np.dstack([picture[..., ::-1], np.full((24, 40, 1), 99, np.uint8)])
    assert np.array_equal(image_from_bytes(encoded(alpha)), picture)
    for suffix in (".png", ".tiff"):
        deep = picture[..., ::-1].astype(np.uint16) * 257
        assert np.array_equal(image_from_bytes(encoded(deep, suffix)), picture)
    levels = np.array([[0, 128, 129, 65406, 65407, 65535]], np.uint16)
    assert image_from_bytes(encoded(levels))[0, :, 0].tolist() == [0, 0, 1, 254, 255, 255]


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """The JPEG with an EXIF segment that states an orientation."""
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


@pytest.mark.parametrize(
    ("orientation", "turns", "mirrored"),
    [(1, 0, False), (2, 0, True), (3, 2, False), (6, 3, False), (8, 1, False)],
)
def test_exif_orientation_is_applied(
    orientation: int, turns: int, mirrored: bool, picture: NDArray[np.uint8]
) -> None:
    upright = image_from_bytes(bytes_from_image(picture, ".jpg"))
    wanted = np.rot90(upright[:, ::-1] if mirrored else upright, turns)
    read = image_from_bytes(with_orientation(bytes_from_image(picture, ".jpg"), orientation))
    assert np.array_equal(read, wanted)


# --- what is refused ------------------------------------------------------------------------------------


def refused(path: Path, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_image(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text


def test_a_missing_file_a_folder_and_an_empty_file(tmp_path: Path) -> None:
    refused(tmp_path / "gone.png", "no such file")
    refused(tmp_path, "is a folder")
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "empty.png", "empty file")


def test_something_else_under_an_images_name(tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    for content in (b"hello", b"GIF89a" + bytes(40), b"\x89PNG", b"\0" * 100):
        path.write_bytes(content)
        refused(path, "no image that getgan reads")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "no regular file")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_cut_file_is_refused_wherever_it_is_cut(
    suffix: str, picture: NDArray[np.uint8], tmp_path: Path
) -> None:
    data = bytes_from_image(picture, suffix)
    path = tmp_path / f"cut{suffix}"
    for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97):
        path.write_bytes(data[: max(4, int(len(data) * share))])
        refused(path, "cut off|damaged|cannot be decoded|no size")


def test_a_damaged_png_is_refused(picture: NDArray[np.uint8], tmp_path: Path) -> None:
    data = bytearray(bytes_from_image(picture, ".png"))
    middle = data.index(b"IDAT") + 12
    data[middle : middle + 40] = bytes(40)
    (tmp_path / "bad.png").write_bytes(data)
    refused(tmp_path / "bad.png", "damaged")


def test_a_huge_image_is_refused_by_its_header(picture: NDArray[np.uint8], tmp_path: Path) -> None:
    png = bytearray(bytes_from_image(picture, ".png"))
    png[16:24] = struct.pack(">II", 100_000, 100_000)
    jpeg = bytearray(bytes_from_image(picture, ".jpg"))
    frame = jpeg.index(b"\xff\xc0") + 5
    jpeg[frame : frame + 4] = struct.pack(">HH", 65_000, 65_000)
    for name, data in (("a.png", png), ("a.jpg", jpeg)):
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name, "wanted at most 64 megapixels")


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    with open(tmp_path / "a.bmp", "wb") as file:
        file.truncate(MAX_BYTES + 1)  # a hole, no blocks on the disk
    refused(tmp_path / "a.bmp", "wanted an image file of at most")


def test_float_pixels_are_refused() -> None:
    with pytest.raises(DataError, match="float32 pixels"):
        image_from_bytes(encoded(np.zeros((8, 8, 3), np.float32), ".tiff"))


# --- writing and listing --------------------------------------------------------------------------------


def test_an_unknown_suffix_and_a_missing_folder(picture: NDArray[np.uint8], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'\.webp'; wanted one of \.png"):
        write_image(tmp_path / "a.webp", picture)
    with pytest.raises(OutputError, match="mkdir -p"):
        write_image(tmp_path / "gone" / "a.png", picture)
    with pytest.raises(ValueError, match="wanted uint8"):
        write_image(tmp_path / "a.png", picture[..., 0])


def test_images_are_listed_in_natural_order(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".cache").mkdir()
    names = ["b10.png", "b2.PNG", "B1.jpg", "notes.txt", ".hidden.png", "sub/a.tif", ".cache/a.png", "3.bmp"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    flat = [path.name for path in list_images(tmp_path)]
    assert flat == ["3.bmp", "B1.jpg", "b2.PNG", "b10.png"]
    deep = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path, recursive=True)]
    assert deep == [*flat, "sub/a.tif"]
    with pytest.raises(DataError, match="is missing"):
        list_images(tmp_path / "gone")
    with pytest.raises(DataError, match="is no folder"):
        list_images(tmp_path / "notes.txt")
