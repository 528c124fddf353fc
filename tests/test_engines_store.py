"""The engine store hands out nothing but the bytes that passed, whatever happened to its files."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from cli_helpers import getgan
from engine_helpers import GRAPH, PLACE, record_of

from getgan.errors import DeviceError, OutputError
from getgan.runtime.cache import cache_folder
from getgan.runtime.devices import Gpu, Machine, machine
from getgan.runtime.doctor.engines import engines_check
from getgan.runtime.engines import store as module
from getgan.runtime.engines.fingerprint import Place, Settings, changed
from getgan.runtime.engines.store import RECORD_NAME, EngineRecord, EngineStore, json_from_record

PLAN = bytes(range(256)) * 40
OTHER = PLAN[::-1]
NEW_DRIVER = msgspec.structs.replace(PLACE, driver="560.1")


@pytest.fixture
def store(tmp_path: Path) -> EngineStore:
    return EngineStore(tmp_path / "engines")


def plan_of(store: EngineStore, record: EngineRecord) -> Path:
    return store.folder / record.fingerprint.key / f"{record.sha256}.plan"


# --- what is handed out ---------------------------------------------------------------------------------


def test_a_passed_engine_comes_back_byte_for_byte(store: EngineStore) -> None:
    record = record_of(PLAN)
    assert store.put(record, PLAN)
    again = EngineStore(store.folder)
    assert again.find(GRAPH, PLACE) == record
    assert again.read(record) == PLAN


@pytest.mark.parametrize(
    ("verdict", "words"), [("failed", "failed its gate"), ("not proven", "is not proven")]
)
def test_no_other_one_is_handed_out(store: EngineStore, verdict: module.Verdict, words: str) -> None:
    record = record_of(PLAN, verdict)
    store.put(record, PLAN)
    assert store.get(record.fingerprint) == record
    assert store.find(GRAPH, PLACE) is None
    assert store.why_none(GRAPH, PLACE) == f"its engine {words}: a test says so"
    with pytest.raises(DeviceError, match=f"{words}: a test says so; an engine runs once it passed"):
        store.read(record)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("driver", "560.1", "the NVIDIA driver was 540.4.0 and is 560.1"),
        ("gpu", "Thor", "the GPU was Orin and is Thor"),
        ("version", "10.16.1", "the version of the library was 10.3.0 and is 10.16.1"),
        ("cuda", "13.2", "the CUDA was 12.6 and is 13.2"),
        ("compute_capability", "11.0", "the compute capability was 8.7 and is 11.0"),
        ("system", "Linux x86_64", "the system was Linux aarch64 and is Linux x86_64"),
    ],
)
def test_an_engine_of_another_place_is_not_found_and_a_sentence_says_why(
    store: EngineStore, field: str, value: str, sentence: str
) -> None:
    store.put(record_of(PLAN), PLAN)
    now = msgspec.structs.replace(PLACE, **{field: value})
    assert store.find(GRAPH, now) is None
    assert store.why_none(GRAPH, now) == f"its engine is for another place: {sentence}"
    assert changed(PLACE, now) == sentence


def test_another_graph_has_no_engine(store: EngineStore) -> None:
    store.put(record_of(PLAN), PLAN)
    assert store.find("0" * 64, PLACE) is None
    assert store.why_none("0" * 64, PLACE) == f"{store.folder} holds no engine of it"
    store.put(record_of(PLAN, "not proven", NEW_DRIVER, "0" * 64), PLAN)
    assert store.why_none("0" * 64, PLACE) == "its engine is not proven: a test says so"


def test_every_field_of_the_fingerprint_is_in_the_key() -> None:
    print_ = record_of(PLAN).fingerprint
    keys = {print_.key}
    for name in Place.__struct_fields__:
        place = msgspec.structs.replace(print_.place, **{name: "tensorrt-rtx" if name == "flavour" else "x"})
        keys.add(msgspec.structs.replace(print_, place=place).key)
    others = {"graph": "x", "variant": "x", "profiles": (), "settings": Settings(workspace_mb=1)}
    assert set(others) == set(print_.recipe.__struct_fields__)
    for name, value in others.items():
        recipe = msgspec.structs.replace(print_.recipe, **{name: value})
        keys.add(msgspec.structs.replace(print_, recipe=recipe).key)
    assert len(keys) == 1 + len(Place.__struct_fields__) + len(others)


def test_a_failed_rebuild_leaves_the_last_good_engine(store: EngineStore) -> None:
    good = record_of(PLAN)
    store.put(good, PLAN)
    for verdict in ("failed", "not proven"):
        assert not store.put(record_of(OTHER, verdict), OTHER)
    assert store.read(good) == PLAN
    better = record_of(OTHER)
    assert store.put(better, OTHER)
    assert store.find(GRAPH, PLACE) == better
    assert not plan_of(store, good).exists()


def gpu_machine(*drivers: str) -> Machine:
    gpus = tuple(Gpu(0, PLACE.gpu, 0, driver, PLACE.compute_capability) for driver in drivers)
    return replace(machine(), gpus=gpus, gpus_note="" if gpus else "no NVIDIA driver")


def test_the_doctor_says_what_passed_here(store: EngineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getgan.runtime.engines.fingerprint.cuda_version", lambda: PLACE.cuda)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    here, updated, none = gpu_machine(PLACE.driver), gpu_machine("560.1"), gpu_machine()
    assert engines_check(here, store).status == "none"
    store.put(record_of(OTHER, "not proven"), OTHER)
    assert engines_check(here, store).found.endswith("none passed; the newest is not proven: a test says so")
    store.put(record_of(PLAN), PLAN)
    found = engines_check(here, store)
    assert (found.status, found.found) == ("ok", f"1 of 1 in {store.folder} passed here")
    lost = engines_check(updated, store)
    assert lost.status == "warn" and lost.repair == "getgan build BUNDLE"
    assert lost.found.endswith("none here: the NVIDIA driver was 540.4.0 and is 560.1")
    assert engines_check(none, store).found.endswith("none here: Orin is not here: no NVIDIA driver")


# --- faults ---------------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    path.write_bytes(PLAN[:-1])


def lengthen(path: Path) -> None:
    path.write_bytes(PLAN + b"\0")


def flip(path: Path) -> None:
    path.write_bytes(PLAN[:77] + bytes([PLAN[77] ^ 1]) + PLAN[78:])


def swap(path: Path) -> None:
    path.write_bytes(OTHER)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def lose(path: Path) -> None:
    path.unlink()


def link(path: Path) -> None:
    """The right bytes, but behind a link that may point to others in the next moment."""
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def share(path: Path) -> None:
    path.chmod(0o666)


@pytest.mark.parametrize("harm", [truncate, lengthen, flip, swap, empty, lose, link, pipe, share])
def test_bytes_that_are_not_the_proven_ones_are_never_handed_out(
    store: EngineStore, harm: Callable[[Path], None]
) -> None:
    record = record_of(PLAN)
    store.put(record, PLAN)
    harm(plan_of(store, record))
    with pytest.raises(DeviceError, match="getgan build BUNDLE"):
        store.read(record)


@pytest.mark.parametrize("harm", [truncate, flip, swap, lose, link])
def test_the_list_and_the_doctor_see_a_damaged_engine(
    store: EngineStore, harm: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ "passed" after a copy that was cut off would send somebody into the ultrasound room with it."""
    record = record_of(PLAN)
    store.put(record, PLAN)
    assert store.fault(record) == ""
    harm(plan_of(store, record))
    listed = getgan("engines", "--store", store.folder)
    assert listed.returncode == 0 and "  damaged  " in listed.stdout and "passed" not in listed.stdout
    assert f"{plan_of(store, record)}" in listed.stdout and "getgan build BUNDLE" in listed.stdout
    monkeypatch.setattr("getgan.runtime.engines.fingerprint.cuda_version", lambda: PLACE.cuda)
    monkeypatch.setattr("getgan.runtime.engines.fingerprint.platform.machine", lambda: "aarch64")
    check = engines_check(gpu_machine(PLACE.driver), store)
    assert check.status == "warn" and check.found.startswith("1 of 1 cannot run: ")


