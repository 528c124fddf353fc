"""A report as one HTML page that needs nothing else, beside its JSON and its sheet of pictures."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from html import escape
from pathlib import Path

from getgan.errors import OutputError
from getgan.files import write_bytes_atomic
from getgan.runtime.images import bytes_from_image
from getgan.training.evaluation.pictures import sheet
from getgan.training.evaluation.report import SCHEMA, Column, Gallery, Picture, Report
from getgan.training.evaluation.rows import METRICS, NOTES, Metric
from getgan.training.evaluation.table import cell_text, interval_text, reasons

PAGE, DOCUMENT, PICTURES = "index.html", "report.json", "pictures.png"
STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fdfdfc; --soft: #5a5a5a; --line: #d5d5d2;
  --band: #f1f1ee; --alarm: #a30d0d; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececea; --paper: #161616; --soft: #b0b0ac; --line: #3b3b3b; --band: #222;
    --alarm: #ff9a90; } }
body { margin: 0 auto; max-width: 90rem; padding: 1rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; margin: 0; }
.wide { overflow-x: auto; }
.wide:focus-visible { outline: 2px solid currentColor; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .8rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--paper); }
th[scope=row] { font-weight: normal; }
th[scope=rowgroup] { background: var(--band); }
th[scope=rowgroup] span { position: sticky; left: .8rem; }
@media (max-width: 40rem) { th, td { padding: .2rem .4rem; font-size: .85rem; } }
.reference { color: var(--soft); } .alarm { color: var(--alarm); font-weight: 700; }
.soft { color: var(--soft); font-size: .9rem; } code { overflow-wrap: anywhere; }
dt { font-weight: 600; } dd { margin: 0 0 .5rem; }
.scene { border-top: 1px solid var(--line); padding: 1rem 0; }
.group { display: flex; flex-wrap: wrap; gap: .5rem; margin: .25rem 0 .75rem; }
figure { margin: 0; width: 8rem; } figure img { width: 100%; display: block; aspect-ratio: 1; }
figcaption { font-size: .8rem; color: var(--soft); }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
"""
BETTER = {"higher": ("↑", "higher is better"), "lower": ("↓", "lower is better"), "": ("", "")}


