"""Makes the annotated dialogues on which rephrase detectors are trained and measured, as logs with gold.

    python benchmarks/rephrase_sets.py DATA --out FOLDER [--seed 0] [--only saif,dstc1]

DATA is the folder of annotated logs (default: $REPRISE_DATA, or shared/data beside the checkout). Each set is a
folder with train.jsonl, dev.jsonl and test.jsonl, which share no date, call, caller or goal:

    saif          the earlier half of the dates, some of them, with a sixth of its turns, dev; test is the later half
    dstc1         calls by a hash of their names: test is the half that `outcomes.first_half` leaves
    dstc2-clear   calls in which the recogniser was as sure as in the median training call, or surer; train and
    dstc2-noisy   the other calls; both: dev are some of the callers, test are the publisher's other callers
    slurp-low     real recordings of home commands in simulated sessions (`eval.simulation`, nothing rewritten),
    slurp-medium  at three levels of confusion, see LEVELS
    slurp-high

In the simulated sets a turn is the rephrase of the nearest of the three turns before in its session that failed
at the same goal, unless the goal was reached in between: within a visit that is the turn before, and a customer
who comes back after another goal says again what failed then. It is of kind `asr` where the sentence is the same
and `command` where it is another sentence of the goal. A reader is to agree: goals without slots are left out or
made smaller where their sentences want different things. Most goals were recorded in one sentence only, and most
of those are left out too, so that more is rephrased. The same seed gives the same bytes. Needs scikit-learn.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from hashlib import sha256
from itertools import chain
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryFile
from typing import Any, NamedTuple, TextIO

import numpy as np
from outcomes import data_folder, first_half, sessions_of  # benchmarks/outcomes.py

from dialogue.canonical import Canonicaliser
from eval.simulation.arms import Arm, Server
from eval.simulation.customers import Customers
from eval.simulation.knobs import Knobs
from eval.simulation.population import OPEN_DOMAINS, Goal, Population
from eval.simulation.traffic import Traffic
from eval.simulation.truth import Noted

REACH = 3  # turns back in which a failed turn can be said again
SINGLE_SHARE = 0.05  # of the goals that have one sentence and no look-alike
ALIKE_SHARE = 0.5  # of the goals that have one sentence and a look-alike
#: Without slots, these intents (domain, intent) hold sentences that want different things.
TOO_LITTLE = frozenset({
    ("cooking", "recipe"), ("takeaway", "order"), ("lists", "query"), ("lists", "remove"), ("lists", "createoradd"),
    ("play", "music"), ("calendar", "set"), ("iot", "wemo_on"), ("iot", "wemo_off"), ("social", "post"),
    ("email", "sendemail"), ("email", "addcontact"), ("email", "querycontact"), ("recommendation", "movies"),
    ("recommendation", "events"), ("music", "likeness"), ("transport", "query"), ("play", "audiobook"),
})  # fmt: skip
FUNCTION = frozenset(
    "a an the my me i is are am it this that what what's whats which who how do does did can could you your please to"
    " of on in at for from and or any all tell show give olly hey set new now be up next there if have has was will"
    " would let let's some so with by not".split()
)
STEM = 4  # letters by which words are the same: light, lights, lighting
USERS_PER_TURN = 0.05
PARTS = ("train", "dev", "test")
GOAL_SHARES = {"train": 0.42, "dev": 0.16, "test": 0.42}
TURNS = {"train": 6_000, "dev": 1_000, "test": 5_000}

Told = Callable[[str], None]
Record = Mapping[str, Any]


@dataclass(frozen=True)
class SetFiles:
    """The logs of one set."""

    train: Path
    dev: Path
    test: Path

    @classmethod
    def within(cls, folder: Path) -> SetFiles:
        return cls(*(folder / f"{part}.jsonl" for part in PARTS))


@dataclass(frozen=True)
class Level:
    """How confused a simulated log is: the recordings a sentence is heard by where it has some, and the knobs."""

    mic: str | None
    knobs: Mapping[str, float] = field(default_factory=dict)


#: Low: heard by a headset; most failures are noticed; mostly one or two goals a session, hardly ever in like words;
#: a failure is followed by another try. High: heard from afar; most failures are done wrong without a word; goal
#: after goal, soon after one another, the same few goals and those in like words; a failure is often followed by
#: another goal, seldom by the same sentence, and that is heard differently. About two turns of three succeed at
#: every level, as attempts are left sooner at the higher ones: what rises is what a rephrase can be taken for.
LEVELS = {
    "low": Level("near", {
        "lookalike": 0.02, "visits": 1.5, "switch": 0.05, "silent": 0.1, "voice": 0.8,
    }),
    "medium": Level(None, {
        "lookalike": 0.4, "visits": 2.0, "switch": 0.2, "repeat": 0.15, "silent": 0.4, "habits": 4, "habit": 0.6,
    }),
    "high": Level("far", {
        "lookalike": 0.9, "visits": 3.0, "switch": 0.35, "repeat": 0.1, "silent": 0.6, "voice": 0.3, "habits": 3,
        "habit": 0.7, "abandon": 0.2, "visit_gap_s": 12.0, "retry_gap_s": 8.0, "clarify": 0.3, "outcome_known": 0.2,
        "barge_in": 0.2,
    }),
}  # fmt: skip
#: In all levels: one round without robots, in which popular goals are not so popular that a few texts make the set.
SETTING = {"rounds": 1, "robots": 0.0, "zipf": 0.3, "abandon": 0.1, "rephrase": 0.6}


def make_sets(
    data: Path, out: Path, seed: int, names: Iterable[str] | None = None, told: Told = print
) -> dict[str, SetFiles]:
    """Writes the sets (all, or those named) to a folder each in `out`, and says where they are."""
    wanted = list(SETS if names is None else names)
    if unknown := set(wanted) - set(SETS):
        raise ValueError(f"there is no set {', '.join(sorted(unknown))}: known are {', '.join(SETS)}")
    made = {}
    for number, name in enumerate(wanted, 1):
        told(f"{number} of {len(wanted)}: {name}")
        (out / name).mkdir(parents=True, exist_ok=True)
        made[name] = SetFiles.within(out / name)
        SETS[name](data, made[name], seed)
    return made


# Recorded dialogues


def saif(data: Path, files: SetFiles, seed: int) -> None:
    """By date, which is the user."""
    path = data / "saif" / "dev.jsonl"
    turns = Counter(user for user, _ in _users(path))
    early = sorted(turns)[: len(turns) // 2]
    room, developing = sum(turns[date] for date in early) / 6, set()
    for date in sorted(early, key=lambda each: _share(seed, each)):
        if turns[date] <= room:  # one date holds a third of all turns
            developing.add(date)
            room -= turns[date]

    def part_of(record: Record) -> str:
        date = record["user_id"]
        return "dev" if date in developing else "train" if date in early else "test"

    distribute([path], files, part_of)


def dstc1(data: Path, files: SetFiles, seed: int) -> None:
    """By call; 40, 10 and 50 in a hundred."""

    def part_of(record: Record) -> str:
        if not first_half(record["user_id"]):
            return "test"
        return "dev" if _share(seed, record["user_id"]) < 0.2 else "train"

    distribute([data / "dstc1" / "dev.jsonl"], files, part_of)


def dstc2(noisy: bool) -> Callable[[Path, SetFiles, int], None]:
    """One recognition condition, by caller."""

    def make(data: Path, files: SetFiles, seed: int) -> None:
        given, other = data / "dstc2" / "train.jsonl.gz", data / "dstc2" / "dev.jsonl"
        sure = confidences(chain(records(given), records(other)))
        callers = {user for user, _ in _users(other)}
        training = {call for user, call in _users(given) if _share(seed, user) >= 0.15}
        boundary = median(sure[call] for call in sorted(training))

        def part_of(record: Record) -> str | None:
            call, user = record["session_id"], record["user_id"]
            if (sure[call] < boundary) != noisy:
                return None
            return "test" if user in callers else "train" if call in training else "dev"

        distribute([given, other], files, part_of)

    return make


def confidences(log: Iterable[Record]) -> dict[str, float]:
    """The mean confidence of the turns of each call; 0 where the recogniser said nothing about any."""
    found: dict[str, list[float]] = {}
    for record in log:
        sure = (record.get("asr") or {}).get("confidence")
        found.setdefault(record["session_id"], []).extend([] if sure is None else [sure])
    return {call: fmean(each) if each else 0.0 for call, each in found.items()}


def distribute(logs: Iterable[Path], files: SetFiles, part_of: Callable[[Record], str | None]) -> None:
    """Writes each record to the part that it belongs to, if any, as it stands."""
    with _new(files.train) as train, _new(files.dev) as dev, _new(files.test) as test:
        out = dict(zip(PARTS, (train, dev, test), strict=True))
        for record in chain.from_iterable(map(records, logs)):
            if part := part_of(record):
                out[part].write(json.dumps(record, ensure_ascii=False) + "\n")


def records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a log, one at a time."""
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}: DATA is to be the folder of the annotated logs")
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
        yield from map(json.loads, lines)


