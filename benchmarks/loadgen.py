"""Scenarios measured with MLPerf LoadGen, and what its own logs say of them; none is an MLPerf result.

What is timed: a picture in memory through the session to a face in memory, one at a time; no file, no label.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from getgan.benchmarks.jobs import ScenarioDone, ScenarioJob
from getgan.benchmarks.schema import Scenario, ScenarioName
from getgan.errors import ConfigError, DeviceError
from getgan.runtime.devices import library_version
from getgan.runtime.quality import Difference, difference

PACKAGE = "mlcommons-loadgen"
SCENARIOS: tuple[ScenarioName, ...] = ("SingleStream", "MultiStream", "Server", "Offline")
DETAIL, ANSWERS = "mlperf_log_detail.txt", "mlperf_log_accuracy.json"
PREFIX = ":::MLLOG "  # of each line of DETAIL
SAMPLED = 16  # answers that LoadGen keeps of a performance run, chosen by itself
SERVER_LOAD = 0.8  # of the closed loop's rate: at 1 a Poisson queue has no end
SERVER_LATENCY = 4.0  # times the closed loop's p99
# LoadGen prepares as many queries as it is told to expect and ends with them: too few, and the run is too
# short to be valid. What it prepares and does not need costs nothing, but in Offline it sends them all.
EXPECTED = 4.0  # times the closed loop's rate
OFFLINE_EXPECTED = 1.3


def check_loadgen() -> None:
    """ConfigError if it is not installed."""
    if find_spec("mlperf_loadgen") is None:
        raise ConfigError(f"{PACKAGE} is not installed: pip install 'getgan[bench]', or leave --scenario out")


def run_scenario(
    job: ScenarioJob,
    pictures: Sequence[NDArray[np.uint8]],
    face: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
) -> ScenarioDone:
    """In this process; the logs lie in the job's folder. DeviceError if a query failed."""
    import mlperf_loadgen

    settings, told = _settings(mlperf_loadgen, job)
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    failures: list[Exception] = []

    def serve() -> None:
        # One server: LoadGen's own thread only hands queries over, so that it keeps its times.
        while (sample := waiting.get()) is not None:
            try:
                answer = np.ascontiguousarray(face(pictures[sample.index]))
            except Exception as error:  # noqa: BLE001  # told below: LoadGen waits for each answer
                failures.append(error)
                answer = np.zeros(1, np.uint8)
            response = mlperf_loadgen.QuerySampleResponse(sample.id, answer.ctypes.data, answer.nbytes)
            mlperf_loadgen.QuerySamplesComplete([response])

    def issue(samples: Sequence[Any]) -> None:
        for sample in samples:
            waiting.put(sample)

    server = threading.Thread(target=serve)
    server.start()
    system = mlperf_loadgen.ConstructSUT(issue, lambda: None)
    library = mlperf_loadgen.ConstructQSL(len(pictures), len(pictures), lambda _: None, lambda _: None)
    try:
        mlperf_loadgen.StartTestWithLogSettings(system, library, settings, _logs(mlperf_loadgen, job.folder))
    finally:
        mlperf_loadgen.DestroyQSL(library)
        mlperf_loadgen.DestroySUT(system)
        waiting.put(None)
        server.join()
    if failures:
        raise DeviceError(f"MLPerf LoadGen, {job.scenario}: {len(failures)} queries failed: {failures[0]}")
    return ScenarioDone(told, library_version(PACKAGE))


def _settings(loadgen: Any, job: ScenarioJob) -> tuple[Any, dict[str, float]]:
    """LoadGen's record, and what differs from its defaults."""
    told: dict[str, float] = {
        "min_duration_ms": round(1000 * job.seconds),
        "min_query_count": 1,  # its early stopping judges whether they were enough
        "accuracy_log_sampling_target": SAMPLED,
        "qsl_rng_seed": job.seed,
        "sample_index_rng_seed": job.seed,
        "schedule_rng_seed": job.seed,
        "accuracy_log_rng_seed": job.seed,
    }
    own: dict[str, dict[str, float]] = {
        "SingleStream": {"single_stream_expected_latency_ns": round(1e9 / (EXPECTED * job.qps))},
        "MultiStream": {"multi_stream_expected_latency_ns": round(8e9 / (EXPECTED * job.qps))},
        "Server": {
            "server_target_qps": SERVER_LOAD * job.qps,
            "server_target_latency_ns": round(SERVER_LATENCY * job.p99 * 1e9),
        },
        "Offline": {"offline_expected_qps": OFFLINE_EXPECTED * job.qps},
    }
    told |= own[job.scenario]
    settings = loadgen.TestSettings()
    settings.scenario = getattr(loadgen.TestScenario, job.scenario)
    settings.mode = loadgen.TestMode.PerformanceOnly
    for name, value in told.items():
        setattr(settings, name, value)
    return settings, told


def _logs(loadgen: Any, folder: str) -> Any:
    output = loadgen.LogOutputSettings()
    output.outdir = folder
    output.copy_summary_to_stdout = False
    settings = loadgen.LogSettings()
    settings.log_output = output
    settings.enable_trace = False
    return settings


class _Line(msgspec.Struct):
    key: str
    value: object = None


class _Answer(msgspec.Struct):
    qsl_idx: int
    data: str


def scenario_from_logs(
    folder: Path,
    done: ScenarioDone,
    scenario: ScenarioName,
    contestant: str,
    goldens: Sequence[NDArray[np.uint8]],
    logs: str,
) -> Scenario:
    """What LoadGen wrote; goldens: the right faces, in the order of its samples; logs: the folder's name."""
    lines = (folder / DETAIL).read_text(encoding="utf-8").splitlines()
    found = {
        line.key: line.value
        for line in (msgspec.json.decode(each.removeprefix(PREFIX), type=_Line) for each in lines)
    }
    answers = msgspec.json.decode((folder / ANSWERS).read_bytes(), type=list[_Answer])
    differences = [_difference(answer, goldens) for answer in answers]
    unequal = [each.psnr for each in differences if math.isfinite(each.psnr)]
    return Scenario(
        contestant=contestant,
        scenario=scenario,
        valid=found.get("result_validity") == "VALID",
        reasons=tuple(_reasons(found)),
        settings=done.settings,
        figures={
            key.removeprefix("result_"): float(value)
            for key, value in found.items()
            if key.startswith("result_") and isinstance(value, (int, float)) and not isinstance(value, bool)
        },
        sampled=len(differences),
        psnr=min(unequal, default=None),
        ssim=min((each.ssim for each in differences), default=None),
        logs=logs,
        loadgen=done.version,
    )


def _reasons(found: Mapping[str, object]) -> Iterator[str]:
    """What LoadGen missed, by its own words."""
    for key, value in found.items():
        if key.endswith("_met") and value is False:
            yield key.removeprefix("result_").removesuffix("_met").replace("_", " ")
    if found.get("early_stopping_met") is False:
        yield " ".join(str(found.get("early_stopping_result", "")).replace("*", " ").split())


def _difference(answer: _Answer, goldens: Sequence[NDArray[np.uint8]]) -> Difference:
    golden = goldens[answer.qsl_idx]
    face = np.frombuffer(bytes.fromhex(answer.data), np.uint8).reshape(golden.shape)
    return difference(face, golden)
