"""What a run keeps of the cases that it has seen: counts, sums by user and a few examples, whatever their number.

1. The first ROWS users have a row of sums each; later ones share rows, spread evenly. Rows are then groups of users, as
   independent of one another as users are, so that intervals stay valid with a little less to go by. For a slice it is
   SLICE_ROWS.
2. Scores are counted in hundredths, times are sampled evenly from all, and so are examples.
"""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Generic, TypeVar

import numpy as np

from eval.arrays import Floats, Ints
from eval.cases import Kind
from eval.harm import Harm
from eval.measures import Tally
from eval.outcomes import Reliability
from eval.slices import OTHERS, VALUES, Field
from eval.systems import Latency, latency
from eval.verdict import LOSSES, Judged, Verdict

ROWS, SLICE_ROWS = 4_096, 512
#: Times kept of all decisions, and of those of one reason.
TIMES, REASON_TIMES = 100_000, 10_000
#: Pairs of request and rewrite whose wins and losses are told apart.
PAIRS = 20_000
BINS = 10
_STEPS = 100

_COLUMN = {verdict: column for column, verdict in enumerate(Verdict)}
_FAILING_LEFT, _FAILING_TRIGGERED = len(_COLUMN), len(_COLUMN) + 1

T = TypeVar("T")


class Users:
    """Users by row."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._shared: set[int] = set()  # of users beyond the first ROWS, 8 bytes of hash

    def row(self, user: str) -> int:
        """The row of a user, the same at every call."""
        row = self._rows.get(user)
        if row is not None:
            return row
        if len(self._rows) < ROWS:
            return self._rows.setdefault(user, len(self._rows))
        name = int.from_bytes(blake2b(user.encode(errors="replace"), digest_size=8).digest(), "big")
        self._shared.add(name)
        return name % ROWS

    def __len__(self) -> int:
        return len(self._rows) + len(self._shared)


class UserTallies:
    """Verdicts by row of users."""

    def __init__(self, rows: int) -> None:
        self._counts: Ints = np.zeros((rows, len(_COLUMN) + 2), np.int64)

    def add(self, row: int, judged: Judged) -> None:
        counts, verdict = self._counts[row % len(self._counts)], judged.verdict
        counts[_COLUMN[verdict]] += 1
        gold = judged.case.turn.gold
        if judged.kind is Kind.GUARDRAIL and gold is not None and gold.success is False:
            counts[_FAILING_TRIGGERED if verdict is Verdict.FALSE_TRIGGER else _FAILING_LEFT] += 1

    @property
    def total(self) -> Tally:
        return Tally(*self._counts.sum(axis=0).tolist())

    @property
    def by_user(self) -> list[Tally]:
        """In no order that tells anything; rows without cases are left out."""
        return [Tally(*row) for row in self._counts[self._counts.any(axis=1)].tolist()]


class Sample(Generic[T]):
    """An even sample of a stream, in its order while all of it is kept (Vitter, "Random Sampling with a Reservoir",
    1985, algorithm R)."""

    def __init__(self, size: int, seed: int) -> None:
        self.kept: list[T] = []
        self.seen = 0
        self._size, self._chance = size, random.Random(seed)

    def add(self, each: T) -> None:
        self.seen += 1
        if len(self.kept) < self._size:
            self.kept.append(each)
        elif (place := int(self._chance.random() * self.seen)) < self._size:
            self.kept[place] = each


class Times:
    """Seconds that decisions took."""

    def __init__(self, size: int, seed: int = 0) -> None:
        self.sum = self.longest = 0.0
        self.seen = 0
        self._kept = array("d")
        self._size, self._chance = size, random.Random(seed)

    def add(self, seconds: float) -> None:
        self.seen += 1
        self.sum += seconds
        self.longest = max(self.longest, seconds)
        if len(self._kept) < self._size:
            self._kept.append(seconds)
        elif (place := int(self._chance.random() * self.seen)) < self._size:
            self._kept[place] = seconds

    @property
    def sample(self) -> Floats:
        return np.array(self._kept, np.float64)

    @property
    def latency(self) -> Latency:
        return latency(self.sample)


class Scores:
    """Scores of served rewrites against what became of them."""

    def __init__(self) -> None:
        self._bins = np.zeros((BINS, 3))  # decisions, sum of scores, wins
        self._steps: Ints = np.zeros((_STEPS + 1, 2), np.int64)  # wins, losses of each hundredth
        self._squares = 0.0
        self.unscored = 0

    def add(self, score: float | None, judged: Judged) -> None:
        """Counts a served rewrite."""
        if score is None or not 0 <= score <= 1:
            self.unscored += 1
            score = None
        win, loss = judged.verdict is Verdict.WIN, judged.verdict in LOSSES
        self._steps[_STEPS if score is None else int(score * _STEPS)] += (win, loss)
        if score is not None:
            place = min(max(int(np.ceil(score * BINS)) - 1, 0), BINS - 1)
            self._bins[place] += (1, score, win)
            self._squares += (score - win) ** 2

    @property
    def scored(self) -> int:
        return int(self._bins[:, 0].sum())

    @property
    def brier(self) -> float | None:
        """As `eval.outcomes.brier`, of a stream."""
        return self._squares / self.scored if self.scored else None

    @property
    def reliability(self) -> Reliability:
        """As `eval.outcomes.reliability` in bins of equal width, of a stream."""
        kept = self._bins[self._bins[:, 0] > 0]
        return Reliability(kept[:, 1] / kept[:, 0], kept[:, 2] / kept[:, 0], kept[:, 0].astype(np.int64))

    @property
    def calibration_error(self) -> float | None:
        """As `eval.outcomes.calibration_error`, of a stream."""
        curve = self.reliability
        return float(np.average(np.abs(curve.said - curve.came_true), weights=curve.turns)) if self.scored else None

    @property
    def thresholds(self) -> list[tuple[float, int, int]]:
        """(score, wins, losses) were only rewrites of that score and above served; where something changes."""
        above = np.cumsum(self._steps[::-1], axis=0)[::-1]
        rows = [(step / _STEPS, *above[step].tolist()) for step in range(_STEPS + 1)]
        return [row for place, row in enumerate(rows) if not place or row[1:] != rows[place - 1][1:]]


@dataclass(frozen=True, slots=True)
class Pair:
    """A request and what it was rewritten to, again and again."""

    said: str
    served: str
    reason: str
    losses: int
    wins: int = 0  # of other cases


class Count:
    """The verdicts on one engine."""

    def __init__(self, users: Users, fields: Sequence[Field] = (), examples: int = 0, seed: int = 0) -> None:
        self.users = users
        self.tallies = UserTallies(ROWS)
        self.reasons: Counter[tuple[Verdict, str]] = Counter()
        self.harms: Counter[Harm] = Counter()
        self.unjudged = self.strayed = 0
        self.scores = Scores()
        self.times = Times(TIMES, seed)
        self.times_by_reason: dict[str, Times] = {}
        self.slices: dict[str, dict[str, UserTallies]] = {field.name: {} for field in fields}
        self.wins, self.losses, self.misses, self.strays = (
            Sample[Judged](examples, seed + place) for place in range(4)
        )
        self.harmed = {kind: Sample[Judged](examples, seed) for kind in Harm}
        self.pairs: Counter[tuple[str, str, str]] = Counter()
        self.won: Counter[tuple[str, str, str]] = Counter()
        self._fields = fields

    def time(self, reason: str, seconds: float) -> None:
        self.times.add(seconds)
        if reason not in self.times_by_reason:
            self.times_by_reason[reason] = Times(REASON_TIMES)
        self.times_by_reason[reason].add(seconds)

    def add(self, judged: Judged, *, strayed: bool = False) -> None:
        """Counts one case; `strayed` says that the rewrite is the table's of another request."""
        verdict, decision, turn = judged.verdict, judged.decision, judged.case.turn
        row = self.users.row(turn.user_id)
        self.tallies.add(row, judged)
        self.reasons[verdict, decision.reason.value] += 1
        for field in self._fields:
            self._slice(field.name, field.value(turn)).add(row, judged)
        if judged.harm is not None:
            self.harms[judged.harm] += 1
            self.harmed[judged.harm].add(judged)
        if judged.triggered:
            self.scores.add(decision.score, judged)
        pair = (turn.said, decision.text, decision.reason.value)
        if verdict is Verdict.WIN:
            self.won = _counted(self.won, pair)
        kept = {Verdict.WIN: self.wins, Verdict.MISSED: self.misses}.get(verdict)
        if verdict in LOSSES:
            kept = self.losses
            self.pairs = _counted(self.pairs, pair)
            if strayed or judged.harm is Harm.OTHER:
                self.strayed += 1
                self.strays.add(judged)
        if kept is not None:
            kept.add(judged)

    @property
    def worst(self) -> list[Pair]:
        """The rewrites that lost most often."""
        return [Pair(*pair, losses, self.won[pair]) for pair, losses in self.pairs.most_common(20)]

    def _slice(self, name: str, value: str) -> UserTallies:
        parts = self.slices[name]
        if value not in parts and len(parts) >= VALUES:
            value = OTHERS
        if value not in parts:
            parts[value] = UserTallies(SLICE_ROWS)
        return parts[value]


def _counted(pairs: Counter[tuple[str, str, str]], pair: tuple[str, str, str]) -> Counter[tuple[str, str, str]]:
    pairs[pair] += 1
    if len(pairs) <= PAIRS:
        return pairs
    return Counter(dict(pairs.most_common(PAIRS // 2)))  # the rare ones make room, so that what is common stays exact
