"""The measures: each one formula over the tally of verdicts, in one function.

What a missing case scores
    a turn without gold.rewrite   nothing: it is in no measure, and the report says how many there were
    a case that cannot be judged  the same: NLU has no interpretation of the text that was served, for one
    a measure without cases       None, "not measured": no guardrails is not the same as no false triggers
    a suggestion                  as left alone: NLU gets what was said
    a fault or a passed deadline  as left alone: a missed opportunity, or a guardrail that held

A *win* is an opportunity rewritten to an accepted text. A *loss* is a guardrail that was rewritten, or an opportunity
rewritten to any other text, even though that request failed anyway: the user heard something that they did not say.
A *defect* is a request that does not give its user what they wanted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from eval.verdict import Verdict

LEVEL = 0.95
RESAMPLES = 2_000


class Interval(NamedTuple):
    """Ends of an interval; `high` may be infinite."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Tally:
    """How many cases ended how. The last two are guardrails that fail all the same, as nothing can repair them."""

    wins: int = 0
    wrong: int = 0
    missed: int = 0
    false_triggers: int = 0
    left_alone: int = 0
    unharmed: int = 0
    failing_left_alone: int = 0  # also in left_alone or unharmed
    failing_triggered: int = 0  # also in false_triggers

    @classmethod
    def from_counts(cls, counts: Mapping[Verdict, int]) -> Tally:
        """From the number of cases of each verdict; those that are not there are 0."""
        return cls(*(counts.get(verdict, 0) for verdict in Verdict))

    @property
    def losses(self) -> int:
        return self.wrong + self.false_triggers

    @property
    def triggered(self) -> int:
        return self.wins + self.losses + self.unharmed

    @property
    def opportunities(self) -> int:
        return self.wins + self.wrong + self.missed

    @property
    def guardrails(self) -> int:
        return self.false_triggers + self.left_alone + self.unharmed

    @property
    def cases(self) -> int:
        return self.opportunities + self.guardrails

    @property
    def defects_before(self) -> int:
        """Opportunities, and guardrails that gold says failed."""
        return self.opportunities + self.failing_left_alone + self.failing_triggered

    @property
    def defects_after(self) -> int:
        """What was no win of these, and guardrails that were harmed."""
        return self.wrong + self.missed + self.false_triggers + self.failing_left_alone


@dataclass(frozen=True, slots=True)
class Share:
    """`part` of `whole` cases."""

    part: int
    whole: int

    @property
    def value(self) -> float | None:
        """The share, or None where it cannot be measured."""
        return self.part / self.whole if self.whole else None

    @property
    def interval(self) -> Interval | None:
        return jeffreys(self.part, self.whole)


@dataclass(frozen=True, slots=True)
class WinLoss:
    """Wins for every loss."""

    wins: int
    losses: int

    @property
    def value(self) -> float | None:
        """The ratio; infinite where no loss was seen, None where nothing was triggered."""
        if not self.losses:
            return math.inf if self.wins else None
        return self.wins / self.losses

    @property
    def interval(self) -> Interval | None:
        return odds_interval(self.wins, self.losses)


def trigger_rate(tally: Tally) -> Share:
    """Rewritten cases of all cases."""
    return Share(tally.triggered, tally.cases)


def precision(tally: Tally) -> Share:
    """Wins of rewritten cases; a false trigger on a guardrail is among the latter."""
    return Share(tally.wins, tally.triggered)


def recall(tally: Tally) -> Share:
    """Wins of opportunities."""
    return Share(tally.wins, tally.opportunities)


def false_trigger_rate(tally: Tally) -> Share:
    """Rewritten guardrails of all guardrails."""
    return Share(tally.false_triggers, tally.guardrails)


def defect_rate_before(tally: Tally) -> Share:
    """Defects of all cases, were nothing rewritten."""
    return Share(tally.defects_before, tally.cases)


def defect_rate_after(tally: Tally) -> Share:
    """Defects of all cases, as the engine served them."""
    return Share(tally.defects_after, tally.cases)


def relative_reduction(tally: Tally) -> float | None:
    """By which part of itself the defect rate shrinks; below 0 where it grows, None where there was no defect."""
    return 1 - tally.defects_after / tally.defects_before if tally.defects_before else None


def win_loss(tally: Tally) -> WinLoss:
    """Wins to losses (Ponnusamy et al., "Feedback-Based Self-Learning in Large-Scale Conversational AI Agents",
    AAAI 2020), judged by accepted texts here and by annotators there."""
    return WinLoss(tally.wins, tally.losses)


def jeffreys(successes: int, trials: int, level: float = LEVEL) -> Interval | None:
    """Equal-tailed Jeffreys interval of a proportion; None without trials.

    0 and 1 are its ends where nothing, or everything, succeeded (Brown, Cai & DasGupta, "Interval Estimation for a
    Binomial Proportion", Statistical Science 16(2), 2001, section 4.3).
    """
    from scipy.special import betaincinv  # slow to load, and --help needs none of it

    if not trials:
        return None
    a, b, tail = successes + 0.5, trials - successes + 0.5, (1 - level) / 2
    low = float(betaincinv(a, b, tail)) if successes else 0.0
    high = float(betaincinv(a, b, 1 - tail)) if successes < trials else 1.0
    return Interval(low, high)


def odds_interval(wins: int, losses: int, level: float = LEVEL) -> Interval | None:
    """Interval of wins to losses: the Jeffreys interval of p = wins / (wins + losses), mapped to p / (1 - p).

    Meaningful at any counts: without losses it has no upper end, and its lower end grows with the wins. It takes
    cases as independent; `bootstrap_by_user` does not, but needs losses to resample.
    """
    interval = jeffreys(wins, wins + losses, level)
    return None if interval is None else Interval(*map(_odds, interval))


def _odds(p: float) -> float:
    return p / (1 - p) if p < 1 else math.inf


def bootstrap_by_user(
    wins_and_losses: Sequence[tuple[int, int]], level: float = LEVEL, seed: int = 0, resamples: int = RESAMPLES
) -> Interval | None:
    """Percentile interval of wins to losses, users drawn with replacement; None where no loss was seen.

    Takes the (wins, losses) of each user. Cases of one user go together, and so are drawn together (Davison & Hinkley,
    "Bootstrap Methods and their Application", 1997, section 3.8). A draw without losses counts as infinite, one
    without wins and losses is left out.
    """
    counts = np.array(sorted(wins_and_losses), np.int64).reshape(-1, 2)  # [users, 2]
    if not counts[:, 1].any():
        return None
    chance = np.random.default_rng(seed)
    drawn = np.array([_drawn(counts, chance) for _ in range(resamples)])  # [resamples, 2] int64
    drawn = drawn[drawn.any(axis=1)]
    with np.errstate(divide="ignore"):
        ratios = drawn[:, 0] / drawn[:, 1]
    tail = (1 - level) / 2
    low = np.quantile(ratios, tail, method="lower")  # without interpolation: some ratios are infinite
    high = np.quantile(ratios, 1 - tail, method="higher")
    return Interval(float(low), float(high))


def _drawn(counts: np.ndarray[tuple[int, int], np.dtype[np.int64]], chance: np.random.Generator) -> list[int]:
    picks = chance.integers(0, len(counts), len(counts))
    total: list[int] = counts[picks].sum(axis=0).tolist()
    return total
