"""The guard of a candidate that a trained, calibrated model finds likely: known words may give way to known words.

"what's the whether in new york" -> "what's the weather in new york" is a repair, and each of its words is known. So it
is not asked whether a word was known, but what gave way to what:

* no contrast is exchanged, no negation comes or goes, no words change places (`rewrite.guards`);
* a word of a set of opposites, or a day or room, comes or goes only for a word much like it ("of" / "off");
* numbers stay as said, and so does what bounds them ("under", "past"); one comes or goes only for a word that sounds
  just the same ("to" / "two") and stands beside no other number;
* a question stays a question, a command a command, and persons do not change places ("i owe you" / "you owe me");
* a word that was said clearly stays, but for its spelling, and nothing is put on to it;
* each other word with content gives way to one that it may have been misheard for; few words come or go alone.

No rule knows a name from another like it ("ann" / "anna"): that is what `clear` is for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz.distance import Indel, Levenshtein

from dialogue.canonical import fold
from dialogue.contrasts import ENGLISH, Side, Stance
from dialogue.similarity import sound_key
from rewrite.alignment import UNHEARD, Change, Piece, alike, changes
from rewrite.decision import Reason
from rewrite.guards import bare_content, reorders, turns_round, widens
from rewrite.moods import asks, may_ask, opened, turns_persons
from rewrite.same_words import spelling, without_stutter
from rewrite.spoken import (
    bare_words,
    bounding,
    homophones,
    is_letter,
    joined_words,
    numbers,
    says_number,
    spoken_words,
)

#: Least likeness of words, the better of letters and sounds, where one was misheard for the other. Low: recognisers put
#: known words in the place of others ("city" for "sydney").
LEAST_HEARD = 0.35
#: The same where an opposite or a value comes or goes.
LEAST_DELICATE = 0.5
#: The same, in letters, where a number is to have been said and a word of the same sound key was heard ("tin").
LEAST_NUMBER = 0.6
#: The same, in letters, of a word and the next, for which it was but begun.
LEAST_BEGUN = 0.8
#: Letters of the shortest word that others are built on; and endings that make no other word.
SHORTEST_STEM = 3
INFLECTIONS = frozenset("ing ings ies ied".split())
#: Words with content that may come, and that may go, without a word like them on the other side.
MOST_ADDED, MOST_DROPPED = 3, 2
#: Words that bound a request: without one it asks for more, or always.
LIMITING = frozenset(
    "only except but instead if unless until till rather non free remind ban cease quit apart hold hardly barely"
    " scarcely".split()
)
#: After "every" these leave some out ("every other day").
SOME_OF_EVERY = frozenset("other second few".split())
#: After these, "than" bounds it as well ("rather than jazz"); elsewhere it goes on with a comparison, which is seen to.
BEFORE_THAN = frozenset("rather other more less else sooner".split())

#: Words that stand in sets of opposites but turn nothing round by coming or going alone.
LOOSE = frozenset(
    "to from with play set where find track show make create new send text message sms call phone dial take allow order"
    " reorder get enter save keep like times plus repeat replay skip start begin resume continue track receive follow"
    " he him his she her hers back forward pair connect today exit answer accept include"
    " second seconds minute minutes hour hours day days week weeks month months year years"
    " right correct good best yes yeah next last previous first all everything day true import win lose lend".split()
)
#: The same where a number is said: then they say what is counted, or which.
COUNTED = frozenset(
    "second seconds minute minutes hour hours day days week weeks month months year years times next last previous"
    " first percent degree degrees".split()
)
_LOOSE_COUNTED = LOOSE - COUNTED
#: "on" and "up" are no particles but prepositions where none of these is said and a word follows.
SWITCHING = frozenset("turn turned turning switch switched put power powered".split())
PREPOSITIONS = frozenset({"on", "up"})
#: The words of which any has a side, alone or with the next.
TELLING = frozenset(
    word for sides in (*ENGLISH.sets, *ENGLISH.values, *ENGLISH.kinds) for side in sides
    for word in side.replace("_", " ").split()
)  # fmt: skip
#: "nowhere" as well: "now here" is misheard for it.
NEGATIONS = ENGLISH.negations | {"nowhere"}
_DIGIT = re.compile(r"\d")
_NONE: frozenset[str] = frozenset()
_NOTHING: Counter[str] = Counter()


@dataclass(frozen=True, slots=True)
class _Said:
    """What one text says, as far as the guard asks."""

    words: tuple[str, ...]
    bare: tuple[str, ...]
    negations: int
    sides: frozenset[Side]
    delicate: Counter[str]
    numbers: tuple[str, ...]
    bounding: list[str]
    letters: frozenset[str]
    distinct: frozenset[str]


@lru_cache(maxsize=8_192)
def _said(text: str) -> _Said:
    words = joined_words(text.split())
    if "m" in words or "past" in words or _DIGIT.search(text):
        words = joined_words(spoken_words(text))  # else nothing is said in another way
    if "of" in words:
        words = [_as_switched(words, place) for place in range(len(words))]
    bare = bare_words(words)
    loose = PREPOSITIONS - {words[-1]} if words and SWITCHING.isdisjoint(words) else _NONE
    terms, said_numbers = _terms(words), numbers(words)
    either = _LOOSE_COUNTED if said_numbers else LOOSE
    delicate = [term for term in ENGLISH.opposite_terms(terms) if term not in loose and term not in either]
    return _Said(
        tuple(words),
        bare,
        _negations(words, bare),
        ENGLISH.sides_of(terms),
        Counter(delicate) if delicate else _NOTHING,
        said_numbers,
        bounding(words) if said_numbers else [],
        frozenset([word for word in bare if is_letter(word)]),
        frozenset(words),
    )


def _terms(words: Sequence[str]) -> list[str]:
    """Those terms of `ENGLISH.terms` that may have a side; most words have none."""
    bare = [word[:-2] if word[-2:] == "'s" else word for word in words]
    alone, pairs = [], []
    for place, word in enumerate(bare):
        if word in TELLING:
            after = bare[place + 1] if place + 1 < len(bare) else ""
            if f"{word}_{after}" not in ENGLISH.neutral and (
                not place or f"{bare[place - 1]}_{word}" not in ENGLISH.neutral
            ):
                alone.append(word)
            if after in TELLING:
                pairs.append(f"{word}_{after}")
    return alone + pairs


def _negations(words: Sequence[str], bare: Sequence[str]) -> int:
    """How many negations the words hold, as they are written or without apostrophes ("isn't", "isnt")."""
    if NEGATIONS.isdisjoint(bare) and NEGATIONS.isdisjoint(words) and "n't" not in " ".join(words):
        return 0
    return max(ENGLISH.negations_in(words), ENGLISH.negations_in(bare)) + words.count("nowhere")


def _as_switched(words: Sequence[str], place: int) -> str:
    """A word, or what it surely was: "turn of the light" switches off, whatever else sounds like it."""
    return "off" if words[place] == "of" and place and words[place - 1] in SWITCHING else words[place]


def dense_guard(
    source: str, target: str, *, clear: frozenset[str] = frozenset(), floor: float = LEAST_HEARD
) -> Reason | None:
    """None, or why a canonical target may not be served for a canonical source, however likely a model finds it.

    `clear` holds the words or values of the source that were said clearly: its slots that are known values, or words of
    which the recogniser is sure. `floor` is the least likeness of other words that give way to each other.
    """
    if source == target:
        return None
    said, proposed = _said(source), _said(target)
    if len(said.distinct) < len(said.words):
        once = without_stutter(said.words, proposed.words)
        said = _said(" ".join(once)) if len(once) < len(said.words) else said
    if said.negations != proposed.negations or _reverses(said, proposed) or turns_round(said.bare, proposed.bare):
        return Reason.GUARD_POLARITY
    if said.numbers != proposed.numbers and not _misheard_number(said.words, proposed):
        return Reason.GUARD_NUMBER
    if said.bounding != proposed.bounding:
        return Reason.GUARD_NUMBER
    if reorders(said.words, proposed.words) or turns_persons(said.bare, proposed.bare) or _asks_anew(said, proposed):
        return Reason.GUARD_WORD
    found = changes(said.bare, proposed.bare, floor)
    if any(_exchanges(change) for change in found):
        return Reason.GUARD_POLARITY
    if clear and _loses_clear(clear, found, said.bare):
        return Reason.GUARD_VALUE
    if said.delicate != proposed.delicate and _takes_side(said, proposed, found):
        return Reason.GUARD_POLARITY
    if any(_builds_on(piece) for change in found for piece in change.pieces):
        return Reason.GUARD_WORD
    return Reason.GUARD_WORD if _strays(said, proposed, found) else None


def clear_values(
    slots: Mapping[str, str], known: Callable[[str, str], bool] = lambda slot, value: True
) -> frozenset[str]:
    """The canonical values of a request's own slots, several joined with ";", that are `known` for the slot."""
    values = ((slot, fold(value)) for slot, joined in slots.items() for value in joined.split(";"))
    return frozenset(value for slot, value in values if value and known(slot, value))


