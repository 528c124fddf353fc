"""The content of PyTorch's .pt file, read without PyTorch's unpickler: plain dense tensors, and no code.

`torch.load(weights_only=True)` runs no code either, but believes what a file says of itself. Files of a few
kB took 4.2 GB (a `bytearray`) and 6.6 GB (tensors of stride 0), one of 1 MB took 1 GB (compressed zeros).
Here every size is compared with the bytes that are there, before anything is made. Numbers are not read at
all: each tensor comes as its place in the file (`stored.Stored`).
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any, BinaryIO, ClassVar

import torch

from getgan.models.notread import OPAQUE, NotRead
from getgan.models.stored import Stored
from getgan.printing import one_line

MAX_ENTRIES = 4096  # of the zip, and tensors; a ResNet-9 has 48
MAX_PICKLE_BYTES = 1 << 20  # without the numbers; a ResNet-9 has 5 kB
MAX_ITEMS = 100_000
MAX_SIDES = 8  # a convolution has 4
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001
_TYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_WORDS = (
    pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK, pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE,
    pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1, pickle.BINFLOAT,
    pickle.BINUNICODE, pickle.SHORT_BINUNICODE, pickle.BINBYTES, pickle.SHORT_BINBYTES,
    pickle.EMPTY_DICT, pickle.EMPTY_LIST, pickle.APPEND, pickle.APPENDS,
    pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3,
    pickle.BINPUT, pickle.LONG_BINPUT, pickle.MEMOIZE, pickle.BINGET, pickle.LONG_BINGET,
    pickle.GLOBAL, pickle.STACK_GLOBAL, pickle.BINPERSID,
)  # fmt: skip
_Place = tuple[int, int]  # where bytes begin in the file, and how many they are


class TorchFileError(Exception):
    """The file is damaged, or holds what no checkpoint needs; says what, as part of a sentence."""


class CodeError(TorchFileError):
    """The pickle wants something called that makes no plain tensor: its name; `whole`: it is all there is."""

    def __init__(self, name: str, *, whole: bool) -> None:
        super().__init__(name)
        self.whole = whole


def read_torch_file(file: BinaryIO) -> object:
    """What was saved: for a checkpoint dicts, texts, and a Stored for each tensor.

    TorchFileError, or whatever a damaged pickle or zip raises.
    """
    length = file.seek(0, os.SEEK_END)
    return _read_zip(file, length) if _at(file, 0, 2) == b"PK" else _read_legacy(file, length)


def _at(file: BinaryIO, place: int, length: int) -> bytes:
    """EOFError where there are fewer."""
    file.seek(place)
    data = file.read(length)
    if len(data) < length:
        raise EOFError
    return data


# The unpickler in Python: the one in C makes room for as many remembered objects as a file says.
class _Unpickler(pickle._Unpickler):
    """Makes a Stored for each tensor; places: of each storage, None where they are not known yet.

    Of the pickle's language only what torch.save writes: another word could set an attribute, or make a
    `bytearray` of any length.
    """

    stack: list[Any]
    metastack: list[list[Any]]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: io.BytesIO, length: int, places: dict[str, _Place] | None) -> None:
        super().__init__(file)
        self.widths: dict[str, int] = {}  # bytes per number, of each storage that was asked for
        self._places = places
        self._left = length  # tensors together are no longer than the file
        self._count = self._items = 0

    def _set_item(self) -> None:
        value = self.stack.pop()
        self._set([self.stack.pop(), value])

    def _set_items(self) -> None:
        self._set(self.pop_mark())

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is NotRead:
            return
        if type(target) is not dict:
            raise TorchFileError("items for what is no dict")
        target.update(_dict(zip(items[::2], items[1::2], strict=True)))

    def _reduce(self) -> None:
        """A call: of our own functions, or of none."""
        arguments, function = self.stack.pop(), self.stack[-1]
        if function is NotRead:
            self.stack[-1] = NotRead()
        elif callable(function) and type(arguments) is tuple:
            self.stack[-1] = function(*arguments)
        else:
            raise TorchFileError("a call of what is no function")

    def _new_object(self) -> None:
        self.stack.pop()
        if self.stack[-1] is not NotRead:
            raise TorchFileError("an object of an unknown class")
        self.stack[-1] = NotRead()

    def _build(self) -> None:
        """A state dict's `_metadata`, or what fills a NotRead: nothing of it is used."""
        self.stack.pop()
        if type(self.stack[-1]) is NotRead:
            return
        if type(self.stack[-1]) is not dict:
            raise TorchFileError("attributes for what is no state dict")

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **{word[0]: pickle._Unpickler.dispatch[word[0]] for word in _WORDS},
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
        pickle.BUILD[0]: _build,
        pickle.REDUCE[0]: _reduce,
        pickle.NEWOBJ[0]: _new_object,
    }

    def find_class(self, module: str, name: str) -> Any:
        functions: dict[tuple[str, str], Callable[..., object]] = {
            ("collections", "OrderedDict"): self._ordered_dict,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_tensor"): self._tensor,  # before 0.4
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        }
        if function := functions.get((module, name)):
            return function
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        if module == "torch._utils" and name.startswith("_rebuild_"):
            raise TorchFileError(f"a tensor that is not plain ({one_line(name):.60})")
        whole = not self.stack and not self.metastack
        if (module, name) in OPAQUE and not whole:
            return NotRead
        raise CodeError(f"{one_line(module)}.{one_line(name)}", whole=whole)

    def _ordered_dict(self, items: Sequence[Any] = ()) -> dict[Any, Any]:
        """Python 2 gave it its items as a list; one list may be given again and again."""
        self._items += len(items)
        if self._items > MAX_ITEMS:
            raise TorchFileError(f"more than {MAX_ITEMS:,} items")
        return _dict(items)

    def persistent_load(self, pid: Any) -> tuple[torch.dtype, _Place] | None:
        """The type of a storage's numbers, and where they are."""
        match pid:
            case ("storage", torch.dtype() as dtype, str(key), str(), int(count), *rest) if not any(rest):
                self.widths[key] = dtype.itemsize
            case _:
                raise TorchFileError("a reference to no storage")
        if self._places is None:
            return None
        place, length = self._places[key]
        if not 0 <= count * dtype.itemsize <= length:
            raise TorchFileError(f"{length:,} bytes where {count:,} numbers should be")
        return dtype, (place, count)

    def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: object) -> Stored | None:
        """For torch._utils._rebuild_tensor_v2, whose requires_grad and hooks are of no use here."""
        if self._places is None:
            return None
        dtype, (place, count) = storage
        if not all(type(number) is int for number in (offset, *shape, *strides)):
            raise TorchFileError("a tensor of an odd shape")
        if len(shape) > MAX_SIDES or len(strides) != len(shape) or not all(0 <= n < 1 << 40 for n in shape):
            raise TorchFileError("a tensor of an odd shape")
        total = prod(shape)
        self._count += 1
        self._left -= total * dtype.itemsize
        if self._count > MAX_ENTRIES:
            raise TorchFileError(f"more than {MAX_ENTRIES:,} tensors")
        if self._left < 0:
            raise TorchFileError("tensors that are longer than the file")
        if not total:
            return Stored(dtype, tuple(shape), tuple(0 for _ in shape), place, 0)
        # Every number once: the strides of a contiguous tensor, whatever the order of its sides.
        dense = 1
        for stride, side in sorted(
            (stride, side) for side, stride in zip(shape, strides, strict=True) if side > 1
        ):
            if stride != dense:
                raise TorchFileError("a tensor that uses numbers twice, or only some of them")
            dense *= side
        if not 0 <= offset <= count - total:
            raise TorchFileError(f"{count:,} numbers where {offset + total:,} should be")
        # What is said of a side of 1 moves no number, but chooses how PyTorch convolves: it is kept.
        sides = tuple(min(max(stride, 0), total) for stride in strides)
        return Stored(dtype, tuple(shape), sides, place + offset * dtype.itemsize, total)


