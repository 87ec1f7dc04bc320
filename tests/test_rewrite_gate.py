"""The statistical gate: figures that can be checked by hand, then its laws."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewrite.config import GateConfig
from rewrite.gate import Evidence, GateReason, judge, lower_bound, upper_bound

#: Ten users, all of whom failed with the source and nearly all of whom went on to a target that works for everyone.
CLEAR = Evidence(
    source_users=10,
    source_turns=20,
    source_success=1,
    target_users=30,
    target_turns=60,
    target_success=57,
    route_users=9,
    goals=18,
    share=0.95,
)


def test_a_success_rate_between_its_bounds():
    # Half a success in one turn makes Beta(1, 1), which is uniform; in two turns Beta(1, 2), P(x) = 1 - (1 - x)^2.
    assert float(lower_bound(0.5, 1, 0.95)) == pytest.approx(0.05)
    assert float(upper_bound(0.5, 1, 0.95)) == pytest.approx(0.95)
    assert float(lower_bound(0.5, 2, 0.95)) == pytest.approx(1 - math.sqrt(0.95))
    assert float(upper_bound(0.5, 2, 0.95)) == pytest.approx(1 - math.sqrt(0.05))


def test_nothing_seen_says_nothing():
    assert float(lower_bound(0, 0, 0.95)) == 0.0
    assert float(upper_bound(0, 0, 0.95)) == 1.0


def test_a_clear_correction_is_kept():
    verdict = judge(CLEAR, GateConfig())
    assert verdict.reason is GateReason.KEPT
    assert verdict.alone == pytest.approx(0.05)
    assert verdict.rewritten == pytest.approx(0.95 * 0.95)
    assert verdict.rewritten_lower > verdict.alone_upper + 0.10


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"source_users": 4}, GateReason.TOO_FEW_USERS),
        ({"target_users": 4}, GateReason.TOO_FEW_USERS),
        ({"route_users": 4}, GateReason.TOO_FEW_USERS),
        ({"source_success": 19}, GateReason.GOOD_ALREADY),  # lower bound of 19 of 20 is 0.79
        ({"source_success": 10}, GateReason.NOT_BETTER),  # half of the time it works
        ({"target_success": 20}, GateReason.NOT_BETTER),  # the target works a third of the time
        ({"share": 0.2}, GateReason.NOT_BETTER),  # most of its users meant something else
        ({"share": 0.6}, GateReason.OFTEN_WRONG),  # better than failing, but wrong for many
        ({"goals": 1.0}, GateReason.NOT_BETTER),  # hardly any goal was ever reached: f is a guess
        ({"served_turns": 40, "served_success": 10}, GateReason.FAILED_LIVE),
        ({"served_turns": 9, "served_success": 0}, GateReason.KEPT),  # not live for long enough to be believed
        ({"share": 0.3, "served_turns": 40, "served_success": 38}, GateReason.KEPT),  # its record is what counts
    ],
)
def test_why_it_is_refused(change: dict[str, float], reason: GateReason):
    assert judge(replace(CLEAR, **change), GateConfig()).reason is reason


rates = st.tuples(st.floats(0, 1), st.floats(0.1, 1e4))


@given(rates, st.floats(0.5, 0.99))
def test_bounds_enclose_and_widen_with_confidence(rate: tuple[float, float], confidence: float):
    success, turns = rate[0] * rate[1], rate[1]
    low, high = float(lower_bound(success, turns, confidence)), float(upper_bound(success, turns, confidence))
    assert 0 <= low <= high + 1e-6 <= 1 + 2e-6
    assert float(lower_bound(success, turns, 0.999)) <= low + 1e-6
    assert float(upper_bound(success, turns, 0.999)) >= high - 1e-6


@given(st.floats(0, 1), st.floats(1, 1000), st.floats(1.01, 10))
def test_more_evidence_narrows(share: float, turns: float, times: float):
    def width(n: float) -> float:
        return float(upper_bound(share * n, n, 0.95) - lower_bound(share * n, n, 0.95))

    assert width(turns * times) <= width(turns) + 1e-9


@given(st.floats(0, 20), st.floats(0, 20))
def test_a_better_source_never_helps_a_rewrite(one: float, other: float):
    worse, better = sorted([one, other])
    if judge(replace(CLEAR, source_success=better), GateConfig()).kept:
        assert judge(replace(CLEAR, source_success=worse), GateConfig()).kept


@given(st.floats(0, 60), st.floats(0, 60))
def test_a_better_target_never_hurts_a_rewrite(one: float, other: float):
    worse, better = sorted([one, other])
    if judge(replace(CLEAR, target_success=worse), GateConfig()).kept:
        assert judge(replace(CLEAR, target_success=better), GateConfig()).kept


def test_bounds_of_many_rates_at_once():
    success, turns = np.array([0.0, 5.0, 10.0]), np.array([10.0, 10.0, 10.0])
    assert np.all(np.diff(lower_bound(success, turns, 0.95)) > 0)
    assert lower_bound(success, turns, 0.95)[1] == pytest.approx(float(lower_bound(5, 10, 0.95)))
