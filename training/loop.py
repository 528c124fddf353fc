"""The training loop of every method: batches in, checkpoints, samples and a log out; resumable."""

from __future__ import annotations

import contextlib
import copy
import datetime
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from getgan import __version__
from getgan.errors import ConfigError, GetganError, OutputError, TrainingError
from getgan.files import write_bytes_atomic
from getgan.models.checkpoint import Checkpoint, Provenance, save_checkpoint
from getgan.models.generator import Generator
from getgan.printing import json_text
from getgan.runtime.media.lock import OutputLock
from getgan.training.ahead import Ahead, made_ahead
from getgan.training.config import TAUGHT, TrainConfig, config_to_toml_text
from getgan.training.data import Batches, open_domains
from getgan.training.folder import (
    BEST,
    CONFIG,
    LAST,
    LOG,
    SAMPLES,
    STATE,
    SUFFIXES,
    log_up_to,
    refuse_foreign_files,
    with_its_weights,
)
from getgan.training.methods import Method, build_method
from getgan.training.processes import join_processes
from getgan.training.recorded import Recorded
from getgan.training.samples import write_sample
from getgan.training.start import start_from
from getgan.training.state import Progress, load_state, save_state
from getgan.training.stopping import StopSignals
from getgan.training.teacher import teacher_of
from getgan.training.updates import Numerics
from getgan.training.watch import Reading, Watch

if TYPE_CHECKING:
    from getgan.training.console import Console


@dataclass(frozen=True)
class Summary:
    """What a finished or stopped run leaves behind."""

    folder: str
    iteration: int
    of: int
    minutes: float
    best_iteration: int
    looks: int  # of the watch for collapse
    collapsed: bool  # at the last of them

    def to_json(self) -> str:
        """One JSON object."""
        return json_text(asdict(self), indent=None)

    def text(self) -> str:
        """Two lines for people."""
        best = f"best.safetensors (iteration {self.best_iteration:,}) and " if self.best_iteration else ""
        looks = "the only look" if self.looks == 1 else f"the last of {self.looks:,} looks"
        state = f"{'COLLAPSED' if self.collapsed else 'no collapse'} at {looks}"
        watch = state if self.looks else "never looked for a collapse"
        return (
            f"{self.iteration:,} of {self.of:,} iterations in {self.minutes:.1f} minutes; {watch}\n"
            f"{self.folder}: {best}last.safetensors, samples/, {LOG}"
        )


