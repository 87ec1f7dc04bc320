import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from eval.paired import compare, mcnemar, permutation_by_user

differences = st.lists(st.integers(-3, 3), max_size=20)


def test_mcnemar_by_hand():
    # five cases only the second got right, one only the first: 2 * (1 + 6) / 2^6
    assert mcnemar(1, 5) == pytest.approx(14 / 64)
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(3, 3) == 1.0
    assert mcnemar(0, 10) == pytest.approx(2 / 1024)


def test_a_permutation_by_hand():
    # three users, all for the second bundle by 1: of the 8 ways to swap names 2 are as far from 0
    assert permutation_by_user([1, 1, 1], permutations=40_000) == pytest.approx(2 / 8, abs=0.01)
    # one user of weight 3 against two of weight 1: |sum| >= 1 always
    assert permutation_by_user([3, -1, -1]) == 1.0


def test_a_comparison_by_hand():
    # the second bundle wins two cases more and loses one, over four cases of two users
    found = compare(["u", "u", "v", "v"], [0, 0, 1, 0], [1, 1, 0, 0])
    assert (found.difference, found.cases, found.users) == (0.25, 4, 2)
    assert found.interval.low < 0.25 < found.interval.high


def test_bundles_that_do_the_same_cannot_be_told_apart():
    found = compare(["u", "v"], [1, 0], [1, 0])
    assert (found.difference, found.interval, found.p) == (0.0, None, 1.0)
    assert permutation_by_user([]) == 1.0
    assert compare([], [], []) is None


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="discordant"):
        mcnemar(-1, 2)
    with pytest.raises(ValueError, match="lengths"):
        compare(["u"], [1, 0], [1, 0])
    with pytest.raises(ValueError, match=r"first\[0\] came as nan"):
        compare(["u"], [math.nan], [1])


def test_users_of_one_voice_are_no_proof():
    # twenty cases, all of one user: McNemar is sure, the permutation of users cannot be
    assert mcnemar(0, 20) < 1e-5
    assert permutation_by_user([20.0]) == 1.0


def test_p_is_at_most_5_percent_as_often_as_it_says():
    chance = np.random.default_rng(4)
    cases = chance.geometric(1 / 6, (1500, 40))
    leaning = chance.normal(0, 0.2, (1500, 40))  # users prefer one bundle or the other, none on the whole
    won = chance.binomial(cases, np.clip(0.5 + leaning, 0, 1)) * 2 - cases
    found = np.array([permutation_by_user(row, permutations=999, seed=n) for n, row in enumerate(won)])
    assert 0.03 <= np.mean(found <= 0.05) <= 0.07
    assert 0.45 <= np.mean(found) <= 0.55
    as_cases = [mcnemar((c - w) // 2, (c + w) // 2) for c, w in zip(cases.sum(axis=1), won.sum(axis=1), strict=True)]
    assert np.mean(np.array(as_cases) <= 0.05) > 0.07  # users' cases are not independent


def test_a_true_effect_is_seen():
    chance = np.random.default_rng(4)
    users, second = chance.integers(0, 80, 600), chance.random(600) < 0.65
    found = compare(users, chance.random(600) < 0.5, second)
    assert found.p < 0.01
    assert 0 < found.interval.low < 0.15 < found.interval.high < 0.3


@given(st.integers(0, 200), st.integers(0, 200))
def test_mcnemar_agrees_with_the_binomial_test(first, second):
    expected = binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar(first, second) == pytest.approx(expected, abs=1e-12)


@given(differences, st.randoms(use_true_random=False))
def test_p_depends_neither_on_names_nor_on_order(differences, order):
    mixed = [-each for each in differences]
    order.shuffle(mixed)
    p = permutation_by_user(differences, permutations=99)
    assert 0 < p <= 1
    assert permutation_by_user(mixed, permutations=99) == p
