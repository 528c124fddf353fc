"""Images read upright, as RGB, at 8 bit, from any path; written whole or not at all."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from fuzzing import fuzz
from image_helpers import (
    PNG_MAGIC,
    chunk,
    encoded,
    exif,
    ihdr,
    long,
    png,
    saved,
    segment,
    short,
    tiff,
    with_exif,
    zeros,
)
from numpy.typing import NDArray
from PIL import Image

from getgan.errors import DataError, OutputError
from getgan.runtime.images import (
    MAX_BYTES,
    SUFFIXES,
    bytes_from_image,
    image_from_bytes,
    list_images,
    read_image,
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


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_what_is_written_is_read_back(suffix: str, picture: NDArray[np.uint8], tmp_path: Path) -> None:
    path = tmp_path / f"얼굴 ü{suffix}"
    write_image(path, picture)
    assert np.array_equal(read_image(path), picture)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_jpeg_is_close(picture: NDArray[np.uint8], tmp_path: Path) -> None:
    write_image(tmp_path / "a.JPG", picture)
    assert np.abs(read_image(tmp_path / "a.JPG").astype(int) - picture).mean() < 4


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


@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff"])
@pytest.mark.parametrize("orientation", range(9))
def test_exif_orientation_is_applied(orientation: int, kind: str, picture: NDArray[np.uint8]) -> None:
    """The eight of EXIF; 0 is none of them, and turns nothing."""
    if kind == "jpeg":
        plain = bytes_from_image(picture, ".jpg")
        turned = with_exif(plain, exif(orientation))
    elif kind == "png":
        plain = bytes_from_image(picture, ".png")
        turned = plain[:33] + chunk(b"eXIf", exif(orientation)) + plain[33:]
    else:
        plain = tiff(40, 24, picture[..., 0].tobytes())
        turned = tiff(40, 24, picture[..., 0].tobytes(), t274=short(orientation))
    stored = image_from_bytes(plain)
    wanted = {
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1),
        7: stored[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(stored),
    }.get(orientation, stored)
    read = image_from_bytes(turned)
    assert np.array_equal(read, wanted)
    assert read.flags.c_contiguous and read.flags.writeable


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_tiff_is_rounded(channels: int, compression: int, order: str) -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (24, 40, channels), dtype=np.uint16)
    raw = levels.astype(order + "u2").tobytes()
    data = tiff(
        40,
        24,
        zlib.compress(raw) if compression == 8 else raw,
        order,
        t258=(3, channels, struct.pack(f"{order}{channels}H", *[16] * channels)),
        t259=short(compression, order),
        t262=short(1 if channels == 1 else 2, order),
        t277=short(channels, order),
        t338=(3, int(channels == 4), struct.pack(order + "H", 2)),
    )
    wanted = (levels.astype(int) + 128) // 257
    assert np.array_equal(image_from_bytes(data), np.broadcast_to(wanted[..., :3], (24, 40, 3)))


def test_16_bit_grey_with_transparency_is_rounded() -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (24, 40, 2), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    data = PNG_MAGIC + ihdr(40, 24, 16, 4) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert np.array_equal(image_from_bytes(data)[..., 2], (levels[..., 0].astype(int) + 128) // 257)


def test_other_kinds_of_the_same_picture(picture: NDArray[np.uint8]) -> None:
    image = Image.fromarray(picture)
    few = image.quantize(12)
    for kind in ("PNG", "BMP", "TIFF"):
        assert np.array_equal(image_from_bytes(saved(few, kind)), np.asarray(few.convert("RGB")))
        black = image.convert("1")
        assert np.array_equal(image_from_bytes(saved(black, kind)), np.asarray(black.convert("RGB")))
    for packed in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        assert np.array_equal(image_from_bytes(saved(image, "TIFF", compression=packed)), picture)
    clear = image.copy()
    clear.putalpha(image.getchannel(0))
    assert np.array_equal(image_from_bytes(saved(clear, "TIFF")), picture)  # its colours are kept whole
    tiles = np.zeros((32, 64), np.uint8)
    tiles[:24, :40] = picture[..., 0]
    halves = tiles[:, :32].tobytes() + tiles[:, 32:].tobytes()
    tiled = tiff(40, 24, halves, t322=long(32), t323=long(32), t324=long(8, 8 + 1024), t325=long(1024, 1024))
    assert np.array_equal(image_from_bytes(tiled)[..., 0], picture[..., 0])
    ink = image_from_bytes(saved(image.convert("CMYK"), "JPEG", quality=100, subsampling=0))
    assert np.abs(ink.astype(int) - picture).max() < 6


@pytest.mark.parametrize(
    "options", [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]]
)
def test_jpeg_is_decoded_as_opencv_does(options: list[int]) -> None:
    levels = cv2.blur(np.random.default_rng(0).integers(0, 255, (97, 131, 3), dtype=np.uint8), (3, 3))
    for sampling in (cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444):
        done, data = cv2.imencode(".jpg", levels, [*options, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling])
        assert done
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert decoded is not None
        assert np.array_equal(image_from_bytes(data.tobytes()), decoded[..., ::-1])


def test_a_large_picture_is_turned_in_bands() -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (1300, 1700, 3), dtype=np.uint16)
    read = image_from_bytes(encoded(levels[..., ::-1]))
    assert np.array_equal(read, (levels.astype(np.uint32) + 128) // 257)


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


def test_a_small_png_is_the_same_picture(tmp_path: Path) -> None:
    grain = np.random.default_rng(1).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    scan = np.asarray(cv2.GaussianBlur(grain, (0, 0), 3.0), np.uint8)
    plain, small = (bytes_from_image(scan, small=small) for small in (False, True))
    assert len(small) < 0.9 * len(plain)
    (tmp_path / "small.png").write_bytes(small)
    assert np.array_equal(read_image(tmp_path / "small.png"), scan)
    assert bytes_from_image(scan, ".jpg", small=True) == bytes_from_image(scan, ".jpg")


def test_a_damaged_png_is_refused(picture: NDArray[np.uint8], tmp_path: Path) -> None:
    data = bytearray(bytes_from_image(picture, ".png"))
    middle = data.index(b"IDAT") + 12
    data[middle : middle + 40] = bytes(40)
    (tmp_path / "bad.png").write_bytes(data)
    refused(tmp_path / "bad.png", "damaged")


def test_damage_that_a_tiffs_compression_notices_is_refused() -> None:
    levels = cv2.blur(np.random.default_rng(0).integers(0, 255, (97, 131, 3), dtype=np.uint8), (3, 3))
    for packed in ("tiff_lzw", "tiff_adobe_deflate"):
        data = bytearray(saved(Image.fromarray(levels), "TIFF", compression=packed))
        middle = len(data) // 2
        data[middle : middle + 40] = b"\xff" * 40
        with pytest.raises(DataError, match="TIFF file is damaged"):
            image_from_bytes(bytes(data))


def test_a_huge_image_is_refused_by_its_header(picture: NDArray[np.uint8], tmp_path: Path) -> None:
    jpeg = bytearray(bytes_from_image(picture, ".jpg"))
    frame = jpeg.index(b"\xff\xc0") + 5
    jpeg[frame : frame + 4] = struct.pack(">HH", 65_000, 65_000)
    idat = chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    huge = {
        "a.png": PNG_MAGIC + ihdr(100_000, 100_000) + idat,
        "b.png": PNG_MAGIC + ihdr(1, 1_000_001) + idat,
        "a.jpg": bytes(jpeg),
        "a.bmp": b"BM"
        + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 9000, 9000, 1, 24, 0, 0, 0, 0, 0, 0),
        "a.tif": tiff(9000, 9000, b"0" * 99, t259=short(8), t278=long(9)),
    }
    for name, data in huge.items():
        (tmp_path / name).write_bytes(data)
        refused(
            tmp_path / name,
            "wanted at most 25 megapixels, 1,000,000 on a side|too many parts|too large parts",
        )


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    with open(tmp_path / "a.bmp", "wb") as file:
        file.truncate(MAX_BYTES + 1)  # a hole, no blocks on the disk
    refused(tmp_path / "a.bmp", "wanted an image file of at most")


def test_other_pixels_are_refused() -> None:
    odd = {"t258": short(32), "t339": short(3)}  # 32-bit floating point
    with pytest.raises(DataError, match="found other pixels than 8 or 16 bit unsigned"):
        image_from_bytes(tiff(8, 8, bytes(256), **odd))
    signed = {"t258": short(16), "t339": short(2)}
    with pytest.raises(DataError, match="found other pixels than 8 or 16 bit unsigned"):
        image_from_bytes(tiff(8, 8, bytes(128), **signed))
    with pytest.raises(DataError, match="each colour apart, or white as zero"):
        image_from_bytes(tiff(8, 8, bytes(128), t258=short(16), t262=short(0)))
    with pytest.raises(DataError, match=r"another compression .* than none, LZW, Deflate, PackBits"):
        image_from_bytes(saved(Image.new("RGB", (8, 8)), "TIFF", compression="jpeg"))


# --- small files that were made to do damage --------------------------------------------------------------


def scans(jpeg: bytes, count: int) -> bytes:
    """A progressive JPEG with its last scan so many times."""
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:last] + jpeg[last:-2] * count + b"\xff\xd9"


def entries_at_one_place(count: int, size: int) -> bytes:
    """A TIFF directory of which each entry claims the same bytes."""
    table = b"".join(struct.pack("<HHII", 1000 + number, 7, size, 0) for number in range(count))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", count) + table + bytes(4)


def test_what_small_files_cost() -> None:
    """Before these limits: 4.1 GB and 7 s, 1.8 GB, 7 s, 5 s. Those that are legal here cost 200 to 350 MB."""
    small = saved(Image.new("RGB", (60, 40)), "JPEG")
    lying = png(1000, 1000)
    start = lying.index(b"IDAT")
    progressive = saved(Image.new("RGB", (4000, 3000)), "JPEG", progressive=True)
    picture = chunk(b"IDAT", zeros(181 * 40)) + chunk(b"IEND", b"")
    part = zeros(4096 * 4096 * 8)
    tiled = {"t322": long(4096), "t323": long(4096), "t324": long(8, 8, 8, 8), "t325": long(*[len(part)] * 4)}
    rgba = {"t258": (3, 4, struct.pack("<4H", 16, 16, 16, 16)), "t262": short(2), "t277": short(4)}
    rgba |= {"t338": short(2), "t259": short(8)}
    hostile = [
        lying[: start - 4] + b"\xff\xff\xff\xf0" + lying[start:],
        png(8000, 8000, 16),
        png(5000, 5000, 16, 6),
        scans(progressive, 1000),
        scans(progressive, 30),
        small[:2] + segment(0xEF, b"") * 2_000_000 + small[2:],
        small[:2] + b"\xff" * 8_000_000 + small[2:],
        with_exif(small, entries_at_one_place(5000, 60_000)),
        PNG_MAGIC + ihdr(60, 40) + chunk(b"IDAT", b"") * 1_000_000 + picture,
        PNG_MAGIC + ihdr(60, 40) + chunk(b"eXIf", entries_at_one_place(60_000, 700_000)) + picture,
        png(60, 40, 8, 2, chunk(b"zTXt", b"a\0\0" + zeros(60_000_000))),
        tiff(5000, 5000, zeros(8 * 5000 * 100), t278=long(100), **rgba),
        tiff(5000, 5000, part, **rgba, **tiled),
        tiff(60, 40, b"", t256=(16, 1, struct.pack("<Q", 60_000))),
        tiff(60, 40, bytes(2400), t273=long(*[8] * 60_000), t278=long(1)),
    ]
    fuzz(image_from_bytes, [png(16, 16), small, tiff(16, 16, bytes(256))], rounds=0, seed=0, known=hostile)


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


def test_a_tiff_whose_values_lie_upon_each_other_is_damaged(capfd: pytest.CaptureFixture[str]) -> None:
    """Found by fuzzing: Pillow warned of it on stderr."""
    data = bytearray(saved(Image.fromarray(np.zeros((48, 64), np.uint8)).convert("P"), "TIFF"))
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, entry)[0] == 258:  # bits: a thousand of them, where others lie
            struct.pack_into("<HII", data, entry + 2, 3, len(data) // 2 - 400, 8)
    with pytest.raises(DataError, match="TIFF file is damaged; copy"):
        image_from_bytes(bytes(data))
    assert capfd.readouterr().err == ""
