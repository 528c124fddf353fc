"""The checkpoint file: weights, architecture, image contract, provenance (docs/checkpoint-format.md)."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec
import safetensors.torch
import torch
from torch import Tensor

from getgan import __version__
from getgan.contract import Contract, range_in_words
from getgan.errors import CheckpointError, GetganError
from getgan.files import write_bytes_atomic
from getgan.models.blocks import LEFT_OUT
from getgan.models.generator import Generator, GeneratorConfig, record_of
from getgan.models.recognise import WANTED, architecture, build_generator, first_three, recognise
from getgan.models.torchfile import CodeError, TorchFileError, read_torch_file
from getgan.printing import one_line

FORMAT_VERSION = 1
METADATA_KEY = "getgan"
TRAINING_STATE_KEY = "getgan_training_state"
MAX_TENSORS = 4096  # a default GET-GAN has 66
# A default GET-GAN has a header of 7 kB, U-GAT-IT one of 5 kB; the rest is room for the training config.
MAX_HEADER_BYTES = 1 << 20
MAX_FILE_BYTES = 1 << 31  # a full U-GAT-IT for 256 pixels has 1.1 GB
# 10^9 multiply-accumulates for one picture, all of them counted at a quarter of the size. CycleGAN's ResNet-9
# has 47 at 256x256, 750 at 1024x1024.
MAX_GMAC = 2000

STATISTICS = re.compile(r"\.(running_mean|running_var|num_batches_tracked)$")

_Record = TypeVar("_Record")


@dataclass(frozen=True)
class Provenance:
    """Where the weights come from; changes no pixel."""

    getgan_version: str = __version__
    trained_on: str = "unknown"
    iterations: int = 0
    seed: int = 0
    config_toml: str = ""  # the training config, to the letter
    created: str = ""  # ISO 8601
    notes: str = ""

    @property
    def config_sha256(self) -> str:
        """Hash of the training config's text."""
        return hashlib.sha256(self.config_toml.encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A generator's weights with all that is needed to run them."""

    arch: str
    config: GeneratorConfig
    state: Mapping[str, Tensor]
    contract: Contract
    provenance: Provenance
    sha256: str | None = None  # of the file it was read from

    def generator(self) -> Generator:
        """A new network on the CPU, in eval mode, with its own copy of the weights.

        Its `translate(x)` takes (N, 3, H, W) float32 RGB in the contract's range and gives the same.
        """
        # Built without memory and then assigned: no random draw is made, so no caller's seed is disturbed.
        generator = _blank(self.arch, self.config)
        copies = {key: value.detach().cpu().clone() for key, value in self.state.items()}
        generator.load_state_dict(copies, strict=True, assign=True)
        return generator.eval()


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> str:
    """Write a .safetensors (or .pt / .pth) file atomically; returns its sha256."""
    path = Path(path)
    document = _json_from_checkpoint(checkpoint)
    try:
        kind = _kind(path)
        # What is about to be written goes through the reader's checks: nothing unreadable reaches the disk.
        _check(_checkpoint(document, checkpoint.state, None))
    except GetganError as error:
        raise CheckpointError(f"cannot save {path}: {error}") from error
    # Clones, because safetensors refuses tensors that share memory or are not contiguous.
    state = {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in checkpoint.state.items()
    }
    if kind == "safetensors":
        data = safetensors.torch.save(state, {METADATA_KEY: document})
        if int.from_bytes(data[:8], "little") > MAX_HEADER_BYTES:
            wanted = f"at most {MAX_HEADER_BYTES:,} bytes: shorten provenance.config_toml or notes"
            raise CheckpointError(f"cannot save {path}: metadata is too long; wanted {wanted}")
    else:
        buffer = io.BytesIO()
        torch.save({METADATA_KEY: document, "state": state}, buffer)
        data = buffer.getvalue()
    write_bytes_atomic(path, data)
    return hashlib.sha256(data).hexdigest()


def load_checkpoint(path: Path, expect: str | None = None) -> Checkpoint:
    """Read and check a generator file; `expect` is the architecture it must have.

    Runs no code from the file. A bare state dict is recognised where its keys leave no doubt.
    """
    path = Path(path)
    try:
        data = _read(path)
        sha256 = hashlib.sha256(data).hexdigest()
        if _kind(path) == "safetensors":
            document, state = _open_safetensors(data)
        else:
            document, state = _open_pickle(data, path)
        del data
        checkpoint = _checkpoint(document, state, sha256)
        if expect is not None and checkpoint.arch != expect:
            raise CheckpointError(f"found architecture {checkpoint.arch}; wanted {expect}: pass another file")
        _check(checkpoint)
    except GetganError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return checkpoint


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        return "safetensors"
    if suffix in (".pt", ".pth"):
        return "pickle"
    raise CheckpointError(f"found the suffix {suffix or 'none'!r}; wanted .safetensors, .pt or .pth")


def _read(path: Path) -> bytes:
    """The whole file, once its head makes sense."""
    if path.is_dir():
        raise CheckpointError("found a folder; wanted a .safetensors, .pt or .pth file" + _beside(path))
    if not path.exists():
        raise CheckpointError("no such file; wanted a checkpoint" + _beside(path.parent))
    kind = _kind(path)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise CheckpointError("found an empty file; wanted a checkpoint: copy it again")
            if kind == "safetensors":
                _check_header(file, size)
                file.seek(0)
            if size > MAX_FILE_BYTES:
                raise CheckpointError(f"found {size:,} bytes; wanted at most {MAX_FILE_BYTES:,}")
            return file.read()
    except OSError as error:
        raise CheckpointError(f"cannot be read ({error.strerror}); check its permissions") from error


def _beside(folder: Path) -> str:
    """The checkpoints in `folder`, as the end of a message."""
    names = sorted(entry.name for entry in folder.glob("*.safetensors"))
    return f": pass one of {first_three(names)} in {folder}" if names else ""


def _check_header(file: BinaryIO, size: int) -> None:
    """Raise unless the file is safetensors of its full length; reads the header only."""
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
        entries = json.loads(header)
        if len(entries) > MAX_TENSORS:
            raise CheckpointError(f"found {len(entries):,} tensors; wanted at most {MAX_TENSORS:,}")
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
        wanted_size = 8 + length + max(ends, default=0)
    except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError):
        raise CheckpointError("found a damaged safetensors header; copy the file again") from None
    if size < wanted_size:
        raise CheckpointError(f"file is cut off: found {size:,} bytes, wanted {wanted_size:,}; copy it again")


