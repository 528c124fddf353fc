"""The whole way once: checkpoint → gate → bundle → runtime → pictures, and one sheet to look at."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from getgan.errors import OutputError
from getgan.export.bundle import ExportOptions, ExportReport, export_bundle
from getgan.printing import json_text
from getgan.runtime.images import read_image, write_image
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

    Writes input/, bundle/, faces/ and demo.png under `output`. Errors as those of the commands.
    """
    seconds: dict[str, float] = {}
    inputs, bundle, faces, sheet = (output / name for name in ("input", "bundle", "faces", "demo.png"))
    start = perf_counter()
    progress("rendering and reading the pictures", 0.0)
    names: list[str] = []
    try:
        inputs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {inputs}: {error.strerror}; choose another folder") from error
    for number, (name, picture) in enumerate(pictures, start=1):
        names.append(f"{number:02d}-{name}")
        write_image(inputs / f"{names[-1]}.png", picture)
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

    pairs = [(name, read_image(inputs / f"{name}.png"), faces / f"{name}.png") for name in names]
    write_image(sheet, contact_sheet([(n, x, read_image(y) if y.exists() else None) for n, x, y in pairs]))
    progress("done", 1.0)
    page = bundle / exported.manifest.page
    return DemoReport(exported, done, str(inputs), str(sheet), str(page), seconds)


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
