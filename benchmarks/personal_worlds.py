"""Two worlds in which users have a past: simulated users with habits, and the callers of a restaurant line.

Of each user what worked earlier is the history, and what was said later is measured. In both, what was heard and what
was meant are real people's and a real recogniser's; DATA as in `benchmarks/online_world.py`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from online_world import CANONICAL, Recording, World, frame_key, lines  # benchmarks/online_world.py

from retrieval import HistoryEntry
from rewrite.bundle import write_manifest
from rewrite.config import LearnConfig
from rewrite.dense_serving import FOLDER, RETRIEVER, Population, build_dense
from rewrite.retriever import Retriever, carry
from rewrite.serving import GOOD, PUBLIC, build_serving

#: Callers that must have said a request before it is everyone's.
CALLERS = 3
#: Acts that change nothing of what a request asks for, where it asks for something.
POLITE = frozenset({"hello", "thankyou", "ack"})
DAY_S = 86_400.0


@dataclass(frozen=True)
class Try:
    """One request: what was heard (canonical), NLU's reading of it, whether that is right, and what was meant."""

    user: str | None
    heard: str
    nlu: Mapping[str, Any]
    right: bool
    meant: str
    frame: str  # key of the right interpretation
    group: str  # what must not be both trained on and measured on: a sentence, or a caller
    nbest: tuple[str, ...] = ()


@dataclass
class Past:
    """How often a text worked for a user, and when it last did."""

    times: int = 0
    last_seen: float = 0.0

    def said(self, at: float) -> None:
        """Once more."""
        self.times, self.last_seen = self.times + 1, max(self.last_seen, at)


@dataclass(frozen=True)
class Town:
    """Requests that are everyone's, what users said before, and what they say next.

    users       of every public text, how many said it
    frames      of every text, public or not, its interpretation
    histories   of every user, what worked, by text; users without any are in no history
    """

    users: Mapping[str, int]
    frames: Mapping[str, str]
    histories: Mapping[str, Mapping[str, Past]]
    tries: tuple[Try, ...]

    @property
    def texts(self) -> list[str]:
        """All of them, sorted: the rows."""
        return sorted({*self.users, *(text for past in self.histories.values() for text in past)})

    def is_passed(self, one: Try) -> bool:
        """Whether the gate lets it pass: everyone's request, or this user's own."""
        return not one.heard or one.heard in self.users or one.heard in self.histories.get(one.user or "", ())


def write_town(folder: Path, town: Town, retriever: Retriever | None = None) -> Path:
    """A bundle of a town, served by `retriever`; what is not public is there for the users whose own it is."""
    said = town.texts
    public = np.array([text in town.users for text in said])
    success = np.where(public, 18_000_000, 900_000)
    population = pa.table(
        {
            "said": said,
            "surface": said,
            "weight": np.where(public, 20_000_000, 1_000_000),
            "success": success,
            "status": np.where(public, PUBLIC + GOOD, 0).astype(np.uint8),
        }
    )
    build_serving(folder / "index", population, [], entries_of(town, said), [])
    told: dict[str, Any] = {}
    if retriever is not None:
        carry(retriever, folder / RETRIEVER)
        whole = Population(said, users_in(town), np.flatnonzero(public).astype(np.int64), {})
        told = build_dense(folder / "index" / FOLDER, whole, dict(town.frames), retriever)
    write_manifest(
        folder, created="", parameters=LearnConfig().as_dict(), log={}, span={}, counts={"requests": len(said)},
        retriever=told,
    )  # fmt: skip
    return folder


def entries_of(town: Town, said: Sequence[str]) -> Iterable[HistoryEntry]:
    """What a personal layer is built from."""
    row = {text: number for number, text in enumerate(said)}
    for user, past in town.histories.items():
        for text, each in past.items():
            yield HistoryEntry(user, row[text], each.times, each.last_seen)


def users_in(town: Town) -> np.ndarray[Any, np.dtype[np.int64]]:
    """How many said each text [rows]."""
    owners = Counter(text for past in town.histories.values() for text in past)
    return np.array([town.users.get(text, owners[text]) for text in town.texts])


# Users with habits


@dataclass(frozen=True)
class Habits:
    """How users live. The goals of all are popular by Zipf's law, and those of one user again."""

    users: int = 400
    newcomers: float = 0.2  # share of users without a history
    favourites: int = 8
    earlier: int = 30  # requests of the past
    later: int = 12  # requests that are measured
    usual: float = 0.7  # share of these that are for a favourite goal
    popularity: float = 0.8  # exponent of Zipf's law
    private: float = 0.0  # share of the sentences that only those who said them know
    least_users: int = 0  # a sentence is everyone's once so many users said it; 0: all are, but for `private`


