"""What a reranker sees of a request and a candidate: likeness in meaning, sound, letters and words, and what is known.

Three groups of features, all float32:

    PAIR      of one candidate: how like the request it is, what would change, and what is known of it
    RANK      of one candidate among all: by how much it is ahead of the others
    REQUEST   of the request alone: is it sound as it was said?

The first two, with the third, say how likely a candidate is what was meant; the third, with the best candidate's, how
likely the request as said is right. What is not known is NaN, which trees handle as they find best.

LIKENESSES are the few of PAIR by which candidates are put in order: they are cheap, and only the first candidate is
looked at with all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz
from rapidfuzz.distance import Indel, JaroWinkler, Levenshtein

from dialogue.similarity import sound_key, word_sound
from rewrite.alignment import alike_ends
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
LIKENESSES = (
    "cosine", "meaning", "sound_cosine", "letters", "sound", "words", "log_users", "own_times", "nbest", "context",
)  # fmt: skip
NAN = math.nan

#: By what candidates are ahead of one another, by their places among the likenesses.
_LED = tuple(LIKENESSES.index(name) for name in ("cosine", "sound", "letters"))
_UNKNOWN = (NAN,) * 5
_alike = Indel.normalized_similarity

Floats = NDArray[np.float32]


class Said:
    """A canonical text and how it sounds."""

    __slots__ = ("sound", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.sound = sound_key(text)

    def __repr__(self) -> str:
        return f"Said({self.text!r})"

    @property
    def words(self) -> list[str]:
        """Its words."""
        return self.text.split()


@dataclass(frozen=True, slots=True)
class Interpretation:
    """Domain, intent and slots; values canonical. `names` are those of the slots."""

    domain: str | None
    intent: str | None
    slots: tuple[tuple[str, str], ...] = ()
    names: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", frozenset([name for name, _ in self.slots]))

    @classmethod
    def of(
        cls, domain: str | None, intent: str | None, slots: Mapping[Any, object], canonical: Callable[[str], str]
    ) -> Interpretation:
        """From the log's form: slots in order of their names, without those that have no value."""
        pairs = sorted((str(name), slot_value(value, canonical)) for name, value in slots.items() if value is not None)
        return cls(domain, intent, tuple(pairs))

    @property
    def key(self) -> tuple[object, ...]:
        """All three, for a quick comparison."""
        return (self.domain, self.intent, self.slots)


def slot_value(value: object, canonical: Callable[[str], str]) -> str:
    """A slot's value, canonical; several, in a list or parted by ";", are canonical each and parted by "; ".

    >>> slot_value("Prince;Queen", str.lower), slot_value(["ABBA", "Toto"], str.lower)
    ('prince; queen', 'abba; toto')
    """
    parts = value if isinstance(value, list | tuple) else str(value).split(";")
    return "; ".join(text for text in (canonical(str(part)) for part in parts if part is not None) if text)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A candidate with what is known of it. Similarities are cosines; NaN: not known.

    frame   number of its interpretation, the same for the same; -1: not known
    """

    said: Said
    cosine: float
    meaning: float = NAN
    sound: float = NAN
    success: float = NAN
    users: float = NAN
    chain: float = NAN
    own_times: float = 0.0
    own_age: float = NAN
    frame: int = -1
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


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What working requests tell.

    known            whether one of them has a word
    fluency          how usual a run of words is: (the least, the mean) log-probability
    interpretation   the interpretation of a number (`Proposal.frame`); None where it cannot be read
    """

    known: Callable[[str], bool]
    fluency: Callable[[Sequence[str]], tuple[float, float]]
    interpretation: Callable[[int], Interpretation | None]


def likenesses(asked: Asked, proposals: Sequence[Proposal]) -> Floats:
    """What the candidates are put in order by [candidates, LIKENESSES] float32."""
    text, sound = asked.said.text, asked.said.sound
    rows = [
        (
            each.cosine,
            each.meaning,
            each.sound,
            _alike(text, each.said.text),
            _alike(sound, each.said.sound),
            fuzz.token_sort_ratio(text, each.said.text) / 100,
            math.log1p(each.users),
            math.log1p(each.own_times),
            each.nbest,
            each.context,
        )
        for each in proposals
    ]
    return np.array(rows, np.float32).reshape(len(rows), len(LIKENESSES))


def features(asked: Asked, proposals: Sequence[Proposal], ground: Knowledge) -> Floats:
    """The features of every candidate [candidates, NAMES] float32."""
    likeness = likenesses(asked, proposals)
    rows = [features_of(asked, proposals, likeness, place, ground) for place in range(len(proposals))]
    return np.array(rows, np.float32).reshape(len(rows), len(NAMES))


def features_of(
    asked: Asked, proposals: Sequence[Proposal], likeness: Floats, place: int, ground: Knowledge
) -> tuple[float, ...]:
    """The features of the candidate at one place, in the order of NAMES; `likeness` is that of all of them."""
    return (
        *_pair(asked, proposals[place], likeness[place].tolist(), ground),
        *_rank(proposals, likeness, place),
        *_request(asked, likeness, ground),
    )


