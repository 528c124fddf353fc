"""Decoding by libraries in C++ in a process of their own: a damaged frame ends that process and not the run.

gdcm decodes JPEG Lossless, JPEG of 12 bits, JPEG-LS and RLE. Some damaged frames make it abort (found by
fuzzing), and it writes to the terminal, from C. As a command, `python -m getgan.clinic.codecs` answers one
request after the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from getgan.errors import DataError
from getgan.runtime.worker import Worker, serve

SECONDS = 5.0  # for one frame; 8 megapixels of JPEG Lossless take 0.3, of RLE in pydicom's Python 7
DATA_BYTES = 1 << 30  # what the process may take: a frame of 8 megapixels in 16 bit RGB is 50 MB
BROKEN = "is damaged, and its decoder broke down; copy it again, or export it as PNG"


class CodecProcess:
    """Decodes frames, for callers in any number of threads; the process starts with the first and is kept."""

    def __init__(self) -> None:
        self._worker = Worker("getgan.clinic.codecs")
        self.close = self._worker.close

    def decode(self, encoded: bytes, syntax: str, options: dict[str, Any]) -> NDArray[np.generic]:
        """One frame as pydicom gives it; DataError if it cannot be decoded, whatever happened."""
        try:
            answer, data = self._worker.ask({"syntax": syntax, "options": options}, encoded, seconds=SECONDS)
        except OSError as error:
            raise DataError(f"its decoder cannot be started ({error.strerror})") from error
        except EOFError:
            raise DataError(BROKEN) from None
        if "fault" in answer:
            raise DataError(f"is damaged or of an unknown kind ({answer['fault']}); export it as PNG")
        return np.frombuffer(data, answer["dtype"]).reshape(answer["shape"])


CODECS = CodecProcess()


def _answer(about: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID, JPEGExtended12Bit, JPEGLossless

    syntax = UID(about["syntax"])
    if syntax == JPEGExtended12Bit:
        # pydicom keeps gdcm from 12 bit, without need: gdcm goes by what stands in the JPEG itself, under the
        # name of any JPEG, and gives bit for bit what dcmtk's decoder does.
        syntax = JPEGLossless
    try:
        source, decoder = encapsulate([data], has_bot=False), get_decoder(syntax)
        plugin = "gdcm" if "gdcm" in decoder.available_plugins else ""
        frame = decoder.as_array(source, index=0, decoding_plugin=plugin, **about["options"])[0]
    except Exception as error:  # noqa: BLE001 - pydicom raises anything; its message may quote the file
        return {"fault": type(error).__name__}, b""
    array = np.ascontiguousarray(frame)
    return {"shape": array.shape, "dtype": array.dtype.str}, array.tobytes()


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore")
    serve(_answer, memory=DATA_BYTES)
