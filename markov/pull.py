"""Scores of one target from all sources by a local pull: what `push` does, backwards, and with a bound on each score.

The column of target j solves x = R_j e_j + Q x. What has not been passed on yet waits at its state; where more waits
than the state's threshold, it is counted and passed to those that lead there (Andersen, Borgs, Chayes et al., "Local
computation of PageRank contributions", WAW 2007). Differs from theirs in that
1. the threshold of state i is tolerance * w_i with w = a / 2 + c / (2 max t), where a = R 1 is the probability of
   ending and c, t are the certificate of `solution.Solution`. Then N w <= 1/2 + t / (2 max t) <= 1, so that what
   waits, N r, is below the tolerance in every score, however long the paths are;
2. what waits is counted in such thresholds, r_i / w_i, so that one number is the threshold of all;
3. loops are divided out, as in `fixed_point.Loopless`.

A push from u touches all that u's success may come to, a pull to j only the sources that reach j with more than the
tolerance: for the best targets of *every* source the pulls to every target are the fewer steps by far.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import breadth_first_order

from markov.fixed_point import Loopless
from markov.solution import Solution

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

PASSES = 100  # how often a target may pull to all its component: beyond it the bound is larger than asked for


@dataclass(frozen=True, slots=True, eq=False)
class Backward:
    """Rows of a chain that lead to each other alone, turned round, without their loops, and in units of w."""

    states: Ints  # [rows] int64
    arriving: sp.csr_array  # [rows, rows] float64, from row i to each v that leads to it: Q_vi w_i / (w_v (1 - Q_vv))
    direct: Floats  # [rows] float64, R[j, success] over w_j (1 - Q_jj)
    weight: Floats  # [rows] float64, w over 1 - Q_ii
    share: Floats  # [rows] float64, a bound on N w, at most 1

    @classmethod
    def of(cls, Q: sp.csr_array, R: Floats, solution: Solution, states: Ints) -> Backward:
        """The rows of `states` [rows] int64, whose edges end among them; other shapes as `solve_dense`.

        They are put in an order in which those that lead to one state lie together, which the caches like.
        """
        states = states[_near(Loopless.of(Q, R, states).moving)]
        chain, steps = Loopless.of(Q, R, states), solution.steps[states]
        weight = chain.known[:, 1] * (R[states].sum(axis=1) / 2.0 + solution.certificate / (2.0 * steps.max()))
        moving = sp.csr_array(chain.moving.multiply(1.0 / weight[:, np.newaxis]).multiply(weight[np.newaxis, :]))
        moving.eliminate_zeros()
        return cls(
            states,
            sp.csr_array(moving.T),
            chain.known[:, 0] / weight,
            weight,
            0.5 + steps / (2.0 * steps.max()),
        )


def _near(moving: sp.csr_array) -> Ints:
    """Rows [rows] int64 as a search from the most popular one against the edges finds them, then all others."""
    popular = int(np.bincount(moving.indices, minlength=moving.shape[0]).argmax())
    found = breadth_first_order(sp.csr_array(moving.T), popular, return_predecessors=False)
    rest = np.ones(moving.shape[0], dtype=bool)
    rest[found] = False
    return np.concatenate([found, np.flatnonzero(rest)])


def plain_pull(
    chain: Backward, targets: Ints, tolerance: float, max_pulls: int
) -> tuple[sp.csr_array, float]:
    """Scores of `targets` [s] int64 (rows) from each row, [s, rows], from below; and the largest waiting r / w."""
    s = len(targets)
    shape = (s, len(chain.states))
    waiting = sp.csr_array((chain.direct[targets], targets, np.arange(s + 1)), shape=shape)
    scores, pulls = sp.csr_array(shape), np.zeros(s, dtype=np.int64)
    while True:
        row = np.repeat(np.arange(s), np.diff(waiting.indptr))
        pulled = (waiting.data >= tolerance) & (pulls < max_pulls)[row]
        if not pulled.any():
            scores.data *= chain.weight[scores.indices]
            return scores, float(waiting.data.max(initial=0.0))
        pulls += np.bincount(row[pulled], minlength=s)
        count = np.concatenate([[0], np.cumsum(np.bincount(row[pulled], minlength=s))])
        counted = sp.csr_array((waiting.data[pulled], waiting.indices[pulled], count), shape=shape)
        waiting.data[pulled] = 0.0
        scores, waiting = scores + counted, waiting + counted @ chain.arriving
        waiting.eliminate_zeros()
