"""PyTorch's files: what torch.save wrote is read, and no file makes more of itself than its bytes."""

from __future__ import annotations

import argparse
import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch

from getgan.errors import CheckpointError
from getgan.models.checkpoint import load_checkpoint
from getgan.models.notread import NotRead
from getgan.models.stored import Stored
from getgan.models.torchfile import (
    MAX_ENTRIES,
    MAX_PICKLE_BYTES,
    CodeError,
    TorchFileError,
    read_torch_file,
)


def read(data: bytes) -> object:
    """What the file holds, with the numbers of each tensor."""
    file = io.BytesIO(data)

    def filled(content: object) -> object:
        if isinstance(content, Stored):
            return content.read(file)
        if isinstance(content, dict):
            return {key: filled(value) for key, value in content.items()}
        return [filled(each) for each in content] if isinstance(content, list) else content

    return filled(read_torch_file(file))


def saved(content: object, *, legacy: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def zipped(
    pickled: bytes, storages: dict[str, bytes] | None = None, *, kind: int = zipfile.ZIP_STORED
) -> bytes:
    """A file in the newer format with any pickle in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        archive.writestr("a/data.pkl", pickled)
        for name, data in (storages or {}).items():
            archive.writestr(f"a/data/{name}", data)
    return file.getvalue()


@pytest.mark.parametrize("legacy", [False, True])
def test_what_torch_wrote_is_read_bit_by_bit(legacy: bool) -> None:
    torch.manual_seed(0)
    whole = torch.randn(3, 4, 5)
    state = OrderedDict(
        plain=whole,
        part=whole[1],
        turned=whole.permute(2, 0, 1),
        last=torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
        parameter=torch.nn.Parameter(torch.randn(2)),
        empty=torch.zeros(0, 3),
        one=torch.tensor(7),
        half=torch.randn(3).half(),
        brain=torch.randn(3).bfloat16(),
        yes=torch.tensor([True, False]),
        **torch.nn.BatchNorm2d(2).state_dict(),
    )
    found = read(saved({"getgan": "text", "state": state, "deeper": [1, (2.5, None)]}, legacy=legacy))
    assert isinstance(found, dict)
    assert (found["getgan"], found["deeper"]) == ("text", [1, (2.5, None)])
    assert found["state"].keys() == state.keys()
    for key, value in state.items():
        assert found["state"][key].dtype == value.dtype
        assert torch.equal(found["state"][key], value), key
    found["state"]["plain"].zero_()  # memory of its own
    assert torch.equal(found["state"]["part"], whole[1])


def test_python_2_gave_its_dicts_as_lists() -> None:
    pickled = (
        b"\x80\x02ccollections\nOrderedDict\n](](X\x01\x00\x00\x00aK\x01e](X\x01\x00\x00\x00bK\x02ee\x85R."
    )
    assert read(zipped(pickled)) == {"a": 1, "b": 2}


def test_the_shipped_weights_as_a_file_of_either_format(tmp_path: Path) -> None:
    wanted = load_checkpoint(Path(__file__).resolve().parents[1] / "examples" / "getgan-64.safetensors")
    for legacy in (False, True):
        (tmp_path / "net.pth").write_bytes(saved(dict(wanted.state), legacy=legacy))
        found = load_checkpoint(tmp_path / "net.pth")
        assert found.config == wanted.config
        assert all(torch.equal(found.state[key], value) for key, value in wanted.state.items())


def number(value: int) -> bytes:
    return b"\x8a" + bytes([9]) + value.to_bytes(9, "little", signed=True)


def tensor_pickle(count: int, offset: int, shape: list[int], strides: list[int], repeats: int = 1) -> bytes:
    """A list of tensors that all look at storage 0."""
    one = (
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
        b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + number(count) + b"tQ" + number(offset)
    )
    for sides in (shape, strides):
        one += b"(" + b"".join(number(side) for side in sides) + b"t"
    one += b"\x89ccollections\nOrderedDict\n)RtR"
    return b"\x80\x02](" + one * repeats + b"e."


def test_the_crafted_tensor_is_one_that_can_be_read() -> None:
    data = struct.pack("<4f", 1, 2, 3, 4)
    found = read(zipped(tensor_pickle(4, 1, [3], [1]), {"0": data}))
    assert isinstance(found, list)
    assert [tensor.tolist() for tensor in found] == [[2, 3, 4]]


@pytest.mark.parametrize(
    ("count", "offset", "shape", "strides", "words"),
    [
        (4, 0, [40_000, 40_000], [0, 0], "longer than the file"),
        (4, 0, [2, 2], [0, 1], "uses numbers twice"),
        (4, 0, [2], [2], "or only some of them"),
        (4, 0, [2], [-1], "or only some of them"),
        (4, 3, [2], [1], "4 numbers where 5 should be"),
        (4, -1, [2], [1], "4 numbers where 1 should be"),
        (1 << 40, 0, [1], [1], "16 bytes where 1,099,511,627,776 numbers should be"),
        (-1, 0, [1], [1], "16 bytes where -1 numbers"),
        (4, 0, [-1], [1], "odd shape"),
        (4, 0, [1] * 9, [1] * 9, "odd shape"),
    ],
)
def test_a_tensor_is_made_of_the_bytes_that_are_there(
    count: int, offset: int, shape: list[int], strides: list[int], words: str
) -> None:
    with pytest.raises(TorchFileError, match=words):
        read(zipped(tensor_pickle(count, offset, shape, strides), {"0": bytes(16)}))


def test_one_storage_is_not_used_again_and_again() -> None:
    data = bytes(4_000)
    with pytest.raises(TorchFileError, match="longer than the file"):
        read(zipped(tensor_pickle(1000, 0, [1000], [1], repeats=40), {"0": data}))


def test_bytes_are_stored_once_and_plainly() -> None:
    with pytest.raises(TorchFileError, match="compressed"):
        read(zipped(b"\x80\x02N.", {"0": bytes(1 << 20)}, kind=zipfile.ZIP_DEFLATED))
    with pytest.raises(TorchFileError, match="a pickle of"):
        read(zipped(b"\x80\x02]" + b"(" * MAX_PICKLE_BYTES + b"e."))


@pytest.mark.parametrize("wide", [False, True])
def test_a_directory_of_any_length_is_not_parsed(wide: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In PyTorch's 64-bit form the stated number overrules the one in the older place."""
    data = bytearray(saved({"a": torch.zeros(1)}))
    assert data[-42:-38] == b"PK\x06\x07"
    if wide:
        struct.pack_into("<Q", data, len(data) - 42 - 16, 1 << 40)
    else:
        data[-42:-38] = b"none"
        struct.pack_into("<L", data, len(data) - 10, MAX_ENTRIES * 200)

    def parsed(*_: object) -> None:
        raise AssertionError("zipfile parses a directory that nobody has looked at")

    monkeypatch.setattr(zipfile.ZipFile, "__init__", parsed)
    with pytest.raises(TorchFileError, match="a zip directory of"):
        read(bytes(data))


class Calls:
    """Pickled, it calls."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> Any:
        return self.reduced


@pytest.mark.parametrize(
    "call",
    [Calls(bytearray, 1 << 40), Calls(torch.zeros, 1 << 40), Calls(torch.device, "cpu"), Calls(list, (1, 2))],
)
def test_nothing_is_called_but_what_makes_a_tensor(call: Calls) -> None:
    with pytest.raises(CodeError):
        read(zipped(pickle.dumps({"a": call}, protocol=2)))


@pytest.mark.parametrize("legacy", [False, True])
def test_options_and_counters_beside_the_weights_are_not_read(legacy: bool, tmp_path: Path) -> None:
    shipped = Path(__file__).resolve().parents[1] / "examples" / "cyclegan-64.safetensors"
    wanted = load_checkpoint(shipped)
    beside = {
        "args": argparse.Namespace(lr=2e-4, folder=PurePosixPath("runs"), best=np.float32(1)),
        "best": np.float64(0.5),
        "losses": np.arange(5.0),
    }
    path = tmp_path / "net.pth"
    path.write_bytes(saved({"netG_A": dict(wanted.state), **beside}, legacy=legacy))
    with open(path, "rb") as file:
        content = read_torch_file(file)
    assert isinstance(content, dict)
    assert all(type(content[name]) is NotRead for name in beside)
    found = load_checkpoint(path)
    assert found.state.keys() == wanted.state.keys()
    assert "not read: args, best, losses" in found.provenance.notes


@pytest.mark.parametrize(
    "pickled",
    [
        # Not read, and yet what is inside is looked at: a call in the arguments of one that is not made.
        b"\x80\x02](cargparse\nNamespace\n)\x81}X\x01\x00\x00\x00acposix\nsystem\nX\x02\x00\x00\x00ls\x85Rsbe.",
        b"\x80\x02](cargparse\nNamespace\ncos\nsystem\n\x85Re.",
        b"\x80\x02](cargparse\nNamespace.__init__\n)Re.",
        b"\x80\x04](\x8c\x08argparse\x8c\x13Namespace.__class__\x93)Re.",
        b"\x80\x02](cnumpy\nload\nX\x01\x00\x00\x00a\x85Re.",
        b"\x80\x02](ctorch\nFloatStorage\n)\x81e.",  # an object of a class that is not on the list
    ],
)
def test_what_is_not_read_opens_no_door(pickled: bytes) -> None:
    with pytest.raises(TorchFileError):
        read(zipped(pickled))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.eye(3).to_sparse(),
        torch.zeros(3, device="meta"),
        torch.zeros(3, dtype=torch.complex64),
        torch.zeros(40)[::2],
        torch.zeros(1).expand(9),
    ],
    ids=["sparse", "meta", "complex", "every second", "expanded"],
)
def test_tensors_that_are_not_plain_are_named(tensor: torch.Tensor, tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(saved({"gate.bias": tensor}))
    with pytest.raises(CheckpointError, match=r"found a (PyTorch file with|pickle that)") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b".",  # bytearray of 1 TB
        b"\x80\x02ccollections\nOrderedDict\n)R}X\x05\x00\x00\x00itemsK\x01s\x86b.",  # attributes of a dict
        b"\x80\x02}\x8a\x09" + bytes(8) + b"\x01K\x01s.",  # a key that can be made to collide
        b"\x80\x02}q\xff" + b"(" * 100,
        b"(S'x'\nios\nsystem\n.",
    ],
)
def test_other_words_of_the_language_are_unknown(pickled: bytes) -> None:
    with pytest.raises((TorchFileError, KeyError, IndexError, EOFError)):
        read(zipped(pickled))


def test_one_list_of_items_is_not_made_into_dicts_without_end() -> None:
    pickled = b"\x80\x02ccollections\nOrderedDict\nq\x00]q\x01("
    pickled += b"".join(b"X\x04\x00\x00\x00%04dK\x01\x86" % number for number in range(2000)) + b"e\x85q\x02"
    pickled += b"h\x00h\x02R" * 1000 + b"."
    with pytest.raises(TorchFileError, match="more than 100,000 items"):
        read(zipped(pickled))
