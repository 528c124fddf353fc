"""A bundle is used only if every byte of it is what was exported; what is refused says why in one line."""

from __future__ import annotations

import os
import pickle
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from bundle_helpers import edit_manifest, make_bundle, network, replace_file

from getgan.errors import BundleError
from getgan.runtime.bundle import Bundle, pack_bundle
from getgan.runtime.manifest import MANIFEST_NAME, manifest_from_json

GRAPH = "graphs/fp32.onnx"


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("made") / "bundle")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "bundle"))


def refused(path: Path, message: str, *, read: str = "") -> str:
    with pytest.raises(BundleError, match=message) as caught:
        bundle = Bundle.open(path)
        bundle.read(read) if read else bundle.verify()
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text


# --- what works -----------------------------------------------------------------------------------------


def test_a_folder_and_its_single_file_are_one_bundle(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "tiny.getgan"
    pack_bundle(folder, file)
    one, other = Bundle.open(folder), Bundle.open(file)
    assert (one.sha256, one.manifest) == (other.sha256, other.manifest)
    assert one.verify() == other.verify() == sum(f.bytes for f in one.manifest.files.values())
    for name in one.manifest.files:
        assert one.read(name) == other.read(name) == (folder / name).read_bytes()
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == [MANIFEST_NAME, *sorted(one.manifest.files)]


def test_packing_gives_the_same_bytes_and_takes_listed_files_only(folder: Path, tmp_path: Path) -> None:
    pack_bundle(folder, tmp_path / "a.getgan")
    (folder / ".DS_Store").write_bytes(b"left by a file manager")
    for path in folder.rglob("*"):
        os.utime(path, (1e9, 1e9))
    pack_bundle(folder, tmp_path / "b.getgan")
    assert (tmp_path / "a.getgan").read_bytes() == (tmp_path / "b.getgan").read_bytes()
    Bundle.open(folder).verify()


def test_a_damaged_bundle_is_not_packed(folder: Path, tmp_path: Path) -> None:
    flip(folder / GRAPH)
    with pytest.raises(BundleError, match="altered"):
        pack_bundle(folder, tmp_path / "b.getgan")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]


def test_an_altered_file_in_the_zip_is_found(folder: Path, tmp_path: Path) -> None:
    pack_bundle(folder, tmp_path / "a.getgan")
    altered = bytearray((tmp_path / "a.getgan").read_bytes())
    altered[altered.index(b"<!doctype")] ^= 1
    (tmp_path / "a.getgan").write_bytes(altered)
    refused(tmp_path / "a.getgan", r"index\.html", read="index.html")


# --- altered files --------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_one_bit_is_noticed_and_both_hashes_are_named(folder: Path) -> None:
    flip(folder / GRAPH)
    text = refused(folder, f"{GRAPH} is damaged or was altered", read=GRAPH)
    wanted = manifest_from_json((folder / MANIFEST_NAME).read_bytes()).files[GRAPH].sha256
    assert wanted[:12] in text and wanted not in text
    assert Bundle.open(folder).read("index.html")  # what was not altered can still be read


def test_every_listed_file_is_hashed_by_verify(folder: Path, made: Path) -> None:
    for name in Bundle.open(folder).manifest.files:
        flip(folder / name)
        refused(folder, f"{name} is damaged or was altered")
        shutil.copy(made / name, folder / name)
    Bundle.open(folder).verify()


def test_missing_longer_and_shorter_files_are_refused_unread(folder: Path) -> None:
    data = (folder / GRAPH).read_bytes()
    for changed in (data + b"x", data[:-1], b""):
        (folder / GRAPH).write_bytes(changed)
        with pytest.raises(
            BundleError, match=f"has {len(changed):,} bytes, manifest.json says {len(data):,}"
        ):
            Bundle.open(folder)
    (folder / GRAPH).unlink()
    refused(folder, f"{GRAPH} is missing")


def test_a_file_exchanged_after_opening_is_refused(folder: Path) -> None:
    bundle = Bundle.open(folder)
    flip(folder / GRAPH)
    with pytest.raises(BundleError, match="altered"):
        bundle.read(GRAPH)
    with pytest.raises(BundleError, match="not listed"):
        bundle.read("../secret")
    edit_manifest(folder, page="quality.json")
    with pytest.raises(BundleError, match="changed since it was opened"):
        bundle.verify()


# --- links and paths ------------------------------------------------------------------------------------


