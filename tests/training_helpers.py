"""Tiny runs, and runs in processes of their own that are killed, starved of disk, or two of a group.

As a command, `torchrun training_helpers.py FOLDER DATA` is what test_training_loop.py gives to torchrun.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from getgan.errors import GetganError
from getgan.training.config import TrainConfig, load_config
from getgan.training.console import Console
from getgan.training.data import Picture
from getgan.training.folder import LOG, STATE
from getgan.training.loop import Trainer
from getgan.training.methods import Method

TINY = (
    "model.ngf=2",
    "model.ndf=2",
    "model.shared_blocks=1",
    "model.branch_blocks=1",
    "model.reverse_blocks=1",
    "model.discriminator_layers=2",
    "model.ugatit_blocks=1",
    "model.ugatit_global_layers=4",
    "model.ugatit_local_layers=3",
    "data.size=32",
    "data.load_size=36",
    "data.count=5",
    "run.device=cpu",
    "run.threads=1",
    "run.log_every=1",
    "run.probe_images=4",
)
SMALL = ("model.widths=[2,3,4]", "model.up=resize", "data.load_size=64", "optim.iterations=1")


def tiny(*overrides: str) -> TrainConfig:
    """A config whose iteration takes some milliseconds."""
    return load_config(None, [*TINY, *overrides])


def noise(seed: int, *shape: int) -> Tensor:
    """Between -1 and 1; (1, 3, 32, 32) if no shape is given."""
    return torch.rand(shape or (1, 3, 32, 32), generator=torch.Generator().manual_seed(seed)) * 2 - 1


def write_pictures(folder: Path, count: int, *, seed: int = 0, height: int = 40, width: int = 48) -> None:
    """`count` PNG files, each of one colour of its own with noise on top."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for n in range(count):
        colour = rng.integers(0, 256, 3)
        image = np.clip(colour + rng.integers(-20, 21, (height, width, 3)), 0, 255).astype(np.uint8)
        assert cv2.imwrite(str(folder / f"{n}.png"), image)


@dataclass(frozen=True)
class Whose:
    """Pictures of the process that made them."""

    count: int

    def picture(self, index: int) -> Picture:
        """The process's number in four pixels, and the index."""
        return np.array([[[b, index, 0] for b in os.getpid().to_bytes(4, "big")]] * 4, np.uint8)


def from_folders(root: Path, *overrides: str) -> TrainConfig:
    """`tiny` on the pictures of `root`, which are written if they are missing."""
    if not root.exists():
        write_pictures(root / "trainA", 5, seed=1)
        write_pictures(root / "trainB", 4, seed=2)
    return tiny("data.kind=folders", f'data.root="{root.as_posix()}"', *overrides)


def small(folder: Path, *overrides: str) -> TrainConfig:
    """SMALL on pictures beside the run's folder."""
    return from_folders(folder.parent / f"{folder.name}-pictures", *SMALL, *overrides)


def trained(folder: Path, *overrides: str) -> Path:
    """The checkpoint of such a run."""
    Trainer(small(folder, *overrides), folder, Console(quiet=True), resume=False).run()
    return folder / "last.safetensors"


def started(
    folder: Path, start: Path | None, *overrides: str, teacher: Path | None = None, resume: bool = False
) -> Trainer:
    """Such a run that takes up a checkpoint, and is not begun."""
    config = small(folder, *overrides)
    return Trainer(config, folder, Console(quiet=True), resume=resume, start=start, teacher=teacher)


class Stopping(Console):
    """A quiet console that after iteration `at` writes `marker` and waits to be killed, or raises."""

    def __init__(self, at: int, marker: Path | None = None) -> None:
        super().__init__(quiet=True)
        self._at, self._marker = at, marker

    def advance(self, iteration: int, rate: float) -> None:
        if iteration < self._at:
            return
        if self._marker is None:
            raise InterruptedError
        self._marker.touch()
        time.sleep(600)


def train(config: TrainConfig, folder: Path, *, resume: bool = False, stop_at: int | None = None) -> Trainer:
    """One run to its end, or to an InterruptedError after iteration `stop_at`."""
    trainer = Trainer(config, folder, Stopping(stop_at or 10**9), resume=resume)
    trainer.run()
    return trainer


