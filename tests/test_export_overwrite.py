"""A bundle appears whole or not at all, and replaces nothing but a bundle."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from export_helpers import saved
from made_bundles import CHECKPOINT, quiet, small_bundle

from getgan.errors import BundleError, CheckpointError, ConfigError, DataError, ExportError, OutputError
from getgan.export import bundle as bundle_module
from getgan.export import folder as folder_module
from getgan.export import source as source_module
from getgan.export.bundle import ExportOptions, export_bundle
from getgan.export.gate import Gate
from getgan.export.record import VariantRecord
from getgan.runtime.bundle import Bundle


@pytest.fixture(scope="module")
def small() -> Any:
    return small_bundle()


def listing(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def old(small: Any, tmp_path: Path) -> tuple[Path, Path, dict[str, bytes]]:
    """A checkpoint and an old bundle that must survive."""
    checkpoint = Path(shutil.copy(small[0], tmp_path))
    shutil.copytree(small[1], tmp_path / "net")
    manifest = tmp_path / "net" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"created": "20', '"created": "19'))
    return checkpoint, tmp_path / "net", listing(tmp_path)


@pytest.fixture(scope="module")
def judged(small: Any) -> bundle_module.Judged:
    """What is about to be written, made once."""
    return bundle_module._judge(small[0], ExportOptions(), quiet, {})


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def stopped(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def rename_once(real: Callable[..., None]) -> Callable[..., None]:
    calls: list[object] = []

    def rename(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == 2:  # the new bundle into the old one's place
            full_disk()
        real(source, target)

    return rename


@pytest.fixture
def old_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """A C library that cannot let two folders change places."""
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_refused_fp32_writes_nothing(old: Any, monkeypatch: pytest.MonkeyPatch, overwrite: bool) -> None:
    checkpoint, output, before = old
    refused = VariantRecord("fp32", False, "onnxruntime", "max error 0.5 on 'hand'")
    monkeypatch.setattr(Gate, "judge", lambda *_: refused)
    target = output if overwrite else output.with_name("new")
    with pytest.raises(
        ExportError, match=r"PyTorch's pictures: max error 0\.5 on 'hand'; nothing was written"
    ):
        export_bundle(checkpoint, target, ExportOptions(overwrite=overwrite), quiet)
    assert listing(output.parent) == before


@pytest.mark.parametrize(
    ("place", "name", "failure", "error"),
    [
        (folder_module, "write_bytes_atomic", full_disk, OutputError),
        (folder_module, "write_bytes_atomic", stopped, KeyboardInterrupt),
        (bundle_module, "move_into_place", stopped, KeyboardInterrupt),
        (os, "rename", None, OutputError),
    ],
)
def test_a_failure_while_writing_leaves_the_old_bundle(
    old: Any,
    judged: Any,
    monkeypatch: pytest.MonkeyPatch,
    place: Any,
    name: str,
    failure: Any,
    error: type[BaseException],
) -> None:
    checkpoint, output, before = old
    monkeypatch.setattr(bundle_module, "_judge", lambda *_: judged)
    if failure is None:
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    monkeypatch.setattr(place, name, failure or rename_once(os.rename))
    with pytest.raises(error) as caught:
        export_bundle(checkpoint, output, ExportOptions(overwrite=True), quiet)
    monkeypatch.undo()
    if error is OutputError:
        assert "No space left on device" in str(caught.value)
    assert listing(output.parent) == before
    assert sorted(p.name for p in output.parent.iterdir()) == ["net", "resnet.safetensors"]


@pytest.mark.parametrize("system", ["exchange", "old_system"])
def test_overwriting_replaces_the_old_bundle(
    old: Any, judged: Any, monkeypatch: pytest.MonkeyPatch, system: str, request: pytest.FixtureRequest
) -> None:
    checkpoint, output, before = old
    if system == "old_system":
        request.getfixturevalue(system)
    monkeypatch.setattr(bundle_module, "_judge", lambda *_: judged)
    with pytest.raises(OutputError, match="net exists; pass --overwrite or choose another name"):
        export_bundle(checkpoint, output, ExportOptions(), quiet)
    assert listing(output.parent) == before
    export_bundle(checkpoint, output, ExportOptions(overwrite=True), quiet)
    bundle = Bundle.open(output)
    assert bundle.verify() > 0 and bundle.manifest.export.created == judged.export.created
    assert sorted(p.name for p in output.parent.iterdir()) == ["net", "resnet.safetensors"]


@pytest.mark.parametrize("version", [1, 2])
def test_a_bundle_that_another_getgan_wrote_is_replaced(
    old: Any, judged: Any, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    checkpoint, output, _ = old
    manifest = json.loads((output / "manifest.json").read_text())
    manifest |= {"version": version, "of old": 1}
    del manifest["export"]
    (output / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError):
        Bundle.open(output)
    monkeypatch.setattr(bundle_module, "_judge", lambda *_: judged)
    (output / "mine").write_text("precious")
    with pytest.raises(OutputError, match=r"holds more than its bundle \(mine\)"):
        export_bundle(checkpoint, output, ExportOptions(overwrite=True), quiet)
    (output / "mine").unlink()
    export_bundle(checkpoint, output, ExportOptions(overwrite=True), quiet)
    assert Bundle.open(output).verify() > 0


def test_a_folder_of_somebody_else_is_never_replaced(small: Any, tmp_path: Path) -> None:
    checkpoint = small[0]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter-1.txt").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "thesis")
    (tmp_path / "file").write_text("precious")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "manifest.json").write_text('{"name": "a web application"}')
    (tmp_path / "site" / "photos.txt").write_text("precious")
    (tmp_path / "notes.getgan").write_text("precious")
    (tmp_path / "folder.getgan").mkdir()
    shutil.copytree(small[1], tmp_path / "bundle-link-target")
    (tmp_path / "bundle-link").symlink_to(tmp_path / "bundle-link-target")
    before = listing(tmp_path)
    options = ExportOptions(overwrite=True)
    for name in ("thesis", "link", "file", "site", "notes.getgan", "folder.getgan", "bundle-link"):
        with pytest.raises(OutputError, match="is no bundle, so it is not replaced"):
            export_bundle(checkpoint, tmp_path / name, options, quiet)
    with pytest.raises(OutputError, match="mkdir -p"):
        export_bundle(checkpoint, tmp_path / "no" / "net", options, quiet)
    assert listing(tmp_path) == before
    assert (tmp_path / "folder.getgan").is_dir()


@pytest.mark.parametrize("extra", ["notes.txt", "golden/mine.png", "faces/", ".hidden", "graphs/fp32.bak"])
def test_a_bundle_that_holds_more_is_not_replaced(small: Any, tmp_path: Path, extra: str) -> None:
    output = tmp_path / "net"
    shutil.copytree(small[1], output)
    if extra.endswith("/"):
        (output / extra).mkdir()
    else:
        (output / extra).write_text("precious")
    before = listing(output)
    named = extra.rstrip("/")
    with pytest.raises(OutputError, match=rf"holds more than its bundle \({named}\), so it is not"):
        export_bundle(small[0], output, ExportOptions(overwrite=True), quiet)
    assert listing(output) == before and (output / extra).exists()


def test_what_came_while_the_gate_ran_is_not_replaced(
    old: Any, judged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, output, _ = old

    def slow(*_: object) -> Any:
        (output / "notes.txt").write_text("precious")
        (output.parent / "new").mkdir()
        return judged

    monkeypatch.setattr(bundle_module, "_judge", slow)
    with pytest.raises(OutputError, match=r"holds more than its bundle \(notes\.txt\)"):
        export_bundle(checkpoint, output, ExportOptions(overwrite=True), quiet)
    assert (output / "notes.txt").read_text() == "precious"
    (output.parent / "new").rmdir()
    with pytest.raises(OutputError, match="new exists; pass --overwrite"):
        export_bundle(checkpoint, output.parent / "new", ExportOptions(), quiet)


KILLED = """
import ctypes, os, sys
from pathlib import Path
from getgan.export import folder

