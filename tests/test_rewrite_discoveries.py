"""How many wrong rewrites a table may hold: figures by hand, then laws, a simulation from a seed, and misuse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rewrite.discoveries import expected_false_share, keep_on


def test_the_expected_share_of_the_kept():
    assert expected_false_share([0.9, 0.5, 0.7], np.array([True, False, True])) == pytest.approx(0.2)
    assert expected_false_share([0.9], np.array([False])) == 0.0


def test_live_entries_stay_within_the_budget():
    chance = np.array([0.99, 0.95, 0.9, 0.8, 0.7, 0.2])
    new = np.array([True, False, False, False, False, False])
    live = np.array([False, True, True, True, True, True])
    # Running shares: 0.01, 0.03, 0.16 / 3 = 0.053, 0.36 / 4 = 0.09, 0.66 / 5 = 0.132.
    assert keep_on(chance, new, live, 0.1, 0.5).tolist() == [True, True, True, True, False, False]
    assert keep_on(chance, new, live, 0.1, 0.85).tolist() == [True, True, True, False, False, False]
    assert keep_on(chance, new, live, 0.9, 0.5).tolist() == [True, True, True, True, True, False]


def test_good_live_entries_stay_beside_bad_new_ones():
    chance, new = np.array([0.5, 0.97, 0.8]), np.array([True, False, False])
    assert keep_on(chance, new, ~new, 0.05, 0.5).tolist() == [True, True, False]


def test_nothing_live_within_the_budget():
    chance, new = np.array([0.5, 0.6]), np.zeros(2, bool)
    assert not keep_on(chance, new, ~new, 0.05, 0.5).any()


chances = st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 0.99, 0.999, 1.0])), min_size=1, max_size=40)
rates = st.floats(0.001, 0.999)


@given(chances, rates, st.floats(0, 1), st.randoms(use_true_random=False))
def test_the_table_never_exceeds_the_budget_by_its_live_entries(chance: list[float], rate: float, floor: float, random):
    values = np.array(chance)
    new, live = (np.array([random.random() < 0.5 for _ in chance]) for _ in range(2))
    kept = keep_on(values, new, live, rate, floor)
    assert expected_false_share(values, kept) <= max(rate, expected_false_share(values, new)) + 1e-12
    assert np.all(kept[new])
    added = kept & ~new
    assert np.all(live[added] & (values[added] >= floor))
    left = live & ~kept & (values >= floor)
    if left.any():  # the best of those left is no better than the worst added, and it would break the budget
        best = np.flatnonzero(left)[np.argmax(values[left])]
        assert not added.any() or values[best] <= values[added].min()
        kept[best] = True
        assert expected_false_share(values, kept) > rate - 1e-12


def test_ties_among_live_entries_go_by_position():
    chance, new = np.array([0.9, 0.9, 0.9, 1.0]), np.array([False, False, False, True])
    assert keep_on(chance, new, ~new, 0.07, 0.5).tolist() == [True, True, False, True]  # 0.2 / 3 = 0.067


def test_a_table_is_as_wrong_as_it_expects():
    # Chances that are true: each pair is better with just its chance, so that the wrong vary no more than binomially.
    rng = np.random.default_rng(13)
    chance = rng.beta(0.5, 0.5, 50_000)
    better = rng.random(len(chance)) < chance
    new = keep_on(chance, np.zeros(len(chance), bool), chance >= 0.9, 0.02, 0.0)
    kept = keep_on(chance, new, rng.random(len(chance)) < 0.5, 0.05, 0.8)
    share = expected_false_share(chance, kept)
    assert share == pytest.approx(0.05, abs=1e-4)
    low, high = stats.binom.interval(0.999, int(kept.sum()), share)
    assert low <= np.sum(~better[kept]) <= high


def test_an_empty_table():
    none = np.zeros(0, bool)
    assert len(keep_on([], none, none, 0.1, 0.5)) == 0
    assert expected_false_share([], none) == 0.0


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda: expected_false_share([1.5], np.array([True])), r"a chance is 1\.5"),
        (lambda: expected_false_share([np.nan], np.array([True])), "a chance is nan"),
        (lambda: expected_false_share([[0.5]], np.array([True])), r"shape \(1, 1\)"),
        (lambda: keep_on([0.5], np.array([True]), np.array([True]), 0, 0.5), "rate is 0"),
        (lambda: expected_false_share([0.5], [1]), "mask is int64"),
        (lambda: keep_on([0.5], np.array([True, False]), np.array([True]), 0.1, 0.5), r"new is bool of shape \(2,\)"),
        (lambda: keep_on([0.5], np.array([True]), np.array([True]), 1.0, 0.5), r"rate is 1\.0"),
    ],
)
def test_misuse_is_told(misuse, message: str):
    with pytest.raises(ValueError, match=message):
        misuse()
