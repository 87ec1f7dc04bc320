"""Two bundles on the same cases: is one better, and by how much?

mcnemar     cases as independent: quick, and too sure of itself where one user has many cases
compare     users as independent: the difference with its interval, and a permutation test

What a missing case scores
    a case that only one bundle has                 it must not come here: pairs are wanted
    cases on which both bundles do the same         nothing in either test: only where they differ is there evidence
    no such case                                    p = 1: the bundles cannot be told apart
    no cases                                        None, "not measured"
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval.arrays import Floats, codes, flat, same_length
from eval.measures import LEVEL, RESAMPLES, Interval
from eval.uncertainty import bootstrap, sums_by_user

#: Permutations more than draws of a bootstrap: a p-value near 0.05 needs them.
PERMUTATIONS = 10_000


@dataclass(frozen=True, slots=True)
class Comparison:
    """The second bundle's mean less the first's, over the same cases."""

    difference: float
    interval: Interval | None  # bootstrap by user; None where users do not differ, or there is one
    p: float  # permutation by user: that chance alone does as much
    cases: int
    users: int


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided p of the exact test on discordant pairs: cases that only one of the two bundles got right.

    McNemar, "Note on the Sampling Error of the Difference Between Correlated Proportions", 1947, by the binomial.
    """
    from scipy.stats import binom

    if min(only_first, only_second) < 0:
        raise ValueError(f"discordant pairs came as {only_first} and {only_second}: counts are wanted")
    fewer = min(only_first, only_second)
    return min(1.0, 2 * float(binom.cdf(fewer, only_first + only_second, 0.5)))


def compare(
    users: Sequence[Hashable] | NDArray[np.generic],
    first: ArrayLike,
    second: ArrayLike,
    *,
    level: float = LEVEL,
    seed: int = 0,
    draws: int = RESAMPLES,
    permutations: int = PERMUTATIONS,
) -> Comparison | None:
    """Compares what two bundles score on each case [cases]: 1 for a win, -1 for a loss, a reciprocal rank."""
    a, b = flat("first", first), flat("second", second)
    if not same_length(users=users, first=a, second=b):
        return None
    sums = sums_by_user(users, b - a, np.ones(len(a)))
    return Comparison(
        difference=float(np.mean(b - a)),
        interval=bootstrap(sums, level=level, seed=seed, draws=draws),
        p=permutation_by_user(sums[:, 0], seed=seed, permutations=permutations),
        cases=len(a),
        users=codes(users)[1],
    )


def permutation_by_user(differences: ArrayLike, *, seed: int = 0, permutations: int = PERMUTATIONS) -> float:
    """Two-sided p that users' summed differences [users] are this far from 0 when the bundles' names are chance.

    A user's cases swap together (Fisher, "The Design of Experiments", 1935, section 21). The sum that was observed
    counts as one of the permutations, so that p is never 0 and the test never too eager (Phipson & Smyth, "Permutation
    P-values Should Never Be Zero", 2010).
    """
    given = flat("differences", differences)
    sizes, counts = np.unique(np.abs(given[given != 0]), return_counts=True)
    if not len(sizes):
        return 1.0
    signs = np.random.default_rng(seed).binomial(counts, 0.5, (permutations, len(counts)))
    sums: Floats = (2 * signs - counts) @ sizes
    observed = abs(float(given.sum()))
    return float((1 + np.count_nonzero(np.abs(sums) >= observed - 1e-9 * sizes.sum())) / (1 + permutations))
