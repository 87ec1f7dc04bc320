"""How many wrong rewrites a table may hold: figures by hand, then laws, a simulation from a seed, and misuse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rewrite.discoveries import expected_false_share, surest


def test_the_expected_share_of_the_kept():
    assert expected_false_share([0.9, 0.5, 0.7], np.array([True, False, True])) == pytest.approx(0.2)
    assert expected_false_share([0.9], np.array([False])) == 0.0


def test_the_surest_first_as_far_as_the_rate_allows():
    chance = np.array([0.7, 0.99, 0.95, 0.9, 0.2])
    able = np.array([True, True, True, True, False])
    # Running shares: 0.01, 0.03, 0.16 / 3 = 0.053, 0.46 / 4 = 0.115.
    assert surest(chance, able, 0.1).tolist() == [False, True, True, True, False]
    assert surest(chance, able, 0.05).tolist() == [False, True, True, False, False]
    assert surest(chance, able, 0.9).tolist() == [True, True, True, True, False]
    assert not surest(chance, able, 0.005).any()


chances = st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 0.99, 0.999, 1.0])), min_size=1, max_size=40)
rates = st.floats(0.001, 0.999)


@given(chances, rates, st.randoms(use_true_random=False))
def test_laws_of_the_surest(chance: list[float], rate: float, random):
    values, able = np.array(chance), np.array([random.random() < 0.7 for _ in chance])
    kept = surest(values, able, rate)
    assert expected_false_share(values, kept) <= rate + 1e-12
    assert np.all(able[kept])
    left = able & ~kept
    if left.any():  # the best of those left is no better than the worst kept, and it would break the rate
        best = np.flatnonzero(left)[np.argmax(values[left])]
        assert not kept.any() or values[best] <= values[kept].min()
        kept[best] = True
        assert expected_false_share(values, kept) > rate - 1e-12


def test_ties_go_by_position():
    assert surest([0.9, 0.9, 1.0], np.ones(3, bool), 0.05).tolist() == [True, False, True]  # 0.1 / 2


def test_a_table_is_as_wrong_as_it_expects():
    # Chances that are true: each pair is better with just its chance, so that the wrong vary no more than binomially.
    rng = np.random.default_rng(13)
    chance = rng.beta(0.5, 0.5, 50_000)
    better = rng.random(len(chance)) < chance
    kept = surest(chance, rng.random(len(chance)) < 0.5, 0.05)
    share = expected_false_share(chance, kept)
    assert share == pytest.approx(0.05, abs=1e-4)
    low, high = stats.binom.interval(0.999, int(kept.sum()), share)
    assert low <= np.sum(~better[kept]) <= high


def test_an_empty_table():
    none = np.zeros(0, bool)
    assert len(surest([], none, 0.1)) == 0
    assert expected_false_share([], none) == 0.0


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda: expected_false_share([1.5], np.array([True])), r"a chance is 1\.5"),
        (lambda: expected_false_share([np.nan], np.array([True])), "a chance is nan"),
        (lambda: expected_false_share([[0.5]], np.array([True])), r"shape \(1, 1\)"),
        (lambda: expected_false_share([0.5], [1]), "mask is int64"),
        (lambda: surest([0.5], np.array([True, False]), 0.1), r"able is bool of shape \(2,\)"),
        (lambda: surest([0.5], np.array([True]), 0), "rate is 0"),
        (lambda: surest([0.5], np.array([True]), 1.0), r"rate is 1\.0"),
    ],
)
def test_misuse_is_told(misuse, message: str):
    with pytest.raises(ValueError, match=message):
        misuse()
