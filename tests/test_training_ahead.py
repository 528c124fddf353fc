"""Pictures that other processes prepare: the same ones, their errors, and no process that stays."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from training_helpers import from_folders, log_of, same, state_of, train

from getgan.errors import DataError, TrainingError
from getgan.training.ahead import Ahead, Kept, Prepared
from getgan.training.config import DataConfig
from getgan.training.data import Batches, open_domains

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot fork"),
    # Python 3.12 warns of any fork in a process with threads.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


def numbered(iteration: int) -> Prepared:
    """Who made it, and what."""
    return (np.array([iteration % 256, os.getpid() % 256, os.getpid() // 256 % 256], np.uint8),)


def children() -> set[int]:
    return {child.pid for child in multiprocessing.active_children() if child.pid is not None}


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("count", [0, 5])
@pytest.mark.parametrize("kind", ["faces", "folders"])
def test_the_same_batches(kind: str, count: int, tmp_path: Path) -> None:
    data = DataConfig(size=32, count=count)
    if kind == "folders":
        data = from_folders(tmp_path / "data").data
    before = children()
    with_none, with_two = (Batches(data, open_domains(data), 2, 1, 0, 1, workers) for workers in (0, 2))
    for iteration in (0, 1, 2, 3, 9, 10, 4):  # resumed runs begin anywhere
        for one, other in zip(with_none.batch(iteration), with_two.batch(iteration), strict=True):
            assert torch.equal(one, other)
    assert len(children() - before) == 2
    with_two.close()
    assert not children() - before


def test_others_do_the_work_in_order() -> None:
    ahead = Ahead(numbered, 2)
    made = [ahead.batch(iteration)[0] for iteration in range(3, 9)]
    assert [int(each[0]) for each in made] == list(range(3, 9))
    makers = {tuple(each[1:]) for each in made}
    assert len(makers) == 2 and (os.getpid() % 256, os.getpid() // 256 % 256) not in makers
    ahead.close()


def test_a_rendered_picture_is_made_once_for_all() -> None:
    kept, made = Kept(3, 2), []

    def make(index: int) -> np.ndarray:
        made.append(index)
        return np.full((2, 2, 3), 7 + index, np.uint8)

    def prepare(iteration: int) -> Prepared:
        return (kept.picture(iteration % 3, make).copy(), np.array([len(made)], np.uint8))

    ahead = Ahead(prepare, 1)
    got = [ahead.batch(iteration) for iteration in range(6)]
    ahead.close()
    assert [int(picture[0, 0, 0]) for picture, _ in got] == [7, 8, 9, 7, 8, 9]
    assert [int(count[0]) for _, count in got] == [1, 2, 3, 3, 3, 3]
    assert int(kept.picture(2, make)[0, 0, 0]) == 9 and not made  # this process made none


def test_an_error_of_ours_keeps_its_words() -> None:
    def prepare(iteration: int) -> Prepared:
        if iteration == 1:
            raise DataError("scan 7 is no picture; wanted a PNG")
        return numbered(iteration)

    ahead = Ahead(prepare, 1)
    ahead.batch(0)
    with pytest.raises(DataError, match=r"^scan 7 is no picture; wanted a PNG$"):
        ahead.batch(1)
    ahead.close()


def test_a_process_that_is_killed_is_one_line() -> None:
    before = children()
    ahead = Ahead(numbered, 1)
    ahead.batch(0)
    for pid in children() - before:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(TrainingError, match=r"a process that prepares pictures died .* fewer run\.workers"):
        for iteration in range(1, 10):  # some are made already
            ahead.batch(iteration)
    ahead.close()


def test_a_run_is_the_same_with_and_without(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    options = ("optim.iterations=3", "run.checkpoint_every=1")
    for workers in (0, 2):
        train(from_folders(pictures, *options, f"run.workers={workers}"), tmp_path / str(workers))
    assert same(state_of(tmp_path / "0"), state_of(tmp_path / "2"))
    assert log_of(tmp_path / "0") == log_of(tmp_path / "2")
    # A run may go on with another number of them: that is the machine's, not the run's.
    more = from_folders(pictures, *options, "run.workers=1")
    train(more, tmp_path / "2", resume=True)


@pytest.mark.slow
def test_none_outlives_a_run_that_is_killed(tmp_path: Path) -> None:
    """PyTorch's workers look every five seconds whether their parent lives."""
    code = (
        "import multiprocessing, time\nimport numpy as np\nfrom getgan.training.ahead import Ahead\n"
        "ahead = Ahead(lambda iteration: (np.zeros(3, np.uint8),), 2)\nahead.batch(0)\n"
        "print(*(child.pid for child in multiprocessing.active_children()), flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        workers = [int(word) for word in run.stdout.readline().split()]
        assert len(workers) == 2 and all(map(lives, workers))
        run.kill()
    until = time.monotonic() + 30
    while any(map(lives, workers)):
        assert time.monotonic() < until
        time.sleep(0.2)
