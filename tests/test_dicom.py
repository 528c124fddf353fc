"""DICOM files become the picture of the scan, or one line that says why not and never who the patient is."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_helpers import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    JPEG,
    JPEG_2000,
    RLE,
    deflated,
    element,
    fragments,
    image,
    item,
    meta,
    pixels,
)
from fuzzing import fuzz
from image_helpers import saved
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from getgan.clinic.codecs import CodecProcess
from getgan.clinic.dicom import open_dicom, read_frames, tissue_region
from getgan.clinic.examples import EXAMPLES, example_frames
from getgan.errors import DataError

PATIENT = "Holzapfel"


def shipped(name: str) -> Path:
    """A file that lies in pydicom's wheel."""
    path = get_testdata_file(name, download=False)
    assert path, f"{name} is not in this pydicom"
    return Path(str(path))


def write(path: Path, pixels: NDArray[Any] | None, *, stored: int = 0, **fields: Any) -> Path:
    """A DICOM file of one frame (H, W) grey or (H, W, 3) RGB, of a patient with a name; returns its path."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.PatientName = f"{PATIENT}^Anna"
    dataset.PatientID = dataset.AccessionNumber = f"{PATIENT}-4711"
    if pixels is not None:
        dataset.Rows, dataset.Columns = pixels.shape[:2]
        dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
        if pixels.ndim == 3:
            dataset.PlanarConfiguration = 0
        dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
        dataset.BitsAllocated = 8 * pixels.dtype.itemsize
        dataset.BitsStored = stored or dataset.BitsAllocated
        dataset.HighBit = dataset.BitsStored - 1
        dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
        dataset.PixelData = pixels.tobytes()
        dataset["PixelData"].VR = "OW" if pixels.dtype.itemsize > 1 else "OB"
    for name, value in fields.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def region(top: int, bottom: int, left: int, right: int, kind: tuple[int, int] = (1, 1)) -> Dataset:
    """Corners as devices state them: the last row and column lie inside."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType = kind
    item.RegionLocationMinY0, item.RegionLocationMaxY1 = top, bottom
    item.RegionLocationMinX0, item.RegionLocationMaxX1 = left, right
    return item


def ramp(height: int = 40, width: int = 60) -> NDArray[np.uint8]:
    """Every row and column differs from the next."""
    y, x = np.mgrid[:height, :width]
    return np.asarray(3 * x + 2 * y, np.uint8)


