import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.systems import (
    Memory,
    latency,
    peak_memory,
    percentile,
    percentile_interval,
    percentile_linear,
    throughput,
)

times = st.lists(st.floats(0, 1e6), min_size=1, max_size=50)
shares = st.floats(0, 1)


def test_five_times_by_hand():
    # in order 15, 20, 35, 40, 50: 30 % of five is 1.5, so the second; 40 % is 2, the second still
    values = [35, 20, 15, 50, 40]
    assert [percentile(values, share) for share in (0.05, 0.3, 0.4, 0.5, 1.0)] == [15, 20, 20, 35, 50]
    # a line between neighbours: the place is 1 + 0.4 * 4 = 2.6, so 20 + 0.6 * 15
    assert percentile_linear(values, 0.4) == pytest.approx(29.0)


def test_a_share_that_is_no_exact_float_names_the_same_rank():
    assert percentile(range(1, 101), 0.07) == 7
    assert [percentile(range(1, 1001), rank / 1000) for rank in range(1, 1001)] == list(range(1, 1001))


def test_a_percentile_beyond_the_observations_is_not_measured():
    found = latency(np.arange(1, 201) / 1000)
    assert (found.requests, found.p50, found.p99, found.p999, found.longest) == (200, 0.1, 0.198, None, 0.2)
    assert latency(np.ones(1000)).p999 == 1.0
    nothing = latency([])
    assert (nothing.requests, nothing.mean, nothing.p50, nothing.longest) == (0, None, None, None)


def test_nothing_is_not_measured():
    assert percentile([], 0.5) is None
    assert percentile_linear([], 0.5) is None
    assert percentile_interval([], 0.5) is None
    assert throughput(5, 0.0) is None
    assert throughput(0, 2.0) == 0.0
    assert throughput(10, 4.0) == 2.5


def test_misuse_is_refused():
    with pytest.raises(ValueError, match=r"0\.99 for the 99th"):
        percentile([1.0], 99)
    with pytest.raises(ValueError, match=r"values\[0\] came as nan"):
        percentile([math.nan], 0.5)
    with pytest.raises(ValueError, match=r"seconds\[1\] came as -1"):
        latency([1, -1])
    with pytest.raises(ValueError, match="-1 requests"):
        throughput(-1, 1.0)


def test_the_interval_of_a_percentile_by_hand():
    # of ten values, as many as 2 to 8 are below the median with 97.9 %: the second and the ninth bracket it
    assert percentile_interval(range(1, 11), 0.5) == (2, 9)
    assert percentile_interval(range(1, 11), 0.999) == (10, math.inf)


def test_the_interval_of_a_percentile_covers():
    chance = np.random.default_rng(3)
    for share in (0.5, 0.9):
        draws = chance.exponential(size=(1500, 200))
        truth = -math.log(1 - share)
        inside = [low <= truth <= high for low, high in (percentile_interval(row, share) for row in draws)]
        assert 0.94 <= np.mean(inside) <= 0.98


@given(times, shares)
def test_nearest_rank_is_numpys_inverse_of_the_distribution_and_an_observation(values, share):
    found = percentile(values, share)
    assert found in values
    assert np.mean(np.array(values) <= found) >= share - 1e-12
    assert np.mean(np.array(values) < found) <= share + 1e-12
    assert percentile_linear(values, share) == np.quantile(values, share)


def process(proc, pid, parent, peak):
    folder = proc / str(pid)
    folder.mkdir()
    (folder / "status").write_text(f"Name:\tx: y\nPid:\t{pid}\nPPid:\t{parent}\nVmHWM:\t{peak:>8} kB\n")


def test_memory_by_hand(tmp_path):
    # 10 is this process; 11 its child, 12 a grandchild; 13 is another's; 14 is a kernel thread without memory
    for pid, parent, peak in ((10, 1, 100), (11, 10, 20), (12, 11, 3), (13, 1, 500)):
        process(tmp_path, pid, parent, peak)
    (tmp_path / "14").mkdir()
    (tmp_path / "14" / "status").write_text("Name:\tkworker\nPid:\t14\nPPid:\t10\n")
    (tmp_path / "15").mkdir()  # ended while it was looked at
    (tmp_path / "self").symlink_to(tmp_path / "10")
    assert peak_memory(tmp_path) == Memory(own=100 * 1024, children=23 * 1024)


def test_memory_without_proc_and_as_it_is(tmp_path):
    fallback, real = peak_memory(tmp_path), peak_memory()
    assert fallback.own > 10_000_000
    assert fallback.children >= 0
    assert real.own > 10_000_000
