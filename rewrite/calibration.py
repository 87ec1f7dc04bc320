"""From a score to a probability that means what it says: isotonic regression, cut down to a few knots for serving.

Fitted on users that no training saw: of the requests that get 0.8, eight in ten come out right. Isotonic regression
(Zadrozny & Elkan, "Transforming Classifier Scores into Accurate Multiclass Probability Estimates", KDD 2002) asks only
that more score never means less probability. Departures from the textbook:

1. Half a success is added at the lowest score and half a failure at the highest, Jeffreys' prior laid on the two ends:
   n failures and nothing else there give 0.5 / (n + 0.5), never 0, and n failures in all 0.5 / (n + 1). Without it a
   single lucky request at the top would be served with certainty.
2. Between two blocks of the regression the probability rises in a straight line instead of a step.
3. Knots that the straight lines between their neighbours stand in for, within `TOLERANCE`, are left out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewrite.errors import ModelError

Floats = NDArray[np.float64]

VERSION = 1
#: By how much leaving out knots may move a probability, anywhere. What is left is two knots for each block that stands
#: out: some 50 knots of two thousand requests, 100 of twenty thousand, 200 of two hundred thousand.
TOLERANCE = 0.002
#: Scores beyond it are no scores; differences of those within it do not overflow.
LARGEST = 1e300
#: What is added at either end, in requests.
PRIOR = 0.5


@dataclass(frozen=True, slots=True)
class Calibration:
    """A probability that never falls with the score: straight lines between knots, level beyond the ends.

    `knots` are scores, ascending; `values` the probabilities there, never falling, above 0 and below 1. Raises
    ValueError for others.

    >>> Calibration((0.0, 1.0), (0.25, 0.75)).one(0.25)
    0.375
    """

    knots: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "knots", tuple(map(float, self.knots)))
        object.__setattr__(self, "values", tuple(map(float, self.values)))
        if not self.knots or len(self.knots) != len(self.values):
            raise ValueError(f"{len(self.knots)} knots came with {len(self.values)} values; wanted as many, 1 or more")
        x, p = np.array(self.knots), np.array(self.values)
        if not (np.all(np.abs(x) <= LARGEST) and np.all(x[1:] > x[:-1])):
            raise ValueError(f"the knots {self.knots} came; wanted finite scores, each above the one before")
        if not (np.all((p > 0) & (p < 1)) and np.all(p[1:] >= p[:-1])):
            raise ValueError(f"the values {self.values} came; wanted probabilities above 0 and below 1, never falling")

    @classmethod
    def fit(cls, scores: ArrayLike, outcomes: ArrayLike, weights: ArrayLike | None = None) -> Calibration:
        """From scores [n] float and what came of them [n] bool, or the probability of it, of users held out.

        `weights` [n] float says how many requests each counts for; 1 where not given. Raises ValueError for no
        requests, other lengths, NaN, infinite scores, outcomes outside 0..1 and weights below 0.
        """
        x, y, w = _sound(scores, outcomes, weights)
        knots, place = np.unique(x, return_inverse=True)
        turns: Floats = np.bincount(place, w).astype(np.float64)
        success: Floats = np.bincount(place, w * y).astype(np.float64)
        success[0] += PRIOR
        turns[0] += PRIOR
        turns[-1] += PRIOR
        kept = _thinned(knots, level := _isotonic(success / turns, turns))
        return cls(tuple(knots[kept].tolist()), tuple(level[kept].tolist()))

    def one(self, x: float) -> float:
        """The probability at one score, in about a microsecond or less. Raises ValueError for NaN."""
        knots, values = self.knots, self.values
        place = bisect_right(knots, x)
        if x != x:
            raise ValueError("the score NaN came; wanted a number: whatever made it is broken")
        if place == 0:
            return values[0]
        if place == len(knots):
            return values[-1]
        left, right = knots[place - 1], knots[place]
        low, high = values[place - 1], values[place]
        return min(low + (x - left) / (right - left) * (high - low), high)

    def __call__(self, scores: ArrayLike) -> Floats:
        """The probabilities at scores of any shape, float64, to the last bit those of `one`. ValueError for NaN."""
        x = np.asarray(scores, np.float64)
        if np.isnan(x).any():
            raise ValueError(f"{int(np.isnan(x).sum())} of {x.size} scores came as NaN; wanted numbers")
        knots, values = np.array(self.knots), np.array(self.values)
        inside = np.clip(x, knots[0], knots[-1])
        if len(knots) == 1:
            return np.full(x.shape, values[0])
        left = np.clip(np.searchsorted(knots, inside, "right") - 1, 0, len(knots) - 2)
        share = (inside - knots[left]) / (knots[left + 1] - knots[left])
        risen = values[left] + share * (values[left + 1] - values[left])
        risen = np.where(inside == knots[-1], values[-1], risen)
        return np.asarray(np.minimum(risen, values[left + 1]))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"version": VERSION, "knots": list(self.knots), "values": list(self.values)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Calibration:
        """From what `as_dict` gave. Raises ModelError for anything else."""
        try:
            if raw["version"] != VERSION:
                raise ValueError(f"it is of version {raw['version']}, this software reads {VERSION}")
            return cls(tuple(raw["knots"]), tuple(raw["values"]))
        except (TypeError, KeyError, ValueError) as error:
            raise ModelError(f"this is no calibration: {error!r}. Fit it again, or restore it from a copy") from error


def brier(probability: ArrayLike, outcome: ArrayLike) -> float:
    """Mean squared distance of probability and outcome, both [n] (Brier, "Verification of Forecasts Expressed in Terms
    of Probability", 1950). Raises ValueError as `Calibration.fit` does."""
    p, y, _ = _sound(probability, outcome, None)
    return float(np.mean((p - y) ** 2))


def expected_calibration_error(probability: ArrayLike, outcome: ArrayLike, bins: int = 10) -> float:
    """Mean distance of probability [n] and outcome [n] in bins that hold as many requests each, weighted by these.

    Naeini, Cooper & Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015. Equal
    probabilities stay in one bin. Raises ValueError as `Calibration.fit` does, and for less than one bin.
    """
    if bins < 1:
        raise ValueError(f"bins came as {bins}: 1 or more is wanted")
    p, y, _ = _sound(probability, outcome, None)
    ends = np.percentile(p, np.linspace(0, 100, bins + 1))
    gap = np.bincount(np.searchsorted(ends[1:-1], p), p - y)
    return float(np.abs(gap).sum() / len(p))


def _isotonic(rate: Floats, turns: Floats) -> Floats:
    """The non-decreasing [n] that is nearest to `rate` [n] in squares weighted by `turns` [n]; inside 0..1 by then."""
    from scipy.optimize import isotonic_regression

    level = np.asarray(isotonic_regression(rate, weights=turns).x, np.float64)
    tiny = np.finfo(np.float64).tiny
    return np.maximum.accumulate(np.clip(level, tiny, 1 - np.finfo(np.float64).eps))


def _thinned(x: Floats, p: Floats) -> list[int]:
    """Which points to keep so that straight lines between them miss none by more than `TOLERANCE`.

    Douglas & Peucker, "Algorithms for the Reduction of the Number of Points", 1973, with distances along p.
    """
    kept, spans = {0, len(x) - 1}, [(0, len(x) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        inner = slice(first + 1, last)
        line = p[first] + (x[inner] - x[first]) / (x[last] - x[first]) * (p[last] - p[first])
        missed = np.abs(p[inner] - line)
        worst = first + 1 + int(missed.argmax())
        if missed[worst - first - 1] > TOLERANCE:
            kept.add(worst)
            spans += [(first, worst), (worst, last)]
    return sorted(kept)


def _sound(scores: ArrayLike, outcomes: ArrayLike, weights: ArrayLike | None) -> tuple[Floats, Floats, Floats]:
    """The three as [n] float64, without what counts for nothing."""
    x, y = np.asarray(scores, np.float64), np.asarray(outcomes, np.float64)
    w = np.ones(x.shape) if weights is None else np.asarray(weights, np.float64)
    if x.ndim != 1 or x.shape != y.shape or x.shape != w.shape:
        raise ValueError(f"scores {x.shape}, outcomes {y.shape} and weights {w.shape} came; wanted [n] for each")
    _refuse("scores", x, ~(np.abs(x) <= LARGEST), "finite numbers")
    _refuse("outcomes", y, ~((y >= 0) & (y <= 1)), "true, false, or a probability from 0 to 1")
    _refuse("weights", w, ~((w >= 0) & (w <= LARGEST)), "finite numbers from 0 up")
    if not (w > 0).any():
        raise ValueError(f"{len(x)} requests came that count for nothing; wanted at least 1 that counts")
    return x[w > 0], y[w > 0], w[w > 0]


def _refuse(name: str, values: Floats, unsound: NDArray[np.bool_], wanted: str) -> None:
    if unsound.any():
        first = int(unsound.argmax())
        raise ValueError(
            f"{int(unsound.sum())} of {len(values)} {name} cannot be used, the first being {values[first]} at place"
            f" {first}; wanted {wanted}. Leave these requests out, or mend what made them"
        )
