"""What the rewrites did, by arm: each measure one formula over counts by user.

Two answers to "does it help?" stand side by side. The *trial* compares an arm with control, as a live A/B test would;
users are resampled for its interval. The *saved* share compares each turn with itself: the recording was drawn before
the engine was asked, so what would have happened without the rewrite is known, and no chance is left but that of who
the users are. It speaks of single turns: that a turn saved also saves the tries that would have followed, only the
trial sees.

Of a rewritten turn that would have failed, success is a *win* and failure *vain*; of one that would have succeeded,
failure is a *loss* and success *harmless*. A *false trigger* is any rewrite of a turn that would have succeeded.
Robots are in no figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.measures import LEVEL, Interval, Share, WinLoss
from eval.simulation.truth import End, Kind, Truth

RESAMPLES = 1_000
#: Resampled weights are drawn for so many users times resamples at a time.
CHUNK = 4_000_000

Table = NDArray[np.int64]


class Count(IntEnum):
    """What is counted of each user."""

    TURNS = 0
    DEFECTS = 1  # turns that failed
    WOULD_FAIL = 2  # turns that would have failed without the rewrite
    GOALS = 3  # visits that ended
    GOALS_FAILED = 4
    ABANDONED = 5  # visits that ended in giving up or leaving
    REWRITTEN = 6
    WINS = 7
    LOSSES = 8
    VAIN = 9
    HARMLESS = 10
    HOPELESS = 11  # turns that would have failed, for a goal that nothing satisfies


def count(truth: Truth, users: int) -> Table:
    """The counts of each user [users, Count] int64."""
    human = truth.kind != Kind.ROBOT
    wanted = human & (truth.kind == Kind.REQUEST)
    ended = wanted & (truth.end != End.NOT_YET)
    ok, would, served = truth.success == 1, truth.would == 1, truth.rewritten == 1
    marks = {
        Count.TURNS: human,
        Count.DEFECTS: human & ~ok,
        Count.WOULD_FAIL: human & ~would,
        Count.GOALS: ended,
        Count.GOALS_FAILED: ended & (truth.end != End.REACHED),
        Count.ABANDONED: ended & ((truth.end == End.GAVE_UP) | (truth.end == End.LEFT)),
        Count.REWRITTEN: human & served,
        Count.WINS: human & served & ~would & ok,
        Count.LOSSES: human & served & would & ~ok,
        Count.VAIN: human & served & ~would & ~ok,
        Count.HARMLESS: human & served & would & ok,
        Count.HOPELESS: human & ~would & (truth.hopeless == 1),
    }
    return np.stack([np.bincount(truth.user[marks[each]], minlength=users) for each in Count], axis=1)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with the interval that resampling users gives it; None where nothing was measured."""

    value: float | None
    interval: Interval | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"value": self.value, "interval": None if self.interval is None else list(self.interval)}


