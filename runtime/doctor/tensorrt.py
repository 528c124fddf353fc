"""The doctor's look at TensorRT: whether the library really loads here.

As a command, `python -m getgan.runtime.doctor.tensorrt FLAVOUR` tries a library and prints one JSON object:
in a process of its own, since one without a driver may not raise but die.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import msgspec

from getgan.errors import DeviceError
from getgan.runtime.backends import Candidate, Unsuitable
from getgan.runtime.backends.tensorrt import CUDA_PACKAGE, versions
from getgan.runtime.backends.tensorrt import TensorRt as Backend
from getgan.runtime.child import run_child
from getgan.runtime.devices import Machine
from getgan.runtime.doctor.backends import missing_soname
from getgan.runtime.doctor.check import Check
from getgan.runtime.engines.adapter import INSTALL, TensorRt
from getgan.runtime.engines.cuda import INSTALL as CUDA_INSTALL
from getgan.runtime.engines.cuda import find_gpus
from getgan.runtime.engines.fingerprint import FLAVOURS, Flavour

TIMEOUT_S = 60.0  # the first start of CUDA on an embedded board takes 20


class Trial(msgspec.Struct, frozen=True):
    """What a library did when it was loaded."""

    version: str = ""
    fault: str = ""
    gpus: int = 0  # that CUDA sees


def checks(this: Machine) -> Iterator[Check]:
    """A line for each library that is installed, and one where there is none."""
    installed = versions(this)
    if not installed:
        yield _absent(this)
    for flavour in FLAVOURS:
        if flavour in installed:
            yield _library(flavour, installed[flavour], try_elsewhere(flavour), this)


def ways(this: Machine) -> list[Candidate]:
    """What could run an engine here, if there is one."""
    backend = Backend()
    found = []
    for candidate in (each for gpu in this.gpus for each in backend.candidates(f"cuda:{gpu.index}")):
        with contextlib.suppress(Unsuitable):
            backend.check(candidate, this)
            found.append(candidate)
    return found


def try_elsewhere(flavour: Flavour) -> Trial:
    """`try_here` in a process of its own."""
    ended = run_child("getgan.runtime.doctor.tensorrt", flavour, seconds=TIMEOUT_S)
    if ended.how:
        return Trial(fault=f"its process {ended.how}")
    return msgspec.json.decode(ended.last, type=Trial)


def try_here(flavour: Flavour) -> Trial:
    """Import it; where there is a GPU, also make what engines are opened with."""
    try:
        library = TensorRt(flavour)
    except (DeviceError, Unsuitable) as error:
        return Trial(fault=str(error))
    try:
        gpus = find_gpus()
    except DeviceError:
        return Trial(library.version)
    try:
        library.runtime()
    except DeviceError as error:
        return Trial(library.version, str(error), gpus)
    return Trial(library.version, "", gpus)


def _absent(this: Machine) -> Check:
    if not this.gpus:
        return Check("tensorrt", "none", "not installed, and no NVIDIA GPU that would need it")
    repair = f"{INSTALL['tensorrt-rtx']}, or {INSTALL['tensorrt']}"
    return Check("tensorrt", "warn", "not installed: the GPU runs without engines of its own", repair)


def _library(flavour: Flavour, package: str, trial: Trial, this: Machine) -> Check:
    if trial.fault:
        missing = missing_soname(trial.fault)
        found = f"{package} does not load: {trial.fault}"
        repair = f"reinstall it with its libraries ({missing} is missing): " if missing else "reinstall it: "
        return Check(flavour, "fault" if this.gpus else "warn", found, repair + INSTALL[flavour])
    if not this.gpus:
        return Check(flavour, "ok", f"{trial.version}, without a GPU: it runs no engine here")
    if not this.version(CUDA_PACKAGE):
        return Check(
            flavour, "warn", f"{trial.version}, without {CUDA_PACKAGE}: it runs no engine", CUDA_INSTALL
        )
    if not trial.gpus:
        found = f"{trial.version}, but CUDA sees none of the {len(this.gpus)} GPUs"
        return Check(flavour, "fault", found, "update the NVIDIA driver: the library's CUDA is newer")
    return Check(flavour, "ok", f"{trial.version} and its libraries, {trial.gpus} GPUs")


if __name__ == "__main__":
    answer = try_here(msgspec.convert(sys.argv[1], Flavour))
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
