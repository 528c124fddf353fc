"""Decoding by libraries in C++ in a process of their own: a damaged frame ends that process and not the run.

gdcm decodes JPEG Lossless, JPEG of 12 bits, JPEG-LS and RLE. Some damaged frames make it abort (found by
fuzzing), and it writes to the terminal, from C. As a command, `python -m getgan.clinic.codecs` answers one
request after the other.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import threading
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from getgan.errors import DataError
from getgan.runtime.child import START

SECONDS = 5.0  # for one frame; 8 megapixels of JPEG Lossless take 0.3, of RLE in pydicom's Python 7
DATA_BYTES = 1 << 30  # what the process may take: a frame of 8 megapixels in 16 bit RGB is 50 MB
BROKEN = "is damaged, and its decoder broke down; copy it again, or export it as PNG"


class CodecProcess:
    """Decodes frames, for callers in any number of threads; the process starts with the first and is kept."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def decode(self, encoded: bytes, syntax: str, options: dict[str, Any]) -> NDArray[np.generic]:
        """One frame as pydicom gives it; DataError if it cannot be decoded, whatever happened."""
        with self._lock:
            process = self._started()
            # A decoder that hangs is ended, and its answer with it.
            watch = threading.Timer(SECONDS, process.kill)
            watch.start()
            try:
                assert process.stdin is not None and process.stdout is not None
                _send(process.stdin, {"syntax": syntax, "options": options}, encoded)
                answer, data = _received(process.stdout)
            except (OSError, EOFError, ValueError):
                self._end()
                raise DataError(BROKEN) from None
            finally:
                watch.cancel()
        if "fault" in answer:
            raise DataError(f"is damaged or of an unknown kind ({answer['fault']}); export it as PNG")
        return np.frombuffer(data, answer["dtype"]).reshape(answer["shape"])

    def close(self) -> None:
        """End the process; the next frame starts another."""
        with self._lock:
            self._end()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._end()
            command = [sys.executable, "-c", START, "getgan.clinic.codecs"]
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C is for the run, which ends after this frame
                )
            except OSError as error:
                raise DataError(f"its decoder cannot be started ({error.strerror})") from error
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


CODECS = CodecProcess()
atexit.register(CODECS.close)


def _send(stream: IO[bytes], about: dict[str, Any], data: bytes) -> None:
    head = json.dumps({**about, "bytes": len(data)}).encode() + b"\n"
    stream.write(head)
    stream.write(data)
    stream.flush()


def _received(stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """EOFError at the other end's end."""
    head = stream.readline()
    if not head.endswith(b"\n"):
        raise EOFError
    about: dict[str, Any] = json.loads(head)
    data = stream.read(about["bytes"])
    if len(data) != about["bytes"]:
        raise EOFError
    return about, data


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


def _serve() -> None:
    import contextlib
    import warnings

    with contextlib.suppress(ImportError, ValueError, OSError):  # not on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (DATA_BYTES, DATA_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the patient's picture
    warnings.simplefilter("ignore")
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            _send(sys.stdout.buffer, *_answer(*_received(sys.stdin.buffer)))


if __name__ == "__main__":
    _serve()
