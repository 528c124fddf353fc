"""After an update of driver, GPU or library: the engine anew, behind a session that goes on with another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Literal

from getgan.errors import DeviceError, GetganError
from getgan.runtime.backends import Candidate, Engine, Unsuitable
from getgan.runtime.bundle import Bundle
from getgan.runtime.devices import machine
from getgan.runtime.engines.adapter import TensorRt
from getgan.runtime.engines.builder import BuildOptions, build_engine
from getgan.runtime.engines.fingerprint import Place, Recipe, changed, gpu_of, place_of
from getgan.runtime.engines.gate import Judge, judge_elsewhere
from getgan.runtime.engines.store import EngineRecord, EngineStore
from getgan.runtime.session import BundleSession

NICE = 10  # frames go first

State = Literal["building", "built", "swapped", "kept"]
Open = Callable[[EngineRecord], Engine]


def lost_engine(store: EngineStore, graphs: tuple[str, ...], now: Place) -> EngineRecord | None:
    """The newest engine of these graphs (SHA-256) that passed elsewhere, where none of them has one for here.

    None also where this machine never had one: nobody asked for an engine then.
    """
    if any(store.find(graph, now) is not None for graph in graphs):
        return None
    return next(
        (
            record
            for record in store.records()
            if record.passed
            and record.fingerprint.recipe.graph in graphs
            and record.fingerprint.place.flavour == now.flavour
        ),
        None,
    )


def options_again(recipe: Recipe, place: Place, device: str) -> BuildOptions:
    """What builds the same engine for this machine."""
    sizes = dict.fromkeys(f"{profile.width}x{profile.height}" for profile in recipe.profiles)
    batches = dict.fromkeys(profile.batch for profile in recipe.profiles)
    return BuildOptions(
        target=place.flavour,
        variant=recipe.variant,
        batches=tuple(batches),
        sizes=tuple(sizes),
        settings=recipe.settings,
        device=device,
        nice=NICE,
    )


class Rebuild:
    """A build in the background, whose engine takes over between two frames if it passes.

    The session's engine goes on until then, and stays where anything fails. The record and the engine from
    before stay in the store as well, should the update be taken back.
    """

    def __init__(
        self,
        session: BundleSession,
        bundle: Bundle,
        lost: EngineRecord,
        now: Place,
        candidate: Candidate,
        store: EngineStore,
        open_engine: Open | None,
        judge: Judge = judge_elsewhere,
    ) -> None:
        """Starts at once. now: this machine and the library's version.

        open_engine: opens one that passed, for the session; None = it is built for the next start.
        """
        what = changed(lost.fingerprint.place, now)
        self.why = f"{what}: the engine is built again; until then it runs with {session.info.version}"
        self.state: State = "building"
        self.said = "the engine is not built yet: getgan build BUNDLE"  # how it ended
        self._session = session
        self._bundle = bundle
        self._candidate = candidate
        self._open = open_engine
        options = options_again(lost.fingerprint.recipe, now, candidate.device)
        self._build = partial(build_engine, bundle, options, store, judge=judge)
        self._thread = threading.Thread(target=self._run, name="getgan-rebuild", daemon=True)
        self._thread.start()

    def wait(self, seconds: float | None = None) -> State:
        """Until it has ended, or for so long; the state then."""
        self._thread.join(seconds)
        return self.state

    def _run(self) -> None:
        try:
            self.said, self.state = self._outcome()
        except (GetganError, Unsuitable, OSError) as error:
            self.said, self.state = f"the engine could not be built again: {error}", "kept"

    def _outcome(self) -> tuple[str, State]:
        record = self._build()
        if not record.passed:
            return f"the new engine {record.state}", "kept"
        if self._open is None:
            return "the engine was built again and passed; the next start takes it", "built"
        why = f"{self._candidate} was built again and passed"
        variant = self._bundle.manifest.variant(record.fingerprint.recipe.variant)
        self._session.replace(self._open(record), variant, self._candidate, why)
        return why, "swapped"


def rebuild_for_next_start(
    session: BundleSession, bundle: Bundle, store: EngineStore | None = None, device: str = "cuda:0"
) -> Rebuild | None:
    """Build a bundle's engine again if this machine had one, and an update took it; None = nothing to do."""
    try:
        store = EngineStore() if store is None else store
    except DeviceError:  # others could put engines there; the doctor says so, and the session needs none
        return None
    records = [record for record in store.records() if record.passed]
    gpu = gpu_of(machine(), device) if records else None
    if gpu is None:
        return None
    manifest = bundle.manifest
    graphs = tuple(manifest.files[variant.graph].sha256 for variant in manifest.variants)
    for flavour in {record.fingerprint.place.flavour: None for record in records}:
        try:
            now = place_of(flavour, TensorRt(flavour).version, gpu)
        except (Unsuitable, DeviceError):
            continue
        lost = lost_engine(store, graphs, now)
        if lost is not None:
            variant = manifest.variant(lost.fingerprint.recipe.variant)
            candidate = Candidate("tensorrt", device, variant.hint)
            return Rebuild(session, bundle, lost, now, candidate, store, open_engine=None)
    return None
