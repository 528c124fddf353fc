"""What it costs to say what a large checkpoint is, beside loading it with its format's own library."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import safetensors.torch
import torch

from getgan.benchmarks.processes import LAUNCHER, check_system, environment, last_line
from getgan.errors import DeviceError
from getgan.models.ugatit import UgatitConfig, UgatitGenerator
from getgan.printing import json_text

Progress = Callable[[str, float], None]
PEERS = {".pt": "torch.load", ".safetensors": "safetensors"}
# Each in a process of its own, which has imported what it needs before the clock starts.
CASES = {
    "torch.load": "torch.load(path, map_location='cpu', weights_only=True)",
    "torch.load, mmap": "torch.load(path, map_location='cpu', weights_only=True, mmap=True)",
    "safetensors": "safetensors.torch.load_file(path)",
    "getgan recognises": "checkpoint.describe_checkpoint(path)",
    "getgan inspects": "checkpoint.load_checkpoint(path, numbers=False)",
}
CHILD = """
import json, pathlib, resource, sys, time
import safetensors.torch, torch
from getgan.models import checkpoint
path = pathlib.Path(sys.argv[1])
torch.zeros(1).isfinite()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
found = {call}
seconds = time.perf_counter() - start
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
unit = 1 if sys.platform == "darwin" else 1024
print(json.dumps({{"seconds": seconds, "mb": (after - before) * unit / 1e6}}))
"""


class Case(msgspec.Struct, frozen=True):
    """One way to open one file; a figure for each round."""

    suffix: str
    name: str
    seconds: tuple[float, ...]
    mb: tuple[float, ...]  # peak above the process that has its imports, 10^6 bytes


class RecognitionReport(msgspec.Struct, frozen=True):
    """Time and peak memory, all from one run, in turn; the file was in the page cache."""

    bytes: int  # of the .pt
    torch: str
    cases: tuple[Case, ...]

    def text(self) -> str:
        """A table for people: medians, and the ratio to the format's own library."""
        lines = [
            f"a full U-GAT-IT of {self.bytes / 1e6:,.0f} MB, torch {self.torch}, "
            f"{len(self.cases[0].seconds)} rounds in turn, medians"
        ]
        for case in self.cases:
            seconds, mb = statistics.median(case.seconds), statistics.median(case.mb)
            share = self.ratio(case)
            lines.append(
                f"{case.suffix:13}{case.name:18}{1000 * seconds:>10,.1f} ms{mb:>10,.1f} MB{share:>9.4f} of "
                f"{PEERS[case.suffix]}'s time"
            )
        return "\n".join(lines)

    def ratio(self, case: Case) -> float:
        """Median over the rounds of its time over that of the format's own library in the same round."""
        (peer,) = (
            each for each in self.cases if (each.suffix, each.name) == (case.suffix, PEERS[case.suffix])
        )
        return statistics.median(own / other for own, other in zip(case.seconds, peer.seconds, strict=True))

    def to_json(self) -> str:
        """For machines, with the ratios."""
        document = msgspec.to_builtins(self)
        for case, each in zip(self.cases, document["cases"], strict=True):
            each["ratio"] = self.ratio(case)
        return json_text({"schema": 1, **document})


def measure_recognition(size: int, rounds: int, progress: Progress) -> RecognitionReport:
    """Write a full U-GAT-IT for size x size as both formats, then open it in every way, in turn."""
    check_system()
    cases: list[Case] = []
    with tempfile.TemporaryDirectory(prefix="getgan-recognise-") as place:
        folder = Path(place)
        for number, suffix in enumerate(PEERS):
            path = folder / f"net{suffix}"
            progress(f"writing {path.name}", number / 2)
            state = UgatitGenerator(UgatitConfig(light=False, size=size)).state_dict()
            if suffix == ".pt":
                torch.save({"genA2B": state}, path)
                length = path.stat().st_size
            else:
                safetensors.torch.save_file(state, path)
            del state
            names = [name for name in CASES if ("torch" in name or "safe" in name) <= (PEERS[suffix] in name)]
            found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
            for turn in range(rounds):
                progress(f"opening {path.name}", (number + (turn + 0.5) / rounds) / 2)
                for name in names:
                    found[name].append(_opened(folder, path, CASES[name]))
            path.unlink()
            cases += [
                Case(suffix, name, *(tuple(each[unit] for each in figures) for unit in ("seconds", "mb")))
                for name, figures in found.items()
            ]
    progress("measured", 1.0)
    return RecognitionReport(length, str(torch.__version__), tuple(cases))


def _opened(folder: Path, path: Path, call: str) -> dict[str, float]:
    """Seconds and MB of one call in a fresh process."""
    out, err = folder / "stdout.txt", folder / "stderr.txt"
    command = [sys.executable, "-c", CHILD.format(call=call), str(path)]
    launch = [sys.executable, "-I", "-S", str(LAUNCHER), str(out), str(err), *command]
    done = subprocess.run(launch, capture_output=True, env=environment(folder), check=False)
    if done.returncode or json.loads(done.stdout)["code"]:
        raise DeviceError(f"the process that opens {path.name} failed: {last_line(err)}; run it by itself")
    figures: dict[str, float] = json.loads(out.read_text(encoding="utf-8"))
    return figures
