"""The whole way once: checkpoint → gate → bundle → runtime → pictures, and one sheet to look at."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from getgan.errors import ConfigError, OutputError
from getgan.export.bundle import ExportOptions, ExportReport, export_bundle
from getgan.export.folder import FOREIGN_SHOWN, check_output, is_leftover
from getgan.files import remove_leftovers, write_bytes_atomic
from getgan.printing import json_text
from getgan.runtime.images import bytes_from_image, read_image
from getgan.runtime.media.pngtext import add_texts, take_text
from getgan.runtime.media.record import (
    KEYWORD,
    MARKS,
    MAX_PNG_BYTES,
    made_of,
)
from getgan.runtime.run import RunOptions, RunReport, run_bundle

Image = NDArray[np.uint8]  # (H, W, 3) RGB
CELL = 224  # pixels each way, of the sheet
CAPTION = 22
MARGIN = 6


@dataclass(frozen=True)
class DemoReport:
    """Where everything is, and how long each part took."""

    export: ExportReport
    run: RunReport
    inputs: str
    sheet: str
    page: str
    seconds: dict[str, float]

    def text(self) -> str:
        """For a terminal."""
        bundle, faces = self.export.bundle, self.run.output
        session = self.run.session
        took = ", ".join(f"{what} {seconds:.1f} s" for what, seconds in self.seconds.items())
        return "\n".join(
            [
                self.export.text(),
                "",
                f"ran on    {session.backend} {session.device} {session.precision}: {session.provider}",
                self.run.summary.text(),
                "",
                f"look at   {self.sheet}",
                f"report    {self.page}",
                f"bundle    {bundle}",
                f"took      {took}",
                "",
                f"again     getgan run {bundle} {self.inputs} -o {faces} --overwrite",
                "your own  getgan export CHECKPOINT -o BUNDLE; getgan run BUNDLE PICTURES -o FACES",
            ]
        )

    def to_json(self) -> str:
        """For a machine."""
        document = {
            "export": json.loads(self.export.to_json()),
            "run": json.loads(self.run.to_json()),
            "inputs": self.inputs,
            "sheet": self.sheet,
            "page": self.page,
            "seconds": self.seconds,
        }
        return json_text(document)


def run_demo(
    checkpoint: Path,
    pictures: Iterable[tuple[str, Image]],
    output: Path,
    progress: Callable[[str, float], None],
    threads: int = 0,
) -> DemoReport:
    """Export, translate each (name, uint8 RGB picture), write the sheet; replaces what an earlier demo wrote.

    Writes input/, bundle/, faces/ and demo.png under `output`. ConfigError, before anything is written, if
    anything else lies there. Errors as those of the commands.
    """
    seconds: dict[str, float] = {}
    inputs, bundle, faces, sheet = (output / name for name in ("input", "bundle", "faces", "demo.png"))
    start = perf_counter()
    progress("rendering and reading the pictures", 0.0)
    files = {
        f"{number:02d}-{name}.png": bytes_from_image(picture)
        for number, (name, picture) in enumerate(pictures, start=1)
    }
    _check_own(output, files)
    try:
        inputs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {inputs}: {error.strerror}; choose another folder") from error
    check_output(bundle, overwrite=True)
    for name, data in files.items():
        write_bytes_atomic(inputs / name, data)
    seconds["pictures"] = perf_counter() - start

    start = perf_counter()
    exported = export_bundle(
        checkpoint,
        bundle,
        ExportOptions(overwrite=True, threads=threads),
        lambda what, share: progress(what, 0.1 + 0.8 * share),
    )
    seconds["export and gate"] = perf_counter() - start

    start = perf_counter()
    progress("translating", 0.9)
    done = run_bundle(bundle, str(inputs), faces, RunOptions(threads=threads, overwrite=True))
    seconds["start and translate"] = perf_counter() - start

    columns = [
        (
            Path(name).stem,
            read_image(inputs / name),
            read_image(faces / name) if made_of(faces / name) else None,
        )
        for name in files
    ]
    write_bytes_atomic(sheet, add_texts(bytes_from_image(contact_sheet(columns)), MARKS))
    progress("done", 1.0)
    page = bundle / exported.manifest.page
    return DemoReport(exported, done, str(inputs), str(sheet), str(page), seconds)


def _check_own(output: Path, files: dict[str, bytes]) -> None:
    """ConfigError, which names them, if anything lies in output that no demo with these inputs wrote."""
    if not os.path.lexists(output):
        return
    if not output.is_dir():
        raise ConfigError(f"{output} is no folder; wanted a new one for the demo, or that of an earlier demo")
    try:
        foreign = [name for path in sorted(output.iterdir()) for name in _foreign(path, files)]
    except OSError as error:
        raise ConfigError(f"{output} cannot be read ({error.strerror}); choose another folder") from error
    if foreign:
        more = f" and {len(foreign) - FOREIGN_SHOWN} more" if len(foreign) > FOREIGN_SHOWN else ""
        found = ", ".join(foreign[:FOREIGN_SHOWN])
        raise ConfigError(
            f"{output} holds what this demo did not write ({found}{more}), so nothing in it is replaced; "
            "choose another folder or move that away"
        )
    check_output(output / "bundle", overwrite=True)
    remove_leftovers(output / "input")


def _foreign(path: Path, files: dict[str, bytes]) -> list[str]:
    """What is not the demo's of one thing in its folder; of a bundle `check_output` tells."""
    if path.name in ("bundle", ".getgan-bundle.old") or is_leftover(path):
        return []
    if path.is_symlink() or path.is_dir() != (path.name in ("input", "faces")):
        return [path.name]
    if path.name == "input":
        theirs = [each for each in sorted(path.iterdir()) if not is_leftover(each)]
        return [f"input/{each.name}" for each in theirs if not _holds(each, files.get(each.name))]
    if path.name == "faces":
        theirs = [path / name for name in files if os.path.lexists(path / name)]
        return [f"faces/{each.name}" for each in theirs if made_of(each) is None]
    return [] if path.name == "demo.png" and _is_sheet(path) else [path.name]