def _pair(asked: Asked, candidate: Proposal, like: Sequence[float], ground: Knowledge) -> tuple[float, ...]:
    """`like` are its likenesses."""
    text, proposed = asked.said.text, candidate.said.text
    words, their = text.split(), proposed.split()
    one, other = set(words), set(their)
    shared = len(one & other)
    cosine, meaning, sounds, letters, sound, sorted_words, users, own, nbest, context = like
    return (
        cosine,
        meaning,
        sounds,
        letters,
        sound,
        sorted_words,
        fuzz.partial_ratio(text, proposed) / 100,
        shared / max(len(one) + len(other) - shared, 1),
        JaroWinkler.normalized_similarity(text, proposed),
        *_changes(words, their, ground.known),
        numbers_of(text) != numbers_of(proposed),
        len(text) / max(len(proposed), 1),
        len(words) - len(their),
        words[:1] == their[:1],
        words[-1:] == their[-1:],
        candidate.success,
        users,
        candidate.chain,
        own,
        candidate.own_age,
        *_agreement(asked.interpretation, proposed, ground.interpretation, candidate.frame),
        nbest,
        context,
        not ground.known(their[0]) if their else 0.0,
    )


def _changes(said: Sequence[str], proposed: Sequence[str], known: Callable[[str], bool]) -> tuple[float, ...]:
    """How alike what was replaced is to what replaces it, at worst, and how many words come and go."""
    gone: list[str] = []
    came: list[str] = []
    sounds = 0.0
    worst, worst_sound = 1.0, 1.0
    replaced = dropped = added = dropped_known = replaced_known = 0
    steps = differences(said, proposed)
    for old, new in steps:
        gone += old
        came += new
        if old and new:
            worst = min(worst, _alike("".join(old), "".join(new)))
            sounds = _sound(old, new)
            worst_sound = min(worst_sound, sounds)
            replaced += len(new)
            replaced_known += _count_known(old, known)
        elif old:
            dropped += len([word for word in old if word not in FILLERS])
            dropped_known += _count_known(old, known)
        else:
            added += len([word for word in new if word not in FILLERS])
    if not (gone and came):
        sounds = 0.0
    elif len(steps) > 1:
        sounds = _sound(gone, came)
    return (sounds, worst, worst_sound, replaced, dropped, added, dropped_known, replaced_known)


def differences(one: Sequence[str], other: Sequence[str]) -> list[tuple[Sequence[str], Sequence[str]]]:
    """The runs of words in which two texts differ, as Levenshtein lays them: (in one, in the other), in order.

    Most texts differ in one place, which is found by what they begin and end with alike.
    """
    first, last = alike_ends(one, other)
    old, new = one[first : len(one) - last], other[first : len(other) - last]
    if not (old or new):
        return []
    if not (old and new) or len(old) == len(new) == 1:
        return [(old, new)]
    steps: Any = Levenshtein.opcodes(old, new).as_list()  # plain tuples: quicker than steps with attributes
    return [(old[begin:end], new[start:stop]) for tag, begin, end, start, stop in steps if tag != "equal"]


def _sound(one: Sequence[str], other: Sequence[str]) -> float:
    if len(one) == len(other) == 1:
        return _alike(word_sound(one[0]), word_sound(other[0]))
    return _alike("".join(map(word_sound, one)), "".join(map(word_sound, other)))


def _count_known(words: Sequence[str], known: Callable[[str], bool]) -> int:
    return len([word for word in words if word not in FILLERS and known(word)])


def _agreement(
    asked: Interpretation | None, proposed: str, read: Callable[[int], Interpretation | None], frame: int
) -> tuple[float, ...]:
    """Whether the candidate is taken as the request was: domain, intent, slots; and which slot values it keeps."""
    if asked is None:
        return _UNKNOWN
    text = f" {proposed} "
    kept, count = sum(f" {value} " in text for _, value in asked.slots), len(asked.slots)
    share = kept / count if count else NAN
    other = read(frame) if frame >= 0 else None
    if other is None:
        return (NAN, NAN, NAN, share, count - kept)
    mine, theirs = asked.names, other.names
    same = len(mine & theirs) / len(mine | theirs) if mine or theirs else 1.0
    domain = asked.domain == other.domain
    return (domain, domain and asked.intent == other.intent, same, share, count - kept)


def _rank(proposals: Sequence[Proposal], likeness: Floats, place: int) -> tuple[float, ...]:
    """Place by cosine; by how much it is ahead of the best other, in cosine, sound and letters; and how many others
    are interpreted just as it is, -1 where it is not known how."""
    columns = [likeness[:, column].tolist() for column in _LED]
    cosines, own = columns[0], columns[0][place]
    before = sum(other > own or (other == own and at < place) for at, other in enumerate(cosines))
    if own != own:  # not known: after all that are
        before = sum(other == other or at < place for at, other in enumerate(cosines))
    frame = proposals[place].frame
    votes = sum(each.frame == frame for each in proposals) - 1 if frame >= 0 else -1
    return (before, *(_lead(values, place) for values in columns), votes)


def _lead(values: list[float], place: int) -> float:
    """By how much a value is ahead of the best other; NaN where one is."""
    others = values[:place] + values[place + 1 :]
    if any(value != value for value in values):
        return NAN
    return values[place] - max(others) if others else values[place]


def _request(asked: Asked, likeness: Floats, ground: Knowledge) -> tuple[float, ...]:
    words = asked.said.words
    unknown = [word for word in words if not ground.known(word)]
    least, mean = ground.fluency(words)
    taken = asked.interpretation
    in_slots = {word for _, value in taken.slots for word in value.split()} if taken and unknown else ()
    cosine, sound = (max(likeness[:, column].tolist()) for column in _LED[:2])
    return (
        len(words),
        len(unknown),
        len(unknown) / max(len(words), 1),
        least,
        mean,
        len(likeness),
        cosine,
        sound,
        float(bool(taken.slots)) if taken else NAN,
        float(any(word in in_slots for word in unknown)) if taken else NAN,
        asked.nlu_confidence,
        asked.asr_confidence,
        asked.said_before,
        asked.said_success,
        asked.previous_success,
    )