def habitual(world: World, part: int, others: Mapping[str, str], habits: Habits, seed: int) -> Town:
    """Users whose goals are the sentences of a part; `others` are everyone's requests besides.

    A favourite goal is a sentence that at least one recording got right, and a request for a goal is one of its
    recordings at random. One that was right is how the user said it earlier; it is not measured for that user.
    """
    chance = np.random.default_rng(seed)
    goals: dict[str, list[Recording]] = defaultdict(list)
    for each in world.of(part):
        goals[each.goal].append(each)
    order = chance.permutation(sorted(goals)).tolist()
    popular = _zipf(len(order), habits.popularity)
    liked = [goal for goal in order if len(goals[goal]) > 1 and any(each.right for each in goals[goal])]
    many = min(habits.favourites, len(liked))
    reached = world.reached(world.of(part))
    reached = {text: frame for text, frame in reached.items() if not _hidden(text, habits.private)}
    frames = {**others, **reached}
    users = dict.fromkeys(frames, 20)
    of_all = _zipf(len(liked), habits.popularity)
    histories: dict[str, dict[str, Past]] = {}
    tries: list[Try] = []
    for number in range(habits.users):
        user = f"{seed}-{number}"
        mine = [liked[at] for at in chance.choice(len(liked), many, replace=False, p=of_all)]
        left, past = _earlier(user, mine, goals, number < habits.newcomers * habits.users, habits, chance)
        if past:
            histories[user] = {text: each for text, (each, _) in past.items()}
            frames |= {text: frame for text, (_, frame) in past.items() if text not in frames}
        of_mine = _zipf(many, 1.0)
        for _ in range(habits.later):
            usual = chance.random() < habits.usual
            goal = mine[chance.choice(len(mine), p=of_mine)] if usual else order[chance.choice(len(order), p=popular)]
            if choice := left.get(goal, goals[goal]):
                tries.append(_try_of(user, choice[chance.integers(len(choice))]))
    if habits.least_users:
        owners = Counter(text for past in histories.values() for text in past)
        said = {text: count for text, count in owners.items() if count >= habits.least_users}
        users = {**dict.fromkeys(others, 20), **said}
    return Town(users, frames, histories, tuple(tries))


def _earlier(
    user: str, mine: Sequence[str], goals: Mapping[str, list[Recording]], new: bool, habits: Habits,
    chance: np.random.Generator,
) -> tuple[dict[str, list[Recording]], dict[str, tuple[Past, str]]]:  # fmt: skip
    """Of each favourite goal the recordings that are left to be measured; and what worked, with its interpretation."""
    left, said = {}, {}
    for goal in mine:
        right = [each for each in goals[goal] if each.right and each.heard]
        if right:
            said[goal] = right[chance.integers(len(right))]
            left[goal] = [each for each in goals[goal] if each is not said[goal]]
    past: dict[str, tuple[Past, str]] = {}
    for goal in chance.choice(mine, habits.earlier, p=_zipf(len(mine), 1.0)):
        if not new and goal in said:
            each, _ = past.setdefault(said[goal].heard, (Past(), said[goal].frame))
            each.said(float(chance.integers(60)) * DAY_S)
    return left, past


def _try_of(user: str, one: Recording) -> Try:
    return Try(user, one.heard, one.nlu, one.right, one.meant, one.frame, one.goal)


