"""The benchmark's report as frozen records, which are its JSON: format "getgan-benchmark", version 1.

Seconds, bytes, hertz, watts and degrees Celsius unless a name says otherwise. null = not measured, and a
flag, a sensor or `unavailable` says why. A number that grows with every change of meaning is `version`; a
field that is only added keeps it. No record holds the machine's or the user's name, or a folder.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from getgan.errors import DataError

FORMAT: Literal["getgan-benchmark"] = "getgan-benchmark"
VERSION = 1
MAX_TIMES = 20_000_000  # of a whole report: 200 a second for a day; 160 MB

StageName = Literal["decode", "pre", "copy_in", "network", "copy_out", "post", "encode"]
STAGES: tuple[StageName, ...] = ("decode", "pre", "copy_in", "network", "copy_out", "post", "encode")
ScenarioName = Literal["SingleStream", "MultiStream", "Server", "Offline"]
FlagKind = Literal[
    "busy",  # other programs took the CPU
    "clocks",  # a clock moved
    "throttled",  # heat or a limit of power held a clock down
    "samples",  # too few queries for a percentile
    "spread",  # the repeats differ
    "overload",  # an open loop that was stopped: its latencies are lower bounds
    "memory",  # it grew all through a soak
    "quality",  # a peer or a session gives other pictures
    "scenario",  # LoadGen calls it invalid
    "overhead",  # the harness takes more than it may
]


class Record(msgspec.Struct, frozen=True):
    """A frozen record; a later minor version may add fields."""


class Series(Record, frozen=True):
    """Times in the order in which they were taken: zlib of little-endian uint64 microseconds, as base64."""

    count: int
    data: bytes

    @classmethod
    def of(cls, seconds: Sequence[float] | NDArray[np.float64]) -> Series:
        """Rounded to whole microseconds; negative ones count as 0."""
        micros = np.rint(np.asarray(seconds, np.float64) * 1e6).clip(0)
        return cls(len(micros), zlib.compress(micros.astype("<u8").tobytes(), 9))

    def seconds(self) -> NDArray[np.float64]:
        """float64 (count,); DataError if the bytes are not what `count` says."""
        if not 0 <= self.count <= MAX_TIMES:
            raise DataError(f"found {self.count} times in the report; wanted at most {MAX_TIMES:,}")
        reader = zlib.decompressobj()
        try:
            raw = reader.decompress(self.data, 8 * self.count + 1)
        except zlib.error as error:
            raise DataError(f"found damaged times in the report ({error}); measure again") from error
        if len(raw) != 8 * self.count:
            raise DataError(f"found {len(raw)} bytes of times; wanted {8 * self.count}: measure again")
        return np.frombuffer(raw, "<u8").astype(np.float64) / 1e6


class Percentiles(Record, frozen=True):
    """Seconds over every query, no outlier removed; numpy's linear interpolation."""

    count: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    p999: float | None  # None = too few queries for it, and a flag says so
    max: float


class Spread(Record, frozen=True):
    """One figure, repeat by repeat."""

    median: float
    low: float
    high: float


class Stage(Record, frozen=True):
    """One stage of every query; `times` None = `absent` says why there is none."""

    name: StageName
    times: Series | None
    absent: str = ""


class Sensor(Record, frozen=True):
    """One thing that was watched during the runs; `absent` says why it could not be."""

    name: str  # "load", "cpu clock", "cpu temperature", "cpu throttling", "package energy", "gpu power", ...
    unit: str
    source: str  # the file or the call it was read from
    absent: str = ""


class Reading(Record, frozen=True):
    """What a sensor showed during one run: its values at `Run.sampled`, null where a reading failed."""

    sensor: str
    values: tuple[float | None, ...]


class Growth(Record, frozen=True):
    """How memory changed with time during a run: a line through the readings (least squares)."""

    what: Literal["host", "device"]
    first_mb: float  # 10^6 bytes
    last_mb: float
    peak_mb: float
    mb_per_hour: float | None  # None = too few readings


class Setting(Record, frozen=True):
    """How queries were sent."""

    kind: Literal["closed", "open", "camera", "soak"]
    batch: Annotated[int, msgspec.Meta(ge=1)]  # pictures in a query
    concurrency: Annotated[int, msgspec.Meta(ge=1)]  # queries at a time
    rate: float | None = None  # queries per second that were offered; None = closed loop
    arrivals: Literal["", "poisson", "constant"] = ""


class Run(Record, frozen=True):
    """One setting, once. Latency runs from the intended start of a query to its end."""

    contestant: str
    setting: Setting
    repeat: int  # 0-based; repeats of one setting took turns with the other contestants'
    began: float  # seconds since the report's start
    seconds: float  # wall, from the first intended start to the end of the last query
    warm_up: int  # queries before, which are not in here
    starts: Series  # intended, since the run's begin
    waits: Series  # from the intended start to the real one: the queue; closed loop: 0
    latencies: Series
    stages: tuple[Stage, ...]
    percentiles: Percentiles
    throughput: float  # pictures per second
    dropped: int | None = None  # camera: frames that a newer one replaced
    unserved: int = 0  # open loop: queries whose turn never came; they count with what they had waited
    faults: int = 0  # answers that the guard refused
    sampled: tuple[float, ...] = ()  # seconds since the run's begin
    readings: tuple[Reading, ...] = ()
    growth: tuple[Growth, ...] = ()
    joules_per_image: float | None = None
    joules_source: str = ""  # or why there is no figure