class Trainer:
    """One run in one folder: config.toml, log.jsonl, samples/, last and best checkpoint, run.state.pt.

    Under torchrun every process builds one; rank 0 alone writes.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        console: Console,
        *,
        resume: bool,
        start: Path | None = None,
        teacher: Path | None = None,
    ) -> None:
        self.config, self.folder, self.console = config, folder, console
        self.rank, self.world, device = join_processes(config.run.device)
        self.numerics = _numerics(config, device, self.world)
        torch.set_num_threads(config.run.threads or os.cpu_count() or 1)
        cv2.setNumThreads(torch.get_num_threads())  # of `loss.mirror`, and of what reads pictures
        state = folder / STATE
        self._found = _stamp(state)
        self._resumed = self._found is not None
        if self._resumed and not resume:
            raise TrainingError(
                f"{folder} holds a run already; add --resume to go on with it, or name another"
            )
        if self._resumed and start is not None:
            raise TrainingError(
                f"{folder} holds a run with weights of its own; leave --start-from out to go on with it, "
                "or name another folder"
            )
        if not self._resumed:
            refuse_foreign_files(folder)
        domains = open_domains(config.data)
        self.batches = Batches(
            config.data,
            domains,
            config.optim.batch,
            config.run.seed,
            self.rank,
            self.world,
            photos=config.model.method != "trunk",
        )
        self._domains = domains
        self.method: Method = build_method(config, self.numerics)
        self.progress = Progress()
        if start is not None:
            self.progress.started_from = start_from(self.method, start, config.data.size)
        self.ema = copy.deepcopy(self.method.nets["forward"]) if config.optim.ema else None
        self._identity = _identity_of(config)
        if self._resumed:
            self.progress = load_state(state, self.method, self.ema, self._identity)
        if not self.complete:
            _ = self.watch  # what it cannot read is told before there is a folder
        learned_from = teacher or (start if config.model.method in TAUGHT else None)
        self._teacher = teacher_of(self.method, folder, self.progress, learned_from, resumed=self._resumed)
        self._sums: dict[str, Tensor] = {}
        self._summed = 0
        self._kept = self.progress.iteration  # what the state on disk has
        self._stop = StopSignals()

    @cached_property
    def watch(self) -> Watch:
        """The watch for collapse; takes a while to render."""
        self.console.preparing(self.config.data)
        return Watch(self.config.data, self._domains, self.config.run.probe_images)

    @property
    def complete(self) -> bool:
        """Whether no iteration is left."""
        return self.progress.iteration >= self.config.optim.iterations

    def run(self) -> Progress:
        """Train to the last iteration or to the time limit; the state is on disk afterwards.

        TrainingError if another process trains in this folder, or did since it was read.
        """
        try:
            with self._alone():
                self._prepare_folder()
                self.console.start(
                    self.config, self.progress, self.numerics.device, torch.get_num_threads(), self.world
                )
                workers = 0 if self.complete else self.config.run.workers
                with self._stop.listening(), made_ahead(self.batches, workers) as batches:
                    self._iterate(batches)
        finally:
            self.console.stop()
            if dist.is_initialized():
                dist.destroy_process_group()
        return self.progress

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Holds the folder, which rank 0 makes; others share it through rank 0."""
        if self.rank != 0:
            yield
            return
        self._make(self.folder)
        with contextlib.closing(OutputLock(self.folder, folder=True)):
            if _stamp(self.folder / STATE) != self._found:
                raise TrainingError(
                    f"another process has trained in {self.folder} since this one read it; go on from there "
                    "with --resume, or name another folder with -o"
                )
            yield

    def summary(self) -> Summary:
        """Where the run stands."""
        done = self.progress
        return Summary(
            str(self.folder),
            done.iteration,
            self.config.optim.iterations,
            round(done.seconds / 60, 2),
            done.best_iteration,
            done.looks,
            done.collapsed,
        )

    def _iterate(self, batches: Batches | Ahead) -> None:
        run, progress = self.config.run, self.progress
        # On the processor's clock, what else the machine does costs a run nothing.
        clock = time.process_time if run.clock == "cpu" else time.monotonic
        since = clock() - progress.seconds
        while not self.complete:
            losses = self._one(progress.iteration, *self._batch(batches))
            progress.iteration += 1
            progress.seconds = clock() - since
            self._add(losses)
            stopped, late = self._agreed(self._stop.asked, self._out_of_time())
            last = progress.iteration == self.config.optim.iterations or late
            saving = progress.iteration % run.checkpoint_every == 0 or last or stopped
            if progress.iteration % run.log_every == 0 or saving:
                self._log_losses()  # before saving: a state whose losses are not finite is never written
            if progress.iteration % run.sample_every == 0 or last:
                self._sample()
            if progress.iteration % run.probe_every == 0 or last:
                self._probe()
            if saving:
                self._save()
            # Probing and saving are no training: what they took must not count, nor change the schedule.
            since = clock() - progress.seconds
            if stopped and not last and self.rank == 0:
                self.console.interrupted(progress.iteration, self.folder)
            if stopped or last:
                return

    def _batch(self, batches: Batches | Ahead) -> tuple[Tensor, Tensor]:
        """The next; if there is none, what was trained until then is kept before the error is told."""
        try:
            return batches.batch(self.progress.iteration)
        except GetganError:
            if self.progress.iteration > self._kept and self.world == 1:  # other ranks would have to save too
                if self._summed:
                    self._log_losses()
                self._save()
            raise

    def _one(self, iteration: int, *batch: Tensor) -> dict[str, Tensor]:
        """Iteration number `iteration` (from 0), a function of the weights, batch and number alone."""
        rate = self.method.updates.set_rate(iteration)
        for pool in self.method.pools.values():
            pool.start_iteration(iteration)
        _seed_noise(self.config.run.seed, self.rank, iteration)
        x, y = (t.to(self.numerics.device, non_blocking=True) for t in batch)
        losses = self.method.iterate(x, y)
        if self.ema is not None:
            _average(self.ema, self.method.nets["forward"], self.config.optim.ema, iteration)
        self.console.advance(iteration + 1, rate)
        return losses

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended the run before its last iteration."""
        return self._stop.asked and self.progress.iteration < self.config.optim.iterations

    def _out_of_time(self) -> bool:
        limit = 60 * self.config.run.stop_after_minutes
        return 0 < limit <= self.progress.seconds

    def _agreed(self, *mine: bool) -> list[bool]:
        """Rank 0's answers, on every rank: clocks differ, and all must stop at the same iteration."""
        if self.world == 1:
            return list(mine)
        answers = torch.tensor(mine, dtype=torch.float32, device=self.numerics.device)
        dist.broadcast(answers, 0)
        return [bool(answer) for answer in answers.tolist()]

    def _add(self, losses: dict[str, Tensor]) -> None:
        """Sum on the device: reading a loss every iteration would stall a GPU."""
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value
        self._summed += 1

    def _log_losses(self) -> None:
        means = {name: float(value) / self._summed for name, value in self._sums.items()}
        self._sums, self._summed = {}, 0
        broken = [name for name, value in means.items() if value != value or abs(value) == float("inf")]
        if broken:
            raise TrainingError(
                f"the loss {broken[0]} is not finite at iteration {self.progress.iteration}; the last good "
                f"state is kept: lower optim.lr or use fp32, and {with_its_weights(self.folder)}"
            )
        self._write_log({"losses": {name: round(value, 6) for name, value in means.items()}})
        self.console.losses(means)

    @property
    def generator(self) -> Generator:
        """What a checkpoint holds: the averaged generator if there is one."""
        net = self.ema if self.ema is not None else self.method.nets["forward"]
        assert isinstance(net, Generator)
        return net

    @property
    def reverse(self) -> Generator | None:
        """From faces to ultrasounds; a method in TAUGHT has none."""
        net = self.method.nets.get("reverse")
        assert net is None or isinstance(net, Generator)
        return net

    def _sample(self) -> None:
        if self.rank == 0:
            path = self.folder / SAMPLES / f"{self.progress.iteration:07d}.png"
            generator, reverse = self.generator, self.reverse
            with _evaluating(*filter(None, (generator, reverse))):
                write_sample(path, generator, reverse, self.watch.inputs, self.numerics.device)

    def _probe(self) -> None:
        """Ask the watch; keep the best checkpoint that has not collapsed."""
        if self.rank != 0:
            return
        with _evaluating(self.generator):
            reading = self.watch.read(self._translate)
        self._write_log({"probe": {k: v if v is None else round(v, 5) for k, v in asdict(reading).items()}})
        self.console.reading(reading)
        if reading.collapsed and not self.progress.collapsed:
            self.console.collapsed(self.progress.iteration, reading, self.progress.best_iteration)
        self.progress.looks += 1
        self.progress.collapsed = reading.collapsed
        if not reading.collapsed and reading.score > self.progress.best_score:
            self.progress.best_score = reading.score
            self.progress.best_iteration = self.progress.iteration
            self._save_checkpoint(BEST, reading)

    def _translate(self, x: Tensor) -> Tensor:
        translate = self.generator.translate
        parts = [translate(part.to(self.numerics.device)).float().cpu() for part in torch.split(x, 8)]
        return torch.cat(parts)

    def _save(self) -> None:
        self._save_state()
        if self.rank == 0:
            self._save_checkpoint(LAST, None)

    def _save_state(self) -> None:
        save_state(self.folder / STATE, self.method, self.ema, self.progress, self._identity)
        self._kept = self.progress.iteration

    def _save_checkpoint(self, name: str, reading: Reading | None) -> None:
        best = "" if reading is None else f"best of the run by the watch's score, {reading.score:.4g}"
        taught = f"taught by sha256 {self.progress.teacher}" if self.progress.teacher else ""
        notes = "; ".join(filter(None, (best, self.progress.started_from.replace("\n", "; "), taught)))
        provenance = Provenance(
            getgan_version=__version__,
            trained_on=_describe_data(self.config),
            iterations=self.progress.iteration,
            seed=self.config.run.seed,
            config_toml=_shareable_toml(self.config),
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            notes=notes,
        )
        for net, suffix in zip((self.generator, self.reverse), SUFFIXES, strict=True):
            if net is None:
                continue
            contract = net.contract(self.config.data.size)
            checkpoint = Checkpoint(net.arch, net.config, net.state_dict(), contract, provenance)
            save_checkpoint(checkpoint, self.folder / f"{name}{suffix}")

    def _prepare_folder(self) -> None:
        """Write its state first, which says whose it is; cut the log back to where it stands."""
        kept: list[str] = []
        if self.rank == 0:
            kept = log_up_to(self.folder, self.progress.iteration) if self._resumed else []
        if not self._resumed:
            # Every rank waits here for the others: by now all have looked into the folder as it was.
            self._save_state()
        if self.rank != 0:
            return
        if self._teacher is not None:
            self._teacher.keep(self.folder)
            self._teacher = None  # its network stays; the bytes need not
        self._make(self.folder / SAMPLES)
        write_bytes_atomic(self.folder / CONFIG, config_to_toml_text(self.config).encode())
        write_bytes_atomic(self.folder / LOG, "".join(f"{line}\n" for line in kept).encode())

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make {folder}: {error.strerror}; choose another with -o") from error

    def _write_log(self, entry: dict[str, object]) -> None:
        if self.rank != 0:
            return
        head = {"iteration": self.progress.iteration, "seconds": round(self.progress.seconds, 2)}
        try:
            with open(self.folder / LOG, "a", encoding="utf-8") as log:
                log.write(json_text(head | entry, indent=None) + "\n")
        except OSError as error:
            raise OutputError(
                f"cannot write {self.folder / LOG}: {error.strerror}; free space, then --resume"
            ) from error


