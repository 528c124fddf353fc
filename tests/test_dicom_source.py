"""DICOM files among the inputs of a run: stills, clips, folders of all kinds, each frame by its number."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from frame_helpers import FakePipeline, arrived, open_sink, read_video, run, write_folder
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage, generate_uid

from getgan.clinic.dicom import read_frames
from getgan.clinic.source import DicomOpener
from getgan.errors import ConfigError, DataError
from getgan.runtime.images import read_image
from getgan.runtime.media.record import sha256_of_file
from getgan.runtime.media.region import Region
from getgan.runtime.media.sources import open_source
from getgan.runtime.summary import Summary
from getgan.runtime.translate import translate

PATIENT = "Holzapfel"
OPENERS = (DicomOpener(),)


def write(path: Path, frames: NDArray[np.uint8], **fields: Any) -> Path:
    """A DICOM clip of (N, H, W) grey frames, or a still if there is one, of a patient with a name."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = UltrasoundMultiFrameImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.PatientName = f"{PATIENT}^Anna"
    dataset.Rows, dataset.Columns = frames.shape[1:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    if len(frames) > 1:
        dataset.NumberOfFrames = len(frames)
    dataset.PixelData = frames.tobytes()
    dataset["PixelData"].VR = "OB"
    for name, value in fields.items():
        setattr(dataset, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def greys(count: int, height: int = 24, width: int = 32) -> NDArray[np.uint8]:
    """Frame n is of grey 10 n + 30."""
    levels = (10 * np.arange(count) + 30).astype(np.uint8)
    return np.repeat(np.repeat(levels[:, None, None], height, 1), width, 2)


def tissue(x: int, y: int, width: int, height: int) -> Dataset:
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType = 1, 1
    item.RegionLocationMinX0, item.RegionLocationMinY0 = x, y
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = x + width - 1, y + height - 1
    return item


def translated(source: Path, output: Path, region: Region | None = None) -> Summary:
    opened = open_source(str(source), openers=OPENERS, region=region)
    return translate(opened, open_sink(output, opened), FakePipeline())


def test_a_still_is_one_picture(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.dcm", greys(1))
    source = open_source(str(path), openers=OPENERS)
    assert (source.total, source.fps, source.single, list(source.names)) == (1, None, True, ["scan.dcm"])
    (pending,) = arrived(source)
    assert pending.time is None and pending.whole and pending.sha256() == sha256_of_file(path)
    assert translated(path, tmp_path / "face.png").translated == 1
    assert read_image(tmp_path / "face.png")[0, 0, 0] == 255 - 30
    assert translated(path, tmp_path / "out").translated == 1
    assert (tmp_path / "out" / "scan.dcm.png").exists()
    with pytest.raises(ConfigError, match=r"cannot write \.dcm files"):
        open_sink(path, source, overwrite=True)
    assert source.claims(path) and not source.claims(tmp_path / "face.png")


@pytest.mark.parametrize(
    ("fields", "fps"),
    [
        ({"FrameTime": "50"}, 20.0),
        ({"CineRate": "12"}, 12.0),
        ({"RecommendedDisplayFrameRate": "15"}, 15.0),
        ({}, 25.0),
        ({"FrameTime": "0"}, 25.0),
    ],
)
def test_a_clip_is_a_video_with_its_rate(fields: dict[str, str], fps: float, tmp_path: Path) -> None:
    path = write(tmp_path / "clip", greys(6), **fields)  # no suffix: known by what is in it
    source = open_source(str(path), openers=OPENERS)
    assert (source.total, source.fps, source.single) == (6, fps, False)
    assert [pending.time for pending in arrived(source)] == [n / fps for n in range(6)]


def test_a_clip_becomes_a_video_or_numbered_pictures(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.dcm", greys(6), FrameTime="100")
    summary = translated(path, tmp_path / "o.avi")
    assert (summary.translated, summary.exit_code) == (6, 0)
    means = [float(frame.mean()) for frame in read_video(tmp_path / "o.avi")]
    assert len(means) == 6 and all(abs(mean - (225 - 10 * n)) < 4 for n, mean in enumerate(means))
    translated(path, tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == [f"clip.dcm-{n:06d}.png" for n in range(6)]


def test_a_folder_may_mix_kinds_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_folder(folder, ["1.png", "b/2.jpg"])
    write(folder / "b" / "IM0003", greys(1))
    write(folder / "clip.dcm", greys(3))
    write(folder / "DICOMDIR", greys(1))  # has the magic bytes and no picture
    (folder / "broken.dcm").write_bytes(bytes(128) + b"DICM" + b"\x08")
    for name in ("notes.txt", "b/report.pdf", "short"):
        (folder / name).write_bytes(b"hello")
    os.mkfifo(folder / "pipe.dcm")
    source = open_source(str(folder), openers=OPENERS)
    assert list(source.names) == ["1.png", "b/2.jpg", "b/IM0003", "broken.dcm", "clip.dcm"]
    (note,) = source.notes
    assert note == "left out as no images: b/report.pdf, DICOMDIR, notes.txt, pipe.dcm, short (5 in all)"
    summary = translated(folder, tmp_path / "out")
    assert (summary.translated, summary.failed) == (6, 1)
    assert summary.failures[0].name == "broken.dcm" and "cut off" in summary.failures[0].reason
    found = sorted(
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png")
    )
    clip = [f"clip.dcm-{n:06d}.png" for n in range(3)]
    assert found == ["1.png", "b/2.jpg.png", "b/IM0003.png", *clip]
    assert translated(folder, tmp_path / "out").skipped == 6
    without = open_source(str(folder))
    assert list(without.names) == ["1.png", "b/2.jpg"]


def test_a_file_that_comes_later_changes_nothing_of_the_others(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["b.png", "c.png"])
    run(tmp_path / "in", tmp_path / "out")
    write(tmp_path / "in" / "a.dcm", greys(2))
    summary = translated(tmp_path / "in", tmp_path / "out")
    assert (summary.translated, summary.skipped, summary.failed) == (2, 2, 0)


def test_the_files_own_region_is_used_and_a_chosen_one_goes_before_it(tmp_path: Path) -> None:
    frames = np.zeros((2, 60, 80), np.uint8)
    frames[:, 10:50, 20:70] = 100
    frames[1] += 50
    path = write(tmp_path / "a.dcm", frames, SequenceOfUltrasoundRegions=[tissue(20, 10, 50, 40)])
    own = open_source(str(path), openers=OPENERS)
    assert not own.whole and own.region == ""
    first, second = arrived(own)
    assert first.read().shape == (40, 50, 3) and not first.whole
    assert (first.read() == 100).all() and (second.read() == 150).all()
    np.testing.assert_array_equal(first.read(), read_frames(path)[0])
    chosen = open_source(str(path), openers=OPENERS, region=Region(0, 0, 80, 60))
    assert [pending.read().shape for pending in arrived(chosen)] == [(60, 80, 3)] * 2
    assert chosen.region == "0,0,80,60" and not chosen.whole


def test_a_real_clip_is_read_frame_by_frame(tmp_path: Path) -> None:
    path = Path(str(get_testdata_file("examples_ybr_color.dcm", download=False)))
    source = open_source(str(path), openers=OPENERS)
    assert source.total == 30 and source.fps == pytest.approx(30.0, abs=0.01)
    pictures = [pending.read() for pending in arrived(source)]
    assert {picture.shape for picture in pictures} == {(240, 320, 3)}
    assert len({picture.tobytes() for picture in pictures}) > 20
    for index, picture in enumerate(read_frames(path, 3)):
        np.testing.assert_array_equal(picture, pictures[index])


def test_frames_of_a_long_clip_are_not_all_in_memory_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "long.dcm", greys(100, 400, 500))  # 20 MB, as colour 60 MB
    tracemalloc.start()
    try:
        for pending in arrived(open_source(str(path), openers=OPENERS)):
            assert pending.read().shape == (400, 500, 3)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 60e6


def test_what_is_no_dicom_says_so_and_names_no_patient(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"hello")
    whole = write(tmp_path / "b.dcm", greys(1)).read_bytes()
    (tmp_path / "b.dcm").write_bytes(whole[:300])
    empty = write(tmp_path / "c.dcm", greys(1), NumberOfFrames=0)
    assert open_source(str(empty), openers=OPENERS).total == 1
    write(tmp_path / "d.dcm", greys(1), NumberOfFrames=10**8)
    for name in ("a.dcm", "b.dcm", "d.dcm"):
        with pytest.raises(DataError) as caught:
            open_source(str(tmp_path / name), openers=OPENERS)
        text = str(caught.value)
        assert text.startswith(f"{tmp_path / name}: ") and "\n" not in text and PATIENT not in text
