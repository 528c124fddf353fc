"""A report as plain text: metrics down, columns across, in blocks that fit the width."""

from __future__ import annotations

from collections.abc import Sequence

from getgan.training.evaluation.report import Column, Report
from getgan.training.evaluation.rows import METRICS, NOTES, Metric

SIGNS = {"higher": "^", "lower": "v", "": " "}
GAP = "  "


def table(report: Report, width: int = 100) -> str:
    """Aligned text, at most `width` columns wide where labels allow."""
    names = {metric.key: f"  {_name(metric)} {SIGNS[metric.better]}" for metric in METRICS}
    first = max(len(name) for name in names.values())
    blocks = []
    for columns in _chunks(report.columns, first, width):
        blocks.append(_block(columns, names, first))
    return "\n\n".join([_head(report), *blocks, _foot(report)]) + "\n"


def cell_text(column: Column, metric: Metric) -> str:
    """Mean and half the 95 % interval; in ( ) where a collapse makes it meaningless; - where not measured."""
    found = column.cells[metric.key].estimate
    if found is None:
        return "-"
    text = f"{found.mean:.{metric.decimals}f}"
    if metric.key == "trace" and column.collapsed:
        return f"({text})"
    if found.half_width is None or column.kind == "reference":
        return text
    return f"{text} ±{found.half_width:.{metric.decimals}f}"


def reasons(report: Report) -> list[tuple[str, str]]:
    """Label and reason of every `-` in a model's column, each once."""
    found = [
        (column.label, cell.reason)
        for column in report.columns
        if column.kind == "model"
        for cell in column.cells.values()
        if cell.reason
    ]
    return list(dict.fromkeys(found))


def interval_text(report: Report) -> str:
    """What ± stands for in this report."""
    several = sorted({len(column.origins) for column in report.columns if len(column.origins) > 1})
    text = f"±: half the 95 % interval over {len(report.seeds)} test seeds"
    if several:
        text += "; for a label with several checkpoints, over its training seeds"
    return text + "."


def _head(report: Report) -> str:
    seeds = ", ".join(map(str, report.seeds))
    return (
        f"{report.scenes} scenes at {report.size}x{report.size} for each test seed ({seeds}); "
        f"^ higher is better, v lower."
    )


def _foot(report: Report) -> str:
    lines = [interval_text(report)]
    if any(column.collapsed for column in report.columns):
        lines.append("( ): not meaningful. A collapsed model leaves no trace because it looks at nothing.")
    lines += [f"- {label}: {reason}" for label, reason in reasons(report)]
    lines += [f"{subject}: {note}" for subject, note in NOTES[:1]]
    return "\n".join(lines)


def _chunks(columns: Sequence[Column], first: int, width: int) -> list[list[Column]]:
    chunks: list[list[Column]] = []
    room = 0
    for column in columns:
        needed = len(GAP) + _width(column)
        if not chunks or needed > room:
            chunks.append([])
            room = width - first
        chunks[-1].append(column)
        room -= needed
    return chunks


def _width(column: Column) -> int:
    texts = [column.label, column.verdict, *(cell_text(column, metric) for metric in METRICS)]
    return max(map(len, texts))


def _block(columns: Sequence[Column], names: dict[str, str], first: int) -> str:
    widths = [_width(column) for column in columns]

    def line(head: str, cells: Sequence[str]) -> str:
        parts = [head.ljust(first), *(cell.rjust(w) for cell, w in zip(cells, widths, strict=True))]
        return GAP.join(parts).rstrip()

    lines = [line("", [column.label for column in columns])]
    if any(column.verdict for column in columns):
        lines.append(line("", [column.verdict for column in columns]))
    group = ""
    for metric in METRICS:
        if metric.group != group:
            group = metric.group
            lines.append(group)
        lines.append(line(names[metric.key], [cell_text(column, metric) for column in columns]))
    return "\n".join(lines)


def _name(metric: Metric) -> str:
    return f"{metric.title} [{metric.unit}]" if metric.unit else metric.title
