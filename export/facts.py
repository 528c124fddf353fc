"""What a checkpoint file holds, without running it: for `getgan inspect`."""

from __future__ import annotations

from pathlib import Path

import msgspec
import torch
from torch.utils.flop_counter import FlopCounterMode

from getgan.contract import Contract, range_in_words
from getgan.export.trace import Inference
from getgan.models.checkpoint import Checkpoint, load_checkpoint
from getgan.models.generator import record_of
from getgan.models.recognise import build_generator
from getgan.printing import json_text, one_line
from getgan.runtime.manifest import Model, Training


class CheckpointFacts(msgspec.Struct, frozen=True):
    """A checkpoint in figures; `gmac` is 10^9 multiply-accumulates for y_* of one picture."""

    path: str
    model: Model  # its `parameters` are those of the inference graph
    contract: Contract
    parameters_total: int
    gmac: float

    def text(self) -> str:
        """For a terminal."""
        model, contract = self.model, self.contract
        config = ", ".join(f"{key}={value}" for key, value in model.config.items())
        size = f"{contract.size}x{contract.size}"
        sizes = (
            f"{size} only"
            if contract.fixed
            else f"{size} trained, {contract.min_size}x{contract.min_size} smallest, "
            f"multiples of {contract.multiple_of}"
        )
        rows = [
            ("checkpoint", self.path),
            ("sha256", model.source_sha256),
            ("architecture", f"{model.arch} ({config})"),
            ("parameters", f"{self.parameters_total:,}, {model.parameters:,} of them to translate"),
            ("work", f"{self.gmac:.2f} GMAC for one {size} picture"),
            ("images", f"{contract.channels} in {range_in_words(contract.range)}, {sizes}"),
        ]
        if training := model.training:
            by = f"{training.trained_on}, {training.iterations:,} iterations, seed {training.seed}"
            rows += [("trained on", by), ("created", training.created or "unknown")]
        if model.notes:
            rows.append(("notes", model.notes))
        return "\n".join(f"{name:13s} {one_line(value)}" for name, value in rows)

    def to_json(self) -> str:
        """For a machine."""
        return json_text(self)


def inspect_checkpoint(path: Path) -> CheckpointFacts:
    """Read and check a checkpoint; CheckpointError as `load_checkpoint`."""
    checkpoint = load_checkpoint(path)
    contract = checkpoint.contract
    with torch.device("meta"):
        module = Inference(build_generator(checkpoint.arch, checkpoint.config)).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(torch.zeros(1, 3, contract.size, contract.size))
        total = sum(p.numel() for p in build_generator(checkpoint.arch, checkpoint.config).parameters())
    kept = sum(parameter.numel() for parameter in module.parameters())
    gmac = counter.get_total_flops() / 2e9
    return CheckpointFacts(str(path), model_of(checkpoint, name_of(Path(path)), kept), contract, total, gmac)


def name_of(path: Path) -> str:
    """What a checkpoint file's model is called: a run's last and best one by the run's folder."""
    which, dot, rest = path.stem.partition(".")
    run = path.resolve().parent.name
    return f"{run}{dot}{rest}" if which in ("last", "best") and run else path.stem


def model_of(checkpoint: Checkpoint, name: str, parameters: int) -> Model:
    """The checkpoint's identity and provenance, as a bundle states them."""
    provenance = checkpoint.provenance
    training = Training(
        trained_on=provenance.trained_on,
        iterations=provenance.iterations,
        seed=provenance.seed,
        config_sha256=provenance.config_sha256,
        created=provenance.created,
    )
    return Model(
        name=name,
        arch=checkpoint.arch,
        parameters=parameters,
        source_sha256=checkpoint.sha256 or "",
        config=record_of(checkpoint.config),
        training=training,
        notes=provenance.notes,
    )