output, steps, system = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if system == "old":
    ctypes.CDLL = lambda *_, **__: object()

def counted(real):
    def call(*arguments, **named):
        global steps
        if steps == 0:
            os.kill(os.getpid(), 9)
        steps -= 1
        return real(*arguments, **named)
    return call

os.rename = counted(os.rename)
folder.shutil.rmtree = counted(folder.shutil.rmtree)
new = output.with_name("new")
folder.move_into_place(new, output)
folder.shutil.rmtree(new)
"""


@pytest.mark.parametrize(
    ("system", "steps"), [("exchange", 0), ("old", 1), ("old", 2), ("old", 3), ("old", 4)]
)
def test_kill_9_at_any_step_loses_no_bundle(small: Any, tmp_path: Path, system: str, steps: int) -> None:
    output = tmp_path / "net"
    for name in ("net", "new"):
        shutil.copytree(small[1], tmp_path / name)
    done = subprocess.run([sys.executable, "-c", KILLED, output, str(steps), system], check=False)
    assert done.returncode == -9
    assert output.is_dir() or (system, steps) == ("old", 2)
    # The next export finds a bundle there, as if nothing had happened, and can replace it.
    with pytest.raises(OutputError, match="net exists; pass --overwrite"):
        folder_module.check_output(output, overwrite=False)
    assert Bundle.open(output).verify() > 0
    folder_module.check_output(output, overwrite=True)
    shutil.copytree(small[1], tmp_path / "newer")
    folder_module.move_into_place(tmp_path / "newer", output)
    assert Bundle.open(output).verify() > 0


KILLED_INSIDE = """
import os, sys
from pathlib import Path
from getgan.export.folder import temporary_folder

