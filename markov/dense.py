"""The plain solver: the textbook formulas on full matrices, cubic in the number of states.

The first rung, and the oracle that the others are held to. `elimination` and `sparse` answer the same questions
component by component.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from markov.solution import Method, Solution, singular_is_solve_error

Floats = NDArray[np.float64]


def solve_dense(Q: sp.csr_array, R: Floats) -> Solution:
    """B = N R and t = N 1 (Kemeny & Snell 1960, theorems 3.3.7 and 3.3.5), both from one elimination.

    Q is [states, states] float64, R is [states, 2] float64. Raises SolveError if I - Q is nearly singular.
    """
    known = np.column_stack([R, np.ones(len(R))])  # [states, 3] float64
    with singular_is_solve_error():
        answer = np.linalg.solve(_i_minus(Q), known).astype(np.float64, copy=False)
    return Solution.verified(Q, R, answer, {Method.DENSE: len(R)})


def fundamental_dense(Q: sp.csr_array) -> Floats:
    """N = (I - Q)^-1, [states, states] float64: expected visits to j from u (Kemeny & Snell 1960, 3.2.4)."""
    return np.linalg.inv(_i_minus(Q)).astype(np.float64, copy=False)


def _i_minus(Q: Any) -> Floats:
    matrix: Floats = np.eye(Q.shape[0]) - Q.toarray()
    return matrix
