"""The exact solver for large chains: `elimination` on the small components, and sparse LU on the large ones.

Differs from `elimination` in that a large component is factorised once by SuperLU and then back-substituted. How long
that takes hangs on how much the factors fill up: little for rephrases, beyond all bounds for an expander.
The same chain in the same order gives the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import breadth_first_order
from scipy.sparse.linalg import splu

from markov.components import CELLS, Block, Partition
from markov.elimination import solve_block, visits_block
from markov.errors import SolveError
from markov.solution import TOLERANCE, Method, Solution, singular_is_solve_error

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def solve_sparse(Q: sp.csr_array, R: Floats) -> Solution:
    """B = N R and t = N 1, as `dense.solve_dense`, in time that grows with the sizes of the components.

    Q is [states, states] float64, R is [states, 2] float64. Raises SolveError if I - Q is nearly singular.
    """
    answer = np.empty((len(R), 3))
    states_by: dict[Method, int] = {}
    with singular_is_solve_error():
        for block in Partition.of(Q).blocks():
            method = Method.ELIMINATION if block.small else Method.LU
            states_by[method] = states_by.get(method, 0) + block.members.size
            answer[block.members] = solve_block(block, Q.data, R) if block.small else solve_lu(block, Q.data, R)
    return Solution.verified(Q, R, answer, states_by)


def solve_lu(block: Block, data: Floats, R: Floats) -> Floats:
    """Success, failure and steps of a component that comes alone, [1, k, 3] float64; `data` is Q.data."""
    known = np.column_stack([R[block.members[0]], np.ones(block.members.shape[1])])
    return np.asarray(splu(_compressed(block, data)).solve(known), dtype=np.float64)[np.newaxis]


def fundamental_row(Q: sp.csr_array, source: int) -> sp.csr_array:
    """Row `source` of N = (I - Q)^-1, [1, states] float64: non-zero only where a path from `source` can lead.

    The states that can be reached from `source` are closed under Q, so the rest need not be solved.
    """
    reach = np.sort(breadth_first_order(Q, source, return_predecessors=False))
    start = (reach == source).astype(np.float64)
    matrix = sp.csc_array(sp.eye_array(len(reach)) - Q[reach][:, reach]).T.tocsc()
    with singular_is_solve_error():
        visits = np.maximum(splu(matrix).solve(start), 0.0)
    residual = float(np.abs(matrix @ visits - start).max() / visits.max())
    if not residual <= TOLERANCE:
        raise SolveError(
            f"row {source} of N is {residual:.1e} off, {TOLERANCE:.0e} is wanted: raise min_absorption"
        )
    return sp.csr_array((visits, (np.zeros(len(reach), dtype=np.int64), reach)), shape=(1, Q.shape[0]))


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows of N for some sources of a block."""

    block: Block
    batch: Ints  # [s] int64, component of each source
    place: Ints  # [s] int64, place of each source in its component
    visits: Floats  # [s, k] float64, over the states of its component

    @property
    def source(self) -> Ints:
        """State of each row, [s] int64."""
        return self.block.members[self.batch, self.place]

    @property
    def members(self) -> Ints:
        """State of each cell of `visits`, [s, k] int64."""
        return self.block.members[self.batch]


def fundamental_rows(block: Block, data: Floats, R: Floats, wanted: NDArray[np.bool_]) -> Iterator[Rows]:
    """Rows of N for the `wanted` states ([b, k] bool) of a block, in pieces that fit in memory.

    `data` is Q.data, [edges] float64; R is [states, 2] float64.
    """
    batch, place = np.nonzero(wanted)
    if block.small:
        yield Rows(block, batch, place, visits_block(block, data, R)[batch, place])
        return
    factors = splu(_compressed(block, data))
    k = block.members.shape[1]
    stride = max(1, CELLS // k)
    for low in range(0, len(place), stride):
        piece = place[low : low + stride]
        unit = np.zeros((k, len(piece)))
        unit[piece, np.arange(len(piece))] = 1.0
        visits = np.maximum(factors.solve(unit, trans="T").T, 0.0)
        yield Rows(block, batch[low : low + stride], piece, visits)


def _compressed(block: Block, data: Floats) -> sp.csc_array:
    """I - Q of a component that comes alone, [k, k] float64."""
    k = block.members.shape[1]
    moving = sp.csr_array((data[block.edge], (block.row, block.col)), shape=(k, k))
    return sp.csc_array(sp.eye_array(k) - moving)
