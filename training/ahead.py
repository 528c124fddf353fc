"""Pictures prepared in processes of their own, some iterations ahead; and what these share with the run."""

from __future__ import annotations

import itertools
import mmap
import multiprocessing
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from getgan.errors import ConfigError, GetganError, TrainingError

Picture = NDArray[np.uint8]  # (H, W, 3)
Prepared = tuple[NDArray[np.uint8], ...]  # (N, H, W, 3) each
Value = TypeVar("Value")

AHEAD = 2  # batches that each process keeps ready


class Ahead:
    """What `prepare` makes of one iteration after the other, made by processes before it is asked for.

    They are forked at the first question and end with the program, also if it is killed. `prepare` must
    depend on the iteration alone.
    """

    def __init__(self, prepare: Callable[[int], Prepared], workers: int) -> None:
        if sys.platform == "win32":
            raise ConfigError(f"run.workers is {workers}; wanted 0 on Windows, which cannot fork")
        self._prepare, self._workers = prepare, workers
        self._made: Iterator[Prepared | GetganError] | None = None
        self._next = -1

    def batch(self, iteration: int) -> Prepared:
        """Of this iteration; another than the next one begins anew. Raises what `prepare` raised."""
        if self._made is None or iteration != self._next:
            self._made = self._begin(iteration)
        self._next = iteration + 1
        try:
            made = next(self._made)
        except RuntimeError as error:
            first = str(error).partition("\n")[0]
            raise TrainingError(
                f"a process that prepares pictures died ({first:.200}); --resume with fewer run.workers"
            ) from error
        if isinstance(made, GetganError):
            raise made
        return made

    def close(self) -> None:
        """End the processes."""
        self._made = None

    def _begin(self, iteration: int) -> Iterator[Prepared | GetganError]:
        with warnings.catch_warnings():
            # More processes than cores are the user's to choose.
            warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
            loader: DataLoader[Any] = DataLoader(
                _Iterations(self._prepare),
                batch_size=None,
                sampler=itertools.count(iteration),
                num_workers=self._workers,
                collate_fn=_unchanged,  # arrays through a pipe: tensors go through /dev/shm, often small
                prefetch_factor=AHEAD,
                worker_init_fn=_begin_worker,
                multiprocessing_context="fork",
            )
            return iter(loader)


class _Iterations(Dataset[Any]):
    """One item for each iteration; an error of ours is an item too, so that its message stays as it is."""

    def __init__(self, prepare: Callable[[int], Prepared]) -> None:
        self._prepare = prepare

    def __getitem__(self, iteration: int) -> Prepared | GetganError:
        try:
            return self._prepare(iteration)
        except GetganError as error:
            return error


class Kept:
    """A fixed number of pictures, each made once by whichever process first wants it."""

    def __init__(self, count: int, size: int) -> None:
        # Without a name and so without a file; /dev/shm's limit does not count here.
        self._images = _shared(count * size * size * 3).reshape(count, size, size, 3)
        self._known = _shared(count)
        self._lock = multiprocessing.get_context("fork").Lock()  # whoever sees the mark sees the picture

    def picture(self, index: int, make: Callable[[int], Picture]) -> Picture:
        """(size, size, 3) uint8 RGB."""
        with self._lock:
            known = bool(self._known[index])
        if not known:
            self._images[index] = make(index)
            with self._lock:
                self._known[index] = 1
        image: Picture = self._images[index]
        return image


def _shared(size: int) -> NDArray[np.uint8]:
    """Zeros in memory that forked processes have in common; it is taken as it is written to."""
    return np.frombuffer(mmap.mmap(-1, size), np.uint8)


def _unchanged(value: Value) -> Value:
    return value


def _begin_worker(_number: int) -> None:
    """One thread each; Ctrl-C is the run's to answer, and its handlers are not theirs."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_DFL)
