"""What a contestant's process is asked and what it answers: one line of JSON each."""

from __future__ import annotations

from typing import Literal

import msgspec

from getgan.benchmarks.schema import Record, ScenarioName, Series, Setting, StageName, Trial

Kind = Literal["getgan", "peer", "null"]


class Opening(Record, frozen=True):
    """The first line: what to open."""

    kind: Kind
    bundle: str
    size: int  # pixels each way in the network
    threads: int
    device: str = "cpu"
    precision: str = "auto"
    backend: str = "auto"
    peer: str = ""  # a name of PEERS
    graph: str = ""  # file of the FP32 graph, for peers
    checkpoint: str = ""  # "" = none was given
    folder: str = ""  # for files of the moment
    batch: int = 1  # of the first query


class Ready(Record, frozen=True):
    """It answers now, or `unavailable` says why it never will."""

    about: str = ""
    version: str = ""
    precision: str = ""
    device: str = ""
    provider: str = ""
    threads: int = 0
    graph_sha256: str = ""
    open_seconds: float = 0.0
    first_seconds: float = 0.0
    pictures: int = 0
    file_bytes: int = 0
    absent: dict[StageName, str] = msgspec.field(default_factory=dict)
    unavailable: str = ""
    usage: bool = False  # it never can be: what was asked for is no name of ours


class LoadJob(Record, frozen=True, tag="load"):
    """One run."""

    setting: Setting
    seconds: float
    seed: int
    warm_up: int  # queries before, at least; 0 = none


class Loaded(Record, frozen=True, tag=True):
    """What came of it; times as in Run."""

    begin: float  # time.perf_counter, one clock for all processes of a Linux
    seconds: float
    warm_up: int  # queries before
    starts: Series
    waits: Series
    latencies: Series
    stages: dict[StageName, Series]
    dropped: int
    unserved: int
    faults: int
    fault: str  # the first one, in words


class SearchJob(Record, frozen=True, tag="search"):
    """The highest sustainable rate."""

    concurrency: int
    guess: float  # queries per second


class Searched(Record, frozen=True, tag=True):
    """See RateSearch."""

    rate: float | None
    tolerance: float
    trials: tuple[Trial, ...]


class QualityJob(Record, frozen=True, tag="quality"):
    """Translate the golden images with what was timed."""

    faces: str  # .npz that takes the pictures, by the golden images' names


class Judged(Record, frozen=True, tag=True):
    """The pictures are in the file."""

    images: int


class ScenarioJob(Record, frozen=True, tag="scenario"):
    """MLPerf LoadGen's turn."""

    scenario: ScenarioName
    folder: str  # for its logs
    seconds: float
    qps: float  # what the closed loop gave
    p99: float  # seconds, the same
    seed: int


class ScenarioDone(Record, frozen=True, tag=True):
    """Its logs are in the folder."""

    settings: dict[str, float]
    version: str


class OverheadJob(Record, frozen=True, tag="overhead"):
    """The loops around a session that does nothing."""

    queries: int


class OverheadDone(Record, frozen=True, tag=True):
    """Seconds."""

    closed: float  # per query, all of the loop
    open_wait: float  # median


class Failed(Record, frozen=True, tag=True):
    """The job could not be done; the process goes on."""

    error: str


Job = LoadJob | SearchJob | QualityJob | ScenarioJob | OverheadJob
