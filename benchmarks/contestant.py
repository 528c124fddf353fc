"""A contestant in a process of its own, which waits: one line of JSON is one job, one line the answer.

The first line is an `Opening`. The end of stdin ends it, so it never outlives the process that asked.
"""

from __future__ import annotations

import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import msgspec
import numpy as np

from getgan.benchmarks.jobs import (
    Failed,
    Job,
    Judged,
    Loaded,
    LoadJob,
    Opening,
    OverheadDone,
    OverheadJob,
    QualityJob,
    Ready,
    ScenarioDone,
    ScenarioJob,
    Searched,
    SearchJob,
)
from getgan.benchmarks.load import (
    Load,
    camera_loop,
    closed_loop,
    constant_arrivals,
    open_loop,
    poisson_arrivals,
)
from getgan.benchmarks.peers import Asked, open_peer
from getgan.benchmarks.percentiles import percentiles
from getgan.benchmarks.schema import STAGES, Series, Setting, Trial
from getgan.benchmarks.search import PATIENCE, QUERIES, TOLERANCE, judged, search_rate
from getgan.benchmarks.ways import NOT_APART, NullWay, OwnWay, PeerWay, Picture, Times, Way
from getgan.errors import GetganError, UsageError
from getgan.printing import one_line
from getgan.runtime.bundle import Bundle
from getgan.runtime.geometry import resize
from getgan.runtime.images import bytes_from_image, image_from_bytes

# A run warms up for so many seconds at most, and for this share of what it measures: clocks rise by and by.
WARM_S = 0.5
WARM_SHARE = 0.1
Answer = tuple[float, Times, float, str]  # decode, the network's own, encode, what the guard refused


