"""Measures of what is predicted about a turn: where it failed (a class), and whether it failed (a probability).

What a missing case scores
    a turn without a prediction or without gold    it must not come here: the caller leaves it out and says how many
    a class that is neither predicted nor gold     its F1 is None, and macro F1 leaves it out
    a class that is only predicted, or only gold   its F1 is 0, and it counts in macro F1
    no turns at all                                every measure is None, "not measured"
    an empty bin of a reliability curve            it is not on the curve

Outcomes are 0 or 1, or between them where gold itself is a probability.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

from eval.arrays import Floats, Ints, flat, same_length

#: Log loss takes probabilities no nearer to 0 and 1 than this, so that one sure mistake does not cost infinity.
NEAREST = float(np.finfo(np.float64).eps)


class Binning(StrEnum):
    """How probabilities are put into bins."""

    EQUAL_WIDTH = "equal width"
    EQUAL_MASS = "equal mass"


@dataclass(frozen=True, slots=True, eq=False)
class Confusion:
    """How often each class was taken for each."""

    classes: tuple[Hashable, ...]
    table: Ints  # turns by class of gold, then by class predicted [classes, classes] int64

    @classmethod
    def from_labels(
        cls, predicted: Sequence[Hashable], gold: Sequence[Hashable], classes: Sequence[Hashable]
    ) -> Confusion:
        """Count pairs of labels; ValueError for one that is not among `classes`."""
        same_length(predicted=predicted, gold=gold)
        place = {each: number for number, each in enumerate(classes)}
        unknown = [label for label in (*predicted, *gold) if label not in place]
        if unknown:
            raise ValueError(f"the label {unknown[0]!r} is none of the classes {list(classes)}")
        table = np.zeros((len(place), len(place)), np.int64)
        np.add.at(table, ([place[label] for label in gold], [place[label] for label in predicted]), 1)
        return cls(tuple(classes), table)


def f1_by_class(confusion: Confusion) -> dict[Hashable, float | None]:
    """2 right / (gold + predicted) of each class: F1 of that class against the rest (van Rijsbergen, "Information
    Retrieval", 2nd ed., 1979, chapter 7)."""
    table = confusion.table
    whole = table.sum(axis=0) + table.sum(axis=1)
    rows = zip(confusion.classes, 2 * np.diagonal(table), whole, strict=True)
    return {each: float(twice / both) if both else None for each, twice, both in rows}


def macro_f1(confusion: Confusion) -> float | None:
    """The plain mean of the classes' F1, not the F1 of mean precision and recall (Opitz & Burst, "Macro F1 and Macro
    F1", 2019, the first of the two)."""
    known = [value for value in f1_by_class(confusion).values() if value is not None]
    return float(np.mean(known)) if known else None


def brier(probability: ArrayLike, outcome: ArrayLike) -> float | None:
    """Mean squared distance of probability and outcome [turns] (Brier, "Verification of Forecasts Expressed in Terms
    of Probability", 1950, halved as is usual for two classes)."""
    p, y = _both(probability, outcome)
    return float(np.mean((p - y) ** 2)) if len(p) else None


def log_loss(probability: ArrayLike, outcome: ArrayLike, nearest: float = NEAREST) -> float | None:
    """Mean of -log of the probability that was given to what happened [turns], in nats (Good, "Rational Decisions",
    1952)."""
    p, y = _both(probability, outcome)
    p = np.clip(p, nearest, 1 - nearest)
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log1p(-p))) if len(p) else None


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """What was said and what came true, in bins of the probability."""

    said: Floats  # mean probability [bins] float64, ascending
    came_true: Floats  # mean outcome [bins] float64
    turns: Ints  # [bins] int64


def reliability(
    probability: ArrayLike, outcome: ArrayLike, bins: int = 10, binning: Binning = Binning.EQUAL_WIDTH
) -> Reliability:
    """The reliability curve (DeGroot & Fienberg, "The Comparison and Evaluation of Forecasters", 1983).

    A bin is open below and closed above. Bins of equal mass end at quantiles; equal probabilities stay together, so
    that fewer bins may come back.
    """
    if bins < 1:
        raise ValueError(f"bins came as {bins}: 1 or more is wanted")
    p, y = _both(probability, outcome)
    steps = np.linspace(0.0, 1.0, bins + 1)
    ends = np.percentile(p, 100 * steps) if binning is Binning.EQUAL_MASS and len(p) else steps
    place = np.searchsorted(ends[1:-1], p)
    turns = np.bincount(place, minlength=bins)
    kept = turns > 0
    said, true = (np.bincount(place, weights=each, minlength=bins)[kept] / turns[kept] for each in (p, y))
    return Reliability(said, true, turns[kept].astype(np.int64))


def calibration_error(
    probability: ArrayLike, outcome: ArrayLike, bins: int = 10, binning: Binning = Binning.EQUAL_WIDTH
) -> float | None:
    """Expected calibration error: the mean over turns of how far their bin's truth lies from what was said.

    Equal width: Naeini, Cooper & Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI
    2015. Equal mass: Nguyen & O'Connor, "Posterior Calibration and Exploratory Analysis for Natural Language Processing
    Models", EMNLP 2015, with the absolute distance in place of the squared. It is biased upwards where bins are small.
    """
    curve = reliability(probability, outcome, bins, binning)
    if not len(curve.turns):
        return None
    return float(np.average(np.abs(curve.said - curve.came_true), weights=curve.turns))


def _both(probability: ArrayLike, outcome: ArrayLike) -> tuple[Floats, Floats]:
    p, y = flat("probability", probability, 0.0, 1.0), flat("outcome", outcome, 0.0, 1.0)
    same_length(probability=p, outcome=y)
    return p, y
