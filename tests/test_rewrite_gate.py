"""The statistical gate: figures that can be checked by hand, then its laws."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewrite.config import GateConfig
from rewrite.gate import LIVE_TURNS, Evidence, GateReason, Verdict, lower_bound, upper_bound
from rewrite.gate import judge as judge_pairs

#: Ten users, all of whom failed with the source and nearly all of whom went on to a target that works for everyone.
CLEAR = Evidence(
    source_users=10,
    source_turns=20,
    source_success=1,
    target_users=30,
    target_turns=60,
    target_success=57,
    route_users=9,
    went_on=18,
    share=0.95,
)


#: The figures of these tests are for a gate that asks for 95 %.
GATE = GateConfig(confidence=0.95)


def judge(evidence: Evidence, config: GateConfig) -> Verdict:
    (verdict,) = judge_pairs([evidence], config)
    return verdict


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
    verdict = judge(CLEAR, GATE)
    assert verdict.reason is GateReason.KEPT
    assert verdict.alone == pytest.approx(1.5 / 21)  # Jeffreys: half a success and half a failure more
    meant, works = (0.5 + 0.95 * 18) / 19, 57.5 / 61
    assert verdict.rewritten == pytest.approx((1 - 1.5 / 21) * meant * works, abs=1e-5)
    assert verdict.rewritten_lower > verdict.alone_upper + 0.10
    assert verdict.chance > 0.999


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"source_users": 4}, GateReason.TOO_FEW_USERS),
        ({"target_users": 4}, GateReason.TOO_FEW_USERS),
        ({"route_users": 4}, GateReason.TOO_FEW_USERS),
        ({"source_success": 19}, GateReason.GOOD_ALREADY),  # lower bound of 19 of 20 is 0.79
        ({"source_success": 13}, GateReason.NOT_BETTER),  # two thirds of the time it works
        ({"target_success": 6}, GateReason.NOT_BETTER),  # the target works a tenth of the time
        ({"target_success": 28}, GateReason.OFTEN_WRONG),  # less than half of the time: better than failing
        ({"share": 0.2}, GateReason.NOT_BETTER),  # most of its users meant something else
        ({"share": 0.6}, GateReason.OFTEN_WRONG),  # better than failing, but wrong for many
        ({"went_on": 1.0}, GateReason.OFTEN_WRONG),  # hardly any goal was ever reached: f is a guess
        ({"served_turns": 40, "served_success": 10}, GateReason.FAILED_LIVE),
        ({"served_turns": 1, "served_success": 0}, GateReason.KEPT),  # one failure is nothing beside so much
        ({"share": 0.3, "served_turns": 40, "served_success": 38}, GateReason.KEPT),  # its record is what counts
    ],
)
def test_why_it_is_refused(change: dict[str, float], reason: GateReason):
    assert judge(replace(CLEAR, **change), GATE).reason is reason


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


def test_the_longer_it_is_live_the_less_the_estimate_counts():
    def rewritten(turns: float) -> float:
        return judge(replace(CLEAR, served_turns=turns, served_success=0.2 * turns), GATE).rewritten

    before = judge(CLEAR, GATE).rewritten
    means = [rewritten(turns) for turns in (0.0, 1.0, LIVE_TURNS, 100.0, 10_000.0)]
    assert means[0] == pytest.approx(before)
    assert means == sorted(means, reverse=True)
    assert means[-1] == pytest.approx(0.2, abs=0.001)


def test_what_others_lead_one_to_expect_counts_as_so_many_turns():
    rare = replace(CLEAR, source_turns=1, source_success=0, source_prior=0.9, source_prior_turns=9.0)
    assert judge(rare, GATE).alone == pytest.approx(8.1 / 10)
    assert not judge(rare, GATE).kept  # one failure of a text whose like works nine times of ten
    assert judge(replace(rare, source_prior=0.05), GATE).kept


def test_the_chance_agrees_with_draws():
    rng = np.random.default_rng(5)
    pairs = [
        replace(CLEAR, source_success=success, went_on=went_on, share=share, alike=alike)
        for success in (1.0, 6.0) for went_on in (4.0, 18.0) for share in (0.5, 0.7, 0.95) for alike in (0.0, 0.8)
    ]  # fmt: skip
    for evidence, verdict in zip(pairs, judge_pairs(pairs, GATE), strict=True):
        draws = 200_000
        alone = rng.beta(0.5 + evidence.source_success, 20.5 - evidence.source_success, draws)
        meant = rng.beta(0.5 + evidence.share * evidence.went_on, 0.5 + (1 - evidence.share) * evidence.went_on, draws)
        works = rng.beta(57.5, 3.5, draws)
        value = (1 - alone) * meant * works + alone * evidence.alike
        wins = min((value > alone + GATE.margin).mean(), (meant * works > GATE.rewritten_floor).mean())
        assert verdict.chance == pytest.approx(wins, abs=0.02)  # Betas of the same mean and variance, not the very same
        assert verdict.rewritten == pytest.approx(value.mean(), abs=0.003)


def test_a_text_that_means_two_things_is_left_alone():
    # It serves half of its speakers; all others meant the target, which works: as many would lose as would win.
    torn = replace(CLEAR, source_success=10, share=1.0, went_on=10.0)
    assert judge(torn, GATE).reason is GateReason.NOT_BETTER
    assert judge(replace(torn, alike=1.0), GATE).kept  # unless NLU takes both in the same way where it serves them


def test_no_pairs_no_verdicts():
    assert judge_pairs([], GATE) == []


def test_pairs_are_judged_apart():
    other = replace(CLEAR, share=0.2)
    assert judge_pairs([CLEAR, other], GATE) == [judge(CLEAR, GATE), judge(other, GATE)]


@given(st.floats(0, 20), st.floats(0, 20))
def test_a_better_source_never_helps_a_rewrite(one: float, other: float):
    worse, better = sorted([one, other])
    if judge(replace(CLEAR, source_success=better), GATE).kept:
        assert judge(replace(CLEAR, source_success=worse), GATE).kept


@given(st.floats(0, 60), st.floats(0, 60))
def test_a_better_target_never_hurts_a_rewrite(one: float, other: float):
    worse, better = sorted([one, other])
    if judge(replace(CLEAR, target_success=worse), GATE).kept:
        assert judge(replace(CLEAR, target_success=better), GATE).kept


def test_bounds_of_many_rates_at_once():
    success, turns = np.array([0.0, 5.0, 10.0]), np.array([10.0, 10.0, 10.0])
    assert np.all(np.diff(lower_bound(success, turns, 0.95)) > 0)
    assert lower_bound(success, turns, 0.95)[1] == pytest.approx(float(lower_bound(5, 10, 0.95)))