class Quality(Record, frozen=True):
    """The worst of the golden images through the very session that was timed, against PyTorch's FP32."""

    images: int
    worst: str  # the image with the lowest PSNR
    psnr: float | None  # dB; None = no pixel differs
    ssim: float
    max_levels: int  # of 255
    perceptual: float | None  # shift-tolerant LPIPS
    perceptual_absent: str = ""


class Contestant(Record, frozen=True):
    """One way to run the network; nothing of it but `unavailable` counts if that is not empty."""

    name: str
    role: Literal["getgan", "peer"]
    about: str  # what it is, in words
    version: str = ""
    precision: str = ""
    device: str = ""
    provider: str = ""
    threads: int = 0
    graph_sha256: str = ""  # of the artefact that was timed
    open_seconds: float | None = None  # until it could answer, compiling included
    first_seconds: float | None = None  # its first query
    peak_mb: float | None = None  # host memory of its process, 10^6 bytes
    quality: Quality | None = None
    another: bool = False  # it runs another network, and its pictures are compared with that one's own
    unavailable: str = ""


class Ratio(Record, frozen=True):
    """A peer's p50 over getgan's, repeat by repeat: 2 = getgan is twice as fast."""

    contestant: str
    peer: str
    what: Literal["file to file", "network"]  # network: copies included, for a peer that times nothing else
    ratios: Annotated[tuple[float, ...], msgspec.Meta(min_length=1)]
    median: float


class Pooled(Record, frozen=True):
    """All repeats of one setting together."""

    contestant: str
    setting: Setting
    percentiles: Percentiles
    p50: Spread
    p99: Spread
    throughput: Spread
    stages: dict[StageName, float]  # medians
    unserved: int = 0
    dropped_share: float | None = None  # camera, 0..1
    joules_per_image: Spread | None = None


class Trial(Record, frozen=True):
    """One rate that was tried."""

    rate: float
    kept_up: bool
    wait: float  # median queueing time of the last quarter
    p99: float


class RateSearch(Record, frozen=True):
    """The highest constant rate at which no queue grows, by bisection."""

    contestant: str
    concurrency: int
    rate: float | None  # queries per second; None = not even the lowest tried
    tolerance: float  # relative
    trials: tuple[Trial, ...]


class Scenario(Record, frozen=True):
    """Measured with MLPerf LoadGen; this is no MLPerf result."""

    contestant: str
    scenario: ScenarioName
    valid: bool
    reasons: tuple[str, ...]  # why LoadGen calls it invalid
    settings: dict[str, float]
    figures: dict[str, float]  # LoadGen's own, by its own names
    sampled: int  # answers of the performance run that were compared with the golden images
    psnr: float | None  # worst of them; None = equal, or none sampled
    ssim: float | None
    logs: str  # folder, beside the report
    loadgen: str = ""  # version


class Overhead(Record, frozen=True):
    """The harness alone: the same loops around a session that does nothing."""

    closed_us: float  # per query, all of the loop
    open_wait_us: float | None  # median lateness of a query that nobody kept waiting
    queries: int
    limit_us: float


class Flag(Record, frozen=True):
    """Why a figure may not hold."""

    kind: FlagKind
    text: str
    contestant: str = ""


class Artefact(Record, frozen=True):
    """What was measured."""

    name: str
    arch: str
    sha256: str
    parameters: int


class Fingerprint(Record, frozen=True):
    """The fingerprint; two reports compare only where it is the same."""

    label: str  # what the user calls it; "" = nothing is taken from the machine itself
    system: str
    python: str
    cpu: str
    cores: int
    flags: tuple[str, ...] | None
    memory_mb: int | None
    gpus: tuple[str, ...]
    gpus_note: str
    power_mode: str  # "" = the machine tells of none


class Settings(Record, frozen=True):
    """What was asked."""

    device: str
    precision: tuple[str, ...]
    backend: tuple[str, ...]
    threads: int
    batch: tuple[int, ...]
    size: int
    concurrency: tuple[int, ...]
    rate: tuple[float, ...]
    camera: tuple[float, ...]
    arrivals: Literal["poisson", "constant"]
    duration: float
    repeats: int
    warm_up: int
    soak: float
    peers: tuple[str, ...]
    scenarios: tuple[str, ...]
    pictures: int
    file_bytes: int  # mean size of a picture's file
    seed: int
    beside: str = ""  # sha256 of another network's bundle, which took turns


class Report(Record, frozen=True, kw_only=True):
    """report.json."""

    format: Literal["getgan-benchmark"] = FORMAT
    version: Literal[1] = 1
    getgan: str
    created: str  # ISO 8601, UTC
    seconds: float  # of the whole measurement
    command: str  # the options in words, without paths
    bundle: Artefact
    machine: Fingerprint
    libraries: dict[str, str]
    settings: Settings
    load: float | None  # programs that wanted the CPU in the minute before the start
    overhead: Overhead
    sensors: tuple[Sensor, ...]
    contestants: tuple[Contestant, ...]
    runs: tuple[Run, ...]
    pooled: tuple[Pooled, ...]
    ratios: tuple[Ratio, ...]
    searches: tuple[RateSearch, ...] = ()
    scenarios: tuple[Scenario, ...] = ()
    flags: tuple[Flag, ...] = ()
