"""Rendered faces replace no file but a sheet or a data set that is bit for bit theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from getgan.errors import OutputError
from getgan.training.faces.dataset import FOLDERS, write_dataset, write_sheet


def dataset(folder: Path, count: int) -> str:
    return write_dataset(folder, 32, count, 0, lambda what, share: None)


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in found}


def test_a_sheet_replaces_no_other_picture(tmp_path: Path) -> None:
    path = tmp_path / "pic.png"
    write_sheet(path, 32, 1, 0)
    before = files(tmp_path)
    write_sheet(path, 32, 1, 0)  # the very same
    with pytest.raises(OutputError, match=r"pic\.png is there already .*choose another name"):
        write_sheet(path, 32, 1, 1)
    assert files(tmp_path) == before


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("file", ["000000.png", "IMG_1.jpg"])
def test_a_data_set_is_not_mixed_with_other_pictures(tmp_path: Path, name: str, file: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / file).write_bytes(b"mine")
    before = files(tmp_path)
    with pytest.raises(OutputError, match=rf"{name}/{file} is there already .*choose another name"):
        dataset(tmp_path, 2)
    assert files(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_data_set_that_was_cut_off_is_completed(tmp_path: Path) -> None:
    dataset(tmp_path / "whole", 2)
    dataset(tmp_path / "cut", 1)
    (tmp_path / "cut" / "testA_truth" / "000000.png").unlink()
    (tmp_path / "cut" / "trainA" / ".getgan-0123456789abcdef.tmp").write_bytes(b"half")
    before = files(tmp_path / "cut")
    dataset(tmp_path / "cut", 2)
    after = files(tmp_path / "cut")
    assert after.items() >= before.items()  # what was right is not written again
    del after["trainA/.getgan-0123456789abcdef.tmp"]
    assert {k: v[0] for k, v in after.items()} == {k: v[0] for k, v in files(tmp_path / "whole").items()}
    with pytest.raises(OutputError, match=r"trainA/000001\.png is there already"):
        dataset(tmp_path / "cut", 1)  # of fewer pictures: the rest would stay


def test_a_file_in_a_folder_s_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "trainB").touch()
    with pytest.raises(OutputError, match=r"cannot read the folder .*trainB"):
        dataset(tmp_path, 1)
