"""Atomic writing: whatever fails, the old file stands and no temporary file is left."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from getgan.errors import OutputError
from getgan.files import atomic_write, write_bytes_atomic


def _only(path: Path, content: bytes) -> None:
    assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def _two(file: BinaryIO) -> None:
    file.write(b"two")


def test_new_and_replaced_file(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    write_bytes_atomic(path, b"one")
    _only(path, b"one")
    atomic_write(path, _two)
    _only(path, b"two")
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_the_file_reaches_the_disk_before_it_takes_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        order.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def noted_replace(source: Path, target: Path) -> None:
        order.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    write_bytes_atomic(tmp_path / "file.bin", b"x")
    assert order == ["file", "replace", "folder"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")

    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OutputError) as caught:
        write_bytes_atomic(path, b"n" * 12345)
    monkeypatch.undo()
    assert f"cannot write {path}: No space left on device; needs 12,345 bytes, " in str(caught.value)
    assert "are free" in str(caught.value)
    _only(path, b"old")


def test_write_that_hits_a_real_limit(tmp_path: Path) -> None:
    # A file-size limit makes the kernel refuse in the middle of a write, as a full disk does.
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from getgan.errors import OutputError\n"
        "from getgan.files import write_bytes_atomic\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    write_bytes_atomic(Path(sys.argv[1]), bytes(1_000_000))\n"
        "except OutputError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    wanted = f"cannot write {path}: File too large; needs 1,000,000 bytes; free space in {tmp_path} "
    assert done.stdout.startswith(wanted)
    _only(path, b"old")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_interrupted_writer(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")

    def write(file: BinaryIO) -> None:
        file.write(b"half")
        raise error

    with pytest.raises(error):
        atomic_write(path, write)
    _only(path, b"old")


def test_missing_folder_and_folder_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=f"No such file or directory.*mkdir -p {tmp_path}/no"):
        write_bytes_atomic(tmp_path / "no" / "file.bin", b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="Is a directory"):
        write_bytes_atomic(tmp_path / "folder", b"x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_file_system_without_folder_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def refusing(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refusing)
    write_bytes_atomic(tmp_path / "file.bin", b"x")
    _only(tmp_path / "file.bin", b"x")
