"""Train every system with every seed for the same time, then evaluate them side by side.

    python examples/study/run.py runs/study --minutes 120 --jobs 2

Runs go on side by side, each with one thread; what each prints is in RUNS/VARIANT-SEED.txt. Minutes are the
processor's on a CPU (run.clock), so that what else the machine does decides nothing, and they count over all
resumes: stopped in the middle, the same command goes on where it was, and with more minutes it trains every
run on. On a GPU they are the wall's: there all runs of a comparison at once (--jobs as many, and NVIDIA's
MPS), or one at a time; else some get more than others.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

HERE = Path(__file__).resolve().parent
RESIDUAL = {
    "loss.weight_of": "residual",
    "loss.weight_blur": "0.05",
    "loss.weight_gain": "3",
    "loss.weight_floor": "0.6",
    "loss.lambda_keep": "3",
    "loss.lambda_gate": "2",
    "loss.transplant": "true",
    "loss.clean_x": "true",
    "loss.cycle_noise": "0.05",
    "loss.cycle_blur": "0.012",
}
VARIANTS: dict[str, dict[str, str]] = {
    "getgan": RESIDUAL,
    "literal": {"loss.weight": "sigmoid"},
    "rescaled": {"loss.weight": "rescaled"},
    "nogate": RESIDUAL | {"loss.lambda_gate": "0", "model.gate": "none"},
    "cyclegan": {"model.method": "cyclegan"},
    "ugatit": {"model.method": "ugatit"},
    # What getgan was before; trained where it is named.
    "gradient": {
        "loss.weight_error": "l2",
        "loss.weight_blur": "0.05",
        "loss.weight_gain": "3",
        "loss.lambda_keep": "3",
    },
}
PICTURES_PER_SEED = 10_000  # so that no two seeds share a picture


@dataclass
class Study:
    """The runs that wait and those that go on."""

    asked: argparse.Namespace
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    stopped: bool = False

    def train(self) -> bool:
        """All runs to their time; whether all got there."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop)
        for name, command in commands(self.asked):
            self._wait(self.asked.jobs)
            if self.failed or self.stopped:
                break
            print(f"{time.strftime('%H:%M:%S')}  {name}", flush=True)
            with open(self.asked.runs / f"{name}.txt", "ab") as log:
                # A session of its own: a terminal's Ctrl-C comes through _stop, once.
                self.running[name] = subprocess.Popen(
                    command, stdout=log, stderr=log, start_new_session=True, env=_environment()
                )
        self._wait(1)
        return not (self.failed or self.stopped)

    def _wait(self, fewer_than: int) -> None:
        """Until fewer than so many run."""
        while len(self.running) >= fewer_than:
            for name, process in list(self.running.items()):
                if process.poll() is None:
                    continue
                del self.running[name]
                if process.returncode and not self.stopped:
                    self.failed.append(name)
                    last = (self.asked.runs / f"{name}.txt").read_text(errors="replace").splitlines()[-3:]
                    print("\n".join([f"{name} failed ({process.returncode}):", *last]), file=sys.stderr)
            time.sleep(0.1)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        """Tell the runs, which then save themselves; a second time they end at once."""
        self.stopped = True
        for process in self.running.values():
            process.send_signal(signal.SIGINT)


def commands(asked: argparse.Namespace) -> list[tuple[str, list[str]]]:
    """(VARIANT-SEED, the command that trains it), seed by seed."""
    found = []
    for seed in asked.seeds:
        for variant in asked.variants:
            name = f"{variant}-{seed}"
            options = {
                "run.seed": str(seed),
                "data.first": str(PICTURES_PER_SEED * seed),
                "data.size": str(asked.size),
                "run.device": asked.device,
                "run.clock": "cpu" if asked.device == "cpu" else "wall",
                "run.stop_after_minutes": str(asked.minutes),
                **VARIANTS[variant],
                **dict(item.split("=", 1) for item in asked.set),
            }
            sets = [part for key, value in options.items() for part in ("--set", f"{key}={value}")]
            run = ["train", str(HERE / "coarse.toml"), "-o", str(asked.runs / name), "--resume", "--no-guard"]
            found.append((name, ["nice", asked.getgan, *run, *sets]))
    return found


def evaluation(asked: argparse.Namespace) -> list[str]:
    """The command that evaluates them all."""
    entries = [
        f"{variant}={asked.runs / f'{variant}-{seed}' / 'last.safetensors'}"
        for seed in asked.seeds
        for variant in asked.variants
    ]
    sets = ["--seeds", asked.test_seeds, "--scenes", str(asked.scenes), "--device", asked.device]
    return [asked.getgan, "evaluate", *entries, "-o", str(asked.runs / "evaluation"), *sets]


def _environment() -> dict[str, str]:
    # Of OpenCV and the like; the training has run.threads.
    return {"OMP_NUM_THREADS": "1"} | dict(os.environ)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    about = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = [name for name in VARIANTS if name != "gradient"]
    about.add_argument("runs", type=Path, nargs="?", default=Path("runs/study"))
    about.add_argument("--minutes", type=float, default=120.0, help="of every run")
    about.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    about.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=default, metavar="VARIANT")
    about.add_argument("--jobs", type=int, default=1, help="runs side by side")
    about.add_argument("--size", type=int, default=64, help="pixels")
    about.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1")
    about.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as of getgan train")
    about.add_argument("--scenes", type=int, default=200, help="of every test seed; 0 = do not evaluate")
    about.add_argument("--test-seeds", default="0,1,2")
    about.add_argument("--getgan", default=str(Path(sys.executable).with_name("getgan")))
    return about


def main() -> int:
    """The exit code: 0, 1 = a run failed, 130 = stopped."""
    asked = parser().parse_args()
    if asked.jobs < 1 or min(asked.seeds) < 0:
        parser().error(f"found --jobs {asked.jobs}, --seeds {asked.seeds}; wanted 1 or more, 0 or more")
    if wrong := [item for item in asked.set if "=" not in item]:
        parser().error(f"--set {wrong[0]} has no value; wanted section.key=value")
    asked.runs.mkdir(parents=True, exist_ok=True)
    study = Study(asked)
    if not study.train():
        return 130 if study.stopped else 1
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    return subprocess.run(evaluation(asked), check=False).returncode if asked.scenes else 0


if __name__ == "__main__":
    sys.exit(main())