def _users(path: Path) -> Iterator[tuple[str, str]]:
    return ((record["user_id"], record.get("session_id", "")) for record in records(path))


def _share(seed: int, name: str) -> float:
    """A uniform number from 0 to 1 for a name, by a hash."""
    return int.from_bytes(sha256(f"{seed}, training or developing: {name}".encode()).digest()[:6]) / 2**48


def _new(path: Path) -> TextIO:
    return path.open("w", encoding="utf-8", newline="\n")


# Simulated dialogues


def slurp(name: str) -> Callable[[Path, SetFiles, int], None]:
    """One level of confusion."""

    def make(data: Path, files: SetFiles, seed: int) -> None:
        heard = preferring(records(data / "slurp" / "attempts.jsonl"), LEVELS[name].mic)
        population = worth_rephrasing(Population.from_records(heard, "slurp"), seed)
        simulate(population, LEVELS[name], files, seed, TURNS, f"slurp-{name}")

    return make


def preferring(attempts: Iterable[Record], mic: str | None) -> list[Record]:
    """The attempts by one kind of microphone, and all of those sentences that have none by it; in order of sentences.

    So the sentences, and with them the goals, are the same and in the same order for every kind.
    """
    every = sorted(attempts, key=lambda each: str(each["goal_id"]))
    have = {each["goal_id"] for each in every if each["mic"] == mic}
    return [each for each in every if each["goal_id"] not in have or each["mic"] == mic]


