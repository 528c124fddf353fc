"""The checkpoint file: weights, architecture, image contract, provenance (docs/checkpoint-format.md)."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from getgan import __version__
from getgan.contract import Contract, range_in_words
from getgan.errors import CheckpointError, GetganError
from getgan.files import write_bytes_atomic
from getgan.models.candidates import Chosen, choose
from getgan.models.generator import Generator, GeneratorConfig, record_of
from getgan.models.metadata import FORMAT_VERSION, contract_of, document_of, parsed, record
from getgan.models.nearest import first_three, misfit
from getgan.models.notread import NotRead
from getgan.models.recognise import architecture, build_generator
from getgan.models.settings import SIZE, Settings, Told, in_words, settle
from getgan.models.stored import Stored
from getgan.models.weightfile import MAX_HEADER_BYTES, METADATA_KEY, WeightFile, open_weights

# 10^9 multiply-accumulates for one picture. As if all convolutions ran at a quarter of the size, CycleGAN's
# ResNet-9 has 47 at 256x256, and a U-Net 36 times what it has. So what is too much by that is counted.
MAX_GMAC = 2000
# Of the one generator that is read; a full U-GAT-IT for 256 pixels has 1.1 GB.
MAX_GENERATOR_BYTES = 1 << 31
NOTHING_TOLD = Told()
_SECTION, _METHOD = re.compile(r"\[([a-z]{1,20})\]"), re.compile(r'method = "([a-z]{1,20})"')
_SWITCHED_ON = re.compile(r"([a-z_]{1,30}) = true")

STATISTICS = re.compile(r"\.(running_mean|running_var|num_batches_tracked)$")


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

    @property
    def method(self) -> str:
        """How it was trained: "distil with loss.mirror, loss.teacher_real"; "" = not said.

        Read line by line, as a training writes its config, for a file may hold anything.
        """
        section, name, on = "", "", []
        for line in self.config_toml.splitlines():
            if header := _SECTION.fullmatch(line):
                section = header[1]
            elif section == "model" and (found := _METHOD.fullmatch(line)):
                name = found[1]
            elif section == "loss" and (found := _SWITCHED_ON.fullmatch(line)):
                on.append(f"loss.{found[1]}")
        return f"{name} with {', '.join(on)}" if name and on else name


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A generator's weights with all that is needed to run them."""

    arch: str
    config: GeneratorConfig
    state: Mapping[str, Tensor]
    contract: Contract
    provenance: Provenance
    sha256: str | None = None  # of the file it was read from
    # Of a bare state dict: where each setting comes from (keys, flag, a file's name, assumed), and which of
    # several generators in the file it is.
    sources: Mapping[str, str] = field(default_factory=dict)
    chosen: str = ""

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
    try:
        data = _serialised(checkpoint, _kind(path))
    except GetganError as error:
        raise CheckpointError(f"cannot save {path}: {error}") from error
    write_bytes_atomic(path, data)
    return hashlib.sha256(data).hexdigest()


def bytes_from_checkpoint(checkpoint: Checkpoint) -> bytes:
    """What `save_checkpoint` writes into a .safetensors file; equal checkpoints give equal bytes."""
    return _serialised(checkpoint, "safetensors")


def _serialised(checkpoint: Checkpoint, kind: str) -> bytes:
    document = _json_from_checkpoint(checkpoint)
    # What is about to be written goes through the reader's checks: nothing unreadable reaches the disk.
    _check(_documented(document, checkpoint.state))
    _check_finite(checkpoint.state)
    # Clones, because safetensors refuses tensors that share memory or are not contiguous.
    state = {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in checkpoint.state.items()
    }
    if kind != "safetensors":
        buffer = io.BytesIO()
        torch.save({METADATA_KEY: document, "state": state}, buffer)
        return buffer.getvalue()
    data: bytes = safetensors.torch.save(state, {METADATA_KEY: document})
    if int.from_bytes(data[:8], "little") > MAX_HEADER_BYTES:
        wanted = f"at most {MAX_HEADER_BYTES:,} bytes: shorten provenance.config_toml or notes"
        raise CheckpointError(f"metadata is too long; wanted {wanted}")
    return data


