"""The real ultrasound frames that lie in pydicom's package, under its licence: no face is among them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from getgan.clinic.dicom import INSTALL, read_frames
from getgan.errors import ConfigError

# By what they show. None is compressed in a way that needs another package.
EXAMPLES = {
    "heart-no-face": "examples_ybr_color.dcm",
    "lymph-node-no-face": "examples_rgb_color.dcm",
    "probe-in-air-no-face": "examples_palette.dcm",
}


def example_frames() -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """(name, uint8 (H, W, 3) RGB) of the first frame of each, cropped to the scan; nothing is downloaded."""
    try:
        from pydicom.data import get_testdata_file
    except ModuleNotFoundError as error:
        raise ConfigError(f"the example frames are pydicom's, which is not installed: {INSTALL}") from error

    for name, file in EXAMPLES.items():
        path = get_testdata_file(file, download=False)
        if not path:
            raise ConfigError(
                f"found no {file} in the installed pydicom; wanted pydicom 3: {INSTALL} --upgrade"
            )
        yield name, read_frames(Path(str(path)))[0]
