"""What an evaluation found: columns of cells, and the JSON document that holds them.

The document, schema "getgan-evaluation" version 1; null stands for what was not measured:

    schema, version            these two are looked at before anything else
    created                    ISO 8601, UTC
    versions                   {name: version} of getgan, torch, numpy, opencv and Python
    size, scenes, seeds        pixels; scenes per test seed; the test seeds
    far_yaw                    yaw range of the second set of scenes in degrees, or null
    device, seconds
    collapsed_below            a checkpoint with less dependence on the input counts as collapsed
    metrics                    [{key, group, title, unit, better ("higher", "lower" or ""), decimals}]
    notes                      {subject: how to read it}
    columns                    [{label, kind ("model" or "reference"),
                                 collapsed (how many of its checkpoints),
                                 checkpoints [{file, sha256, arch, iterations, trained_with, seed,
                                               reverse_sha256, notes}],
                                 cells {metric key: {mean, half_width_95, units, unit,
                                                     values [checkpoint][test seed], reason}}}]

half_width_95 is half the 95 % interval of the mean, over `units` units of kind `unit` ("test seed" or
"training seed"; intervals.estimate says why). A later version adds keys and never changes these.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from getgan.errors import DataError
from getgan.training.evaluation.intervals import Estimate, estimate
from getgan.training.evaluation.options import Origin
from getgan.training.evaluation.rows import COLLAPSED_BELOW, METRICS, NOTES

SCHEMA = "getgan-evaluation"
VERSION = 1


@dataclass(frozen=True)
class Cell:
    """One metric of one column: values[checkpoint][test seed], None where not measured, and why."""

    values: tuple[tuple[float | None, ...], ...]
    reason: str = ""  # why nothing was measured

    @property
    def estimate(self) -> Estimate | None:
        """Mean and interval; None where nothing was measured."""
        return estimate(self.values)


@dataclass(frozen=True)
class Column:
    """One label: a method with one or several checkpoints, or a reference."""

    label: str
    kind: Literal["model", "reference"]
    origins: tuple[Origin, ...]
    cells: Mapping[str, Cell]  # by Metric.key; every metric has one

    @property
    def collapsed(self) -> int:
        """How many of its checkpoints give (almost) the same face to every input."""
        means = (estimate([row]) for row in self.cells["dependence"].values)
        return sum(mean is not None and mean.mean < COLLAPSED_BELOW for mean in means)

    @property
    def verdict(self) -> str:
        """Empty, or COLLAPSED, with how many of how many where there are several."""
        if not self.collapsed:
            return ""
        total = len(self.cells["dependence"].values)
        return "COLLAPSED" if total == 1 else f"COLLAPSED {self.collapsed}/{total}"


@dataclass(frozen=True)
class Picture:
    """A tile: uint8 (H, W, 3) RGB with a caption."""

    caption: str
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class Gallery:
    """One scene: the tiles that all share, then those of each column."""

    title: str
    shared: tuple[Picture, ...]
    columns: tuple[tuple[str, tuple[Picture, ...]], ...]  # label, tiles


@dataclass(frozen=True)
class Report:
    """All that an evaluation found; the pictures are not part of the JSON document."""

    created: str  # ISO 8601, UTC
    versions: Mapping[str, str]
    size: int
    scenes: int  # per test seed
    seeds: tuple[int, ...]
    far_yaw: tuple[float, float] | None
    device: str
    seconds: float
    columns: tuple[Column, ...]
    galleries: tuple[Gallery, ...] = field(default=(), compare=False)

    def to_json(self) -> str:
        """The document that the head of this module describes; strict JSON."""
        return json.dumps(_document(self), indent=1, allow_nan=False)


def report_from_json(text: str) -> Report:
    """The report of a document, without its pictures."""
    try:
        document = json.loads(text)
        if document["schema"] != SCHEMA or document["version"] != VERSION:
            found = f"{document['schema']} version {document['version']}"
            raise DataError(f"found {found}; wanted {SCHEMA} version {VERSION}: run getgan evaluate again")
        return Report(
            created=document["created"],
            versions=document["versions"],
            size=document["size"],
            scenes=document["scenes"],
            seeds=tuple(document["seeds"]),
            far_yaw=None if document["far_yaw"] is None else tuple(document["far_yaw"]),
            device=document["device"],
            seconds=document["seconds"],
            columns=tuple(_column(column) for column in document["columns"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"not an evaluation report of getgan ({error!r}); run getgan evaluate again"
        ) from error


def _document(report: Report) -> dict[str, Any]:
    kept = ("created", "versions", "size", "scenes", "seeds", "far_yaw", "device", "seconds")
    return {
        "schema": SCHEMA,
        "version": VERSION,
        **{name: getattr(report, name) for name in kept},
        "collapsed_below": COLLAPSED_BELOW,
        "metrics": [metric._asdict() for metric in METRICS],
        "notes": dict(NOTES),
        "columns": [
            {
                "label": column.label,
                "kind": column.kind,
                "collapsed": column.collapsed,
                "checkpoints": [asdict(origin) for origin in column.origins],
                "cells": {key: _cell_document(cell) for key, cell in column.cells.items()},
            }
            for column in report.columns
        ],
    }


def _cell_document(cell: Cell) -> dict[str, Any]:
    found = cell.estimate
    return {
        "mean": None if found is None else found.mean,
        "half_width_95": None if found is None else found.half_width,
        "units": 0 if found is None else found.units,
        "unit": "" if found is None else found.unit,
        "values": cell.values,
        "reason": cell.reason,
    }


def _column(document: dict[str, Any]) -> Column:
    cells = {
        key: Cell(tuple(tuple(row) for row in cell["values"]), cell["reason"])
        for key, cell in document["cells"].items()
    }
    shape = cells["dependence"].values
    unknown = Cell(tuple((None,) * len(row) for row in shape), "the version that made this had no such row")
    return Column(
        label=document["label"],
        kind=document["kind"],
        origins=tuple(Origin(**origin) for origin in document["checkpoints"]),
        cells={metric.key: unknown for metric in METRICS} | cells,
    )
