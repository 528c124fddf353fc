"""Records of engines for tests of the store, and a mark for those that build real ones."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

import pytest
from bundle_helpers import make_bundle, network

from getgan.runtime.engines.fingerprint import Fingerprint, Place, Profile, Recipe, Settings
from getgan.runtime.engines.proof import Proof
from getgan.runtime.engines.store import EngineRecord, Gate, Verdict

needs_rtx = pytest.mark.skipif(
    find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx-cu13 is not installed (97 MB): make setup"
)

PLACE = Place("tensorrt", "10.3.0", "Linux aarch64", "Orin", "8.7", "540.4.0", "12.6")
GRAPH = hashlib.sha256(b"a graph").hexdigest()


def record_of(
    plan: bytes,
    verdict: Verdict = "passed",
    place: Place = PLACE,
    graph: str = GRAPH,
    created: str = "2026-01-01",
) -> EngineRecord:
    """As a build writes it, of bytes that stand for an engine."""
    return EngineRecord(
        fingerprint=Fingerprint(place, Recipe(graph, "fp16", (Profile(1, 32, 32),))),
        bytes=len(plan),
        sha256=hashlib.sha256(plan).hexdigest(),
        built_with=Settings(),
        proof=Proof("inspector", {"Half": 3}, {"Half": 2}, "Half", 1.0),
        gate=Gate(verdict, "a test says so"),
        seconds=1.0,
        created=created,
        getgan="0",
    )


def two_precisions(folder: Path) -> Path:
    """A bundle with an fp32 and an fp16 graph of the same tiny network, at 32x32."""
    return make_bundle(folder, graphs={"fp16": network(half=True)}, precisions=("fp32", "fp16"))
