"""Large logs of made-up traffic, from a seed: what the benchmarks learn from and serve.

    python benchmarks/logs.py OUT.jsonl --turns 1000000 [--seed 0]

A *request* is a template with a made-up name in it ("play {}" with "tavi morendel"), popular by Zipf's law. A
user, of which there is about one for 25 turns, has favourites and also asks for what everyone asks for. A *goal*
is one thing that a user wants: its attempts are heard right, heard wrong in the way in which this request often
is, or garbled once and never again; what fails is mostly said again, sometimes repeated, sometimes dropped for
another goal. A few robots say one thing all day. Half a million turns hold some 105,000 distinct texts, five
million some 500,000.

Made for load, not for likeness to any assistant: what is learned from it says nothing about quality.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

TURNS_PER_USER = 25
#: Requests that can be made; past some millions of turns nearly all of them are.
REQUESTS = 400_000
ROBOTS, ROBOT_SHARE = 5, 0.002  # how many, and which share of the turns each makes
MOST_ATTEMPTS = 4
BEGIN = np.datetime64("2026-01-05T00:00:00", "ms")
DAYS = 60
ROWS = 100_000  # lines made at a time

_FIXED = (
    "stop", "next", "volume up", "volume down", "what time is it", "turn on the light", "turn off the light",
    "what's the weather", "good morning", "pause", "resume", "tell me a joke", "what's the news",
    "skip this song", "set a timer for ten minutes", "turn up the heating", "lock the front door", "thank you",
    "cancel", "good night",
)  # fmt: skip
_TEMPLATES = (
    "play {}", "play some {} music", "play the song {}", "put on the album {}", "add {} to my shopping list",
    "call {}", "send a message to {}", "what's the weather in {}", "how far is it to {}", "navigate to {}",
    "who is {}", "tell me about {}", "when does {} open", "turn on the {} lamp", "turn off the {} lamp",
    "open the app {}", "read the book {}", "find a recipe for {}", "show my photos of {}",
    "start the {} routine", "play the latest episode of {}", "remind me to ask {}", "order {} again",
    "translate {} into french",
)  # fmt: skip
_ONSETS = (*"bdfghjklmnprstvw", "br", "ch", "dr", "gr", "kl", "pl", "sh", "st", "th", "tr")
_VOWELS = (*"aeiou", "ai", "ea", "oo")
_CODAS = ("", "", "", *"lmnrst", "nd", "rk", "st")
_HEARD_AS = dict(zip("aeioubdfgklmnprstv", "eiauopthckrnmblzdf", strict=True))
_DEVICES = ("speaker", "screen", "phone", "car")


class Requests:
    """What can be asked for, the most popular first. Texts are canonical, and made when asked for."""

    def __init__(self, count: int = REQUESTS, seed: int = 0) -> None:
        self.count = count
        self._draw = random.Random(seed)
        words = list(dict.fromkeys(self._word() for _ in range(30_000)))
        sizes = np.random.default_rng(seed).random((count, 3))
        self._words = words
        self._places = (len(words) * sizes**1.5).astype(np.int64).tolist()
        self.text = lru_cache(maxsize=None)(self._text)
        self.misheard = lru_cache(maxsize=None)(self._misheard)

    def slotted(self, request: Ints) -> Flags:
        """Which of the requests have a name in them, which can be misheard."""
        return request >= len(_FIXED)

    def name(self, request: int) -> str:
        """The made-up name in a request."""
        first, second, third = self._places[request]
        words = [self._words[first], self._words[second], self._words[third]]
        return " ".join(words[: 1 + request % 3] if request > 3_000 else words[:2])

    def garbled(self, request: int, seed: int) -> str:
        """The request heard wrong in a way that `seed` sets."""
        if request < len(_FIXED):
            return self.text(request)
        letters = list(self.name(request))
        first, apart = seed % len(letters), 1 + (seed >> 8) % (len(letters) - 1)
        for place in (first, (first + apart) % len(letters)):
            letters[place] = _HEARD_AS.get(letters[place], "e")
        if seed % 3 == 0:
            letters.insert(1 + seed % max(len(letters) - 1, 1), " ")
        return self._template(request).format(" ".join("".join(letters).split()))

    def _text(self, request: int) -> str:
        if request < len(_FIXED):
            return _FIXED[request]
        return self._template(request).format(self.name(request))

    def _misheard(self, request: int) -> str:
        return self.garbled(request, 7919 * request + 13)

    @staticmethod
    def _template(request: int) -> str:
        return _TEMPLATES[request * 7 % len(_TEMPLATES)]

    def _word(self) -> str:
        draw = self._draw
        syllables = range(draw.choice((1, 2, 2, 3)))
        return "".join(draw.choice(_ONSETS) + draw.choice(_VOWELS) + draw.choice(_CODAS) for _ in syllables)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Turns in order of time, as columns [turns].

    `form` is how it was heard: RIGHT, MISHEARD or GARBLED, which `seed` sets; `time` is in seconds from BEGIN.
    """

    user: Ints
    request: Ints
    seed: Ints
    form: NDArray[np.int8]
    failed: Flags
    time: Floats

    def take(self, rows: Any) -> Traffic:
        """The turns at `rows`, in that order."""
        return Traffic(*(getattr(self, name)[rows] for name in self.__slots__))


