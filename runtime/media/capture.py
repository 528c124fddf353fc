"""Opening a video file with OpenCV, so that it is read as the file that it is and nothing else is read."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from getgan.errors import GetganError
from getgan.printing import one_line

if TYPE_CHECKING:
    import cv2

OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
# FFmpeg's names of the readers for the suffixes that getgan promises. Without this an .mp4 that is a playlist
# (ffconcat, HLS, DASH) makes FFmpeg read the files and addresses that it names.
DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpeg,mpegts,mpegvideo,asf"
FILE_OPTIONS = f"format_whitelist;{DEMUXERS}|protocol_whitelist;file"
# A playlist from a camera may name other cameras; it may not name files of this machine.
STREAM_OPTIONS = "protocol_whitelist;rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https,httpproxy,crypto"
DEFAULTS = "rtsp_transport;tcp"  # OpenCV's own, which it leaves out when the variable is set
_environment = threading.Lock()  # what is the whole process's is one thread's at a time


def check_name(path: Path, error: type[GetganError]) -> None:
    """Raise the error for a path that is no UTF-8: OpenCV 5 ends the process over it (segmentation fault)."""
    text = str(path.absolute())
    if text.encode("utf-8", "replace").decode() != text:
        raise error(f"{one_line(path)}: its name is no UTF-8, which OpenCV cannot open; rename it")


def open_video(path: Path) -> cv2.VideoCapture:
    """A video file for reading, not opened if it is none. The caller releases it."""
    # Absolute, or FFmpeg takes what stands before a colon for a protocol.
    return open_limited(str(path.absolute()), FILE_OPTIONS)


def open_limited(where: str, options: str, settings: list[int] | None = None) -> cv2.VideoCapture:
    """An FFmpeg capture with these options, which OpenCV takes from the environment alone."""
    import cv2

    quiet_opencv()
    with _environment:
        before = os.environ.get(OPTIONS)
        # Of an option that is given twice the later value counts: the user's over the default, ours over all.
        os.environ[OPTIONS] = "|".join((DEFAULTS, *([before] if before else []), options))
        try:
            return cv2.VideoCapture(where, cv2.CAP_FFMPEG, settings or [])
        finally:
            if before is None:
                del os.environ[OPTIONS]
            else:
                os.environ[OPTIONS] = before


def quiet_opencv() -> None:
    """Keep OpenCV and FFmpeg off stderr: what matters of it we say in one line.

    OPENCV_LOG_LEVEL and OPENCV_FFMPEG_LOGLEVEL in the environment bring it back.
    """
    import cv2

    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    if "OPENCV_LOG_LEVEL" not in os.environ:
        # OpenCV 4 has it at the top, OpenCV 5 in a module; 0 is silent in both.
        set_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
        set_level(0)


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Drop what OpenCV prints to stderr by itself, for the moment of one call; no setting of its stops it."""
    with _environment:
        try:
            before = os.dup(2)
        except OSError:  # a daemon may have closed it
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(before, 2)
            os.close(nowhere)
            os.close(before)