def _open_safetensors(data: bytes) -> tuple[str | None, dict[str, Tensor]]:
    length = int.from_bytes(data[:8], "little")
    try:
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
        state = safetensors.torch.load(data)
    except Exception as error:  # safetensors' own error, or KeyError for a dtype that torch lacks
        raise CheckpointError(
            f"found damaged safetensors ({one_line(error):.200}); copy the file again"
        ) from error
    return metadata.get(METADATA_KEY), state


def _open_pickle(data: bytes, path: Path) -> tuple[str | None, dict[str, Tensor]]:
    try:
        content = read_torch_file(data)
    except Exception as error:  # a damaged pickle raises anything, from KeyError to struct.error
        if path.name.endswith(".state.pt"):
            raise CheckpointError(_training_state(path)) from error
        if isinstance(error, CodeError):
            wanted = "plain tensors: where you trust it, save its state_dict() with torch.save"
            raise CheckpointError(
                f"found a pickle that runs code ({error!s:.80}); wanted {wanted}"
            ) from error
        if isinstance(error, TorchFileError):
            wanted = "a dense state_dict() as torch.save writes it, or copy it again"
            raise CheckpointError(f"found a PyTorch file with {error}; wanted {wanted}") from error
        raise CheckpointError("found a damaged file or none of PyTorch's; copy it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"found a {type(content).__name__}; wanted {WANTED}")
    if TRAINING_STATE_KEY in content:
        raise CheckpointError(_training_state(path))
    document = None
    if METADATA_KEY in content and "state" in content:
        document, content = content[METADATA_KEY], content["state"]
        if not isinstance(document, str) or not isinstance(content, dict):
            raise CheckpointError("found damaged getgan metadata; copy the file again")
    others = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if others:
        raise CheckpointError(f"found {first_three(others)}, which are no tensors; wanted {WANTED}")
    return document, {str(key): value for key, value in content.items()}


def _training_state(path: Path) -> str:
    same_run = path.with_name(path.name.removesuffix(".state.pt") + ".safetensors")
    beside = f": pass {same_run.name}" if same_run.exists() else _beside(path.parent)
    return "found a training state, which is for resuming a run; wanted the generator's checkpoint" + beside


def _blank(arch: str, config: GeneratorConfig) -> Generator:
    """A network without memory for its weights."""
    with torch.device("meta"):
        return build_generator(arch, config)


def _checkpoint(document: str | None, state: Mapping[str, Tensor], sha256: str | None) -> Checkpoint:
    if document is None:
        arch, config = recognise(state)
        network = _blank(arch, config)
        contract, own = network.contract(network.native_size), network.state_dict()
        # InstanceNorm of PyTorch before 0.4 saved statistics that it never used.
        state = {key: value for key, value in state.items() if key in own or not STATISTICS.search(key)}
        # BatchNorm of then did not count its updates, which matter in training only.
        counts = {key for key in own if key.endswith(".num_batches_tracked")}
        state |= {key: torch.tensor(0) for key in own if key in counts - state.keys()}
        # Its statistics are used as stored: the mode that BatchNorm was tested in does not show in the keys.
        size, values = contract.size, range_in_words(contract.range)
        notes = f"bare state dict; {size}x{size} RGB in {values} and eval mode assumed"
        provenance = Provenance(getgan_version="unknown", notes=notes)
        return Checkpoint(arch, config, state, contract, provenance, sha256)
    try:
        content = json.loads(document)
        version = content["version"]
    except (ValueError, RecursionError, KeyError, TypeError):
        raise CheckpointError("found damaged getgan metadata; copy the file again") from None
    if type(version) is not int or version < 1:
        wanted = f"a whole number from 1 to {FORMAT_VERSION}: copy the file again"
        raise CheckpointError(f"found metadata version {version!r:.80}; wanted {wanted}")
    if version > FORMAT_VERSION:
        upgrade = f"this is getgan {__version__}: pip install -U getgan"
        raise CheckpointError(f"found metadata version {version}; wanted at most {FORMAT_VERSION}, {upgrade}")
    kind = architecture(content.get("arch"))
    config = _record(kind.config_class, content.get("config"), strict=True)
    return Checkpoint(
        arch=kind.arch,
        config=config,
        state=state,
        contract=_contract(content.get("contract"), _blank(kind.arch, config)),
        provenance=_record(Provenance, content.get("provenance"), strict=False),
        sha256=sha256,
    )


def _contract(document: Any, network: Generator) -> Contract:
    """The network's own, for the size that a file states; an error where the rest is not the network's."""
    if not isinstance(document, dict) or type(document.get("size")) is not int:
        raise CheckpointError(f"found the contract {document!r:.80}; wanted an object with a whole size")
    contract = network.contract(document["size"])
    wanted = _document_of(contract)
    if odd := sorted(document.keys() ^ wanted.keys()):
        raise CheckpointError(f"found a contract with missing or unknown fields ({first_three(odd)})")
    for name, own in wanted.items():
        if document[name] != own:
            found = f"found contract.{name} = {document[name]!r:.80}"
            raise CheckpointError(f"{found}; wanted {own!r} for this {network.arch}")
    return contract


def _document_of(contract: Contract) -> dict[str, Any]:
    """As JSON holds it; that a network is fixed shows in its config."""
    document = msgspec.to_builtins(contract) | {"range": list(contract.range)}
    del document["fixed"]
    return dict(document)


def _json_from_checkpoint(checkpoint: Checkpoint) -> str:
    document = {
        "version": FORMAT_VERSION,
        "arch": checkpoint.arch,
        "config": record_of(checkpoint.config),
        "contract": _document_of(checkpoint.contract),
        "provenance": asdict(checkpoint.provenance),
    }
    return json.dumps(document, sort_keys=True)


def _record(kind: type[_Record], document: Any, *, strict: bool) -> _Record:
    """A dataclass from parsed JSON; each value must have the type of the field's default.

    Not strict: unknown fields are passed over and missing ones take their default.
    """
    if not isinstance(document, dict):
        raise CheckpointError(f"found {type(document).__name__} as {kind.__name__}; wanted an object")
    known = {field.name: field.default for field in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    optional = {field.name for field in fields(kind) if LEFT_OUT in field.metadata}  # type: ignore[arg-type]
    odd = (known.keys() - optional - document.keys()) | (document.keys() - known.keys())
    if strict and odd:
        names = first_three(sorted(odd))
        raise CheckpointError(f"found {kind.__name__} with missing or unknown fields ({names})")
    values: dict[str, Any] = {}
    for name in known.keys() & document.keys():
        value = tuple(document[name]) if isinstance(document[name], list) else document[name]
        if type(value) is not type(known[name]):
            wanted = type(known[name]).__name__
            raise CheckpointError(f"found {kind.__name__}.{name} = {value!r:.80}; wanted a {wanted}")
        # What a bundle's JSON cannot hold, or a terminal cannot show, was not written by us either.
        if isinstance(value, int) and abs(value) >= 1 << 63:
            raise CheckpointError(
                f"found {kind.__name__}.{name} with {len(str(value))} digits; wanted at most 18"
            )
        if isinstance(value, str) and not _is_unicode(value):
            raise CheckpointError(f"found {kind.__name__}.{name} with broken Unicode; copy the file again")
        values[name] = value
    return kind(**values)


def _is_unicode(text: str) -> bool:
    """Without half a surrogate pair, which JSON may hold and UTF-8 cannot."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _check(checkpoint: Checkpoint) -> None:
    """Raise unless the state fits the architecture key by key and holds finite numbers only."""
    config = checkpoint.config
    channels = (config.in_channels, config.out_channels)
    if channels != (3, 3):
        raise CheckpointError(f"found {channels[0]} -> {channels[1]} channels; wanted 3 -> 3 (RGB)")
    wanted, found_state = _blank(checkpoint.arch, config).state_dict(), checkpoint.state
    problems = []
    if missing := [key for key in wanted if key not in found_state]:
        problems.append(f"missing keys {first_three(missing)}")
    if unexpected := [key for key in found_state if key not in wanted]:
        problems.append(f"unexpected keys {first_three(unexpected)}")
    different = [
        f"{key} is {_kind_of(found_state[key])} instead of {_kind_of(wanted[key])}"
        for key in wanted
        if key in found_state and _kind_of(found_state[key]) != _kind_of(wanted[key])
    ]
    if different:
        problems.append(first_three(different))
    if problems:
        raise CheckpointError(f"weights do not fit {checkpoint.arch} with {config}: {'; '.join(problems)}")
    if broken := [key for key in wanted if not bool(torch.isfinite(found_state[key]).all())]:
        raise CheckpointError(f"found NaN or infinite weights in {first_three(broken)}; wanted finite ones")
    size = checkpoint.contract.size
    gmac = sum(value.numel() for value in wanted.values() if value.ndim == 4) * (size // 4) ** 2 / 1e9
    if gmac > MAX_GMAC:
        found = f"a network with about {gmac:,.0f} GMAC for a picture of {size}x{size}"
        raise CheckpointError(f"found {found}; wanted at most {MAX_GMAC:,}: a smaller contract.size")


def _kind_of(tensor: Tensor) -> str:
    kind = f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
    return kind if tensor.layout == torch.strided else f"{tensor.layout} {kind}"