RIGHT, MISHEARD, GARBLED = 0, 1, 2


def traffic(turns: int, requests: Requests, seed: int = 0) -> Traffic:
    """So many turns of a seed; the same for the same arguments."""
    draw = np.random.default_rng(seed)
    users = max(turns // TURNS_PER_USER, 1)
    goals = turns  # more than are needed: attempts come on top, and the last users are cut off
    weight = draw.pareto(1.4, users) + 0.05
    user = np.sort(draw.choice(users, goals, p=weight / weight.sum()))
    robot = int(ROBOT_SHARE * turns)
    made = _attempts(user, _wanted(user, requests.count, draw), requests, draw)
    made = made.take(np.arange(turns - ROBOTS * robot))
    robots = _robots(users, robot, requests.count, draw)
    every = Traffic(*(np.concatenate([getattr(made, n), getattr(robots, n)]) for n in Traffic.__slots__))
    return every.take(np.argsort(every.time, kind="stable"))


def _wanted(user: Ints, count: int, draw: np.random.Generator) -> Ints:
    """The request of each goal: Zipf's law is a uniform draw on the logarithm of the rank."""
    share = draw.random(len(user))
    favourite = draw.random(len(user)) < 0.5
    own = np.minimum(draw.geometric(0.25, len(user)), 12)
    mixed = (user[favourite] * 2_654_435_761 + own[favourite] * 40_503_000_017) % 1_000_003
    share[favourite] = mixed / 1_000_003
    rank: Ints = np.exp(share * np.log(count)).astype(np.int64) - 1
    return np.minimum(rank, count - 1, out=rank)


def _attempts(user: Ints, request: Ints, requests: Requests, draw: np.random.Generator) -> Traffic:
    """The attempts at each goal, goals in order, with the times of each user's day."""
    slotted = requests.slotted(request)
    often = np.where(request % 3 == 0, 0.1 + (request * 31 % 50) / 100, 0.01) * slotted  # P(MISHEARD)
    goal, form = np.arange(len(user)), _heard(often, slotted, draw)
    noise = draw.integers(0, 1 << 40, len(user))
    rounds: list[tuple[Ints, NDArray[np.int8], Ints, Flags]] = []
    for _ in range(MOST_ATTEMPTS):
        failed = draw.random(len(goal)) < np.where(form == RIGHT, 0.04, 0.92)
        rounds.append((goal, form, noise, failed))
        again, same = draw.random(len(goal)) < 0.65, draw.random(len(goal)) < 0.25
        kept = failed & again
        goal, same = goal[kept], same[kept]
        fresh = _heard(often[goal] / 4, slotted[goal], draw)
        form = np.where(same, form[kept], fresh).astype(np.int8)
        noise = np.where(same, noise[kept], draw.integers(0, 1 << 40, len(goal)))
    every = [np.concatenate(parts) for parts in zip(*rounds, strict=True)]
    number = np.concatenate([np.full(len(part[0]), place) for place, part in enumerate(rounds)])
    order = np.lexsort((number, every[0]))
    goal, form, noise, failed = (column[order] for column in every)
    return Traffic(user[goal], request[goal], noise, form, failed, _times(user[goal], goal, draw))


def _heard(often: Floats, slotted: Flags, draw: np.random.Generator) -> NDArray[np.int8]:
    share = draw.random(len(often))
    garbled = np.where(slotted & (share > 0.94), GARBLED, RIGHT)
    return np.where(share < often, MISHEARD, garbled).astype(np.int8)


def _times(user: Ints, goal: Ints, draw: np.random.Generator) -> Floats:
    """Seconds between tries, half a minute between goals, and each user's sessions spread over all the days."""
    gap = draw.lognormal(np.log(9), 0.6, len(user))
    new_goal = np.insert(goal[1:] != goal[:-1], 0, True)
    gap[new_goal] = draw.lognormal(np.log(35), 0.9, int(new_goal.sum()))
    opens = new_goal & (draw.random(len(user)) < 0.4)
    turns = np.bincount(user)[user]
    gap[opens] += draw.exponential(1, int(opens.sum())) * (DAYS * 86_400 / (0.3 * turns[opens] + 1))
    first = np.flatnonzero(np.insert(user[1:] != user[:-1], 0, True))
    gap[first] = draw.random(len(first)) * 86_400
    total = np.cumsum(gap)
    return total - np.repeat((total - gap)[first], np.diff([*first.tolist(), len(user)]))


def _robots(first: int, each: int, count: int, draw: np.random.Generator) -> Traffic:
    """Users that say the same few things at even intervals, day and night."""
    user = np.repeat(np.arange(first, first + ROBOTS), each)
    request = (user * 97 + draw.integers(0, 2, len(user))) % count
    step = DAYS * 86_400 / max(each, 1)
    time = np.tile(np.arange(each) * step, ROBOTS)
    quiet = np.zeros(len(user), np.int8)
    return Traffic(user, request, np.zeros(len(user), np.int64), quiet, draw.random(len(user)) < 0.1, time)


def lines(rows: Traffic, first: int, requests: Requests, seed: int = 0) -> Iterator[str]:
    """The turns as lines of the log format; `first` is the number of the first."""
    draw = np.random.default_rng([seed, first])
    count = len(rows.user)
    stamps = np.datetime_as_string(BEGIN + (rows.time * 1000).astype("timedelta64[ms]"))
    heard = zip(rows.request.tolist(), rows.form.tolist(), rows.seed.tolist(), strict=True)
    spoken = [
        requests.text(request) if form == RIGHT
        else requests.misheard(request) if form == MISHEARD
        else requests.garbled(request, noise)
        for request, form, noise in heard
    ]  # fmt: skip
    confidence = np.where(rows.failed, 0.3 + 0.5 * draw.random(count), 0.75 + 0.25 * draw.random(count))
    columns: Sequence[Sequence[Any]] = (
        rows.user.tolist(), rows.request.tolist(), stamps.tolist(), spoken,
        np.round(confidence, 3).tolist(), rows.failed.tolist(),
        draw.integers(0, 1_000, count).tolist(), draw.integers(0, 1_000, count).tolist(),
    )  # fmt: skip
    for number, row in enumerate(zip(*columns, strict=True), first):
        yield _line(number, *row)


def _line(
    number: int,
    user: int,
    request: int,
    stamp: str,
    text: str,
    sure: float,
    failed: bool,
    one: int,
    other: int,
) -> str:
    """One record; `one` and `other` are draws from 0 to 999. Texts hold nothing that JSON would escape."""
    lead = "hey alexa " if one < 30 else ""
    answer = f"Here is {text}." if not failed or one > 800 else "Sorry, I don't know that one."
    parts = [
        f'{{"turn_id":"t{number:09d}","user_id":"u{user:07d}","timestamp":"{stamp}Z","text":"{lead}{text}"',
        f',"asr":{{"confidence":{sure}}},"response":"{answer}"',
    ]
    if other < 500:
        intent = request * 7 % len(_TEMPLATES)
        parts.append(f',"nlu":{{"domain":"d{intent % 5}","intent":"i{intent}","confidence":{sure}')
        parts.append(f',"slots":{{"name":"n{request}"}}}}')
    if failed and one > 700:
        parts.append(',"signals":{"barge_in":true}')
    elif one > 900:
        parts.append(f',"signals":{{"engaged_s":{one / 10}}}')
    if other > 850:
        parts.append(f',"outcome":"{"failure" if failed else "success"}"')
    parts.append(f',"context":{{"device_type":"{_DEVICES[user % 4]}"}}}}\n')
    return "".join(parts)


def write_log(path: Path, turns: int, seed: int = 0, requests: int = REQUESTS) -> None:
    """Writes a log of so many turns in order of time; some 300,000 turns a second."""
    made = Requests(requests, seed)
    rows = traffic(turns, made, seed)
    with open(path, "w", encoding="ascii", buffering=1 << 20) as file:
        for at in range(0, turns, ROWS):
            file.writelines(lines(rows.take(slice(at, at + ROWS)), at, made, seed))
            print(f"\rwriting {path.name}: {min(at + ROWS, turns):,} turns", end="", file=sys.stderr)
    print(file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--turns", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    write_log(given.out, given.turns, given.seed)
    print(json.dumps({"path": str(given.out), "turns": given.turns, "bytes": given.out.stat().st_size}))


if __name__ == "__main__":
    main()
