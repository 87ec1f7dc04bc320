"""The solver for large components that hold a few states which almost never end: BiCGSTAB (van der Vorst, SIAM J. Sci.
Stat. Comput. 13(2), 1992).

Differs from `fixed_point` in that each step chooses its length. A cycle that is left once in a million turns holds up
every sweep, for it is one slow direction among a million quick ones; here it costs a step or two. Differs from `sparse`
in that nothing fills up. It may fail, and the certificate tells.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from markov.fixed_point import Loopless

Floats = NDArray[np.float64]

STEPS = 500  # at most so many; each reads the edges twice
CLOSE = 1e-15  # a residual that is so small beside the right side is as good as rounding lets it be


def solve_krylov(chain: Loopless, start: Floats) -> Floats:
    """Success and steps from the guess `start`, [rows, 2] float64 both: the best that was found."""
    return np.column_stack([_bicgstab(chain.moving, chain.known[:, c], start[:, c]) for c in range(2)])


def _bicgstab(moving: sp.csr_array, known: Floats, start: Floats) -> Floats:
    """x with x - moving x = known, [rows] float64 all."""
    x, best, least = start.copy(), start, np.inf
    r = known + moving @ x - x
    shadow, direction, rho = r.copy(), r.copy(), _dot(r, r)
    for _ in range(STEPS):
        size = float(np.abs(r).max())
        if size < least:
            best, least = x.copy(), size
        if size <= CLOSE * np.abs(known).max() or rho == 0.0:
            break
        pushed = direction - moving @ direction
        across = _dot(shadow, pushed)
        if across == 0.0:
            break
        alpha = rho / across
        s = r - alpha * pushed
        turned = s - moving @ s
        omega = _dot(turned, s) / max(_dot(turned, turned), 1e-300)
        x = x + alpha * direction + omega * s
        r = s - omega * turned
        before, rho = rho, _dot(shadow, r)
        if omega == 0.0:
            break
        direction = r + rho / before * (alpha / omega) * (direction - omega * pushed)
    return best


def _dot(a: Floats, b: Floats) -> float:
    # Not a @ b: the bits of that depend on the number of threads.
    return float((a * b).sum())