def _stamp(state: Path) -> tuple[int, int] | None:
    """Another one for every state that is written; None = there is none."""
    try:
        found = state.stat()
    except OSError:  # nothing, or nothing that can be read: whoever looks into the folder says what
        return None
    return found.st_ino, found.st_mtime_ns


def _numerics(config: TrainConfig, device: torch.device, world: int) -> Numerics:
    """How to compute; ConfigError for what cannot be done there."""
    run = config.run
    if run.precision == "fp16" and device.type == "cpu":
        raise ConfigError("run.precision is fp16 on a CPU; wanted fp32 or bf16, or a GPU")
    if run.clock == "cpu" and device.type != "cpu":
        raise ConfigError(f"run.clock is cpu on {device.type}, which does the work; wanted wall there")
    if run.graphs and device.type != "cuda":
        raise ConfigError(f"run.graphs is true on {device.type}; wanted false there, or a GPU")
    if run.graphs and world > 1:
        raise ConfigError(f"run.graphs is true with {world} processes; wanted false, or one process")
    return Numerics(device, run.precision, Recorded(device) if run.graphs else None)


def _seed_noise(*numbers: int) -> None:
    """PyTorch's own generator, from which a cycle's noise is drawn."""
    torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))


def _identity_of(config: TrainConfig) -> str:
    """The options that must not change in the middle of a run: all but its rhythm, machine and time limit."""
    kept = config.run
    run = replace(type(kept)(), seed=kept.seed, precision=kept.precision, clock=kept.clock)
    return config_to_toml_text(replace(config, run=run))


