import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from eval.measures import jeffreys
from eval.uncertainty import clustered_wilson, wilson, win_loss_by_user

EXPERIMENTS = 1500

users = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=20)


def experiments(users, sizes, rate, alike, seed=5):
    """Users with their own success rates, alike by an intraclass correlation [experiments, users] twice."""
    chance = np.random.default_rng(seed)
    shape = (EXPERIMENTS, users)
    whole = {
        "equal": lambda: np.full(shape, 6),
        "unequal": lambda: chance.geometric(1 / 8, shape),
        "a few have most": lambda: np.minimum(1 + (3 * chance.pareto(1.5, shape)).astype(int), 200),
    }[sizes]()
    spread = (1 - alike) / alike
    own = chance.beta(rate * spread, (1 - rate) * spread, shape)
    return chance.binomial(whole, own), whole


def covers(interval, truth):
    return interval is not None and interval.low <= truth <= interval.high


def test_wilson_at_published_values():
    # Newcombe, "Two-Sided Confidence Intervals for the Single Proportion", 1998, table I, method 3
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_users_that_are_one_voice_count_as_one_each():
    # 40 users of 5 cases, each all right or all wrong: the 200 cases tell what 40 would
    part = np.repeat([5, 0], [30, 10])
    interval, as_users, as_cases = clustered_wilson(part, np.full(40, 5)), wilson(30, 40), wilson(150, 200)
    assert interval == pytest.approx(as_users, abs=0.02)
    assert interval.high - interval.low > 1.8 * (as_cases.high - as_cases.low)


def test_without_a_failure_users_count_and_not_cases():
    assert clustered_wilson([5] * 30, [5] * 30) == pytest.approx(wilson(30, 30))
    assert clustered_wilson([0] * 30, [1] * 30) == pytest.approx(wilson(0, 30))
    assert win_loss_by_user([5] * 30, [0] * 30) == (pytest.approx(30 / 1.959964**2), math.inf)


def test_what_cannot_be_measured_is_none():
    assert wilson(0, 0) is None
    assert clustered_wilson([], []) is None
    assert clustered_wilson([3], [5]) is None
    assert clustered_wilson([3, 0], [5, 0]) is None  # the second user has no cases
    assert win_loss_by_user([0, 0], [0, 0]) is None


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="3 successes in 2 trials"):
        wilson(3, 2)
    with pytest.raises(ValueError, match="successes"):
        wilson(math.nan, 2)
    with pytest.raises(ValueError, match="level"):
        wilson(1, 2, level=95)
    with pytest.raises(ValueError, match="more than the whole"):
        clustered_wilson([2, 1], [1, 1])
    with pytest.raises(ValueError, match=r"wins\[0\] came as nan"):
        win_loss_by_user([math.nan], [1])
    with pytest.raises(ValueError, match="lengths"):
        win_loss_by_user([1, 2], [1])