def _asks_anew(said: _Said, proposed: _Said) -> bool:
    """Whether one is a question and the other is none, and its first word was not misheard ("watch", "what's")."""
    one, other = opened(said.bare), opened(proposed.bare)
    if asks(one) == asks(other):
        return False
    question, command = (one, other) if asks(one) else (other, one)
    if may_ask(question, command):
        return False
    if not command or command[0] in question:
        return True
    return max(alike(begun, command[0]) for begun in (question[0], "".join(question[:2]))) < LEAST_DELICATE


def _misheard_number(words: Sequence[str], proposed: _Said) -> bool:
    """Whether the numbers are the same once words that sound the same are written as in the target."""
    meant, theirs = list(words), proposed.words
    for step in Levenshtein.opcodes(words, proposed.words):
        if step.tag == "replace":
            for place, there in zip(
                range(step.src_start, step.src_end), range(step.dest_start, step.dest_end), strict=False
            ):
                if _sounds_a_number(words[place], theirs[there]):
                    if _beside_number(words, place) or _beside_number(theirs, there):
                        return False
                    meant[place] = theirs[there]
    return numbers(meant) == proposed.numbers


def _beside_number(words: Sequence[str], place: int) -> bool:
    """Whether a number stands right beside a number: "two seventy"."""
    beside = (*words[max(place - 1, 0) : place], *words[place + 1 : place + 2])
    return says_number(words[place]) and any(map(says_number, beside))


