"""A region is all that is translated and shown; without one, a picture for sharing says what it shows."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from frame_helpers import FakePipeline, arrived, open_sink, picture, write_folder, write_video

from getgan.errors import ConfigError, DataError, OutputError
from getgan.runtime.images import read_image, write_image
from getgan.runtime.media.presets import load_preset, presets_file, region_of, save_preset
from getgan.runtime.media.region import Region, region_from_text
from getgan.runtime.media.sidebyside import GAP, side_by_side
from getgan.runtime.media.sources import open_source
from getgan.runtime.translate import translate

CORNER = Region(1300, 40, 600, 450)


@pytest.fixture(autouse=True)
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "configuration"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    return folder / "getgan" / "presets.json"


def screen() -> tuple[np.ndarray, np.ndarray]:
    """A 1920x1080 capture with the scan in one corner, and the scan."""
    noise = np.random.default_rng(0)
    capture = noise.integers(1, 255, (1080, 1920, 3), np.uint8)
    scan = noise.integers(1, 255, (450, 600, 3), np.uint8)
    capture[40:490, 1300:1900] = scan
    return capture, scan


def test_a_region_of_a_screen_is_the_scan_to_the_byte(tmp_path: Path) -> None:
    capture, scan = screen()
    write_image(tmp_path / "screen.png", capture)
    write_image(tmp_path / "scan.png", scan)

    class Watched(FakePipeline):
        def translate(self, frames: object, /) -> list:  # type: ignore[type-arg]
            self.fed = frames[0].tobytes(), frames[0].shape  # type: ignore[index]
            return super().translate(frames)  # type: ignore[arg-type]

    fed = []
    for name, region in (("screen.png", CORNER), ("scan.png", None)):
        source, pipeline = open_source(str(tmp_path / name), region=region), Watched()
        translate(source, open_sink(tmp_path / f"face-of-{name}", source), pipeline)
        fed.append(pipeline.fed)
    assert fed[0] == fed[1] == (scan.tobytes(), scan.shape)
    faces = [read_image(tmp_path / f"face-of-{name}.png") for name in ("screen", "scan")]
    np.testing.assert_array_equal(faces[0], faces[1])


def test_beside_the_output_only_the_region_is_shown(tmp_path: Path) -> None:
    capture, scan = screen()
    write_image(tmp_path / "screen.png", capture)
    source = open_source(str(tmp_path / "screen.png"), region=CORNER)
    translate(source, open_sink(tmp_path / "both.png", source, view="side-by-side"), FakePipeline())
    shown = read_image(tmp_path / "both.png")
    assert shown.shape == (450, 1200 + GAP, 3)
    np.testing.assert_array_equal(shown[:, :600], scan)


def test_a_source_that_is_shown_whole_says_so_on_the_picture() -> None:
    left, right = picture(120, 240, 320), picture(30, 240, 320)
    said, silent = side_by_side(left, right, whole=True), side_by_side(left, right, whole=False)
    assert said.shape == silent.shape and (left == 120).all()
    np.testing.assert_array_equal(said[:, 320:], silent[:, 320:])
    np.testing.assert_array_equal(said[:200], silent[:200])
    band = said[224:, :320]
    assert (silent[:, :320] == 120).all() and band.max() > 200 and 0.02 < (band > 150).mean() < 0.4


def test_a_region_of_a_folder_and_of_a_video(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["a.png", "b.png"])
    write_video(tmp_path / "clip.avi", 5)
    region = Region(4, 8, 16, 12)
    for path, count in ((tmp_path / "in", 2), (tmp_path / "clip.avi", 5)):
        source = open_source(str(path), region=region)
        assert source.total == count and source.region == "4,8,16,12" and not source.whole
        assert [pending.read().shape for pending in arrived(source)] == [(12, 16, 3)] * count
        with pytest.raises(ConfigError, match="is the input"):
            open_sink(path / "out" if path.is_dir() else path, source, overwrite=True)
        source.close()


@pytest.mark.parametrize("region", [Region(1, 0, 32, 24), Region(0, 1, 32, 24), Region(40, 40, 8, 8)])
def test_a_region_outside_a_picture_is_that_pictures_failure(region: Region, tmp_path: Path) -> None:
    write_folder(tmp_path / "in", ["a.png"])
    write_image(tmp_path / "in" / "large.png", picture(50, 100, 100))
    source = open_source(str(tmp_path / "in"), region=region)
    summary = translate(source, open_sink(tmp_path / "out", source), FakePipeline())
    assert (summary.translated, summary.failed) == (1, 1)
    assert f"found 32x24 pixels, in which the region {region.text} does not lie" in summary.failures[0].reason
    with pytest.raises(DataError, match="does not lie"):
        region.crop(picture())


@pytest.mark.parametrize(
    "text", ["", "1,2,3", "1,2,3,4,5", "-1,2,30,40", "a,b,c,d", "1,2,0,40", "1,2,٣٠,40", "1e3,2,30,40"]
)
def test_what_is_no_region(text: str) -> None:
    with pytest.raises(ConfigError, match=r"found (the|a) region"):
        region_from_text(text)


def test_a_preset_is_remembered_per_device(configuration: Path) -> None:
    with pytest.raises(ConfigError, match=r"no preset 'left-room'.*there: none\); make it with --region"):
        region_of("", "left-room", "")
    assert region_of("", "", "") is None
    assert region_of("1300,40,600,450", "", "left-room") == CORNER
    assert not configuration.exists()  # only a picture tells of what size the region is one
    save_preset("left-room", replace(CORNER, of=(1920, 1080)))
    save_preset("right_room", Region(0, 0, 640, 480, (640, 480)))
    assert presets_file() == configuration
    assert json.loads(configuration.read_bytes()) == {
        "left-room": {"region": "1300,40,600,450", "width": 1920, "height": 1080},
        "right_room": {"region": "0,0,640,480", "width": 640, "height": 480},
    }
    found = region_of("", "left-room", "")
    assert found == replace(CORNER, of=(1920, 1080))
    with pytest.raises(ConfigError, match="--region and --preset; wanted one"):
        region_of("1,2,30,40", "left-room", "")
    assert load_preset("right_room") == Region(0, 0, 640, 480, (640, 480))
    assert found.crop(np.zeros((1080, 1920, 3), np.uint8)).shape == (450, 600, 3)
    with pytest.raises(DataError, match="is for 1920x1080: here it may show a name"):
        found.crop(np.zeros((1440, 2560, 3), np.uint8))
    assert [path.name for path in configuration.parent.iterdir()] == ["presets.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b'{"a": "0,0,9,9"}',
        b'{"a": {"region": "0,0,9,9", "width": 9, "height": 9, "patient": "x"}}',
        b" " * 70_000,
    ],
)
def test_a_presets_file_that_is_none_is_not_replaced(content: bytes, configuration: Path) -> None:
    configuration.parent.mkdir(parents=True)
    configuration.write_bytes(content)
    for work in (lambda: load_preset("a"), lambda: save_preset("b", replace(CORNER, of=(9, 9)))):
        with pytest.raises(ConfigError, match="is no list of presets"):
            work()
    assert configuration.read_bytes() == content


def test_a_preset_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a b", "../x", "x" * 65, "-a"):
        with pytest.raises(ConfigError, match="found the preset name"):
            region_of("1,2,30,40", "", name)
    with pytest.raises(ConfigError, match="--save-preset without a region"):
        region_of("", "", "a")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/proc")
    with pytest.raises(OutputError, match="cannot make /proc/getgan"):
        save_preset("a", replace(CORNER, of=(1920, 1080)))


def test_presets_that_are_saved_at_once_are_all_kept(configuration: Path) -> None:
    program = (
        "import sys; from getgan.runtime.media.presets import save_preset; "
        "from getgan.runtime.media.region import Region; "
        "[save_preset(f'{sys.argv[1]}-{n}', Region(0, 0, 8, 8, (9, 9))) for n in range(20)]"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, name]) for name in "abc"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert len(json.loads(configuration.read_bytes())) == 60
