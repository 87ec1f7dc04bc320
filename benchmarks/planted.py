"""Traffic with a planted truth, from a seed: which texts fail, what was meant by them, which rewrite would be better.

    python benchmarks/planted.py OUT.jsonl [--wishes 140000] [--flipped 0.1] [--text-only] [--seed 0]

A *wish* is one thing that a user wants. It has a *goal*, of which there are some hundreds, popular by Zipf's law, in
pairs that look alike ("play tavi morendel", "play tavi morandil"). A goal is said in texts of several kinds:

    good     understood nearly always
    weak     understood mostly: a rewrite would gain little, more or less than a margin
    half     understood half of the time
    broken   misheard or ill-worded, hardly ever understood
    torn     of both goals of a pair, and taken for the first: half of its speakers are content
    leaning  of both goals of a pair, understood for neither; most mean the first
    even     the same, but about as many mean the one as the other
    vague    of many goals ("play that bloru"), and understood for none
    hopeless of a goal that nothing satisfies: whoever gets something in the end got something else

and the good text of one goal is sometimes how its twin is misheard. A user says a text, which succeeds with the true
rate theta(text, goal). After a failure the user says the goal in other words, mostly good ones, or turns to another
wish, often the twin, or gives up. Robots say a text of one goal and then one of another, over and over. `outcome` is
on a share of the turns and is flipped on a share of those; the other turns have weaker signals, none of them sure.

What is known of a pair, for a text u that is first said for goal g with P(g|u):

    left alone     alone(u)    = sum_g P(g|u) theta(u, g)
    rewritten to j value(u, j) = sum_g P(g|u) theta(j, g)

Rates drift from round to round. From a given round on some broken texts mean the twin for most who say them, and some
begin to work. Made to know the truth, not for likeness to any assistant.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rewrite import Action, Decision

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
#: What a rewriter does with a text of a user's.
Policy: TypeAlias = Callable[[str, str], Decision]

BEGIN = 1_767_225_600.0  # seconds since the epoch: the first of January 2026
DAY = 86_400.0
MOST_TRIES = 4
FAVOURITES = 12  # goals that a user wants again and again
APART = 0.5  # wishes that begin a new visit
NONE = -1

#: Two ways of asking for each kind of thing.
_FORMS = (
    ("play {}", "put on {}"), ("call {}", "ring {}"), ("navigate to {}", "take me to {}"),
    ("what's the weather in {}", "weather forecast for {}"), ("who is {}", "tell me about {}"),
    ("open the app {}", "launch {}"), ("order {} again", "reorder {}"), ("when does {} open", "opening hours of {}"),
)  # fmt: skip
_ONSETS = (*"bdfghjklmnprstvw", "br", "ch", "dr", "gr", "kl", "pl", "sh", "st", "th", "tr")
_VOWELS = (*"aeiou", "ai", "ea", "oo")
_CODAS = ("", "", "l", "m", "n", "r", "s", "nd", "rk", "st")
_HEARD_AS = dict(zip("aeioubdfgklmnprstvw", "eiauopthckrnmblzdfv", strict=True))


class Kind(IntEnum):
    """What became of a text."""

    GOOD, WEAK, HALF, BROKEN, TORN, LEANING, EVEN, VAGUE, HOPELESS = range(9)


#: True rates, from and to, of each kind of text; of a torn text for the goal that it is taken for.
RATES = {
    Kind.GOOD: (0.88, 0.97), Kind.WEAK: (0.66, 0.86), Kind.HALF: (0.4, 0.6), Kind.BROKEN: (0.02, 0.25),
    Kind.TORN: (0.85, 0.95), Kind.LEANING: (0.02, 0.15), Kind.EVEN: (0.02, 0.15),
    Kind.VAGUE: (0.01, 0.05), Kind.HOPELESS: (0.01, 0.04),
}  # fmt: skip
#: How often a goal's texts of each kind come first, before all are scaled to 1, and in how many texts (at most).
SHARES = {Kind.GOOD: (0.7, 2), Kind.WEAK: (0.1, 1), Kind.HALF: (0.08, 1), Kind.BROKEN: (0.15, 2)}
#: The same of a goal that nothing satisfies.
HOPELESS_SHARES = {Kind.HOPELESS: (1.0, 4)}
_FEWEST = {Kind.GOOD: 1, Kind.BROKEN: 1, Kind.HOPELESS: 2}
#: Of a text of both goals of a pair: the least and the most that mean the first.
MEAN_FIRST = {Kind.TORN: (0.5, 0.7), Kind.LEANING: (0.8, 0.95), Kind.EVEN: (0.45, 0.6)}


@dataclass(frozen=True)
class Shape:
    """What the world holds."""

    goals: int = 240  # an even number
    users: int = 3_000
    zipf: float = 0.9  # popularity of the goal of rank r is r to the power of minus this
    shared: float = 0.8  # pairs of goals with texts of both
    hopeless: float = 0.25  # pairs of which nothing satisfies the second
    vague: int = 2  # vague texts of each form of request
    vague_share: float = 0.0015  # wishes that begin with one of them, each
    confused: float = 0.3  # pairs of which one is sometimes misheard as the good text of the other
    drift: float = 0.08  # standard deviation of the step of a rate's log-odds, a round
    flip_round: int | None = None  # from which on some texts mean and do something else; None: never
    flipped: float = 0.25  # broken texts that then mean the twin for most
    mended: float = 0.1  # broken texts that then work


@dataclass(frozen=True)
class Feedback:
    """What the log shows of an outcome. Each pair of shares: after a success, after a failure."""

    labelled: float = 0.6  # turns with an outcome
    flipped: float = 0.1  # outcomes that are the opposite of what was
    apology: tuple[float, float] = (0.03, 0.5)
    barge_in: tuple[float, float] = (0.05, 0.3)
    engaged: tuple[float, float] = (0.5, 0.1)


@dataclass(frozen=True)
class Reactions:
    """What a user does after a failure; the rest gives up."""

    again: float = 0.65  # says the goal once more
    twin: float = 0.08  # wants the twin instead, and says it well
    other: float = 0.06  # wants something else instead
    habit: float = 0.4  # wishes that a user begins in words that are always the same for this goal
    favourite: float = 0.5  # wishes that are among a user's favourites


@dataclass(frozen=True)
class Robots:
    """Users who say one text, always for the same odd goal, and then a text of that goal."""

    count: int = 8
    wishes: int = 500  # of each: two turns a wish


@dataclass(frozen=True, eq=False)
class World:
    """What is said, meant and understood. Rows of `first` and `again` sum to 1."""

    texts: tuple[str, ...]
    kind: NDArray[np.int8]  # [texts]
    home: Ints  # [texts] the goal that a text was made for
    twin: Ints  # [goals] the goal that looks alike
    popularity: Floats  # [goals], sums to 1
    theta: Floats  # [texts, goals] the true rate of success
    first: Floats  # [goals, texts] how often a wish begins with a text
    again: Floats  # [goals, texts] how often it goes on with one

    @cached_property
    def index(self) -> dict[str, int]:
        """The number of each text."""
        return {text: number for number, text in enumerate(self.texts)}

    @cached_property
    def said(self) -> Floats:
        """P(a wish begins with the text) [texts]."""
        return self.popularity @ self.first

    @cached_property
    def meant(self) -> Floats:
        """P(goal | the wish begins with the text) [texts, goals]; 0 for a text that no wish begins with."""
        joint = self.popularity[:, None] * self.first
        share: Floats = (joint / np.maximum(self.said, 1e-300)).T
        return share

    @cached_property
    def alone(self) -> Floats:
        """P(success) of a text that is left alone [texts]."""
        return np.asarray((self.meant * self.theta).sum(1))

    @cached_property
    def value(self) -> Floats:
        """P(success) of each text that is rewritten to each other [texts, texts]."""
        value: Floats = self.meant @ self.theta.T
        return value

    @cached_property
    def gain(self) -> Floats:
        """By how much rewriting beats leaving alone [texts, texts]."""
        return np.asarray(self.value - self.alone[:, None])

    def good(self, source: int, target: int, margin: float) -> bool:
        """Whether a pair is truly good: better by more than the margin."""
        return source != target and bool(self.gain[source, target] > margin)

    def repairable(self, margin: float) -> Flags:
        """Which texts have a truly good target [texts]."""
        return np.asarray(self.gain.max(1) > margin)

    def wins_losses(self, source: int, target: int) -> tuple[float, float]:
        """Of all wishes, those that a rewrite would win and lose: the two outcomes are independent."""
        meant = self.said[source] * self.meant[source]
        alone, rewritten = self.theta[source], self.theta[target]
        return float(meant @ (rewritten * (1 - alone))), float(meant @ (alone * (1 - rewritten)))


class Planted:
    """The worlds of a seed, round after round."""

    def __init__(self, shape: Shape | None = None, seed: int = 0) -> None:
        self.shape, self.seed = shape or Shape(), seed
        self._base = make_world(self.shape, seed)

    def at(self, round_: int = 0) -> World:
        """The world of a round, from 0."""
        world = _drifted(self._base, self.shape.drift, self.seed, round_)
        if self.shape.flip_round is None or round_ < self.shape.flip_round:
            return world
        return _changed(world, self.flipped, self.mended)

    @cached_property
    def flipped(self) -> Ints:
        """The texts that mean the twin from the round of flips on."""
        return self._drawn[: round(self.shape.flipped * len(self._drawn))]

    @cached_property
    def mended(self) -> Ints:
        """The texts that work from the round of flips on."""
        return self._drawn[::-1][: round(self.shape.mended * len(self._drawn))]

    @cached_property
    def _drawn(self) -> Ints:
        broken = np.flatnonzero(self._base.kind == Kind.BROKEN)
        return np.random.default_rng([self.seed, 7]).permutation(broken)


def make_world(shape: Shape, seed: int) -> World:
    """The world before any drift."""
    maker = _Maker(shape, seed)
    for pair in range(shape.goals // 2):
        maker.add_pair(2 * pair)
    for form in range(len(_FORMS)):
        for _ in range(shape.vague):
            maker.add_vague(form)
    return maker.world()


class _Maker:
    """Names and texts, pair of goals after pair."""

    def __init__(self, shape: Shape, seed: int) -> None:
        self.shape, self.draw = shape, random.Random(seed)
        self.texts: dict[str, int] = {}
        self.kinds: list[Kind] = []
        self.home: list[int] = []
        self.ways: list[tuple[int, int, float, float]] = []  # text, goal, theta, share of first tries
        rank = np.arange(1, shape.goals + 1)
        self.popularity = rank**-shape.zipf / (rank**-shape.zipf).sum()

    def add_pair(self, goal: int) -> None:
        """Two goals that look alike, with their texts."""
        forms = _FORMS[goal // 2 % len(_FORMS)]
        name = f"{self._word(2)} {self._word(3)}"
        alike = self._misheard(name, 2, last_word=True)
        hopeless = self.draw.random() < self.shape.hopeless
        good = self._add_goal(goal, forms, name, SHARES)
        self._add_goal(goal + 1, forms, alike, HOPELESS_SHARES if hopeless else SHARES)
        kinds = list(MEAN_FIRST)
        if self.draw.random() < self.shape.shared:
            self._add_shared(goal, kinds[goal // 2 % len(kinds)], forms[0].format(self._misheard(name, 1, True)))
        if self.draw.random() < self.shape.confused:
            self.ways.append((good, goal + 1, 0.0, self.draw.uniform(0.08, 0.25)))

    def add_vague(self, form: int) -> None:
        """A text of all goals of a form of request."""
        number = self._add(_FORMS[form][0].format(f"that {self._word(2)}"), 2 * form, Kind.VAGUE)
        goals = [goal for goal in range(self.shape.goals) if goal // 2 % len(_FORMS) == form]
        for goal in goals if number is not None else ():
            share = self.shape.vague_share / len(goals) / self.popularity[goal]
            self.ways.append((number, goal, self.draw.uniform(*RATES[Kind.VAGUE]), min(share, 0.3)))

    def _add_goal(
        self, goal: int, forms: tuple[str, str], name: str, shares: Mapping[Kind, tuple[float, int]]
    ) -> int:
        """The texts of one goal; gives the number of the first, said as it should be."""
        first = len(self.texts)
        for kind, (share, most) in shares.items():
            count = self.draw.randint(_FEWEST.get(kind, 0), most)
            for place in range(count):
                text = self._worded(kind, place, forms, name)
                weight = share * self.draw.uniform(0.5, 1) / count
                self._add(text, goal, kind, self.draw.uniform(*RATES[kind]), weight)
        return first

    def _worded(self, kind: Kind, place: int, forms: tuple[str, str], name: str) -> str:
        """Good texts are said in both forms; weak ones in the second or misheard; the others are misheard."""
        if kind is Kind.GOOD or (kind is Kind.HOPELESS and place < 2):
            return forms[place % 2].format(name)
        if kind is Kind.WEAK and self.draw.random() < 0.5:
            return forms[1].format(name)
        return forms[0].format(self._misheard(name, self.draw.randint(1, 2)))

    def _add_shared(self, goal: int, kind: Kind, text: str) -> None:
        number, mean_first = self._add(text, goal, kind), self.draw.uniform(*MEAN_FIRST[kind])
        if number is not None:
            mass = self.draw.uniform(0.08, 0.16) * self.popularity[goal]
            rates = [self.draw.uniform(*RATES[kind]), 0.02 if kind is Kind.TORN else self.draw.uniform(*RATES[kind])]
            for place, meant in enumerate((mean_first, 1 - mean_first)):
                self.ways.append((number, goal + place, rates[place], meant * mass / self.popularity[goal + place]))

    def _add(self, text: str, goal: int, kind: Kind, theta: float = 0.0, share: float = 0.0) -> int | None:
        """The number of the text; None, and nothing is added, where it was made before."""
        if text in self.texts:
            return None
        number = self.texts[text] = len(self.texts)
        self.kinds.append(kind)
        self.home.append(goal)
        if share:
            self.ways.append((number, goal, theta, share))
        return number

    def _word(self, syllables: int) -> str:
        draw = self.draw
        return "".join(draw.choice(_ONSETS) + draw.choice(_VOWELS) + draw.choice(_CODAS) for _ in range(syllables))

    def _misheard(self, name: str, letters: int, last_word: bool = False) -> str:
        first = name.index(" ") + 1 if last_word else 0
        places = [place for place in range(first, len(name)) if name[place] in _HEARD_AS]
        heard = list(name)
        for place in self.draw.sample(places, letters):
            heard[place] = _HEARD_AS[heard[place]]
        return "".join(heard)

    def world(self) -> World:
        goals, texts = self.shape.goals, len(self.texts)
        theta, first = np.zeros((texts, goals)), np.zeros((goals, texts))
        for text, goal, rate, share in self.ways:
            theta[text, goal], first[goal, text] = rate, share
        kind, home = np.array(self.kinds, np.int8), np.array(self.home)
        well = (kind == Kind.GOOD) | (kind == Kind.HOPELESS)
        again = np.where(well, 1.0, 0.08) * (home == np.arange(goals)[:, None])
        return World(
            tuple(self.texts), kind, home, np.arange(goals) ^ 1, self.popularity, theta,
            _scaled(first), _scaled(again * first),
        )  # fmt: skip


def _scaled(rows: Floats) -> Floats:
    return np.asarray(rows / rows.sum(1, keepdims=True))


def _drifted(world: World, drift: float, seed: int, rounds: int) -> World:
    """Every rate's log-odds after so many steps of a random walk."""
    draw = np.random.default_rng([seed, 11])
    known = np.flatnonzero(world.theta)
    steps = draw.normal(0, drift, (rounds, len(known))) if rounds else np.zeros((1, len(known)))
    theta = world.theta.copy()
    odds = np.log(theta.flat[known] / (1 - theta.flat[known])) + steps.sum(0)
    theta.flat[known] = 1 / (1 + np.exp(-odds))
    return replace(world, theta=theta)


