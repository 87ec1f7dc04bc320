"""Who wants what, and when: everything about customers that does not depend on what they are answered.

Traits of a customer come from a hash of (seed, trait, number), so that neither the arms nor anything else that is drawn
changes them. A session brings its own random numbers: the same session of another run, with other arms or another
engine, meets the same chance (common random numbers).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from eval.simulation.errors import AttemptsError
from eval.simulation.knobs import Knobs
from eval.simulation.population import Population

#: Random numbers that a session brings: rows of COLUMNS, one row a turn; longer sessions begin again.
ROWS, COLUMNS = 24, 20
#: Sessions drawn at a time.
BLOCK = 1_024
#: Monday 2026-01-05, 00:00 UTC.
BEGINNING = 1_767_571_200.0
DAY = 86_400.0
#: Relative traffic in each hour of the day: little at night, most in the evening.
HOURS = (1, 1, 1, 1, 1, 2, 5, 9, 9, 7, 6, 6, 7, 6, 6, 6, 8, 10, 12, 12, 11, 8, 5, 2)

Shares = NDArray[np.float64]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Session:
    """One sitting of one customer: what they come for, and the chance that they will meet."""

    user: int
    start: float  # seconds since the epoch
    wants: list[int]  # goals
    chance: NDArray[np.float64]  # [ROWS, COLUMNS] float64


@dataclass(frozen=True)
class Customers:
    """All customers of a simulation.

    `robot` and `learned` are bool [users], `patience` int64 [users] and `voice` uint64 [users].
    """

    population: Population
    knobs: Knobs
    seed: int
    robot: NDArray[np.bool_] = field(init=False, repr=False)
    learned: NDArray[np.bool_] = field(init=False, repr=False)
    patience: Numbers = field(init=False, repr=False)
    voice: NDArray[np.uint64] = field(init=False, repr=False)
    goals: Numbers = field(init=False, repr=False)  # those that take part

    def __post_init__(self) -> None:
        traffic, users = self.knobs.traffic, np.arange(self.knobs.traffic.users)
        give_up = 1 / self.knobs.reactions.patience
        with np.errstate(divide="ignore"):
            tries = 1 + np.floor(np.log1p(-self.trait("patience", users)) / np.log1p(-min(give_up, 1 - 1e-9)))
        made = {
            "robot": self.trait("robot", users) < traffic.robots,
            "learned": self.trait("learned", users) < self.knobs.learning.learn_users,
            "patience": tries.astype(np.int64),
            "voice": hashed(self.seed, "voice", users),
            "goals": _taking_part(self.population, self.knobs.preferences.unsatisfiable, self.seed),
        }
        for name, value in made.items():
            object.__setattr__(self, name, value)

    def trait(self, name: str, users: Numbers) -> Shares:
        """A uniform number of each user, from 0 to 1, for a trait."""
        return uniform(hashed(self.seed, name, users))

    def sessions(self, round_: int) -> Iterator[Session]:
        """The sessions of a round (from 1) in order of time, without an end."""
        knobs, chance = self.knobs, np.random.default_rng([self.seed, round_])
        popular, habits = self.popularity(round_), self.habits(round_)
        spread = _normal(self.trait("activity", np.arange(len(self.robot))))
        activity = np.cumsum(np.exp(knobs.traffic.activity * spread))
        length = knobs.traffic.round_days * DAY
        # As many sessions as there are turns would fill nine tenths of the round; there are fewer.
        pace = 0.9 * length * knobs.traffic.rounds / max(knobs.traffic.turns, 1)
        clock = (round_ - 1) * length
        while True:
            drawn = chance.random((BLOCK, ROWS, COLUMNS))
            times = clock - pace * np.cumsum(np.log1p(-chance.random(BLOCK)))
            clock = float(times[-1])
            users = np.searchsorted(activity, chance.random(BLOCK) * activity[-1])
            visits = chance.geometric(1 / knobs.traffic.visits, BLOCK)
            ends = np.cumsum(visits)
            wants = self._wants(chance, np.repeat(users, visits), popular, habits).tolist()
            for place, (user, time) in enumerate(zip(users.tolist(), _daily(times).tolist(), strict=True)):
                begin = int(ends[place] - visits[place])
                yield Session(user, time, wants[begin : int(ends[place])], drawn[place])

    def popularity(self, round_: int) -> tuple[Numbers, Shares]:
        """The goals from the most popular on in a round, with the cumulated shares [goals]."""
        order = np.random.default_rng([self.seed, 1]).permutation(self.goals)
        for number in range(2, round_ + 1):
            chance = np.random.default_rng([self.seed, 1, number])
            moved = np.flatnonzero(chance.random(len(order)) < self.knobs.preferences.drift)
            order[moved] = order[chance.permutation(moved)]
        weights = np.arange(1, len(order) + 1, dtype=np.float64) ** -self.knobs.preferences.zipf
        return order, np.cumsum(weights) / weights.sum()

    def habits(self, round_: int) -> Numbers:
        """Each user's own goals in a round [users, habits]; popular goals are more often among them."""
        shape = (len(self.robot), self.knobs.preferences.habits)
        own = np.zeros(shape, np.int64)
        for number in range(1, round_ + 1):
            order, cumulated = self.popularity(number)
            chance = np.random.default_rng([self.seed, 2, number])
            drawn = order[np.searchsorted(cumulated[:-1], chance.random(shape))]
            changed = chance.random(shape) < self.knobs.preferences.drift
            own = drawn if number == 1 else np.where(changed, drawn, own)
        return own

    def flips(self, round_: int) -> dict[int, int]:
        """Goals whose words most people use for another goal in this round, with that goal."""
        wishes = self.knobs.preferences
        if not 0 < wishes.flip_round <= round_:
            return {}
        able = np.array([each for each in self.goals.tolist() if self.population.goals[each].satisfiable], np.int64)
        drawn = np.random.default_rng([self.seed, 3]).permutation(able)
        pairs = min(round(wishes.flip_goals * len(able)), len(able) // 2)
        return dict(zip(drawn[:pairs].tolist(), drawn[pairs : 2 * pairs].tolist(), strict=True))

    def _wants(
        self, chance: np.random.Generator, users: Numbers, popular: tuple[Numbers, Shares], habits: Numbers
    ) -> Numbers:
        order, cumulated = popular
        anything = order[np.searchsorted(cumulated[:-1], chance.random(len(users)))]
        own = habits[users, chance.integers(0, habits.shape[1], len(users))]
        return np.where(chance.random(len(users)) < self.knobs.preferences.habit, own, anything)


def _taking_part(population: Population, unsatisfiable: float, seed: int) -> Numbers:
    """All goals that can be reached, and so many of the others that they are the wanted share."""
    able = [number for number, goal in enumerate(population.goals) if goal.satisfiable]
    others = [number for number, goal in enumerate(population.goals) if not goal.satisfiable]
    if not able:
        raise AttemptsError("no recording was understood, so no goal can ever be reached: give attempts with successes")
    wanted = round(unsatisfiable / (1 - unsatisfiable) * len(able))
    chosen = np.random.default_rng([seed, 4]).permutation(np.array(others, np.int64))[:wanted]
    return np.sort(np.concatenate([np.array(able, np.int64), chosen]))


def _daily(seconds: Shares) -> Shares:
    """Evenly spread time as time of the clock: within each day, traffic follows HOURS."""
    day, past = np.divmod(seconds, DAY)
    cumulated = np.concatenate([[0.0], np.cumsum(HOURS)]) / sum(HOURS)
    return np.asarray(BEGINNING + day * DAY + 3_600 * np.interp(past / DAY, cumulated, np.arange(25)))


def hashed(seed: int, name: str, numbers: Numbers) -> NDArray[np.uint64]:
    """64 bits for each number (Steele, Lea & Flood, "Fast Splittable Pseudorandom Number Generators", 2014)."""
    with np.errstate(over="ignore"):
        salt = np.uint64((crc32(name.encode()) << 32) ^ (seed & 0xFFFFFFFF))
        mixed = (numbers.astype(np.uint64) + salt) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def uniform(bits: NDArray[np.uint64]) -> Shares:
    """Bits as numbers from 0 to below 1."""
    return np.asarray((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def _normal(shares: Shares) -> Shares:
    from scipy.special import ndtri

    return np.asarray(ndtri(np.clip(shares, 1e-9, 1 - 1e-9)))
