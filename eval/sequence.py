"""A live A/B test that may be looked at after every request, and stopped at any look: from its totals alone.

Two arms of requests that succeed or fail. Each arm's counts are set against every rate it might have: the evidence
against a pair of rates (p, q) is the likelihood of what was seen, mixed over a prior, over its likelihood at (p, q).
That is a nonnegative martingale where (p, q) is true, so that it ever reaches 1 / alpha with probability alpha at most
(Ville 1939; Robbins, "Statistical Methods Related to the Law of the Iterated Logarithm", 1970). The pairs that have not
been refuted, seen along the difference q - p, are the confidence sequence (Kaufmann & Koolen, "Mixture Martingales
Revisited with Applications to Sequential Tests and Confidence Intervals", JMLR 2021, for several arms; Howard et al.,
"Time-uniform, Nonparametric, Nonasymptotic Confidence Sequences", Annals of Statistics 2021, for the width, which
shrinks as sqrt(log n / n)).

1. The error bound is exact at any number of requests, for any way of sharing them out between the arms that looks only
   at the past. Nothing is asymptotic.
2. It wants a rate that stays as it is within each arm, and requests that are independent given their arm. Requests of
   one user are not: count one request, or one yes or no, for each user.
3. The prior is Jeffreys's, which costs about log(n) / 2 in each arm against knowing the rate. Where a coin of known
   weight decides the arm, `eval.live` sees an effect with some 60 % of the requests.

An arm without requests leaves all rates open: the interval is -1 to 1 and p = 1, which says that nothing is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from eval.arrays import Floats, fraction
from eval.measures import LEVEL, Interval

#: Halvings of a bracket of length 2 at most: ends are exact to some 1e-12.
HALVINGS = 42
_PRIOR = 0.5  # Jeffreys: Beta(1/2, 1/2)


@dataclass(frozen=True, slots=True)
class Arms:
    """All that is kept of a test: successes and failures of the control and of the treated arm."""

    control_successes: int = 0
    control_failures: int = 0
    treated_successes: int = 0
    treated_failures: int = 0

    def __post_init__(self) -> None:
        if min(self.counts) < 0:
            raise ValueError(f"{self} has a count below 0")

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """In the order of the fields."""
        return self.control_successes, self.control_failures, self.treated_successes, self.treated_failures

    def __add__(self, other: Arms) -> Arms:
        """With the requests of another time."""
        return Arms(*(mine + more for mine, more in zip(self.counts, other.counts, strict=True)))

    @property
    def difference(self) -> float | None:
        """Rate of the treated less that of the control; None where an arm has no requests."""
        s, f, t, g = self.counts
        return t / (t + g) - s / (s + f) if s + f and t + g else None


def p_value(arms: Arms) -> float:
    """p that the arms have one rate, from these counts alone, at any time: 1 over the evidence against it."""
    return math.exp(min(0.0, -log_evidence(arms)))


def confidence_interval(arms: Arms, level: float = LEVEL) -> Interval:
    """The differences of rates that these counts do not refute, of all times at once at `level`."""
    limit = -math.log1p(-fraction("level", level))
    centre = arms.difference
    if centre is None:
        return Interval(-1.0, 1.0)

    def refuted(difference: float) -> bool:
        return log_evidence(arms, difference) >= limit

    return Interval(_edge(refuted, -1.0, centre), _edge(refuted, 1.0, centre))


def log_evidence(arms: Arms, difference: float = 0.0) -> float:
    """Log of the evidence against the pair of rates of this difference that the counts refute least."""
    s, f, t, g = arms.counts
    low, high = max(0.0, -difference), min(1.0, 1.0 - difference)

    def slope(p: float) -> float:
        """Of the log-likelihood, which is concave in the control's rate p."""
        q = p + difference
        return _over(s, p) - _over(f, 1 - p) + _over(t, q) - _over(g, 1 - q)

    p = (s + t) / max(s + t + f + g, 1) if difference == 0 else _crossing(slope, low, high)
    q = min(max(p + difference, 0.0), 1.0)
    return _log_mixture(s, f) + _log_mixture(t, g) - _log_likelihood(s, f, p) - _log_likelihood(t, g, q)


def log_evidence_of_no_difference(
    control_successes: Floats, control_failures: Floats, treated_successes: Floats, treated_failures: Floats
) -> Floats:
    """`log_evidence` at a difference of 0 for many tests at once, all [...] float64."""
    from scipy.special import betaln, xlogy

    s, f = control_successes + treated_successes, control_failures + treated_failures
    control = betaln(control_successes + _PRIOR, control_failures + _PRIOR)
    treated = betaln(treated_successes + _PRIOR, treated_failures + _PRIOR)
    alike = xlogy(s, s) + xlogy(f, f) - xlogy(s + f, s + f)
    evidence: Floats = control + treated - 2 * math.log(math.pi) - alike
    return evidence


def _log_mixture(successes: int, failures: int) -> float:
    """Log of the likelihood of one arm's order of events, mixed over the prior; B(1/2, 1/2) is pi."""
    a, b = successes + _PRIOR, failures + _PRIOR
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b) - math.log(math.pi)


def _log_likelihood(successes: int, failures: int, rate: float) -> float:
    if (successes and rate <= 0) or (failures and rate >= 1):
        return -math.inf
    return (successes * math.log(rate) if successes else 0.0) + (failures * math.log1p(-rate) if failures else 0.0)


def _over(count: int, rate: float) -> float:
    return 0.0 if not count else count / rate if rate > 0 else math.inf


def _crossing(slope: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling slope passes 0, or the end nearest to it."""
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return (low + high) / 2


def _edge(refuted: Callable[[float], bool], far: float, near: float) -> float:
    """The last difference from `near`, which stands, towards `far`, that is not refuted; on the refuted side."""
    if not refuted(far):
        return far
    for _ in range(HALVINGS):
        middle = (far + near) / 2
        far, near = (middle, near) if refuted(middle) else (far, middle)
    return far