@pytest.mark.parametrize("harm", [truncate, flip, empty, lose, link, pipe, share])
def test_a_damaged_record_is_as_if_there_were_none(store: EngineStore, harm: Callable[[Path], None]) -> None:
    record = record_of(PLAN)
    store.put(record, PLAN)
    harm(store.folder / record.fingerprint.key / RECORD_NAME)
    assert store.find(GRAPH, PLACE) is None
    assert store.records() == ()
    assert store.put(record, PLAN)  # and the next build repairs it
    assert store.read(record) == PLAN


def test_a_record_says_nothing_of_another_engine(store: EngineStore) -> None:
    """A record of this machine copied over that of an engine of another machine: the key does not fit."""
    mine, foreign = record_of(PLAN), record_of(OTHER, place=NEW_DRIVER)
    store.put(mine, PLAN)
    store.put(foreign, OTHER)
    folder = store.folder / foreign.fingerprint.key
    (folder / RECORD_NAME).write_bytes(json_from_record(mine))
    assert store.find(GRAPH, NEW_DRIVER) is None
    forged = msgspec.structs.replace(mine, fingerprint=foreign.fingerprint)
    (folder / RECORD_NAME).write_bytes(json_from_record(forged))
    with pytest.raises(DeviceError, match="cannot be read"):
        store.read(forged)


