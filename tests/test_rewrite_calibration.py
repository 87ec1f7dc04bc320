"""Calibration: figures that can be checked by hand, then its laws, then misuse."""

from __future__ import annotations

import json
import math
import timeit

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import isotonic_regression

from eval import outcomes as judged
from rewrite.calibration import TOLERANCE, Calibration, brier, expected_calibration_error
from rewrite.errors import ModelError

SCORES = st.floats(-1e6, 1e6).map(lambda x: round(x, 3))
SEEN = st.lists(st.tuples(SCORES, st.booleans()), min_size=1, max_size=60)


def fitted(seen: list[tuple[float, bool]]) -> Calibration:
    return Calibration.fit(*zip(*seen, strict=True))


def test_two_blocks():
    # At 0 one of four is right, with half a success more 1.5 of 4.5; at 1 three of four, 3 of 4.5 with half a failure.
    calibration = Calibration.fit([0] * 4 + [1] * 4, [1, 0, 0, 0, 1, 1, 1, 0])
    assert calibration == Calibration((0, 1), (1.5 / 4.5, 3 / 4.5))
    assert calibration.one(0.5) == pytest.approx(0.5)
    assert calibration.one(-9) == calibration.one(0)
    assert calibration.one(9) == calibration.one(1)


def test_what_falls_is_pooled():
    # Right at 1, wrong at 2: pooled, 1 of 2. Below it one failure with half a success more, above it the mirror image.
    calibration = Calibration.fit([0, 1, 2, 3], [0, 1, 0, 1])
    np.testing.assert_allclose(calibration([0, 1, 1.5, 2, 3]), [0.5 / 1.5, 0.5, 0.5, 0.5, 1 / 1.5])


def test_the_ends_are_jeffreys():
    ten = Calibration.fit(np.arange(20), [0] * 10 + [1] * 10)
    assert ten.one(0) == pytest.approx(0.5 / 10.5)
    assert ten.one(19) == pytest.approx(10 / 10.5)


@pytest.mark.parametrize(("outcome", "expected"), [(False, 0.5 / 11), (True, 10.5 / 11)])
def test_one_outcome_only(outcome: bool, expected: float):
    calibration = Calibration.fit(np.arange(10), [outcome] * 10)
    np.testing.assert_allclose(calibration([-1, 0, 4.5, 9, 20]), expected)


def test_one_score_only():
    calibration = Calibration.fit([0.3] * 4, [1, 1, 0, 1])
    np.testing.assert_allclose(calibration([-1, 0.3, 2]), 3.5 / 5)


def test_weights_count_requests():
    thrice = Calibration.fit([0, 0, 1, 1, 1], [0, 1, 1, 1, 0])
    assert Calibration.fit([0, 0, 1, 1, 5], [0, 1, 1, 0, 1], [1, 1, 2, 1, 0]) == thrice


def test_it_finds_the_probability_that_is_there():
    draw = np.random.default_rng(3)
    score = draw.uniform(-2, 2, 20_000)
    truth = 1 / (1 + np.exp(-3 * score))
    calibration = Calibration.fit(score, draw.random(20_000) < truth)
    new = draw.uniform(-2, 2, 20_000)
    truth = 1 / (1 + np.exp(-3 * new))
    happened = draw.random(20_000) < truth
    assert np.abs(calibration(new) - truth).mean() < 0.015
    assert expected_calibration_error(calibration(new), happened) < 0.02
    assert expected_calibration_error((new + 2) / 4, happened) > 0.1
    assert brier(calibration(new), happened) < brier((new + 2) / 4, happened)


def test_knots_are_few_and_move_nothing():
    draw = np.random.default_rng(4)
    score = np.sort(draw.uniform(-2, 2, 20_000))
    happened = draw.random(20_000) < 1 / (1 + np.exp(-3 * score))
    calibration = Calibration.fit(score, happened)
    exact = isotonic_regression(np.append(np.append(0.5, happened), 0.5)).x  # a whole request at either end
    inner = slice(500, -500)
    assert np.abs(calibration(score) - exact[1:-1])[inner].max() <= TOLERANCE + 1e-9
    assert len(calibration.knots) <= 100


def test_one_call_takes_no_time():
    calibration = Calibration(tuple(range(100)), tuple(np.linspace(0.01, 0.99, 100)))
    assert min(timeit.repeat(lambda: calibration.one(61.8), number=2_000, repeat=5)) / 2_000 < 3e-6


