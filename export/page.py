"""index.html of a bundle: golden pictures, figures, contract, origin; no scripts, nothing from outside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from getgan.export.record import ImageRecord, VariantRecord
from getgan.runtime.guard.promise import guard_in_words
from getgan.runtime.label import TEXT
from getgan.runtime.manifest import Export, Golden, Manifest, Model, Variant

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:62em;padding:0 1em;color:#222;
overflow-wrap:anywhere}
h1{font-size:1.4em}h2{font-size:1.1em;margin-top:2em}table{border-collapse:collapse}
td,th{padding:.2em .8em .2em 0;text-align:left;vertical-align:top;border-bottom:1px solid #ddd}
figure{display:inline-block;margin:.5em 1em .5em 0}img{width:128px;image-rendering:auto}
.label{background:#b00;color:#fff;padding:.3em .6em;font-weight:bold}
.wide{overflow-x:auto;overflow-wrap:normal}.wide td,.wide th{min-width:4em}.wide td:last-child{min-width:9em}
"""


def page(manifest: Manifest, records: Iterable[VariantRecord]) -> str:
    """The page; every text from a checkpoint is escaped."""
    model, contract, export, golden = manifest.model, manifest.contract, manifest.export, manifest.golden
    smallest = (
        "" if contract.fixed else f", smallest {contract.min_size}, multiples of {contract.multiple_of}"
    )
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width,initial-scale=1">',
        f"<title>{escape(model.name)}</title>",
        f"<style>{STYLE}</style><h1>{escape(model.name)}</h1><p class=label>{TEXT}</p>",
        "<h2>Golden pictures</h2><p>Input, and what "
        f"{'PyTorch' if export.torch else 'ONNX Runtime'} in FP32 makes of it"
        f"{'; its occlusion map, white = hidden' if any(each.occlusion for each in golden) else ''}.</p>",
        *(_figure(each) for each in golden),
        "<h2>Accepted</h2>",
        _table(
            (
                "precision", "judged with", "images", "max error", "levels", "PSNR, worst", "SSIM, worst",
                "perceptual, worst", "worst image",
            ),
            [_figures(variant) for variant in manifest.variants],
        ),
        "<h2>Refused</h2>" if manifest.refused else "",
        _table(("precision", "reason"), [(each.name, each.reason) for each in manifest.refused]),
        "<h2>Every image</h2>",
        *(_images(record) for record in records if record.images),
        "<h2>Images it takes</h2>",
        f"<p>{contract.channels}, values {contract.range[0]:g} to {contract.range[1]:g}, "
        f"{contract.size}x{contract.size}{' only' if contract.fixed else smallest}.</p>",
        f"<h2>Guard</h2><p>{escape(guard_in_words(manifest.guard))}</p>",
        "<h2>Where it comes from</h2>",
        _table(
            ("", ""),
            (
                ("architecture", f"{model.arch} {model.config or ''}"),
                ("parameters", f"{model.parameters:,}"),
                *_branch(export),
                ("sha256 of its source", model.source_sha256),
                *_training(model),
                ("notes", model.notes),
                ("exported", f"{export.created} by getgan {export.getgan}, "
                 f"{f'PyTorch {export.torch}, ' if export.torch else ''}"
                 f"ONNX {export.onnx}, opset {export.opset}"),
            ),
        ),
    ]  # fmt: skip
    return "\n".join(part for part in parts if part) + "\n"


def _branch(export: Export) -> list[tuple[str, str]]:
    if (branch := export.branch) is None:
        return []
    kept = "kept" if branch.kept else "not in the graphs"
    operations = f"{branch.operations_before} operations with every output, {branch.operations_after} without"
    return [(f"{branch.name} branch", f"{kept}; {operations}" if not branch.kept else kept)]


def _training(model: Model) -> list[tuple[str, str]]:
    if (training := model.training) is None:
        return []
    by = f"{training.trained_on}; {training.iterations:,} iterations, seed {training.seed}"
    return [("trained on", by), ("trained", training.created)]


def _figure(golden: Golden) -> str:
    kinds = (("input", golden.input), ("output", golden.output), ("occlusion", golden.occlusion))
    pictures = "".join(
        f'<img src="{escape(path)}" alt="{kind} {escape(golden.name)}">' for kind, path in kinds if path
    )
    return f"<figure>{pictures}<figcaption>{escape(golden.about)}</figcaption></figure>"


def _figures(variant: Variant) -> tuple[str, ...]:
    figures = variant.figures
    return (
        variant.name,
        variant.backend,
        str(variant.images),
        f"{figures.max_error:.1e}",
        str(figures.max_levels),
        _decibels(figures.psnr),
        f"{figures.ssim:.5f}",
        _maybe(figures.perceptual, ".1e"),
        figures.worst,
    )


def _images(record: VariantRecord) -> str:
    head = ("image", "size", "max error", "mean error", "levels", "PSNR", "SSIM", "perceptual", "")
    table = _table(head, [_image(image) for image in record.images])
    return f"<h3>{record.name}</h3>{table}"


def _image(image: ImageRecord) -> tuple[str, ...]:
    return (
        image.name,
        f"{image.width}x{image.height}",
        _maybe(image.max_error, ".1e"),
        _maybe(image.mean_error, ".1e"),
        _maybe(image.max_levels, "d"),
        _decibels(image.psnr) if image.max_error is not None else "-",
        _maybe(image.ssim, ".5f"),
        _maybe(image.perceptual, ".1e"),
        "; ".join(image.failures) or (f"not counted: {image.undetermined}" if image.undetermined else ""),
    )


def _decibels(value: float | None) -> str:
    return "equal" if value is None else f"{value:.1f} dB"


def _maybe(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>" if any(head) else ""
    if not rows:
        return ""
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    table = f"<table>{top}{body}</table>"
    # Figures keep their columns and scroll; texts of two columns break to the width of a phone.
    return table if len(rows[0]) <= 2 else f"<div class=wide>{table}</div>"
