"""Measures of retrieval: how high in a ranking is what is relevant?

A *ranking* is entry ids, best first, as a user would be served them. *Grades* say how relevant an entry is: above 0
relevant, 0 or absent not. The measures are those of trec_eval, the reference of the field.

Ties: a ranking has none. `ranking` makes one of scores as trec_eval does, equal scores by id, the greater first: it is
arbitrary, but does not depend on the order of arrival and lets figures be compared with published ones.

What a missing case scores
    a query without a relevant entry       None, "not measured", and left out of the mean, which counts them
    a relevant entry that is not ranked    as ranked beyond every k: 0
    an empty ranking                       0, where there is something relevant
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of one measure over queries; `value` is None where none could be measured."""

    value: float | None
    measured: int
    missing: int


def ranking(scores: Mapping[str, float]) -> list[str]:
    """Ids by score, the highest first; of equal scores the greater id (by its UTF-8 bytes) first."""
    for entry, score in scores.items():
        if not math.isfinite(score):
            raise ValueError(f"the score of {entry!r} came as {score}: a finite number is wanted")
    return sorted(scores, key=lambda entry: (scores[entry], entry.encode()), reverse=True)


def recall_at(k: int, ranked: Sequence[str], grades: Mapping[str, float]) -> float | None:
    """Relevant entries among the first `k`, of all relevant entries (Manning, Raghavan & Schütze, "Introduction to
    Information Retrieval", 2008, section 8.3)."""
    gains = _gains(k, ranked, grades)
    relevant = sum(grade > 0 for grade in grades.values())
    return sum(gain > 0 for gain in gains) / relevant if relevant else None


def reciprocal_rank(ranked: Sequence[str], grades: Mapping[str, float]) -> float | None:
    """1 / the place of the first relevant entry; 0 where none is ranked (Voorhees, "The TREC-8 Question Answering Track
    Report", 1999). Its mean over queries is MRR."""
    gains = _gains(max(len(ranked), 1), ranked, grades)
    if not any(grade > 0 for grade in grades.values()):
        return None
    return next((1 / place for place, gain in enumerate(gains, 1) if gain > 0), 0.0)


def ndcg_at(k: int, ranked: Sequence[str], grades: Mapping[str, float]) -> float | None:
    """Discounted gain of the first `k`, of the most that any ranking could have.

    The gain is the grade itself and the discount log2(1 + place) (Järvelin & Kekäläinen, "Cumulated Gain-Based
    Evaluation of IR Techniques", TOIS 20(4), 2002, with the discount that trec_eval uses).
    """
    found = _discounted(_gains(k, ranked, grades))
    best = _discounted(sorted((grade for grade in grades.values() if grade > 0), reverse=True)[:k])
    return found / best if best else None


def mean(values: Iterable[float | None]) -> Mean:
    """The mean over queries; those that could not be measured are counted apart."""
    kept = list(values)
    known = [value for value in kept if value is not None]
    value = math.fsum(known) / len(known) if known else None
    return Mean(value, len(known), len(kept) - len(known))


def _discounted(gains: Iterable[float]) -> float:
    return math.fsum(gain / math.log2(1 + place) for place, gain in enumerate(gains, 1))


def _gains(k: int, ranked: Sequence[str], grades: Mapping[str, float]) -> list[float]:
    """The grades of the first `k`, after all that came has been checked."""
    if k < 1:
        raise ValueError(f"k came as {k}: 1 or more is wanted")
    if len(set(ranked)) < len(ranked):
        twice = next(entry for place, entry in enumerate(ranked) if entry in ranked[:place])
        raise ValueError(f"{twice!r} is ranked twice: an entry has one place")
    for entry, grade in grades.items():
        if not (math.isfinite(grade) and grade >= 0):
            raise ValueError(f"the grade of {entry!r} came as {grade}: a finite number of 0 or more is wanted")
    return [grades.get(entry, 0.0) for entry in ranked[:k]]
