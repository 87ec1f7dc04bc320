"""Parts of a log that no training, or no tuning, may have seen, and the check that they have not.

A user's part follows from the user's id and a seed alone, not from who else is there or in which order: tomorrow's log
puts everyone where today's did. In time, what comes before a moment is for training and what comes after for judging.

What a missing case scores
    a turn without a session, or without a goal    leaks none of that kind, and is not in its share
    a text without content                         leaks none: "uh" is nobody's answer
    no turns to judge by that could leak           the share is None, "not measured"
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

from dialogue.turn import Turn
from eval.arrays import flat
from eval.cases import CANONICAL
from eval.errors import CaseError

#: Leaks of each kind that an error names.
EXAMPLES = 3


class LeakError(CaseError):
    """Training has seen what it is to be judged by; the message names examples and what to do."""


class Leak(StrEnum):
    """What may be on both sides."""

    USER = "user"
    SESSION = "session"
    TEXT = "text"  # the same canonical text
    GOAL = "goal"


@dataclass(frozen=True, slots=True)
class Leakage:
    """What of one kind is on both sides."""

    kind: Leak
    shared: int  # distinct users, sessions, texts or goals
    turns: int  # turns to judge by that have one of them
    judged: int  # turns to judge by that have a user, a session, ...
    examples: tuple[tuple[str, str], ...]  # what is shared, and a turn to judge by that has it

    @property
    def share(self) -> float | None:
        """Of the turns to judge by."""
        return self.turns / self.judged if self.judged else None


@dataclass(frozen=True)
class UserSplit:
    """Parts by name with their shares of users, which add up to 1."""

    shares: Mapping[str, float] = field(default_factory=lambda: {"train": 0.8, "tune": 0.1, "test": 0.1})
    seed: int = 0

    def __post_init__(self) -> None:
        parts = flat("shares", list(self.shares.values()), 0.0, 1.0)
        if not math.isclose(float(parts.sum()), 1.0, abs_tol=1e-9):
            raise ValueError(f"shares came as {dict(self.shares)}: they must add up to 1")

    def part(self, user_id: str) -> str:
        """The part that a user is in, with all their turns."""
        place, end = _uniform(user_id, self.seed), 0.0
        for name, share in self.shares.items():
            end += share
            if place < end:
                return name
        return [name for name, share in self.shares.items() if share][-1]  # the shares add up to 1 but for rounding


def moment_at(timestamps: ArrayLike, share: float) -> float:
    """The time before which the given share of turns lies, for a split by time: `timestamp < moment` is training."""
    if not 0 <= share <= 1:
        raise ValueError(f"share came as {share!r}: a number from 0 to 1 is wanted")
    times = np.sort(flat("timestamps", timestamps))
    if not len(times):
        raise ValueError("no timestamps came: there is no moment to split at")
    place = math.ceil(len(times) * share - 1e-9)
    return float(times[place]) if place < len(times) else math.inf


def leakage(training: Iterable[Turn], judging: Iterable[Turn]) -> dict[Leak, Leakage]:
    """What the turns to judge by share with training, by kind. Training is read once; distinct ids are kept of it."""
    seen: dict[Leak, set[Hashable]] = {kind: set() for kind in Leak}
    for turn in training:
        for kind, key in _keys(turn).items():
            seen[kind].add(key)
    counts = {kind: _Count() for kind in Leak}
    for turn in judging:
        for kind, key in _keys(turn).items():
            counts[kind].add(key, turn, key in seen[kind])
    return {kind: count.leakage(kind) for kind, count in counts.items()}


def refuse_leaks(
    training: Iterable[Turn], judging: Iterable[Turn], forbidden: Iterable[Leak] = tuple(Leak)
) -> dict[Leak, Leakage]:
    """`leakage`, or LeakError where anything of a forbidden kind is on both sides.

    People ask for the same things in the same words, so that head traffic rightly repeats texts and goals: forbid the
    other kinds there, and tell the share of these.
    """
    wanted, found = set(forbidden), leakage(training, judging)
    broken = [each for kind, each in found.items() if kind in wanted and each.shared]
    if broken:
        raise LeakError("; ".join(map(_told, broken)) + ": split again, or train without them")
    return found


class _Count:
    """What is kept of the turns to judge by, for one kind."""

    def __init__(self) -> None:
        self.shared: set[Hashable] = set()
        self.turns = self.judged = 0
        self.examples: list[tuple[str, str]] = []

    def add(self, key: Hashable, turn: Turn, leaks: bool) -> None:
        self.judged += 1
        if not leaks:
            return
        self.turns += 1
        if key not in self.shared and len(self.examples) < EXAMPLES:
            self.examples.append((" / ".join(key) if isinstance(key, tuple) else str(key), turn.turn_id))
        self.shared.add(key)

    def leakage(self, kind: Leak) -> Leakage:
        return Leakage(kind, len(self.shared), self.turns, self.judged, tuple(self.examples))


def _keys(turn: Turn) -> dict[Leak, Hashable]:
    """What of a turn may leak; a session's id counts within its user, for logs number each user's from 1."""
    text = CANONICAL(turn.said)
    keys: dict[Leak, Hashable] = {Leak.USER: turn.user_id}
    if turn.session_id is not None:
        keys[Leak.SESSION] = (turn.user_id, turn.session_id)
    if text:
        keys[Leak.TEXT] = text
    if turn.gold and turn.gold.goal_id is not None:
        keys[Leak.GOAL] = turn.gold.goal_id
    return keys


def _told(leak: Leakage) -> str:
    named = ", ".join(f"{what!r} (turn {turn_id})" for what, turn_id in leak.examples)
    more = f" and {leak.shared - len(leak.examples):,} more" if leak.shared > len(leak.examples) else ""
    reach = f"{leak.turns:,} of {leak.judged:,} turns to judge by"
    return f"the same {leak.kind.value} in training and in {reach}: {named}{more}"


def _uniform(user_id: str, seed: int) -> float:
    """A number from 0 to below 1 that only the id and the seed decide."""
    digest = hashlib.blake2b(user_id.encode(), digest_size=8, salt=(seed % 2**64).to_bytes(8, "big")).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53
