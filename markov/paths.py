"""One user's attempts at one goal, in order, and how they ended."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from enum import IntEnum

from markov.errors import PathError


class End(IntEnum):
    """The two absorbing states; the value is the column in every array of shape [states, 2]."""

    SUCCESS = 0
    FAILURE = 1


@dataclass(frozen=True, slots=True)
class Path:
    """The states of the attempts in order, and the probability that the last one succeeded.

    `user` None means that nobody knows who: see `Counts.from_paths` for what follows from it.
    Raises PathError on a path that cannot be counted.

    >>> Path(("play maj and dragons", "play imagine dragons"), success=0.9, user="ann").states[-1]
    'play imagine dragons'
    """

    states: tuple[Hashable, ...]
    success: float
    weight: float = 1.0
    user: Hashable | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.states, tuple):
            kind = type(self.states).__name__
            raise PathError(f"states came as {kind}, a tuple is wanted: write Path((first, second), ...)")
        if not self.states:
            raise PathError("states came empty, at least one attempt is wanted: leave such a path out")
        if not 0.0 <= self.success <= 1.0:
            raise PathError(f"success came as {self.success!r}, a probability from 0 to 1 is wanted")
        if not (math.isfinite(self.weight) and self.weight > 0.0):
            raise PathError(
                f"weight came as {self.weight!r}, a finite number above 0 is wanted: leave it out"
            )
        try:
            hash((self.states, self.user))
        except TypeError as error:
            raise PathError(
                f"{error} among states and user: give strings, tuples or frozen records"
            ) from error
