"""What to expect of a text that was hardly seen: rare texts borrow strength from those with the same meaning.

A tree, text -> interpretation -> intent -> everything, of any number of levels. At each level the rates of the children
of one parent scatter around the parent's rate m as Beta(kappa m, kappa (1 - m)), with one kappa per level. `kappa` is
a strength in equivalent turns: large where the children of a parent are alike. It is fitted by the log itself.

1. Upwards: each node's turns, at what they are `worth` to its parent. A text's rate is one draw, however often said.
2. Downwards: each node's prior from the turns of all others (its own would count twice), from everything inwards: the
   parent's rate, itself shrunk to its own parent's. A parent that is hardly known passes on less: see `passed_on`.
3. Every kappa by the largest marginal likelihood under 1 and 2, a level at a time, a few rounds from the defaults.

Source: Gelman et al., "Bayesian Data Analysis", 3rd ed. 2013, sec. 5.3, with these departures:

1. The strengths are the likeliest ones, not integrated over (empirical Bayes).
2. What a level knows of another is passed as a Beta of the right mean and variance, not as a joint posterior.
3. Turns and successes may be fractions, through the gamma function. Rates of successes that are probabilities scatter
   less than those of coin tosses, so that kappa comes out too large: some 1.6 times where turns are judged 0.9 or 0.1,
   three times where 0.8 or 0.2. That is the reason for `most`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewrite.posterior import ROUNDING, Beta

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: The range of strengths, in equivalent turns.
WEAKEST, STRONGEST = 0.5, 100.0
#: Points of the first grid of strengths, in equal steps of the logarithm, and of the second, within a step of its best.
COARSE, FINE = 13, 9
#: A child with fewer turns says nothing of scatter: a single toss has the same chances however its rate was drawn.
INFORMATIVE_TURNS = 2.0
#: With fewer informative children the strength is not fitted but DEFAULT_STRENGTH.
FEWEST = 10
DEFAULT_STRENGTH = 2.0
#: Rounds of fitting all levels in turn, from the defaults.
SWEEPS = 3
#: A prior is worth at most so many turns, so that a text's own evidence always wins in the end.
MOST = 10.0


@dataclass(frozen=True, slots=True)
class Level:
    """The strength of one level, for the manifest: of texts around the innermost group, of groups around the next."""

    strength: float  # equivalent turns
    children: int  # 0: no text has a group here, so the level was left out
    informative: int  # children with the turns to tell; below FEWEST, the strength is the default


@dataclass(frozen=True, slots=True, eq=False)
class Shrunk:
    """Priors of all texts, [texts], which hold nothing of the text's own turns, and `len(groups) + 1` levels.

    `levels[0]` is that of the texts, `levels[i]` that of the nodes of `groups[i - 1]`.
    """

    prior: Beta
    levels: tuple[Level, ...]


def shrink(success: ArrayLike, turns: ArrayLike, groups: Sequence[ArrayLike] = (), *, most: float = MOST) -> Shrunk:
    """A Beta prior for the success rate of every text, from all other texts.

    `success` and `turns` are [texts], fractions allowed, 0 <= success <= turns but for rounding. `groups` are integer
    arrays [texts], innermost first, say interpretations and intents; everything is the last group and goes without
    saying. -1 means that none is known: such a text is alone in its group. A group seen under two outer groups counts
    as two. A level where no text has a group is left out. The strength of a prior is at most `most`, in equivalent
    turns; that of a text alone in all its groups is what `passed_on` leaves, which may be little.

    Raises ValueError for arrays of other shapes, types or values.

    >>> shrunk = shrink([9.0, 0.0], [10.0, 0.0], [[4, 4]])
    >>> shrunk.prior.mean[1] > 0.7, shrunk.prior.mean[0]  # the first text knows of no other turn
    (np.True_, np.float64(0.5))
    """
    s, n = _checked(success, turns)
    if not most > 0:
        raise ValueError(f"priors were to be worth at most {most} turns; wanted more than 0")
    parents, used = _tree(groups, len(n))
    strengths = [DEFAULT_STRENGTH] * len(parents)
    for _ in range(SWEEPS):
        for depth in range(len(parents)):
            tree = _totals(parents, s, n, strengths)
            strengths[depth] = fit_strength(*tree[depth], *_parent(depth, parents, tree, strengths))
    tree = _totals(parents, s, n, strengths)
    levels = [Level(DEFAULT_STRENGTH, 0, 0)] * (len(groups) + 1)
    for place, strength, (_, size) in zip(used, strengths, tree, strict=False):
        levels[place] = Level(strength, len(size), int(np.sum(size >= INFORMATIVE_TURNS)))
    mean, known = _parent(0, parents, tree, strengths)
    return Shrunk(Beta.from_mean(mean, np.minimum(passed_on(strengths[0], known), most)), tuple(levels))


def fit_strength(success: ArrayLike, turns: ArrayLike, mean: ArrayLike, known: ArrayLike = np.inf) -> float:
    """The likeliest strength kappa of the Beta priors of children with these parents' means, in equivalent turns.

    `success`, `turns` and `mean` are [children], 0 < mean < 1; `known` is the strength of what is known of each
    parent's own rate, [children] or one for all: infinite, the default, if the means are certain. The grid reaches
    from 0.5 to 100. Children with fewer than INFORMATIVE_TURNS are left out. With fewer than FEWEST others,
    DEFAULT_STRENGTH is returned. The maximum is found on a grid of logarithms, then on a finer one around its best,
    then on the parabola through the finer one's best and its neighbours: no step depends on a start or a tolerance.
    """
    s, n = _checked(success, turns)
    m, sure = (np.broadcast_to(np.asarray(part, np.float64), n.shape) for part in (mean, known))
    if not (np.all((m > 0) & (m < 1)) and np.all(sure > 0)):
        raise ValueError("a parent's mean or strength is out of range; wanted 0 < mean < 1 and strength above 0")
    told = n >= INFORMATIVE_TURNS
    if told.sum() < FEWEST:
        return DEFAULT_STRENGTH
    s, n, m, sure = s[told], n[told], m[told], sure[told]

    def height(log_strength: float) -> float:
        return log_marginal(s, n, m, passed_on(np.exp(log_strength), sure))

    low, high = np.log(WEAKEST), np.log(STRONGEST)
    grid = np.linspace(low, high, COARSE)
    best = grid[np.argmax([height(point) for point in grid])]
    step = (high - low) / (COARSE - 1)
    grid = np.linspace(max(low, best - step), min(high, best + step), FINE)
    return float(np.exp(_peak(grid, np.array([height(point) for point in grid]))))


def log_marginal(success: Floats, turns: Floats, mean: Floats, strength: Floats) -> float:
    """Logarithm of the beta-binomial likelihood of all children, without the binomial coefficients, which are constant.

    Gelman et al. 2013, sec. 5.3, eq. 5.8; all [children].
    """
    from scipy.special import betaln

    a, b = strength * mean, strength * (1 - mean)
    return float(np.sum(betaln(a + success, b + turns - success) - betaln(a, b)))


def passed_on(strength: ArrayLike, known: ArrayLike) -> Floats:
    """The strength of what is known of a child whose parent's rate is itself known with the strength `known` only.

    Both in equivalent turns. If theta is Beta(kappa mu, kappa (1 - mu)) and mu is Beta with the strength nu, the law of
    total variance gives Var theta = E[mu](1 - E[mu]) / (1 + e) with e = kappa nu / (kappa + nu + 1), and kappa itself
    where nu is infinite. Hence a Beta of strength e has the mean and the variance of theta.
    """
    kappa, nu = np.asarray(strength, np.float64), np.asarray(known, np.float64)
    return np.asarray(kappa / (1 + (kappa + 1) / nu))


def worth(turns: ArrayLike, strength: float) -> Floats:
    """How much each of a child's turns tells of its parent's rate, [children], 0 to 1: all of them less than kappa + 1.

    The turns of one child share its rate, which is a single draw around its parent's. Their design effect is
    1 + (n - 1) rho with the intraclass correlation rho = 1 / (kappa + 1) (Kish, "Survey Sampling", 1965, sec. 5.4).
    """
    return np.asarray((strength + 1) / (strength + np.maximum(np.asarray(turns, np.float64), 1)))


def _totals(parents: Sequence[Ints], s: Floats, n: Floats, strengths: Sequence[float]) -> list[tuple[Floats, Floats]]:
    """Successes and turns of every node, the turns at what they are worth to it; from the texts to everything."""
    tree = [(s, n)]
    for parent, strength in zip(parents, strengths, strict=True):
        told = worth(tree[-1][1], strength)
        s, n = (np.bincount(parent, part * told).astype(np.float64) for part in tree[-1])
        tree.append((s, n))
    return tree


def _parent(
    depth: int, parents: Sequence[Ints], tree: Sequence[tuple[Floats, Floats]], strengths: Sequence[float]
) -> tuple[Floats, Floats]:
    """Mean and strength of what all turns but a node's own say of its parent's rate, for all nodes of a depth, [nodes].

    Upwards, each ancestor less the node; then, from everything with Jeffreys' prior Beta(1/2, 1/2) downwards, each
    ancestor's posterior. With that prior no mean is ever 0 or 1.
    """
    s, n = tree[depth]
    place = np.arange(len(n), dtype=np.int64)
    less_s, less_n = np.zeros_like(s), np.zeros_like(n)  # of the ancestor, without the node
    ancestors = []
    for level in range(depth, len(parents)):
        whole, part = worth(n, strengths[level]), worth(less_n, strengths[level])
        place = parents[level][place]
        above_s, above_n = tree[level + 1][0][place], tree[level + 1][1][place]
        less_s, less_n = above_s - s * whole + less_s * part, above_n - n * whole + less_n * part
        less_n = np.where(less_n > ROUNDING * np.minimum(above_n, 1), less_n, 0)
        less_s = np.clip(less_s, 0, less_n)
        s, n = above_s, above_n
        ancestors.append((less_s, less_n))
    mean, known = np.full(len(place), 0.5), np.full(len(place), 1.0)
    for level in range(len(parents) - 1, depth - 1, -1):
        less_s, less_n = ancestors[level - depth]
        if level + 1 < len(parents):
            known = passed_on(strengths[level + 1], known)
        mean = np.where(less_n > 0, (known * mean + less_s) / (known + less_n), mean)
        known = known + less_n
    return mean, known


def _peak(x: Floats, y: Floats) -> float:
    """Where the parabola through the highest point and its neighbours has its top; at an end, that end."""
    top = int(np.argmax(y))
    if top in (0, len(x) - 1):
        return float(x[top])
    left, right = y[top] - y[top - 1], y[top] - y[top + 1]
    if left + right <= 0:
        return float(x[top])
    return float(x[top] + (x[top + 1] - x[top]) * (left - right) / (2 * (left + right)))


def _checked(success: ArrayLike, turns: ArrayLike) -> tuple[Floats, Floats]:
    s, n = np.asarray(success, np.float64), np.asarray(turns, np.float64)
    if s.ndim != 1 or s.shape != n.shape:
        raise ValueError(f"successes and turns came in the shapes {s.shape} and {n.shape}; wanted two of one length")
    slack = ROUNDING * (1 + np.abs(n))
    sound = (s >= -slack) & (s <= n + slack) & np.isfinite(n)
    if not sound.all():
        raise ValueError(f"{s[~sound][0]} successes in {n[~sound][0]} turns; wanted 0 <= success <= turns")
    n = np.maximum(n, 0)
    return np.clip(s, 0, n), n


def _tree(groups: Sequence[ArrayLike], texts: int) -> tuple[list[Ints], list[int]]:
    """Every node's parent, a level at a time from the texts outwards, and which of the levels of `Shrunk` these are.

    A node without a group has one of its own. Nodes are told apart by their own group and all those around it.
    """
    ways: list[tuple[int, Ints, NDArray[np.bool_]]] = []
    way = np.zeros(texts, np.int64)
    for place, group in reversed(list(enumerate(groups, 1))):
        names = np.asarray(group)
        if names.shape != (texts,) or not np.issubdtype(names.dtype, np.integer) or np.any(names < -1):
            raise ValueError(
                f"a group is {names.dtype} of shape {names.shape}; wanted integers from -1 of shape ({texts},)"
            )
        way = _numbered(way * texts + _numbered(names))
        if np.any(names >= 0):
            ways.append((place, way, names >= 0))
    parents, used = [], [0]
    node = first = np.arange(texts)  # of every text, and a text of every node
    for place, way, inside in reversed(ways):
        outer = _numbered(np.where(inside, way, texts + node))
        parents.append(outer[first])
        used.append(place)
        node, first = outer, np.unique(outer, return_index=True)[1]
    return [*parents, np.zeros(len(first), np.int64)], used


def _numbered(names: NDArray[np.integer]) -> Ints:
    numbers: Ints = np.unique(names, return_inverse=True)[1]
    return numbers
