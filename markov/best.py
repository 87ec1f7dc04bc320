"""The best targets of every source in one pass, by score: exactly in small components, by local pulls in large ones.

N is never written down: of a component of k states it would be k^2 numbers, and of a source's row only the best few
are kept. Components and targets do not wait for each other, so the cores share them; which k are the best of a source
does not depend on the order in which targets come. So the answer has the same bits on any number of cores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from markov.compiled import kernels
from markov.components import SMALL, Block, Partition
from markov.elimination import visits_block
from markov.errors import OptionError
from markov.fixed_point import PRECISION, SWEEPS
from markov.paths import End
from markov.pull import PASSES, Backward, plain_pull
from markov.solution import Solution, singular_is_solve_error
from markov.solver import solve_partition

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# Scores are compared to so many decimals: two targets that differ by rounding alone are tied.
DECIMALS = 12
BATCH = 256  # targets pulled together in plain numpy


class Reach(Enum):
    """How the scores of a source were found."""

    INVERSE = "inverse"  # its component in full, by elimination
    PULL = "pull"


@dataclass(frozen=True, slots=True, eq=False)
class BestTargets:
    """The best k targets of each source, best first; equal scores go by the order of states.

    An exact score lies in [score, score + bound], and no state left out scores above the last one by more than
    `bound`.
    """

    targets: NDArray[np.int32]  # [states, k] int32, -1 where there are fewer
    scores: Floats  # [states, k] float64, N[u, j] R[j, success], 0 where there are fewer
    bound: Floats  # [states] float64, see above; 0 but for rounding where Reach is INVERSE
    solution: Solution
    states_by: Mapping[Reach, int]  # sources by method


def best_targets(
    Q: sp.csr_array,
    R: Floats,
    k: int = 10,
    *,
    tolerance: float = 1e-6,
    max_passes: int = PASSES,
    compiled: bool | None = None,
) -> BestTargets:
    """Best `k` targets of every state, the state itself excluded; shapes as `dense.solve_dense`.

    In a large component a score may be `tolerance` too low, or more if a target takes `max_passes`: `bound`
    tells. Raises SolveError if I - Q is nearly singular.
    """
    if k < 1 or max_passes < 1 or not 0.0 < tolerance < 1.0:
        raise OptionError(f"{k=}, {max_passes=}, {tolerance=} came, 1 or more twice and 0 < tolerance < 1 are wanted")
    fast, partition = kernels(Q.nnz + Q.shape[0], compiled), Partition.of(Q)
    solution = solve_partition(Q, R, partition, PRECISION, SWEEPS, fast)
    small, large = partition.split(SMALL)
    best = BestTargets(
        np.full((len(R), k), -1, dtype=np.int32),
        np.zeros((len(R), k)),
        np.zeros(len(R)),
        solution,
        {Reach.INVERSE: len(small.order), Reach.PULL: len(large.order)},
    )
    with singular_is_solve_error():
        (plain_small if fast is None else fast.best_small)(Q, R, small, best.targets, best.scores)
    if len(large.order):
        chain = Backward.of(Q, R, solution, large.order)
        pull = plain_large if fast is None else fast.best_large
        worst = pull(chain, tolerance, max_passes * len(large.order), best)
        best.bound[chain.states] = max(tolerance, worst) * chain.share
    return best


def plain_small(Q: sp.csr_array, R: Floats, small: Partition, targets: NDArray[np.int32], scores: Floats) -> None:
    """Fill in the rows of small components."""
    for block in small.blocks():
        if block.members.shape[1] > 1:
            _fill_block(block, Q.data, R, targets, scores)


def _fill_block(block: Block, data: Floats, R: Floats, targets: NDArray[np.int32], scores: Floats) -> None:
    score = visits_block(block, data, R) * R[block.members, End.SUCCESS][:, np.newaxis, :]  # [b, k, k] float64
    itself = np.arange(score.shape[1])
    score[:, itself, itself] = 0.0
    rounded = np.round(score, DECIMALS)
    order = np.argsort(-rounded, axis=2, kind="stable")[:, :, : targets.shape[1]]  # members ascend: ties by state
    found = np.take_along_axis(rounded, order, axis=2) > 0.0
    best = np.take_along_axis(score, order, axis=2)
    states = np.take_along_axis(np.broadcast_to(block.members[:, np.newaxis, :], score.shape), order, axis=2)
    targets[block.members, : order.shape[2]] = np.where(found, states, -1)
    scores[block.members, : order.shape[2]] = np.where(found, best, 0.0)


def plain_large(chain: Backward, tolerance: float, max_pulls: int, best: BestTargets) -> float:
    """Fill in the rows of `chain`; the largest waiting r / w of any target."""
    n, k = len(chain.states), best.targets.shape[1]
    kept: Any = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))  # sources, targets, scores
    worst = 0.0
    for low in range(0, n, BATCH):
        batch = np.arange(low, min(low + BATCH, n))
        scores, waiting = plain_pull(chain, batch, tolerance, max_pulls)
        worst = max(worst, waiting)
        target, source = np.repeat(chain.states[batch], np.diff(scores.indptr)), chain.states[scores.indices]
        found = (target != source) & (np.round(scores.data, DECIMALS) > 0.0)
        new = (source[found], target[found], scores.data[found])
        source, target, score = (np.concatenate(pair) for pair in zip(kept, new, strict=True))
        kept = _best_of_each(source, target, score, k)
    source, target, score = kept
    place = np.arange(len(source)) - np.searchsorted(source, source)
    best.targets[source, place], best.scores[source, place] = target, score
    return worst


def _best_of_each(source: Ints, target: Ints, score: Floats, k: int) -> tuple[Ints, Ints, Floats]:
    """Of (source, target, score), [pairs] each, the best k of each source, sorted by source, score and target."""
    ranked = np.lexsort((target, -np.round(score, DECIMALS), source))
    source, target, score = source[ranked], target[ranked], score[ranked]
    first = np.arange(len(source)) - np.searchsorted(source, source) < k
    return source[first], target[first], score[first]
