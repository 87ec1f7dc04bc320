import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.measures import (
    Share,
    Tally,
    WinLoss,
    bootstrap_by_user,
    false_trigger_rate,
    jeffreys,
    odds_interval,
    precision,
    recall,
    trigger_rate,
    win_loss,
)
from eval.verdict import Verdict

counts = st.integers(0, 500)
tallies = st.builds(Tally, counts, counts, counts, counts, counts)
users = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=20)

# Five cases by hand:
#
#   case  kind         served            accepted   verdict
#   1     opportunity  imagine dragons   the same   win
#   2     opportunity  imagine dragons   the same   win
#   3     opportunity  magic dragons     imagine    wrong          a loss
#   4     guardrail    volume up         none       false trigger  a loss
#   5     guardrail    (left alone)      none       left alone
FIVE = Tally(wins=2, wrong=1, missed=0, false_triggers=1, left_alone=1)


def test_five_cases_by_hand():
    assert trigger_rate(FIVE) == Share(4, 5)
    assert precision(FIVE) == Share(2, 4)
    assert recall(FIVE) == Share(2, 3)
    assert false_trigger_rate(FIVE) == Share(1, 2)
    assert win_loss(FIVE) == WinLoss(2, 2)
    assert win_loss(FIVE).value == 1.0


def test_the_tally_of_verdicts():
    counted = {Verdict.WIN: 2, Verdict.WRONG: 1, Verdict.FALSE_TRIGGER: 1, Verdict.LEFT_ALONE: 1}
    assert Tally.from_counts(counted) == FIVE
    assert (FIVE.cases, FIVE.opportunities, FIVE.guardrails, FIVE.triggered, FIVE.losses) == (5, 3, 2, 4, 2)


def test_what_cannot_be_measured_is_none_and_not_zero():
    nothing = Tally()
    for measure in (trigger_rate, precision, recall, false_trigger_rate):
        assert measure(nothing).value is None
        assert measure(nothing).interval is None
    assert win_loss(nothing).value is None
    assert win_loss(nothing).interval is None
    assert false_trigger_rate(Tally(wins=3)).value is None


def test_jeffreys_at_published_values():
    # Brown, Cai & DasGupta 2001, table 5: n = 10, x = 1 and x = 5; and by their convention an end of 0 at x = 0
    assert jeffreys(1, 10) == pytest.approx((0.011, 0.381), abs=5e-4)
    assert jeffreys(5, 10) == pytest.approx((0.224, 0.776), abs=5e-4)
    assert jeffreys(0, 10) == pytest.approx((0.0, 0.217), abs=5e-4)


def test_without_losses_the_ratio_has_a_lower_bound_that_grows_with_the_wins():
    few, many = odds_interval(10, 0), odds_interval(100, 0)
    assert math.isinf(few.high)
    assert math.isinf(many.high)
    assert few.low == pytest.approx(jeffreys(10, 10).low / (1 - jeffreys(10, 10).low))
    assert 1 < few.low < many.low
    assert WinLoss(10, 0).value == math.inf


def test_the_odds_interval_turns_round_with_wins_and_losses():
    low, high = odds_interval(17, 4)
    assert odds_interval(4, 17) == pytest.approx((1 / high, 1 / low))
    assert low < 17 / 4 < high


def test_the_bootstrap_draws_whole_users():
    # A draw of two users holds the first twice (9:1), both (10:4) or the second twice (1:3): a quarter at each end.
    assert bootstrap_by_user([(9, 1), (1, 3)]) == pytest.approx((1 / 3, 9.0))
    assert bootstrap_by_user([(10, 2)]) == (5.0, 5.0)
    assert bootstrap_by_user([(10, 0), (3, 0)]) is None
    assert bootstrap_by_user([]) is None


def test_a_draw_without_losses_counts_as_infinite():
    low, high = bootstrap_by_user([(5, 0)] * 9 + [(5, 1)])
    assert math.isinf(high)
    assert 5 < low < 50


@given(tallies)
def test_shares_lie_between_0_and_1_within_their_intervals(tally):
    for measure in (trigger_rate, precision, recall, false_trigger_rate):
        share = measure(tally)
        if share.value is not None:
            low, high = share.interval
            assert 0 <= low <= share.value <= high <= 1


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_further_loss_never_raises_the_ratio_nor_its_interval(wins, losses):
    before, after = WinLoss(wins, losses), WinLoss(wins, losses + 1)
    if before.value is not None:
        assert after.value <= before.value
        assert after.interval.low <= before.interval.low
        assert after.interval.high <= before.interval.high


@given(users, st.randoms(use_true_random=False))
def test_the_bootstrap_does_not_depend_on_the_order_of_users(of_users, order):
    mixed = list(of_users)
    order.shuffle(mixed)
    assert bootstrap_by_user(mixed, resamples=50) == bootstrap_by_user(of_users, resamples=50)
