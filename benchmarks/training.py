"""Time per training iteration of GET-GAN over CycleGAN, interleaved in one process."""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from getgan.errors import ConfigError
from getgan.models.getgan import GetGanGenerator
from getgan.printing import json_text
from getgan.training.config import DataConfig, ModelConfig, OptimConfig, RunConfig, TrainConfig, load_config
from getgan.training.evaluation.contestants import resolve_device
from getgan.training.methods import Method, build_method
from getgan.training.methods.distil import Distil
from getgan.training.methods.getgan import getgan_config
from getgan.training.recorded import WARM_UP, Recorded
from getgan.training.updates import Numerics

PEER = "cyclegan"
CASES = (PEER, "getgan sequential", "getgan joint")


@dataclass(frozen=True)
class IterationTimes:
    """Seconds per iteration, one list per case, round by round; round k of every case ran side by side."""

    size: int
    ngf: int
    device: str
    threads: int
    torch: str
    seconds: dict[str, list[float]]

    def ratio(self, case: str) -> float:
        """Median over the rounds of the case's time over CycleGAN's of the same round."""
        pairs = zip(self.seconds[case], self.seconds[PEER], strict=True)
        return statistics.median(mine / peer for mine, peer in pairs)

    def to_json(self) -> str:
        """Everything, with medians and ratios."""
        medians = {case: statistics.median(times) for case, times in self.seconds.items()}
        ratios = {case: self.ratio(case) for case in self.seconds}
        return json_text(
            {"schema": 1, **asdict(self), "median": medians, "ratio_to_cyclegan": ratios}, indent=1
        )

    def text(self) -> str:
        """A table for people."""
        rounds = len(self.seconds[PEER])
        wide = max(20, 2 + max(map(len, self.seconds)))
        lines = [
            f"{self.size} px, ngf {self.ngf}, batch 1, fp32, {self.device}, {self.threads} threads, "
            f"torch {self.torch}, {rounds} interleaved rounds",
            f"{'':{wide}}{'median':>12}{'min':>12}{'max':>12}{'over CycleGAN':>16}",
        ]
        for case, times in self.seconds.items():
            figures = (statistics.median(times), min(times), max(times))
            cells = "".join(f"{1000 * t:>9.1f} ms" for t in figures)
            lines.append(f"{case:{wide}}{cells}{self.ratio(case):>15.2f}x")
        return "\n".join(lines)


def compare_iterations(
    *, size: int, ngf: int, rounds: int, device: str, threads: int, recipe: Path | None = None
) -> IterationTimes:
    """Run every case in turn, `rounds` times after some for warm-up; with a recipe, it and CycleGAN alone.

    On a GPU what can be recorded as CUDA graphs (run.graphs) is a case of its own besides.
    Of the recipe's TOML only the networks, the losses and the updates count: its case has CycleGAN's size,
    its batch of 1 and its FP32. A distillation is given an untrained teacher for half the size.
    """
    place = resolve_device(device)
    torch.set_num_threads(threads or os.cpu_count() or 1)
    numerics = Numerics(place)
    configs = {case: _config(case, size, ngf) for case in (CASES if recipe is None else (PEER,))}
    if recipe is not None:
        alike = [f"data.size={size}", "optim.batch=1", "run.precision=fp32"]
        method_name = load_config(recipe).model.method
        if method_name == "trunk":
            raise ConfigError(
                f"{recipe} is of method trunk, which learns from pairs of scans, and the cases here have a "
                "batch of 1; what its iterations take stands in its run's log.jsonl"
            )
        if method_name == "distil":
            alike.append("loss.transplant=false")  # takes two scans, and next to no time
        own = load_config(recipe, alike)
        configs[recipe.stem] = own
    methods = {case: build_method(config, numerics) for case, config in configs.items()}
    for case, config in configs.items():
        method = methods[case]
        if isinstance(method, Distil):
            method.learn_from(_teacher(config.model), size // 2)
        elif place.type == "cuda":
            recording = replace(numerics, recorder=Recorded(place))
            methods[f"{case} recorded"] = build_method(config, recording)
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.rand(1, 3, size, size, generator=draw).mul(2).sub(1).to(place) for _ in range(2))
    seconds: dict[str, list[float]] = {case: [] for case in methods}
    for turn in range(rounds + WARM_UP + 1):
        for case, method in methods.items():
            taken = _timed(method, x, y)
            if turn > WARM_UP:  # a recording is made in the call after them
                seconds[case].append(taken)
    return IterationTimes(size, ngf, device, torch.get_num_threads(), torch.__version__, seconds)


def _config(case: str, size: int, ngf: int) -> TrainConfig:
    """The talk's GET-GAN and CycleGAN of the same width and depth, as their defaults have them."""
    base = TrainConfig(ModelConfig(ngf=ngf), data=DataConfig(size=size), run=RunConfig(device="cpu"))
    if case == PEER:
        return replace(base, model=replace(base.model, method="cyclegan"))
    return replace(base, optim=OptimConfig(updates="joint" if case.endswith("joint") else "sequential"))


def _teacher(model: ModelConfig) -> GetGanGenerator:
    """An untrained one for half the size: with one level less, if there are more than two."""
    smaller = model.widths[1:] if len(model.widths) > 2 else model.widths
    return GetGanGenerator(getgan_config(replace(model, widths=smaller)))


def _timed(method: Method, x: Tensor, y: Tensor) -> float:
    started = time.perf_counter()
    method.iterate(x, y)
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    return time.perf_counter() - started