def load_checkpoint(
    path: Path, expect: str | None = None, told: Told = NOTHING_TOLD, *, numbers: bool = True
) -> Checkpoint:
    """Read and check a generator file; `expect` is the architecture it must have.

    Runs no code from the file. A bare state dict is recognised where its keys leave no doubt; what they
    do not tell is in `told` or in an options file beside it, or assumed. Of several generators one is read.
    Without `numbers` the state has shapes alone, in no memory; the file is checked and hashed all the same.
    """
    path = Path(path)
    try:
        with open_weights(path) as weights:
            found, stored = _described(weights, told)
            if expect is not None and found.arch != expect:
                raise CheckpointError(f"found architecture {found.arch}; wanted {expect}: pass another file")
            state = dict(found.state)
            if numbers:
                for key, each in stored.items():
                    state[key] = each.read(weights.file).to(state[key].dtype)
                _check_finite(state)
            elif broken := [key for key, each in stored.items() if not each.finite(weights.file)]:
                raise CheckpointError(_not_finite(broken))
            return replace(found, state=state, sha256=weights.sha256())
    except GetganError as error:
        raise CheckpointError(f"{path}: {error}") from error


def describe_checkpoint(path: Path, told: Told = NOTHING_TOLD) -> Checkpoint:
    """What the header and the keys tell: shapes in place of weights, no sha256; no number is read."""
    path = Path(path)
    try:
        with open_weights(path) as weights:
            return _described(weights, told)[0]
    except GetganError as error:
        raise CheckpointError(f"{path}: {error}") from error


def checkpoint_sha256(path: Path) -> str:
    """By which a file is known."""
    try:
        with open_weights(Path(path)) as weights:
            return weights.sha256()
    except GetganError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _kind(path: Path) -> str:
    """Of a file to be written."""
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        return "safetensors"
    if suffix in (".pt", ".pth"):
        return "pickle"
    raise CheckpointError(f"found the suffix {suffix or 'none'!r}; wanted .safetensors, .pt or .pth")


def _blank(arch: str, config: GeneratorConfig) -> Generator:
    """A network without memory for its weights."""
    with torch.device("meta"):
        return build_generator(arch, config)


def _described(weights: WeightFile, told: Told) -> tuple[Checkpoint, dict[str, Stored]]:
    """The checkpoint with shapes for weights, and where these lie."""
    if weights.document is None:
        chosen = choose(weights.content, told.direction)
        stored = dict(chosen.candidate.state)
        unread = sorted(key for key, value in weights.content.items() if isinstance(value, NotRead))
        checkpoint = _bare(chosen, told, weights.path.parent, unread)
    else:
        if told != NOTHING_TOLD:
            found = "found getgan's own checkpoint, which states its settings"
            raise CheckpointError(f"{found}; wanted no --direction and no --option")
        stored = weights.content
        blanks = {key: each.blank() for key, each in stored.items()}
        checkpoint = _documented(weights.document, blanks)
    _check(checkpoint)
    return checkpoint, {key: each for key, each in stored.items() if key in checkpoint.state}


def _bare(chosen: Chosen, told: Told, folder: Path, unread: list[str]) -> Checkpoint:
    """From a state dict without metadata."""
    candidate = chosen.candidate
    settings = settle(architecture(candidate.arch), candidate.config, told, folder)
    network = _blank(candidate.arch, settings.config)
    own = network.state_dict()
    # InstanceNorm of PyTorch before 0.4 saved statistics that it never used.
    state = {
        key: _as_float32(each.blank())
        for key, each in candidate.state.items()
        if key in own or not STATISTICS.search(key)
    }
    # BatchNorm of then did not count its updates, which matter in training only.
    state |= {
        key: torch.tensor(0) for key in own if key not in state and key.endswith(".num_batches_tracked")
    }
    contract = network.contract(settings.size)
    provenance = Provenance(getgan_version="unknown", notes=_notes(chosen, settings, contract, unread))
    sources = settings.sources | ({"generator": chosen.source} if chosen.others else {})
    return Checkpoint(
        candidate.arch, settings.config, state, contract, provenance, sources=sources, chosen=candidate.name
    )


