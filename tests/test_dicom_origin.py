"""What a DICOM frame brings along for a later Secondary Capture reaches a sink, and no file and no output."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backend_helpers import needs_backend
from bundle_helpers import make_bundle, network
from cli_helpers import getgan
from frame_helpers import FakePipeline, arrived, write_folder
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from test_dicom_source import OPENERS, greys, tissue, write

from getgan.clinic.origin import Origin
from getgan.runtime.media.frames import Frame, Pending, Pictures
from getgan.runtime.media.region import Region
from getgan.runtime.media.sources import open_source
from getgan.runtime.translate import translate

# Korean, whose text is another in the file and in UTF-8.
PERSON = {
    "SpecificCharacterSet": r"\ISO 2022 IR 149",
    "PatientName": "Hong^Gildong=洪^吉洞=홍^길동",
    "PatientID": "PID-4711-88",
    "PatientBirthDate": "19910823",
    "AccessionNumber": "ACC-90210-7",
    "StudyInstanceUID": "2.25.314159265358979323846",
    "StudyID": "STUDY-5150",
    "ReferringPhysicianName": "Quacksalber^Doktor",
    "InstitutionName": "Sankt-Nirgendwo-Klinik",
    "DeviceSerialNumber": "SERIAL-60601",
}


class Keeper:
    """A sink that keeps the frames."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def has(self, pending: Pending) -> None:
        return None

    def put(self, frame: Frame, pictures: Pictures) -> None:
        self.frames.append(frame)

    def lose(self, pending: Pending, reason: str) -> str:
        return ""

    def close(self, *, keep: bool) -> None:
        pass


def kept(path: Path, region: Region | None = None) -> list[Frame]:
    """The frames as they come to a sink."""
    sink = Keeper()
    translate(open_source(str(path), openers=OPENERS, region=region), sink, FakePipeline())
    return sink.frames


def data_set(frame: Frame) -> Dataset:
    assert isinstance(frame.origin, Origin)
    return frame.origin.dataset


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("region", [None, Region(4, 4, 16, 12)])
def test_the_origin_reaches_the_sink_unchanged(count: int, region: Region | None, tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", greys(count), **PERSON, SeriesInstanceUID=generate_uid())
    frames = kept(path, region)
    assert [frame.index for frame in frames] == list(range(count))
    assert len({id(frame.origin) for frame in frames}) == 1  # the file's, not each frame's
    found, whole = data_set(frames[0]), dcmread(path)
    for name in (*PERSON, "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"):
        assert found[name] == whole[name]
    assert found.PatientName.components == ("Hong^Gildong", "洪^吉洞", "홍^길동")
    assert "PixelData" not in found


def test_each_file_of_a_folder_has_its_own_and_a_picture_none(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["1.png"])
    write(tmp_path / "in" / "2.dcm", greys(1), PatientID="two")
    write(tmp_path / "in" / "3.dcm", greys(2), PatientID="three")
    frames = kept(tmp_path / "in")
    assert frames[0].origin is None
    assert [data_set(frame).PatientID for frame in frames[1:]] == ["two", "three", "three"]


def test_it_keeps_neither_pixels_nor_what_only_the_device_knows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", greys(20, 400, 500), **PERSON)  # 4 MB
    whole = dcmread(path)
    whole.add_new(0x00091001, "OB", bytes(1 << 17))
    whole.save_as(path)
    tracemalloc.start()
    try:
        origin = next(iter(arrived(open_source(str(path), openers=OPENERS)))).origin
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(origin, Origin) and origin.dataset.PatientID == PERSON["PatientID"]
    assert held < 1 << 17


def secrets() -> Iterator[bytes]:
    """Everything that says who it is, as it may be written."""
    for value in [*PERSON.values()][1:]:
        for part in value.replace("=", "^").split("^"):
            for encoding in ("utf-8", "euc_kr", "utf-16-le"):
                yield part.encode(encoding)
                yield part.encode("unicode_escape")
    yield PERSON["PatientName"].encode()


def test_no_text_of_a_frame_names_the_patient(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", greys(2), **PERSON)
    source = open_source(str(path), openers=OPENERS)
    (pending, _) = arrived(source)
    for thing in (source, pending, pending.frame(), pending.origin):
        text = f"{thing} {thing!r} {vars(thing) if thing is not pending.origin else ''}".encode()
        assert not [secret for secret in secrets() if secret in text]


@needs_backend
@pytest.mark.parametrize(
    "arguments",
    [
        ("folder", "--view", "all"),
        ("face.jpg",),
        ("clip.avi", "--view", "side-by-side"),
        ("json", "--json", "--overwrite"),
    ],
)
def test_nothing_written_or_printed_names_the_patient(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "TMPDIR"):
        monkeypatch.setenv(place, str(tmp_path / "out"))
    (tmp_path / "out").mkdir()
    outputs = ("face", "occlusion")
    bundle = make_bundle(tmp_path / "bundle", graph=network(outputs=outputs), outputs=outputs)
    frames = np.random.default_rng(0).integers(0, 255, (3, 120, 160), np.uint8)
    fields: dict[str, Any] = {**PERSON, "SequenceOfUltrasoundRegions": [tissue(8, 8, 128, 96)]}
    if arguments[0] == "face.jpg":
        source = write(tmp_path / "in" / "scan.dcm", frames[:1], **fields)
    elif arguments[0] == "clip.avi":
        source = write(tmp_path / "in" / "clip.dcm", frames, **fields)
    else:  # with one that fails and one that the guard refuses
        source = tmp_path / "in"
        data = write(source / "broken.dcm", frames, **fields).read_bytes()
        (source / "broken.dcm").write_bytes(data[:-9])
        write(source / "flat.dcm", greys(1, 120, 160), **fields)
        write(source / "clip.dcm", frames, **fields)
        write(source / "scan.dcm", frames[:1], **fields)
    done = getgan("run", bundle, source, "-o", tmp_path / "out" / arguments[0], *arguments[1:])
    assert done.returncode in (0, 1) and " 0 translated" not in f" {done.stdout}", done.stderr
    found = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert any(b'"made_by"' in data for data in found.values())  # records are read as they are
    for secret in secrets():
        assert not [path for path, data in found.items() if len(secret) > 4 and secret in data]
        assert secret.decode("latin-1") not in done.stdout + done.stderr
