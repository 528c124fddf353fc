"""A bundle's graph to an engine in the store: built in a process of its own, proven, gated, then kept."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path

import msgspec

from getgan import __version__
from getgan.errors import DeviceError, UsageError
from getgan.files import temporary_beside
from getgan.runtime.backends import Candidate, Unsuitable, wanted_gpu
from getgan.runtime.bundle import Bundle
from getgan.runtime.child import Ended, run_child
from getgan.runtime.devices import Gpu, Machine, machine
from getgan.runtime.engines.adapter import INSTALL, MODULES, TITLES, TensorRt
from getgan.runtime.engines.compile import Job, Outcome
from getgan.runtime.engines.fingerprint import (
    FLAVOURS,
    Fingerprint,
    Flavour,
    Place,
    Recipe,
    Settings,
    place_of,
    profiles_of,
)
from getgan.runtime.engines.gate import GateJob, Judge, batches_for, judge_elsewhere
from getgan.runtime.engines.memory import check_memory, free_mb, ladder
from getgan.runtime.engines.progress import Progress
from getgan.runtime.engines.store import EngineRecord, EngineStore, Gate, read_engine
from getgan.runtime.manifest import Variant
from getgan.runtime.selftest import golden_of

END_S = 6 * 3600.0  # some 10 minutes for one shape were seen on a Jetson, and there may be MAX_PROFILES
SPARE_MB = 200  # that a build leaves to the others
MOST_MB = 1 << 20  # of workspace: a terabyte; the libraries count its bytes in 64 bits
VARIANTS = ("fp16-frames", "fp16", "fp32")  # what "auto" takes, the fastest first

Tell = Callable[[Progress], None]


@dataclass(frozen=True)
class BuildOptions:
    """What `getgan build` is asked for."""

    target: str = "auto"  # or one of FLAVOURS
    variant: str = "auto"  # or a name in the bundle
    batches: tuple[int, ...] = (1,)
    sizes: tuple[str, ...] = ()  # see `profiles_of`
    settings: Settings = field(default_factory=Settings)
    device: str = "cuda:0"
    nice: int = 0


@dataclass(frozen=True)
class Plan:
    """What is going to be built, before anything is."""

    fingerprint: Fingerprint
    variant: Variant
    device: str  # "cuda:0"
    note: str  # why it will not be proven here; "" = it will
    memory: int  # bytes of the graph


def build_engine(
    bundle: Bundle,
    options: BuildOptions,
    store: EngineStore,
    tell: Tell = lambda progress: None,
    judge: Judge = judge_elsewhere,
) -> EngineRecord:
    """Build, prove, gate and keep; the record says which verdict it got, and only "passed" is ever loaded.

    DeviceError for a machine, library or precision that cannot; OutputError for a store that cannot be
    written. Whatever happens, an engine of the same fingerprint that passed stays until another one passes.
    """
    plan = plan_build(bundle, options, machine())
    recipe, flavour = plan.fingerprint.recipe, plan.fingerprint.place.flavour
    check_memory(flavour, plan.memory, len(recipe.profiles))
    with store.locked(plan.fingerprint) as folder:
        file = temporary_beside(folder / "plan")
        try:
            settings, outcome = _built(bundle, plan, options, store, file, tell)
            assert outcome.proof is not None  # of an Outcome without a fault
            gate = Gate("not proven", plan.note)
            if not plan.note:
                gate = judge(
                    GateJob(
                        bundle=str(bundle.path),
                        variant=recipe.variant,
                        plan=str(file),
                        bytes=outcome.bytes,
                        sha256=outcome.sha256,
                        flavour=flavour,
                        profiles=recipe.profiles,
                        device=plan.device,
                    )
                )
            record = EngineRecord(
                fingerprint=plan.fingerprint,
                bytes=outcome.bytes,
                sha256=outcome.sha256,
                built_with=settings,
                proof=outcome.proof,
                gate=gate,
                seconds=outcome.seconds,
                created=datetime.now(timezone.utc).isoformat(timespec="microseconds"),
                getgan=__version__,
                warnings=outcome.warnings,
            )
            store.put(record, read_engine(file, outcome.bytes, outcome.sha256))
        finally:
            with contextlib.suppress(OSError):
                file.unlink()
    return record


def plan_build(bundle: Bundle, options: BuildOptions, this: Machine) -> Plan:
    """What the options mean for this bundle on this machine; nothing is built."""
    if options.settings.workspace_mb > MOST_MB:
        found = f"{options.settings.workspace_mb:,}"
        raise UsageError(f"found a workspace of {found} MB; wanted 0 to {MOST_MB:,}")
    device, gpu = _gpu(options.device, this)
    flavour = _flavour(options.target, gpu is not None)
    try:
        library = TensorRt(flavour)
    except Unsuitable as reason:
        raise DeviceError(str(reason)) from reason
    variant = _variant(bundle, options.variant)
    profiles = profiles_of(bundle.manifest.contract, options.sizes, options.batches)
    golden = [golden_of(bundle, index) for index in range(len(bundle.manifest.golden))]
    if not all(batches_for(pair.input, profiles) for pair in golden):
        height, width = golden[0].input.shape[:2]
        wanted = f"--size {width}x{height} too, that of the golden images"
        raise UsageError(f"found shapes that no golden image has, so nothing proves them; wanted {wanted}")
    targets = options.settings.compute_capabilities
    note = ""
    if gpu is None:
        note = f"no NVIDIA GPU here to prove it on ({this.gpus_note})"
    elif targets and f"SM{gpu.compute_capability.replace('.', '')}" not in targets:
        note = f"it is built for {', '.join(targets)}, and the GPU here has {gpu.compute_capability}"
    place: Place = place_of(flavour, library.version, None if note else gpu)
    file = bundle.manifest.files[variant.graph]
    recipe = Recipe(file.sha256, variant.name, profiles, options.settings)
    return Plan(Fingerprint(place, recipe), variant, device, note, file.bytes)


def places_here() -> tuple[Place, ...]:
    """This machine with each library and each GPU that it has."""
    found: list[Place] = []
    for flavour in FLAVOURS:
        with contextlib.suppress(Unsuitable, DeviceError):
            version = TensorRt(flavour).version
            found += [place_of(flavour, version, gpu) for gpu in (*machine().gpus, None)]
    return tuple(found)


def _gpu(device: str, this: Machine) -> tuple[str, Gpu | None]:
    """The name in full, and the GPU it names; None on a machine without any, which builds all the same."""
    if not re.fullmatch(r"cuda(:\d{1,3})?", device):
        raise UsageError(f"found device {device!r:.40}; wanted cuda or cuda:N")
    name = "cuda:0" if device == "cuda" else device
    try:
        return name, wanted_gpu(Candidate("tensorrt", name, "fp32"), this) if this.gpus else None
    except Unsuitable as reason:
        raise DeviceError(str(reason)) from reason


def _flavour(target: str, gpu: bool) -> Flavour:
    named = next((flavour for flavour in FLAVOURS if flavour == target), None)
    if named is not None:
        return named
    if target != "auto":
        raise UsageError(f"found target {target!r:.40}; wanted auto, {' or '.join(FLAVOURS)}")
    # Without a GPU only TensorRT-RTX builds; with one TensorRT knows each of them.
    order: tuple[Flavour, ...] = ("tensorrt", "tensorrt-rtx") if gpu else ("tensorrt-rtx",)
    for flavour in order:
        if find_spec(MODULES[flavour]) is not None:
            return flavour
    wanted = "; ".join(f"{TITLES[flavour]}: {INSTALL[flavour]}" for flavour in order)
    raise DeviceError(f"found no library here that builds engines; {wanted}")


def _variant(bundle: Bundle, name: str) -> Variant:
    if name != "auto":
        variant = bundle.manifest.variant(name)
        if variant.hint == "bf16":
            raise UsageError(
                "found precision bf16, a way to run the fp32 graph on a CPU; wanted fp16 or fp32"
            )
        return variant
    names = [variant.name for variant in bundle.manifest.variants]
    best = next((each for each in VARIANTS if each in names), None)
    if best is None:
        raise DeviceError(f"the bundle holds {', '.join(names)}; wanted one of {', '.join(VARIANTS)}")
    return bundle.manifest.variant(best)


def _built(
    bundle: Bundle, plan: Plan, options: BuildOptions, store: EngineStore, file: Path, tell: Tell
) -> tuple[Settings, Outcome]:
    """Down the ladder until a try has enough memory; DeviceError of the first other fault, or the last."""
    recipe, place = plan.fingerprint.recipe, plan.fingerprint.place
    tries: list[str] = []
    for settings in ladder(recipe.settings):
        job = Job(
            bundle=str(bundle.path.absolute()),
            graph=plan.variant.graph,
            precision=plan.variant.hint,
            flavour=place.flavour,
            profiles=recipe.profiles,
            settings=settings,
            plan=str(file.absolute()),
            timings=str(store.timings(place).absolute()) if place.flavour == "tensorrt" else "",
            gpu=bool(place.gpu),
            nice=options.nice,
        )
        outcome = _run(job, tell)
        if not outcome.fault:
            return settings, outcome
        with contextlib.suppress(OSError):
            file.unlink()
        workspace = f"{settings.workspace_mb:,} MB" if settings.workspace_mb else "any"
        tries.append(f"with {workspace} of workspace: {outcome.fault}")
        if not outcome.memory:
            raise DeviceError(outcome.fault)
    raise DeviceError(
        f"there was too little memory {len(tries)} times, {tries[0]}; {tries[-1]}; stop other programs, or "
        f"name fewer shapes with --size and --batch"
    )


def _run(job: Job, tell: Tell) -> Outcome:
    def told(line: bytes) -> None:
        with contextlib.suppress(msgspec.MsgspecError):  # whatever else a library prints
            tell(msgspec.json.decode(line, type=Progress))

    free = free_mb()
    ended: Ended = run_child(
        "getgan.runtime.engines.compile",
        msgspec.json.encode(job).decode(),
        seconds=END_S,
        memory_mb=0 if free is None else max(1, free - SPARE_MB),
        told=told,
    )
    if not ended.how:
        return msgspec.json.decode(ended.last, type=Outcome)
    # The system kills the one that takes the most when memory runs out, and says nothing.
    memory = "memory" in ended.how or "signal 9" in ended.how
    why = " (the system does that when memory runs out)" if "signal 9" in ended.how else ""
    return Outcome(f"the process that built it {ended.how}{why}", memory=memory)
