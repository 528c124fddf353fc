"""What a run needs to go on after kill -9 as if nothing had happened, in one file of its own."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from getgan.errors import ConfigError, TrainingError
from getgan.files import write_bytes_atomic
from getgan.models.checkpoint import TRAINING_STATE_KEY
from getgan.training.config import config_from_toml_text
from getgan.training.methods import Method

VERSION = 1


@dataclass
class Progress:
    """Where a run stands; everything random follows from `iteration` and the seed."""

    iteration: int = 0  # done
    seconds: float = 0.0  # of training, over all resumes
    best_score: float = float("-inf")
    best_iteration: int = 0
    collapsed: bool = False
    started_from: str = ""  # what the first weights were taken from; "" = freshly drawn


def save_state(path: Path, method: Method, ema: nn.Module | None, progress: Progress, config: str) -> None:
    """Write networks, optimizers, pools and progress atomically; rank 0 writes, every rank must call."""
    pools = _gathered({name: list(pool.images) for name, pool in method.pools.items()})
    if _rank() != 0:
        return
    document = {
        TRAINING_STATE_KEY: VERSION,
        "config": config,
        "progress": vars(progress),
        "nets": {name: net.state_dict() for name, net in method.nets.items()},
        "updates": method.updates.state(),
        "ema": None if ema is None else ema.state_dict(),
        "pools": pools,  # one per rank
    }
    buffer = io.BytesIO()
    torch.save(document, buffer)
    write_bytes_atomic(path, buffer.getvalue())


def load_state(path: Path, method: Method, ema: nn.Module | None, config: str) -> Progress:
    """Put a saved run's state into freshly built networks; the config must be the same but for its length."""
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise TrainingError(
            f"{path} cannot be read as a training state ({type(error).__name__}); "
            "delete it to start this run anew, or choose another folder"
        ) from error
    if not isinstance(document, dict) or document.get(TRAINING_STATE_KEY) != VERSION:
        raise TrainingError(f"{path} is no training state of version {VERSION}; choose another folder")
    if not _same_options(document["config"], config):
        raise TrainingError(
            f"{path} belongs to a run with other options ({_first_difference(document['config'], config)}); "
            "use the same config, or another folder"
        )
    for name, net in method.nets.items():
        net.load_state_dict(document["nets"][name])
    method.updates.load_state(document["updates"])
    if ema is not None:
        ema.load_state_dict(document["ema"])
    pools: list[dict[str, list[Tensor]]] = document["pools"]
    if len(pools) != _world():
        raise TrainingError(f"{path} was written by {len(pools)} processes; found {_world()}: start as many")
    device = next(method.nets["forward"].parameters()).device
    for name, pool in method.pools.items():
        pool.images = [image.to(device) for image in pools[_rank()][name]]
    return Progress(**document["progress"])


def _same_options(old: str, new: str) -> bool:
    """Whether two TOML documents state the same run; an older one lacks the options that came later."""
    try:
        return old == new or config_from_toml_text(old) == config_from_toml_text(new)
    except ConfigError:
        return False


def _first_difference(old: str, new: str) -> str:
    lines = set(old.splitlines())
    for after in new.splitlines():
        before = next(
            (line for line in lines if line.partition(" = ")[0] == after.partition(" = ")[0]), after
        )
        if before != after:
            return f"there {before}, here {after}"
    return "it has options that this version does not know"


def _gathered(value: Any) -> list[Any]:
    """The value of every rank, on every rank."""
    if _world() == 1:
        return [value]
    everyone: list[Any] = [None] * _world()
    dist.all_gather_object(everyone, value)
    return everyone


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1
