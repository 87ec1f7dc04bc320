import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.uncertainty import Method, bootstrap, difference, ratio, reduction, sums_by_user

EXPERIMENTS, DRAWS = 1200, 300

sums = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=2, max_size=15)


def coverage(draw, statistic, truth, **options):
    """The share of experiments [users, columns] whose interval holds the truth."""
    chance = np.random.default_rng(7)
    found = [bootstrap(draw(chance), statistic, draws=DRAWS, seed=n, **options) for n in range(EXPERIMENTS)]
    return np.mean([each is not None and each.low <= truth <= each.high for each in found])


def users(chance, count, rates, alike=0.2, mean=8):
    """Successes and cases of users under each rate; a user's leaning is the same under all [users, 2 * rates]."""
    cases, leaning = chance.geometric(1 / mean, count), chance.normal(0, math.sqrt(alike), count)
    columns = []
    for rate in rates:
        own = np.clip(rate + leaning * math.sqrt(rate * (1 - rate)) / 2, 0, 1)
        columns += [chance.binomial(cases, own), cases]
    return np.column_stack(columns)


def test_whole_users_are_drawn():
    # Two users, 9 of 10 and 1 of 4. A draw is the first twice (0.9), both (10/14) or the second twice (0.25), so that
    # a quarter of draws lies at each end.
    assert bootstrap([(9, 10), (1, 4)], method=Method.PERCENTILE) == pytest.approx((0.25, 0.9))


def test_figures_by_hand():
    totals = np.array([20.0, 100.0, 15.0, 100.0])  # defects of requests, before and after
    assert ratio(totals) == 0.2
    assert difference(totals) == pytest.approx(-0.05)
    assert reduction(totals) == pytest.approx(0.25)


def test_cases_are_added_up_by_user():
    assert sums_by_user(["b", "a", "b"], [1, 2, 3], [1, 1, 1]).tolist() == [[4, 2], [2, 1]]
    assert sums_by_user(np.array([7, 5, 7]), [1, 2, 3]).tolist() == [[2], [4]]
    assert sums_by_user([], []).shape == (0, 1)


def test_for_many_users_it_is_the_normal_interval():
    # 0.3 of 4,000 users with one case each: 0.3 -/+ 1.96 sqrt(0.21 / 4000)
    interval = bootstrap(np.column_stack([np.repeat([1, 0], [1200, 2800]), np.ones(4000)]))
    assert interval == pytest.approx((0.3 - 0.0142, 0.3 + 0.0142), abs=1e-3)


def test_what_cannot_be_measured_is_none():
    for method in Method:
        assert bootstrap(np.empty((0, 2)), method=method) is None
        assert bootstrap([(3, 5)], method=method) is None  # one user
        assert bootstrap([(0, 5)] * 40, method=method) is None  # users that do not differ
        assert bootstrap([(1, 0), (0, 0), (2, 0)], method=method) is None  # the figure is not defined
        assert bootstrap([(1, 2), (0, 0), (0, 0)], method=method) is None  # nor in most draws


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="sums"):
        bootstrap([1, 2, 3])
    with pytest.raises(ValueError, match="sums"):
        bootstrap([(1, math.nan), (1, 2)])
    with pytest.raises(ValueError, match="level"):
        bootstrap([(1, 2), (2, 3)], level=95)
    with pytest.raises(ValueError, match="column 0"):
        sums_by_user(["a"], [math.nan])
    with pytest.raises(ValueError, match="lengths"):
        sums_by_user(["a"], [1, 2])


@pytest.mark.parametrize(("count", "rate"), [(25, 0.5), (60, 0.2), (60, 0.85), (200, 0.6)])
def test_intervals_of_a_share_cover(count, rate):
    # leanings are clipped to [0, 1], so that the truth is the mean of the clipped rates
    leaning = np.random.default_rng(1).normal(0, math.sqrt(0.2), 10**6)
    truth = np.clip(rate + leaning * math.sqrt(rate * (1 - rate)) / 2, 0, 1).mean()
    assert 0.93 <= coverage(lambda chance: users(chance, count, [rate]), ratio, truth) <= 0.97


def test_intervals_of_a_difference_cover():
    truth = 0.1
    found = coverage(lambda chance: users(chance, 60, [0.5, 0.6], alike=0.05), difference, truth)
    assert 0.93 <= found <= 0.97


def test_intervals_of_a_reduction_cover():
    found = coverage(lambda chance: users(chance, 80, [0.5, 0.4], alike=0.05), reduction, 0.2)
    assert 0.93 <= found <= 0.97


def test_percentile_intervals_cover_where_users_are_many():
    found = coverage(lambda chance: users(chance, 250, [0.5]), ratio, 0.5, method=Method.PERCENTILE)
    assert 0.925 <= found <= 0.97


@pytest.mark.parametrize("whole", [True, False])
def test_a_hundred_thousand_cases_take_seconds(whole):
    chance = np.random.default_rng(0)
    reward = chance.integers(0, 2, 100_000) if whole else chance.random(100_000)
    start = time.process_time()
    low, high = bootstrap(sums_by_user(chance.integers(0, 20_000, 100_000), reward, np.ones(100_000)), draws=2000)
    assert time.process_time() - start < 10
    assert low < 0.5 + 0.01
    assert 0.5 - 0.01 < high < low + 0.02


@given(sums, st.randoms(use_true_random=False), st.sampled_from(Method))
def test_neither_the_order_of_users_nor_the_clock_makes_a_difference(sums, order, method):
    mixed = list(sums)
    order.shuffle(mixed)
    assert bootstrap(mixed, draws=60, method=method) == bootstrap(sums, draws=60, method=method)


@given(sums)
def test_a_wider_level_holds_the_narrower(sums):
    narrow, wide = (bootstrap(sums, draws=99, level=level, method=Method.PERCENTILE) for level in (0.5, 0.9))
    if narrow and wide:
        assert wide.low <= narrow.low <= narrow.high <= wide.high
