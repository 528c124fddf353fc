"""DICOM's palettes in either byte order: pydicom reads a big-endian one as little-endian, which is black."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from getgan.errors import DataError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_WRONG = "has no palette that getgan understands; export it as PNG"


def apply_palette(indices: NDArray[np.generic], dataset: Dataset, little_endian: bool) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) RGB from (H, W) indices."""
    first = int(dataset.RedPaletteColorLookupTableDescriptor[1])
    tables = np.stack([_table(dataset, colour, little_endian) for colour in ("Red", "Green", "Blue")], axis=1)
    entries = np.clip(indices.astype(np.int32) - first, 0, len(tables) - 1)
    return np.asarray(tables[entries], np.uint8)


def _table(dataset: Dataset, colour: str, little_endian: bool) -> NDArray[np.uint8]:
    """The entries of one colour at 8 bit (PS3.3 C.7.6.3.1.5 and 6)."""
    count, _, bits = (int(value) for value in dataset[f"{colour}PaletteColorLookupTableDescriptor"].value)
    count = count or 1 << 16
    packed = f"Segmented{colour}PaletteColorLookupTableData"
    order = "<" if little_endian else ">"
    if packed in dataset:
        raw = dataset[packed].value
        values = _unpacked(
            np.frombuffer(raw, "u1" if bits == 8 else order + "u2").astype(int).tolist(), count
        )
    else:
        raw = dataset[f"{colour}PaletteColorLookupTableData"].value
        if len(raw) >= 2 * count:
            values = np.frombuffer(raw, order + "u2")
        else:  # two entries in a word
            values = np.frombuffer(raw, "u1")
            if not little_endian and len(values) % 2 == 0:
                values = values.reshape(-1, 2)[:, ::-1].ravel()
    if bits not in (8, 16) or len(values) < count:
        raise DataError(_WRONG)
    # Some write 8 bits into the upper byte, and some into the lower one.
    levels = values[:count].astype(np.uint16)
    return np.asarray(levels >> 8 if levels.max() > 255 else levels, np.uint8)


def _unpacked(data: list[int], count: int) -> NDArray[np.uint16]:
    """Of segments (PS3.3 C.7.9.2): values and straight lines. Those that repeat others were never seen."""
    found: list[int] = []
    place = 0
    while place + 2 <= len(data) and len(found) < count:
        kind, length = data[place], min(data[place + 1], count - len(found))
        if kind == 0:
            found += data[place + 2 : place + 2 + length]
            place += 2 + data[place + 1]
        elif kind == 1 and found and place + 2 < len(data):
            line = np.linspace(found[-1], data[place + 2], data[place + 1] + 1)[1 : length + 1]
            found += np.rint(line).astype(int).tolist()
            place += 3
        else:
            raise DataError(_WRONG)
    return np.asarray(found, np.uint16)
