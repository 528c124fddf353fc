"""What a checkpoint file holds, without running it: for `getgan inspect`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from getgan.contract import Contract, range_in_words
from getgan.errors import ConfigError
from getgan.export.guardfiles import saved_guard
from getgan.export.trace import Inference
from getgan.models.checkpoint import NOTHING_TOLD, Checkpoint, load_checkpoint
from getgan.models.generator import Generator, record_of
from getgan.models.recognise import architecture, build_generator
from getgan.models.settings import ASSUMED, KEYS, SIZE, Told
from getgan.printing import json_text, one_line
from getgan.runtime.manifest import Manifest, Model, Training


class CheckpointFacts(msgspec.Struct, frozen=True):
    """A checkpoint in figures; `gmac` is 10^9 multiply-accumulates for y_* of one size x size picture."""

    path: str
    model: Model  # its `parameters` are those of the inference graph
    contract: Contract  # its `size` is the recommended one
    parameters_total: int
    size: int
    gmac: float
    guard: str  # that stands beside it, in words
    weights_bytes: int  # in float32
    activations_bytes: int  # at the most at a time, in float32, as PyTorch runs it
    method: str = ""  # of its training, with the losses that were switched on; "" = not said

    def text(self) -> str:
        """For a terminal."""
        model, contract = self.model, self.contract
        config = ", ".join(f"{key}={value}" for key, value in model.config.items())
        recommended, size = (f"{side}x{side}" for side in (contract.size, self.size))
        named = "recommended" if model.sources else "trained"
        sizes = (
            f"{recommended} only"
            if contract.fixed
            else f"{recommended} {named}, {contract.min_size}x{contract.min_size} smallest, "
            f"multiples of {contract.multiple_of}"
        )
        weights, activations = (f"{n / 1e6:,.1f} MB" for n in (self.weights_bytes, self.activations_bytes))
        rows = [
            ("checkpoint", self.path),
            ("sha256", model.source_sha256),
            ("architecture", f"{model.arch} ({config})"),
            ("parameters", f"{self.parameters_total:,}, {model.parameters:,} of them to translate"),
            ("work", f"{self.gmac:.2f} GMAC for one {size} picture"),
            ("memory", f"{weights} of weights, {activations} of activations for one {size} picture"),
            ("images", f"{contract.channels} in {range_in_words(contract.range)}, {sizes}"),
        ]
        if model.sources:
            by: dict[str, list[str]] = {}
            for name, source in model.sources.items():
                by.setdefault(source, []).append(name)
            if model.chosen:
                rows.append(("taken from", model.chosen))
            rows += [(f"from {s}" if s != ASSUMED else s, ", ".join(names)) for s, names in by.items()]
        elif training := model.training:
            made = f"{training.trained_on}, {training.iterations:,} iterations, seed {training.seed}"
            rows.append(("trained on", made))
            rows += [("method", self.method)] if self.method else []
            rows.append(("created", training.created or "unknown"))
        rows.append(("guard", self.guard))
        if model.notes:
            rows.append(("notes", model.notes))
        return "\n".join(f"{one_line(name):13s} {one_line(value)}" for name, value in rows)

    def to_json(self) -> str:
        """For a machine."""
        return json_text(self)


class _Memory(TorchDispatchMode):  # type: ignore[no-untyped-call]  # PyTorch has no type for it
    """Sums the tensors that live at a time, of operations that run on no memory."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.peak = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: object, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self._alive = {key: each for key, each in self._alive.items() if not each[0].expired()}  # type: ignore[no-untyped-call]  # as above
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self._alive[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())  # type: ignore[no-untyped-call]  # as above
        self.peak = max(self.peak, sum(size for _, size in self._alive.values()))
        return result


def inspect_checkpoint(path: Path, told: Told = NOTHING_TOLD, size: int = 0) -> CheckpointFacts:
    """Read and check a checkpoint; figures for pictures of `size` pixels, 0 = the recommended size.

    Nothing is computed: the network runs on tensors that have a shape and no numbers. CheckpointError as
    `load_checkpoint`, ConfigError for a size that the network does not take.
    """
    checkpoint = load_checkpoint(path, told=told, numbers=False)
    contract = checkpoint.contract
    size = size or contract.size
    whole = _blank(checkpoint)
    if size != contract.size:
        if contract.fixed:
            raise ConfigError(f"found --size {size}; this {whole.arch} takes {contract.size} only")
        whole.contract(size)
    total = _parameters(whole)
    module = Inference(whole).eval()
    memory, counter = _Memory(), FlopCounterMode(display=False)
    with torch.device("meta"), torch.no_grad(), memory, counter:
        module(torch.zeros(1, 3, size, size))
    kept = _parameters(module)
    saved = saved_guard(Path(path), checkpoint.sha256 or "")
    return CheckpointFacts(
        path=str(path),
        model=model_of(checkpoint, name_of(Path(path)), kept),
        contract=contract,
        parameters_total=total,
        size=size,
        gmac=counter.get_total_flops() / 2e9,
        guard=f"none: {saved}" if isinstance(saved, str) else saved.in_words(),
        weights_bytes=4 * kept,
        activations_bytes=memory.peak,
        method=checkpoint.provenance.method,
    )


def _blank(checkpoint: Checkpoint) -> Generator:
    """The checkpoint's network, without memory for its weights."""
    with torch.device("meta"):
        return build_generator(checkpoint.arch, checkpoint.config)


def _parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


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
        sources=dict(checkpoint.sources),
        chosen=checkpoint.chosen,
        notes=provenance.notes,
    )


def told_of(manifest: Manifest) -> Told:
    """What has to be told to read the checkpoint again as this bundle's export did."""
    model = manifest.model
    if not model.sources:
        return NOTHING_TOLD
    kind = architecture(model.arch)
    values = {**vars(kind.config_class()), **model.config, SIZE: manifest.contract.size}
    names = [name for name, source in model.sources.items() if source != KEYS and name in values]
    return Told(model.chosen, tuple((name, str(values[name])) for name in names))