def _changed(world: World, flipped: Ints, mended: Ints) -> World:
    """Flipped texts mean the twin for nine of ten of those who say them; mended ones are as good as a good one."""
    theta, first = world.theta.copy(), world.first.copy()
    for text in flipped:
        goal = world.home[text]
        twin = world.twin[goal]
        moved = 0.9 * first[goal, text]
        first[goal, text] -= moved
        first[twin, text] += moved * world.popularity[goal] / world.popularity[twin]
        theta[text, twin] = 0.03
    theta[mended, world.home[mended]] = 0.93
    return replace(world, theta=theta, first=_scaled(first))


@dataclass(frozen=True, slots=True)
class Traffic:
    """Turns in order of time, as columns [turns]."""

    user: Ints
    goal: Ints
    said: Ints  # the text that the user said
    sent: Ints  # the text that went on to NLU
    success: Flags  # the truth
    told: NDArray[np.int8]  # 1: outcome success, 0: failure, NONE: no outcome
    apology: Flags
    barge_in: Flags
    engaged_s: Floats  # nan: not known
    propensity: Floats  # of what the rewriter did; nan: it had no rewrite to serve or to hold back
    pair: NDArray[np.object_]  # the rewrite's id, or None
    tries: Ints  # the place of the turn among the tries at its wish, from 0
    time: Floats  # seconds since the epoch

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: Any) -> Traffic:
        """The turns at `rows`, in that order."""
        return Traffic(*(getattr(self, each.name)[rows] for each in fields(self)))


