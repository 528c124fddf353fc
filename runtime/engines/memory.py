"""Free memory before a build, and what to try when it was not enough."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from getgan.errors import DeviceError
from getgan.runtime.engines.fingerprint import Flavour, Settings

# TensorRT-RTX 1.7: measured peaks of a 45 MB graph (9 blocks, ngf 64) are 463 MB for one shape and 612 MB for
# 11. TensorRT itself was not measured: an estimate, with the context of CUDA that it opens.
BASE_MB: dict[Flavour, int] = {"tensorrt-rtx": 300, "tensorrt": 1500}
GRAPH_TIMES = 4
PROFILE_MB = 16
FIRST_STEP_MB = 1024  # of workspace, where none was named
LEAST_WORKSPACE_MB = 32
GROUP = "/sys/fs/cgroup"


def needed_mb(flavour: Flavour, graph_bytes: int, profiles: int) -> int:
    """Of the CPU's memory, about."""
    return BASE_MB[flavour] + (GRAPH_TIMES * graph_bytes >> 20) + PROFILE_MB * profiles


def check_memory(flavour: Flavour, graph_bytes: int, profiles: int) -> None:
    """DeviceError before a build that would end as "Killed"; nothing where the system does not tell."""
    needed, free = needed_mb(flavour, graph_bytes, profiles), free_mb()
    if free is not None and free < needed:
        raise DeviceError(
            f"found {free:,} MB of free memory; a build for {profiles} shapes takes about {needed:,}: stop "
            f"other programs (a desktop takes 1,000), name fewer shapes with --size and --batch, or add swap"
        )


def free_mb() -> int | None:
    """What programs can still get, also of a container's limit; None = the system does not tell."""
    found: list[int] = []
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            found.append(int(line.split()[1]) >> 10)
    # A container sees its own group at the root. What it read from files would be given back.
    with contextlib.suppress(ValueError):
        limit, used = int(_read(f"{GROUP}/memory.max")), int(_read(f"{GROUP}/memory.current"))
        cached = re.search(r"^inactive_file (\d+)$", _read(f"{GROUP}/memory.stat"), re.MULTILINE)
        found.append(limit - used + (int(cached[1]) if cached else 0) >> 20)
    return max(0, min(found)) if found else None


def ladder(asked: Settings) -> Iterator[Settings]:
    """As asked; then with less and less workspace, and at last with fewer kernels tried."""
    yield asked
    space = asked.workspace_mb // 2 or FIRST_STEP_MB
    level = 3 if asked.optimization_level is None else asked.optimization_level  # the library's own default
    for part, highest in ((1, level), (4, 2), (16, 1)):
        yield msgspec.structs.replace(
            asked,
            workspace_mb=max(LEAST_WORKSPACE_MB, space // part),
            optimization_level=min(level, highest),
        )


def _read(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text(encoding="ascii", errors="replace")
    return ""