with temporary_folder(Path(sys.argv[1])) as folder:
    (folder / "graphs").mkdir()
    (folder / "graphs" / "fp32.onnx").write_bytes(bytes(1000))
    os.kill(os.getpid(), 9)
"""


def test_the_next_export_removes_what_a_killed_one_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "net"
    done = subprocess.run([sys.executable, "-c", KILLED_INSIDE, output], check=False)
    assert done.returncode == -9
    (left,) = tmp_path.iterdir()
    folder_module.check_output(output, overwrite=False)
    assert left.exists()  # it may be of an export that has not locked it yet
    target = tmp_path / "precious"
    target.mkdir()
    link = tmp_path / f".getgan-{'0' * 16}.tmp"
    link.symlink_to(target)
    packed = tmp_path / f".getgan-{'1' * 16}.tmp"  # a bundle that was to become one file
    packed.write_bytes(b"half")
    with folder_module.temporary_folder(output) as held:
        for path in (left, held, packed):
            os.utime(path, (1e9, 1e9))
        os.utime(target, (1e9, 1e9))
        with monkeypatch.context() as patch:
            patch.setattr(fcntl, "flock", no_locks)
            folder_module.check_output(output, overwrite=False)
            assert left.exists() and held.exists()
        folder_module.check_output(output, overwrite=False)
        assert sorted(tmp_path.iterdir()) == sorted((held, link, target))
    assert sorted(tmp_path.iterdir()) == sorted((link, target))


def no_locks(*_: object) -> None:
    """As a network file system without a lock service."""
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_bad_input_is_said_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "export_onnx", stopped)
    output = tmp_path / "net"
    with pytest.raises(CheckpointError, match="no such file"):
        export_bundle(tmp_path / "gone.safetensors", output, ExportOptions(), quiet)
    with pytest.raises(DataError, match="no such file"):
        export_bundle(CHECKPOINT, output, ExportOptions(images=(tmp_path / "gone.png",)), quiet)
    path = saved(tmp_path, "resnet")
    with pytest.raises(ConfigError, match="has no output occlusion"):
        export_bundle(path, output, ExportOptions(outputs=("face", "occlusion")), quiet)
    assert [p.name for p in tmp_path.iterdir()] == ["resnet.safetensors"]
