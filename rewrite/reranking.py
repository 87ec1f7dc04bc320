"""What a reranker sees of a request and a candidate: likeness in meaning, sound, letters and words, and what is known.

Three groups of features, all float32:

    PAIR      of one candidate: how like the request it is, what would change, and what is known of it
    RANK      of one candidate among all: by how much it is ahead of the others
    REQUEST   of the request alone: is it sound as it was said?

The first two, with the third, say how likely a candidate is what was meant; the third, with the best candidate's, how
likely the request as said is right. What is not known is NaN, which trees handle as they find best.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz
from rapidfuzz.distance import Indel, JaroWinkler, Levenshtein

from dialogue.similarity import sound_key
from rewrite.guards import FILLERS
from rewrite.spoken import numbers_of

PAIR = (
    "cosine", "meaning", "sound_cosine", "letters", "sound", "words", "part", "shared_words", "winkler",
    "differing_sound", "worst_chunk", "worst_chunk_sound", "replaced", "dropped", "added", "dropped_known",
    "replaced_known", "numbers_differ", "length_ratio", "word_difference", "first_word", "last_word", "success",
    "log_users", "chain", "own_times", "own_age", "same_domain", "same_intent", "same_slots", "slots_kept",
    "slots_missing", "nbest", "context", "lead_unknown",
)  # fmt: skip
RANK = ("rank", "cosine_lead", "sound_lead", "letters_lead", "same_frame_near")
REQUEST = (
    "length", "unknown_words", "unknown_share", "least_fluent", "mean_fluent", "candidates", "best_cosine",
    "best_sound", "has_slots", "slot_unknown", "nlu_confidence", "asr_confidence", "said_before", "said_success",
    "previous_success",
)  # fmt: skip
NAMES = (*PAIR, *RANK, *REQUEST)
NAN = math.nan

#: Where each group stands among all, and by what candidates are ahead of one another.
_PAIR, _RANK = slice(0, len(PAIR)), slice(len(PAIR), len(PAIR) + len(RANK))
_REQUEST = slice(len(PAIR) + len(RANK), len(NAMES))
_LED = tuple(PAIR.index(name) for name in ("cosine", "sound", "letters"))
_UNKNOWN = (NAN,) * 5
_alike = Indel.normalized_similarity

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Said:
    """A canonical text, with what is worked out of it once."""

    text: str

    @cached_property
    def words(self) -> list[str]:
        return self.text.split()

    @cached_property
    def word_set(self) -> frozenset[str]:
        return frozenset(self.words)

    @cached_property
    def sound(self) -> str:
        return sound_key(self.text)

    @cached_property
    def padded(self) -> str:
        """With a space on either side, so that whole words can be looked for."""
        return f" {self.text} "

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        return numbers_of(self.text)


@dataclass(frozen=True)
class Interpretation:
    """Domain, intent and slots; values canonical."""

    domain: str | None
    intent: str | None
    slots: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(
        cls, domain: str | None, intent: str | None, slots: Mapping[Any, object], canonical: Callable[[str], str]
    ) -> Interpretation:
        """From the log's form: slots in order of their names, without those that have no value."""
        pairs = sorted((str(name), slot_value(value, canonical)) for name, value in slots.items() if value is not None)
        return cls(domain, intent, tuple(pairs))

    @cached_property
    def key(self) -> tuple[object, ...]:
        """All three, for a quick comparison."""
        return (self.domain, self.intent, self.slots)

    @cached_property
    def names(self) -> frozenset[str]:
        """Of the slots."""
        return frozenset(name for name, _ in self.slots)

    @cached_property
    def padded(self) -> tuple[str, ...]:
        """The values, each with a space on either side."""
        return tuple(f" {value} " for _, value in self.slots)


def slot_value(value: object, canonical: Callable[[str], str]) -> str:
    """A slot's value, canonical; several, in a list or parted by ";", are canonical each and parted by "; ".

    >>> slot_value("Prince;Queen", str.lower), slot_value(["ABBA", "Toto"], str.lower)
    ('prince; queen', 'abba; toto')
    """
    parts = value if isinstance(value, list | tuple) else str(value).split(";")
    return "; ".join(text for text in (canonical(str(part)) for part in parts if part is not None) if text)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A candidate with what is known of it. Similarities are cosines; NaN and None: not known."""

    said: Said
    cosine: float
    meaning: float = NAN
    sound: float = NAN
    success: float = NAN
    users: float = NAN
    chain: float = NAN
    own_times: float = 0.0
    own_age: float = NAN
    interpretation: Interpretation | None = None
    nbest: float = NAN
    context: float = NAN


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with what is known of it."""

    said: Said
    interpretation: Interpretation | None = None
    nlu_confidence: float = NAN
    asr_confidence: float = NAN
    said_before: float = 0.0  # log(1 + users)
    said_success: float = NAN
    previous_success: float = NAN


def features(
    asked: Asked,
    proposals: Sequence[Proposal],
    known: Callable[[str], bool],
    fluency: Callable[[Sequence[str]], tuple[float, float]],
) -> Floats:
    """The features of every candidate [candidates, NAMES] float32; `known` says whether a working request has a word,
    `fluency` how usual a run of words is: (the least, the mean) log-probability."""
    if not proposals:
        return np.empty((0, len(NAMES)), np.float32)
    table = np.empty((len(proposals), len(NAMES)), np.float32)
    table[:, _PAIR] = [_pair(asked, each, known) for each in proposals]
    table[:, _RANK] = _rank(table, proposals)
    table[:, _REQUEST] = _request(asked, table, known, fluency)
    return table


