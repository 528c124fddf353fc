"""What an engine depends on: the machine and library it was made by, the graph, its shapes and settings."""

from __future__ import annotations

import contextlib
import hashlib
import platform
from typing import Literal

import msgspec

from getgan.contract import Contract
from getgan.errors import UsageError
from getgan.runtime.devices import Gpu, Machine
from getgan.runtime.geometry import Canvas, buckets, check_size
from getgan.runtime.manifest import Record

Flavour = Literal["tensorrt", "tensorrt-rtx"]
FLAVOURS: tuple[Flavour, ...] = ("tensorrt-rtx", "tensorrt")
# Each is tuned for itself: on a Jetson a profile costs minutes.
MAX_PROFILES = 64
MAX_BATCH = 256


class Profile(Record, frozen=True, order=True):
    """A shape that an engine is built for; no other one runs."""

    batch: int
    height: int  # pixels
    width: int

    def __str__(self) -> str:
        return f"{self.batch} x {self.width}x{self.height}"


class Settings(Record, frozen=True):
    """How it is to be built; what is not stated is left to the library."""

    workspace_mb: int = 0  # 0 = no limit but the GPU's memory
    optimization_level: int | None = None  # 0 to 5
    compute_capabilities: tuple[str, ...] = ()  # TensorRT-RTX: "SM86"; none = every RTX GPU from SM80 on
    hardware_compatibility: str = ""  # TensorRT: "AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY"
    version_compatible: bool = False
    dla: int | None = None  # core of a Jetson's accelerator


class Place(Record, frozen=True):
    """Where an engine was built and proven; it runs in no other place."""

    flavour: Flavour
    version: str  # of the library
    system: str  # "Linux x86_64"
    gpu: str = ""  # "" = none was there
    compute_capability: str = ""
    driver: str = ""
    cuda: str = ""  # the newest version that the driver runs


class Recipe(Record, frozen=True):
    """What was built, and how it was asked for."""

    graph: str  # SHA-256
    variant: str  # the name that the bundle gives the graph
    profiles: tuple[Profile, ...]
    settings: Settings = Settings()


class Fingerprint(Record, frozen=True):
    """Engines with one fingerprint can take each other's place; another one is another engine."""

    place: Place
    recipe: Recipe

    @property
    def key(self) -> str:
        """The name of its folder in the store: 32 hexadecimal digits."""
        data = msgspec.json.encode(self, order="deterministic")
        return hashlib.sha256(data).hexdigest()[:32]


_WORDS = {
    "flavour": "library",
    "version": "version of the library",
    "system": "system",
    "gpu": "GPU",
    "compute_capability": "compute capability",
    "driver": "NVIDIA driver",
    "cuda": "CUDA",
}


def place_of(flavour: Flavour, version: str, gpu: Gpu | None) -> Place:
    """This machine, with a library and a GPU; None = without a GPU, where engines can be built at most."""
    system = f"{platform.system()} {platform.machine()}"
    if gpu is None:
        return Place(flavour, version, system)
    return Place(flavour, version, system, gpu.name, gpu.compute_capability, gpu.driver, cuda_version())


def gpu_of(machine: Machine, device: str = "cuda:0") -> Gpu | None:
    """The GPU that "cuda:N" names; None if there is none."""
    return next((gpu for gpu in machine.gpus if f"cuda:{gpu.index}" == device), None)


def cuda_version() -> str:
    """The newest CUDA that the driver runs, "13.0"; "" if it does not tell."""
    with contextlib.suppress(ImportError):
        import pynvml

        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlInit()
            try:
                number = int(pynvml.nvmlSystemGetCudaDriverVersion_v2())
            finally:
                pynvml.nvmlShutdown()
            return f"{number // 1000}.{number % 1000 // 10}"
    return ""


def changed(before: Place, now: Place) -> str:
    """What differs, for one sentence: "the NVIDIA driver was 570.1 and is 580.2"; "" = nothing."""
    pairs = ((words, getattr(before, name), getattr(now, name)) for name, words in _WORDS.items())
    found = [
        f"the {words} was {old or 'none'} and is {new or 'none'}" for words, old, new in pairs if old != new
    ]
    return ", ".join(found)


def profiles_of(contract: Contract, sizes: tuple[str, ...], batches: tuple[int, ...]) -> tuple[Profile, ...]:
    """The shapes of an engine: every batch on every canvas, the square ones of batch 1 first.

    sizes: "256" = every canvas that a picture can be laid on at that size (`geometry.buckets`), "256x320" =
    width x height and no other; none = the contract's size. UsageError for what the network does not take.
    """
    canvases: dict[Canvas, None] = {}
    for size in sizes or (str(contract.size),):
        canvases.update(dict.fromkeys(_canvases(contract, size)))
    for batch in batches:
        if not 1 <= batch <= MAX_BATCH:
            raise UsageError(f"found batch {batch}; wanted 1 to {MAX_BATCH}")
    found = tuple(dict.fromkeys(Profile(batch, *canvas) for batch in batches for canvas in canvases))
    if not 0 < len(found) <= MAX_PROFILES:
        rule = (
            f"1 to {MAX_PROFILES}: name fewer sizes or batches, like --size {contract.size}x{contract.size}"
        )
        raise UsageError(f"found {len(found)} shapes to build for; wanted {rule}")
    return found


def _canvases(contract: Contract, size: str) -> tuple[Canvas, ...]:
    width, cross, height = size.partition("x")
    if not width.isdecimal() or (cross and not height.isdecimal()) or len(size) > 9:
        raise UsageError(f"found size {size!r:.40}; wanted one like 256 or 320x256")
    if not cross:
        return buckets(contract, check_size(int(width), "crop", contract))
    sides = (int(height), int(width))
    for side in sides:
        if not side:  # which `check_size` takes for the contract's size
            raise UsageError(f"found size {size}; wanted sides of at least {contract.min_size}")
        check_size(side, "crop", contract)
    return (sides,)
