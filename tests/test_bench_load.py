"""How queries are sent and what their times say, on a clock that only moves when it is told to."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from bench_helpers import FakeClock

from getgan.benchmarks.load import (
    WALL_CLOCK,
    Load,
    camera_loop,
    closed_loop,
    constant_arrivals,
    open_loop,
    poisson_arrivals,
)
from getgan.benchmarks.percentiles import WANTED, growth_per_hour, percentiles, spread, too_few
from getgan.benchmarks.schema import Trial
from getgan.benchmarks.search import PATIENCE, QUERIES, TOLERANCE, judged, search_rate


def service(clock: FakeClock, *seconds: float) -> Callable[[int], int]:
    """A session that takes these times in turn; it answers with the query's number."""

    def query(number: int) -> int:
        clock.spend(seconds[number % len(seconds)])
        return number

    return query


def test_an_open_loop_shows_the_queue_that_a_closed_loop_hides() -> None:
    # A session that takes 8 ms, and 500 ms once in 100, asked 100 times a second.
    times = [0.008] * 99 + [0.5]
    clock = FakeClock()
    closed = closed_loop(service(clock, *times), 1, 2.5, clock)
    clock = FakeClock()
    opened = open_loop(service(clock, *times), constant_arrivals(100.0, 200), 1, 10.0, clock)
    assert percentiles(closed.latencies).p90 == pytest.approx(0.008)
    assert percentiles(opened.latencies).p90 > 0.3
    # The query behind the slow one was meant to start 490 ms before it did.
    late = opened.queries[100]
    assert late.started - late.intended == pytest.approx(0.49)
    assert late.ended - late.intended == pytest.approx(0.498)


def test_the_same_requests_late_are_counted_from_their_arrival_and_not_from_their_turn() -> None:
    clock = FakeClock()
    load = open_loop(service(clock, 0.1), constant_arrivals(20.0, 10), 1, 10.0, clock)
    waits = [query.started - query.intended for query in load.queries]
    assert waits == pytest.approx([0.05 * n for n in range(10)])
    assert load.latencies == pytest.approx([0.1 + 0.05 * n for n in range(10)])
    assert load.seconds == pytest.approx(1.0) and load.unserved == ()


def test_a_queue_without_end_is_stopped_and_those_who_waited_count() -> None:
    clock = FakeClock()
    load = open_loop(service(clock, 0.1), constant_arrivals(100.0, 1000), 1, 0.5, clock)
    # Query n starts at n * 100 ms, and waits n * 90 ms: the seventh would wait more than 500.
    assert [query.answer for query in load.queries] == list(range(6))
    assert load.seconds == pytest.approx(0.6)
    # All that arrived by then and never had their turn.
    assert len(load.unserved) == 61 - 6
    assert load.latencies[6:] == pytest.approx([0.6 - 0.01 * n for n in range(6, 61)])


def test_a_closed_loop_leaves_out_no_time_between_its_queries() -> None:
    clock = FakeClock()
    load = closed_loop(service(clock, 0.03, 0.05), 1, 1.0, clock)
    assert sum(load.latencies) == pytest.approx(load.seconds) and load.seconds >= 1.0
    assert [query.answer for query in load.queries] == list(range(len(load.queries)))
    # One query at least, however long it takes, or as many as asked for.
    assert len(closed_loop(service(clock, 9.0), 1, 1.0, clock).queries) == 1
    assert len(closed_loop(service(clock, 9.0), 1, 0.0, clock, least=3).queries) == 3


def test_a_camera_loses_what_a_newer_frame_replaces() -> None:
    clock = FakeClock()
    # 60 Hz and 40 ms a frame: 2.4 periods, so a frame is taken each third or second period.
    load = camera_loop(service(clock, 0.04), 60.0, 2.0, clock)
    taken = [query.answer for query in load.queries]
    assert taken[:5] == [0, 2, 4, 7, 9]
    assert len(taken) + load.dropped == 120
    # The age of what is shown: from the frame's arrival, so up to a period more than the service.
    assert max(load.latencies) <= 0.04 + 1 / 60 + 1e-9 and min(load.latencies) >= 0.04 - 1e-9
    fast = camera_loop(service(clock, 0.01), 60.0, 2.0, clock)
    assert fast.dropped == 0 and len(fast.queries) == 120


def test_callers_work_at_the_same_time() -> None:
    together = threading.Barrier(3)

    def query(number: int) -> str:
        together.wait(timeout=30)  # passes only with three queries at once
        return threading.current_thread().name

    load = closed_loop(query, 3, 0.0)
    assert len(load.queries) == 3 and len({query.answer for query in load.queries}) == 3


def test_servers_take_an_open_loops_queries_each_once() -> None:
    seen: Counter[int] = Counter()
    load = open_loop(lambda number: seen.update([number]), constant_arrivals(5000.0, 200), 4, 60.0)
    assert seen == Counter(range(200))
    intended = [query.intended for query in load.queries]
    assert intended == sorted(intended) and all(q.started >= q.intended for q in load.queries)


