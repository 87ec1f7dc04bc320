import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.sequence import (
    Arms,
    confidence_interval,
    log_evidence,
    log_evidence_of_no_difference,
    p_value,
)

counts = st.integers(0, 400)
arms = st.builds(Arms, counts, counts, counts, counts)


def looks(chance, tests, requests, control, treated):
    """Counts after every request, whose arm a coin decides [tests, requests] four times."""
    arm = chance.random((tests, requests), np.float32) < 0.5
    success = chance.random((tests, requests), np.float32) < np.where(arm, np.float32(treated), np.float32(control))
    masks = (~arm & success, ~arm & ~success, arm & success, arm & ~success)
    return [np.cumsum(mask, axis=1, dtype=np.float64) for mask in masks]


def evidence_against(rates, counts):
    """Against a pair of rates that is given: the mixture over the likelihood there, by hand."""
    from scipy.special import betaln, xlog1py, xlogy

    total = 0.0
    for rate, s, f in zip(rates, counts[::2], counts[1::2], strict=True):
        total = total + betaln(s + 0.5, f + 0.5) - betaln(0.5, 0.5) - xlogy(s, rate) - xlog1py(f, -rate)
    return total


def test_two_requests_by_hand():
    # a failure under control and a success when treated: mixed, each arm has 1/2; alike at the best rate 1/2 as well
    one_each = Arms(control_failures=1, treated_successes=1)
    assert log_evidence(one_each) == pytest.approx(0.0, abs=1e-12)
    # two and two: B(5/2, 1/2) / pi = 3/8 in each arm, against 1/16
    assert log_evidence(Arms(control_failures=2, treated_successes=2)) == pytest.approx(math.log(9 / 64 * 16))
    assert p_value(Arms(control_failures=2, treated_successes=2)) == pytest.approx(4 / 9)
    assert p_value(one_each) == pytest.approx(1.0)


def test_without_requests_nothing_is_known():
    for empty in (Arms(), Arms(control_successes=5), Arms(treated_failures=5)):
        assert empty.difference is None
        assert confidence_interval(empty) == (-1.0, 1.0)
        assert p_value(empty) == pytest.approx(1.0)


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="below 0"):
        Arms(control_failures=-1)
    with pytest.raises(ValueError, match="level"):
        confidence_interval(Arms(1, 1, 1, 1), level=95)


def test_peeking_after_every_request_does_not_inflate_the_error():
    # 10,000 tests of two equal arms, looked at after each of 1,000 requests
    chance, wrong = np.random.default_rng(11), 0
    for rate in np.repeat([0.5, 0.1, 0.8, 0.3], 5):
        evidence = log_evidence_of_no_difference(*looks(chance, 500, 1000, rate, rate))
        wrong += np.sum(evidence.max(axis=1) >= math.log(20))
    assert 0 < wrong / 10_000 <= 0.05


def test_a_rate_that_moves_for_both_arms_alike_does_not_inflate_it_either():
    # beyond what is proved: day and night, requests of both arms succeed from 20 to 60 %
    day = 0.4 + 0.2 * np.sin(np.arange(1000) / 60)
    found = log_evidence_of_no_difference(*looks(np.random.default_rng(3), 1000, 1000, day, day))
    assert np.mean(found.max(axis=1) >= math.log(20)) <= 0.05


def test_the_truth_stays_inside_at_every_look_with_a_true_effect():
    counts = looks(np.random.default_rng(5), 2000, 1000, 0.3, 0.4)
    outside = evidence_against((0.3, 0.4), counts).max(axis=1) >= math.log(20)
    assert np.mean(outside) <= 0.05
    # of the intervals themselves, which look along the difference, some
    for row in range(20):
        low, high = confidence_interval(Arms(*(int(count[row, 700]) for count in counts)))
        assert low <= 0.1 <= high


def test_a_true_effect_is_seen():
    counts = looks(np.random.default_rng(6), 400, 4000, 0.30, 0.38)
    assert np.mean(log_evidence_of_no_difference(*counts).max(axis=1) >= math.log(20)) > 0.8


def test_the_width_shrinks_as_the_square_root_of_log_n_over_n():
    scaled = []
    for requests in (1_000, 10_000, 100_000, 1_000_000, 10_000_000):
        arm = (int(0.3 * requests), requests - int(0.3 * requests))
        low, high = confidence_interval(Arms(*arm, *arm))
        assert low == pytest.approx(-high, abs=1e-9)
        scaled.append((high - low) / math.sqrt(math.log(requests) / requests))
    assert max(scaled) / min(scaled) < 1.2
    assert scaled[-1] < 3.0


@settings(deadline=None)
@given(arms)
def test_one_at_a_time_equals_many_at_once(arms):
    at_once = float(log_evidence_of_no_difference(*(np.array(float(count)) for count in arms.counts)))
    assert log_evidence(arms) == pytest.approx(at_once, abs=1e-8)


@settings(deadline=None, max_examples=40)
@given(arms, st.floats(-0.95, 0.95))
def test_no_pair_of_this_difference_is_refuted_less(arms, difference):
    rates = np.linspace(max(0, -difference) + 1e-9, min(1, 1 - difference) - 1e-9, 2001)
    pairs = evidence_against((rates, np.clip(rates + difference, 0, 1)), arms.counts)
    least = log_evidence(arms, difference)
    assert least <= pairs.min() + 1e-6
    assert least >= pairs.min() - 0.05 * max(1, abs(pairs.min()))


@settings(deadline=None, max_examples=40)
@given(arms)
def test_the_interval_and_p_tell_the_same(arms):
    interval = confidence_interval(arms)
    if arms.difference is None:
        return
    assert interval.low <= arms.difference <= interval.high
    assert (interval.low <= 0 <= interval.high) or p_value(arms) <= 0.05 + 1e-9
    swapped = Arms(arms.treated_successes, arms.treated_failures, arms.control_successes, arms.control_failures)
    low, high = confidence_interval(swapped)
    assert (-high, -low) == pytest.approx(interval, abs=1e-9)
