"""A file of weights, opened: safetensors or PyTorch's, what it holds by name, and its hash."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from getgan.errors import CheckpointError
from getgan.models.foreign import HEAD, foreign_file
from getgan.models.nearest import WANTED, first_three
from getgan.models.stored import Stored
from getgan.models.torchfile import CodeError, TorchFileError, read_torch_file
from getgan.printing import one_line

METADATA_KEY = "getgan"
TRAINING_STATE_KEY = "getgan_training_state"
MAX_TENSORS = 4096  # a default GET-GAN has 66
# A default GET-GAN has a header of 7 kB, U-GAT-IT one of 5 kB; the rest is room for the training config.
MAX_HEADER_BYTES = 1 << 20
# One direction of a full U-GAT-IT for 256 pixels has 1.1 GB, its authors' file with both and four
# discriminators 2.5 GB, and Adam keeps two more numbers for each weight. Of all that one generator is read.
MAX_FILE_BYTES = 1 << 33
CHUNK = 1 << 20
_TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class WeightFile:
    """`content` has a Stored for each tensor, and whatever else was saved with them."""

    file: BinaryIO
    path: Path
    document: str | None  # getgan's own metadata
    content: dict[str, Any]

    def sha256(self) -> str:
        """Of the whole file."""
        digest = hashlib.sha256()
        self.file.seek(0)
        while chunk := self.file.read(CHUNK):
            digest.update(chunk)
        return digest.hexdigest()


@contextmanager
def open_weights(path: Path) -> Iterator[WeightFile]:
    """The file, while it stays what it is; CheckpointError says what is wrong with it, here or at the end.

    Headers are read and checked, no number is. Whoever writes into the file meanwhile is found out: what was
    hashed and what was read are the same.
    """
    if path.is_dir():
        raise CheckpointError("found a folder; wanted a .safetensors, .pt or .pth file" + _beside(path))
    if not path.exists():
        raise CheckpointError("no such file; wanted a checkpoint" + _beside(path.parent))
    if not path.is_file():  # a pipe would keep the reader waiting
        raise CheckpointError("found no regular file; wanted a checkpoint" + _beside(path.parent))
    try:
        with open(path, "rb") as file:
            before = os.fstat(file.fileno())
            yield _opened(file, path, before.st_size)
            after = os.fstat(file.fileno())
    except EOFError:
        raise CheckpointError("file became shorter while it was read; copy it again") from None
    except OSError as error:
        raise CheckpointError(f"cannot be read ({error.strerror}); check its permissions") from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise CheckpointError("file changed while it was read; wait until it is written")


def _opened(file: BinaryIO, path: Path, size: int) -> WeightFile:
    if size == 0:
        raise CheckpointError("found an empty file; wanted a checkpoint: copy it again")
    start, suffix = file.read(HEAD), path.suffix.lower()
    file.seek(0)
    if (foreign := foreign_file(start, suffix)) is not None:
        raise CheckpointError(f"found {foreign}")
    if suffix == ".safetensors" or (start[8:9] == b"{" and not start.startswith((b"PK", b"\x80"))):
        document, content = _open_safetensors(file, size)
    else:
        _check_size(size)
        document, content = _open_pickle(file, path)
    return WeightFile(file, path, document, content)


def _check_size(size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise CheckpointError(f"found {size:,} bytes; wanted at most {MAX_FILE_BYTES:,}")


def _beside(folder: Path) -> str:
    """The checkpoints in `folder`, as the end of a message."""
    names = sorted(entry.name for entry in folder.glob("*.safetensors"))
    return f": pass one of {first_three(names)} in {folder}" if names else ""


# --- safetensors ------------------------------------------------------------------------------------------


def _open_safetensors(file: BinaryIO, size: int) -> tuple[str | None, dict[str, Any]]:
    length, header = _header(file, size)
    metadata = header.pop("__metadata__", None)
    _check_size(size)
    try:
        document = metadata.get(METADATA_KEY) if metadata is not None else None
        if not isinstance(document, (str, type(None))):
            raise ValueError("metadata that is no text")
        content = {name: _stored(entry, 8 + length) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        found = f"found damaged safetensors ({one_line(error):.200})"
        raise CheckpointError(f"{found}; copy the file again") from error
    # Every byte belongs to one tensor, as the format wants it.
    place = 8 + length
    for stored in sorted(content.values(), key=lambda stored: (stored.place, stored.count)):
        if stored.place != place:
            raise CheckpointError("found damaged safetensors (a gap or an overlap); copy the file again")
        place += stored.count * stored.dtype.itemsize
    if place != size:
        raise CheckpointError(
            f"found damaged safetensors ({size - place:,} bytes too many); copy the file again"
        )
    return document, content


def _stored(entry: dict[str, Any], data: int) -> Stored:
    shape, (start, end) = entry["shape"], entry["data_offsets"]
    numbers = (*shape, start, end)
    if not all(type(number) is int and 0 <= number < 1 << 48 for number in numbers) or len(shape) > 8:
        raise ValueError("an odd shape")
    blank = torch.empty(shape, dtype=_TYPES[entry["dtype"]], device="meta")
    if end - start != blank.numel() * blank.dtype.itemsize:
        raise ValueError("a shape that does not fit its bytes")
    return Stored(blank.dtype, tuple(blank.shape), blank.stride(), data + start, blank.numel())


def _header(file: BinaryIO, size: int) -> tuple[int, dict[str, Any]]:
    """Its length and its entries, of a file that is as long as they say."""
    head = file.read(8)
    length = int.from_bytes(head, "little")
    # The first byte after the length is always "{": it tells a cut file from one of another kind, and a
    # pickle, which starts with 0x80, from a header whose length ends in 0x80 (one in 32 does).
    start = file.read(1)
    if head.startswith(b"PK\x03\x04") or (head.startswith(b"\x80") and start != b"{"):
        raise CheckpointError("found a PyTorch file; wanted safetensors: rename it to .pt")
    if size < 8 or length < 2:
        raise CheckpointError(f"found {size:,} bytes that are not safetensors; copy the file again")
    if start not in (b"{", b""):
        raise CheckpointError(f"found {size:,} bytes that are not safetensors; copy the file again")
    if length > MAX_HEADER_BYTES:
        wanted = f"at most {MAX_HEADER_BYTES:,}: this is no getgan checkpoint"
        raise CheckpointError(f"found a safetensors header of {length:,} bytes; wanted {wanted}")
    header = start + file.read(length - 1)
    if len(header) < length:
        raise CheckpointError(f"file is cut off in its header: found {size:,} bytes; copy it again")
    try:
        entries: dict[str, Any] = json.loads(header)
        if len(entries) > MAX_TENSORS:
            raise CheckpointError(f"found {len(entries):,} tensors; wanted at most {MAX_TENSORS:,}")
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
        wanted_size = 8 + length + max(ends, default=0)
    except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError):
        raise CheckpointError("found a damaged safetensors header; copy the file again") from None
    if size < wanted_size:
        raise CheckpointError(f"file is cut off: found {size:,} bytes, wanted {wanted_size:,}; copy it again")
    return length, entries


# --- PyTorch's --------------------------------------------------------------------------------------------


def _open_pickle(file: BinaryIO, path: Path) -> tuple[str | None, dict[str, Any]]:
    try:
        content = read_torch_file(file)
    except Exception as error:  # a damaged pickle raises anything, from KeyError to struct.error
        if path.name.endswith(".state.pt"):
            raise CheckpointError(_training_state(path)) from error
        if isinstance(error, CodeError):
            what = "a whole pickled object, not its weights" if error.whole else "a pickle that runs code"
            wanted = "plain tensors: where you trust it, save its state_dict() with torch.save"
            raise CheckpointError(f"found {what} ({error!s:.80}); wanted {wanted}") from error
        if isinstance(error, TorchFileError):
            wanted = "a dense state_dict() as torch.save writes it, or copy it again"
            raise CheckpointError(f"found a PyTorch file with {error}; wanted {wanted}") from error
        raise CheckpointError("found a damaged file or none of PyTorch's; copy it again") from error
    if not isinstance(content, dict):
        kind = "Tensor" if isinstance(content, Stored) else type(content).__name__
        raise CheckpointError(f"found a {kind}; wanted {WANTED}")
    if TRAINING_STATE_KEY in content:
        raise CheckpointError(_training_state(path))
    document = None
    if METADATA_KEY in content and "state" in content:
        document, content = content[METADATA_KEY], content["state"]
        if not isinstance(document, str) or not isinstance(content, dict):
            raise CheckpointError("found damaged getgan metadata; copy the file again")
        if others := [str(key) for key, value in content.items() if not isinstance(value, Stored)]:
            raise CheckpointError(f"found {first_three(others)}, which are no tensors; copy the file again")
    return document, {str(key): value for key, value in content.items()}


def _training_state(path: Path) -> str:
    same_run = path.with_name(path.name.removesuffix(".state.pt") + ".safetensors")
    beside = f": pass {same_run.name}" if same_run.exists() else _beside(path.parent)
    return "found a training state, which is for resuming a run; wanted the generator's checkpoint" + beside