def link(path: Path, *, beside: str) -> None:
    """Move what stands at path elsewhere and leave a symbolic link to it."""
    target = path.parent.parent / beside
    path.rename(target)
    path.symlink_to(target)


def test_symbolic_links_are_refused_wherever_they_stand(folder: Path, tmp_path: Path) -> None:
    for name, shown in ((GRAPH, GRAPH), ("golden", "golden"), (MANIFEST_NAME, MANIFEST_NAME)):
        copy = Path(shutil.copytree(folder, tmp_path / shown.replace("/", "-")))
        link(copy / name, beside=f"outside-{shown.replace('/', '-')}")
        refused(copy, f"{shown} is a symbolic link")


def test_a_link_put_there_after_opening_is_refused(folder: Path) -> None:
    bundle = Bundle.open(folder)
    link(folder / GRAPH, beside="outside")
    with pytest.raises(BundleError, match="symbolic link"):
        bundle.read(GRAPH)


def test_a_bundle_reached_over_a_link_is_fine(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(folder)
    Bundle.open(tmp_path / "latest").verify()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_and_a_folder_in_a_files_place(folder: Path) -> None:
    (folder / "index.html").unlink()
    os.mkfifo(folder / "index.html")
    refused(folder, "index.html is no regular file")
    (folder / "index.html").unlink()
    (folder / "index.html").mkdir()
    refused(folder, "index.html is no regular file")


@pytest.mark.parametrize(
    "name",
    [
        "../outside", "/etc/passwd", "a/../../b", "a//b", "./a", "a/", "", ".", "..", "a\\b", "..\\a",
        "C:\\a", "C:a", "a\0b", "a\nb", "NUL", "aux.png", "a./b", "x" * 300, "ü.png",
        ".hidden", "a:stream", " a",
    ],
)  # fmt: skip
def test_paths_that_leave_or_mean_another_place(folder: Path, name: str) -> None:
    (folder.parent / "outside").write_bytes(b"x")
    files = {**listed(folder), name: {"bytes": 1, "sha256": "0" * 64}}
    edit_manifest(folder, files=files)
    refused(folder, "found the path .* wanted a relative path")


def listed(folder: Path) -> dict[str, object]:
    files = manifest_from_json((folder / MANIFEST_NAME).read_bytes()).files
    return {name: {"bytes": file.bytes, "sha256": file.sha256} for name, file in files.items()}


def test_names_that_collide(folder: Path) -> None:
    entry, files = {"bytes": 1, "sha256": "0" * 64}, listed(folder)
    for name, message in (
        ("INDEX.html", "lists INDEX.html twice"),
        (MANIFEST_NAME, f"lists {MANIFEST_NAME} twice, or itself"),
        ("index.html/a", "as a file and as"),
    ):
        edit_manifest(folder, files={**files, name: entry})
        refused(folder, message)


def test_impossible_sizes_and_counts(folder: Path) -> None:
    files = listed(folder)
    for size in (-1, 1 << 40):
        edit_manifest(folder, files={**files, "a": {"bytes": size, "sha256": "0" * 64}})
        refused(folder, "bytes listed; wanted 0 to")
    many = {f"f{n}": {"bytes": 1, "sha256": "0"} for n in range(5000)}
    edit_manifest(folder, files={**files, **many})
    refused(folder, "wanted at most 256")


# --- manifests ------------------------------------------------------------------------------------------


def test_a_future_version_a_foreign_format_and_damage(folder: Path) -> None:
    edit_manifest(folder, version=2)
    refused(folder, "found bundle version 2; wanted at most 1.*pip install -U getgan")
    edit_manifest(folder, version=1, format="other")
    refused(folder, "found format 'other'")
    path = folder / MANIFEST_NAME
    for damaged in (b"", b"{", path.read_bytes()[:200], b"\xff\xfe", b"[" * 100_000):
        path.write_bytes(damaged)
        refused(folder, "damaged manifest.json")
    path.write_bytes(b" " * ((1 << 20) + 1))
    refused(folder, "manifest.json has 1,048,577 bytes; wanted at most 1,048,576")


def test_sizes_that_no_machine_has_memory_for(folder: Path) -> None:
    contract = {"min_size": 8, "multiple_of": 4}
    for size, message in (
        (2052, "found contract.size 2052; wanted at most 2048"),
        (4_000_000_000, "found contract.size 4000000000; wanted at most 2048"),
        (4e30, "damaged manifest.json"),
    ):
        edit_manifest(folder, contract={**contract, "size": size})
        refused(folder, message)


# --- what is no bundle ----------------------------------------------------------------------------------


def test_foreign_files_are_named_with_the_command_that_helps(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "net.pt", "w") as archive:
        archive.writestr("net/data.pkl", b"")
        archive.writestr("net/version", b"3")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", b"")
    (tmp_path / "old.pth").write_bytes(pickle.dumps({"a": 1}, protocol=2))
    (tmp_path / "net.safetensors").write_bytes((64).to_bytes(8, "little") + b'{"a":{}}' + bytes(56))
    (tmp_path / "net.onnx").write_bytes(network())
    (tmp_path / "renamed.getgan").write_bytes(network())
    (tmp_path / "net.engine").write_bytes(b"ptrt" + bytes(60))
    (tmp_path / "empty.getgan").touch()
    (tmp_path / "photo.getgan").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(60))
    (tmp_path / "text.getgan").write_bytes(b"hello, this is text")
    for name, message in {
        "net.pt": "is a PyTorch checkpoint; .*getgan export .*net.pt -o BUNDLE",
        "old.pth": r"is a PyTorch checkpoint \(pickle\); .*getgan export .*old.pth -o BUNDLE",
        "net.safetensors": "is a safetensors checkpoint; .*getgan export .*net.safetensors -o BUNDLE",
        "net.onnx": "is an ONNX graph .*getgan export CKPT -o BUNDLE",
        "renamed.getgan": "is an ONNX graph .*getgan export CKPT -o BUNDLE",
        "net.engine": "is a TensorRT engine.*getgan export CKPT -o BUNDLE",
        "other.zip": "is a zip file without manifest.json; .*getgan export CKPT -o BUNDLE",
        "empty.getgan": "is an empty file",
        "photo.getgan": "is an image",
        "text.getgan": "is no getgan bundle",
        "gone": "is missing; .*getgan export CKPT -o BUNDLE",
        ".": "found no manifest.json; .*getgan export CKPT -o BUNDLE",
    }.items():
        refused(tmp_path / name, message)