def _pair(asked: Asked, candidate: Proposal, known: Callable[[str], bool]) -> tuple[float, ...]:
    one, other = asked.said, candidate.said
    text, proposed, words, their = one.text, other.text, one.words, other.words
    shared = len(one.word_set & other.word_set)
    union = len(one.word_set) + len(other.word_set) - shared
    return (
        candidate.cosine,
        candidate.meaning,
        candidate.sound,
        _alike(text, proposed),
        _alike(one.sound, other.sound),
        fuzz.token_sort_ratio(text, proposed) / 100,
        fuzz.partial_ratio(text, proposed) / 100,
        shared / max(union, 1),
        JaroWinkler.normalized_similarity(text, proposed),
        *_changes(words, their, known),
        one.numbers != other.numbers,
        len(text) / max(len(proposed), 1),
        len(words) - len(their),
        words[:1] == their[:1],
        words[-1:] == their[-1:],
        candidate.success,
        math.log1p(candidate.users),
        candidate.chain,
        math.log1p(candidate.own_times),
        candidate.own_age,
        *_agreement(asked.interpretation, candidate),
        candidate.nbest,
        candidate.context,
        not known(their[0]) if their else 0.0,
    )


def _changes(said: Sequence[str], proposed: Sequence[str], known: Callable[[str], bool]) -> tuple[float, ...]:
    """How alike what was replaced is to what replaces it, at worst, and how many words come and go."""
    gone: list[str] = []
    came: list[str] = []
    old: Sequence[str] = ()
    new: Sequence[str] = ()
    sounds = 0.0
    worst, worst_sound = 1.0, 1.0
    replaced = dropped = added = dropped_known = replaced_known = 0
    for step in Levenshtein.opcodes(said, proposed):
        if (tag := step.tag) == "equal":
            continue
        old, new = said[step.src_start : step.src_end], proposed[step.dest_start : step.dest_end]
        gone += old
        came += new
        if tag == "replace":
            worst = min(worst, _alike("".join(old), "".join(new)))
            sounds = _sound(old, new)
            worst_sound = min(worst_sound, sounds)
            replaced += len(new)
            replaced_known += _count_known(old, known)
        elif tag == "delete":
            dropped += len([word for word in old if word not in FILLERS])
            dropped_known += _count_known(old, known)
        else:
            added += len([word for word in new if word not in FILLERS])
    if not (gone and came):
        sounds = 0.0
    elif gone != old or came != new:  # more changes than the last
        sounds = _sound(gone, came)
    return (sounds, worst, worst_sound, replaced, dropped, added, dropped_known, replaced_known)


def _sound(one: Sequence[str], other: Sequence[str]) -> float:
    return _alike(sound_key(" ".join(one)), sound_key(" ".join(other)))


def _count_known(words: Sequence[str], known: Callable[[str], bool]) -> int:
    return len([word for word in words if word not in FILLERS and known(word)])


def _agreement(asked: Interpretation | None, candidate: Proposal) -> tuple[float, ...]:
    """Whether the candidate is taken as the request was: domain, intent, slots; and which slot values it keeps."""
    if asked is None:
        return _UNKNOWN
    values, text = asked.padded, candidate.said.padded
    kept = len([value for value in values if value in text])
    share = kept / len(values) if values else NAN
    other = candidate.interpretation
    if other is None:
        return (NAN, NAN, NAN, share, len(values) - kept)
    mine, theirs = asked.names, other.names
    same = len(mine & theirs) / len(mine | theirs) if mine or theirs else 1.0
    domain = asked.domain == other.domain
    return (domain, domain and asked.intent == other.intent, same, share, len(values) - kept)


def _rank(table: Floats, proposals: Sequence[Proposal]) -> list[tuple[float, ...]]:
    """Place by cosine, and by how much each is ahead of the best other: in cosine, sound and letters.

    Plain numbers: of some ten candidates, numpy would take longer to call than to count.
    """
    cosines, sounds, letters = (table[:, place].tolist() for place in _LED)
    order = sorted(range(len(cosines)), key=lambda place: (cosines[place] != cosines[place], -cosines[place]))
    ranks = [0] * len(order)
    for rank, place in enumerate(order):
        ranks[place] = rank
    leads = (_leads(values) for values in (cosines, sounds, letters))
    return list(zip(ranks, *leads, _frame_votes(proposals), strict=True))


def _leads(values: list[float]) -> list[float]:
    """By how much each value is ahead of the best other; NaN where one is."""
    if len(values) == 1:
        return values
    *_, second, first = sorted(values)
    if any(value != value for value in values):
        return [NAN] * len(values)
    return [value - (second if value == first else first) for value in values]


def _frame_votes(proposals: Sequence[Proposal]) -> list[int]:
    """How many of the other candidates are interpreted just as this one; -1 where it is not known how."""
    keys = [None if each.interpretation is None else each.interpretation.key for each in proposals]
    counts = Counter(keys)
    return [-1 if key is None else counts[key] - 1 for key in keys]


def _request(
    asked: Asked,
    table: Floats,
    known: Callable[[str], bool],
    fluency: Callable[[Sequence[str]], tuple[float, float]],
) -> list[float]:
    words = asked.said.words
    unknown = [word for word in words if not known(word)]
    least, mean = fluency(words)
    slots = asked.interpretation.slots if asked.interpretation else ()
    in_slots = {word for _, value in slots for word in value.split()}
    return [
        len(words),
        len(unknown),
        len(unknown) / max(len(words), 1),
        least,
        mean,
        len(table),
        *(float(table[:, place].max()) for place in _LED[:2]),
        float(bool(slots)) if asked.interpretation else NAN,
        float(any(word in in_slots for word in unknown)) if asked.interpretation else NAN,
        asked.nlu_confidence,
        asked.asr_confidence,
        asked.said_before,
        asked.said_success,
        asked.previous_success,
    ]
