"""Pictures that other processes make ahead: the same ones, each made once, and no process is left behind."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from training_helpers import TINY, Whose, from_folders, small, tiny, write_pictures

from getgan.errors import DataError, TrainingError
from getgan.runtime.interrupts import STOPPING
from getgan.training.ahead import Ahead
from getgan.training.config import DataConfig
from getgan.training.console import Console
from getgan.training.data import Batches, open_domains
from getgan.training.folder import STATE
from getgan.training.loop import Trainer
from getgan.training.state import read_state


def of_session(pid: int) -> Iterator[int]:
    """The processes of a session, but for those that have ended and are not waited for."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # ended meanwhile
            state, _, _, session, *_ = stat.read_text().rpartition(")")[2].split()
            if int(session) == pid and state != "Z":
                yield int(stat.parent.name)


def wait_for(true: Callable[[], bool], told: Path) -> None:
    """Until it is true, a minute at most."""
    for _ in range(600):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError(told.read_text())


@pytest.mark.parametrize("kind", ["fixed", "endless"])
def test_the_batches_are_those_of_one_process(kind: str) -> None:
    data = tiny(f"data.count={5 if kind == 'fixed' else 0}").data
    batches = Batches(data, open_domains(data), 2, 3, 1, 2)
    with contextlib.closing(Ahead(batches, 2 if kind == "fixed" else 1)) as ahead:
        for iteration in (4, 5, 6, 7, 2, 3):  # a run that was resumed, and one from the start
            for mine, other in zip(batches.batch(iteration), ahead.batch(iteration), strict=True):
                torch.testing.assert_close(other, mine, rtol=0, atol=0)


def test_a_corrupt_picture_of_a_folder_is_named(tmp_path: Path) -> None:
    data = from_folders(tmp_path / "data").data
    batches = Batches(data, open_domains(data), 1, 0, 0, 1)
    bad = tmp_path / "data" / "trainA" / f"{batches.index(0, 1)}.png"
    bad.write_bytes(b"")
    with contextlib.closing(Ahead(batches, 1)) as ahead:
        for mine, other in zip(batches.batch(0), ahead.batch(0), strict=True):
            torch.testing.assert_close(other, mine, rtol=0, atol=0)
        with pytest.raises(DataError, match=str(bad)):
            ahead.batch(1)


def test_without_photos_none_is_made() -> None:
    data = tiny().data
    batches = Batches(data, open_domains(data), 2, 0, 0, 1, photos=False)
    x, y = batches.batch(0)
    assert len(batches.places(0)) == len(x) == 2
    assert y.shape == (0, *x.shape[1:])


def test_a_picture_is_always_the_same_process_s() -> None:
    data = DataConfig(size=32, count=7, flip=False)
    made: dict[tuple[int, int], set[bytes]] = {}
    with contextlib.closing(Ahead(Batches(data, (Whose(7), Whose(7)), 2, 0, 0, 1), 2)) as ahead:
        for iteration in range(14):
            for which, images in enumerate(ahead.batch(iteration)):
                for image in (images * 127.5 + 127.5).round().to(torch.uint8):  # (3, 4, 4)
                    made.setdefault((which, int(image[1, 0, 0])), set()).add(bytes(image[0, 0].tolist()))
    assert len(made) == 14
    assert all(len(processes) == 1 for processes in made.values())
    assert len(set.union(*made.values())) == 2
    assert os.getpid().to_bytes(4, "big") not in set.union(*made.values())


def test_a_process_that_dies_is_said_and_what_was_trained_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    trainer = Trainer(
        small(folder, "optim.iterations=100000", "run.workers=1"), folder, Console(quiet=True), resume=False
    )
    step = trainer.method.iterate

    def step_and_kill(x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        if trainer.progress.iteration == 2:
            for process in multiprocessing.active_children():
                process.kill()
        return step(x, y)

    trainer.method.iterate = step_and_kill  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match=r"a process that makes pictures has died.*smaller run\.workers"):
        trainer.run()
    kept = read_state(folder / STATE)["progress"]["iteration"]
    assert kept >= 3
    assert (folder / "last.safetensors").exists()


def test_processes_that_cannot_start_are_said(tmp_path: Path) -> None:
    """A script without a guard is what each of them would run again."""
    script = tmp_path / "train.py"
    script.write_text(
        "from getgan.training.ahead import Ahead\n"
        "from getgan.training.config import DataConfig\n"
        "from getgan.training.data import Batches, open_domains\n"
        "data = DataConfig(size=32)\n"
        "Ahead(Batches(data, open_domains(data), 1, 0, 0, 1), 2)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "TrainingError: 2 processes to make pictures could not start" in done.stderr
    assert '`if __name__ == "__main__"`' in done.stderr


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
@pytest.mark.parametrize("ended_by", [signal.SIGHUP, signal.SIGKILL])
def test_none_is_left_when_a_training_ends(ended_by: signal.Signals, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    # Large pictures, so that the training waits for them when the signal comes.
    for domain in ("trainA", "trainB"):
        write_pictures(tmp_path / "data" / domain, 2, height=1200, width=1200)
    sets = [
        *TINY,
        "data.kind=folders",
        f'data.root="{tmp_path / "data"}"',
        "run.workers=2",
        "run.probe_images=2",
    ]
    with open(tmp_path / "told", "wb") as told:
        command = ["train", "-o", str(folder), *(part for one in sets for part in ("--set", one))]
        run = subprocess.Popen(
            [sys.executable, "-m", "getgan", *command], stdout=told, stderr=told, start_new_session=True
        )
    log = folder / "log.jsonl"
    wait_for(lambda: log.exists() and log.read_text().count("\n") > 1, tmp_path / "told")
    assert len(list(of_session(run.pid))) >= 3
    if ended_by == signal.SIGKILL:
        run.kill()
    else:
        os.killpg(run.pid, ended_by)  # as a terminal and `timeout` do
    code = run.wait(60)
    assert code == (-9 if ended_by == signal.SIGKILL else 130), (tmp_path / "told").read_text()
    wait_for(lambda: not list(of_session(run.pid)), tmp_path / "told")
    text = (tmp_path / "told").read_text()
    assert "Traceback" not in text
    assert ended_by == signal.SIGKILL or "stopped after iteration" in text


def test_a_process_hears_no_signal_and_if_it_hangs_does_not_hold_a_training_that_ends() -> None:
    data = tiny().data
    others = multiprocessing.active_children()
    ahead = Ahead(Batches(data, open_domains(data), 1, 0, 0, 1), 1)
    (process,) = (child for child in multiprocessing.active_children() if child not in others)
    assert process.pid is not None
    for number in STOPPING:
        os.kill(process.pid, number)
    ahead.batch(0)
    os.kill(process.pid, signal.SIGSTOP)
    ahead.close()
    process.join(10)
    assert process.exitcode == -signal.SIGKILL