def _dict(items: Iterable[Any] = ()) -> dict[Any, Any]:
    """From pairs."""
    found = list(items)
    # Large numbers can be chosen so that a dict takes a minute for 100,000 of them.
    if not all(type(key) is str or (type(key) is int and 0 <= key < 1 << 31) for key, _ in found):
        raise TorchFileError("a dict with odd keys")
    return dict(found)


# --- the zip of PyTorch 1.6 and later -------------------------------------------------------------------


def _read_zip(file: BinaryIO, length: int) -> object:
    entries = _entries(file, length)
    (pickled,) = (name for name in entries if name.endswith("/data.pkl"))
    folder = pickled.removesuffix("data.pkl")
    place, size = entries[pickled]
    if size > MAX_PICKLE_BYTES:
        raise TorchFileError(f"a pickle of {size:,} bytes")
    order = entries.get(f"{folder}byteorder")
    if order is not None and (order[1] > 16 or _at(file, *order) != b"little"):
        raise TorchFileError("numbers that are not little-endian")
    storages = f"{folder}data/"
    places = {name.removeprefix(storages): at for name, at in entries.items() if name.startswith(storages)}
    return _Unpickler(io.BytesIO(_at(file, place, size)), length, places).load()


def _entries(file: BinaryIO, length: int) -> dict[str, _Place]:
    """The files in the zip; all are stored as they are, in bytes of their own."""
    _check_directory(file, length)
    found: dict[str, _Place] = {}
    with zipfile.ZipFile(file) as archive:
        # TorchScript's code is compressed, its weights are not: it is told from a damaged file first.
        if any(info.filename.endswith("/constants.pkl") for info in archive.infolist()):
            raise TorchFileError("TorchScript's code in it")
        for info in archive.infolist():
            if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
                raise TorchFileError("compressed numbers")
            name, extra = struct.unpack("<26x2H", _at(file, info.header_offset, 30))
            place = info.header_offset + 30 + name + extra
            if info.filename in found or place + info.file_size > length:
                raise TorchFileError("files that lie over each other")
            found[info.filename] = (place, info.file_size)
    return found


