"""The frame of every detector that looks at two texts at a time: candidates, likeness, one target each, probability.

    P(target says source again) = sigmoid(prior + alike * likeness(source, target) + failed * log P(source failed))

*Likeness* is any number that grows with how alike two texts are; an implementation says which. It sees neither the
replies nor the other turns. The three weights are learned from labelled pairs, so that the probability is calibrated
on pairs like these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dialogue.similarity import distinct_pairs
from rephrase_detection.candidates import Reach, Rows, candidates
from rephrase_detection.detector import Links
from rephrase_detection.errors import DetectorError
from rephrase_detection.lexical import LEAST_FAILURE

Values = NDArray[np.float64]
#: From two parallel lists of canonical texts to the likeness of each pair [pairs] float64, larger for more alike.
Likeness = Callable[[Sequence[str], Sequence[str]], Values]

#: Far enough for any second try: time is no feature of these detectors.
REACH = Reach(limit_s=3600.0, max_turns=3)
#: Strength of the penalty on the squares of `alike` and `failed`: keeps the weights finite where pairs are separable.
PENALTY = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class LabelledPairs:
    """Pairs of turns of a dialogue batch of which it is known whether the later says the earlier again."""

    batch: pa.RecordBatch
    p_success: Values  # P(success) of each turn [turns] float64
    source: Rows  # row of the earlier turn [pairs] int64
    target: Rows  # row of the later turn [pairs] int64
    label: Values  # 1: a rephrase, 0: none [pairs] float64
    weight: Values  # how much a pair counts in training, 0 or more [pairs] float64

    def __post_init__(self) -> None:
        sizes = {len(each) for each in (self.source, self.target, self.label, self.weight)}
        if len(sizes) > 1 or len(self.p_success) != self.batch.num_rows:
            raise DetectorError(
                f"{len(self.source)} sources, {len(self.target)} targets, {len(self.label)} labels, {len(self.weight)}"
                f" weights, and {len(self.p_success)} outcomes for {self.batch.num_rows} turns came: one each is wanted"
            )
        if not (np.isin(self.label, (0, 1)).all() and np.isfinite(self.weight).all() and (self.weight >= 0).all()):
            raise DetectorError("labels of 0 and 1 and finite weights of 0 or more are wanted: leave out unknown pairs")

    def __len__(self) -> int:
        return len(self.source)

    def among(self, kept: NDArray[np.bool_]) -> LabelledPairs:
        """The pairs that are kept [pairs] bool, of the same batch."""
        pairs, values = (self.source[kept], self.target[kept]), (self.label[kept], self.weight[kept])
        return LabelledPairs(self.batch, self.p_success, *pairs, *values)


@dataclass(frozen=True)
class PairWeights:
    """The logistic model of a pair: log-odds per unit of likeness and of log P(failure)."""

    prior: float
    alike: float
    failed: float

    def __post_init__(self) -> None:
        for item in fields(self):
            if not math.isfinite(getattr(self, item.name)):
                raise DetectorError(f"weight {item.name} is {getattr(self, item.name)}: a finite number is wanted")

    @classmethod
    def fitted(cls, examples: Sequence[LabelledPairs], likeness: Likeness) -> PairWeights:
        """The most likely weights given labelled pairs, with `alike` and `failed` 0 or more. Raises DetectorError."""
        from scipy.optimize import minimize

        label, weight = labels(examples)
        alike = [pair_likeness(each.batch, each.source, each.target, likeness) for each in examples]
        failed = [log_failure(each.p_success[each.source]) for each in examples]
        table = np.stack([np.ones(len(label)), np.concatenate(alike), np.concatenate(failed)], axis=1)

        def loss(weights: Values) -> tuple[float, Values]:
            odds = table @ weights
            penalty = PENALTY * np.append(0.0, weights[1:])
            value = weight @ (np.logaddexp(0, odds) - label * odds) + 0.5 * penalty @ weights
            return float(value), table.T @ (weight * (_sigmoid(odds) - label)) + penalty

        bounds = [(None, None), (0, None), (0, None)]
        found = minimize(loss, np.zeros(3), jac=True, bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-12})
        return cls(*found.x.tolist())

    def probability(self, alike: Values, p_success: Values) -> Values:
        """P(rephrase) of pairs of this likeness whose source succeeded with `p_success` [pairs] float64."""
        return _sigmoid(self.prior + self.alike * alike + self.failed * log_failure(p_success))


def best_links(
    batch: pa.RecordBatch, p_success: Values, reach: Reach, weights: PairWeights, likeness: Likeness
) -> Links:
    """The most probable target of every source, the nearer of equals; the kind is not known.

    Takes a dialogue batch and P(success) of its turns [turns] float64.
    """
    if len(p_success) != batch.num_rows:
        raise DetectorError(f"{len(p_success)} outcomes for {batch.num_rows} turns came: one each is wanted")
    pairs = candidates(batch, reach)
    alike = pair_likeness(batch, pairs.source, pairs.target, likeness)
    probability = weights.probability(alike, p_success[pairs.source])
    best = pairs.best(probability)
    unknown = np.full(len(best), -1, np.int8)
    return Links(pairs.source[best], pairs.target[best], probability[best], unknown)


def pair_likeness(batch: pa.RecordBatch, source: Rows, target: Rows, likeness: Likeness) -> Values:
    """The likeness of pairs of rows of a dialogue batch, each distinct pair of texts looked at once [pairs] float64."""
    if not len(source):
        return np.zeros(0)
    said = batch["said"].dictionary_encode()
    texts, codes = said.dictionary.to_pylist(), np.asarray(said.indices, np.int64)
    one, other, place = distinct_pairs(codes[source], codes[target], len(texts))
    found = np.asarray(likeness([texts[row] for row in one], [texts[row] for row in other]), np.float64)
    if found.shape != (len(one),) or not np.isfinite(found).all():
        raise DetectorError(f"likeness of shape {found.shape} came for {len(one)} pairs: one finite number each")
    return found[place]


def labels(examples: Sequence[LabelledPairs]) -> tuple[Values, Values]:
    """Label and weight of all pairs, the weights with a mean of 1 [pairs] float64 each. Raises DetectorError."""
    label = np.concatenate([np.zeros(0), *(each.label for each in examples)])
    weight = np.concatenate([np.zeros(0), *(each.weight for each in examples)])
    positive, negative = (int(np.count_nonzero(weight[label == value])) for value in (1, 0))
    if not positive or not negative:
        raise DetectorError(
            f"{positive} rephrases and {negative} other pairs of a weight above 0 came: at least one of each is wanted"
        )
    return label, weight / weight.mean()


def log_failure(p_success: Values) -> Values:
    """log P(failure), from below bounded by that of LEAST_FAILURE [pairs] float64."""
    return np.asarray(np.log(np.maximum(1 - p_success, LEAST_FAILURE)), np.float64)


def _sigmoid(log_odds: Values) -> Values:
    return np.asarray(np.exp(-np.logaddexp(0, -log_odds)), np.float64)