def write_page(report: Report, folder: Path) -> Path:
    """Write index.html, report.json and pictures.png into the folder, each atomically; the page's path."""
    folder = Path(folder)
    refuse_foreign_page(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot make the folder {folder}: {reason}; choose another with -o") from error
    # First of all, because it says whose the others are.
    write_bytes_atomic(folder / DOCUMENT, (report.to_json() + "\n").encode())
    if report.galleries:
        write_bytes_atomic(folder / PICTURES, bytes_from_image(sheet(report.galleries)))
    write_bytes_atomic(folder / PAGE, page(report).encode())
    return folder / PAGE


def refuse_foreign_page(folder: Path) -> None:
    """Raise OutputError if a name of the page is taken and the folder's report.json is no evaluation's."""
    taken = [name for name in (PAGE, DOCUMENT, PICTURES) if os.path.lexists(folder / name)]
    if taken and not _is_evaluation(folder / DOCUMENT):
        raise OutputError(
            f"{folder / taken[0]} is there already, and no {DOCUMENT} of getgan evaluate says that it may be "
            "replaced; choose another folder with -o"
        )


def _is_evaluation(path: Path) -> bool:
    try:
        document = json.loads(path.read_bytes()) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.get("schema") == SCHEMA


def page(report: Report) -> str:
    """The HTML document, pictures inside."""
    return "\n".join(_document(report)) + "\n"


def _document(report: Report) -> Iterator[str]:
    models = [column for column in report.columns if column.kind == "model"]
    title = "getgan evaluation: " + ", ".join(column.label for column in models)
    yield "<!DOCTYPE html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(title)}</title>"
    yield f"<style>{STYLE}</style></head><body>"
    yield f"<header><h1>{escape(title)}</h1>"
    yield f"<p>{_summary(report)}</p></header><main>"
    for column in models:
        if column.verdict:
            yield (
                f'<p class="alarm" role="note">{escape(column.label)}: {escape(column.verdict)}. '
                "It gives (almost) the same face to every input; a small trace means nothing then.</p>"
            )
    yield "<h2>Figures</h2>"
    yield from _table(report)
    yield from _notes(report)
    yield from _pictures(report)
    yield "<h2>Checkpoints</h2>"
    yield from _checkpoints(models)
    yield '<p class="soft">The figures as a document: <a href="report.json">report.json</a>.</p>'
    yield "</main></body></html>"


def _summary(report: Report) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    seeds = ", ".join(map(str, report.seeds))
    far = report.far_yaw
    other = "" if far is None else f"Other yaw range: {far[0]:g} to {far[1]:g} degrees. "
    text = (
        f"{report.scenes} synthetic scenes at {report.size} x {report.size} pixels "
        f"for each test seed ({seeds}). {other}"
        f"Made {report.created} on {report.device} in {report.seconds:.0f} s with {versions}."
    )
    return escape(text)


def _table(report: Report) -> Iterator[str]:
    about = f"{interval_text(report)} In ( ): not meaningful after a collapse."
    yield f'<p class="soft">{escape(about)}</p>'
    # A scrolling region must be reachable by keyboard.
    yield '<div class="wide" tabindex="0" role="region" aria-label="Figures">'
    yield '<table><caption class="hidden">Figures of each model and reference</caption>'
    yield '<thead><tr><th scope="col">Metric</th>'
    for column in report.columns:
        verdict = f'<br><span class="alarm">{escape(column.verdict)}</span>' if column.verdict else ""
        style = ' class="reference"' if column.kind == "reference" else ""
        yield f'<th scope="col"{style}>{escape(column.label)}{verdict}</th>'
    yield "</tr></thead>"
    group = None
    for metric in METRICS:
        if metric.group != group:
            yield "</tbody>" if group is not None else ""
            group = metric.group
            span = len(report.columns) + 1
            yield f'<tbody><tr><th scope="rowgroup" colspan="{span}"><span>{escape(group)}</span></th></tr>'
        yield f'<tr><th scope="row">{_name(metric)}</th>'
        yield "".join(_cell(column, metric) for column in report.columns) + "</tr>"
    yield "</tbody></table></div>"


def _name(metric: Metric) -> str:
    sign, words = BETTER[metric.better]
    unit = f", {escape(metric.unit)}" if metric.unit else ""
    arrow = f' <span aria-hidden="true">{sign}</span><span class="hidden">({words})</span>' if sign else ""
    return escape(metric.title) + unit + arrow


def _cell(column: Column, metric: Metric) -> str:
    reason = column.cells[metric.key].reason
    style = ' class="reference"' if column.kind == "reference" else ""
    title = f' title="{escape(reason)}"' if reason else ""
    return f"<td{style}{title}>{escape(cell_text(column, metric))}</td>"


def _notes(report: Report) -> Iterator[str]:
    yield "<details open><summary>How to read this</summary><dl>"
    for subject, note in NOTES:
        yield f"<dt>{escape(subject)}</dt><dd>{escape(note)}</dd>"
    yield "</dl></details>"
    missing = reasons(report)
    if missing:
        yield "<p>A dash stands for what was not measured:</p><ul>"
        yield from (f"<li>{escape(label)}: {escape(reason)}</li>" for label, reason in missing)
        yield "</ul>"


def _pictures(report: Report) -> Iterator[str]:
    if not report.galleries:
        return
    yield "<h2>Pictures</h2>"
    yield (
        '<p class="soft">The first scenes of the first test seed; of a label with several checkpoints, the '
        "first. Maps are stretched from black, their least value, to white, their largest: compare where, "
        "not how much. |x - H(y*)| is where y* does not explain the input.</p>"
    )
    for gallery in report.galleries:
        yield from _scene(gallery)


def _scene(gallery: Gallery) -> Iterator[str]:
    yield f'<section class="scene"><h3>{escape(gallery.title)}</h3><div class="group">'
    yield from (_figure(picture, gallery.title) for picture in gallery.shared)
    yield "</div>"
    for label, pictures in gallery.columns:
        yield f'<h3 class="soft">{escape(label)}</h3><div class="group">'
        yield from (_figure(picture, f"{gallery.title}, {label}") for picture in pictures)
        yield "</div>"
    yield "</section>"


def _figure(picture: Picture, where: str) -> str:
    data = base64.b64encode(bytes_from_image(picture.image)).decode()
    alt = escape(f"{where}: {picture.caption}")
    image = f'<img src="data:image/png;base64,{data}" alt="{alt}" loading="lazy">'
    return f"<figure>{image}<figcaption>{escape(picture.caption)}</figcaption></figure>"


def _checkpoints(models: list[Column]) -> Iterator[str]:
    yield "<ul>"
    for column in models:
        for origin in column.origins:
            run = f"{origin.arch}, {origin.iterations:,} iterations, seed {origin.seed}"
            text = f"{column.label}: {origin.file}, {run}"
            notes = f" {escape(origin.notes)}." if origin.notes else ""
            reverse = f", H <code>{escape(origin.reverse_sha256)}</code>" if origin.reverse_sha256 else ""
            yield f"<li>{escape(text)}, sha256 <code>{escape(origin.sha256)}</code>{reverse}.{notes}</li>"
        if not column.origins:
            yield f"<li>{escape(column.label)}: no checkpoint file.</li>"
    yield "</ul>"