def traffic(
    world: World,
    wishes: int,
    seed: int = 0,
    *,
    users: int = 3_000,
    robots: Robots | None = None,
    feedback: Feedback | None = None,
    reactions: Reactions | None = None,
    policy: Policy | None = None,
    begin: float = BEGIN,
    days: float = 14.0,
) -> Traffic:
    """The turns of so many wishes of people, and the robots'; rewritten by the policy as it goes."""
    robots, feedback, reactions = robots or Robots(), feedback or Feedback(), reactions or Reactions()
    draw = np.random.default_rng([seed, 3])
    user = np.sort(draw.integers(0, users, wishes))
    goal = _wanted(world, user, reactions, draw)
    said = _began(world, user, goal, reactions, draw)
    odd_user, odd_goal, odd_said, odd_next = _odd(world, users, robots)
    wish = _Wishes(
        np.concatenate([user, odd_user]), np.concatenate([goal, odd_goal]), np.concatenate([said, odd_said]),
        np.concatenate([np.full(wishes, NONE), odd_next]),
    )  # fmt: skip
    parts = list(_tries(world, wish, reactions, policy, draw))
    turn = np.concatenate([part[0] for part in parts])  # the wish of each turn
    goal, said, sent, propensity, success = (np.concatenate([part[n] for part in parts]) for n in range(1, 6))
    pair = np.concatenate([part[6] for part in parts])
    number = np.concatenate([np.full(len(part[0]), place) for place, part in enumerate(parts)])
    time = begin + _times(wish, turn, number, wishes, days, draw)
    told, apology, barge_in, engaged = _noticed(success, feedback, draw)
    every = Traffic(
        wish.user[turn], goal, said, sent, success, told, apology, barge_in, engaged, propensity, pair, number, time
    )
    return every.take(np.lexsort((number, turn, time)))


