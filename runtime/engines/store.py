"""The machine's engine store: a folder for each fingerprint, a record of what was proven, the engine itself.

STORE/KEY/record.json names STORE/KEY/SHA256.plan. A new engine is written under its own name first and the
record replaced after that in one step: whenever the power fails, a record stands beside the engine it names.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from getgan.errors import DeviceError, OutputError
from getgan.files import remove_leftovers, try_lock, write_bytes_atomic
from getgan.runtime.cache import cache_folder, read_private
from getgan.runtime.engines.fingerprint import Fingerprint, Place, Settings, changed
from getgan.runtime.engines.proof import Proof
from getgan.runtime.manifest import Record

RECORD_NAME = "record.json"
MAX_RECORD_BYTES = 1 << 20  # a real one has 3 kB
MAX_PLAN_BYTES = 1 << 32
MAX_TIMINGS_BYTES = 1 << 28
MAX_ENGINES = 256
KEEP_OUT = 0o077  # what nobody else may do with the store: an engine is code that runs as this user

Verdict = Literal["passed", "failed", "not proven"]

_KEY = re.compile(r"[0-9a-f]{32}")
_TIMINGS = re.compile(r"[0-9a-f]{32}\.timings")
_PLAN = re.compile(r"[0-9a-f]{64}\.plan")


class GoldenFigures(Record, frozen=True):
    """How far the engine's picture of a golden image is from the exporter's."""

    image: str
    max_levels: int  # 8-bit levels
    psnr: float | None  # dB; None = equal
    ssim: float


class Gate(Record, frozen=True):
    """What the golden images say of an engine on the machine that is to run it."""

    verdict: Verdict
    why: str
    images: tuple[GoldenFigures, ...] = ()


class EngineRecord(Record, frozen=True, kw_only=True):
    """record.json."""

    format: Literal["getgan-engine"] = "getgan-engine"
    version: Literal[1] = 1
    fingerprint: Fingerprint
    bytes: int
    sha256: str  # of the engine
    built_with: Settings  # after the retries; the fingerprint has what was asked for
    proof: Proof
    gate: Gate
    seconds: float  # of the build
    created: str  # ISO 8601
    getgan: str
    warnings: tuple[str, ...] = ()  # of the library, at the build

    @property
    def passed(self) -> bool:
        """Whether it may ever be loaded."""
        return self.gate.verdict == "passed"

    @property
    def state(self) -> str:
        """How its gate ended, after "the engine": "failed its gate: 3 levels"."""
        words = {"passed": "passed", "failed": "failed its gate", "not proven": "is not proven"}
        return f"{words[self.gate.verdict]}: {self.gate.why}"


class EngineStore:
    """A folder of engines that belongs to this user alone; it is made when the first engine is written."""

    def __init__(self, folder: Path | None = None) -> None:
        """None = in the platform's cache folder. DeviceError if others could put engines there."""
        self.folder = Path(folder) if folder is not None else cache_folder() / "engines"
        self._check(self.folder)

    def records(self) -> tuple[EngineRecord, ...]:
        """Those that can be read, the newest first; a damaged one is as if it were not there."""
        found = [record for key in self._keys() if (record := self._record(key)) is not None]
        return tuple(sorted(found, key=lambda record: record.created, reverse=True))

    def get(self, fingerprint: Fingerprint) -> EngineRecord | None:
        """The record of a fingerprint, whatever its verdict."""
        return self._record(fingerprint.key)

    def find(self, graph: str, place: Place) -> EngineRecord | None:
        """The newest engine of a graph (its SHA-256) that passed in this place; None = there is none."""
        fitting = (r for r in self.records() if r.passed and r.fingerprint.recipe.graph == graph)
        return next((record for record in fitting if record.fingerprint.place == place), None)

    def why_none(self, graph: str, place: Place) -> str:
        """Why `find` finds none, in one plain sentence."""
        of_graph = [r for r in self.records() if r.fingerprint.recipe.graph == graph]
        here = [r for r in of_graph if r.fingerprint.place == place]
        if here:
            return f"its engine {here[0].state}"
        passed = [r for r in of_graph if r.passed and r.fingerprint.place.flavour == place.flavour]
        if passed:
            return f"its engine is for another place: {changed(passed[0].fingerprint.place, place)}"
        if of_graph:
            return f"its engine {of_graph[0].state}"
        return f"{self.folder} holds no engine of it"

    def read(self, record: EngineRecord) -> bytes:
        """The engine's bytes, hashed after they were read: exactly these may be deserialized.

        DeviceError for any but a passed record, and for bytes that are not the proven ones.
        """
        if not record.passed:
            raise DeviceError(f"{self._plan(record)} {record.state}; an engine runs once it passed")
        return self._read(record)

    def fault(self, record: EngineRecord) -> str:
        """What is wrong with the engine's file, whatever its verdict; "" = it is the one that was built."""
        try:
            self._read(record)
        except DeviceError as error:
            return str(error)
        return ""

    def put(self, record: EngineRecord, plan: bytes) -> bool:
        """Keep an engine; False = one of the same fingerprint that passed stays, since this one did not.

        OutputError if it cannot be written; the record from before then stands.
        """
        if hashlib.sha256(plan).hexdigest() != record.sha256 or len(plan) != record.bytes:
            raise ValueError("the record is not of this engine")
        folder = self.make_folder(record.fingerprint.key)
        before = self._record(record.fingerprint.key)
        if before is not None and before.passed and not record.passed:
            return False
        path = self._plan(record)
        try:
            if not path.is_file() or read_private(path, record.bytes) != plan:
                write_bytes_atomic(path, plan)
            os.chmod(path, 0o600)
            write_bytes_atomic(folder / RECORD_NAME, json_from_record(record))
            os.chmod(folder / RECORD_NAME, 0o600)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}; check its permissions") from error
        self._remove_strays(record.fingerprint.key)
        return True

    def remove_old(self, now: tuple[Place, ...]) -> tuple[EngineRecord, ...]:
        """Remove and give the engines that nothing here will run; what interrupted writers left goes as well.

        That is an engine that failed, and one of another place once the same graph has one that passed in one
        of `now`: until then it is the last good one, should an update be taken back. One that is being built
        stays.
        """
        records = self.records()
        good = {_line(record) for record in records if record.passed and record.fingerprint.place in now}
        old = {
            record.fingerprint.key
            for record in records
            if record.gate.verdict == "failed"
            or (record.fingerprint.place not in now and _line(record) in good)
        }
        removed: list[str] = []
        for key in self._keys():
            with contextlib.suppress(DeviceError, OSError), self._locked(self.folder / key):
                if key in old:
                    # The record first: without one there is no engine.
                    (self.folder / key / RECORD_NAME).unlink()
                    shutil.rmtree(self.folder / key)
                    removed.append(key)
                else:
                    self._remove_strays(key)
        timings = {self.timings(place).name for place in now}
        with contextlib.suppress(OSError):
            for entry in os.scandir(self.folder):
                if _TIMINGS.fullmatch(entry.name) and entry.name not in timings:
                    os.unlink(entry.path)
        return tuple(record for record in records if record.fingerprint.key in removed)

    @contextmanager
    def locked(self, fingerprint: Fingerprint) -> Iterator[Path]:
        """The folder, for one builder at a time: DeviceError if another process has it."""
        folder = self.make_folder(fingerprint.key)
        with self._locked(folder):
            yield folder

    @staticmethod
    @contextmanager
    def _locked(folder: Path) -> Iterator[None]:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            if not try_lock(descriptor):
                raise DeviceError(f"another process builds this engine ({folder}); wait for it")
            yield
        finally:
            os.close(descriptor)

    def timings(self, place: Place) -> Path:
        """Where the library's timing cache of a place lies, whether or not there is one."""
        name = hashlib.sha256(msgspec.json.encode(place, order="deterministic")).hexdigest()[:32]
        return self.folder / f"{name}.timings"

    def make_folder(self, key: str) -> Path:
        """The folder of a fingerprint; OutputError if it cannot be made, or the store is full."""
        folder = self.folder / key
        try:
            for place in (self.folder, folder):
                place.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            advice = "check its permissions, or name another folder with --store"
            raise OutputError(f"cannot make {folder}: {error.strerror}; {advice}") from error
        for place in (self.folder, folder):
            self._check(place)
        if len(self._keys()) > MAX_ENGINES:
            with contextlib.suppress(OSError):
                folder.rmdir()  # only if it is empty
            if not folder.exists():
                rule = f"{self.folder} holds {MAX_ENGINES} engines, the most it takes"
                raise OutputError(f"{rule}: getgan engines --remove-old")
        return folder

    def _read(self, record: EngineRecord) -> bytes:
        path = self._plan(record)
        self._check(path.parent)
        return read_engine(path, record.bytes, record.sha256)

    def _plan(self, record: EngineRecord) -> Path:
        return self.folder / record.fingerprint.key / f"{record.sha256}.plan"

    def _keys(self) -> list[str]:
        try:
            return sorted(e.name for e in os.scandir(self.folder) if _KEY.fullmatch(e.name))
        except OSError:
            return []

    def _record(self, key: str) -> EngineRecord | None:
        try:
            data = read_private(self.folder / key / RECORD_NAME, MAX_RECORD_BYTES)
            record = msgspec.json.decode(data, type=EngineRecord)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        # A record that was copied under another engine's name speaks of nothing here.
        good = record.fingerprint.key == key and re.fullmatch(r"[0-9a-f]{64}", record.sha256)
        return record if good and 0 <= record.bytes <= MAX_PLAN_BYTES else None

    def _remove_strays(self, key: str) -> None:
        """Engines that no record names, and temporary files of writers that died."""
        folder = self.folder / key
        record = self._record(key)
        keep = f"{record.sha256}.plan" if record is not None else ""
        remove_leftovers(folder)
        with contextlib.suppress(OSError):
            for entry in os.scandir(folder):
                if _PLAN.fullmatch(entry.name) and entry.name != keep:
                    os.unlink(entry.path)

    @staticmethod
    def _check(folder: Path) -> None:
        """DeviceError for a link, and for a folder that others may write into: they could run code as us."""
        try:
            status = folder.lstat()
        except OSError:
            return  # there is none yet, or none that could be read
        if stat.S_ISLNK(status.st_mode) or not stat.S_ISDIR(status.st_mode):
            raise DeviceError(f"{folder} is a link or no folder; wanted a folder of its own for the engines")
        if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022):
            rule = "wanted one that is yours and that nobody else may write to: an engine is code"
            raise DeviceError(f"{folder} can be changed by others; {rule}: chmod 700 {folder}")


def read_engine(path: Path, size: int, sha256: str) -> bytes:
    """The bytes of an engine's file; DeviceError if they are not the ones with this hash."""
    again = "build it again: getgan build BUNDLE"
    try:
        data = read_private(path, size)
    except OSError as error:
        raise DeviceError(f"{path}: cannot be read ({error.strerror or error}); {again}") from error
    found = hashlib.sha256(data).hexdigest()
    if len(data) != size or found != sha256:
        what = f"found {len(data):,} bytes with SHA-256 {found[:12]}"
        wanted = f"{size:,} with {sha256[:12]}"
        raise DeviceError(f"{path} is damaged or was altered: {what}, wanted {wanted}; {again}")
    return data


def _line(record: EngineRecord) -> tuple[str, str]:
    """What engines have in common that follow each other."""
    return (record.fingerprint.recipe.graph, record.fingerprint.place.flavour)


def json_from_record(record: EngineRecord) -> bytes:
    """Readable JSON with a stable order of keys."""
    return msgspec.json.format(msgspec.json.encode(record, order="deterministic"), indent=2) + b"\n"
