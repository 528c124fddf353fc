"""What a training run prints: on a terminal one line with rate, ETA and losses, plain lines elsewhere."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

import torch

from getgan.runtime.console import clock
from getgan.training.config import TAUGHT, DataConfig, TrainConfig
from getgan.training.state import Progress
from getgan.training.watch import Reading


class Console:
    """Progress on stderr; a quiet one (ranks other than 0, or --quiet) prints warnings only."""

    def __init__(self, *, quiet: bool = False, every_seconds: float = 60.0) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._every = 0.5 if self._terminal else every_seconds
        self._total = self._first = 0
        self._started = self._shown = 0.0
        self._advice = 'loss.weight = "rescaled", a larger loss.lambda_keep,'
        self._losses: dict[str, float] = {}
        self._reading: Reading | None = None

    def start(
        self, config: TrainConfig, progress: Progress, device: torch.device, threads: int, world: int
    ) -> None:
        """Say what runs where."""
        self._total, self._first = config.optim.iterations, progress.iteration
        if config.model.method in TAUGHT:
            self._advice = "another teacher, a larger loss.lambda_teacher,"
        self._started = self._shown = time.monotonic()
        threads_text = f", {threads} CPU thread{'s' if threads != 1 else ''}" if device.type == "cpu" else ""
        self._print(
            f"{config.model.method} on {device.type}{threads_text}, {config.run.precision}, "
            f"{world} process{'es' if world != 1 else ''}, batch {config.optim.batch}, {config.data.size} px"
        )
        if progress.started_from and not progress.iteration:
            self._print(progress.started_from)
        if progress.iteration >= self._total:
            self._print(
                "the run is complete; for more iterations --start-from its last.safetensors elsewhere"
            )
        elif progress.iteration:
            self._print(f"resuming after iteration {progress.iteration:,} of {self._total:,}")

    def preparing(self, data: DataConfig) -> None:
        """Say what a run waits for before its first iteration."""
        if data.kind == "faces":
            self._print(f"rendering what the watch looks at, {data.size} px; that takes 10 to 30 seconds")

    def advance(self, iteration: int, rate: float) -> None:
        """Show the line if it is time."""
        now = time.monotonic()
        if now - self._shown < self._every:
            return
        self._shown = now
        seconds = (now - self._started) / max(1, iteration - self._first)
        left = clock(seconds * (self._total - iteration))
        parts = [f"{iteration:,}/{self._total:,}", f"{seconds:.3f} s/it", f"ETA {left}", f"lr {rate:.1e}"]
        parts += [f"{name} {value:.3f}" for name, value in self._losses.items()]
        if self._reading is not None:
            parts.append(f"dependence {self._reading.dependence:.2f}")
        self._print("  ".join(parts), again=True)

    def losses(self, means: dict[str, float]) -> None:
        """Take the newest means for the next line."""
        self._losses = means

    def reading(self, reading: Reading) -> None:
        """Take the watch's newest reading for the next line."""
        self._reading = reading

    def collapsed(self, iteration: int, reading: Reading, best: int) -> None:
        """Warn, on every console: the picture no longer follows the input."""
        kept = f"best.safetensors holds iteration {best:,}" if best else "no good checkpoint was kept"
        message = (
            f"warning: collapse at iteration {iteration:,}: outputs differ {reading.dependence:.2f} times "
            f"as much as real photos do, so every input gets nearly the same face. {kept}. "
            f"Try {self._advice} or a smaller optim.lr."
        )
        print(f"\n{message}" if self._terminal else message, file=sys.stderr, flush=True)

    def interrupted(self, iteration: int, folder: Path) -> None:
        """Say, on every console, what is kept and how to go on."""
        print(
            f"stopped after iteration {iteration:,}; everything up to there is kept in {folder}. "
            f"Go on with: getgan train --resume -o {shlex.quote(str(folder))}",
            file=sys.stderr,
            flush=True,
        )

    def stop(self) -> None:
        """Leave the line."""
        if self._terminal and not self._quiet:
            print(file=sys.stderr)

    def _print(self, text: str, *, again: bool = False) -> None:
        if self._quiet:
            return
        if self._terminal and again:
            print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)
