"""The iterative solver for large components: x <- R + Q x, swept until the certificate says that it is enough.

Differs from `sparse` in that no factors fill up: a sweep reads each edge once, and the sweeps that it takes hang on
how soon paths end, not on the size. Every sweep of every row reads the vector before alone, so the threads do not
matter.
1. Loops are divided out: x_i <- (R_i + sum_{j != i} Q_ij x_j) / (1 - Q_ii) (Jacobi; Varga, Matrix Iterative Analysis,
   3.1).
2. Success and steps go together, [states, 2]: half of the reading. Failure is the rest of success, as the rows of [Q
   R] sum to 1; the certificate is of all three.
3. It rises from below, x_0 = 0, and so do the steps t; the change of a sweep is the residual of the one before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from markov.compiled import kernels
from markov.errors import OptionError, SolveError
from markov.paths import End
from markov.solution import TOLERANCE, Method, Solution

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

PRECISION = 1e-11  # error at which sweeping ends, in probability and in shares of a step
SWEEPS = 2_000  # at most so many; beyond it, paths end too seldom
LOOK = 32  # sweeps after which it is foreseen how many more it takes


@dataclass(frozen=True, slots=True, eq=False)
class Loopless:
    """Rows of a chain that lead to each other alone, without their loops."""

    moving: sp.csr_array  # [rows, rows] float64, Q_ij / (1 - Q_ii), 0 for i = j
    known: Floats  # [rows, 2] float64, R[i, success] and 1, over 1 - Q_ii

    @classmethod
    def of(cls, Q: sp.csr_array, R: Floats, rows: Ints) -> Loopless:
        """The `rows` [rows] int64 of a chain; their edges must end among them."""
        count = np.diff(Q.indptr)[rows]
        start = np.concatenate([[0], np.cumsum(count)])  # [rows + 1] int64
        edge = np.arange(start[-1]) + np.repeat(Q.indptr[rows] - start[:-1], count)
        local = np.zeros(Q.shape[0], dtype=np.int32)
        local[rows] = np.arange(len(rows), dtype=np.int32)
        row, col, data = np.repeat(np.arange(len(rows), dtype=np.int32), count), local[Q.indices[edge]], Q.data[edge]
        loop = row == col  # [edges] bool
        stays = 1.0 - np.bincount(row[loop], data[loop], len(rows))  # [rows] float64
        data = np.where(loop, 0.0, data) / stays[row]
        known = np.column_stack([R[rows, End.SUCCESS], np.ones(len(rows))]) / stays[:, np.newaxis]
        moving = sp.csr_array((data, col, start.astype(np.int32)), shape=(len(rows), len(rows)))
        return cls(moving, known)


def solve_fixed_point(
    Q: sp.csr_array,
    R: Floats,
    *,
    precision: float = PRECISION,
    max_sweeps: int = SWEEPS,
    compiled: bool | None = None,
) -> Solution:
    """B = N R and t = N 1 by sweeps over the whole chain; shapes as `dense.solve_dense`.

    Raises SolveError where it takes more than `max_sweeps`: `solver.solve` then falls back to LU.
    """
    check_sweeping(precision, max_sweeps)
    chain = Loopless.of(Q, R, np.arange(Q.shape[0]))
    answer, change, sweeps = sweep(chain, precision, max_sweeps, kernels(Q.nnz + Q.shape[0], compiled))
    slow = unfinished(answer, change, precision)
    if slow.any():
        raise SolveError(
            f"{np.count_nonzero(slow)} states were still changing after {sweeps} sweeps of at most {max_sweeps}: "
            "some states almost never end, use solve, or raise min_absorption"
        )
    return Solution.verified(Q, R, all_three(answer), {Method.FIXED_POINT: len(R)}, sweeps)


def check_sweeping(precision: float, max_sweeps: int) -> None:
    """Raise OptionError on settings out of range."""
    if not 0.0 < precision < TOLERANCE or max_sweeps < 1:
        raise OptionError(
            f"{precision=}, {max_sweeps=} came, 0 < precision < {TOLERANCE:.0e} and 1 sweep or more are wanted"
        )


def sweep(chain: Loopless, precision: float, max_sweeps: int, fast: Any | None) -> tuple[Floats, Floats, int]:
    """Success and steps, and their last changes, [rows, 2] float64 both; and the number of sweeps.

    Ends early where it can be foreseen that `max_sweeps` will not do.
    """
    step = plain_step if fast is None else fast.step
    x, sweeps, before = chain.known.copy(), 0, math.inf
    y = np.empty_like(x)
    while sweeps < max_sweeps:
        largest = step(chain.moving, chain.known, x, y)  # [2] float64
        x, y, sweeps = y, x, sweeps + 1
        # A change of d is an error of d max(t) at most, and of the steps a share of d.
        off = max(largest[0] * x[:, 1].max(), largest[1]) / precision if sweeps % 4 == 0 else math.inf
        if off <= 1.0:
            break
        if sweeps % LOOK == 0:
            more = LOOK * math.log(off) / math.log(before / off) if off < before else math.inf
            if sweeps + more > max_sweeps:
                break
            before = off
    return x, x - y, sweeps


def unfinished(answer: Floats, change: Floats, precision: float) -> NDArray[np.bool_]:
    """Which rows still changed by more than `precision` allows, [rows] bool."""
    most = np.abs(change)
    slow: NDArray[np.bool_] = (most[:, 0] * answer[:, 1].max() > precision) | (most[:, 1] > precision)
    return slow


def all_three(answer: Floats) -> Floats:
    """Success, failure and steps, [rows, 3], of success and steps, [rows, 2]."""
    return np.column_stack([answer[:, 0], 1.0 - answer[:, 0], answer[:, 1]])


def plain_step(moving: sp.csr_array, known: Floats, x: Floats, y: Floats) -> Floats:
    """y = known + moving x, [rows, 2]; the largest change of each column, [2] float64."""
    np.add(moving @ x, known, out=y)
    largest: Floats = np.abs(y - x).max(axis=0, initial=0.0)
    return largest
