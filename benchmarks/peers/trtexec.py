"""trtexec: NVIDIA's own program with its own loop; it times the network and the copies, nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import msgspec

from getgan.benchmarks.peers import Absent, Asked

WARM_UP_MS = 500
BUILD_S = 1800


class _Trace(msgspec.Struct):
    """One inference of --exportTimes, milliseconds; the names are NVIDIA's."""

    startH2dMs: float
    h2dMs: float
    computeMs: float
    d2hMs: float
    latencyMs: float


@dataclass(frozen=True)
class Measured:
    """Seconds, one for each inference."""

    version: str
    seconds: float  # from the first start to the last end
    starts: list[float]
    copy_in: list[float]
    network: list[float]
    copy_out: list[float]
    latencies: list[float]


def run_trtexec(asked: Asked, seconds: float) -> Measured:
    """Absent where there is no trtexec or it fails."""
    program = shutil.which("trtexec") or shutil.which("trtexec", path="/usr/src/tensorrt/bin")
    if asked.device == "cpu":
        raise Absent("trtexec runs on NVIDIA GPUs only")
    if program is None:
        raise Absent("there is no trtexec here: it comes with TensorRT's Debian packages and containers")
    times = asked.folder / "trtexec.json"
    shape = f"{asked.input}:{asked.batch}x3x{asked.size}x{asked.size}"
    command = [
        program,
        f"--onnx={asked.graph}",
        f"--shapes={shape}",
        f"--exportTimes={times}",
        f"--warmUp={WARM_UP_MS}",
        f"--duration={max(1, round(seconds))}",
        f"--device={int(asked.device.partition(':')[2] or 0)}",
    ]
    try:
        finished = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=BUILD_S)
    except subprocess.TimeoutExpired as error:
        raise Absent(f"trtexec took more than {BUILD_S} s") from error
    said = finished.stdout + finished.stderr
    if finished.returncode or not times.exists():
        errors = [line for line in said.splitlines() if "[E]" in line] or [f"exit code {finished.returncode}"]
        raise Absent(f"trtexec fails: {errors[-1][:200]}")
    return measured(times, said)


def measured(times: Path, said: str) -> Measured:
    """What it wrote, and what it said on the way."""
    traces = msgspec.json.decode(times.read_bytes(), type=list[_Trace])
    if not traces:
        raise Absent("trtexec measured nothing")
    version = re.search(r"TensorRT version: ([\d.]+)|\[TensorRT v(\d+)\]", said)
    first = traces[0].startH2dMs
    return Measured(
        version=f"TensorRT {next(filter(None, version.groups()))}" if version else "TensorRT",
        seconds=(traces[-1].startH2dMs + traces[-1].latencyMs - first) / 1e3,
        starts=[(trace.startH2dMs - first) / 1e3 for trace in traces],
        copy_in=[trace.h2dMs / 1e3 for trace in traces],
        network=[trace.computeMs / 1e3 for trace in traces],
        copy_out=[trace.d2hMs / 1e3 for trace in traces],
        latencies=[trace.latencyMs / 1e3 for trace in traces],
    )
