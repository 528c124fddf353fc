"""A training state that is damaged, or a log that is none, is one line that says what to do next."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from training_helpers import from_folders, same, train

from getgan.errors import TrainingError
from getgan.training.config import TrainConfig
from getgan.training.folder import CONFIG, LOG, STATE

OPTIONS = ("optim.iterations=2", "optim.pool=2", "optim.ema=0.9", "model.norm=batch")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, beside the pictures that it saw."""
    root = tmp_path_factory.mktemp("whole")
    train(from_folders(root / "data", *OPTIONS), root / "run")
    return root


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> tuple[TrainConfig, Path]:
    """Its config, and a copy of its folder."""
    shutil.copytree(whole / "run", tmp_path / "run")
    return from_folders(whole / "data", *OPTIONS), tmp_path / "run"


def refusal(run: tuple[TrainConfig, Path]) -> str:
    """What a resume says, which must change nothing in the folder."""
    config, folder = run
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(TrainingError) as error:
        train(config, folder, resume=True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("damage", ["empty", "noise", "cut", "tensor", "other version"])
def test_a_state_that_is_none_is_refused(run: tuple[TrainConfig, Path], damage: str) -> None:
    state = run[1] / STATE
    whole = state.read_bytes()
    if damage == "tensor":
        torch.save({"weight": torch.zeros(3)}, state)
    elif damage == "other version":
        document = torch.load(state, weights_only=True)
        torch.save({key: 99 if isinstance(value, int) else value for key, value in document.items()}, state)
    else:
        state.write_bytes({"empty": b"", "noise": b"noise" * 99, "cut": whole[: len(whole) // 2]}[damage])
    message = refusal(run)
    assert str(state) in message
    assert f"--start-from {run[1] / 'last.safetensors'}" in message


def _without(*keys: Any) -> Callable[[dict[Any, Any]], None]:
    def damage(document: dict[Any, Any]) -> None:
        for key in keys[:-1]:
            document = document[key]
        del document[keys[-1]]

    return damage


def _with(value: object, *keys: Any) -> Callable[[dict[Any, Any]], None]:
    def damage(document: dict[Any, Any]) -> None:
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    return damage


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        *[(_without(name), f"{name} is ") for name in ("config", "progress", "nets", "updates", "pools")],
        (_without("ema"), "ema is "),
        (_with(3, "config"), "config is int, wanted str"),
        (_with(None, "pools"), "pools is NoneType, wanted list"),
        (_with(None, "nets"), "nets is NoneType"),
        (_without("nets", "disc_y"), "nets.disc_y is missing"),
        (_with({}, "nets", "reverse"), "nets.reverse."),
        (_with({}, "nets", "more"), "nets.more is unknown"),
        (_with(torch.zeros(3), "nets", "forward", "more"), "nets.forward.more is unknown"),
        (_with([], "ema"), "ema is list"),
        (_without("updates", "adam_g"), "updates.adam_g is "),
        (_without("updates", "adam_d", "state"), "updates.adam_d is "),
        (
            _with(torch.zeros(7), "updates", "adam_g", "state", 0, "exp_avg"),
            "adam_g.state.0.exp_avg is a float32",
        ),
        (_with("1", "updates", "adam_d", "state", 0, "step"), "adam_d.state.0.step is str"),
        (_with({}, "updates", "adam_g", "state", 99999), "adam_g.state.99999 is unknown"),
        (_with([], "updates", "scaler"), "updates.scaler is list"),
        (_with([None], "pools"), "pools is NoneType, wanted"),
        (_with([{"y": [], "x": None}], "pools"), "pools.x is NoneType"),
        (_with([{"y": [torch.zeros(3, 8, 8)], "x": []}], "pools"), "(3, 8, 8)"),
        (_with([{"y": [], "x": ["picture"]}], "pools"), "pools.x holds str"),
        (_with([{"y": [], "x": [torch.zeros(3, 32, 32)] * 3}], "pools"), "3 pictures, wanted 2 at most"),
        (_with(1, "progress", "more"), "progress.more is unknown"),
        (_without("progress", "iteration"), "progress.iteration is missing"),
        (_with("two", "progress", "iteration"), "progress.iteration is str, wanted int"),
        (_with(True, "progress", "iteration"), "progress.iteration is bool"),
        (_with(-1, "progress", "iteration"), "progress.iteration is out of its range"),
        (_with(10**100, "progress", "iteration"), "progress.iteration is out of its range"),
        (_with(float("nan"), "progress", "seconds"), "progress.seconds is out of its range"),
        (_with(float("nan"), "progress", "best_score"), "progress.best_score is out of its range"),
        (_with(3, "progress", "best_iteration"), "progress.best_iteration is out of its range"),
        (_with(None, "progress", "started_from"), "progress.started_from is NoneType"),
    ],
)
def test_a_damaged_state_is_one_line(
    run: tuple[TrainConfig, Path], damage: Callable[[dict[Any, Any]], None], found: str
) -> None:
    state = run[1] / STATE
    document = torch.load(state, weights_only=True)
    damage(document)
    torch.save(document, state)
    message = refusal(run)
    assert found in message
    assert f"--start-from {run[1] / 'last.safetensors'}" in message


def test_a_weight_of_another_shape_is_one_line(run: tuple[TrainConfig, Path]) -> None:
    document = torch.load(run[1] / STATE, weights_only=True)
    for part in (document["nets"]["forward"], document["ema"]):
        name = next(iter(part))
        whole, part[name] = part[name], torch.zeros(2, 5)
        torch.save(document, run[1] / STATE)
        assert f"{name} is a float32 tensor of (2, 5), wanted a float32 tensor of" in refusal(run)
        part[name] = whole


def test_a_state_from_before_a_field_came_is_taken(run: tuple[TrainConfig, Path]) -> None:
    config, folder = run
    document = torch.load(folder / STATE, weights_only=True)
    for name in ("looks", "started_from"):
        del document["progress"][name]
    torch.save(document, folder / STATE)
    trainer = train(config, folder, resume=True)
    assert trainer.progress.iteration == 2
    assert same(dict(trainer.method.nets["forward"].state_dict()), document["nets"]["forward"])


@pytest.mark.parametrize("data", [b"\xff\xfe{}\n", None], ids=["no UTF-8", "a folder"])
def test_a_log_that_cannot_be_read_is_one_line(run: tuple[TrainConfig, Path], data: bytes | None) -> None:
    log = run[1] / LOG
    log.unlink()
    if data is None:
        log.mkdir()
    else:
        log.write_bytes(data)
    (run[1] / CONFIG).write_bytes(b"not touched before the log was read")
    message = refusal(run)
    assert f"{log} cannot be read as a log" in message
    assert "move it away, then --resume" in message


@pytest.mark.parametrize("line", ["[" * 100_000, '{"iteration": 1e999}', '{"iteration": 1' + "0" * 400 + "}"])
def test_a_log_line_that_is_none_is_cut_off(run: tuple[TrainConfig, Path], line: str) -> None:
    config, folder = run
    before = (folder / LOG).read_bytes()
    (folder / LOG).write_bytes(before + line.encode() + b"\n")
    train(config, folder, resume=True)
    assert (folder / LOG).read_bytes() == before
