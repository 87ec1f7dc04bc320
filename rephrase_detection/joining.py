"""How the trees' and the text's log-odds of a rephrase go together, and from where on a link is one.

    P(candidate j) = exp(l_j) / (1 + sum_i exp(l_i)),   l_j = trees * trees_j + text * text_j + prior

over the candidates of a source. The three numbers are fitted on sessions that neither part has seen, so that they also
calibrate: text counts only as far as it helped there (stacking, Wolpert 1992, with slopes of 0 or more; drawn towards
what either part was trained for).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from rephrase_detection.candidates import Candidates

Values = NDArray[np.float64]

#: Sources' worth of belief in the slopes that the parts were trained for.
BELIEF = 10.0
#: Of equal thresholds the middle one; none is outside these.
LEAST, MOST = 0.05, 0.95


@dataclass(frozen=True)
class Joint:
    """Slopes of the two parts and the prior."""

    trees: float = 1.0
    text: float = 1.0
    prior: float = 0.0

    def __post_init__(self) -> None:
        if not np.isfinite(astuple(self)).all():
            raise ValueError(f"{self} came: finite numbers are wanted")

    @classmethod
    def fitted(
        cls,
        pairs: Sequence[Candidates],
        label: Sequence[Values],
        trees: Sequence[Values],
        text: Sequence[Values],
        towards: Joint | None = None,
    ) -> Joint:
        """The most likely numbers, every log counting alike; a label is 1, 0 or NaN, text NaN where nobody was asked.

        One array [pairs] for each log. `towards` is what is believed beforehand.
        """
        from scipy.optimize import minimize

        parts = [_Part.of(*each) for each in zip(pairs, label, trees, text, strict=True)]
        parts = [part for part in parts if part.sources]
        if not parts:
            return towards or cls()
        believed = np.array(astuple(towards or cls()))
        scale = sum(part.sources for part in parts) / len(parts)

        def loss(numbers: Values) -> float:
            likelihood = sum(part.loss(numbers) / part.sources for part in parts) * scale
            away = numbers - believed
            return float(likelihood + BELIEF * away @ away)

        bounds = [(0.05, 3.0), (0.0, 3.0), (-5.0, 5.0)]
        found = minimize(loss, believed, bounds=bounds, method="L-BFGS-B")
        return cls(*found.x.tolist())

    def probability(self, pairs: Candidates, trees: Values, text: Values) -> Values:
        """P(the pair is a rephrase) [pairs] float64; where text is NaN, nobody was asked, and the trees decide."""
        odds = self.trees * trees + self.text * np.nan_to_num(text) + self.prior
        group = pairs.group
        raised = np.exp(np.clip(odds, -30, 30))
        total = 1 + np.bincount(group, raised, minlength=1)
        return np.asarray(raised / total[group], np.float64)


@dataclass(frozen=True, eq=False)
class _Part:
    """The known pairs of a log, with the number of their source from 0."""

    group: NDArray[np.int64]
    label: Values
    columns: Values  # [3, pairs]
    sources: int

    @classmethod
    def of(cls, pairs: Candidates, label: Values, trees: Values, text: Values) -> _Part:
        known = ~np.isnan(label)
        group = np.unique(pairs.source[known], return_inverse=True)[1]
        columns = np.stack([trees[known], np.nan_to_num(text[known]), np.ones(int(known.sum()))])
        return cls(group, label[known], columns, int(group.max(initial=-1)) + 1)

    def loss(self, numbers: Values) -> float:
        """The negative log-likelihood over the sources."""
        odds = np.clip(numbers @ self.columns, -30, 30)
        total = np.log1p(np.bincount(self.group, np.exp(odds), minlength=self.sources)).sum()
        return float(total - (self.label * odds).sum())


def best_threshold(
    pairs: Sequence[Candidates], label: Sequence[Values], probability: Sequence[Values], *, calibrated: bool = False
) -> float:
    """The probability from which links have the best mean F1 over the logs.

    What is expected of the probabilities and what was found are averaged: few sessions are held back, and the best
    threshold of a few is a matter of luck. Where the probabilities were `calibrated` on these very logs, what is
    expected of them alone counts (Lipton, Elkan & Naryanaswamy, "Optimal thresholding of classifiers to maximize F1
    measure", 2014).
    """
    best = []
    grid = np.linspace(LEAST, MOST, 91)
    for each, truth, p in zip(pairs, label, probability, strict=True):
        known = ~np.isnan(truth)
        rows = each.among(known).best(p[known])
        top, right, positives = p[known][rows], truth[known][rows], truth[known].sum()
        if not len(top) or not positives:
            continue
        flagged = top >= grid[:, None]
        counts = flagged.sum(axis=1)
        found = 2 * (flagged * right).sum(axis=1) / (counts + positives)
        expected = 2 * (flagged * top).sum(axis=1) / np.maximum(counts + p[known].sum(), LEAST)
        best.append(expected if calibrated else (found + expected) / 2)
    return _middle_best(grid, np.mean(best, axis=0)) if best else 0.5


def _middle_best(grid: Values, worth: Values) -> float:
    equal = np.flatnonzero(worth >= worth.max() - 1e-9)
    return float(grid[equal[len(equal) // 2]])