def _shareable_toml(config: TrainConfig) -> str:
    """The config without the data's path, which can hold a patient's or a clinic's name."""
    if not config.data.root:
        return config_to_toml_text(config)
    return config_to_toml_text(replace(config, data=replace(config.data, root="(not kept)")))


def _describe_data(config: TrainConfig) -> str:
    data = config.data
    if data.kind == "folders":
        return "folders trainA and trainB"  # no path: it can hold a patient's or a clinic's name
    many = f"{data.count} per domain" if data.count else "endless"
    return f"synthetic faces of {data.size} px, {many}, from index {data.first}"


@contextlib.contextmanager
def _evaluating(*nets: nn.Module) -> Iterator[None]:
    """Networks as a checkpoint's user runs them: a look must not move BatchNorm's statistics."""
    for net in nets:
        net.eval()
    try:
        yield
    finally:
        for net in nets:
            net.train()


@torch.no_grad()
def _average(ema: nn.Module, net: nn.Module, decay: float, iteration: int) -> None:
    """Exponential moving average of the weights, faster at the start; buffers are copied."""
    decay = min(decay, (1 + iteration) / (10 + iteration))
    # All at once: one by one they would cost a GPU a launch each.
    average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    average(list(ema.parameters()), list(net.parameters()), iteration)
    for kept, buffer in zip(ema.buffers(), net.buffers(), strict=True):
        kept.copy_(buffer)
