"""What would another policy have earned? Answered from the log of one that explored, before the other is shipped.

Each estimator turns the rows of `eval.logged` into a mean reward: with reward 1 for a success a success rate, and the
defect rate is 1 less it. Intervals are drawn by user.

ips           unbiased, and noisy where weights are large
snips         weights divided by their sum: a little bias for much less noise
doubly_robust an outcome model fills in and the log corrects it: unbiased for any model, and quiet for a good one

What a missing case scores
    no rows, or one user                     None, "not measured", with the reason
    an action that the log never explores    "not measured: no overlap" where the new policy takes it more often than
                                             `unexplored_limit`; below that `ips` counts its reward as 0 there
    too few rows that count                  "not measured" where the effective sample size is below `least_effective`
    clipping                                 none unless asked for: a weight above `clip` becomes `clip`. `ips` is then
                                             too low by at most `Overlap.clipped`; `doubly_robust` is off by that times
                                             the model's error, either way. No interval covers this
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from eval.arrays import Floats, codes
from eval.logged import Logged, Overlap, overlap_of
from eval.measures import LEVEL, RESAMPLES, Interval
from eval.uncertainty import bootstrap, ratio, sums_by_user

FOLDS = 5
#: Rows that an action's mean is pulled by towards the mean of its whole, in `shrunk_means`.
SHRINKAGE = 10.0


class Refusal(StrEnum):
    """Why there is no estimate."""

    NO_ROWS = "no rows"
    ONE_USER = "one user"
    NO_OVERLAP = "no overlap"
    FEW_EFFECTIVE = "too few rows that count"


@dataclass(frozen=True, slots=True)
class Estimate:
    """The new policy's mean reward, or the reason why it was not measured."""

    value: float | None
    interval: Interval | None
    overlap: Overlap | None
    refusal: Refusal | None = None

    @property
    def says(self) -> str:
        return f"not measured: {self.refusal}" if self.value is None else f"{self.value:.4f}"


#: Fits on the rows of a mask [rows] bool and gives the mean reward of each action in every row [rows, actions] float64.
OutcomeModel = Callable[[Logged, NDArray[np.bool_]], Floats]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How estimates are made: what is clipped, what is refused, and how intervals are drawn."""

    clip: float = math.inf
    unexplored_limit: float = 0.01
    least_effective: float = 30.0
    level: float = LEVEL
    draws: int = RESAMPLES
    seed: int = 0

    def ips(self, logged: Logged) -> Estimate:
        """Inverse propensity scoring: the mean of weight times reward (Horvitz & Thompson 1952; Bottou et al.,
        "Counterfactual Reasoning and Learning Systems", JMLR 2013, section 4)."""
        weights = logged.weights(self.clip)
        return self._estimate(logged, weights * logged.reward, np.ones(len(logged)))

    def snips(self, logged: Logged) -> Estimate:
        """The same over the sum of weights (Swaminathan & Joachims, "The Self-Normalized Estimator for Counterfactual
        Learning", NeurIPS 2015)."""
        weights = logged.weights(self.clip)
        return self._estimate(logged, weights * logged.reward, weights)

    def doubly_robust(self, logged: Logged, model: OutcomeModel | None = None) -> Estimate:
        """The model's mean under the new policy, plus the weighted mean of where it erred (Dudík, Langford & Li,
        "Doubly Robust Policy Evaluation and Learning", ICML 2011).

        No row is judged by a model that has seen its user: cross-fitting (Chernozhukov et al., "Double/Debiased Machine
        Learning", 2018). The model is `shrunk_means` unless another is given.
        """
        guess = cross_fitted(logged, model or shrunk_means, self.seed) if len(logged) else np.empty(logged.policy.shape)
        taken = guess[np.arange(len(logged)), logged.action]
        expected = (logged.policy * guess).sum(axis=1)
        corrected = expected + logged.weights(self.clip) * (logged.reward - taken)
        return self._estimate(logged, corrected, np.ones(len(logged)))

    def _estimate(self, logged: Logged, above: Floats, below: Floats) -> Estimate:
        if not len(logged):
            return Estimate(None, None, None, Refusal.NO_ROWS)
        overlap = overlap_of(logged, self.clip)
        refusal = self._refusal(overlap)
        if refusal:
            return Estimate(None, None, overlap, refusal)
        sums = sums_by_user(logged.user, above, below)
        if len(sums) < 2:
            return Estimate(None, None, overlap, Refusal.ONE_USER)
        interval = bootstrap(sums, level=self.level, seed=self.seed, draws=self.draws)
        return Estimate(float(ratio(sums.sum(axis=0))), interval, overlap)

    def _refusal(self, overlap: Overlap) -> Refusal | None:
        if overlap.unexplored > self.unexplored_limit or not overlap.effective:
            return Refusal.NO_OVERLAP
        return Refusal.FEW_EFFECTIVE if overlap.effective < self.least_effective else None


def cross_fitted(logged: Logged, model: OutcomeModel, seed: int = 0, folds: int = FOLDS) -> Floats:
    """The model's mean reward of each action [rows, actions], for each row from a fit on other users."""
    places, users = codes(logged.user)
    fold = np.random.default_rng(seed).permutation(users)[places] % folds
    guess = np.zeros(logged.policy.shape)
    for each in range(folds):
        held_out = fold == each
        if held_out.any():
            guess[held_out] = model(logged, ~held_out)[held_out]
    return guess


def shrunk_means(logged: Logged, training: NDArray[np.bool_]) -> Floats:
    """Mean reward of each action in each context, pulled towards the action's, and that towards the mean of all
    [rows, actions]: a beta-binomial in two levels with `SHRINKAGE` rows of prior weight."""
    cell = (logged.contexts * logged.actions + logged.action)[training]
    shape = (int(logged.contexts.max()) + 1, logged.actions)
    size = shape[0] * shape[1]
    rows = np.bincount(cell, minlength=size).reshape(shape)
    gained = np.bincount(cell, weights=logged.reward[training], minlength=size).reshape(shape)
    overall = gained.sum() / rows.sum() if rows.sum() else 0.5
    of_action = (gained.sum(axis=0) + SHRINKAGE * overall) / (rows.sum(axis=0) + SHRINKAGE)
    means: Floats = (gained + SHRINKAGE * of_action) / (rows + SHRINKAGE)
    return means[logged.contexts]