def _sounds_a_number(said: str, meant: str) -> bool:
    if homophones(said, meant):
        return True
    if not says_number(meant) or says_number(said):
        return False
    return (
        sound_key(said) == sound_key(meant)
        and Indel.normalized_similarity(said, meant) >= LEAST_NUMBER
    )


def _loses_clear(clear: frozenset[str], found: Sequence[Change], said: Sequence[str]) -> bool:
    """Whether a clear word is gone, but for its spelling, or a word came in beside it or is said once more."""
    words = frozenset().union(*map(_clear_words, clear))
    edges = words.union(*map(_edges, clear))
    for change in found:
        if not words.isdisjoint(change.dropped):
            return True
        replaced = [piece for piece in change.pieces if not words.isdisjoint(piece.gone)]
        if any(spelling("".join(piece.gone)) != spelling("".join(piece.came)) for piece in replaced):
            return True
        if (replaced or change.before in edges or change.after in edges) and _puts_on(change):
            return True
        if any(word in said for word in bare_content(change.added)):
            return True
    return False


@lru_cache(maxsize=16_384)
def _clear_words(value: str) -> frozenset[str]:
    """The words of a value that must stay: those with content, or all where none has any ("i want you")."""
    words = bare_words(joined_words(value.split()))
    return frozenset(bare_content(words) or words)


@lru_cache(maxsize=16_384)
def _edges(value: str) -> frozenset[str]:
    words = bare_words(joined_words(value.split()))
    return frozenset((words[0], words[-1])) if words else frozenset()


def _puts_on(change: Change) -> bool:
    """Whether a word with content came in that took no other's place."""
    return bool(bare_content(change.added)) or any(
        bare_content(piece.came) and not bare_content(piece.gone) for piece in change.pieces
    )


def _reverses(said: _Said, proposed: _Said) -> bool:
    return said.sides != proposed.sides and Stance(False, said.sides).reverses(Stance(False, proposed.sides))