def _as_float32(blank: Tensor) -> Tensor:
    return blank.float() if blank.is_floating_point() else blank


def _notes(chosen: Chosen, settings: Settings, contract: Contract, unread: list[str]) -> str:
    """In words, for whoever sees the pictures."""
    candidate = chosen.candidate
    parts = ["bare state dict"]
    if chosen.others:
        others = first_three(list(chosen.others))
        parts.append(f"{candidate.name} taken and not {others} ({chosen.source})")
    kinds = {each.dtype for each in candidate.state.values() if each.dtype.is_floating_point}
    if odd := sorted(str(kind).removeprefix("torch.") for kind in kinds - {torch.float32}):
        parts.append(f"weights saved as {' and '.join(odd)}, used as float32")
    values = {**vars(settings.config), SIZE: contract.size}
    if unread:
        parts.append(f"not read: {first_three(unread)}")
    if told := in_words(settings.sources, values):
        parts.append(told)
    mode = "" if "norm_mode" in settings.sources else " and eval mode"
    return "; ".join([*parts, f"RGB in {range_in_words(contract.range)}{mode} assumed"])


def _documented(document: str, state: Mapping[str, Tensor]) -> Checkpoint:
    """From a state dict with getgan's metadata."""
    content = parsed(document)
    kind = architecture(content.get("arch"))
    config = record(kind.config_class, content.get("config"), strict=True)
    contract = contract_of(content.get("contract"), _blank(kind.arch, config))
    provenance = record(Provenance, content.get("provenance"), strict=False)
    return Checkpoint(kind.arch, config, state, contract, provenance)


def _json_from_checkpoint(checkpoint: Checkpoint) -> str:
    document = {
        "version": FORMAT_VERSION,
        "arch": checkpoint.arch,
        "config": record_of(checkpoint.config),
        "contract": document_of(checkpoint.contract),
        "provenance": asdict(checkpoint.provenance),
    }
    return json.dumps(document, sort_keys=True)


def _check(checkpoint: Checkpoint) -> None:
    """Raise unless the state fits the architecture key by key; shapes are enough."""
    config = checkpoint.config
    channels = (config.in_channels, config.out_channels)
    if channels != (3, 3):
        raise CheckpointError(f"found {channels[0]} -> {channels[1]} channels; wanted 3 -> 3 (RGB)")
    wanted = _blank(checkpoint.arch, config).state_dict()
    if problems := misfit(wanted, checkpoint.state):
        raise CheckpointError(f"weights do not fit {checkpoint.arch} with {config}: {'; '.join(problems)}")
    size = sum(value.numel() * value.dtype.itemsize for value in wanted.values())
    if size > MAX_GENERATOR_BYTES:
        raise CheckpointError(f"found a generator of {size:,} bytes; wanted at most {MAX_GENERATOR_BYTES:,}")
    size = checkpoint.contract.size
    gmac = sum(value.numel() for value in wanted.values() if value.ndim == 4) * (size // 4) ** 2 / 1e9
    if gmac > MAX_GMAC and (gmac := _gmac(checkpoint)) > MAX_GMAC:
        found = f"a network with {gmac:,.0f} GMAC for a picture of {size}x{size}"
        raise CheckpointError(f"found {found}; wanted at most {MAX_GMAC:,}: a smaller size")


def _gmac(checkpoint: Checkpoint) -> float:
    """For one picture of the contract's size, counted on tensors without numbers."""
    from torch.utils.flop_counter import FlopCounterMode

    network, size = _blank(checkpoint.arch, checkpoint.config).eval(), checkpoint.contract.size
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), torch.no_grad(), counter:
        network.translate(torch.zeros(1, 3, size, size))
    return float(counter.get_total_flops() / 2e9)


def _check_finite(state: Mapping[str, Tensor]) -> None:
    if broken := [key for key, value in state.items() if not bool(torch.isfinite(value).all())]:
        raise CheckpointError(_not_finite(broken))


def _not_finite(broken: list[str]) -> str:
    return f"found NaN or infinite weights in {first_three(broken)}; wanted finite ones"
