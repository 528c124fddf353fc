"""Batches whose pictures other processes render or read while the network trains on the last ones."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker

import cv2
import torch
from torch import Tensor

from getgan.errors import TrainingError
from getgan.runtime.interrupts import STOPPING
from getgan.training.data import Batches, Picture

# Pictures for each process that are asked for before they are needed, and batches at least.
PICTURES, BATCHES = 4, 2


class Ahead:
    """The same batches as without the processes, in the order of the iterations.

    A picture of a domain is always the same process's, so that a fixed set is rendered and kept once.
    TrainingError if the processes cannot start; they have started when this is there.
    """

    def __init__(self, batches: Batches, workers: int) -> None:
        self._batches = batches
        # Not forked: PyTorch's threads do not come along, and a child would wait for them.
        spawn = multiprocessing.get_context("spawn")
        self._others = multiprocessing.active_children()
        self._workers: list[ProcessPoolExecutor] = []
        try:
            with _deaf_to_signals():
                for _ in range(workers):
                    pool = ProcessPoolExecutor(1, spawn, initializer=_begin, initargs=(batches,))
                    self._workers.append(pool)
                started = [pool.submit(os.getpid) for pool in self._workers]
            for pid in started:
                pid.result()
        except (OSError, BrokenProcessPool) as error:
            self.close()
            raise TrainingError(
                f"{workers} process{'es' if workers > 1 else ''} to make pictures could not start ({error}); "
                'wanted fewer, or run.workers=0. A script that trains wants an `if __name__ == "__main__"`'
            ) from error
        self._asked: dict[int, list[Future[Picture]]] = {}  # by iteration
        self._depth = max(BATCHES, -(-PICTURES * workers // len(batches.places(0))))

    def batch(self, iteration: int) -> tuple[Tensor, Tensor]:
        """As Batches has it; TrainingError if a process has died."""
        try:
            for number in range(iteration, iteration + self._depth + 1):
                if number not in self._asked:
                    self._asked[number] = [self._ask(*place) for place in self._batches.places(number)]
            return self._batches.of([answer.result() for answer in self._asked.pop(iteration)])
        except BrokenProcessPool as error:
            raise TrainingError(
                "a process that makes pictures has died: killed, or of too little memory; go on with "
                "--resume and a smaller run.workers"
            ) from error

    def _ask(self, which: int, serial: int) -> Future[Picture]:
        worker = (which + self._batches.index(which, serial)) % len(self._workers)
        return self._workers[worker].submit(_picture, which, serial)

    def close(self) -> None:
        """End the processes; one that hangs too, for they hold nothing that is not made again."""
        for pool in self._workers:
            pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            if process not in self._others:
                process.kill()


@contextlib.contextmanager
def made_ahead(batches: Batches, workers: int) -> Iterator[Batches | Ahead]:
    """The batches, made by so many processes; 0 = as they are asked for, by this one."""
    if workers == 0:
        yield batches
        return
    with contextlib.closing(Ahead(batches, workers)) as ahead:
        yield ahead


@contextlib.contextmanager
def _deaf_to_signals() -> Iterator[None]:
    """Processes started in the block never hear what asks a training to stop; it hears of it afterwards.

    A terminal, `timeout` and a scheduler tell all processes of a group, and it is for the training to act.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        resource_tracker.ensure_running()  # a process too; opens the ears again
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_of_this_process: list[Batches] = []


def _begin(batches: Batches) -> None:
    """In each process, once."""
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
