"""The truth of a round, for the judge alone: one row a turn, in the order of the log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.int64]


class Kind(IntEnum):
    """What sort of turn it is."""

    REQUEST = 0
    FOLLOW_UP = 1
    ROBOT = 2


class End(IntEnum):
    """How a visit ended with this turn."""

    NOT_YET = 0  # the customer tries again, or the simulation stopped here
    REACHED = 1
    GAVE_UP = 2  # out of patience
    SWITCHED = 3  # went on to another goal
    LEFT = 4  # ended the session


@dataclass(frozen=True)
class Truth:
    """Columns int64 [turns]; row i belongs to line i of the log."""

    user: Column
    visit: Column
    kind: Column  # Kind
    goal: Column  # what was wanted; of a follow-up -1
    hopeless: Column  # 1 where no recording of the goal ever succeeded
    rewritten: Column  # 1 where a rewrite was served
    would: Column  # 1 where the turn would have succeeded without the rewrite
    success: Column
    end: Column  # End

    @classmethod
    def load(cls, path: Path) -> Truth:
        """From the file that `save` wrote."""
        with np.load(path, allow_pickle=False) as saved:
            return cls(**{each.name: saved[each.name].astype(np.int64) for each in fields(cls)})

    def save(self, path: Path) -> None:
        """As compressed arrays, without pickles."""
        np.savez_compressed(path, **{each.name: getattr(self, each.name).astype(np.int32) for each in fields(self)})

    def __len__(self) -> int:
        return len(self.user)


@dataclass(slots=True)
class Pair:
    """How one rewrite of one text went, over all turns of a round in which it was served."""

    said: str
    rewrite: str
    source: str
    reason: str
    wins: int = 0  # would have failed, succeeded
    losses: int = 0  # would have succeeded, failed
    vain: int = 0  # would have failed, failed
    harmless: int = 0  # would have succeeded, succeeded
    users: set[int] = field(default_factory=set)

    def add(self, user: int, would: bool, success: bool) -> None:
        """One more turn."""
        if would:
            self.harmless, self.losses = self.harmless + success, self.losses + (not success)
        else:
            self.wins, self.vain = self.wins + success, self.vain + (not success)
        self.users.add(user)

    def as_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "users"} | {"users": len(self.users)}


class Said(NamedTuple):
    """What a turn was in the simulation, beside what was wanted: whose words, and in which sitting."""

    session: int  # number of the sitting in the round, from 1
    goal: int  # the goal whose words they are; of a follow-up -1
    sentence: int  # place among the sentences of that goal; of a follow-up -1


@dataclass(slots=True)
class Noted:
    """The truth while it is being noted."""

    rows: list[tuple[int, ...]] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)  # of each row; in no file
    pairs: dict[tuple[str, str, str], Pair] = field(default_factory=dict)

    def truth(self) -> Truth:
        """The columns, once all is noted."""
        columns = np.array(self.rows, np.int64).reshape(-1, len(fields(Truth))).T
        return Truth(*columns)

    def judged(self) -> Iterator[Pair]:
        """The pairs that were served, the most harmful first."""
        yield from sorted(self.pairs.values(), key=lambda each: (-each.losses, -each.vain, each.said, each.rewrite))
