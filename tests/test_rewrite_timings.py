"""Times by stage: credited to the stage that took them, summed up without keeping them, the same over processes."""

from __future__ import annotations

import json
import math
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewrite.timings import BUCKETS, STAGES, Histogram, Stage, StageSummary, Timings


def spent(**seconds: float) -> Timings:
    """The timings of a call that spent so many seconds on these stages."""
    timings = Timings()
    for name, each in seconds.items():
        timings._seconds[Stage[name.upper()]] = each
    return timings


def test_time_is_credited_to_the_stage_that_is_marked_after_it():
    timings = Timings()
    time.sleep(0.02)
    timings.mark(Stage.ENCODE)
    timings.mark(Stage.GLOBAL)
    time.sleep(0.01)
    timings.mark(Stage.ENCODE)
    assert 0.03 <= timings.seconds(Stage.ENCODE) == pytest.approx(timings.total, abs=0.001)
    assert timings.seconds(Stage.GLOBAL) < 0.005
    assert timings.seconds(Stage.RERANK) == 0


def test_timings_in_words():
    timings = spent(encode=0.0011, guard=2e-6)
    assert timings.as_dict() == {"encode": 1100.0, "guard": 2.0, "total": 1102.0}
    assert [stage.label for stage in STAGES] == [
        *["canonicalise", "tables", "encode", "personal", "global", "rerank", "guard", "decide"]
    ]


def test_a_mark_costs_next_to_nothing():
    timings, times = Timings(), 20_000
    best = math.inf
    for _ in range(5):
        begun = time.thread_time()
        for _ in range(times):
            timings.mark(Stage.ENCODE)
        best = min(best, (time.thread_time() - begun) / times)
    assert best < 3e-6  # some 0.2 microseconds; the machine may be busy


def test_a_summary_by_hand():
    """98 calls of 1 ms, one of 10 ms, one of 100 ms."""
    summary = StageSummary()
    for milliseconds in [*[1] * 98, 10, 100]:
        summary.add(spent(encode=milliseconds / 1000))
    figures = summary.as_dict()["encode"]
    assert figures["count"] == 100
    assert figures["mean"] == pytest.approx((98 + 10 + 100) * 1000 / 100)
    assert figures["p50"] == figures["p90"] == pytest.approx(1_000, rel=0.03)
    assert figures["p99"] == pytest.approx(10_000, rel=0.03)
    assert figures["p99.9"] == pytest.approx(100_000, rel=0.03)
    assert figures["max"] == 100_000
    assert set(summary.as_dict()) == {"encode", "total"}  # no call came to any other stage


times = st.floats(1e-7, 90, allow_nan=False)


@given(st.lists(times, min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99, 0.999]))
def test_quantiles_are_those_of_the_times_within_three_percent(seconds: list[float], share: float):
    histogram = Histogram()
    for each in seconds:
        histogram.add(each)
    exact = sorted(seconds)[max(math.ceil(share * len(seconds)), 1) - 1]
    assert histogram.quantile(share) == pytest.approx(exact, rel=0.03)


@given(st.lists(times, max_size=50), st.lists(times, max_size=50))
def test_summaries_of_two_processes_add_up_to_that_of_one(one: list[float], other: list[float]):
    summaries = [StageSummary(), StageSummary(), StageSummary()]
    for summary, seconds in zip(summaries, [one, other, [*one, *other]], strict=True):
        for each in seconds:
            summary.add(spent(tables=each))
    first, second, both = summaries
    first.merge(StageSummary.from_counts(json.loads(json.dumps(second.counts()))))
    found, wanted = first.as_dict(), both.as_dict()
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert found[name] == pytest.approx(wanted[name], rel=1e-9, abs=0.002)


def test_a_summary_merged_with_itself_doubles():
    summary = StageSummary()
    summary.add(spent(encode=0.001))
    summary.merge(summary)
    assert summary.as_dict()["encode"]["count"] == 2


@pytest.mark.parametrize(("seconds", "bucket"), [(0.0, 0), (1e-9, 0), (1e4, BUCKETS - 1), (1e-7 * 10**0.5, 20)])
def test_times_beyond_the_edges_are_in_the_last_buckets(seconds: float, bucket: int):
    histogram = Histogram()
    histogram.add(seconds * 1.001)
    assert histogram.buckets[bucket] == 1 == histogram.count


def test_nothing_counted():
    assert StageSummary().as_dict() == {}
    assert math.isnan(Histogram().quantile(0.5))


def test_threads_share_a_summary():
    summary = StageSummary()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: [summary.add(spent(encode=0.001)) for _ in range(500)], range(4)))
    assert summary.as_dict()["encode"]["count"] == 2_000


@pytest.mark.parametrize("odd", [{"cooking": {}}, {"encode": {"buckets": {"9999": 1}}}, {"encode": 3}])
def test_counts_of_something_else_are_refused(odd: dict):
    with pytest.raises(ValueError, match=r"StageSummary\.counts"):
        StageSummary.from_counts(odd)
