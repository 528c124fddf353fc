"""Iterations as CUDA graphs: what cannot be is refused, and on a GPU a recorded run is the plain one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from torch import Tensor
from training_helpers import noise, small, tiny

from getgan.errors import ConfigError
from getgan.training import loop
from getgan.training.console import Console
from getgan.training.folder import LOG, STATE
from getgan.training.loop import Trainer
from getgan.training.methods import Method, build_method
from getgan.training.recorded import WARM_UP, Recorded
from getgan.training.state import read_state
from getgan.training.steps import Losses
from getgan.training.updates import Numerics

Answer = TypeVar("Answer")

EVERYTHING = (
    "loss.weight_of=residual",
    "loss.weight_blur=0.05",
    "loss.lambda_keep=3",
    "loss.lambda_gate=2",
    "loss.transplant=true",
    "loss.clean_x=true",
    "loss.cycle_noise=0.05",
    "loss.cycle_blur=0.05",
    "model.gate=3x3",
)
RUNS = {
    "talk": [],
    "joint": ["optim.updates=joint"],
    "everything": ["optim.updates=joint", *EVERYTHING],
    "bf16": ["optim.updates=joint", "run.precision=bf16", *EVERYTHING],
    "cyclegan": ["model.method=cyclegan"],
    "ugatit": ["model.method=ugatit"],
}
AFTER = 9  # iterations that are replayed


@pytest.fixture
def repeatable() -> Iterator[None]:
    """Convolutions that do the same each time."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield


@pytest.mark.parametrize("method", ["distil", "trunk"])
def test_methods_that_cannot_be_recorded_are_refused(method: str) -> None:
    taught = [f"model.method={method}", "loss.transplant=true", "optim.batch=2"]
    with pytest.raises(ConfigError, match=rf"run\.graphs is True; wanted false for method {method}"):
        tiny("run.graphs=true", *taught)


def test_fp16_is_not_recorded() -> None:
    with pytest.raises(ConfigError, match=r"run\.precision is 'fp16'; wanted bf16 or fp32 with run\.graphs"):
        tiny("run.graphs=true", "run.precision=fp16")


def test_nothing_is_recorded_without_a_gpu_or_among_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    config = small(folder, "run.graphs=true")
    with pytest.raises(ConfigError, match=r"run\.graphs is true on cpu; wanted false there, or a GPU"):
        Trainer(config, folder, Console(quiet=True), resume=False)
    monkeypatch.setattr(loop, "join_processes", lambda _device: (0, 2, torch.device("cuda")))
    with pytest.raises(ConfigError, match=r"run\.graphs is true with 2 processes; wanted false, or one"):
        Trainer(config, folder, Console(quiet=True), resume=False)
    assert not folder.exists()


class Plain(Recorded):
    """Records nothing, so that the same Adam runs without graphs."""

    def __call__(self, function: Callable[..., Answer]) -> Callable[..., Answer]:
        return function


def iterations(options: list[str], recorder: Recorded) -> tuple[list[Losses], list[dict[str, Tensor]]]:
    """The losses of some iterations of a GPU, and the weights before and after them, all networks' in one."""
    config = tiny("model.ngf=8", "model.ndf=8", "optim.pool=2", "optim.decay_from=0", *options)
    method = build_method(config, Numerics(torch.device("cuda"), config.run.precision, recorder))
    weights = [weights_of(method)]
    told: list[Losses] = []
    for n in range(WARM_UP + AFTER):
        method.updates.set_rate(n * config.optim.iterations // 10)
        for pool in method.pools.values():
            pool.start_iteration(n)
        torch.manual_seed(n)
        bright = 1.0 if n % 2 else 0.3  # so that an iteration on the last one's pictures would show
        losses = method.iterate(bright * noise(2 * n).cuda(), bright * noise(2 * n + 1).cuda())
        told.append({name: value.clone() for name, value in losses.items()})
    return told, [*weights, weights_of(method)]


def weights_of(method: Method) -> dict[str, Tensor]:
    """Of every network, one tensor for each."""
    return {
        name: torch.cat([weight.detach().reshape(-1).clone() for weight in net.parameters()])
        for name, net in method.nets.items()
        if list(net.parameters())
    }


@pytest.mark.gpu
@pytest.mark.parametrize("name", RUNS)
def test_a_recorded_run_is_the_plain_one(name: str, repeatable: None) -> None:
    """Not to the bit: gradients of a reflecting padding are sums in any order, and Adam makes much of it."""
    plain, (before, after) = iterations(RUNS[name], Plain(torch.device("cuda")))
    recorded, (_, same) = iterations(RUNS[name], Recorded(torch.device("cuda")))
    for n, (one, other) in enumerate(zip(plain, recorded, strict=True)):
        assert set(one) == set(other)
        for loss, value in one.items():
            said = f"{loss} of iteration {n}: {float(other[loss])}, {float(value)}"
            torch.testing.assert_close(other[loss], value, rtol=0.15, atol=0.01, msg=said)
    for net, weight in after.items():
        moved, apart = (weight - before[net]).norm(), (weight - same[net]).norm()
        # Without the replayed updates it would be three quarters.
        assert float(apart) < 0.5 * float(moved), f"{net}: {float(apart)} of {float(moved)}"


@pytest.mark.gpu
def test_a_recorded_run_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    options = [
        *RUNS["everything"],
        "run.graphs=true",
        "run.device=cuda",
        "optim.ema=0.9",
        "optim.iterations=9",
    ]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    Trainer(small(whole, *options), whole, Console(quiet=True), resume=False).run()
    first = Trainer(small(parts, *options), parts, Console(quiet=True), resume=False)
    first._agreed = lambda *_: [first.progress.iteration == 5, False]  # type: ignore[method-assign]
    first.run()
    Trainer(small(parts, *options), parts, Console(quiet=True), resume=True).run()
    for folder in (whole, parts):
        assert read_state(folder / STATE)["progress"]["iteration"] == 9
    one, other = (
        [json.loads(line)["losses"] for line in (folder / LOG).read_text().splitlines() if "losses" in line]
        for folder in (whole, parts)
    )
    assert len(one) == len(other) == 9
    for told, again in zip(one, other, strict=True):
        assert again == pytest.approx(told, rel=0.1, abs=0.01)


@pytest.mark.gpu
def test_a_recorded_function_wants_the_shapes_that_it_was_recorded_with() -> None:
    double = Recorded(torch.device("cuda"))(lambda x: 2 * x)
    for n in range(WARM_UP + 2):
        assert float(double(torch.full((2, 1), float(n), device="cuda")).sum()) == 4.0 * n
    with pytest.raises(ValueError, match=r"got \(1, 1\), not \(2, 1\)"):
        double(torch.zeros((1, 1), device="cuda"))
