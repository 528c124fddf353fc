"""A bundle on disk, as a folder or as one file: no byte of it is used before its hash is checked."""

from __future__ import annotations

import hashlib
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from getgan.errors import BundleError
from getgan.files import atomic_write
from getgan.runtime.manifest import MANIFEST_NAME, Manifest, manifest_from_json
from getgan.runtime.storage import (
    COPY_AGAIN,
    check_entries,
    check_paths,
    check_regular,
    read_entry,
    read_regular,
)

SUFFIX = ".getgan"
MAX_BUNDLE_BYTES = (1 << 32) - (1 << 20)  # what fits into a zip file without its 64-bit form


@dataclass(frozen=True)
class Bundle:
    """An opened bundle; `sha256`, of manifest.json, is its identity: the manifest holds all other hashes.

    Opening reads and checks the manifest, and that each listed file is there with its size. Contents are
    hashed when they are read, because a start needs one graph and one golden pair and not all of them;
    `verify` reads everything.
    """

    path: Path
    manifest: Manifest
    sha256: str

    @classmethod
    def open(cls, path: Path) -> Bundle:
        """Open a folder or a .getgan file; BundleError says in one line why it cannot be used."""
        path = Path(path)
        try:
            data = read_manifest(path)
            manifest = manifest_from_json(data)
            check_paths(manifest.files)
            if path.is_dir():
                for name, file in manifest.files.items():
                    check_regular(path, name, file.bytes)
            else:
                check_entries(path, manifest.files)
        except BundleError as error:
            raise BundleError(f"{path}: {error}") from error
        except OSError as error:
            raise BundleError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
        return cls(path, manifest, hashlib.sha256(data).hexdigest())

    def read(self, name: str) -> bytes:
        """The bytes of a listed file, hashed after they were read: exactly these bytes are the right ones."""
        try:
            if name not in self.manifest.files:
                raise BundleError(f"{name} is not listed in {MANIFEST_NAME}; wanted a file of the bundle")
            file = self.manifest.files[name]
            read = read_regular if self.path.is_dir() else read_entry
            data = read(self.path, name, file.bytes)
            found = hashlib.sha256(data).hexdigest()
            if found != file.sha256:
                wanted = f"{MANIFEST_NAME} says {file.sha256[:12]}"
                raise BundleError(
                    f"{name} is damaged or was altered: found SHA-256 {found[:12]}, {wanted}; {COPY_AGAIN}"
                )
        except BundleError as error:
            raise BundleError(f"{self.path}: {error}") from error
        return data

    def verify(self) -> int:
        """Read and hash every file, and the manifest again; the number of bytes that were checked."""
        now = Bundle.open(self.path)
        if now.sha256 != self.sha256:
            raise BundleError(f"{self.path}: {MANIFEST_NAME} changed since it was opened; open it again")
        return sum(len(self.read(name)) for name in self.manifest.files)


def read_manifest(path: Path) -> bytes:
    """Of a folder or a .getgan file, not parsed; BundleError where there is none."""
    if path.is_dir():
        return read_regular(path, MANIFEST_NAME, None)
    if path.is_file():
        return read_entry(path, MANIFEST_NAME, None)
    found = "is no regular file" if path.exists() else "is missing"
    raise BundleError(f"{found}; wanted a bundle: getgan export CKPT -o BUNDLE")


def pack_bundle(folder: Path, file: Path, *, replace: bool = True) -> None:
    """Write a bundle as one file, an uncompressed zip; the same bundle gives the same bytes.

    Uncompressed, because weights do not shrink and each entry stays one plain range of bytes. replace False:
    OutputError if there is a file of that name in the end.
    """
    bundle = Bundle.open(folder)
    needed = sum(entry.bytes for entry in bundle.manifest.files.values())
    if needed > MAX_BUNDLE_BYTES:
        raise BundleError(f"{folder}: found {needed:,} bytes; one file holds {MAX_BUNDLE_BYTES:,} at most")
    atomic_write(file, lambda target: _write_zip(bundle, target), needed=needed, replace=replace)


def _contents(bundle: Bundle) -> Iterator[tuple[str, bytes]]:
    """Manifest first, then by name, each checked."""
    read = read_regular if bundle.path.is_dir() else read_entry
    data = read(bundle.path, MANIFEST_NAME, None)
    if hashlib.sha256(data).hexdigest() != bundle.sha256:
        raise BundleError(f"{bundle.path}: {MANIFEST_NAME} changed while it was read; run it again")
    yield MANIFEST_NAME, data
    for name in sorted(bundle.manifest.files):
        yield name, bundle.read(name)


def _write_zip(bundle: Bundle, target: BinaryIO) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        for name, data in _contents(bundle):
            entry = zipfile.ZipInfo(name)  # dated 1980-01-01
            entry.create_system = 3  # the same bytes whatever the system
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, data)
