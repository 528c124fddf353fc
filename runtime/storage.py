"""Where a bundle's bytes lie: a folder's files or a zip's entries, read only if they are what they seem.

Every error here is a BundleError without the bundle's own path, which `Bundle` puts in front.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from getgan.errors import BundleError
from getgan.runtime.foreign import advice_for, what_is
from getgan.runtime.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, File

MAX_FILES = 256  # a real bundle has 20 to 30; each is found in the zip's directory again when it is read
MAX_FILE_BYTES = 1 << 31  # an ONNX file cannot be larger: it is one protobuf message
COPY_AGAIN = "copy the bundle again"

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_WINDOWS_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_END = struct.Struct("<4s4H2LH")  # the last bytes of a zip without a comment
_ENTRY = struct.Struct("<4s24x3H12x")  # of the directory: then its name and two more fields, so long
_LOCATOR_BYTES = 20  # of the 64-bit form, which stands before the end and overrules it
# What zipfile raises over damaged bytes, found by flipping each of them.
_READ_ERRORS = (zipfile.BadZipFile, RuntimeError, EOFError, ValueError, struct.error)


def check_paths(files: dict[str, File]) -> None:
    """Refuse names that do not mean one place inside the bundle, and the same one on every system."""
    if len(files) > MAX_FILES:
        raise BundleError(f"found {len(files):,} files; wanted at most {MAX_FILES:,}")
    taken: dict[str, str] = {MANIFEST_NAME: MANIFEST_NAME}
    folders: dict[str, str] = {}
    for name, file in files.items():
        parts = name.split("/")
        good = all(_PART.fullmatch(part) and part[-1] != "." for part in parts)
        if not good or len(name) > 200 or any(_WINDOWS_DEVICE.fullmatch(part) for part in parts):
            rule = "a relative path of letters, digits and ._+- that stays inside the bundle"
            raise BundleError(f"found the path {name!r:.90} in {MANIFEST_NAME}; wanted {rule}")
        if not 0 <= file.bytes <= MAX_FILE_BYTES:
            raise BundleError(f"{name}: found {file.bytes:,} bytes listed; wanted 0 to {MAX_FILE_BYTES:,}")
        # Windows and macOS take A.png and a.png for one file.
        if name.casefold() in taken:
            raise BundleError(f"{MANIFEST_NAME} lists {name} twice, or itself; export the bundle again")
        taken[name.casefold()] = name
        for end in range(1, len(parts)):
            folders["/".join(parts[:end]).casefold()] = name
    for folder, name in folders.items():
        if folder in taken:
            raise BundleError(f"{MANIFEST_NAME} lists {taken[folder]} as a file and as {name}'s folder")


# --- a folder -------------------------------------------------------------------------------------------


def check_regular(folder: Path, name: str, size: int | None) -> None:
    """Check for a regular file of that size, neither it nor its folders links; None = any size."""
    place = folder
    try:
        for part in name.split("/"):
            place = place / part
            status = place.lstat()
            if stat.S_ISLNK(status.st_mode):
                shown = place.relative_to(folder).as_posix()
                raise BundleError(f"{shown} is a symbolic link; wanted the file itself: {COPY_AGAIN}")
    except (FileNotFoundError, NotADirectoryError) as error:
        if name == MANIFEST_NAME:
            raise BundleError(f"found no {MANIFEST_NAME}; wanted a bundle: {advice_for(folder)}") from error
        raise BundleError(f"{name} is missing; {COPY_AGAIN}") from error
    except OSError as error:
        raise BundleError(f"{name} cannot be read ({error.strerror}); check its permissions") from error
    _check_status(name, status, size)


def _check_status(name: str, status: os.stat_result, size: int | None) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise BundleError(f"{name} is no regular file; {COPY_AGAIN}")
    if size is None:
        _check_manifest_size(status.st_size)
    elif status.st_size != size:
        raise BundleError(f"{name} has {status.st_size:,} bytes, {MANIFEST_NAME} says {size:,}; {COPY_AGAIN}")


def _check_manifest_size(size: int) -> None:
    if size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{MANIFEST_NAME} has {size:,} bytes; wanted at most {MAX_MANIFEST_BYTES:,}")


def read_regular(folder: Path, name: str, size: int | None) -> bytes:
    """A file's bytes; size None = the manifest, whose size nothing states."""
    check_regular(folder, name, size)
    # Should the file be exchanged just now: a link is not followed, a pipe not waited for.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    flags |= getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        with os.fdopen(os.open(folder / name, flags), "rb") as file:
            status = os.fstat(file.fileno())
            _check_status(name, status, size)
            return file.read(status.st_size + 1)
    except OSError as error:
        raise BundleError(f"{name} cannot be read ({error.strerror}); check its permissions") from error


# --- one file -------------------------------------------------------------------------------------------