@pytest.mark.parametrize("rate", [0.03, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("trials", [150, 400])
def test_intervals_of_independent_cases_cover(rate, trials):
    successes = np.random.default_rng(2).binomial(trials, rate, 20_000)
    for method in (wilson, jeffreys):
        known = {int(x): covers(method(int(x), trials), rate) for x in np.unique(successes)}
        assert 0.93 <= np.mean([known[int(x)] for x in successes]) <= 0.97


@pytest.mark.parametrize(
    ("count", "sizes", "rate", "alike"),
    [
        (40, "equal", 0.3, 0.2),
        (100, "equal", 0.05, 0.1),
        (40, "unequal", 0.3, 0.2),
        (100, "unequal", 0.9, 0.3),
        (300, "unequal", 0.05, 0.1),
        (100, "a few have most", 0.3, 0.2),
        (300, "a few have most", 0.05, 0.1),
    ],
)
def test_intervals_of_users_cover(count, sizes, rate, alike):
    part, whole = experiments(count, sizes, rate, alike)
    inside = [covers(clustered_wilson(*each), rate) for each in zip(part, whole, strict=True)]
    assert 0.93 <= np.mean(inside) <= (0.98 if sizes == "a few have most" else 0.97)
    as_cases = [covers(wilson(a, b), rate) for a, b in zip(part.sum(axis=1), whole.sum(axis=1), strict=True)]
    assert np.mean(as_cases) < np.mean(inside) - 0.04


@pytest.mark.parametrize("rate", [0.001, 0.003, 0.01])
@pytest.mark.parametrize("within", [0.1, 0.3, 1.0])
@pytest.mark.parametrize(("users", "cases"), [(100, 20), (50, 100), (300, 8)])
def test_a_rare_harm_in_clusters_is_covered(users, cases, rate, within):
    # some users have the harm in this share of their cases, the others never
    chance = np.random.default_rng(8)
    afflicted = chance.random((400, users)) < rate / within
    part = chance.binomial(cases, within * afflicted)
    inside = [clustered_wilson(each, np.full(users, cases)).high >= rate for each in part]
    assert np.mean(inside) >= 0.95


@pytest.mark.parametrize(("users", "cases"), [(100, 20), (10, 1_000), (300, 5), (40, 10)])
@pytest.mark.parametrize("order", ["one user after the other", "spread"])
def test_more_harm_never_lowers_the_upper_end(users, cases, order):
    part, whole = np.zeros(users), np.full(users, cases)
    last = clustered_wilson(part, whole).high
    for event in range(3 * min(users, cases)):
        part[event // cases if order.startswith("one") else event % users] += 1
        high = clustered_wilson(part, whole).high
        assert high >= last - 1e-12
        last = high


def test_one_loss_never_raises_the_lower_end_of_wins_to_losses():
    wins, losses = np.full(50, 8), np.zeros(50)
    without = win_loss_by_user(wins, losses).low
    assert without == pytest.approx(50 / 1.959964**2)  # 13
    losses[0] = 1
    assert win_loss_by_user(wins - losses, losses).low <= without


def test_the_interval_of_wins_to_losses_covers():
    wins, cases = experiments(120, "unequal", 0.9, 0.1)
    inside = [covers(win_loss_by_user(a, b - a), 9.0) for a, b in zip(wins, cases, strict=True)]
    assert 0.93 <= np.mean(inside) <= 0.97


@given(st.integers(0, 300), st.integers(0, 300), st.floats(0.5, 0.999))
def test_an_interval_holds_the_share_and_turns_round_with_it(successes, failures, level):
    trials = successes + failures
    if not trials:
        return
    low, high = wilson(successes, trials, level)
    assert 0 <= low <= successes / trials <= high <= 1
    assert wilson(failures, trials, level) == pytest.approx((1 - high, 1 - low), abs=1e-12)
    for found, quantile in zip(jeffreys(successes, trials, level), ((1 - level) / 2, (1 + level) / 2), strict=True):
        if 0 < found < 1:
            assert beta.cdf(found, successes + 0.5, failures + 0.5) == pytest.approx(quantile, abs=1e-9)


@given(users)
def test_users_never_tell_more_than_their_cases(users):
    part = np.array([wins for wins, _ in users])
    whole = part + np.array([losses for _, losses in users])
    interval = clustered_wilson(part, whole)
    if interval is None:
        return
    share, as_cases = part.sum() / whole.sum(), wilson(part.sum(), whole.sum())
    assert 0 <= interval.low <= share <= interval.high <= 1
    assert interval.high - interval.low >= as_cases.high - as_cases.low - 1e-9


@given(users, st.randoms(use_true_random=False))
def test_the_order_of_users_makes_no_difference(users, order):
    mixed = list(users)
    order.shuffle(mixed)
    found = [win_loss_by_user(*zip(*each, strict=True)) for each in (users, mixed)]
    assert found[0] == (found[1] if found[1] is None else pytest.approx(found[1]))
