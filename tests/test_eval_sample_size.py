import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.sample_size import (
    cases_for_paired,
    cases_for_two_shares,
    design_effect,
    effect_seen_between_two_shares,
    effect_seen_paired,
)

shares = st.floats(0.02, 0.95)


def test_published_values():
    # R's power.prop.test(p1 = .50, p2 = .75, power = .90): n = 76.65, from its manual
    assert cases_for_two_shares(0.5, 0.75, power=0.9) == 77
    # by hand: (1.96 sqrt(0.3) + 0.8416 sqrt(0.3 - 0.01))^2 / 0.01 = (1.0735 + 0.4532)^2 / 0.01 = 233.1
    assert cases_for_paired(0.1, 0.2) == 234


def test_the_design_effect_by_hand():
    assert design_effect([5, 5, 5], 0.25) == 2.0  # 1 + (5 - 1) / 4
    assert design_effect([1, 1], 0.9) == 1.0
    assert design_effect([1, 3], 1.0) == 2.5  # 10 / 4
    assert cases_for_two_shares(0.5, 0.75, power=0.9, design=2.0) == 154


def test_an_effect_that_cannot_be_seen_is_none():
    assert effect_seen_between_two_shares(0.5, 2) is None
    assert effect_seen_between_two_shares(1.0, 10_000) is None
    assert effect_seen_paired(0.1, 3) is None


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="difference of 0"):
        cases_for_two_shares(0.3, 0.3)
    with pytest.raises(ValueError, match="differ"):
        cases_for_paired(0.3, 0.3)
    with pytest.raises(ValueError, match="share came as nan"):
        cases_for_two_shares(math.nan, 0.3)
    with pytest.raises(ValueError, match="power"):
        cases_for_two_shares(0.2, 0.3, power=80)
    with pytest.raises(ValueError, match="design effect"):
        cases_for_two_shares(0.2, 0.3, design=0.5)
    with pytest.raises(ValueError, match="alike"):
        design_effect([], 0.1)


def test_the_power_is_what_was_wished():
    chance = np.random.default_rng(8)
    cases = cases_for_two_shares(0.13, 0.10)
    first, second = (chance.binomial(cases, share, 20_000) / cases for share in (0.13, 0.10))
    middle = (first + second) / 2
    seen = np.abs(first - second) > 1.96 * np.sqrt(2 * middle * (1 - middle) / cases)
    assert np.mean(seen) == pytest.approx(0.8, abs=0.015)
    cases = cases_for_paired(0.03, 0.06)
    won = chance.multinomial(cases, [0.03, 0.06, 0.91], 20_000)
    seen = np.abs(won[:, 0] - won[:, 1]) > 1.96 * np.sqrt(won[:, 0] + won[:, 1])
    assert np.mean(seen) == pytest.approx(0.8, abs=0.015)


@settings(deadline=None)
@given(shares, st.integers(500, 100_000), st.floats(1, 5))
def test_the_inverse_gives_the_cases_back(share, cases, design):
    effect = effect_seen_between_two_shares(share, cases, design=design)
    if effect is not None:
        assert cases_for_two_shares(share, share + effect, design=design) == pytest.approx(cases, abs=1)
    effect = effect_seen_paired(share, cases, design=design)
    if effect is not None:
        only = ((share - effect) / 2, (share + effect) / 2)
        assert cases_for_paired(*only, design=design) == pytest.approx(cases, abs=1)
