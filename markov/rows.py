"""The rows of [Q R]: counts divided by their sums, and the check that they make an absorbing chain."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import breadth_first_order

from markov.counts import Counts
from markov.errors import ChainError
from markov.paths import End

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

ROW_TOLERANCE = 1e-9  # how far from 1 a row may sum


def divide(counts: Counts, min_absorption: float) -> tuple[sp.csr_array, Floats]:
    """Q [states, states] float64 and R [states, 2] float64; edges must be sorted by source and target.

    A row without any weight is absorbed in failure; less absorption than `min_absorption` is raised to it.
    """
    edges, n = counts.edges, len(counts.states)
    ends = np.column_stack([counts.success, counts.failure])  # [states, 2] float64
    with np.errstate(over="ignore"):
        total = np.bincount(edges.source, edges.weight, n) + ends.sum(axis=1)  # [states] float64
    if not np.isfinite(total).all():
        raise ChainError("the weights of a row came too large to add up: scale all weights down alike")
    ends[total == 0.0, End.FAILURE] = 1.0
    total[total == 0.0] = 1.0
    R = ends / total[:, np.newaxis]
    moving = _floor(R, min_absorption)
    start = np.searchsorted(edges.source, np.arange(n + 1))
    return sp.csr_array((edges.weight * (moving / total)[edges.source], edges.target, start), shape=(n, n)), R


def _floor(R: Floats, min_absorption: float) -> Floats:
    """Raise R in place; return the factor that the rest of each row must shrink by, [states] float64."""
    absorbed = R.sum(axis=1)
    lacking = np.maximum(min_absorption - absorbed, 0.0)
    R[:, End.FAILURE] += lacking
    factor: Floats = 1.0 - lacking / np.where(lacking > 0.0, 1.0 - absorbed, 1.0)
    return factor


def check_rows(Q: sp.csr_array, R: Floats, states: tuple[Hashable, ...]) -> None:
    """Every row of [Q R] is a distribution, and every state has a way to an end."""
    if not (np.isfinite(Q.data).all() and np.isfinite(R).all()):
        raise ChainError(
            "a probability came as NaN or infinity: weights too large to add up, scale them down"
        )
    if (Q.data < 0.0).any() or (R < 0.0).any():
        raise ChainError("a probability came below 0, numbers from 0 to 1 are wanted")
    total = Q.sum(axis=1) + R.sum(axis=1)  # [states] float64
    worst = int(np.abs(total - 1.0).argmax())
    if abs(total[worst] - 1.0) > ROW_TOLERANCE:
        raise ChainError(
            f"the row of {states[worst]!r} came with sum {total[worst]}, 1 is wanted: divide by the sum"
        )
    ends = R.sum(axis=1) > 0.0  # [states] bool
    if ends.all():
        return
    endless = np.flatnonzero(~_can_end(Q, ends))
    if endless.size:
        raise ChainError(
            f"{endless.size} states came from which no path ends, the first is {states[endless[0]]!r}; "
            "every state must have a way to an end: set min_absorption above 0"
        )


def _can_end(Q: sp.csr_array, ends: Mask) -> Mask:
    """Whether a state can reach one that `ends`, [states] bool: walks backwards from one node behind all."""
    n = len(ends)
    source = np.concatenate([Q.indices, np.full(ends.sum(), n)])
    target = np.concatenate([np.repeat(np.arange(n), np.diff(Q.indptr)), np.flatnonzero(ends)])
    back = sp.csr_array((np.ones(len(source)), (source, target)), shape=(n + 1, n + 1))
    reached = np.zeros(n + 1, dtype=bool)
    reached[breadth_first_order(back, n, return_predecessors=False)] = True
    return reached[:n]