@dataclass(frozen=True)
class Effects:
    """The figures of one arm: `counts` of its users [users, Count], and `control` of those that nobody rewrites for."""

    counts: Table
    control: Table | None
    seed: int = 0

    def total(self, each: Count) -> int:
        """Of all users."""
        return int(self.counts[:, each].sum())

    @property
    def users(self) -> int:
        """Customers of the arm who said anything."""
        return int((self.counts[:, Count.TURNS] > 0).sum())

    @property
    def hopeless(self) -> Share:
        """Of the turns that would have failed, those for goals that nothing satisfies: no rewrite could help them."""
        return Share(self.total(Count.HOPELESS), self.total(Count.WOULD_FAIL))

    @property
    def defect_rate(self) -> Estimate:
        """Failed turns of all turns."""
        return self._rate(Count.DEFECTS, Count.TURNS)

    @property
    def goal_defect_rate(self) -> Estimate:
        """Goals not reached of goals."""
        return self._rate(Count.GOALS_FAILED, Count.GOALS)

    @property
    def abandonment(self) -> Estimate:
        """Goals that ended in giving up or leaving, of goals."""
        return self._rate(Count.ABANDONED, Count.GOALS)

    @property
    def difference(self) -> Estimate | None:
        """The trial: failed turns of all turns, less the same in control. None for control."""
        return self._against(Count.DEFECTS, Count.TURNS)

    @property
    def goal_difference(self) -> Estimate | None:
        """The trial by goals. None for control."""
        return self._against(Count.GOALS_FAILED, Count.GOALS)

    @property
    def saved(self) -> Estimate:
        """Turn by turn against itself: wins less losses, of the turns that would have failed without rewrites."""
        sums = self._own_sums

        def reduction(rows: NDArray[np.float64]) -> NDArray[np.float64]:
            without = rows[..., Count.WOULD_FAIL]
            return np.asarray(_divide(without - rows[..., Count.DEFECTS], without))

        return _estimate(reduction(self.counts.sum(axis=0).astype(np.float64)), reduction(sums))

    @property
    def precision(self) -> Share:
        """Wins of rewritten turns."""
        return Share(self.total(Count.WINS), self.total(Count.REWRITTEN))

    @property
    def false_triggers(self) -> Share:
        """Rewritten turns of those that would have succeeded."""
        falsely = self.total(Count.LOSSES) + self.total(Count.HARMLESS)
        return Share(falsely, self.total(Count.TURNS) - self.total(Count.WOULD_FAIL))

    @property
    def win_loss(self) -> WinLoss:
        """Wins to losses, both by what would have happened; vain rewrites are neither."""
        return WinLoss(self.total(Count.WINS), self.total(Count.LOSSES))

    @property
    def win_harm(self) -> WinLoss:
        """Wins to losses and vain rewrites together: the stricter ratio, which annotators of texts would give."""
        return WinLoss(self.total(Count.WINS), self.total(Count.LOSSES) + self.total(Count.VAIN))

    @property
    def win_loss_by_user(self) -> Interval | None:
        """The ratio's interval with users resampled; None where no loss was seen."""
        if not self.total(Count.LOSSES):
            return None
        sums = self._own_sums
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = sums[:, Count.WINS] / sums[:, Count.LOSSES]
        return _ends(ratios[~np.isnan(ratios)])

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; null stands for what was not measured, and for an end that is infinite."""
        ratios = {"win_loss": self.win_loss, "win_harm": self.win_harm}
        return {
            "users": self.users,
            "counts": {each.name.lower(): self.total(each) for each in Count},
            "defect_rate": self.defect_rate.as_dict(),
            "goal_defect_rate": self.goal_defect_rate.as_dict(),
            "abandonment": self.abandonment.as_dict(),
            "difference": self.difference.as_dict() if self.difference else None,
            "goal_difference": self.goal_difference.as_dict() if self.goal_difference else None,
            "saved": self.saved.as_dict(),
            "hopeless": _share(self.hopeless),
            "precision": _share(self.precision),
            "false_triggers": _share(self.false_triggers),
            **{name: _ratio(ratio) for name, ratio in ratios.items()},
            "win_loss_by_user": _finite(self.win_loss_by_user),
        }

    def _rate(self, part: Count, whole: Count) -> Estimate:
        sums = self._own_sums
        return _estimate(_divide(self.total(part), self.total(whole)), _divide(sums[:, part], sums[:, whole]))

    def _against(self, part: Count, whole: Count) -> Estimate | None:
        if self.control is None:
            return None
        own, other = self.counts.sum(axis=0), self.control.sum(axis=0)
        ours, theirs = self._own_sums, self._resampled(self.control, 2)
        value = _divide(own[part], own[whole]) - _divide(other[part], other[whole])
        return _estimate(value, _divide(ours[:, part], ours[:, whole]) - _divide(theirs[:, part], theirs[:, whole]))

    @cached_property
    def _own_sums(self) -> NDArray[np.float64]:
        return self._resampled(self.counts, 1)

    def _resampled(self, counts: Table, stream: int) -> NDArray[np.float64]:
        """Sums over users drawn with replacement [resamples, Count] float64 (Davison & Hinkley, "Bootstrap Methods and
        their Application", 1997, section 3.8)."""
        active = counts[counts[:, Count.TURNS] > 0].astype(np.float64)
        if not len(active):
            return np.zeros((0, len(Count)))
        chance = np.random.default_rng([self.seed, stream])
        size = max(1, CHUNK // len(active))
        even = np.full(len(active), 1 / len(active))
        parts = [
            chance.multinomial(len(active), even, min(size, RESAMPLES - begin)) @ active
            for begin in range(0, RESAMPLES, size)
        ]
        return np.concatenate(parts)


def _divide(part: Any, whole: Any) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.true_divide(part, whole), np.float64)


def _estimate(value: Any, resampled: NDArray[np.float64]) -> Estimate:
    sound = resampled[np.isfinite(resampled)]
    if not np.isfinite(value) or not len(sound):
        return Estimate(None, None)
    return Estimate(float(value), _ends(sound))


def _ends(values: NDArray[np.float64]) -> Interval:
    tail = (1 - LEVEL) / 2
    low = np.quantile(values, tail, method="lower")  # without interpolation: some ratios are infinite
    return Interval(float(low), float(np.quantile(values, 1 - tail, method="higher")))


def _share(share: Share) -> dict[str, Any]:
    return {"value": share.value, "interval": _finite(share.interval), "part": share.part, "whole": share.whole}


def _ratio(ratio: WinLoss) -> dict[str, Any]:
    value = ratio.value if ratio.losses else None
    return {"value": value, "interval": _finite(ratio.interval), "wins": ratio.wins, "losses": ratio.losses}


def _finite(interval: Interval | None) -> list[float | None] | None:
    return None if interval is None else [end if np.isfinite(end) else None for end in interval]
