"""Which process of a run this is, and on which device it computes."""

from __future__ import annotations

import importlib
import os

import torch
import torch.distributed as dist

from getgan.errors import ConfigError


def is_first_process() -> bool:
    """Whether this is the only process, or rank 0 of torchrun's."""
    return int(os.environ.get("RANK", 0)) == 0


def join_processes(wanted: str) -> tuple[int, int, torch.device]:
    """(rank, world size, device); joins torchrun's group if it started this process."""
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    local = int(os.environ.get("LOCAL_RANK", 0))
    device = _device(wanted, local)
    if world > 1 and not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        # The first optimizer imports it. Imported while a group is there, it keeps the group past its
        # destruction, and Gloo's threads then run into the interpreter's end: SIGABRT, now and then.
        importlib.import_module("torch._dynamo")
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return rank, world, device


def _device(wanted: str, local: int) -> torch.device:
    if wanted == "auto":
        return torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise ConfigError(f"run.device is {wanted!r}; wanted auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"run.device is {wanted}, but PyTorch finds no GPU here; use cpu or auto")
    return torch.device("cuda", local) if wanted == "cuda" else device
