"""Scores from one source by a local push: the cost hangs on what lies around the source, not on the graph.

Mass that arrives at a state scores there at once, and what of it will go on waits; the heaviest waiting mass is
pushed along its edges, until what waits can only score `tolerance` more in all. (Andersen, Chung & Lang, FOCS 2006,
push PageRank so; N is theirs without a restart.) Differs from it in that
1. mass is counted in success: the chain is that of the paths that succeed, Q_ij B_j / B_i (Doob's transform; Kemeny &
   Snell 1960, 3.5). States from which nothing succeeds drop out, and mass that ends at j is the score N[u, j] R[j,
   success];
2. so what waits is the error: sum_i r_i P(success after leaving i), the sum of all that the scores still lack. No
   score is above the exact one, and none is further below it;
3. loops are divided out, which changes no score (see `chain.SelfLoops`);
4. a round pushes all that is above a threshold, and the threshold is halved when nothing is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from markov.compiled import kernels
from markov.errors import OptionError
from markov.paths import End
from markov.solution import Solution

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

PUSHES = 1_000_000  # states pushed from one source, at most: beyond it the bound is larger than asked for
NOTHING = 1e-100  # P(success) below which a state counts as one from which nothing succeeds
WORK = 20_000  # a source, in states and edges, as a guess at whether kernels are worth it


@dataclass(frozen=True, slots=True, eq=False)
class Succeeding:
    """The chain of the paths that succeed, without loops: each row of `moving` sums to what leaves."""

    moving: sp.csr_array  # [states, states] float64, Q_ij B_j / B_i over 1 - Q_ii
    leave: Floats  # [states] float64, share of a state's success that comes after leaving it
    ends: Floats  # [states] float64, the other share: it is said last
    success: Floats  # [states] float64, B
    slack: float  # how far B may be off

    @classmethod
    def of(cls, Q: sp.csr_array, R: Floats, solution: Solution) -> Succeeding:
        """Shapes as `dense.solve_dense`."""
        n = Q.shape[0]
        B = np.where(solution.success > NOTHING, solution.success, 0.0)
        row, col = np.repeat(np.arange(n), np.diff(Q.indptr)), Q.indices
        loop = row == col
        stays = 1.0 - np.bincount(row[loop], Q.data[loop], n)  # [states] float64
        over = np.where(B > 0.0, B, 1.0) * stays
        ends = np.where(B > 0.0, np.minimum(R[:, End.SUCCESS] / over, 1.0), 0.0)
        kept = ~loop & (B[col] > 0.0) & (Q.data > 0.0)
        row, col = row[kept], col[kept]
        start = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n))])
        moving = sp.csr_array((Q.data[kept] * B[col] / over[row], col, start), shape=(n, n))
        leave = np.where((B > 0.0) & (np.diff(start) > 0), 1.0 - ends, 0.0)
        return cls(moving, leave, ends, B, solution.error_bound)


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """N[u, j] R[j, success] from below, for some sources u and the states j that mass from u came to."""

    scores: sp.csr_array  # [s, states] float64; rows in the order of the sources, columns ascending
    dropped: Floats  # [s] float64: the exact scores are higher by so much, all of a source taken together
    pushes: Ints  # [s] int64, states pushed


def push(
    chain: Succeeding,
    sources: Ints,
    *,
    tolerance: float = 1e-6,
    max_pushes: int = PUSHES,
    compiled: bool | None = None,
) -> Scores:
    """Scores from each of `sources` [s] int64, with at most `tolerance` dropped unless that takes `max_pushes`."""
    check_pushing(tolerance, max_pushes)
    fast = kernels(WORK * len(sources), compiled)
    pushed = plain_push if fast is None else fast.push
    seen, waits, pushes = pushed(chain, sources, tolerance, max_pushes)
    seen.data *= chain.ends[seen.indices] * np.repeat(chain.success[sources], np.diff(seen.indptr))
    return Scores(seen, waits * chain.success[sources] + chain.slack, pushes)


def check_pushing(tolerance: float, max_pushes: int) -> None:
    """Raise OptionError on settings out of range."""
    if not 0.0 < tolerance < 1.0 or max_pushes < 1:
        raise OptionError(f"{tolerance=}, {max_pushes=} came, 0 < tolerance < 1 and 1 push or more are wanted")


def plain_push(
    chain: Succeeding, sources: Ints, tolerance: float, max_pushes: int
) -> tuple[sp.csr_array, Floats, Ints]:
    """Mass that came to each state [s, states], what waits [s] and pushes [s], in shares of each source's success."""
    s, n = len(sources), chain.moving.shape[0]
    shape = (s, n)
    alive = chain.success[sources] > 0.0
    enough = tolerance / np.where(alive, chain.success[sources], 1.0)  # [s] float64
    start = np.concatenate([[0], np.cumsum(alive)])
    waiting: Any = sp.csr_array((np.ones(start[-1]), sources[alive], start), shape=shape)
    seen, pushes = waiting.copy(), np.zeros(s, dtype=np.int64)
    threshold = np.where(alive, chain.leave[sources], 0.0) / 2.0
    while True:
        row = np.repeat(np.arange(s), np.diff(waiting.indptr))
        weight = waiting.data * chain.leave[waiting.indices]  # [waiting] float64
        waits = np.bincount(row, weight, s).astype(np.float64, copy=False)
        going = (waits > enough) & (pushes < max_pushes)
        if not going.any():
            seen.sort_indices()
            return seen, waits, pushes
        highest = np.zeros(s)
        np.maximum.at(highest, row, weight)
        threshold = np.where(highest >= threshold, threshold, np.minimum(threshold / 2.0, highest))
        pushed = going[row] & (weight >= threshold[row])
        pushes += np.bincount(row[pushed], minlength=s)
        count = np.concatenate([[0], np.cumsum(np.bincount(row[pushed], minlength=s))])
        moved = sp.csr_array((waiting.data[pushed], waiting.indices[pushed], count), shape=shape) @ chain.moving
        waiting.data[pushed] = 0.0
        waiting, seen = waiting + moved, seen + moved
        waiting.eliminate_zeros()
