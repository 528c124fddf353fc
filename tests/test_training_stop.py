"""A run that is told to stop keeps all it has, says how to go on, and goes on as if it had not stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cli_helpers import getgan
from training_helpers import from_folders, log_of, same, state_of, train

from getgan.errors import TrainingError
from getgan.training.config import config_to_toml_text
from getgan.training.console import Console
from getgan.training.folder import CONFIG, STATE
from getgan.training.loop import Trainer


class Signalling(Console):
    """Sends this process a signal in the middle of an iteration."""

    def __init__(self, at: int, *numbers: int) -> None:
        super().__init__(quiet=True)
        self._at, self._numbers = at, numbers

    def advance(self, iteration: int, rate: float) -> None:
        if iteration == self._at:
            for number in self._numbers:
                os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stops_after_the_iteration_and_goes_on(
    number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rhythm = ("optim.iterations=4", "run.checkpoint_every=4", "run.sample_every=3", "run.probe_every=3")
    config = from_folders(tmp_path / "data", *rhythm)
    train(config, tmp_path / "straight")
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    folder = tmp_path / "its run"
    trainer = Trainer(config, folder, Signalling(2, number), resume=False)
    trainer.run()
    assert trainer.interrupted
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers
    said = capsys.readouterr().err
    assert "stopped after iteration 2; everything up to there is kept in" in said
    assert f"getgan train --resume -o '{folder}'" in said
    assert state_of(folder)["progress"]["iteration"] == 2
    assert (folder / "last.safetensors").exists()

    again = train(config, folder, resume=True)
    assert not again.interrupted
    assert log_of(folder) == log_of(tmp_path / "straight")
    assert same(state_of(folder), state_of(tmp_path / "straight"))


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    config = from_folders(tmp_path / "data", "optim.iterations=4")
    trainer = Trainer(config, tmp_path / "run", Signalling(2, signal.SIGTERM, signal.SIGTERM), resume=False)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert state_of(tmp_path / "run")["progress"]["iteration"] == 0


def test_a_signal_in_the_last_iteration_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = from_folders(tmp_path / "data", "optim.iterations=2")
    trainer = Trainer(config, tmp_path / "run", Signalling(2, signal.SIGINT), resume=False)
    trainer.run()
    assert not trainer.interrupted
    assert "stopped" not in capsys.readouterr().err


def test_the_command_stops_and_resumes_by_its_folder_alone(tmp_path: Path) -> None:
    """Ctrl-C: exit code 130, one line that says how; that line, as it stands, goes on."""
    config = from_folders(tmp_path / "data", "optim.iterations=100000")
    (tmp_path / "run.toml").write_text(config_to_toml_text(config))
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "getgan", "train", str(tmp_path / "run.toml"), "-o", str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while not (folder / "log.jsonl").exists() or not (folder / "log.jsonl").read_text():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"Go on with: getgan train --resume -o {folder}" in said
    before = state_of(folder)["progress"]["iteration"]

    done = getgan("train", "--resume", "-o", folder, "--set", f"optim.iterations={before + 1}")
    assert done.returncode == 1  # how long the rate is constant depends on it: another run
    assert f"there iterations = 100000, here iterations = {before + 1}" in done.stderr
    done = getgan("train", "--resume", "-o", folder, "--set", "run.stop_after_minutes=0.0001")
    assert done.returncode == 0, done.stderr
    assert state_of(folder)["progress"]["iteration"] == before + 1
    assert config.data.root in (folder / CONFIG).read_text()


def test_resume_without_a_run_is_one_line(tmp_path: Path) -> None:
    done = getgan("train", "--resume", "-o", tmp_path / "nothing")
    assert done.returncode == 1
    assert "no run to go on with in" in done.stderr and "name its folder with -o" in done.stderr


def test_a_state_from_before_an_option_existed_goes_on(tmp_path: Path) -> None:
    config = from_folders(tmp_path / "data", "optim.iterations=2")
    folder = tmp_path / "run"
    train(config, folder)
    document = torch.load(folder / STATE, weights_only=True)
    kept = [line for line in document["config"].splitlines() if not line.startswith(("stride", "widths"))]
    assert len(kept) == len(document["config"].splitlines()) - 2
    torch.save(document | {"config": "\n".join(kept)}, folder / STATE)
    train(config, folder, resume=True)
    newer = "\n".join(kept).replace("[run]", "[run]\nno_such = 1")
    torch.save(document | {"config": newer}, folder / STATE)
    with pytest.raises(
        TrainingError, match=r"options \(this version cannot read them: .*no_such is no option"
    ):
        train(config, folder, resume=True)
    torch.save(document | {"config": "\n".join(kept)}, folder / STATE)
    wider = from_folders(tmp_path / "data", "optim.iterations=2", "model.stride=2")
    with pytest.raises(TrainingError, match=r"other options \(there stride = 1, here stride = 2\)"):
        train(wider, folder, resume=True)
