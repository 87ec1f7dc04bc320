"""The solver that picks: each component by the method that is fastest for its size, with one certificate over all.

    up to SMALL states    `elimination`, all of one size at once; compiled, one after the other on all cores
    larger                `fixed_point`, all of them in the same sweeps
    of these, the slow    `krylov` for a component of more than DIRECT states, if its certificate is good; else `sparse`
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from markov.compiled import kernels
from markov.components import SMALL, Block, Partition
from markov.elimination import solve_block
from markov.fixed_point import PRECISION, SWEEPS, Loopless, all_three, check_sweeping, sweep, unfinished
from markov.krylov import solve_krylov
from markov.solution import TOLERANCE, Method, Solution, singular_is_solve_error
from markov.sparse import solve_lu

Floats = NDArray[np.float64]

DIRECT = 2_000  # states in a component up to which LU is quick, however much it fills up
ENOUGH = TOLERANCE / 10.0  # error at which a slow component is done with


def solve(
    Q: sp.csr_array,
    R: Floats,
    *,
    precision: float = PRECISION,
    max_sweeps: int = SWEEPS,
    compiled: bool | None = None,
) -> Solution:
    """B = N R and t = N 1, as `dense.solve_dense`; `Solution.error_bound` is certified.

    Q is [states, states] float64, R is [states, 2] float64, and each row of both sums to 1. `compiled` says whether
    numba is used; None: where it is installed and the chain is large. Raises SolveError if I - Q is nearly singular.
    """
    check_sweeping(precision, max_sweeps)
    return solve_partition(Q, R, Partition.of(Q), precision, max_sweeps, kernels(Q.nnz + Q.shape[0], compiled))


def solve_partition(
    Q: sp.csr_array, R: Floats, partition: Partition, precision: float, max_sweeps: int, fast: Any | None
) -> Solution:
    """`solve`, on a chain that is cut up already; `fast` is the module of kernels, or None."""
    answer = np.empty((len(R), 3))
    small, large = partition.split(SMALL)
    counts = {
        Method.ELIMINATION: len(small.order),
        Method.FIXED_POINT: len(large.order),
        Method.KRYLOV: 0,
        Method.LU: 0,
    }
    sweeps = 0
    with singular_is_solve_error():
        if fast is not None:
            fast.solve_small(Q, R, small, answer)
        else:
            for block in small.blocks():
                answer[block.members] = solve_block(block, Q.data, R)
        if len(large.order):
            chain = Loopless.of(Q, R, large.order)
            swept, change, sweeps = sweep(chain, precision, max_sweeps, fast)
            answer[large.order] = all_three(swept)
            slow = np.zeros(len(R), dtype=bool)
            slow[large.order] = unfinished(swept, change, precision)
            for block in large.blocks() if slow.any() else ():
                if slow[block.members].any():
                    answer[block.members], method = _solve_slow(Q, R, block, answer[block.members[0]])
                    counts[method] += block.members.size
                    counts[Method.FIXED_POINT] -= block.members.size
    return Solution.verified(Q, R, answer, {method: n for method, n in counts.items() if n}, sweeps)


def _solve_slow(Q: sp.csr_array, R: Floats, block: Block, start: Floats) -> tuple[Floats, Method]:
    """Success, failure and steps of a component that comes alone, [1, k, 3] float64, from what the sweeps left."""
    rows = block.members[0]
    if len(rows) > DIRECT:
        chain = Loopless.of(Q, R, rows)
        found = solve_krylov(chain, start[:, [0, 2]])
        off = np.abs(chain.known + chain.moving @ found - found).max(axis=0)  # [2] float64
        if off[1] < 0.5 and off[0] * found[:, 1].max() <= ENOUGH and found[:, 1].min() > 0.0:
            return all_three(found)[np.newaxis], Method.KRYLOV
    return solve_lu(block, Q.data, R), Method.LU