def _holds(path: Path, data: bytes | None) -> bool:
    if data is None or path.is_symlink() or not path.is_file() or path.stat().st_size != len(data):
        return False
    return path.read_bytes() == data


def _is_sheet(path: Path) -> bool:
    """Whether it carries our marks, and is no output of a run, which has a record besides."""
    if not path.is_file() or path.stat().st_size > MAX_PNG_BYTES:
        return False
    data = path.read_bytes()
    found = {keyword: (take_text(data, keyword) or ("",))[0] for keyword in MARKS}
    return found == MARKS and take_text(data, KEYWORD) is None


def contact_sheet(columns: list[tuple[str, Image, Image | None]]) -> Image:
    """(name, input, its translation or None) as columns: name, input above, translation below."""
    import cv2

    step = CELL + MARGIN
    sheet = np.full((CAPTION + 2 * step + MARGIN, len(columns) * step + MARGIN, 3), 24, np.uint8)
    for number, (name, above, below) in enumerate(columns):
        left = MARGIN + number * step
        font, white = cv2.FONT_HERSHEY_SIMPLEX, (235, 235, 235)
        cv2.putText(sheet, name, (left, CAPTION - 6), font, 0.45, white, 1, cv2.LINE_AA)
        for row, picture in enumerate((above, below)):
            if picture is None:
                continue
            height, width = picture.shape[:2]
            scale = CELL / max(height, width)
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
            small = np.asarray(cv2.resize(picture, size, interpolation=way), np.uint8)
            y = CAPTION + row * step + (CELL - size[1]) // 2
            x = left + (CELL - size[0]) // 2
            sheet[y : y + size[1], x : x + size[0]] = small
    return sheet
