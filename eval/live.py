"""A live A/B test that may be looked at after every request, and stopped at any look: the sharper rung.

How it differs from `eval.sequence`: a coin of known weight decides each request's arm, and knowing it is worth a good
part of the requests. Before a request, its arm and outcome are predicted from those before; after it, evidence against
a difference d grows by the probability that was predicted over that of the nearest pair of rates that differ by d.
This is an e-variable, for what is predicted is projected on a convex set (Grünwald, de Heide & Koolen, "Safe Testing",
JRSS B 2024; Turner, Ly & Grünwald, "Generic E-variables for Exact Sequential k-Sample Tests that Allow for Optional
Stopping", 2024), so that the product ever reaches 1 / alpha with probability alpha at most (Ville 1939). Differences
not refuted so far are the confidence sequence.

1. The bound is exact at any number of requests. The rates may move with the hour, as long as they move together.
2. It wants a coin for each request, or for each user with one yes or no counted for each: requests of one user in one
   arm are not independent.
3. Differences are tried on a grid. The interval reaches to the next refuted one, and is no finer than `step`.
4. Requests told in one batch are predicted from those before the batch: small batches learn more.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from eval.arrays import Floats, fraction
from eval.measures import LEVEL, Interval
from eval.sequence import Arms

#: Halvings to find the nearest pair: of an interval of length 1 at most.
HALVINGS = 52  # the precision of a rate: near 0 and 1 the entropy is steep, and fewer leave a gain too large


class LiveTest:
    """A running test: tell it of requests as they come, look when you like; each is O(1).

    Its interval only ever shrinks and its p only ever falls, for what was refuted once stays refuted.
    """

    def __init__(self, level: float = LEVEL, treated_share: float = 0.5, step: float = 0.002) -> None:
        self.level = fraction("level", level)
        self.treated_share = fraction("treated_share", treated_share)
        self.step = fraction("step", step)
        self.arms = Arms()
        self._now = np.zeros(len(self._grid))  # log evidence against each difference [differences] float64
        self._most = np.zeros(len(self._grid))  # the most it ever was [differences] float64

    def add(
        self,
        control_successes: int = 0,
        control_failures: int = 0,
        treated_successes: int = 0,
        treated_failures: int = 0,
    ) -> None:
        """One request or a batch of them, all since the last call."""
        batch = Arms(control_successes, control_failures, treated_successes, treated_failures)
        gains = log_gains(*predicted(self.arms), self.treated_share, self._grid)
        self._now += gains @ np.array(batch.counts, np.float64)
        self._most = np.maximum(self._most, self._now)
        self.arms = self.arms + batch

    @property
    def p(self) -> float:
        """That the arms are alike: valid at any look (Johari et al., "Always Valid Inference", 2022)."""
        return float(np.exp(-self._most[len(self._grid) // 2]))

    def interval(self) -> Interval | None:
        """Of the difference of rates, treated less control; None where all are refuted, which a coin that is not what
        was said can do, or a difference that moves."""
        standing = np.flatnonzero(self._most < -math.log1p(-self.level))
        if not len(standing):
            return None
        ends = np.concatenate([[-1.0], self._grid, [1.0]])
        return Interval(float(ends[standing[0]]), float(ends[standing[-1] + 2]))

    @cached_property
    def _grid(self) -> Floats:
        """Differences, with 0 in the middle [differences] float64."""
        many = math.ceil(1 / self.step)
        return np.arange(1 - many, many) / many


def predicted(arms: Arms) -> tuple[float, float]:
    """The next success's probability under control and when treated: (s + 1/2) / (n + 1) (Krichevsky & Trofimov, "The
    Performance of Universal Encoding", 1981)."""
    s, f, t, g = arms.counts
    return (s + 0.5) / (s + f + 1), (t + 0.5) / (t + g + 1)


def log_gains(control: ArrayLike, treated: ArrayLike, treated_share: float, difference: ArrayLike) -> Floats:
    """By how much each kind of request adds to the log evidence against a difference, given predicted rates.

    Arrays broadcast; the last axis is control success, control failure, treated success, treated failure [..., 4].
    """
    p, q, d = np.broadcast_arrays(*(np.asarray(each, np.float64) for each in (control, treated, difference)))
    near = nearest_control(p, q, treated_share, d)
    pairs = ((p, near), (1 - p, 1 - near), (q, near + d), (1 - q, 1 - near - d))
    return np.stack([np.log(above / below) for above, below in pairs], axis=-1)


def nearest_control(control: Floats, treated: Floats, treated_share: float, difference: Floats) -> Floats:
    """Control's rate in the pair of this difference that is nearest to the predicted one in relative entropy [...].

    The entropy is convex in the rate, so that its slope is halved down to 0.
    """
    low, high = np.maximum(0.0, -difference), np.minimum(1.0, 1.0 - difference)
    for _ in range(HALVINGS):
        p = (low + high) / 2
        q = p + difference
        slope = (1 - treated_share) * (p - control) / (p * (1 - p)) + treated_share * (q - treated) / (q * (1 - q))
        low, high = np.where(slope < 0, p, low), np.where(slope < 0, high, p)
    return np.asarray((low + high) / 2)
