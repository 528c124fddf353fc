"""torch.compile: its compiler writes C++ on a CPU, so it needs one."""

from __future__ import annotations

import shutil

from getgan.benchmarks.peers import Absent, Asked
from getgan.benchmarks.peers.torch_eager import open_torch
from getgan.benchmarks.ways import Opened


def open_peer(asked: Asked) -> Opened:
    """With its defaults; it compiles in its first query."""
    if asked.device == "cpu" and not any(map(shutil.which, ("g++", "clang++"))):
        raise Absent("torch.compile needs g++ or clang++, and there is none")

    def prepare(module: object) -> object:
        import torch

        return torch.compile(module)  # type: ignore[call-overload]  # any callable

    return open_torch(asked, prepare, "inductor")
