"""What a run needs to go on after kill -9 as if nothing had happened, in one file of its own."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from getgan.errors import ConfigError, TrainingError
from getgan.files import write_bytes_atomic
from getgan.models.weightfile import TRAINING_STATE_KEY
from getgan.training.config import TrainConfig, config_from_toml_text, config_to_toml_text
from getgan.training.folder import with_its_weights
from getgan.training.methods import Method

VERSION = 1


@dataclass
class Progress:
    """Where a run stands; everything random follows from `iteration` and the seed."""

    iteration: int = 0  # done
    seconds: float = 0.0  # of training, over all resumes
    best_score: float = float("-inf")
    best_iteration: int = 0
    looks: int = 0  # of the watch for collapse
    collapsed: bool = False  # at the last of them
    started_from: str = ""  # what the first weights were taken from; "" = freshly drawn
    teacher: str = ""  # sha256 of the teacher's file
    teacher_kept: str = ""  # and of what the folder keeps of it


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
    """Put a saved run's state into freshly built networks; the config must state the same run."""
    advice = with_its_weights(path.parent)
    document = read_state(path)
    if not _same_options(document["config"], config):
        raise TrainingError(
            f"{path} belongs to a run with other options ({_first_difference(document['config'], config)}); "
            f"use the same config, or {advice}"
        )
    pools = document["pools"]
    if len(pools) != _world():
        raise TrainingError(f"{path} was written by {len(pools)} processes; found {_world()}: start as many")
    _refuse(_misfits_of_run(document, method, ema, config_from_toml_text(config)), path)
    for name, net in method.nets.items():
        net.load_state_dict(document["nets"][name])
    method.updates.load_state(document["updates"])
    if ema is not None:
        ema.load_state_dict(document["ema"])
    device = next(method.nets["forward"].parameters()).device
    for name, pool in method.pools.items():
        pool.images = [image.to(device) for image in pools[_rank()][name]]
    return Progress(**document["progress"])


def read_state(path: Path) -> dict[str, Any]:
    """What `save_state` wrote, each section of its kind; TrainingError if it is anything else."""
    advice = with_its_weights(path.parent)
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise TrainingError(
            f"{path} cannot be read as a training state ({type(error).__name__}); {advice}"
        ) from error
    version = document.get(TRAINING_STATE_KEY) if isinstance(document, dict) else None
    if type(version) is not int or version != VERSION:
        raise TrainingError(f"{path} is no training state of version {VERSION}; {advice}")
    _refuse(_misfits_of_sections(document), path)
    return dict(document)


def _refuse(misfits: Iterator[str], path: Path) -> None:
    for misfit in misfits:
        raise TrainingError(f"{path} is damaged: {misfit}; {with_its_weights(path.parent)}")


def _misfits_of_sections(document: dict[str, Any]) -> Iterator[str]:
    for name, kind in (
        ("config", str),
        ("progress", dict),
        ("nets", dict),
        ("updates", dict),
        ("pools", list),
    ):
        if not isinstance(document.get(name), kind):
            yield f"{name} is {_words(document.get(name))}, wanted {kind.__name__}"


def _misfits_of_run(
    document: dict[str, Any], method: Method, ema: nn.Module | None, config: TrainConfig
) -> Iterator[str]:
    """What of a state is not as this run would have written it, in words."""
    yield from _misfits(document["nets"], {n: net.state_dict() for n, net in method.nets.items()}, "nets")
    yield from _misfits(document.get("ema"), None if ema is None else ema.state_dict(), "ema")
    updates = document["updates"]
    yield from _misfits(updates.get("scaler"), method.updates.scaler.state_dict(), "updates.scaler")
    for name, parameters in method.updates.parameters.items():
        adam = updates.get(name)
        if not isinstance(adam, dict) or not isinstance(found := adam.get("state"), dict):
            yield f"updates.{name} is {_words(adam)}, wanted an optimizer's state"
            return
        # Adam remembers nothing of a parameter that no loss has reached yet.
        reached = {n: parameter for n, parameter in enumerate(parameters) if n in found}
        like = {n: {"step": torch.zeros(()), "exp_avg": p, "exp_avg_sq": p} for n, p in reached.items()}
        yield from _misfits(found, like, f"updates.{name}.state")
    mine = document["pools"][_rank()]
    yield from _misfits(mine, {name: [] for name in method.pools}, "pools")
    shape = (3, config.data.size, config.data.size)
    for name, pool in method.pools.items():
        if len(mine[name]) > pool.size:
            yield f"pools.{name} holds {len(mine[name]):,} pictures, wanted {pool.size:,} at most"
        for image in mine[name]:
            if not (isinstance(image, Tensor) and image.is_floating_point() and image.shape == shape):
                yield f"pools.{name} holds {_words(image)}, wanted floating-point tensors of {shape}"
    yield from _misfits_of_progress(document["progress"], config.optim.iterations)


def _misfits_of_progress(found: dict[str, Any], iterations: int) -> Iterator[str]:
    # One of an older version lacks the fields that came later.
    like = {name: value for name, value in vars(Progress()).items() if name in found or name == "iteration"}
    yield from _misfits(found, like, "progress")
    done = Progress(**found)
    for name, good in (
        ("iteration", 0 <= done.iteration <= iterations),
        ("seconds", 0 <= done.seconds < math.inf),
        ("best_score", done.best_score < math.inf),
        ("best_iteration", 0 <= done.best_iteration <= done.iteration),
        ("looks", 0 <= done.looks <= done.iteration),
    ):
        if not good:
            yield f"progress.{name} is out of its range"


def _misfits(found: Any, like: Any, where: str) -> Iterator[str]:
    """Where keys, types or tensors' shapes are not those of `like`."""
    if isinstance(like, Tensor):
        good = isinstance(found, Tensor) and (found.shape, found.dtype) == (like.shape, like.dtype)
    else:
        good = isinstance(found, dict) if isinstance(like, dict) else type(found) is type(like)
    if not good:
        yield f"{where} is {_words(found)}, wanted {_words(like)}"
    elif isinstance(like, dict):
        yield from (f"{where}.{key!s:.40} is unknown" for key in found if key not in like)
        for key, value in like.items():
            if key not in found:
                yield f"{where}.{key} is missing"
            else:
                yield from _misfits(found[key], value, f"{where}.{key}")


def _words(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor of {tuple(value.shape)}"
    return type(value).__name__


def _same_options(old: str, new: str) -> bool:
    """Whether two TOML documents state the same run; an older one lacks the options that came later."""
    try:
        return old == new or config_from_toml_text(old) == config_from_toml_text(new)
    except ConfigError:
        return False


def _first_difference(old: str, new: str) -> str:
    try:
        old = config_to_toml_text(config_from_toml_text(old))  # with the options that came later
    except ConfigError as error:
        return f"this version cannot read them: {error}"
    lines = set(old.splitlines())
    for after in new.splitlines():
        before = next(
            (line for line in lines if line.partition(" = ")[0] == after.partition(" = ")[0]), after
        )
        if before != after:
            return f"there {before}, here {after}"
    return "in what a config does not name"


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
