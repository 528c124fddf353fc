"""The doctor's look at the engine store: what passed here, and why the rest is not loaded."""

from __future__ import annotations

from getgan.errors import DeviceError
from getgan.runtime.devices import Machine
from getgan.runtime.doctor.check import Check
from getgan.runtime.engines.fingerprint import changed, place_of
from getgan.runtime.engines.store import EngineStore

BUILD = "getgan build BUNDLE"


def engines_check(machine: Machine, store: EngineStore | None = None) -> Check:
    """By the records and the bytes: no library is imported, and no engine deserialized."""
    try:
        store = EngineStore() if store is None else store
    except DeviceError as error:
        return Check("engines", "fault", str(error), "getgan help engines")
    records = store.records()
    passed = [record for record in records if record.passed]
    if not records:
        return Check("engines", "none", f"{store.folder} holds none; TensorRT runs no other: {BUILD}")
    if not passed:
        newest = records[0]
        found = f"{len(records)} in {store.folder}, none passed; the newest {newest.state}"
        return Check("engines", "warn" if newest.gate.verdict == "failed" else "none", found)
    reasons: list[str] = []
    damaged: list[str] = []
    here = 0
    for record in passed:
        place = record.fingerprint.place
        now = [place_of(place.flavour, place.version, gpu) for gpu in machine.gpus]
        if place in now and (fault := store.fault(record)):
            damaged.append(fault)
        elif place in now:
            here += 1
        else:
            reasons.append(changed(place, now[0]) if now else f"{place.gpu} is not here: {machine.gpus_note}")
    if damaged:
        return Check("engines", "warn", f"{len(damaged)} of {len(records)} cannot run: {damaged[0]}", BUILD)
    if here:
        return Check("engines", "ok", f"{here} of {len(records)} in {store.folder} passed here")
    return Check("engines", "warn", f"{len(passed)} in {store.folder} passed, none here: {reasons[0]}", BUILD)
