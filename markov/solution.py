"""What every solver answers with, and the check that every answer passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from markov.errors import SolveError
from markov.paths import End

Floats = NDArray[np.float64]

TOLERANCE = 1e-6  # largest error that an answer may have, in probability; some 1e-14 is usual


class Method(Enum):
    """How the chain was solved."""

    DENSE = "dense"
    SPARSE = "sparse"


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """Where each state ends and how long it takes.

    `residual` is the largest |R + Q B - B|; see `error_bound` for what it means for the answer.
    """

    absorption: Floats  # [states, 2] float64, B: probability of success, of failure
    steps: Floats  # [states] float64, expected number of attempts, the first included
    residual: float
    method: Method

    @property
    def success(self) -> Floats:
        """P(success) from each state, [states] float64."""
        return self.absorption[:, End.SUCCESS]

    @property
    def error_bound(self) -> float:
        """Largest error of a probability: |B - exact| = |N r| <= max(N 1) max|r|, and N 1 is `steps`."""
        return self.residual * float(self.steps.max())

    @classmethod
    def verified(cls, Q: sp.csr_array, R: Floats, answer: Floats, method: Method) -> Solution:
        """Wrap a solver's `answer` to (I - Q) X = [R, 1], [states, 3] float64; or raise SolveError."""
        absorption = np.clip(answer[:, :2], 0.0, 1.0)  # rounding may leave -1e-17
        steps = np.ascontiguousarray(answer[:, 2])
        residual = _largest(R + Q @ absorption - absorption)
        drift = _largest((1.0 + Q @ steps - steps) / steps)
        solution = cls(absorption, steps, residual, method)
        if not (solution.error_bound <= TOLERANCE and drift <= TOLERANCE):
            raise SolveError(
                f"the {method.value} answer is {solution.error_bound:.1e} off, {TOLERANCE:.0e} is wanted: "
                "some states almost never end, raise min_absorption"
            )
        return solution


@contextmanager
def singular_is_solve_error() -> Iterator[None]:
    """Turn what numpy and SuperLU raise on a singular matrix into SolveError."""
    try:
        yield
    except (np.linalg.LinAlgError, RuntimeError) as error:
        raise SolveError(
            f"I - Q cannot be inverted ({error}): some states never end, raise min_absorption"
        ) from error


def _largest(values: NDArray[Any]) -> float:
    return float(np.abs(values).max())