def check_entries(path: Path, files: dict[str, File]) -> None:
    """Check that the zip holds the manifest and the listed files, and nothing else."""
    with _open_zip(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
    for name, file in files.items():
        if name not in entries:
            raise BundleError(f"{name} is missing; {COPY_AGAIN}")
        if entries[name].file_size != file.bytes:
            size = f"{entries[name].file_size:,} bytes, {MANIFEST_NAME} says {file.bytes:,}"
            raise BundleError(f"{name} has {size}; {COPY_AGAIN}")
    extra = sorted(entries.keys() - files.keys() - {MANIFEST_NAME})
    if extra:
        raise BundleError(f"found {extra[0]!r:.90}, which {MANIFEST_NAME} does not list; {COPY_AGAIN}")


def read_entry(path: Path, name: str, size: int | None) -> bytes:
    """An entry's bytes; size None = the manifest."""
    with _open_zip(path) as archive:
        entry = archive.NameToInfo.get(name)
        if entry is None:
            if name == MANIFEST_NAME:
                raise BundleError(f"is {what_is(path)}; wanted a bundle: {advice_for(path)}")
            raise BundleError(f"{name} is missing; {COPY_AGAIN}")
        if size is None:
            _check_manifest_size(entry.file_size)
        elif entry.file_size != size:
            raise BundleError(f"{name} changed while it was read; {COPY_AGAIN}")
        with archive.open(entry) as file:
            return file.read()


@contextmanager
def _open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive, after its own structure is checked; what zipfile raises becomes a BundleError."""
    try:
        with open(path, "rb") as file:
            size = _check_end(path, file)
            with zipfile.ZipFile(file) as archive:
                _check_infos(archive.infolist(), size)
                yield archive
    except _READ_ERRORS as error:
        raise BundleError(f"is cut off or damaged ({error!s:.120}); {COPY_AGAIN}") from error
    except OSError as error:
        raise BundleError(f"cannot be read ({error.strerror or error}); check its permissions") from error


def _check_end(path: Path, file: BinaryIO) -> int:
    """The size of the zip, whose directory is small and of one piece: zipfile reads one of any length."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if not file.read(4).startswith(b"PK"):
        raise BundleError(f"is {what_is(path)}; wanted a bundle: {advice_for(path)}")
    tail = max(0, size - _END.size - _LOCATOR_BYTES)
    file.seek(tail)
    data = file.read()
    end = data[-_END.size :]
    mark, _, _, here, entries, length, start, comment = _END.unpack(end.ljust(_END.size))
    # As pack_bundle writes it: nothing before the first entry, no comment behind these bytes, no 64-bit form.
    if mark != b"PK\x05\x06" or comment or here != entries or start + length + _END.size != size:
        if "checkpoint" in what_is(path):
            raise BundleError(f"is {what_is(path)}; wanted a bundle: {advice_for(path)}")
        raise BundleError(f"is a zip file that is cut off or damaged; {COPY_AGAIN}")
    if data.startswith(b"PK\x06\x07"):
        raise BundleError("is a zip file in 64-bit form; wanted one that getgan wrote: export it again")
    if entries > MAX_FILES + 1 or length > (MAX_FILES + 1) * 512:
        raise BundleError(f"found {entries:,} files in it; wanted at most {MAX_FILES:,}")
    file.seek(start)
    directory = file.read(length)
    place = found = 0
    while place + _ENTRY.size <= length:
        place += _ENTRY.size + sum(_ENTRY.unpack_from(directory, place)[1:])
        found += 1
    if found != entries:
        raise BundleError(f"found {found:,} files in it where it says {entries:,}; {COPY_AGAIN}")
    return size


def _check_infos(infos: list[zipfile.ZipInfo], size: int) -> None:
    seen: set[str] = set()
    for info in infos:
        name = f"{info.orig_filename!r:.90}"
        if info.orig_filename in seen:
            raise BundleError(f"found {name} twice in it; {COPY_AGAIN}")
        seen.add(info.orig_filename)
        if info.filename != info.orig_filename or info.is_dir():
            raise BundleError(f"found the entry {name}; wanted plain files: {COPY_AGAIN}")
        if info.flag_bits & 0x1:
            raise BundleError(f"{name} is encrypted; wanted it plain: getgan writes such files itself")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise BundleError(f"{name} is compressed; wanted it stored: unzip it and use the folder")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise BundleError(f"{name} is a link or a device; wanted plain files: {COPY_AGAIN}")
        if info.file_size > MAX_FILE_BYTES:
            raise BundleError(f"{name} has {info.file_size:,} bytes; wanted at most {MAX_FILE_BYTES:,}")
    if sum(info.file_size for info in infos) > size:
        raise BundleError(f"its files overlap: together they are longer than it is; {COPY_AGAIN}")