def _exchanges(change: Change) -> bool:
    """Whether a contrast is exchanged within one change, whatever stands elsewhere ("from monday to friday")."""
    gone, came = change.dropped, change.added
    for piece in reversed(change.pieces):
        gone, came = piece.gone + gone, piece.came + came
    if not gone or not came or not (mine := _sides_of(*gone)) or not (theirs := _sides_of(*came)):
        return False
    return mine != theirs and Stance(False, mine).reverses(Stance(False, theirs))


@lru_cache(maxsize=16_384)
def _sides_of(*words: str) -> frozenset[Side]:
    """The sides of bare words, one that was written with an apostrophe among them ("valentines")."""
    return ENGLISH.sides(words) | ENGLISH.sides_of([f"{word[:-1]}'s" for word in words if word.endswith("s")])


def _builds_on(piece: Piece) -> bool:
    """Whether one word is the other with another word put to it ("raincoat", "rain"), or its highest degree."""
    return len(piece.gone) == len(piece.came) == 1 and _built(piece.gone[0], piece.came[0])


@lru_cache(maxsize=16_384)
def _built(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    if len(short) < SHORTEST_STEM:
        return False
    if long.endswith("est") and _stem(long[:-3]) == _stem(short):
        return True
    if not (long.startswith(short) or long.endswith(short)):
        return False
    more = long.replace(short, "", 1)
    return len(more) >= SHORTEST_STEM and more not in INFLECTIONS


def _stem(word: str) -> str:
    """Without what changes before an ending: "funny", "funni"; "hot", "hott"."""
    word = f"{word[:-1]}i" if word[-1:] == "y" else word.removesuffix("e")
    return word[:-1] if word[-2:-1] == word[-1:] else word


def _takes_side(said: _Said, proposed: _Said, found: Sequence[Change]) -> bool:
    """Whether a word of a set of opposites came or went for no word like it."""
    sure = [piece for change in found for piece in change.pieces if piece.alike >= LEAST_DELICATE]
    for mine, theirs, words in (
        (proposed, said, frozenset(word for piece in sure for word in piece.came)),
        (said, proposed, frozenset(word for piece in sure for word in piece.gone)),
    ):
        for term in mine.delicate - theirs.delicate:
            if not words.isdisjoint(term.split("_")) or _said_otherwise(term, theirs):
                continue
            if mine is proposed or not _begins_anew(term, said, proposed):
                return True
    return False


def _begins_anew(term: str, said: _Said, proposed: _Said) -> bool:
    """Whether a word that is gone was but begun: right before one almost like it that stays ("march match")."""
    place = said.words.index(term) + 1 if said.words.count(term) == 1 else len(said.words)
    if place == len(said.words):
        return False
    after = said.words[place]
    return (
        after[0] == term[0]
        and after in proposed.distinct
        and after not in said.delicate
        and Indel.normalized_similarity(term, after) >= LEAST_BEGUN
    )


def _said_otherwise(term: str, other: _Said) -> bool:
    """Whether the other text takes the same side in other words: "six am", "six in the morning"."""
    return not other.sides.isdisjoint(_sides_of(term)) and term not in other.delicate


def _limits(change: Change, said: _Said, proposed: _Said) -> bool:
    """Whether a word came or went that bounds what is asked for."""
    words = (*change.added, *change.dropped)
    if not LIMITING.isdisjoint(words) or (change.before == "every" and not SOME_OF_EVERY.isdisjoint(words)):
        return True
    return "than" in words and not (BEFORE_THAN.isdisjoint(said.distinct) and BEFORE_THAN.isdisjoint(proposed.distinct))


def _strays(said: _Said, proposed: _Said, found: Sequence[Change]) -> bool:
    """Whether words came or went that cannot have been misheard for one another."""
    if proposed.letters - said.letters or widens(said.bare, proposed.bare):
        return True
    added = dropped = 0
    for change in found:
        came, gone = bare_content(change.added), bare_content(change.dropped)
        if _limits(change, said, proposed):
            return True
        if any(word in UNHEARD for word in gone):
            gone, came = [word for word in gone if word not in UNHEARD], []
        if came and gone:
            return True
        added, dropped = added + len(came), dropped + len(gone)
    return added > MOST_ADDED or dropped > MOST_DROPPED
