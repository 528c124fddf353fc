"""Throws damaged files at a parser: only a GetganError may come out, soon, quietly and with little memory.

    fuzz(image_from_bytes, [png, jpeg], rounds=300, seed=1)

The target is a function of a module, given a file's bytes. It runs in a process of its own, so that a crash,
an endless loop or a full memory is a finding and not the end of the tests. The input in hand lies in a file
that the failure names. With FUZZ_SECONDS=600 in the environment each target is fed for so long, from a new
seed. Linux only: the peak of memory is read from /proc.
"""

from __future__ import annotations

import importlib
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

MEMORY_MB = 500  # what one input may cost above the idle process
SECONDS = 5  # of processor time: another process's load is not the parser's fault
LENGTHS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)


def fuzz(
    target: Callable[[bytes], object],
    seeds: Sequence[bytes],
    rounds: int,
    seed: int,
    known: Sequence[bytes] = (),
) -> None:
    """Feed `target` its seeds, then known bad files, then `rounds` changed seeds. AssertionError: a finding.

    What the seeds themselves take counts as the idle process.
    """
    seconds = float(os.environ.get("FUZZ_SECONDS") or 0)
    if seconds:
        seed = time.time_ns() % 2**32
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{target.__name__}-"))
    for number, data in enumerate(seeds):
        (folder / f"seed-{number:03}").write_bytes(data)
    for number, data in enumerate(known):
        (folder / f"known-{number:03}").write_bytes(data)
    name = target.__module__.removeprefix("tests.")
    command = [
        sys.executable,
        __file__,
        name,
        target.__name__,
        str(folder),
        str(rounds),
        str(seed),
        str(seconds),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    with open(folder / "output", "wb") as output:
        done = subprocess.run(command, env=environment, stdout=output, stderr=output, check=False)
    text = (folder / "output").read_text(errors="replace")
    if done.returncode:
        raise AssertionError(
            f"{target.__name__} (seed {seed}) with {folder / 'input'}: {_end(done.returncode)}\n{text}"
        )
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def _end(code: int) -> str:
    if code == -signal.SIGXCPU:
        return f"did not end within {SECONDS} s of processor time"
    return f"ended by {signal.Signals(-code).name}" if code < 0 else "a finding"


def changed(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """One to four changes of a file: flipped bytes, lengths, cuts, repeats, and pieces of other files."""
    found = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        if not found:
            break
        place = chance.randrange(len(found))
        # Headers decide what is allocated, and are a small part of a file.
        if chance.random() < 0.5:
            place = chance.randrange(min(len(found), 256))
        length = chance.choice((1, 2, 4, 16, 256, len(found)))
        match chance.randrange(8):
            case 0:
                found[place] ^= 1 << chance.randrange(8)
            case 1:
                found[place] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
            case 2 | 3:
                size = chance.choice((1, 2, 4, 8))
                value = chance.choice((*LENGTHS, len(found), chance.randrange(2**32)))
                raw = (value % 2 ** (8 * size)).to_bytes(size, "big")
                found[place : place + size] = raw if chance.random() < 0.5 else raw[::-1]
            case 4:
                del found[place:]
            case 5:
                del found[place : place + length]
            case 6:
                repeats = chance.choice((1, 1, 2, 64))
                found[place:place] = bytes(found[place : place + min(length, 4096)]) * repeats
            case 7:
                other = chance.choice(others)
                start = chance.randrange(len(other) + 1)
                found[place : place + length] = other[start : start + length]
    return bytes(found)


# --- the child -------------------------------------------------------------------------------------------


def _peak_mb(reset: bool = False) -> float:
    """The most memory that was in use since the last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _written() -> int:
    """How much anybody, C libraries too, has written to the standard streams."""
    return os.fstat(1).st_size


def _feed(target: Callable[[bytes], object], data: bytes, place: Path, idle: float) -> None:
    from getgan.errors import GetganError

    place.write_bytes(data)
    written, start = _written(), time.process_time()
    # A loop in C hears no signal but this one, which ends the process.
    resource.setrlimit(resource.RLIMIT_CPU, (int(start + SECONDS + 2), resource.RLIM_INFINITY))
    _peak_mb(reset=True)
    try:
        target(data)
    except GetganError as error:
        if "\n" in str(error):
            sys.exit(f"more than one line: {str(error)!r}")
    seconds, memory = time.process_time() - start, _peak_mb() - idle
    if seconds > SECONDS:
        sys.exit(f"took {seconds:.1f} s of processor time; the limit is {SECONDS}")
    if memory > MEMORY_MB:
        sys.exit(f"took {memory:.0f} MB; the limit is {MEMORY_MB}")
    if _written() != written:
        sys.exit("wrote to a standard stream")


def _child(module: str, name: str, folder: Path, rounds: int, seed: int, seconds: float) -> None:
    target = getattr(importlib.import_module(module), name)
    seeds = [path.read_bytes() for path in sorted(folder.glob("seed-*"))]
    for data in seeds:  # what is loaded on first use is loaded here
        _feed(target, data, folder / "input", 1e9)
    idle = _peak_mb(reset=True)
    # Far above the measured limit: it only saves the machine from one that takes all.
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (8 << 30), size + (8 << 30)))
    for path in sorted(folder.glob("known-*")):
        _feed(target, path.read_bytes(), folder / "input", idle)
    chance = random.Random(seed)
    end = time.monotonic() + seconds
    done = 0
    while time.monotonic() < end if seconds and rounds else done < rounds:
        _feed(target, changed(chance.choice(seeds), seeds, chance), folder / "input", idle)
        done += 1


if __name__ == "__main__":
    _child(
        sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), float(sys.argv[6])
    )