@pytest.mark.parametrize("name", ["../../outside", "/etc/passwd", "a" * 65])
def test_a_record_names_no_file_elsewhere(store: EngineStore, name: str) -> None:
    record = record_of(PLAN)
    store.put(record, PLAN)
    altered = json_from_record(msgspec.structs.replace(record, sha256=name))
    (store.folder / record.fingerprint.key / RECORD_NAME).write_bytes(altered)
    assert store.records() == ()


def test_a_store_that_others_can_change_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    with pytest.raises(DeviceError, match=f"can be changed by others.*chmod 700 {folder}"):
        EngineStore(folder)
    folder.chmod(0o700)
    linked = tmp_path / "linked"
    linked.symlink_to(folder)
    with pytest.raises(DeviceError, match="is a link"):
        EngineStore(linked)


def test_an_engine_folder_that_is_a_link_is_refused(store: EngineStore, tmp_path: Path) -> None:
    record = record_of(PLAN)
    store.put(record, PLAN)
    folder = store.folder / record.fingerprint.key
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")
    with pytest.raises(DeviceError, match="is a link"):
        store.read(record)
    with pytest.raises(DeviceError, match="is a link"):
        store.put(record, PLAN)


def test_only_the_owner_may_look(store: EngineStore) -> None:
    record = record_of(PLAN)
    before = os.umask(0)
    try:
        store.put(record, PLAN)
    finally:
        os.umask(before)
    places = [store.folder, *store.folder.rglob("*")]
    assert len(places) == 4
    assert {place.stat().st_mode & module.KEEP_OUT for place in places} == {0}


# --- writing --------------------------------------------------------------------------------------------


def test_by_default_it_lies_in_the_cache_folder() -> None:
    assert EngineStore().folder == cache_folder() / "engines"


def test_a_store_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="name another folder with --store"):
        EngineStore(tmp_path / "file" / "engines").put(record_of(PLAN), PLAN)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_store_without_permission_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        EngineStore(tmp_path / "shut" / "engines").put(record_of(PLAN), PLAN)


def test_without_space_the_engine_from_before_stays(store: EngineStore) -> None:
    good = record_of(PLAN)
    store.put(good, PLAN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    kept = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(OTHER) // 2, hard))
    try:
        with pytest.raises(OutputError, match="free space in"):
            store.put(record_of(OTHER), OTHER)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, kept)
    assert store.read(good) == PLAN
    names = sorted(path.name for path in (store.folder / good.fingerprint.key).iterdir())
    assert names == sorted([RECORD_NAME, f"{good.sha256}.plan"])


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from engine_helpers import record_of
from getgan.runtime.engines.store import EngineStore
store = EngineStore(Path(sys.argv[1]))
print("ready", flush=True)
number = 0
while True:
    plan = number.to_bytes(4, "big") * 50_000
    store.put(record_of(plan), plan)
    number += 1
