"""The doctor's look at folders, video codecs and cameras."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from getgan.errors import GetganError, OutputError
from getgan.runtime.cache import cache_folder
from getgan.runtime.doctor.check import Check
from getgan.runtime.media.encoding import codec_for
from getgan.runtime.media.recording import MIN_FREE_BYTES
from getgan.runtime.media.videowriter import VideoSink

LOW_BYTES = 1 << 30  # a bundle has 50 MB, an engine 20 to 100
DEVICES = Path("/dev")
DEVICE_NAMES = Path("/sys/class/video4linux")


def checks() -> Iterator[Check]:
    """One after the other."""
    yield cache_check()
    yield _temp()
    for suffix in (".mp4", ".webm", ".avi"):
        yield video_check(suffix)
    yield cameras_check(DEVICES, DEVICE_NAMES)


def _temp() -> Check:
    repair = "export TMPDIR=/a/folder/that/you/may/write"
    try:
        folder = Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        return Check("temp", "fault", str(error), repair)
    return folder_check("temp", folder, repair)


def cache_check() -> Check:
    """Where it is, and what it costs not to have it."""
    found = folder_check("cache", cache_folder(), "export XDG_CACHE_HOME=/a/folder/that/you/may/write")
    if found.status != "fault":
        return found
    cost = "every start first tries its graph in a process of its own, which takes a second"
    return replace(found, status="warn", found=f"{found.found}; {cost}")


def folder_check(name: str, folder: Path, repair: str) -> Check:
    """Whether a file can be made in it, and the space; a folder that is not there is made for that time."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    try:
        _try_file(folder)
        free = shutil.disk_usage(there).free
    except OSError as error:
        return Check(name, "fault", f"{folder} cannot be written: {error.strerror}", repair)
    found = f"{folder}, {'' if there == folder else 'made when needed, '}{free / 2**30:.1f} GiB free"
    if free < MIN_FREE_BYTES:
        return Check(name, "fault", found, f"free space: du -xh {there} | sort -h | tail")
    if free < LOW_BYTES:
        return Check(name, "warn", found, f"free space: du -xh {there} | sort -h | tail")
    return Check(name, "ok", found)


def _try_file(folder: Path) -> None:
    """Make a file there and remove it, and the folders that this took; OSError if it cannot be."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial = folder / f".getgan-{secrets.token_hex(8)}.tmp"
        trial.write_bytes(b"x")
        trial.unlink()
    finally:
        for place in made:
            with contextlib.suppress(
                OSError
            ):  # not made after all, or another process has put something there
                place.rmdir()


def video_check(suffix: str) -> Check:
    """Really write a short video and read it back."""
    name = f"video {suffix}"
    try:
        with tempfile.TemporaryDirectory() as folder:
            sink = VideoSink(Path(folder) / f"trial{suffix}", 25.0)
            for index in range(5):
                picture = np.full((64, 64, 3), 40 * index, np.uint8)
                sink.put(index / 25.0, picture)
            closed = sink.close(keep=True)
        if closed.complaint:
            raise OutputError(closed.complaint)
        codec = codec_for(suffix)
    except (GetganError, OSError) as error:
        repair = "pip install --force-reinstall opencv-python"
        return Check(name, "warn", f"cannot be written: {error}", repair)
    except ImportError as error:
        return Check(
            name, "fault", f"OpenCV cannot be imported: {error}", "pip install opencv-python-headless"
        )
    plays = "which browsers play" if codec.browser else "which no browser plays (.webm does)"
    return Check(name, "ok", f"written as {codec.name}, {plays}, and read back")


def cameras_check(devices: Path, names: Path) -> Check:
    """The /dev/video* there are; none is opened, which would switch it on."""
    found = sorted(
        (int(match[1]), path)
        for path in devices.glob("video*")
        if (match := re.fullmatch(r"video(\d+)", path.name))
    )
    if not found:
        return Check("cameras", "none", f"no {devices}/video*; network cameras need none")
    listed = ", ".join(f"{number} ({_name(names / path.name)})" for number, path in found)
    shut = [str(path) for _, path in found if not os.access(path, os.R_OK | os.W_OK)]
    if shut:
        repair = "sudo usermod -aG video $USER, then log in again"
        return Check("cameras", "warn", f"{listed}; no permission for {' '.join(shut)}", repair)
    return Check("cameras", "ok", listed)


def _name(folder: Path) -> str:
    try:
        return (folder / "name").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "name unknown"