# --- the single file ------------------------------------------------------------------------------------


@pytest.fixture
def packed(folder: Path, tmp_path: Path) -> Path:
    pack_bundle(folder, tmp_path / "tiny.getgan")
    return tmp_path / "tiny.getgan"


def test_a_cut_file_is_refused_wherever_it_is_cut(packed: Path) -> None:
    data = packed.read_bytes()
    for share in (0.001, 0.1, 0.5, 0.9, 0.99):
        packed.write_bytes(data[: int(len(data) * share)])
        refused(packed, "cut off or damaged")
    packed.write_bytes(data[:-1])
    refused(packed, "cut off or damaged")


def test_a_flipped_byte_anywhere_is_refused_or_harmless(packed: Path) -> None:
    """Harmless: dates and the like, which no reader of a bundle uses."""
    original, data = Bundle.open(packed), packed.read_bytes()
    wanted = {name: original.read(name) for name in original.manifest.files}
    refusals = 0
    for place in range(0, len(data), 37):
        packed.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            bundle = Bundle.open(packed)
            assert {name: bundle.read(name) for name in bundle.manifest.files} == wanted
            assert bundle.sha256 == original.sha256
        except BundleError as error:
            assert "\n" not in str(error)
            refusals += 1
    assert refusals > 0.9 * len(range(0, len(data), 37))