def _zipf(count: int, exponent: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    return np.asarray(weights / weights.sum())


def _hidden(text: str, share: float) -> bool:
    return int(md5(text.encode()).hexdigest(), 16) % 1000 < share * 1000


# Callers


@dataclass(frozen=True)
class Turn:
    """A turn of a call."""

    caller: str
    call: str
    at: float
    heard: str
    nbest: tuple[str, ...]
    meant: str
    frame: Mapping[str, Any]


@dataclass(frozen=True)
class Calls:
    """The callers of both files, the first to train from; `frames` is what most meant by a text."""

    train: list[Turn]
    dev: list[Turn]
    frames: dict[str, str]

    @classmethod
    def read(cls, data: Path) -> Calls:
        """Raises FileNotFoundError where a file is absent."""
        train = list(_turns(data / "dstc2" / "train.jsonl.gz"))
        frames: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for each in train:
            frames[each.meant][frame_key(each.frame)] += 1
        most = {text: keys.most_common(1)[0][0] for text, keys in frames.items()}
        return cls(train, list(_turns(data / "dstc2" / "dev.jsonl")), most)

    def towns(self) -> tuple[Town, Town]:
        """The callers to train from, and those to measure on: the earlier half of their calls is the history. NLU never
        learned from the callers that it reads."""
        callers = sorted({each.caller for each in self.train})
        half = set(callers[::2])
        first, second = ([each for each in self.train if (each.caller in half) is side] for side in (True, False))
        one, other, whole = Reader(first), Reader(second), Reader(self.train)
        tries = [*_tries(second, one), *_tries(first, other)]
        heard_right: defaultdict[str, set[str | None]] = defaultdict(set)
        for _, each in tries:
            if each.right:
                heard_right[each.heard].add(each.user)
        users = {text: len(who) for text, who in heard_right.items() if len(who) >= CALLERS}
        return self._town(tries, users), self._town(_tries(self.dev, whole), users)

    def _town(self, tries: Sequence[tuple[Turn, Try]], users: Mapping[str, int]) -> Town:
        halves = _half_of_calls(turn for turn, _ in tries)
        histories: dict[str, dict[str, Past]] = {}
        frames = {text: frame for text, frame in self.frames.items() if text in users}
        later = []
        for turn, each in tries:
            if each.right and each.heard in users:
                frames.setdefault(each.heard, each.frame)
            if turn.at >= halves[turn.caller]:
                later.append(each)
            elif each.right and each.heard:
                histories.setdefault(turn.caller, {}).setdefault(each.heard, Past()).said(turn.at)
                frames.setdefault(each.heard, each.frame)
        return Town(users, frames, histories, tuple(later))


def _turns(path: Path) -> Iterator[Turn]:
    for raw in lines(path):
        gold = raw.get("gold") or {}
        if not gold.get("text") or not gold.get("frame"):
            continue
        at = datetime.fromisoformat(raw["timestamp"]).timestamp()
        heard = [_plain(each["text"]) for each in (raw.get("asr") or {}).get("nbest", [])]
        said = _plain(raw["text"])
        rest = tuple(dict.fromkeys(text for text in heard if text and text != said))
        yield Turn(raw["user_id"], raw["session_id"], at, said, rest, _plain(gold["text"]), _meaning(gold["frame"]))


def _plain(text: str) -> str:
    """Canonical, without apostrophes, which the transcripts do not have."""
    return CANONICAL(text.replace("'", ""))


def _meaning(frame: Mapping[str, Any]) -> dict[str, Any]:
    """A frame without greetings. "I don't care" belongs to no slot: its words do not say to which."""
    slots: dict[str, list[str]] = defaultdict(list)
    for name, joined in (frame.get("slots") or {}).items():
        for value in str(joined).split("; "):
            slots["any" if value == "dontcare" else name].append(value)
    return _frame(frame["intent"].split("+"), slots)


def _frame(acts: Sequence[str], slots: Mapping[str, list[str]]) -> dict[str, Any]:
    """A frame in one form: acts and values sorted, and no politeness where more is said."""
    kept = sorted(set(acts) - POLITE) or sorted(acts)
    joined = {name: "; ".join(sorted(set(values))) for name, values in sorted(slots.items())}
    return {"domain": "restaurant", "intent": "+".join(kept) or None, "slots": joined}


def _half_of_calls(turns: Iterable[Turn]) -> dict[str, float]:
    """Of each caller the moment at which the later half of the calls begins."""
    begins: dict[str, dict[str, float]] = defaultdict(dict)
    for each in turns:
        calls = begins[each.caller]
        calls[each.call] = min(calls.get(each.call, each.at), each.at)
    return {caller: sorted(calls.values())[len(calls) // 2] for caller, calls in begins.items()}


def _tries(turns: Sequence[Turn], reader: Reader) -> list[tuple[Turn, Try]]:
    read = reader([each.heard for each in turns])
    return [
        (
            turn,
            Try(turn.caller, turn.heard, nlu, frame_key(nlu) == frame_key(turn.frame), turn.meant,
                frame_key(turn.frame), turn.caller, turn.nbest),
        )
        for turn, nlu in zip(turns, read, strict=True)
    ]  # fmt: skip


class Reader:
    """A linear NLU: acts, slots and values from words and pairs of words, learned from what callers said and meant."""

    def __init__(self, turns: Sequence[Turn], ridge: float = 0.3) -> None:
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.preprocessing import MultiLabelBinarizer

        self.words = CountVectorizer(token_pattern=r"\S+", ngram_range=(1, 2), binary=True, min_df=2)
        self.labels = MultiLabelBinarizer()
        self.words.fit([each.meant for each in turns])
        table = self._table([each.meant for each in turns])
        wanted = 2.0 * self.labels.fit_transform([_labels(each.frame) for each in turns]) - 1.0
        gram = (table.T @ table).toarray() + ridge * np.eye(table.shape[1])
        self.weights = np.linalg.solve(gram, table.T @ wanted)

    def __call__(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """The reading of each text, in the log format."""
        found = self._table(texts) @ self.weights > 0
        return [_frame_of(labels) for labels in self.labels.inverse_transform(found.astype(np.int64))]

    def _table(self, texts: Sequence[str]) -> Any:
        from scipy.sparse import csr_matrix, hstack

        words = self.words.transform(texts).astype(np.float64)
        return hstack([words, csr_matrix(np.ones((len(texts), 1)))]).tocsr()


def _labels(frame: Mapping[str, Any]) -> set[str]:
    values = ((name, value) for name, joined in frame["slots"].items() for value in str(joined).split("; "))
    return {*frame["intent"].split("+"), *(f"{name}={value}" for name, value in values)}


def _frame_of(labels: Sequence[str]) -> dict[str, Any]:
    slots: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        if "=" in label:
            name, _, value = label.partition("=")
            slots[name].append(value)
    acts = [label for label in labels if "=" not in label]
    return _frame(acts, slots)
