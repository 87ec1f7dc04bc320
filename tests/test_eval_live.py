import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.live import LiveTest, log_gains, nearest_control, predicted
from eval.sequence import Arms, confidence_interval

rates = st.floats(0.01, 0.99)


def most_evidence(chance, tests, control, treated, share=0.5, difference=0.0):
    """The most that the evidence against a difference ever was, looked at after each request [tests].

    `control` and `treated` are the rates at each request [requests]; it steps as LiveTest does, many tests at once.
    """
    counts = np.zeros((tests, 4))
    now, most = np.zeros(tests), np.zeros(tests)
    for p, q in zip(control, treated, strict=True):
        arm = chance.random(tests) < share
        failed = chance.random(tests) >= np.where(arm, q, p)
        s, f, t, g = counts.T
        gains = log_gains((s + 0.5) / (s + f + 1), (t + 0.5) / (t + g + 1), share, difference)
        kind = 2 * arm + failed
        now += gains[np.arange(tests), kind]
        counts[np.arange(tests), kind] += 1
        most = np.maximum(most, now)
    return most


def wrong(most):
    return np.mean(most >= math.log(20))


def test_three_requests_by_hand():
    # Predicted are 1/2 and 1/2, nearest to alike 1/2 and 1/2: the first request tells nothing.
    test = LiveTest()
    test.add(treated_successes=1)
    assert test.p == pytest.approx(1.0)
    # Now 1/2 and 3/4, nearest 5/8 and 5/8: a failure of control is 1/2 over 3/8.
    assert predicted(test.arms) == (0.5, 0.75)
    test.add(control_failures=1)
    assert test.p == pytest.approx(3 / 4)
    # Now 1/4 and 3/4, nearest 1/2 and 1/2: a success of the treated is 3/4 over 1/2.
    test.add(treated_successes=1)
    assert test.p == pytest.approx(3 / 4 * 2 / 3)
    assert test.interval().high == 1.0
    assert -1 < test.interval().low < 0
    assert test.arms == Arms(0, 1, 2, 0)


def test_without_requests_nothing_is_known():
    assert (LiveTest().p, LiveTest().interval()) == (1.0, (-1.0, 1.0))


@pytest.mark.parametrize("name", ["level", "treated_share", "step"])
def test_misuse_is_refused(name):
    with pytest.raises(ValueError, match=name):
        LiveTest(**{name: 1.5})
    with pytest.raises(ValueError, match="below 0"):
        LiveTest().add(-1)


def test_peeking_after_every_request_does_not_inflate_the_error():
    # 10,000 tests of two equal arms, each looked at after each of 600 requests
    chance = np.random.default_rng(11)
    found = [wrong(most_evidence(chance, 2500, [p] * 600, [p] * 600)) for p in (0.5, 0.1, 0.8, 0.3)]
    assert 0.01 < np.mean(found) <= 0.05


def test_rates_that_move_together_do_not_inflate_it():
    day = 0.4 + 0.35 * np.sin(np.arange(800) / 50)
    assert wrong(most_evidence(np.random.default_rng(3), 2000, day, day, share=0.3)) <= 0.05


def test_a_true_difference_is_not_refuted_either():
    day = 0.4 + 0.2 * np.sin(np.arange(500) / 50)
    assert wrong(most_evidence(np.random.default_rng(5), 1500, day, day + 0.1, difference=0.1)) <= 0.05


def test_a_true_effect_is_seen():
    assert wrong(most_evidence(np.random.default_rng(6), 200, [0.3] * 4000, [0.37] * 4000)) > 0.8


def test_a_running_test_only_ever_learns_and_is_sharper_than_its_totals():
    chance, test = np.random.default_rng(1), LiveTest(step=0.005)
    seen, p = [test.interval()], 1.0
    for number in range(1500):
        arm, draw = chance.random() < 0.5, chance.random()
        batch = [0, 0, 0, 0]
        batch[2 * arm + (draw >= (0.6 if arm else 0.45))] = 1
        test.add(*batch)
        assert test.p <= p
        p = test.p
        if number % 100 == 99:
            seen.append(test.interval())
            assert seen[-2].low <= seen[-1].low <= 0.15 <= seen[-1].high <= seen[-2].high
    assert p < 0.001
    assert seen[-1].low > 0
    totals = confidence_interval(test.arms)
    assert seen[-1].high - seen[-1].low < totals.high - totals.low


def test_a_difference_that_moves_leaves_none():
    test = LiveTest(step=0.02)
    for late in (False, True):
        for _ in range(40):
            test.add(*([45, 5, 5, 45] if late else [5, 45, 45, 5]))
    assert test.interval() is None


@given(rates, rates, st.floats(0.1, 0.9), st.floats(-0.9, 0.9), rates)
def test_evidence_grows_by_1_on_average_at_most_where_the_difference_is_true(p, q, share, difference, rate):
    # of a request whose true rates are `control` and `control + difference`, whatever was predicted
    low, high = max(0, -difference), min(1, 1 - difference)
    control = low + rate * (high - low)
    chances = [control, 1 - control, control + difference, 1 - control - difference]
    weights = np.array([1 - share, 1 - share, share, share]) * chances
    assert weights @ np.exp(log_gains(p, q, share, difference)) <= 1 + 1e-9


@settings(max_examples=50)
@given(rates, rates, st.floats(0.1, 0.9))
def test_the_nearest_alike_pair_is_the_weighted_mean(p, q, share):
    found = nearest_control(np.array(p), np.array(q), share, np.array(0.0))
    assert found == pytest.approx((1 - share) * p + share * q, abs=1e-9)