def assert_resumed_alike(config: TrainConfig, folder: Path, start: Path) -> None:
    """A run of four iterations that is stopped in its third, and goes on, is the one that was not stopped."""
    Trainer(config, folder / "whole", Console(quiet=True), resume=False, start=start).run()
    with pytest.raises(InterruptedError):
        Trainer(config, folder / "parts", Stopping(3), resume=False, start=start).run()
    assert state_of(folder / "parts")["progress"]["iteration"] == 2
    train(config, folder / "parts", resume=True)
    assert same(state_of(folder / "whole"), state_of(folder / "parts"))


def train_until_killed(config: TrainConfig, folder: Path, at: int, marker: Path) -> None:
    """For a process of its own: train, and hang in the middle of iteration `at`."""
    torch.set_num_threads(1)
    Trainer(config, folder, Stopping(at, marker), resume=False).run()


def train_with_file_limit(config: TrainConfig, folder: Path, limit: int, message: Path) -> None:
    """For a process of its own: resume where a file may have `limit` bytes; our error goes to `message`."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        train(config, folder, resume=True)
    except GetganError as error:
        message.write_text(f"{type(error).__name__}\n{error}")


def resume_elsewhere(config: TrainConfig, folder: Path) -> None:
    """For a process of its own."""
    train(config, folder, resume=True)


def log_of(folder: Path) -> list[dict[str, Any]]:
    """The log without its clock."""
    lines = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def state_of(folder: Path) -> dict[str, Any]:
    """A training state without its clock."""
    document: dict[str, Any] = torch.load(folder / STATE, weights_only=True)
    del document["progress"]["seconds"]
    return document


def same(a: object, b: object) -> bool:
    """Whether two nested documents are equal, tensors bit for bit."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def digest(nets: Mapping[str, nn.Module]) -> str:
    """A hash of every weight and buffer."""
    total = hashlib.sha256()
    for net in nets.values():
        for value in net.state_dict().values():
            total.update(value.numpy().tobytes())
    return total.hexdigest()


def recorded_gradients(method: Method, x: Tensor, y: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Per update, the flat gradient of all generators and of all discriminators; nothing moves."""
    updates = method.updates
    found: tuple[list[Tensor], list[Tensor]] = ([], [])
    with pytest.MonkeyPatch.context() as patch:
        for place, (adam, own) in enumerate(
            ((updates.adam_g, updates.generators), (updates.adam_d, updates.discriminators))
        ):

            def record(place: int = place, own: list[nn.Parameter] = own) -> None:
                flat = [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in own]
                found[place].append(torch.cat(flat).clone())

            patch.setattr(adam, "step", record)
        method.iterate(x, y)
    return found


def _as_one_of_a_group(folder: Path, data: Path) -> None:
    """What each rank does under torchrun; leaves rankN.pt with what the test compares."""
    config = from_folders(data, *GROUP)
    probing = Trainer(config, folder / "gradients", Stopping(10**9), resume=False)
    rank = dist.get_rank()
    gradients = recorded_gradients(probing.method, *probing.batches.batch(0))
    with pytest.MonkeyPatch.context() as patch:
        # One group for all runs: torchrun's processes are made for one.
        patch.setattr(dist, "destroy_process_group", lambda: None)
        straight = train(config, folder / "straight")
        with contextlib.suppress(InterruptedError):
            train(config, folder / "resumed", stop_at=3)
        resumed = train(config, folder / "resumed", resume=True)
    dist.destroy_process_group()
    found = {
        "gradients": gradients,
        "start": digest(probing.method.nets),
        "straight": digest(straight.method.nets),
        "resumed": digest(resumed.method.nets),
        "threads": [name.read_text().strip() for name in Path("/proc/self/task").glob("*/comm")],
    }
    torch.save(found, folder / f"rank{rank}.pt")


# Pools of 2: the first iteration fills them, so that a batch of 2 and two ranks see the same fakes.
GROUP = ("optim.iterations=5", "run.checkpoint_every=2", "optim.pool=2", "optim.ema=0.9")

if __name__ == "__main__":
    _as_one_of_a_group(Path(sys.argv[1]), Path(sys.argv[2]))
