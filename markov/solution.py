"""What every solver answers with, and the certificate that every answer passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
ROUNDING = 2.0**-53


class Method(Enum):
    """How states were solved."""

    DENSE = "dense"  # one full matrix
    ELIMINATION = "elimination"  # small components, by full matrices without subtraction
    FIXED_POINT = "fixed point"  # a large component, by sweeps
    KRYLOV = "krylov"  # a large component that sweeps are too slow for, by BiCGSTAB
    LU = "lu"  # a large component, by sparse LU


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """Where each state ends and how long it takes, with a certificate of how exact that is.

    Of the answer to (I - Q) B = R, `residual` is the largest |R + Q B - B|. N has no entry below 0, so
    |B - exact| = |N r| <= residual N 1; and where (I - Q) t >= c > 0, N 1 <= t / c (Berman & Plemmons, Nonnegative
    Matrices in the Mathematical Sciences, ch. 6, M35). The t is `steps` as computed: nothing is taken on trust.
    """

    absorption: Floats  # [states, 2] float64, B: probability of success, of failure
    steps: Floats  # [states] float64, expected number of attempts, the first included
    residual: float
    drift: float  # largest |1 + Q t - t| of the steps t
    certificate: float  # c, the least of (I - Q) t: above 0, and 1 where the steps are exact
    rounding: float  # the most that computing the residual may itself have been off
    method: Method  # the furthest up the ladder of those used
    states_by: Mapping[Method, int]  # how many states were solved by which
    sweeps: int = 0  # of the fixed point

    @property
    def success(self) -> Floats:
        """P(success) from each state, [states] float64."""
        return self.absorption[:, End.SUCCESS]

    @property
    def error_bound(self) -> float:
        """Largest error of a probability: (residual + rounding) max(t) / c."""
        return (self.residual + self.rounding) * self._most_steps

    @property
    def steps_bound(self) -> float:
        """Largest error of an expected number of steps: |t - N 1| = |N s| <= max|s| max(t) / c, s the drift."""
        return self.drift * self._most_steps + self.rounding * self._most_steps**2

    @property
    def _most_steps(self) -> float:
        return float(self.steps.max()) / self.certificate

    @classmethod
    def verified(
        cls, Q: sp.csr_array, R: Floats, answer: Floats, states_by: Mapping[Method, int], sweeps: int = 0
    ) -> Solution:
        """Wrap a solver's `answer` to (I - Q) X = [R, 1], [states, 3] float64; or raise SolveError.

        `states_by` tells the methods, the furthest up the ladder last.
        """
        absorption = np.clip(answer[:, :2], 0.0, 1.0)  # rounding may leave -1e-17
        steps = np.ascontiguousarray(answer[:, 2])
        slack = 1.0 + Q @ steps - steps  # [states] float64, s
        # Adding d numbers of sum at most 2 is off by d roundings of it (Higham, Accuracy and Stability, 4.2).
        rounding = 2.0 * ROUNDING * (int(np.diff(Q.indptr).max(initial=0)) + 3)
        c = 1.0 - max(float(slack.max(initial=0.0)), 0.0) - rounding * float(steps.max())  # (I - Q) t = 1 - s
        residual, relative = _largest(R + Q @ absorption - absorption), _largest(slack / steps)
        method = list(states_by)[-1]
        if not (residual * float(steps.max()) / c <= TOLERANCE and c > 0.0 and relative <= TOLERANCE):
            raise SolveError(
                f"the {method.value} answer has residual {residual:.1e} at up to {steps.max():.1e} steps (certificate "
                f"{c:.1e}), an error of at most {TOLERANCE:.0e} is wanted: some states almost never end, raise "
                "min_absorption"
            )
        return cls(absorption, steps, residual, _largest(slack), c, rounding, method, dict(states_by), sweeps)


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
