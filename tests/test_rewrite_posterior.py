"""Beta posteriors: figures that can be checked by hand, then laws and misuse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rewrite.posterior import Beta, matched, product, quantile, quantiles


def one(a: float, b: float) -> Beta:
    return Beta(np.array([a]), np.array([b]))


def test_nine_of_ten_from_a_uniform_prior():
    beta = one(1, 1).updated(9, 10)
    assert (beta.a[0], beta.b[0]) == (10, 2)
    assert beta.mean[0] == pytest.approx(10 / 12)
    assert beta.strength[0] == 12
    assert beta.variance[0] == pytest.approx(10 * 2 / (12**2 * 13))


def test_half_believed_keeps_its_mean():
    beta = one(10, 2).scaled(0.5)
    assert (beta.a[0], beta.b[0]) == (5, 1)


def test_from_mean():
    beta = Beta.from_mean([0.25, 0.5], 8)
    np.testing.assert_allclose(beta.a, [2, 4])
    np.testing.assert_allclose(beta.b, [6, 4])


def test_the_product_of_two_uniform_rates():
    # E = 1/4, E[square] = 1/9: strength (1/4 - 1/9) / (1/9 - 1/16) = 20/7.
    beta = product(one(1, 1), one(1, 1))
    assert beta.mean[0] == pytest.approx(1 / 4)
    assert beta.strength[0] == pytest.approx(20 / 7)


def test_quantiles_by_hand():
    assert quantile(one(1, 1), 0.05)[0] == pytest.approx(0.05)
    assert quantile(one(1, 2), 0.95)[0] == pytest.approx(1 - np.sqrt(0.05))


parameters = st.floats(-1.3, 6).map(lambda power: 10**power)


@given(parameters, parameters, parameters, parameters)
def test_a_product_has_its_two_moments(a: float, b: float, c: float, d: float):
    x, y = one(a, b), one(c, d)
    both = product(x, y)
    assert both.mean[0] == pytest.approx((x.mean * y.mean)[0], rel=1e-12)
    variance = x.variance * y.variance + x.variance * y.mean**2 + y.variance * x.mean**2
    assert both.variance[0] == pytest.approx(variance[0], rel=1e-9)


def test_a_product_with_the_all_but_certain():
    x = one(30, 10)
    sure = product(x, one(1e14, 1e-9))
    np.testing.assert_allclose([sure.a[0], sure.b[0]], [30, 10], rtol=1e-6)
    needle = product(one(5e14, 5e14), one(5e14, 5e14))  # variance 0 but for what rounding leaves
    assert needle.mean[0] == pytest.approx(0.25)
    assert needle.variance[0] < 1e-15
    hopeless = product(one(0.05, 1e6), one(0.05, 1e6))
    assert 0 < hopeless.mean[0] < 1e-14


@given(parameters, parameters, st.floats(0.001, 0.999))
def test_a_quantile_has_its_share_below(a: float, b: float, q: float):
    # Where a rate is no more than rounding away from 0 or 1, no number has just that share below.
    point = quantile(one(a, b), q)[0]
    if 1e-300 < point < 1 - 1e-9:
        assert stats.beta.cdf(point, a, b) == pytest.approx(q, abs=1e-5)


@given(parameters, parameters)
def test_matched_by_its_own_moments(a: float, b: float):
    beta = one(a, b)
    again = matched(beta.mean, beta.variance)
    if 1e-5 < beta.mean[0] < 1 - 1e-5:
        assert (again.a[0], again.b[0]) == (pytest.approx(a, rel=1e-4), pytest.approx(b, rel=1e-4))


def test_the_nearest_where_there_is_none():
    wide = matched([0.5, 0.5, 1.0], [0.3, 0.0, 0.0])  # more than the greatest variance; none; a mean of 1
    np.testing.assert_allclose(wide.mean, [0.5, 0.5, 1.0], atol=1e-5)
    assert wide.variance[0] == pytest.approx(0.25, abs=1e-3)
    assert wide.variance[1] < 1e-9


def test_many_quantiles_of_each():
    two = Beta(np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    np.testing.assert_allclose(quantiles(two, [0.25, 0.81]), [[0.25, 0.81], [0.5, 0.9]])


def test_rounding_is_no_misuse():
    beta = one(1, 1).updated(np.array([-1e-9]), np.array([3.0]))
    assert (beta.a[0], beta.b[0]) == (1, 4 + 1e-9)
    assert one(1, 1).updated(3 + 1e-9, 3).b[0] == 1


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda: Beta(np.array([1.0]), np.array([1.0, 2.0])), r"\(1,\) and \(2,\)"),
        (lambda: one(0, 1), r"a = 0\.0"),
        (lambda: one(1, np.nan), "b = nan"),
        (lambda: Beta.from_mean([1.0], 5), "b = 0"),
        (lambda: one(1, 1).updated(3, 2), r"3\.0 successes in 2\.0"),
        (lambda: one(1, 1).updated(-1, 2), r"-1\.0 successes"),
        (lambda: one(1, 1).scaled(0), "a = 0"),
        (lambda: product(Beta([1.0, 1.0], [1.0, 1.0]), one(1, 1)), "2 Betas came with 1"),
        (lambda: quantile(one(1, 1), 2), "q = 2"),
    ],
)
def test_misuse_is_told(misuse, message: str):
    with pytest.raises(ValueError, match=message):
        misuse()
