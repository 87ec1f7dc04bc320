"""Measures of rephrase detection: was there a rephrase, and was it the turn that was pointed at?

A *source* is a turn that the detector was asked about. It is *flagged* at a threshold where the detector named a turn
with a probability of the threshold or more, and *positive* where gold names one.

How "there is a rephrase, but another turn" counts is for the caller to say, by `Credit`
    TURN    wrong twice: a false alarm in precision and a miss in recall, as a wrong link is in relation extraction
    SOURCE  right: only whether there is a rephrase is asked, as a binary classifier is judged
Average precision, recall at precision and the sweep follow the same credit. `exact_turn` and `pointing` always ask for
the turn.

What a missing case scores
    no turn named             never flagged, at any threshold and whatever the probability
    nothing flagged           precision is None, "not measured"; F1 is 0 where gold has rephrases
    no positives              recall and average precision are None; F1 is 0 where something was flagged, else None
    no sources                every measure is None
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.arrays import Floats, Ints, flat, same_length
from eval.measures import Share

Flags = NDArray[np.bool_]


class Credit(StrEnum):
    """What a detection must get right to count."""

    TURN = "turn"
    SOURCE = "source"


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What was predicted and what is true, a row for each source; probabilities are from 0 to 1."""

    probability: Floats  # that the source has a rephrase [sources] float64
    named: Flags  # a turn was named [sources] bool
    positive: Flags  # gold names a turn [sources] bool
    exact: Flags  # both name the same turn [sources] bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "probability", flat("probability", self.probability, 0.0, 1.0))
        for name in ("named", "positive", "exact"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), bool))
        same_length(probability=self.probability, named=self.named, positive=self.positive, exact=self.exact)
        if (self.exact & ~(self.named & self.positive)).any():
            raise ValueError("exact came as true for a source where no turn was named, or gold has none")

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[float, Hashable | None, Hashable | None]]) -> Detections:
        """From (probability, the turn predicted or None, the turn of gold or None) of each source."""
        kept = list(rows)
        named = np.array([predicted is not None for _, predicted, _ in kept], bool)
        positive = np.array([gold is not None for _, _, gold in kept], bool)
        same = np.array([predicted == gold for _, predicted, gold in kept], bool)
        return cls(np.array([row[0] for row in kept], np.float64), named, positive, named & positive & same)

    def __len__(self) -> int:
        return len(self.probability)

    def right(self, credit: Credit) -> Flags:
        """Whether flagging the source is right [sources] bool."""
        return self.exact if credit is Credit.TURN else self.named & self.positive

    def flagged(self, threshold: float) -> Flags:
        """Whether the source is flagged [sources] bool."""
        if math.isnan(threshold):
            raise ValueError("threshold came as nan: a number is wanted, math.inf to flag nothing")
        return self.named & (self.probability >= threshold)


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """Counts at every threshold that makes a difference, the highest first."""

    threshold: Floats  # [thresholds] float64, descending
    right: Ints  # flagged rightly [thresholds] int64
    flagged: Ints  # [thresholds] int64
    positives: int

    def __len__(self) -> int:
        return len(self.threshold)

    @property
    def precision(self) -> Floats:
        """[thresholds] float64; every threshold flags something."""
        return self.right / self.flagged

    @property
    def recall(self) -> Floats | None:
        """[thresholds] float64, or None without positives."""
        return self.right / self.positives if self.positives else None


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold with what it gives; infinity flags nothing, and its precision is then not measured."""

    threshold: float
    precision: float | None
    recall: float


def precision(detections: Detections, threshold: float, credit: Credit = Credit.TURN) -> Share:
    """Rightly flagged sources of those flagged."""
    flagged = detections.flagged(threshold)
    return Share(_count(flagged & detections.right(credit)), _count(flagged))


def recall(detections: Detections, threshold: float, credit: Credit = Credit.TURN) -> Share:
    """Rightly flagged sources of the positive ones."""
    return Share(_count(detections.flagged(threshold) & detections.right(credit)), _count(detections.positive))


def f1(detections: Detections, threshold: float, credit: Credit = Credit.TURN) -> float | None:
    """2 right / (flagged + positives), the harmonic mean of precision and recall (van Rijsbergen, "Information
    Retrieval", 2nd ed., 1979, chapter 7)."""
    flagged = detections.flagged(threshold)
    whole = _count(flagged) + _count(detections.positive)
    return 2 * _count(flagged & detections.right(credit)) / whole if whole else None


def exact_turn(detections: Detections, threshold: float) -> Share:
    """Of all sources, those where the turn is gold's, or none was flagged and gold has none: exact match with
    unanswerable questions (Rajpurkar, Jia & Liang, "Know What You Don't Know", ACL 2018)."""
    flagged = detections.flagged(threshold)
    good = np.where(flagged, detections.exact, ~detections.positive)
    return Share(_count(good), len(detections))


def pointing(detections: Detections, threshold: float) -> Share:
    """Of the positive sources that were flagged, those where the turn is gold's: how well it points once it fires."""
    found = detections.flagged(threshold) & detections.positive
    return Share(_count(found & detections.exact), _count(found))


def sweep(detections: Detections, credit: Credit = Credit.TURN) -> Sweep:
    """The counts at each distinct probability of a named turn; sources of equal probability are flagged together."""
    rows = np.flatnonzero(detections.named)
    rows = rows[np.argsort(-detections.probability[rows], kind="stable")]
    scores = detections.probability[rows]
    last = np.flatnonzero(np.append(np.diff(scores) != 0, True)) if len(rows) else rows  # of each run of equals
    right = np.cumsum(detections.right(credit)[rows])
    return Sweep(scores[last], right[last].astype(np.int64), last + 1, _count(detections.positive))


def average_precision(detections: Detections, credit: Credit = Credit.TURN) -> float | None:
    """The sum over thresholds of the gain in recall times precision, without interpolation (Zhu, "Recall, Precision
    and Average Precision", Waterloo, 2004), as scikit-learn has it.

    Positives that are never flagged rightly leave recall below 1 and add nothing.
    """
    points = sweep(detections, credit)
    if points.recall is None:
        return None
    return float(np.sum(np.diff(points.recall, prepend=0.0) * points.precision))


def recall_at_precision(detections: Detections, wished: float, credit: Credit = Credit.TURN) -> OperatingPoint | None:
    """The best recall of all thresholds whose precision is `wished` or more; of equals the highest threshold.

    Where no threshold is precise enough the answer is to flag nothing: a recall of 0. None without positives.
    """
    if not 0 <= wished <= 1:
        raise ValueError(f"the wished precision came as {wished!r}: a number from 0 to 1 is wanted")
    points = sweep(detections, credit)
    if points.recall is None:
        return None
    reached = np.flatnonzero(points.precision >= wished)
    if not reached.size:
        return OperatingPoint(math.inf, None, 0.0)
    best = reached[np.argmax(points.recall[reached])]
    return OperatingPoint(*(float(each[best]) for each in (points.threshold, points.precision, points.recall)))


def _count(flags: NDArray[Any]) -> int:
    return int(np.count_nonzero(flags))
