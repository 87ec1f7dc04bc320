"""The measures of rewriting by name, each with its interval: users, not cases, are what is independent."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eval.measures import (
    Interval,
    Share,
    Tally,
    defect_rate_after,
    defect_rate_before,
    false_trigger_rate,
    precision,
    recall,
    relative_reduction,
    trigger_rate,
    win_loss,
)
from eval.uncertainty import bootstrap, clustered_wilson, reduction, win_loss_by_user

SHARES: Mapping[str, Callable[[Tally], Share]] = {
    "trigger_rate": trigger_rate,
    "precision": precision,
    "recall": recall,
    "false_trigger_rate": false_trigger_rate,
    "defect_rate_before": defect_rate_before,
    "defect_rate_after": defect_rate_after,
}
WIN_LOSS, REDUCTION = "win_loss", "relative_reduction"

#: Name -> what people read, and what it is a share of.
LABELS = {
    "trigger_rate": ("Triggered", "of all cases"),
    "precision": ("Precision", "wins of triggered"),
    "recall": ("Recall", "wins of opportunities"),
    "false_trigger_rate": ("False triggers", "of guardrails"),
    "defect_rate_before": ("Defects before", "of all cases"),
    "defect_rate_after": ("Defects after", "of all cases"),
    REDUCTION: ("Defects removed", "of those before"),
    WIN_LOSS: ("Wins : losses", "of triggered"),
}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, None where it was not measured, with its interval by user, None below two users."""

    name: str
    value: float | None  # wins to losses are infinite where there is no loss
    interval: Interval | None
    part: int
    whole: int

    @property
    def label(self) -> str:
        return LABELS[self.name][0]

    @property
    def low(self) -> float | None:
        return self.interval.low if self.interval else None

    @property
    def high(self) -> float | None:
        return self.interval.high if self.interval else None


def estimates(tally: Tally, by_user: Sequence[Tally], seed: int = 0) -> dict[str, Estimate]:
    """Every measure of a tally; `by_user` is the same by user, and must add up to it."""
    found = {name: _share(name, measure, tally, by_user) for name, measure in SHARES.items()}
    found[REDUCTION] = _reduction(tally, by_user, seed)
    ratio = win_loss(tally)
    wins, losses = [user.wins for user in by_user], [user.losses for user in by_user]
    interval = win_loss_by_user(wins, losses) if ratio.value is not None else None
    found[WIN_LOSS] = Estimate(WIN_LOSS, ratio.value, interval, ratio.wins, ratio.losses)
    return found


def _share(name: str, measure: Callable[[Tally], Share], tally: Tally, by_user: Sequence[Tally]) -> Estimate:
    share, shares = measure(tally), [measure(user) for user in by_user]
    interval = None
    if share.value is not None:
        interval = clustered_wilson([each.part for each in shares], [each.whole for each in shares])
    return Estimate(name, share.value, interval, share.part, share.whole)


def _reduction(tally: Tally, by_user: Sequence[Tally], seed: int) -> Estimate:
    before, after = tally.defects_before, tally.defects_after
    rows = np.array([(u.defects_before, u.cases, u.defects_after, u.cases) for u in by_user], np.float64)
    interval = bootstrap(rows.reshape(-1, 4), reduction, seed=seed) if before else None
    if interval is None or not 1e-9 < interval.high - interval.low < math.inf:
        interval = _reduction_without_harm(by_user) if before else None
    return Estimate(REDUCTION, relative_reduction(tally), interval, before - after, before)


def _reduction_without_harm(by_user: Sequence[Tally]) -> Interval | None:
    """Where users do not differ, so that nothing can be drawn: the share of defects that is gone, if none is new."""
    pairs = [(user.defects_before - user.defects_after, user.defects_before) for user in by_user]
    if any(gone < 0 for gone, _ in pairs):
        return None
    return clustered_wilson([gone for gone, _ in pairs], [before for _, before in pairs])