def refused(path: Path) -> str:
    """The one line with which a file is refused; neither it nor what a log would show names the patient."""
    with pytest.raises(DataError) as caught:
        read_frames(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert PATIENT.lower() not in "".join(traceback.format_exception(caught.value)).lower()
    return str(caught.value)


@pytest.fixture(autouse=True)
def nothing_else_is_told(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Any:
    """pydicom logs and warns with what it finds odd."""
    yield
    out, err = capfd.readouterr()
    assert PATIENT.lower() not in (out + err + caplog.text).lower()


# --- real files ------------------------------------------------------------------------------------------


def test_the_examples_are_there_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object) -> None:
        raise AssertionError("an example is downloaded")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    frames = dict(example_frames())
    assert list(frames) == list(EXAMPLES)
    assert {name: frame.shape for name, frame in frames.items()} == {
        "heart-no-face": (240, 320, 3),
        "lymph-node-no-face": (240, 320, 3),
        "probe-in-air-no-face": (290, 680, 3),
    }
    for frame in frames.values():
        assert frame.dtype == np.uint8 and frame.flags.c_contiguous
        assert frame.std() > 10


def test_the_screen_around_the_scan_is_cut_off() -> None:
    path = shipped("examples_palette.dcm")
    dataset = dcmread(path)
    assert tissue_region(dataset) == (60, 350, 120, 800)  # the file says 60 to 518, 120 to 800, in 350x800
    (frame,) = read_frames(path)
    blue = frame[..., 2].astype(int) - frame[..., 0] > 60
    assert blue.mean() < 0.002  # a blue bar with the date goes over the screen's upper sixth
    assert frame[20:40, 280:420].mean() > 60  # where the probe touches


def test_a_region_that_was_not_made_smaller_with_the_picture_cuts_nothing_off() -> None:
    path = shipped("examples_ybr_color.dcm")
    dataset = dcmread(path)
    (found,) = dataset.SequenceOfUltrasoundRegions
    assert (found.RegionLocationMaxX1, found.RegionLocationMaxY1) == (595, 414)
    assert (dataset.Columns, dataset.Rows) == (320, 240)
    assert tissue_region(dataset) is None
    assert read_frames(path)[0].shape == (240, 320, 3)


def test_ybr_becomes_rgb_and_a_clip_gives_as_many_frames_as_asked() -> None:
    path = shipped("examples_ybr_color.dcm")
    frames = read_frames(path, limit=3)
    assert len(frames) == 3
    assert not np.array_equal(frames[0], frames[2])
    scan = frames[0][30:200, 50:290].astype(int)
    assert np.abs(scan[..., 0] - scan[..., 2]).mean() < 3  # speckle is grey
    marker = frames[0][19:22, 188:192].reshape(-1, 3).mean(axis=0)
    assert marker[1] > marker[0] + 40  # a green dot
    assert len(read_frames(path, limit=100)) == 30


def test_colours_in_either_byte_order() -> None:
    (frame,) = read_frames(shipped("ExplVR_BigEnd.dcm"))
    assert frame.shape == (60, 80, 3)
    red, green, blue = frame.reshape(-1, 3).mean(axis=0)
    assert min(red, green) > 240 and blue < 30  # yellow
    (frame,) = read_frames(shipped("examples_rgb_color.dcm"))
    assert np.array_equal(frame, pixel_array(shipped("examples_rgb_color.dcm")))


def test_twelve_bit_grey_of_a_real_device() -> None:
    path = shipped("examples_overlay.dcm")
    (frame,) = read_frames(path)
    assert np.array_equal(frame[..., 0], pixel_array(path) >> 4)
    assert np.array_equal(frame[..., 0], frame[..., 2])


# --- bits and meanings of grey ---------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [10, 12, 16])
def test_more_than_eight_bits_are_scaled_by_what_is_stored(stored: int, tmp_path: Path) -> None:
    levels = np.linspace(0, 2**stored - 1, 40 * 60).astype(np.uint16).reshape(40, 60)
    for name, array in (("grey", levels), ("rgb", np.repeat(levels[:, :, None], 3, axis=2))):
        (frame,) = read_frames(write(tmp_path / name, array, stored=stored))
        assert frame.shape == (40, 60, 3) and frame.dtype == np.uint8
        assert np.array_equal(frame[..., 1], levels >> (stored - 8))
        assert (frame.min(), frame.max()) == (0, 255)


def test_bits_above_the_stored_ones_do_not_wrap_around(tmp_path: Path) -> None:
    levels = np.full((20, 20), 0x0FFF, np.uint16)
    levels[5] |= 0x1000  # an overlay's bit
    (frame,) = read_frames(write(tmp_path / "a", levels, stored=12))
    assert frame[0].min() == 255
    assert frame[5].min() == 255


def test_monochrome1_is_white_where_it_is_zero(tmp_path: Path) -> None:
    (frame,) = read_frames(write(tmp_path / "a", ramp(), PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(frame[..., 0], 255 - ramp())
    wide = np.full((20, 20), 4095, np.uint16)
    wide[3, 4] = 0
    (frame,) = read_frames(write(tmp_path / "b", wide, stored=12, PhotometricInterpretation="MONOCHROME1"))
    assert (frame[0, 0, 0], frame[3, 4, 0]) == (0, 255)


@pytest.mark.parametrize("kind", [np.int16, np.int8, np.uint32])
def test_pixels_of_another_kind_are_refused(kind: type[np.generic], tmp_path: Path) -> None:
    text = refused(write(tmp_path / "a", np.ones((20, 20), kind)))
    assert f"found {np.dtype(kind)} pixels; wanted 8 or 16 bit unsigned: export it as PNG" in text


# --- the region ------------------------------------------------------------------------------------------


def test_the_picture_is_cut_to_the_largest_tissue_region(tmp_path: Path) -> None:
    regions = [
        region(0, 16, 0, 16),
        region(5, 34, 10, 49),
        region(0, 39, 0, 59, kind=(3, 3)),  # a Doppler curve
        region(0, 39, 0, 59, kind=(1, 2)),  # colour flow, not tissue
    ]
    (frame,) = read_frames(write(tmp_path / "a", ramp(), SequenceOfUltrasoundRegions=regions))
    assert np.array_equal(frame[..., 0], ramp()[5:35, 10:50])
    assert frame.flags.c_contiguous


@pytest.mark.parametrize(
    ("stated", "shape"),
    [
        (region(0, 39, 0, 59), (40, 60)),
        (region(0, 29, 2**32 - 30, 29), (30, 30)),  # x0 = -30, in an unsigned field: the left half
        (region(2**32 - 5, 39, 20, 59), (40, 40)),
        (region(0, 40, 0, 60), (40, 60)),  # one past the edge
        (region(10, 200, 0, 60), (30, 60)),  # cut off below
        (region(0, 40, 20, 300), (40, 40)),  # cut off at the right
        (region(10, 79, 10, 119), (40, 60)),  # for twice the picture: all of it is kept
        (region(50, 90, 0, 59), (40, 60)),  # outside
        (region(5, 15, 0, 59), (40, 60)),  # too small
        (region(30, 5, 40, 5), (40, 60)),  # upside down
    ],
)
def test_regions_that_reach_beyond_the_picture(
    stated: Dataset, shape: tuple[int, int], tmp_path: Path
) -> None:
    (frame,) = read_frames(write(tmp_path / "a", ramp(), SequenceOfUltrasoundRegions=[stated]))
    assert frame.shape == (*shape, 3)


def test_a_region_that_begins_before_the_picture_is_clamped(tmp_path: Path) -> None:
    """A corner of -30, in a signed field against the standard, gave the right-hand columns."""
    stated = region(0, 39, 0, 29)
    stated.add_new("RegionLocationMinX0", "SL", -30)
    stated.add_new("RegionLocationMinY0", "SL", -5)
    (frame,) = read_frames(write(tmp_path / "a", ramp(), SequenceOfUltrasoundRegions=[stated]))
    assert np.array_equal(frame[..., 0], ramp()[:40, :30])


# --- what cannot be read ---------------------------------------------------------------------------------


def test_no_picture_and_no_size(tmp_path: Path) -> None:
    assert "holds no picture, or is cut off before it; wanted an image" in refused(
        write(tmp_path / "a", None)
    )
    refused(write(tmp_path / "b", None, BitsAllocated=8, PixelData=bytes(400)))


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "a", np.repeat(ramp()[:, :, None], 3, axis=2)).read_bytes()
    for share in (0.02, 0.05, 0.1, 0.5, 0.99):
        (tmp_path / "a").write_bytes(data[: int(len(data) * share)])
        refused(tmp_path / "a")
    data = shipped("SC_rgb_jpeg_dcmtk.dcm").read_bytes()
    (tmp_path / "b").write_bytes(data[: len(data) // 2])
    assert "is cut off" in refused(tmp_path / "b")


def test_a_whole_file_around_a_jpeg_that_is_cut_off(tmp_path: Path) -> None:
    dataset = dcmread(shipped("SC_rgb_jpeg_dcmtk.dcm"))
    jpeg = next(generate_frames(dataset.PixelData, number_of_frames=1))
    dataset.PatientName = PATIENT
    dataset.PixelData = encapsulate([jpeg[: len(jpeg) // 2]])
    dataset.save_as(tmp_path / "a")
    assert "is cut off, damaged or of an unknown kind" in refused(tmp_path / "a")


def test_what_is_no_dicom_file(tmp_path: Path) -> None:
    (tmp_path / "text.dcm").write_text(f"patient: {PATIENT}\n" * 50)
    (tmp_path / "png.dcm").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(400))
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "zeros.dcm").write_bytes(bytes(4000))
    for name in ("text.dcm", "png.dcm", "empty.dcm", "zeros.dcm"):
        assert "is no DICOM file; wanted one with a preamble" in refused(tmp_path / name)
    assert "cannot be read (No such file or directory)" in refused(tmp_path / "gone.dcm")
    assert "cannot be read (Is a directory)" in refused(tmp_path)


def test_too_large_a_picture_is_refused_before_decoding(tmp_path: Path) -> None:
    path = write(tmp_path / "a", ramp(), Rows=12_000, Columns=12_000)
    assert "found 12000x12000 pixels; wanted at most 8.3 megapixels" in refused(path)


def test_values_that_the_message_of_a_library_would_quote(tmp_path: Path) -> None:
    refused(write(tmp_path / "a", ramp(), PhotometricInterpretation=PATIENT.upper()))
    path = write(tmp_path / "b", ramp(), NumberOfFrames="123456789")
    path.write_bytes(path.read_bytes().replace(b"123456789 ", PATIENT.encode() + b" "))
    assert b"IS\x0a\x00" + PATIENT.encode() in path.read_bytes()
    refused(path)
    refused(write(tmp_path / "c", ramp(), Rows=0))
    refused(write(tmp_path / "d", ramp(), Rows=41))


# --- compressed files ------------------------------------------------------------------------------------

# As where these packages are not installed.
WITHOUT = (
    "import sys; sys.modules.update(dict.fromkeys(sys.argv[2:])); from pathlib import Path;"
    "from getgan.clinic.dicom import read_frames; from getgan.errors import DataError\n"
    "try:\n    print(read_frames(Path(sys.argv[1]))[0].shape)\n"
    "except DataError as error:\n    print(error)"
)


def read_without(name: str, *packages: str) -> str:
    command = [sys.executable, "-c", WITHOUT, str(shipped(name)), *packages]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    return done.stdout


def test_jpeg_is_read_with_pillow() -> None:
    (frame,) = read_frames(shipped("SC_rgb_jpeg_dcmtk.dcm"))
    assert frame.shape == (100, 100, 3)
    assert np.abs(frame.astype(int) - read_frames(shipped("SC_rgb_rle.dcm"))[0]).mean() < 2
    assert read_frames(shipped("examples_jpeg2k.dcm"))[0].shape == (480, 640, 3)


def test_what_is_compressed_names_the_package_that_it_needs() -> None:
    others = ("gdcm", "pylibjpeg", "jpeg_ls")
    for name, kind in (("examples_ybr_color.dcm", "JPEG Baseline"), ("examples_jpeg2k.dcm", "JPEG 2000")):
        text = read_without(name, "PIL", *others)
        assert f"is compressed as {kind}" in text
        assert "pip install 'getgan[dicom]', or export it as PNG" in text
    text = read_without("SC_rgb_jpeg_gdcm.dcm", *others)
    assert "is compressed as JPEG Lossless" in text
    assert "pip install 'getgan[dicom]', or export it as PNG" in text
    assert "pylibjpeg" not in text  # its codec is under the GPL


@pytest.mark.parametrize(("kind", "name"), [("jpeg_gdcm", "JPEG Lossless"), ("jls_lossy_line", "JPEG-LS")])
def test_what_gdcm_decodes(kind: str, name: str) -> None:
    path = shipped(f"SC_rgb_{kind}.dcm")
    assert name in dcmread(path).file_meta.TransferSyntaxUID.name
    frame = read_frames(path)[0].astype(int)
    assert np.abs(frame - read_frames(shipped("SC_rgb_rle.dcm"))[0]).max() <= 3


def test_twelve_bit_jpeg_of_a_real_device() -> None:
    path = shipped("JPGExtended.dcm")
    (frame,) = read_frames(path)
    assert frame.shape == (1024, 256, 3)
    # As dcmtk's decoder has them: 244 and 95, and 264 at most.
    assert (frame[420, 140, 0], frame[230, 120, 0], frame.max()) == (244 >> 4, 95 >> 4, 264 >> 4)
    for packages in (("gdcm",), ("gdcm", "PIL")):
        text = read_without("JPGExtended.dcm", *packages)
        assert "is compressed as 12-bit JPEG, which nothing here decodes: pip install 'getgan[dicom]'" in text
    dataset = dcmread(path)
    jpeg = next(generate_frames(dataset.PixelData, number_of_frames=1))
    for syntax in (JPEG, dataset.file_meta.TransferSyntaxUID):
        with pytest.raises(DataError, match="found 12-bit JPEG in a file that states 8 bit"):
            open_dicom(meta(syntax) + image(1024, 256) + fragments(jpeg)).frame(0)


def test_eight_bit_jpeg_in_a_file_that_states_twelve_is_refused() -> None:
    jpeg = saved(Image.fromarray(ramp()), "JPEG")
    body = image(40, 60, bits=16).replace(
        element(0x00280101, b"US", b"\x10\0"), element(0x00280101, b"US", b"\x0c\0")
    ) + fragments(jpeg)
    with pytest.raises(DataError, match="damaged or of an unknown kind"):
        open_dicom(meta("1.2.840.10008.1.2.4.51") + body).frame(0)


def test_a_decoder_that_dies_or_hangs_costs_one_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    data = shipped("SC_rgb_jpeg_gdcm.dcm").read_bytes()
    sound = open_dicom(data).frame(0)
    damaged = bytearray(data)
    for place, value in ((1372, 255), (1374, 0), (1376, 0), (1378, 0), (1379, 0)):
        damaged[place] = value  # in the Huffman table: gdcm ends the process that it runs in
    with pytest.raises(DataError, match="its decoder broke down"):
        open_dicom(bytes(damaged)).frame(0)
    assert (open_dicom(data).frame(0) == sound).all()
    monkeypatch.setattr("getgan.clinic.codecs.SECONDS", 0.3)
    monkeypatch.setattr("getgan.runtime.worker.START", "import time; time.sleep(60)")
    with contextlib.closing(CodecProcess()) as hanging, pytest.raises(DataError, match="broke down"):
        hanging.decode(b"", "1.2.840.10008.1.2.4.70", {})


def test_a_compressed_clip_gives_its_frames_one_by_one() -> None:
    levels = [np.full((40, 60, 3), 40 * number, np.uint8) for number in range(1, 6)]
    clip = [saved(Image.fromarray(level), "JPEG", quality=100) for level in levels]
    halves = [part for frame in clip for part in (frame[:300], frame[300:])]
    for parts in (clip, halves):
        frames = open_dicom(meta(JPEG) + image(40, 60, 3, b"YBR_FULL_422", frames=b"5") + fragments(*parts))
        assert (frames.count, frames.fps, frames.region) == (5, None, None)
        assert [int(frames.frame(index).mean().round()) for index in (4, 0, 2)] == [200, 40, 120]
        with pytest.raises(IndexError):
            frames.frame(5)


def test_the_rate_of_a_clip() -> None:
    frames = open_dicom(shipped("examples_ybr_color.dcm").read_bytes())
    assert (frames.count, frames.region) == (30, None)
    assert np.array_equal(frames.frame(2), read_frames(shipped("examples_ybr_color.dcm"), 3)[2])
    body = image(8, 8, frames=b"2") + pixels(bytes(128))
    for rate, fps in ((element(0x00181063, b"DS", b"40"), 25), (element(0x00180040, b"IS", b"50"), 50)):
        assert open_dicom(meta(EXPLICIT) + rate + body).fps == fps
    assert open_dicom(meta(EXPLICIT) + element(0x00181063, b"DS", b"1e-9") + body).fps is None


# --- palettes, and the other byte order -------------------------------------------------------------------


@pytest.mark.parametrize(("syntax", "order"), [(EXPLICIT, "<"), (BIG_ENDIAN, ">")])
@pytest.mark.parametrize("kind", ["16 bit", "8 bit in words", "8 bit in the lower byte", "segments"])
def test_palettes_in_either_byte_order(kind: str, syntax: str, order: str) -> None:
    """pydicom takes the words of a big-endian palette for little-endian: the picture was black."""
    levels = np.arange(256)
    colours = {1: levels, 2: levels[::-1], 3: levels // 2}
    body = image(16, 16, 1, b"PALETTE COLOR", order)
    described, stored = b"", b""
    for number, colour in colours.items():
        bits = 8 if kind.startswith("8") else 16
        described += element(
            0x00281100 + number, b"US", np.array([256, 0, bits]).astype(order + "u2").tobytes(), order
        )
        if kind == "8 bit in words":
            words = colour.astype("u1").tobytes()
            raw = words if order == "<" else np.frombuffer(words, "<u2").byteswap().tobytes()
        elif kind == "segments":  # one value, then a line to the other end
            ends = [0, 1, colour[0] * 256, 1, 255, colour[255] * 256]
            raw = np.array(ends).astype(order + "u2").tobytes()
        else:
            raw = (colour * (256 if bits == 16 else 1)).astype(order + "u2").tobytes()
        stored += element((0x00281220 if kind == "segments" else 0x00281200) + number, b"OW", raw, order)
    frame = open_dicom(
        meta(syntax) + body + described + stored + pixels(bytes(range(256)), order=order)
    ).frame(0)
    wanted = np.stack(list(colours.values()), axis=1).reshape(16, 16, 3)
    assert np.abs(frame.astype(int) - wanted).max() <= (kind == "segments")


@pytest.mark.parametrize(("syntax", "order"), [(EXPLICIT, "<"), (BIG_ENDIAN, ">")])
def test_16_bit_in_either_byte_order(syntax: str, order: str) -> None:
    levels = np.arange(400, dtype=np.uint16).reshape(20, 20) * 163
    body = image(20, 20, order=order, bits=16) + pixels(levels.astype(order + "u2").tobytes(), b"OW", order)
    assert np.array_equal(open_dicom(meta(syntax) + body).frame(0)[..., 0], levels >> 8)


# --- small files that were made to do damage --------------------------------------------------------------


def first_frame(data: bytes) -> None:
    open_dicom(data).frame(0)


def test_what_small_files_cost() -> None:
    """Before: 2.3 GB for 1.2 MB deflated, 0.8 GB for a JPEG of another size, 9 s for fragments."""
    colour, large = image(40, 40, 3, b"YBR_FULL_422"), image(2880, 2880, 3, b"YBR_FULL_422")
    jpeg = saved(Image.new("RGB", (2880, 2880)), "JPEG", progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    wavelets = saved(Image.new("RGB", (1000, 1000)), "JPEG2000", no_jp2=True)
    runs = b"\x00\x05" * 1_000_000
    empty = element(0x00291000, b"LO", b"")
    nested = struct.pack("<HH2s2xIHHI", 0x18, 0x6011, b"SQ", 2**32 - 1, 0xFFFE, 0xE000, 2**32 - 1)
    hostile = [
        meta(DEFLATED) + deflated(image(9, 9) + pixels(b"")[:8] + b"\0\0\0\x11", 285_000_000),
        meta(EXPLICIT) + image(40, 40, frames=b"2000000000") + pixels(bytes(1600)),
        meta(EXPLICIT) + image(2880, 2880, 3, b"YBR_FULL") + pixels(bytes(2880 * 2880 * 3)),
        meta(JPEG) + colour + fragments(jpeg),
        meta(JPEG) + large + fragments(jpeg),
        meta(JPEG) + large + fragments(jpeg[:last] + jpeg[last:-2] * 1000 + b"\xff\xd9"),
        meta(JPEG_2000) + colour + fragments(wavelets),
        meta(RLE) + image(1000, 1000) + fragments(struct.pack("<16I", 1, 64, *[0] * 14) + runs),
        meta(JPEG) + colour + fragments(jpeg)[:20] + item(b"") * 200_000,
        meta(EXPLICIT) + empty * 300_000 + image(40, 40) + pixels(bytes(1600)),
        bytes(128) + b"DICM" + element(0x00020016, b"AE", b"") * 300_000 + meta(EXPLICIT)[132:],
        meta(EXPLICIT) + nested * 50_000,
    ]
    fuzz(first_frame, [shipped("examples_rgb_color.dcm").read_bytes()], rounds=0, seed=0, known=hostile)


def test_without_pydicom_the_command_is_named() -> None:
    code = (
        "import sys; sys.modules['pydicom'] = None; from pathlib import Path;"
        "from getgan.clinic.dicom import read_frames; from getgan.errors import ConfigError\n"
        "try:\n    read_frames(Path('a.dcm'))\nexcept ConfigError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "needs pydicom, which is not installed: pip install 'getgan[dicom]'" in done.stdout