def rewritten(packed: Path, write: Callable[[zipfile.ZipFile, zipfile.ZipInfo, bytes], None]) -> None:
    with zipfile.ZipFile(packed) as archive:
        entries = [(info, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(packed, "w") as archive:
        for info, data in entries:
            write(archive, zipfile.ZipInfo(info.filename), data)


def test_a_compressed_entry(packed: Path) -> None:
    rewritten(packed, lambda archive, info, data: archive.writestr(info, data, zipfile.ZIP_DEFLATED))
    refused(packed, "is compressed")


def test_a_link_entry(packed: Path) -> None:
    def write(archive: zipfile.ZipFile, info: zipfile.ZipInfo, data: bytes) -> None:
        if info.filename == GRAPH:
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, data)

    rewritten(packed, write)
    refused(packed, f"'{GRAPH}' is a link")


def test_an_encrypted_entry(packed: Path) -> None:
    data = bytearray(packed.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1  # the last entry's flags in the central directory
    packed.write_bytes(data)
    refused(packed, "is encrypted")


def test_extra_doubled_and_climbing_entries(packed: Path) -> None:
    data = packed.read_bytes()
    for name, message in (
        ("extra.txt", "'extra.txt', which manifest.json does not list"),
        ("../climb", "'../climb', which manifest.json does not list"),
        ("folder/", "found the entry 'folder/'"),
    ):
        packed.write_bytes(data)
        with zipfile.ZipFile(packed, "a") as archive:
            archive.writestr(name, b"x" if not name.endswith("/") else b"")
        refused(packed, message)
    packed.write_bytes(data)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(GRAPH, b"x")
    refused(packed, f"'{GRAPH}' twice")


def test_a_directory_of_any_length_is_not_read(packed: Path) -> None:
    data = bytearray(packed.read_bytes())
    data[-12:-10] = data[-14:-12] = (60_000).to_bytes(2, "little")
    packed.write_bytes(data)
    refused(packed, "cut off or damaged|wanted at most 256")
    end = data[-22:]
    end[12:16] = (50 << 20).to_bytes(4, "little")
    with open(packed, "wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(60 << 20)
        file.seek(0, os.SEEK_END)
        file.write(end)
    refused(packed, "cut off or damaged")


def many_entries(path: Path, count: int) -> bytearray:
    """A zip with empty entries, written by hand: zipfile takes seconds."""
    with open(path, "wb") as file:
        for number in range(count):
            file.write(struct.pack("<4s22xHH6s", b"PK\x03\x04", 6, 0, b"%06d" % number))
        start = file.tell()
        for number in range(count):
            file.write(struct.pack("<4s24xH12xL6s", b"PK\x01\x02", 6, 36 * number, b"%06d" % number))
        length = file.tell() - start
        file.write(struct.pack("<4s4xHHLLH", b"PK\x05\x06", count % 65536, count % 65536, length, start, 0))
    return bytearray(path.read_bytes())


def parse_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def parsed(*_: object) -> None:
        raise AssertionError("zipfile parses a directory that nobody has looked at")

    monkeypatch.setattr(zipfile.ZipFile, "__init__", parsed)


def test_no_directory_is_parsed_before_it_is_known_to_be_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "many.getgan"
    data = many_entries(path, 70_000)
    assert len(zipfile.ZipFile(path).namelist()) == 70_000
    end = len(data) - 22
    start, length = struct.unpack_from("<LL", data, end + 12)[::-1]
    few = bytearray(data)
    struct.pack_into("<HH", few, end + 8, 5, 5)
    small = bytearray(few)  # what is before the directory's stated start counts as put in front, to zipfile
    struct.pack_into("<LL", small, end + 12, 250, len(data) - 22 - 250)
    wide = bytearray(data)
    wide[end:end] = struct.pack(
        "<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 70_000, 70_000, length, start
    )
    wide[-22:-22] = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    struct.pack_into("<HHLL", wide, len(wide) - 14, 5, 5, 250, len(wide) - 22 - 250)
    parse_nothing(monkeypatch)
    for changed, message in (
        (data, "files in it; wanted at most 256"),
        (data[:-2] + b"\x01\0x", "cut off or damaged"),  # with a comment
        (few, "files in it; wanted at most 256"),
        (small, "in it where it says 5"),
        (wide, "64-bit form"),
    ):
        path.write_bytes(changed)
        refused(path, message)


def test_more_small_entries_than_stated_are_not_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "many.getgan"
    data = many_entries(path, 2_000)
    struct.pack_into("<HH", data, len(data) - 14, 20, 20)
    path.write_bytes(data)
    parse_nothing(monkeypatch)
    refused(path, "found 2,000 files in it where it says 20")


def test_entries_that_share_their_bytes(packed: Path) -> None:
    """A thousand names for one gigabyte cost a terabyte of hashing."""
    data = packed.read_bytes()
    start = struct.unpack_from("<L", data, len(data) - 6)[0]
    with zipfile.ZipFile(packed) as archive:
        graph = archive.getinfo(GRAPH)
        others = [entry for entry in archive.infolist() if entry.filename.startswith("golden/")]
    changed = bytearray(data)
    for entry in others:
        place = changed.index(entry.filename.encode(), start) - 46
        struct.pack_into("<LL", changed, place + 20, graph.file_size, graph.file_size)
        struct.pack_into("<L", changed, place + 42, graph.header_offset)
    packed.write_bytes(changed)
    refused(packed, "overlap")


def test_a_consistent_change_gives_another_identity(folder: Path) -> None:
    before = Bundle.open(folder).sha256
    replace_file(folder, "index.html", b"<p>other</p>")
    changed = Bundle.open(folder)
    changed.verify()
    assert changed.sha256 != before
