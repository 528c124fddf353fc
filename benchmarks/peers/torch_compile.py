"""torch.compile: its compiler writes C++ on a CPU, so it needs one."""

from __future__ import annotations

import os
import shutil

from getgan.benchmarks.peers import Absent, Asked
from getgan.benchmarks.peers.torch_eager import open_torch
from getgan.benchmarks.ways import Opened


def open_peer(asked: Asked) -> Opened:
    """With its defaults; it compiles in its first query."""
    if asked.device == "cpu" and not any(map(shutil.which, ("g++", "clang++"))):
        raise Absent("torch.compile needs g++ or clang++, and there is none")

    # The command line names a folder that is not for this: it expects that nothing is compiled (offline.py).
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(asked.folder / "inductor")

    def prepare(module: object) -> object:
        import torch

        return torch.compile(module)  # type: ignore[call-overload]  # any callable

    return open_torch(asked, prepare, "inductor")