@dataclass(frozen=True, slots=True)
class _Wishes:
    user: Ints
    goal: Ints
    said: Ints  # the text that each begins with
    next: Ints  # what a robot says next; NONE for people


def _wanted(world: World, user: Ints, reactions: Reactions, draw: np.random.Generator) -> Ints:
    """The goal of each wish: a user's favourites have the same popularity as all."""
    share = draw.random(len(user))
    favourite = draw.random(len(user)) < reactions.favourite
    place = np.minimum(draw.geometric(0.25, len(user)), FAVOURITES)
    share = np.where(favourite, _share_of(user, place), share)
    return np.searchsorted(np.cumsum(world.popularity)[:-1], share, side="right")


def _began(world: World, user: Ints, goal: Ints, reactions: Reactions, draw: np.random.Generator) -> Ints:
    """The text that each wish begins with: by habit always the same for a user and goal."""
    share, habit = draw.random(len(user)), draw.random(len(user)) < reactions.habit
    return _drawn(world.first, goal, np.where(habit, _share_of(user, 1_000 + goal), share))


def _share_of(one: Ints, other: Ints) -> Floats:
    """A number from 0 to 1 that is always the same for two numbers."""
    mixed = (one.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) ^ (
        other.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    )
    mixed ^= mixed >> np.uint64(31)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(29)
    return np.asarray((mixed >> np.uint64(11)).astype(np.float64) / 2.0**53)