def worth_rephrasing(population: Population, seed: int) -> Population:
    """Goals whose sentences say the same to a reader, and only a part of those that have one sentence.

    Without chat and questions, and of a goal without slots only the sentences that have its commonest word.
    """

    def kept(number: int, goal: Goal) -> bool:
        share = ALIKE_SHARE if population.lookalikes[number] else SINGLE_SHARE
        return len(goal.sentences) > 1 or _share(seed, goal.sentences[0].words) < share

    goals = (
        (number, goal if population.frames[goal.frame]["slots"] else _of_one_word(goal))
        for number, goal in enumerate(population.goals)
        if not _says_too_little(population.frames[goal.frame])
    )
    return replace(population, goals=tuple(goal for number, goal in goals if kept(number, goal)))


def _says_too_little(frame: Record) -> bool:
    return frame["domain"] in OPEN_DOMAINS or (not frame["slots"] and (frame["domain"], frame["intent"]) in TOO_LITTLE)


def _of_one_word(goal: Goal) -> Goal:
    stems = [{word[:STEM] for word in each.words.split() if word not in FUNCTION} for each in goal.sentences]
    counts = Counter(chain.from_iterable(stems))
    if not counts:
        return goal
    commonest = min(counts, key=lambda stem: (-counts[stem], stem))
    kept = zip(goal.sentences, stems, strict=True)
    return replace(goal, sentences=tuple(sentence for sentence, own in kept if commonest in own))


def simulate(
    population: Population, level: Level, files: SetFiles, seed: int, turns: Mapping[str, int], name: str
) -> None:
    """So many turns of each part, of other goals and other users."""
    test, rest = population.split(GOAL_SHARES["test"], seed)
    train, dev = rest.split(GOAL_SHARES["train"] / (1 - GOAL_SHARES["test"]), seed)
    for part, goals in {"train": train, "dev": dev, "test": test}.items():
        users = max(2, round(turns[part] * USERS_PER_TURN))
        knobs = Knobs().having(**(SETTING | level.knobs), turns=turns[part], users=users)
        own = int.from_bytes(sha256(f"{seed} {name} {part}".encode()).digest()[:4])
        with _new(getattr(files, part)) as out, TemporaryFile("w+", encoding="utf-8") as log:
            noted = talk(Customers(goals, knobs, own), log)
            log.seek(0)
            out.writelines(
                json.dumps(each, ensure_ascii=False) + "\n" for each in annotated(log, noted, goals, f"{name}-{part}")
            )


def talk(customers: Customers, log: TextIO) -> Noted:
    """A log in which nothing is rewritten, session by session, and its truth."""
    nobody = np.zeros(customers.knobs.traffic.users, np.int64)
    traffic = Traffic(customers, 1, [Server(None, Arm.CONTROL)], nobody, 0)
    return traffic.run(customers.knobs.traffic.turns, log, None, lambda _: None)


