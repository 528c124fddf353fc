"""Batches whose pictures other processes render or read while the network trains on the last ones."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import cv2
import torch
from torch import Tensor

from getgan.errors import TrainingError
from getgan.training.data import Batches, Picture

# Pictures for each process that are asked for before they are needed, and batches at least.
PICTURES, BATCHES = 4, 2


class Ahead:
    """The same batches as without the processes, in the order of the iterations.

    A picture of a domain is always the same process's, so that a fixed set is rendered and kept once.
    """

    def __init__(self, batches: Batches, workers: int) -> None:
        self._batches = batches
        # Not forked: PyTorch's threads do not come along, and a child would wait for them.
        spawn = multiprocessing.get_context("spawn")
        self._workers = [
            ProcessPoolExecutor(1, spawn, initializer=_begin, initargs=(batches,)) for _ in range(workers)
        ]
        self._next = 0
        self._asked: deque[tuple[int, list[Future[Picture]]]] = deque()
        self._depth = max(BATCHES, -(-PICTURES * workers // len(batches.places(0))))

    def batch(self, iteration: int) -> tuple[Tensor, Tensor]:
        """As Batches has it; TrainingError if a process has died."""
        if not self._asked or self._asked[0][0] != iteration:  # the first of a run
            self._asked.clear()
            self._next = iteration
        try:
            while self._next <= iteration + self._depth:
                self._asked.append((self._next, [self._ask(*p) for p in self._batches.places(self._next)]))
                self._next += 1
            return self._batches.of([answer.result() for answer in self._asked.popleft()[1]])
        except BrokenProcessPool as error:
            raise TrainingError(
                "a process that makes pictures has died, perhaps for want of memory; go on with --resume and "
                "a smaller run.workers"
            ) from error

    def _ask(self, which: int, serial: int) -> Future[Picture]:
        worker = (which + self._batches.index(which, serial)) % len(self._workers)
        return self._workers[worker].submit(_picture, which, serial)

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def made_ahead(batches: Batches, workers: int) -> Iterator[Batches | Ahead]:
    """The batches, made by so many processes; 0 = as they are asked for, by this one."""
    if workers == 0:
        yield batches
        return
    with contextlib.closing(Ahead(batches, workers)) as ahead:
        yield ahead


_of_this_process: list[Batches] = []


def _begin(batches: Batches) -> None:
    """In each process, once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the training to act on
    threading.Thread(target=_end_with_the_training, daemon=True).start()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    _of_this_process.append(batches)


def _end_with_the_training() -> None:
    """A training that is killed closes nothing."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _picture(which: int, serial: int) -> Picture:
    return _of_this_process[0].picture(which, serial)