def _drawn(rows: Floats, row: Ints, share: Floats) -> Ints:
    """A column of each row, by its shares."""
    ends = np.cumsum(rows, axis=1)
    ends[:, -1] = 1.0
    level = (ends + np.arange(len(rows))[:, None]).ravel()
    found = np.searchsorted(level, row + share * (1 - 1e-9), side="right")
    return np.asarray(found - row * rows.shape[1])


def _odd(world: World, users: int, robots: Robots) -> tuple[Ints, Ints, Ints, Ints]:
    """User, goal, first and next text of the robots' wishes: a broken text that some people say, and then a good one of
    another goal that is asked for in the same form."""
    broken = np.flatnonzero(world.kind == Kind.BROKEN)
    common = broken[np.argsort(-world.said[broken], kind="stable")]
    mine = common[len(common) // 4 :: max(len(common) // 2 // max(robots.count, 1), 1)][: robots.count]
    good = np.flatnonzero(world.kind == Kind.GOOD)
    form = world.home // 2 % len(_FORMS)  # [texts]
    following = np.empty_like(mine)
    for place, text in enumerate(mine):
        others = good[world.home[good] // 2 != world.home[text] // 2]
        alike = others[form[others] == form[text]]
        following[place] = (alike if len(alike) else others)[place % max(len(alike), 1)]
    columns = users + np.arange(len(mine)), world.home[following], mine, following
    user, goal, said, after = (np.repeat(column.astype(np.int64), robots.wishes) for column in columns)
    return user, goal, said, after


def _tries(
    world: World, wish: _Wishes, reactions: Reactions, policy: Policy | None, draw: np.random.Generator
) -> Iterator[tuple[Any, ...]]:
    """(wish, goal, said, sent, propensity, success, pair) of all first tries, then all second ones, and so on."""
    left, goal, said = np.arange(len(wish.user)), wish.goal, wish.said
    for _ in range(MOST_TRIES):
        sent, propensity, pair = _served(world, said, wish.user[left], policy)
        success = draw.random(len(left)) < world.theta[sent, goal]
        yield left, goal, said, sent, propensity, success, pair
        share, which = draw.random(len(left)), draw.random(len(left))
        person = wish.next[left] == NONE
        steps = np.cumsum([reactions.again, reactions.twin, reactions.other])
        reaction = np.where(person, np.searchsorted(steps, share, side="right"), 0)
        on = ~success & (reaction < 3) & (person | (said != wish.next[left]))
        left, goal, said, reaction, share, which, person = (
            each[on] for each in (left, goal, said, reaction, share, which, person)
        )
        other = np.searchsorted(np.cumsum(world.popularity)[:-1], draw.random(len(left)), side="right")
        goal = np.choose(reaction, [goal, world.twin[goal], other])
        said = np.where(person, _drawn(world.again, goal, which), wish.next[left])


def _served(
    world: World, said: Ints, user: Ints, policy: Policy | None
) -> tuple[Ints, Floats, NDArray[np.object_]]:
    """What goes on to NLU for what was said, with the propensity and the id of the rewrite where there is one."""
    propensity, pair = np.full(len(said), np.nan), np.full(len(said), None, object)
    if policy is None:
        return said, propensity, pair
    sent = said.copy()
    for row, (text, who) in enumerate(zip(said.tolist(), user.tolist(), strict=True)):
        decision = policy(world.texts[text], user_name(who))
        if decision.action is Action.REWRITE:
            sent[row] = world.index[decision.text]
        if decision.rewrite_id is not None and decision.action is not Action.SUGGEST:
            propensity[row], pair[row] = decision.propensity, decision.rewrite_id
    return sent, propensity, pair


def _times(wish: _Wishes, turn: Ints, number: Ints, people: int, days: float, draw: np.random.Generator) -> Floats:
    """Seconds from the beginning of the round [turns]: visits anywhere in it, a minute or so between the wishes of
    one, and seconds between tries; robots at even steps."""
    order = np.lexsort((number, turn))
    of = turn[order]
    begins = np.insert(of[1:] != of[:-1], 0, True)
    user = wish.user[of]
    visit = begins & (np.insert(user[1:] != user[:-1], 0, True) | (draw.random(len(of)) < APART) | (of >= people))
    gap = draw.lognormal(np.log(8), 0.5, len(of))
    gap[begins] = draw.lognormal(np.log(50), 0.7, int(begins.sum()))
    gap[visit] = 0
    total = np.cumsum(gap)
    at = np.flatnonzero(visit)
    start = draw.random(len(at)) * (days * DAY - 3_600)
    owner = user[at]
    start = start[np.lexsort((start, owner))]  # a user's visits in order; users are in order already
    robot = of[at] >= people
    if robot.any():
        each = np.bincount(owner[robot] - owner[robot].min()).max()
        start[robot] = (np.cumsum(robot)[robot] % each) * (days * DAY - 3_600) / each
    time = np.empty(len(of))
    time[order] = total + np.repeat(start - total[at], np.diff([*at.tolist(), len(of)]))
    return time


def _noticed(
    success: Flags, feedback: Feedback, draw: np.random.Generator
) -> tuple[NDArray[np.int8], Flags, Flags, Floats]:
    """Outcome, apology, barge-in and seconds of use [turns]: the first on some, the weaker signals on the rest."""
    count = len(success)
    known, flipped = draw.random(count) < feedback.labelled, draw.random(count) < feedback.flipped
    told = np.where(known, success ^ flipped, NONE).astype(np.int8)

    def shown(shares: tuple[float, float]) -> Flags:
        return ~known & (draw.random(count) < np.where(success, *shares))

    apology, barge_in, engaged = shown(feedback.apology), shown(feedback.barge_in), shown(feedback.engaged)
    seconds = np.where(success, draw.gamma(3, 15, count), draw.gamma(2, 4, count))
    return told, apology, barge_in, np.where(engaged, np.round(seconds, 1), np.nan)


def user_name(user: int) -> str:
    """The name of a user in the log."""
    return f"u{user:06d}"


def lines(
    world: World, turns: Traffic, *, name: str = "t", served: bool = True, nlu: bool = True
) -> Iterator[str]:
    """The log, line by line, with interpretations or without.

    Without `served` it is that of an assistant that does not know of its rewriter.
    """
    texts = [json.dumps(text) for text in world.texts]
    columns = [getattr(turns, each.name).tolist() for each in fields(turns)]
    for number, row in enumerate(zip(*columns, strict=True)):
        user, goal, said, sent, success, told, apology, barge_in, engaged_s, propensity, pair, _, time = row
        parts = [
            f'{{"turn_id":"{name}{number:07d}","user_id":"{user_name(user)}","timestamp":{time:.3f},'
            f'"text":{texts[sent if served else said]}'
        ]
        if told != NONE:
            parts.append(f',"outcome":"{"success" if told else "failure"}"')
        elif apology:
            parts.append(',"response":"Sorry, I don\'t know that one."')
        if barge_in:
            parts.append(',"signals":{"barge_in":true}')
        elif engaged_s == engaged_s:
            parts.append(f',"signals":{{"engaged_s":{engaged_s}}}')
        if nlu:
            parts.append(_nlu(world, sent, goal, success))
        if served and pair is not None:
            parts.append(
                f',"served":{{"original":{texts[said]},"rewrite":{texts[sent]},"source":"precomputed",'
                f'"rewrite_id":"{pair}","propensity":{propensity:.6g}}}'
            )
        yield "".join([*parts, "}\n"])


def _nlu(world: World, sent: int, goal: int, success: bool) -> str:
    """The goal's own interpretation after a success; after a failure, what the text was taken for."""
    form = goal // 2 % len(_FORMS)
    slot = f"thing {goal}" if success else f"thing heard in text {sent}"
    return f',"nlu":{{"domain":"d{form % 3}","intent":"i{form}","slots":{{"name":"{slot}"}}}}'


def write_log(path: Path, world: World, turns: Traffic, **how: Any) -> Path:
    """Writes the log; `how` as for `lines`."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(lines(world, turns, **how))
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--wishes", type=int, default=140_000, help="of some 1.6 turns each")
    parser.add_argument("--flipped", type=float, default=Feedback.flipped, help="share of outcomes that are flipped")
    parser.add_argument("--text-only", action="store_true", help="log no interpretations")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    world = Planted(seed=given.seed).at()
    turns = traffic(world, given.wishes, given.seed, feedback=Feedback(flipped=given.flipped))
    write_log(given.out, world, turns, nlu=not given.text_only)
    told = {"path": str(given.out), "turns": len(turns), "texts": len(world.texts), "goals": len(world.popularity)}
    json.dump(told | {"bytes": given.out.stat().st_size}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
