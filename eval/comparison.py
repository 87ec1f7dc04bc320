"""Two engines on the same cases, in one pass: where they differ, and whether that can be chance.

The score of a case is 1 for a win, -1 for a loss and 0 otherwise; the difference of the mean scores is what shipping
the first in place of the second brings a request.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from eval.arrays import Ints
from eval.count import ROWS, Count, Sample, Users
from eval.measures import Interval
from eval.paired import mcnemar, permutation_by_user
from eval.uncertainty import bootstrap
from eval.verdict import LOSSES, Judged, Verdict


@dataclass(frozen=True, slots=True)
class Discordant:
    """Cases that only one of the two had, and the exact test on them."""

    only_this: int
    only_other: int

    @property
    def p(self) -> float:
        return mcnemar(self.only_this, self.only_other)


@dataclass(frozen=True, slots=True)
class Difference:
    """Of the mean score: this less the other."""

    value: float | None
    interval: Interval | None
    p: float | None  # permutation by user


@dataclass
class Paired:
    """What is kept of both engines' verdicts on each case."""

    name: str
    users: Users
    other: Count
    examples: int
    cases: int = 0
    wins: list[int] = field(default_factory=lambda: [0, 0])  # only this engine's, only the other's
    losses: list[int] = field(default_factory=lambda: [0, 0])

    def __post_init__(self) -> None:
        self._sums: Ints = np.zeros((ROWS, 2), np.int64)  # difference of scores, cases
        self.gained = Sample[tuple[Judged, Judged]](self.examples, 11)
        self.given_up = Sample[tuple[Judged, Judged]](self.examples, 12)

    def add(self, this: Judged, other: Judged) -> None:
        self.cases += 1
        first, second = _score(this), _score(other)
        self._sums[self.users.row(this.case.turn.user_id)] += (first - second, 1)
        for counts, value in ((self.wins, 1), (self.losses, -1)):
            if (first == value) != (second == value):
                counts[0 if first == value else 1] += 1
        if first != second:
            (self.gained if first > second else self.given_up).add((this, other))

    @property
    def discordant_wins(self) -> Discordant:
        return Discordant(*self.wins)

    @property
    def discordant_losses(self) -> Discordant:
        return Discordant(*self.losses)

    def difference(self, seed: int = 0) -> Difference:
        rows = self._sums[self._sums.any(axis=1)]
        if not self.cases:
            return Difference(None, None, None)
        value = float(rows[:, 0].sum() / self.cases)
        return Difference(value, bootstrap(rows, seed=seed), permutation_by_user(rows[:, 0], seed=seed))

    def latency_ratio(self, this: Count, name: Literal["p50", "p99"]) -> float | None:
        """This engine's percentile over the other's; None where too few decisions were seen."""
        above, below = (getattr(each.times.latency, name) for each in (this, self.other))
        return float(above / below) if above is not None and below else None


def _score(judged: Judged) -> int:
    return 1 if judged.verdict is Verdict.WIN else -1 if judged.verdict in LOSSES else 0