def _check_directory(file: BinaryIO, length: int) -> None:
    """zipfile reads any number of entries. PyTorch writes the 64-bit form, which overrules the other."""
    end = length - 22
    if end < 0 or _at(file, end, 4) != b"PK\x05\x06":
        raise TorchFileError("a zip that is cut off")
    (size,) = struct.unpack("<12xL6x", _at(file, end, 22))
    if end >= 76 and _at(file, end - 20, 4) == b"PK\x06\x07":
        # zipfile looks for it right before its locator, whatever that says.
        (size,) = struct.unpack("<40xQ", _at(file, end - 76, 48))
    if size > MAX_ENTRIES * 128:
        raise TorchFileError(f"a zip directory of {size:,} bytes")


# --- the format before, in which CycleGAN's authors gave their weights ------------------------------------


def _read_legacy(file: BinaryIO, length: int) -> object:
    """Pickles: magic number, version, system, contents, storages; then of each the length and the numbers."""
    head = _at(file, 0, min(length, MAX_PICKLE_BYTES))  # a longer pickle ends too early
    pickles = io.BytesIO(head)

    def plain() -> Any:
        return _Unpickler(pickles, length, {}).load()

    first = plain()
    if first != _LEGACY_MAGIC:
        return first
    if plain() != _LEGACY_VERSION or plain()["little_endian"] is not True:
        raise TorchFileError("another version or byte order")
    start = pickles.tell()
    # Twice: where a storage lies is told by the lengths of those before it, and these by the contents.
    unpickler = _Unpickler(pickles, length, None)
    unpickler.load()
    places: dict[str, _Place] = {}
    keys = plain()
    place = pickles.tell()
    for key in keys[:MAX_ENTRIES]:
        (count,) = struct.unpack("<Q", _at(file, place, 8))
        size = count * unpickler.widths[key]
        if place + 8 + size > length:
            raise TorchFileError("numbers that are cut off")
        places[key] = (place + 8, size)
        place += 8 + size
    return _Unpickler(io.BytesIO(head[start:]), length, places).load()