@given(SEEN, st.lists(st.floats(-2e6, 2e6), min_size=2, max_size=30))
def test_it_never_falls_and_stays_inside(seen: list[tuple[float, bool]], asked: list[float]):
    p = fitted(seen)(np.sort(asked))
    assert ((p > 0) & (p < 1)).all()
    assert (np.diff(p) >= 0).all()


@given(SEEN, st.lists(st.floats(allow_nan=False), min_size=1, max_size=30))
def test_one_is_what_many_are(seen: list[tuple[float, bool]], asked: list[float]):
    calibration = fitted(seen)
    assert calibration(asked).tolist() == [calibration.one(x) for x in asked]


@given(SEEN, st.randoms(use_true_random=False))
def test_order_does_not_matter(seen: list[tuple[float, bool]], random):
    other = random.sample(seen, len(seen))
    np.testing.assert_allclose(fitted(seen)([x for x, _ in seen]), fitted(other)([x for x, _ in seen]), atol=1e-9)


@given(SEEN)
def test_the_mean_is_kept(seen: list[tuple[float, bool]]):
    # Isotonic regression keeps the mean: that of the outcomes, with the request that is added, half right.
    calibration = fitted(seen)
    x, y = (np.array(each, float) for each in zip(*seen, strict=True))
    at = calibration(np.append(x, [x.min(), x.max()]))
    mean = (at[:-2].sum() + at[-2:].sum() / 2) / (len(x) + 1)
    assert mean == pytest.approx((y.sum() + 0.5) / (len(y) + 1), abs=TOLERANCE + 1e-9)


@given(SEEN)
def test_it_survives_json(seen: list[tuple[float, bool]]):
    calibration = fitted(seen)
    assert Calibration.from_dict(json.loads(json.dumps(calibration.as_dict(), allow_nan=False))) == calibration


@given(arrays(float, 30, elements=st.integers(0, 100).map(lambda x: x / 100)), arrays(bool, 30))
def test_the_measures_are_those_of_the_judge(p, happened):
    assert brier(p, happened) == pytest.approx(judged.brier(p, happened))
    expected = judged.calibration_error(p, happened, 10, judged.Binning.EQUAL_MASS)
    assert expected_calibration_error(p, happened) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("scores", "outcomes", "weights", "said"),
    [
        ([1, math.nan], [0, 1], None, "1 of 2 scores cannot be used, the first being nan at place 1"),
        ([1, math.inf], [0, 1], None, "inf at place 1; wanted finite"),
        ([1, 2], [0, math.nan], None, "outcomes cannot be used"),
        ([1, 2], [0, 2], None, "2.0 at place 1; wanted true, false, or a probability"),
        ([1, 2], [0, 1], [1, -1], "weights cannot be used"),
        ([1, 2], [0, 1], [0, 0], "count for nothing"),
        ([], [], None, "0 requests"),
        ([1, 2], [1], None, r"scores \(2,\), outcomes \(1,\)"),
    ],
)
def test_what_cannot_be_fitted(scores, outcomes, weights, said: str):
    with pytest.raises(ValueError, match=said):
        Calibration.fit(scores, outcomes, weights)


def test_what_cannot_be_asked():
    calibration = Calibration((0, 1), (0.2, 0.6))
    for ask in (calibration.one, calibration, lambda x: calibration([0, x])):
        with pytest.raises(ValueError, match="NaN"):
            ask(math.nan)
    with pytest.raises(ValueError, match="bins"):
        expected_calibration_error([0.5], [1], 0)


@pytest.mark.parametrize(
    ("knots", "values"),
    [((), ()), ((0,), (0.1, 0.2)), ((1, 0), (0.1, 0.2)), ((0, 1), (0.2, 0.1)), ((0, 1), (0, 0.5)), ((0, 1), (0.5, 1)),
     ((0, math.nan), (0.1, 0.2)), ((0, 1), (0.1, math.nan))],
)  # fmt: skip
def test_what_is_no_calibration(knots, values):
    with pytest.raises(ValueError):
        Calibration(knots, values)
    with pytest.raises(ModelError, match="no calibration"):
        Calibration.from_dict({"version": 1, "knots": knots, "values": values})


@pytest.mark.parametrize("raw", [{}, {"version": 2, "knots": [0], "values": [0.5]}, {"version": 1, "knots": 3}, []])
def test_what_is_no_record_of_one(raw):
    with pytest.raises(ModelError, match="Fit it again"):
        Calibration.from_dict(raw)
