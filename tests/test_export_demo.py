"""A demo writes into a new folder or over an earlier demo, and replaces nothing of anybody else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from bundle_helpers import noise, sample
from export_helpers import saved

from getgan.errors import ConfigError, OutputError
from getgan.export.demo import DemoReport, run_demo
from getgan.runtime.images import bytes_from_image, read_image, write_image
from getgan.runtime.media.pngtext import take_text
from getgan.runtime.media.record import DIGITAL_SOURCE_TYPE, MARKS, XMP_KEYWORD, made_of

PICTURES = [("smooth", sample(48)), ("noise", noise(48))]
LEFT = f".getgan-{'0' * 16}.tmp"


def demo(checkpoint: Path, output: Path) -> DemoReport:
    return run_demo(checkpoint, PICTURES, output, lambda what, share: None, threads=1)


def listing(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny checkpoint, and the folder of a demo of it."""
    folder = tmp_path_factory.mktemp("demo")
    checkpoint = saved(folder, "resnet")
    demo(checkpoint, folder / "out")
    return checkpoint, folder / "out"


def test_the_sheet_says_that_it_was_made_by_ai(done: tuple[Path, Path]) -> None:
    sheet = (done[1] / "demo.png").read_bytes()
    xmp, comment = take_text(sheet, XMP_KEYWORD), take_text(sheet, "Comment")
    assert xmp is not None and DIGITAL_SOURCE_TYPE in xmp[0]
    assert comment is not None and comment[0] == MARKS["Comment"]
    assert read_image(done[1] / "demo.png").std() > 20


def test_a_demo_replaces_an_earlier_one(done: tuple[Path, Path], tmp_path: Path) -> None:
    checkpoint, earlier = done
    output = tmp_path / "out"
    shutil.copytree(earlier, output)
    # As after kill -9: a part of the pictures, and what was being written.
    (output / "input" / "02-noise.png").unlink()
    for place in (output, output / "input"):
        (place / LEFT).write_bytes(b"half")
    (output / "faces" / "mine.txt").write_text("precious")
    report = demo(checkpoint, output)
    assert sorted(p.name for p in (output / "input").glob("[!.]*")) == ["01-smooth.png", "02-noise.png"]
    assert made_of(output / "faces" / "01-smooth.png") is not None
    assert (output / "faces" / "mine.txt").read_text() == "precious"
    assert listing(output)["demo.png"] == listing(earlier)["demo.png"]
    assert report.sheet == str(output / "demo.png")


@pytest.mark.parametrize(
    ("name", "error", "found"),
    [
        ("notes.txt", ConfigError, r"\(notes\.txt\)"),
        (".hidden", ConfigError, r"\(\.hidden\)"),
        ("demo.png", ConfigError, r"\(demo\.png\)"),
        ("input/01-smooth.png", ConfigError, r"\(input/01-smooth\.png\)"),
        ("input/patient.png", ConfigError, r"\(input/patient\.png\)"),
        ("input/more/notes.txt", ConfigError, r"\(input/more\)"),
        ("faces/01-smooth.png", ConfigError, r"\(faces/01-smooth\.png\)"),
        ("bundle/notes.txt", OutputError, r"holds more than its bundle \(notes\.txt\)"),
    ],
)
def test_what_somebody_else_wrote_stays(
    done: tuple[Path, Path], tmp_path: Path, name: str, error: type[Exception], found: str
) -> None:
    output = tmp_path / "out"
    shutil.copytree(done[1], output)
    path = output / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes_from_image(sample(48, seed=7)) if path.suffix == ".png" else b"precious")
    before = listing(output)
    with pytest.raises(error, match=found) as caught:
        demo(done[0], output)
    assert "\n" not in str(caught.value)
    assert listing(output) == before


def test_pictures_of_a_folder_that_is_no_demo_stay(done: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "out"
    for name in ("a", "b", "c", "d"):
        (output / "input").mkdir(parents=True, exist_ok=True)
        write_image(output / "input" / f"{name}.png", sample(16))
    before = listing(output)
    with pytest.raises(ConfigError, match=r"\(input/a\.png, input/b\.png, input/c\.png and 1 more\)"):
        demo(done[0], output)
    assert listing(output) == before


def test_neither_a_face_nor_a_link_is_taken_for_a_demos_own(done: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "out"
    shutil.copytree(done[1], output)
    # A run's output carries the same marks, and its record besides.
    shutil.copy(output / "faces" / "01-smooth.png", output / "demo.png")
    shutil.move(output / "input", tmp_path / "elsewhere")
    (output / "input").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"\(demo\.png, input\)"):
        demo(done[0], output)
    with pytest.raises(ConfigError, match=r"is no folder; wanted a new one"):
        demo(done[0], output / "demo.png")