class _Attempt(NamedTuple):
    turn_id: str
    goal: int
    sentence: int
    success: bool


def annotated(log: Iterable[str], noted: Noted, population: Population, name: str) -> Iterator[dict[str, Any]]:
    """The records of a simulated log with ids of their own, their sessions and their gold."""
    truth, session, before = noted.truth(), 0, deque[_Attempt](maxlen=REACH)
    for row, (line, said) in enumerate(zip(log, noted.said, strict=True)):
        if said.session != session:
            session = said.session
            before.clear()
        record = json.loads(line)
        turn = _Attempt(f"{name}-{row:05d}", int(truth.goal[row]), said.sentence, bool(truth.success[row]))
        ids = {"turn_id": turn.turn_id, "user_id": f"{name}-{record['user_id']}", "session_id": f"{name}-{session}"}
        yield record | ids | {"gold": _gold(turn, before) | _meant(turn, population, record["text"])}
        before.append(turn)


def _gold(turn: _Attempt, before: deque[_Attempt]) -> dict[str, Any]:
    last = next((each for each in reversed(before) if each.goal == turn.goal >= 0), None)
    if last is None or last.success:
        return {"success": turn.success, "rephrase_of": None, "rephrase_kind": None}
    kind = "asr" if last.sentence == turn.sentence else "command"
    return {"success": turn.success, "rephrase_of": last.turn_id, "rephrase_kind": kind}


def _meant(turn: _Attempt, population: Population, text: str) -> dict[str, Any]:
    if turn.goal < 0:
        return {"text": text}
    goal = population.goals[turn.goal]
    words = goal.sentences[turn.sentence].words
    return {"text": words, "frame": dict(population.frames[goal.frame]), "goal_id": str(turn.goal)}


SETS: dict[str, Callable[[Path, SetFiles, int], None]] = {
    "saif": saif,
    "dstc1": dstc1,
    "dstc2-clear": dstc2(noisy=False),
    "dstc2-noisy": dstc2(noisy=True),
    **{f"slurp-{name}": slurp(name) for name in LEVELS},
}

# What they hold


@dataclass(frozen=True)
class Facts:
    """Counts of one log; a source is a turn that is said again, at a distance in turns from its rephrase."""

    sessions: int
    turns: int
    sources: int
    distance: Counter[int]
    identical: float  # share of rephrases with the text of their source
    command: float  # share of rephrases of this kind among those whose kind is known

    @classmethod
    def of(cls, path: Path) -> Facts:
        sessions, canonical = sessions_of(path), Canonicaliser()
        turns = [turn for session in sessions for turn in session.turns]
        row_of = {turn.turn_id: row for row, turn in enumerate(turns)}
        golds = [(turn.gold.rephrase_of, turn.gold.rephrase_kind) if turn.gold else (None, None) for turn in turns]
        links = [(row_of[of], row) for row, (of, _) in enumerate(golds) if of in row_of]
        same = [canonical(turns[a].said) == canonical(turns[b].said) for a, b in links]
        kinds = [kind == "command" for _, kind in golds if kind is not None]
        return cls(
            len(sessions), len(turns), len({a for a, _ in links}), Counter(b - a for a, b in links),
            fmean(same or [0]), fmean(kinds) if kinds else np.nan,
        )  # fmt: skip


def show(made: Mapping[str, SetFiles]) -> None:
    print(f"\n{'set':13s} {'part':6s} {'sessions':>8s} {'turns':>6s} {'sources':>8s}", end="")
    print(f" {'1 turn':>7s} {'2':>4s} {'3':>4s} {'more':>5s} {'identical':>10s} {'command':>8s}")
    for name, files in made.items():
        for part in (each.name for each in fields(files)):
            facts = Facts.of(getattr(files, part))
            near = [facts.distance[n] for n in (1, 2, 3)]
            print(f"{name:13s} {part:6s} {facts.sessions:8d} {facts.turns:6d} {facts.sources:8d}", end="")
            print(f" {near[0]:7d} {near[1]:4d} {near[2]:4d} {facts.distance.total() - sum(near):5d}", end="")
            print(f" {facts.identical:10.2f} {facts.command:8.2f}")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, default=data_folder([]))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help=f"names of sets, with commas: {', '.join(SETS)}")
    given = parser.parse_args(arguments)
    show(make_sets(given.data, given.out, given.seed, given.only.split(",") if given.only else None))


if __name__ == "__main__":
    main(sys.argv[1:])
