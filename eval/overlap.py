"""What of the cases a bundle has seen before: a bundle that was learned from the cases shows memory, not judgement.

A user counts as seen where the bundle holds requests or corrections of theirs, a text where its log held it, a case
where it lies between the log's first turn and its last. Frequent texts are in every log, so that they alone are no
leak; a user of whom only later turns are judged is what the personal layer is for, and is told but not blamed.

What a missing case scores
    a log without times    not blamed by date, and the report says so
    cases before the log   not blamed by date: the bundle has not seen them
    a bundle's tables not given    None, "not measured"
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from dialogue.turn import Turn
from eval.known import Known

#: Share of cases by users that the bundle knows from which on it is told as a fault.
KNOWN_USERS = 0.2
#: Share of cases that the bundle was trained on from which on the figures show memory; fewer are a warning.
TRAINED_ON = 0.01


class Blame(StrEnum):
    """How far the cases are the bundle's own."""

    CLEAN = "clean"
    KNOWN_USERS = "known users"  # many cases are of users that the bundle was learned from
    SAME_DATES = "same dates"  # cases lie within the time of the bundle's log, of other users
    A_FEW = "trained on a few"  # fewer than TRAINED_ON are as below
    TRAINED_ON = "trained on"  # cases of its own users lie within the time of its log


@dataclass(slots=True)
class Overlap:
    """Counts of cases, as they come."""

    first_seen: float | None = None  # of the bundle's log, seconds since the epoch
    last_seen: float | None = None
    cases: int = 0
    known_users: int = 0
    known_texts: int = 0
    within_log: int = 0  # from its first turn to its last
    trained_on: int = 0  # the same, of known users
    first_case: float | None = None
    last_case: float | None = None

    @classmethod
    def with_known(cls, known: Known) -> Overlap:
        return cls(known.first_seen, known.last_seen)

    def add(self, turn: Turn, known: Known) -> None:
        user = known.knows_user(turn.user_id)
        within = self.last_seen is not None and (self.first_seen or -math.inf) <= turn.timestamp <= self.last_seen
        self.cases += 1
        self.known_users += user
        self.known_texts += known.knows_text(turn.said)
        self.within_log += within
        self.trained_on += user and within
        when = turn.timestamp
        self.first_case = when if self.first_case is None else min(self.first_case, when)
        self.last_case = when if self.last_case is None else max(self.last_case, when)

    @property
    def blame(self) -> Blame:
        if self.trained_on:
            return Blame.TRAINED_ON if self.trained_on >= TRAINED_ON * self.cases else Blame.A_FEW
        if self.cases and self.known_users / self.cases > KNOWN_USERS:
            return Blame.KNOWN_USERS
        return Blame.SAME_DATES if self.within_log else Blame.CLEAN