class Contestant:
    """A way and the pictures that it is asked for, as files in memory: what an application has."""

    def __init__(self, way: Way, files: list[bytes], bundle: Bundle | None) -> None:
        self.way = way
        self.files = files
        self._bundle = bundle

    def query(self, batch: int) -> Callable[[int], Answer]:
        """File to file, `batch` at once."""
        if not self.files:
            return self._nothing
        way, files = self.way, self.files

        def answer(number: int) -> Answer:
            start = time.perf_counter()
            frames = [image_from_bytes(files[(number * batch + n) % len(files)]) for n in range(batch)]
            decoded = time.perf_counter()
            faces, times, fault = way.translate(frames)
            done = time.perf_counter()
            for face in faces:
                bytes_from_image(face)
            return decoded - start, times, time.perf_counter() - done, fault

        return answer

    def _nothing(self, number: int) -> Answer:
        _, times, fault = self.way.translate(())
        return NOT_APART, times, NOT_APART, fault

    def load(self, job: LoadJob) -> Loaded:
        """One run, after its warm-up."""
        setting = job.setting
        query = self.query(setting.batch)
        warm, until = 0, time.perf_counter() + min(WARM_S, WARM_SHARE * job.seconds)
        while job.warm_up and (warm < job.warm_up or time.perf_counter() < until):
            query(warm)
            warm += 1
        begin = time.perf_counter()
        load = _sent(query, setting, job.seconds, job.seed)
        answers = [taken.answer for taken in load.queries]
        columns = {name: [_stages(answer)[place] for answer in answers] for place, name in enumerate(STAGES)}
        faults = [answer[3] for answer in answers if answer[3]]
        return Loaded(
            begin=begin,
            seconds=load.seconds,
            warm_up=warm,
            starts=Series.of([taken.intended for taken in load.queries] + list(load.unserved)),
            waits=Series.of(
                [taken.started - taken.intended for taken in load.queries]
                + [load.seconds - intended for intended in load.unserved]
            ),
            latencies=Series.of(load.latencies),
            stages={
                name: Series.of(column)
                for name, column in columns.items()
                if column and not math.isnan(column[0])
            },
            dropped=load.dropped,
            unserved=len(load.unserved),
            faults=len(faults),
            fault=faults[0] if faults else "",
        )

    def search(self, job: SearchJob) -> Searched:
        """See RateSearch."""
        query = self.query(1)

        def trial(rate: float) -> Trial:
            load = open_loop(query, constant_arrivals(rate, QUERIES), job.concurrency, PATIENCE / rate)
            p99 = percentiles(load.latencies).p99 if load.queries else math.inf
            return judged(rate, load, p99)

        rate, trials = search_rate(trial, job.guess)
        return Searched(rate, TOLERANCE, trials)

    def judge(self, job: QualityJob) -> Judged:
        """Each golden image's face, of the network alone."""
        assert self._bundle is not None
        goldens = self._bundle.manifest.golden
        faces = {
            golden.name: self.way.face(image_from_bytes(self._bundle.read(golden.input)))
            for golden in goldens
        }
        with open(job.faces, "wb") as file:
            np.savez(file, allow_pickle=False, **faces)
        return Judged(len(faces))

    def scenario(self, job: ScenarioJob) -> ScenarioDone:
        """MLPerf LoadGen drives; the pictures are the golden ones, so that its answers can be judged."""
        from getgan.benchmarks.loadgen import run_scenario

        assert self._bundle is not None
        inputs = [
            image_from_bytes(self._bundle.read(golden.input)) for golden in self._bundle.manifest.golden
        ]
        return run_scenario(job, inputs, self.way.face)

    def overhead(self, job: OverheadJob) -> OverheadDone:
        """With a way that does nothing, 1 kHz in the open loop."""
        query = self.query(1)
        closed = []
        for _ in range(5):
            done = closed_loop(query, 1, 0.0, least=job.queries // 5)
            closed.append(done.seconds / len(done.queries))
        sent = open_loop(query, constant_arrivals(1000.0, min(job.queries, 1000)), 1, 1.0)
        waits = [taken.ended - taken.intended for taken in sent.queries]
        return OverheadDone(statistics.median(closed), statistics.median(waits))


def open_contestant(opening: Opening) -> tuple[Contestant, Ready]:
    """Open, and ask it once."""
    start = time.perf_counter()
    if opening.kind == "null":
        return Contestant(NullWay(), [], None), Ready(about="nothing")
    bundle = Bundle.open(Path(opening.bundle))
    way = _way(opening, bundle)
    opened = time.perf_counter()
    contestant = Contestant(way, _files(bundle, opening.size), bundle)
    contestant.query(opening.batch)(0)
    facts = way.facts
    ready = Ready(
        about=facts.about,
        version=facts.version,
        precision=facts.precision,
        device=facts.device,
        provider=facts.provider,
        threads=facts.threads,
        graph_sha256=facts.graph_sha256,
        open_seconds=opened - start,
        first_seconds=time.perf_counter() - opened,
        pictures=len(contestant.files),
        file_bytes=round(statistics.fmean(map(len, contestant.files))),
        absent=facts.absent,
    )
    return contestant, ready


def _way(opening: Opening, bundle: Bundle) -> Way:
    if opening.kind == "getgan":
        return OwnWay(
            bundle,
            device=opening.device,
            precision=opening.precision,
            backend=opening.backend,
            threads=opening.threads,
            size=opening.size,
        )
    asked = Asked(
        graph=Path(opening.graph),
        input=bundle.manifest.input,
        size=opening.size,
        batch=opening.batch,
        device=opening.device,
        threads=opening.threads,
        folder=Path(opening.folder),
        checkpoint=Path(opening.checkpoint) if opening.checkpoint else None,
    )
    peer, opened = open_peer(opening.peer, asked)
    return PeerWay(opened, peer.about, bundle.manifest.contract)


def _files(bundle: Bundle, size: int) -> list[bytes]:
    """The golden inputs as PNG files of the network's size."""
    pictures: list[Picture] = [
        resize(image_from_bytes(bundle.read(golden.input)), size, size) for golden in bundle.manifest.golden
    ]
    return [bytes_from_image(picture) for picture in pictures]


def _sent(query: Callable[[int], Answer], setting: Setting, seconds: float, seed: int) -> Load[Answer]:
    if setting.kind in ("closed", "soak"):
        return closed_loop(query, setting.concurrency, seconds)
    assert setting.rate is not None
    if setting.kind == "camera":
        return camera_loop(query, setting.rate, seconds)
    count = max(1, round(setting.rate * seconds))
    arrivals = (
        poisson_arrivals(setting.rate, count, seed)
        if setting.arrivals == "poisson"
        else constant_arrivals(setting.rate, count)
    )
    return open_loop(query, arrivals, setting.concurrency, patience=seconds)


def _stages(answer: Answer) -> tuple[float, ...]:
    """In the order of STAGES."""
    decode, times, encode, _ = answer
    return decode, *times, encode


def main() -> None:
    """Answer until stdin ends."""
    answers = _answers()
    lines = iter(sys.stdin)
    opening = msgspec.json.decode(next(lines), type=Opening)
    try:
        contestant, ready = open_contestant(opening)
    except GetganError as error:
        _say(answers, Ready(unavailable=one_line(error), usage=isinstance(error, UsageError)))
        return
    except Exception as error:  # a peer's library may raise anything; ours raises GetganError
        if opening.kind != "peer":
            raise
        first = (str(error).strip().splitlines() or [""])[0]
        _say(answers, Ready(unavailable=one_line(f"{type(error).__name__}: {first}")[:300]))
        return
    _say(answers, ready)
    for line in lines:
        try:
            _say(answers, _done(contestant, msgspec.json.decode(line, type=Job)))
        except GetganError as error:
            _say(answers, Failed(one_line(error)))
    contestant.way.close()


def _done(contestant: Contestant, job: Job) -> msgspec.Struct:
    match job:
        case LoadJob():
            return contestant.load(job)
        case SearchJob():
            return contestant.search(job)
        case QualityJob():
            return contestant.judge(job)
        case ScenarioJob():
            return contestant.scenario(job)
        case OverheadJob():
            return contestant.overhead(job)


def _answers() -> TextIO:
    """The real stdout for us alone; what a library prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _say(answers: TextIO, answer: msgspec.Struct) -> None:
    print(msgspec.json.encode(answer).decode(), file=answers, flush=True)


if __name__ == "__main__":
    main()
