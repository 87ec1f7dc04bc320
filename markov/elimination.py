"""The exact solver for small components: elimination that never subtracts, over many full matrices at once.

Differs from `dense` in that
1. components of one size are solved together, [b, k, k];
2. the pivot of a state, 1 minus what comes back to it, is added up from what does not come back. No digits cancel, so
   every entry of the answer is right to some k roundings even where a state almost never ends (Grassmann, Taksar &
   Heyman, Operations Research 33(5), 1985; why it holds: O'Cinneide, Numerische Mathematik 65, 1993).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from markov.components import Block

Floats = NDArray[np.float64]


def eliminate(moving: Floats, absorbed: Floats, known: Floats) -> Floats:
    """X with (I - Q) X = known for each of `b` chains, [b, k, m] float64, overwriting what is given.

    `moving` is Q, [b, k, k]; `absorbed` is the probability of ending, [b, k], and each row of both sums to 1; `known`
    is [b, k, m] and not below 0: R for the ends, 1 for the steps, I for N. Raises LinAlgError where a state never
    ends.
    """
    k = moving.shape[1]
    pivot = np.empty_like(absorbed)
    for v in range(k):  # leave v out: who went there goes on to where v goes (the censored chain)
        pivot[:, v] = absorbed[:, v] + moving[:, v, v + 1 :].sum(axis=1)
        if not (pivot[:, v] > 0.0).all():
            raise np.linalg.LinAlgError("Singular matrix")
        share = moving[:, v + 1 :, v] / pivot[:, v, np.newaxis]  # [b, rest] float64
        moving[:, v + 1 :, v + 1 :] += share[:, :, np.newaxis] * moving[:, v, np.newaxis, v + 1 :]
        absorbed[:, v + 1 :] += share * absorbed[:, v, np.newaxis]
        known[:, v + 1 :] += share[:, :, np.newaxis] * known[:, v, np.newaxis, :]
    for v in range(k - 1, -1, -1):
        known[:, v] += (moving[:, v, v + 1 :, np.newaxis] * known[:, v + 1 :]).sum(axis=1)
        known[:, v] /= pivot[:, v, np.newaxis]
    return known


def solve_block(block: Block, data: Floats, R: Floats) -> Floats:
    """Success, failure and steps of a block of small components, [b, k, 3] float64.

    `data` is Q.data, [edges] float64; R is [states, 2] float64.
    """
    ends = R[block.members]  # [b, k, 2] float64
    known = np.concatenate([ends, np.ones((*block.members.shape, 1))], axis=2)
    return eliminate(block.spread(data), ends.sum(axis=2), known)


def visits_block(block: Block, data: Floats, R: Floats) -> Floats:
    """N of each small component of a block, [b, k, k] float64."""
    b, k = block.members.shape
    unit = np.broadcast_to(np.eye(k), (b, k, k)).copy()
    return eliminate(block.spread(data), R[block.members].sum(axis=2), unit)
