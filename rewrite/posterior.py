"""What is known of a success rate: Beta posteriors, their products and quantiles.

A rate seen to succeed s times in n turns under the prior Beta(a, b) is Beta(a + s, b + n - s); s and n may be
fractions, since a success is a probability. `strength`, a + b, is in equivalent turns. Every array has one place per
pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

#: Successes may be below nothing, or above the turns, by this many turns and this share of them: rounding of long sums.
ROUNDING = 1e-6
#: Narrowest and widest variances of a matched Beta, as shares of the greatest that its mean allows.
NARROWEST, WIDEST = 1e-9, 1 - 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Beta:
    """Independent Beta distributions, one per pair: `a` and `b` are [pairs] float64, finite and above 0.

    Raises ValueError for parameters of other shapes or values.

    >>> Beta([1.0], [1.0]).updated([9.0], [10.0]).mean
    array([0.83333333])
    """

    a: Floats
    b: Floats

    def __post_init__(self) -> None:
        a, b = np.asarray(self.a, np.float64), np.asarray(self.b, np.float64)
        if a.ndim != 1 or a.shape != b.shape:
            raise ValueError(f"a Beta has parameters of shapes {a.shape} and {b.shape}; wanted [pairs] for both")
        for name, values in (("a", a), ("b", b)):
            sound = np.isfinite(values) & (values > 0)
            if not sound.all():
                raise ValueError(f"a Beta has {name} = {values[~sound][0]}; wanted finite parameters above 0")
        object.__setattr__(self, "a", a)
        object.__setattr__(self, "b", b)

    @classmethod
    def from_mean(cls, mean: ArrayLike, strength: ArrayLike) -> Beta:
        """Betas of these means, above 0 and below 1, and strengths in equivalent turns; [pairs] or one for all."""
        m, n = np.broadcast_arrays(np.atleast_1d(np.asarray(mean, np.float64)), np.asarray(strength, np.float64))
        return cls(m * n, (1 - m) * n)

    @property
    def mean(self) -> Floats:
        """Expected success rate, [pairs]."""
        return self.a / (self.a + self.b)

    @property
    def variance(self) -> Floats:
        """Variance of the success rate, [pairs]."""
        return self.mean * (self.b / self.strength) / (self.strength + 1)

    @property
    def strength(self) -> Floats:
        """Equivalent turns behind it, prior included, [pairs]."""
        return self.a + self.b

    def updated(self, success: ArrayLike, turns: ArrayLike) -> Beta:
        """The posterior after `success` in `turns`, both [pairs] or one for all, fractions allowed.

        Raises ValueError unless 0 <= success <= turns but for rounding.
        """
        s, n = np.asarray(success, np.float64), np.asarray(turns, np.float64)
        slack = ROUNDING * (1 + np.abs(n))
        sound = (s >= -slack) & (s <= n + slack) & np.isfinite(n)
        if not sound.all():
            worst = [float(np.broadcast_to(part, sound.shape)[~sound].flat[0]) for part in (s, n)]
            raise ValueError(f"{worst[0]} successes in {worst[1]} turns; wanted 0 <= success <= turns")
        return Beta(self.a + np.maximum(s, 0), self.b + np.maximum(n - s, 0))

    def scaled(self, factor: ArrayLike) -> Beta:
        """Older evidence believed `factor` as much, [pairs] or one for all, above 0: the mean stays, not the strength.

        The power prior (Ibrahim & Chen, "Power Prior Distributions for Regression Models", Statistical Science 15,
        2000), for which the likelihood of the older data is raised to the power `factor`.
        """
        power = np.asarray(factor, np.float64)
        return Beta(self.a * power, self.b * power)


def product(x: Beta, y: Beta) -> Beta:
    """The Beta with the mean and the variance of the product of independent x and y, [pairs].

    Fan, "The distribution of the product of independent beta variables", Communications in Statistics - Theory and
    Methods 20, 1991. With r = E[p^2] / E[p] of the product p, the strength is (1 - r) / (r - E[p]). All differences are
    written as sums of what is positive, so that nothing cancels: neither posteriors as narrow as a point nor those of
    all but certain failure or success need a case of their own.
    """
    _same_length(x, y)
    mean = x.mean * y.mean
    miss = x.b / x.strength + x.mean * (y.b / y.strength)
    r_x, r_y = (x.a + 1) / (x.strength + 1), (y.a + 1) / (y.strength + 1)
    one_less_r = x.b / (x.strength + 1) + r_x * (y.b / (y.strength + 1))
    r_less_mean = _excess(x) * r_y + x.mean * _excess(y)
    strength = one_less_r / r_less_mean
    return Beta(mean * strength, miss * strength)


def quantile(beta: Beta, q: ArrayLike) -> Floats:
    """The rate below which the share `q` of each Beta lies, [pairs]; `q` is [pairs] or one for all, within 0..1.

    `quantile(x, 0.05)` is the lower bound of one-sided confidence 0.95, `quantile(x, 0.95)` the upper.
    """
    from scipy.special import betaincinv

    share = np.asarray(q, np.float64)
    if not np.all((share >= 0) & (share <= 1)):
        raise ValueError(f"a quantile was asked for at q = {share}; wanted within 0..1")
    return np.asarray(betaincinv(beta.a, beta.b, share), np.float64)


def matched(mean: ArrayLike, variance: ArrayLike) -> Beta:
    """The Beta with these means and variances, [pairs]: m (1 - m) / v - 1 is its strength.

    A variance that no Beta of this mean has, and a mean of 0 or 1, give the nearest that there is.
    """
    m = np.clip(np.asarray(mean, np.float64), 1e-6, 1 - 1e-6)
    greatest = m * (1 - m)
    v = np.clip(np.asarray(variance, np.float64), NARROWEST * greatest, WIDEST * greatest)
    return Beta.from_mean(m, greatest / v - 1)


def quantiles(beta: Beta, q: ArrayLike) -> Floats:
    """`quantile` of every Beta at every one of `q` [points]: [pairs, points]."""
    from scipy.special import betaincinv

    share = np.asarray(q, np.float64)
    return np.asarray(betaincinv(beta.a[:, None], beta.b[:, None], share[None, :]), np.float64)


def _same_length(x: Beta, y: Beta) -> None:
    if len(x.a) != len(y.a):
        raise ValueError(f"{len(x.a)} Betas came with {len(y.a)} others; wanted as many of both")


def _excess(x: Beta) -> Floats:
    """E[x^2] / E[x] - E[x]."""
    return x.b / (x.strength * (x.strength + 1))


def exceeds(x: Beta, y: Beta, nodes: int = 48) -> Floats:
    """P(x > y) of independent x and y, [pairs]: P(y < x) averaged over the quantiles of x (Gauss-Legendre)."""
    from scipy.special import betainc

    _same_length(x, y)
    points, weights = np.polynomial.legendre.leggauss(nodes)
    below = betainc(y.a[:, None], y.b[:, None], quantiles(x, (points + 1) / 2))
    return np.asarray(np.clip((below * weights).sum(axis=1) / 2, 0.0, 1.0))