def test_the_wall_clock_never_wakes_too_early() -> None:
    for rest in (-1.0, 0.0, 1e-5, 3e-4):
        when = time.perf_counter() + rest
        WALL_CLOCK.sleep_until(when)
        assert WALL_CLOCK.now() >= when


def test_a_failing_query_ends_the_load() -> None:
    def query(number: int) -> int:
        raise RuntimeError("broken")

    for concurrency in (1, 2):
        with pytest.raises(RuntimeError, match="broken"):
            closed_loop(query, concurrency, 1.0)


def test_poisson_arrivals_have_the_rate_and_no_memory() -> None:
    arrivals = np.asarray(poisson_arrivals(50.0, 20_000, seed=1))
    gaps = np.diff(arrivals)
    assert arrivals[0] == 0.0 and (gaps > 0).all()
    assert gaps.mean() == pytest.approx(0.02, rel=0.03) and gaps.std() == pytest.approx(0.02, rel=0.03)
    assert np.corrcoef(gaps[:-1], gaps[1:])[0, 1] == pytest.approx(0.0, abs=0.03)
    assert poisson_arrivals(50.0, 9, 1) == poisson_arrivals(50.0, 9, 1) != poisson_arrivals(50.0, 9, 2)
    assert constant_arrivals(4.0, 3) == [0.0, 0.25, 0.5]


# --- the search -----------------------------------------------------------------------------------------


def trial_of(*seconds: float) -> Callable[[float], Trial]:
    """Of a session that takes these times in turn."""

    def trial(rate: float) -> Trial:
        clock = FakeClock()
        arrivals = constant_arrivals(rate, QUERIES)
        load = open_loop(service(clock, *seconds), arrivals, 1, PATIENCE / rate, clock)
        return judged(rate, load, 0.0)

    return trial


@pytest.mark.parametrize("guess", [100.0, 90.0, 10.0, 700.0])
@pytest.mark.parametrize("seconds", [(0.01,), (0.008, 0.012), (0.009,) * 9 + (0.019,)])
def test_the_search_finds_the_rate_at_which_the_queue_begins_to_grow(
    guess: float, seconds: tuple[float, ...]
) -> None:
    rate, trials = search_rate(trial_of(*seconds), guess)
    assert rate is not None and rate == pytest.approx(100.0, rel=2.5 * TOLERANCE)
    failed = min(trial.rate for trial in trials if not trial.kept_up)
    assert rate < failed <= rate * (1 + TOLERANCE) and len(trials) <= 16


def test_a_session_that_keeps_up_with_nothing_has_no_rate() -> None:
    rate, trials = search_rate(lambda rate: Trial(rate, False, 1.0, 1.0), 10.0)
    assert rate is None and len(trials) == 24 and trials[-1].rate < 1e-3
    assert not judged(10.0, Load(()), 0.0).kept_up


# --- figures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 63, 6635, 6636, 20_000])
def test_percentiles_are_numpys_of_every_query(count: int) -> None:
    times = np.random.default_rng(count).lognormal(-3.0, 0.5, count)
    times[0] = 60.0  # an outlier stays
    found = percentiles(times)
    assert (found.p50, found.p90, found.p95, found.p99) == pytest.approx(
        tuple(np.percentile(times, (50, 90, 95, 99)))
    )
    assert found.max == 60.0 and found.count == count and found.mean == pytest.approx(times.mean())
    if count < WANTED["p99.9"]:
        assert found.p999 is None and "p99.9" in too_few(count)
    else:
        assert found.p999 == pytest.approx(np.percentile(times, 99.9)) and too_few(count) == ()


def test_what_a_percentile_wants_is_what_loadgen_wants() -> None:
    # With one query above it allowed, 99 % sure: the smallest n with P(at most one of n) <= 1 %.
    for name, share in (("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999)):
        n = WANTED[name]
        for count, enough in ((n, True), (n - 1, False)):
            at_most_one = share**count + count * (1 - share) * share ** (count - 1)
            assert (at_most_one <= 0.01) == enough
    assert too_few(100) == ("p95", "p99", "p99.9")


def test_growth_is_the_slope_through_the_readings() -> None:
    seconds = [0.0, 60.0, 120.0, 180.0]
    assert growth_per_hour(seconds, [100.0, 101.0, 102.0, 103.0]) == pytest.approx(60.0)
    assert growth_per_hour(seconds, [100.0] * 4) == pytest.approx(0.0, abs=1e-6)
    assert growth_per_hour([0.0, 1.0], [1.0, 2.0]) is None and growth_per_hour([1.0] * 3, [1.0] * 3) is None
    assert spread([3.0, 1.0, 2.0]) == spread([2.0, 3.0, 1.0])
    assert (spread([3.0, 1.0, 2.0]).median, spread([3.0, 1.0]).low, spread([3.0, 1.0]).high) == (
        2.0,
        1.0,
        3.0,
    )
