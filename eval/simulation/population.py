"""What can be wanted and how it can be heard: goals, sentences and recordings, from attempts that really took place.

Two texts are the same where their canonical forms are. The NLU of a text is its recorded one (the most frequent where
recordings differ); of a text that was never recorded it is "not understood". A goal is a gold frame, and a rewrite
reaches it where NLU makes that frame of the rewritten text.

A frame without slots in an open domain (chat, questions) says too little: "tell me a joke" and "who made you" would be
one goal. There each sentence is a goal of its own, which only texts recorded for it reach.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from dialogue.canonical import Canonicaliser
from eval.simulation import tiny
from eval.simulation.errors import AttemptsError

#: Domains whose frames without slots are no goals.
OPEN_DOMAINS = frozenset({"general", "qa"})
#: Least share of words in common, of all words, for goals to look alike.
LOOKALIKE_FROM = 0.5
LOOKALIKES = 5
NOT_UNDERSTOOD = -1

_CANONICAL = Canonicaliser()

FrameKey = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Recording:
    """One attempt: the number of the text that was heard, and whether it was understood."""

    text: int
    understood: bool


@dataclass(frozen=True, slots=True)
class Sentence:
    """One way of saying a goal, with what was heard when people said it."""

    words: str
    recordings: tuple[Recording, ...]


@dataclass(frozen=True, slots=True)
class Goal:
    """What a customer may want."""

    frame: int
    sentences: tuple[Sentence, ...]
    texts: frozenset[str] | None  # canonical texts that reach it; None: any that NLU makes the frame of

    @property
    def satisfiable(self) -> bool:
        """Whether any recording of it was understood."""
        return any(each.understood for sentence in self.sentences for each in sentence.recordings)


@dataclass(frozen=True)
class Population:
    """All goals, with the tables of texts and frames that their numbers point into."""

    goals: tuple[Goal, ...]
    texts: tuple[str, ...]  # as they were heard
    frames: tuple[Mapping[str, Any], ...]
    nlu: Mapping[str, int]  # canonical text -> frame, or NOT_UNDERSTOOD

    @classmethod
    def from_file(cls, path: str | Path) -> Population:
        """From attempts as JSON Lines (`goal_id`, `text`, `nlu`, `gold`). Raises AttemptsError."""
        return cls.from_records(_read(Path(path)), str(path))

    @classmethod
    def from_table(cls) -> Population:
        """The built-in one."""
        return cls.from_records(tiny.records(), "the built-in table")

    @classmethod
    def from_records(cls, records: Iterable[Mapping[str, Any]], origin: str = "records") -> Population:
        """From attempts, in any order. Raises AttemptsError."""
        gathered = _Gathered(origin)
        for number, record in enumerate(records, 1):
            gathered.add(number, record)
        return gathered.population()

    def frame_of(self, text: str) -> int:
        """NLU of a text: the number of a frame, or NOT_UNDERSTOOD."""
        return self.nlu.get(_CANONICAL(text), NOT_UNDERSTOOD)

    def reaches(self, text: str, goal: int) -> bool:
        """Whether a text that is sent to NLU gives what was wanted."""
        wanted, canonical = self.goals[goal], _CANONICAL(text)
        right = self.nlu.get(canonical, NOT_UNDERSTOOD) == wanted.frame
        return right and (wanted.texts is None or canonical in wanted.texts)

    def split(self, share: float, seed: int = 0) -> tuple[Population, Population]:
        """Two populations without a goal in common; about `share` of the goals are in the first."""
        drawn = np.random.default_rng(seed).permutation(len(self.goals))
        first = set(drawn[: round(share * len(drawn))].tolist())
        inside = tuple(goal for number, goal in enumerate(self.goals) if number in first)
        outside = tuple(goal for number, goal in enumerate(self.goals) if number not in first)
        return replace(self, goals=inside), replace(self, goals=outside)

    @cached_property
    def lookalikes(self) -> tuple[tuple[int, ...], ...]:
        """Of each goal, the goals that can be said in the most similar other words, at most LOOKALIKES."""
        words = [frozenset(_CANONICAL(goal.sentences[0].words).split()) for goal in self.goals]
        number = {word: place for place, word in enumerate(sorted(frozenset().union(*words)))}
        holds = np.zeros((len(words), len(number)), np.float32)
        for row, each in enumerate(words):
            holds[row, [number[word] for word in each]] = 1
        shared = holds @ holds.T
        alike = shared / np.maximum(holds.sum(1)[:, None] + holds.sum(1)[None, :] - shared, 1)
        np.fill_diagonal(alike, 0)
        nearest = np.argsort(-alike, axis=1, kind="stable")[:, :LOOKALIKES]
        return tuple(
            tuple(each for each in row if alike[place, each] >= LOOKALIKE_FROM)
            for place, row in enumerate(nearest.tolist())
        )

    @cached_property
    def digest(self) -> str:
        """A name of the contents, for telling one simulation from another."""
        told = json.dumps([[repr(goal.sentences) for goal in self.goals], self.texts, sorted(self.nlu.items())])
        return blake2b(told.encode(), digest_size=8).hexdigest()


def _read(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise AttemptsError(f"{path}, line {number} is not JSON: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise AttemptsError(f"the attempts {path} cannot be read: {error}") from error


class _Gathered:
    """Records on their way to a population."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.texts: dict[str, int] = {}
        self.frames: dict[FrameKey, tuple[int, Mapping[str, Any]]] = {}
        self.heard_as: dict[str, Counter[int]] = {}
        self.goals: dict[tuple[int, str], dict[str, list[Recording]]] = {}

    def add(self, number: int, record: Mapping[str, Any]) -> None:
        text, goal, gold, nlu = self._checked(number, record)
        canonical, sentence = _CANONICAL(text), str(gold.get("text") or text)
        taken = self._frame(nlu) if nlu else NOT_UNDERSTOOD
        wanted = self._frame(gold["frame"])
        self.heard_as.setdefault(canonical, Counter())[taken] += 1
        understood = gold.get("success")
        right = taken == wanted if understood is None else bool(understood)
        frame = gold["frame"]
        alone = frame.get("domain") in OPEN_DOMAINS and not frame.get("slots")
        sentences = self.goals.setdefault((wanted, goal if alone else ""), {})
        recording = Recording(self.texts.setdefault(text, len(self.texts)), right)
        sentences.setdefault(_CANONICAL(sentence), []).append(recording)

    def _checked(
        self, number: int, record: Mapping[str, Any]
    ) -> tuple[str, str, Mapping[str, Any], Mapping[str, Any] | None]:
        fault = None
        if not isinstance(record, Mapping):
            fault = "is no JSON object"
        elif not isinstance(record.get("text"), str):
            fault = "has no text"
        elif "goal_id" not in record:
            fault = "has no goal_id"
        elif not isinstance(record.get("gold"), Mapping) or not isinstance(record["gold"].get("frame"), Mapping):
            fault = "has no gold.frame"
        elif not isinstance(record.get("nlu"), Mapping | None):
            fault = "has an nlu that is no object"
        if fault:
            raise AttemptsError(
                f"{self.origin}, record {number} {fault}: each recording needs goal_id, text, nlu (null where it was"
                " not understood) and gold with frame and success"
            )
        return record["text"], str(record["goal_id"]), record["gold"], record.get("nlu")

    def _frame(self, frame: Mapping[str, Any]) -> int:
        slots = frame.get("slots") or {}
        values = tuple(sorted((name, _CANONICAL(str(value))) for name, value in slots.items()))
        key = (frame.get("domain"), frame.get("intent"), values)
        plain = {"domain": frame.get("domain"), "intent": frame.get("intent"), "slots": dict(slots)}
        return self.frames.setdefault(key, (len(self.frames), plain))[0]

    def population(self) -> Population:
        if not self.goals:
            raise AttemptsError(f"{self.origin} holds no recording: there is nothing to want")
        texts = tuple(self.texts)
        nlu = {text: min(found, key=lambda each: (-found[each], each)) for text, found in self.heard_as.items()}
        goals = tuple(
            Goal(
                frame,
                tuple(Sentence(words, tuple(heard)) for words, heard in sentences.items()),
                frozenset(_CANONICAL(texts[each.text]) for heard in sentences.values() for each in heard)
                if alone
                else None,
            )
            for (frame, alone), sentences in self.goals.items()
        )
        return Population(goals, texts, tuple(frame for _, frame in self.frames.values()), nlu)
