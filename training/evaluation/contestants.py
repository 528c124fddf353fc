"""Checkpoints opened as contestants, each with the reverse generator that lies beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from getgan.contract import SIGNED, range_in_words
from getgan.errors import CheckpointError, ConfigError, UsageError
from getgan.models.checkpoint import Checkpoint, load_checkpoint
from getgan.training.config import LossConfig, config_from_toml_text
from getgan.training.evaluation.options import Contestant, Entry, Origin

DEFAULT_SIZE = 64  # where no checkpoint says another


def open_entries(
    entries: Sequence[Entry | Contestant], size: int | None, device: torch.device
) -> tuple[list[Contestant], int]:
    """The contestants, on the device, and the image size at which all of them are compared."""
    if not entries:
        raise ConfigError("nothing to evaluate; pass at least one checkpoint")
    checkpoints = {i: load_checkpoint(e.path) for i, e in enumerate(entries) if isinstance(e, Entry)}
    sizes = sorted({checkpoint.contract.size for checkpoint in checkpoints.values()})
    if size is None and len(sizes) > 1:
        advice = f"say at which to compare: --size {sizes[0]}"
        raise ConfigError(f"checkpoints were trained at sizes {sizes}; {advice}")
    size = size or (sizes[0] if sizes else DEFAULT_SIZE)
    for i, checkpoint in checkpoints.items():
        contract = checkpoint.contract
        if contract.range != SIGNED:
            found = f"{entries[i].label} takes values in {range_in_words(contract.range)}"
            raise ConfigError(f"{found}; wanted {range_in_words(SIGNED)}, in which networks are compared")
        if size < contract.min_size or size % contract.multiple_of:
            wanted = f"a multiple of {contract.multiple_of}, at least {contract.min_size}"
            raise ConfigError(f"{entries[i].label} cannot take images of size {size}; wanted {wanted}")
    contestants = [
        entry if isinstance(entry, Contestant) else _contestant(entry, checkpoints[i], device)
        for i, entry in enumerate(entries)
    ]
    return contestants, size


def resolve_device(name: str) -> torch.device:
    """cpu, cuda, cuda:1 or auto as a device that works; UsageError for another name, or a ConfigError."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", name):
        raise UsageError(f"found device {name!r:.40}; wanted cpu, cuda, cuda:1 or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        wanted = "cpu, cuda, cuda:1 or auto"
        raise ConfigError(f"device {name!r} cannot be used ({reason}); wanted {wanted}") from error
    return device


def reverse_path(path: Path) -> Path:
    """Where the reverse generator of a checkpoint is looked for: NAME.reverse.safetensors."""
    return path.with_name(f"{path.stem}.reverse{path.suffix}")


def _contestant(entry: Entry, checkpoint: Checkpoint, device: torch.device) -> Contestant:
    network = checkpoint.generator().requires_grad_(False).to(device)
    beside = reverse_path(entry.path)
    reverse = load_checkpoint(beside) if beside.is_file() else None
    if reverse is not None and reverse.arch not in ("resnet", "ugatit"):
        raise CheckpointError(
            f"{beside}: found architecture {reverse.arch}; wanted resnet or ugatit, which H can be"
        )
    loss, notes = _loss(checkpoint)
    provenance = checkpoint.provenance
    return Contestant(
        label=entry.label,
        translate=network.translate,
        explain=partial(network.answer, outputs=network.outputs) if "error" in network.outputs else None,
        explain_missing=f"architecture {checkpoint.arch} has no error branch and no gate",
        reverse=None if reverse is None else reverse.generator().requires_grad_(False).to(device).translate,
        reverse_missing=f"needs the reverse generator H, and there is no {beside.name}",
        loss=loss,
        origin=Origin(
            file=entry.path.name,
            sha256=checkpoint.sha256 or "",
            arch=checkpoint.arch,
            iterations=provenance.iterations,
            trained_with=provenance.getgan_version,
            seed=provenance.seed,
            reverse_sha256="" if reverse is None else reverse.sha256 or "",
            notes="; ".join(filter(None, (provenance.notes, notes))),
        ),
    )


def _loss(checkpoint: Checkpoint) -> tuple[LossConfig, str]:
    """How the run computed W_e, and a note where that is not known."""
    text = checkpoint.provenance.config_toml
    if not text:
        return LossConfig(), "no training config recorded: W_e as by default"
    try:
        return config_from_toml_text(text, source="recorded config").loss, ""
    except ConfigError as error:  # a run of another getgan version, whose options are not ours
        return LossConfig(), f"{error}: W_e as by default"
