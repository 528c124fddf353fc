"""One try at a build, in a process of its own: `python -m getgan.runtime.engines.compile JOB`.

The library may crash, fill the memory or be killed, and then only this process ends. It prints its progress,
a JSON object a line, and at last an Outcome.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from getgan.errors import GetganError
from getgan.files import try_lock, write_bytes_atomic
from getgan.runtime.backends import Unsuitable
from getgan.runtime.bundle import Bundle
from getgan.runtime.cache import read_private
from getgan.runtime.engines.adapter import OutOfMemory, TensorRt
from getgan.runtime.engines.fingerprint import Flavour, Profile, Settings
from getgan.runtime.engines.progress import Phases, Progress
from getgan.runtime.engines.proof import Layer, Proof, prove
from getgan.runtime.engines.store import MAX_TIMINGS_BYTES
from getgan.runtime.manifest import Precision, Record


class Job(Record, frozen=True):
    """What is to be built, and where it goes."""

    bundle: str
    graph: str  # its file in the bundle
    precision: Precision
    flavour: Flavour
    profiles: tuple[Profile, ...]
    settings: Settings
    plan: str  # file that is made
    timings: str  # file of the timing cache, which is read and written; "" = none
    gpu: bool  # whether the engine can be opened here
    nice: int = 0


class Outcome(Record, frozen=True):
    """What became of it; a fault in words, or the rest."""

    fault: str = ""
    memory: bool = False  # the fault is that there was too little
    bytes: int = 0
    sha256: str = ""
    proof: Proof | None = None
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0


def build(job: Job) -> Outcome:
    """Build, prove and write."""
    try:
        graph = Bundle.open(Path(job.bundle)).read(job.graph)
        library = TensorRt(job.flavour)
        # Should the graph name files with weights: here it finds none, whatever lies around.
        with _nowhere():
            built = library.build(graph, job.profiles, job.settings, Phases(_tell), _timings(job))
        if built.layers:
            layers, source = built.layers, "build log"
        elif job.gpu:
            layers, source = _inspected(library, built.plan), "inspector"
        else:
            return Outcome(f"{library.title} does not tell of its layers here: nothing proves its precision")
        proof = prove(layers, job.precision, source)
        with open(job.plan, "xb") as file:
            try_lock(file)
            file.write(built.plan)
            file.flush()
            os.fsync(file.fileno())
        if job.timings and built.timing_cache:
            with contextlib.suppress(GetganError):  # it saves time and nothing else
                write_bytes_atomic(Path(job.timings), built.timing_cache)
    except OutOfMemory as error:
        return Outcome(str(error), memory=True)
    except MemoryError:
        return Outcome("Python found no memory", memory=True)
    except (GetganError, Unsuitable) as error:
        return Outcome(str(error))
    except OSError as error:
        return Outcome(f"cannot write {error.filename or job.plan}: {error.strerror}; free space there")
    sha256 = hashlib.sha256(built.plan).hexdigest()
    return Outcome("", False, len(built.plan), sha256, proof, built.warnings, built.seconds)


def _inspected(library: TensorRt, plan: bytes) -> tuple[Layer, ...]:
    engine = library.runtime().deserialize_cuda_engine(plan)
    return () if engine is None else library.inspect(engine)


def _timings(job: Job) -> bytes:
    try:
        return read_private(Path(job.timings), MAX_TIMINGS_BYTES) if job.timings else b""
    except OSError:
        return b""


@contextlib.contextmanager
def _nowhere() -> Iterator[None]:
    """In a folder that is empty and stays so: it is removed as soon as this process stands in it."""
    before = os.getcwd()
    folder = tempfile.mkdtemp(prefix="getgan-")
    os.chdir(folder)
    with contextlib.suppress(OSError):  # Windows keeps it until we have left
        os.rmdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def _tell(progress: Progress) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(progress) + b"\n")
    sys.stdout.flush()


def _step_back(nice: int) -> None:
    """Leave the processor and, if it comes to that, the memory to others."""
    with contextlib.suppress(OSError):
        os.nice(nice)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


if __name__ == "__main__":
    wanted = msgspec.json.decode(sys.argv[1], type=Job)
    _step_back(wanted.nice)
    outcome = build(wanted)
    sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
    sys.stdout.flush()
    # What is left of the library takes a while to give back, and may crash over it.
    os._exit(0)
