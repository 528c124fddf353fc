"""A run writes into a folder that is its own, or that holds nothing of the names it would write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from training_helpers import Stopping, from_folders, log_of, same, state_of, train

from getgan.errors import ConfigError, TrainingError
from getgan.models.checkpoint import load_checkpoint
from getgan.training.folder import CONFIG, STATE
from getgan.training.loop import Trainer

NAMES = (
    "config.toml",
    "log.jsonl",
    "best.safetensors",
    "best.reverse.safetensors",
    "last.safetensors",
    "last.reverse.safetensors",
    "samples/0000001.png",
)


@pytest.mark.parametrize("resume", [False, True], ids=["new", "resume"])
@pytest.mark.parametrize("name", NAMES)
def test_another_ones_file_is_refused_before_anything_is_written(
    tmp_path: Path, name: str, resume: bool
) -> None:
    file = tmp_path / "run" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(b"mine")
    with pytest.raises(TrainingError) as error:
        train(from_folders(tmp_path / "data", "optim.iterations=1"), tmp_path / "run", resume=resume)
    assert f"holds no run (no run.state.pt), but a {name.split('/')[0]} " in str(error.value)
    assert "name another folder with -o" in str(error.value)
    assert [path for path in (tmp_path / "run").rglob("*") if path.is_file()] == [file]
    assert file.read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["log.jsonl", STATE])
def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "nowhere")
    with pytest.raises(TrainingError, match=f"a {name} that a run would overwrite"):
        train(from_folders(tmp_path / "data", "optim.iterations=1"), tmp_path / "run")
    assert (tmp_path / "run" / name).is_symlink()


def test_two_runs_cannot_share_a_folder(tmp_path: Path) -> None:
    config = from_folders(tmp_path / "data", "optim.iterations=2")
    later = Trainer(config, tmp_path / "run", Stopping(99), resume=False)  # has looked, not begun

    class Other(Stopping):
        """Begins a second run within the first."""

        said = ""

        def advance(self, iteration: int, rate: float) -> None:
            if iteration == 1:
                with pytest.raises(ConfigError) as error:
                    train(config, tmp_path / "run", resume=True)
                Other.said = str(error.value)

    Trainer(config, tmp_path / "run", Other(99), resume=False).run()
    assert f"(process {os.getpid()}) is writing into {tmp_path / 'run'}; wait for it" in Other.said
    done = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(TrainingError, match=r"has trained in .* since this one read it"):
        later.run()
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == done
    assert state_of(tmp_path / "run")["progress"]["iteration"] == 2


def test_other_files_are_no_hindrance_and_stay(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    train(from_folders(tmp_path / "data", "optim.iterations=1"), tmp_path / "run")
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "run" / CONFIG).exists()


def test_a_run_without_a_checkpoint_yet_goes_on_with_the_weights_it_started_from(tmp_path: Path) -> None:
    """The state is written first; without it the command line's --start-from would be forgotten."""
    config = from_folders(tmp_path / "data", "optim.iterations=2", "run.probe_every=9")
    train(config, tmp_path / "first")
    start = tmp_path / "first" / "last.safetensors"
    with pytest.raises(InterruptedError):
        Trainer(config, tmp_path / "cut", Stopping(1), resume=False, start=start).run()
    assert state_of(tmp_path / "cut")["progress"]["iteration"] == 0
    assert same(state_of(tmp_path / "cut")["nets"]["forward"], dict(load_checkpoint(start).state))
    train(config, tmp_path / "cut", resume=True)
    Trainer(config, tmp_path / "straight", Stopping(99), resume=False, start=start).run()
    assert same(state_of(tmp_path / "cut"), state_of(tmp_path / "straight"))
    assert log_of(tmp_path / "cut") == log_of(tmp_path / "straight")


def test_advice_names_no_checkpoint_that_is_not_there(tmp_path: Path) -> None:
    config = from_folders(tmp_path / "data", "optim.iterations=2")
    with pytest.raises(InterruptedError):
        train(config, tmp_path / "run", stop_at=1)
    torch.save({}, tmp_path / "run" / STATE)
    with pytest.raises(TrainingError, match=r"name another folder with -o$"):
        train(config, tmp_path / "run", resume=True)