"""


def test_whenever_a_writer_dies_the_record_and_its_engine_fit(store: EngineStore) -> None:
    """kill -9 is what a power failure is to a program; what it wrote is in place or not there."""
    dice = random.Random(0)
    for _ in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(store.folder), str(Path(__file__).parent)],
            stdout=subprocess.PIPE,
        )
        assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
        time.sleep(0.02 + 0.05 * dice.random())
        writer.kill()
        writer.wait()
        writer.stdout.close()
        found = store.find(GRAPH, PLACE)
        assert found is not None
        assert len(store.read(found)) == 200_000


def test_what_killed_writers_left_goes_with_the_next_engine(store: EngineStore) -> None:
    record = record_of(PLAN)
    store.put(record, PLAN)
    folder = store.folder / record.fingerprint.key
    stray = folder / f"{'0' * 64}.plan"
    half = folder / ".getgan-0123456789abcdef.tmp"
    for path in (stray, half):
        path.write_bytes(b"half")
        os.utime(path, (1, 1))
    store.remove_old((PLACE,))
    assert sorted(path.name for path in folder.iterdir()) == sorted([f"{record.sha256}.plan", RECORD_NAME])
    assert store.read(record) == PLAN


LOCKER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from engine_helpers import record_of
from getgan.runtime.engines.store import EngineStore
with EngineStore(Path(sys.argv[1])).locked(record_of(b"").fingerprint):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_one_builder_for_each_engine(store: EngineStore) -> None:
    print_ = record_of(b"").fingerprint
    command = [sys.executable, "-c", LOCKER, str(store.folder), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"locked\n"
        with pytest.raises(DeviceError, match="another process builds this engine"), store.locked(print_):
            pass
        other.kill()
    with store.locked(print_):  # its lock died with it
        pass


# --- removing -------------------------------------------------------------------------------------------


def test_old_engines_go_once_a_new_one_passed(store: EngineStore) -> None:
    old, failed = record_of(PLAN), record_of(OTHER, "failed", graph="1" * 64)
    store.put(old, PLAN)
    store.put(failed, OTHER)
    assert store.remove_old((NEW_DRIVER,)) == (failed,)
    assert store.read(old) == PLAN  # the last good one, should the update be taken back
    new = record_of(OTHER, place=NEW_DRIVER, created="2026-02-02")
    store.put(new, OTHER)
    assert store.remove_old((NEW_DRIVER,)) == (old,)
    assert store.records() == (new,)
    assert [path.name for path in store.folder.iterdir()] == [new.fingerprint.key]


def test_what_is_being_built_is_not_removed(store: EngineStore) -> None:
    failed = record_of(PLAN, "failed")
    store.put(failed, PLAN)
    command = [sys.executable, "-c", LOCKER, str(store.folder), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"locked\n"
        trial = store.folder / failed.fingerprint.key / ".getgan-0123456789abcdef.tmp"
        trial.write_bytes(PLAN)  # an engine in front of its gate
        os.utime(trial, (1, 1))
        assert store.remove_old((PLACE,)) == ()
        assert trial.exists()
        other.kill()
    assert store.remove_old((PLACE,)) == (failed,)
    assert list(store.folder.iterdir()) == []


def test_the_times_of_another_place_go(store: EngineStore) -> None:
    store.put(record_of(PLAN), PLAN)
    for place in (PLACE, NEW_DRIVER):
        store.timings(place).write_bytes(b"times")
    store.remove_old((NEW_DRIVER,))
    assert not store.timings(PLACE).exists() and store.timings(NEW_DRIVER).exists()


def test_a_full_store_says_how_to_make_room(store: EngineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENGINES", 2)
    for number in "01":
        store.put(record_of(PLAN, graph=number * 64), PLAN)
    with pytest.raises(OutputError, match="getgan engines --remove-old"):
        store.put(record_of(PLAN, graph="2" * 64), PLAN)
    store.put(record_of(OTHER, graph="0" * 64), OTHER)  # one that is there can be replaced
    assert len(list(store.folder.iterdir())) == 2


def test_a_copied_store_serves_an_identical_machine_and_no_other(store: EngineStore, tmp_path: Path) -> None:
    record = record_of(PLAN)
    store.put(record, PLAN)
    shutil.copytree(store.folder, tmp_path / "shipped")
    shipped = EngineStore(tmp_path / "shipped")
    assert shipped.find(GRAPH, PLACE) == record
    assert shipped.read(record) == PLAN
    assert shipped.find(GRAPH, NEW_DRIVER) is None
