"""The guard of a candidate that a trained, calibrated model finds likely: known words may give way to known words.

"what's the whether in new york" -> "what's the weather in new york" is a repair, and each of its words is known. So it
is not asked whether a word was known, but what gave way to what:

* no contrast is exchanged, no negation comes or goes, no words change places (`rewrite.guards`);
* a word of a set of opposites, or a day or room, comes or goes only for a word much like it ("of" / "off");
* numbers stay as said; one comes or goes only for a word that sounds just the same ("to" / "two");
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
from rewrite.alignment import Change, changes
from rewrite.decision import Reason
from rewrite.guards import bare_content, reorders, turns_round, widens
from rewrite.spoken import bare_words, homophones, numbers, says_number, spoken_words

#: Least likeness of words, the better of letters and sounds, where one was misheard for the other. Low: recognisers put
#: known words in the place of others ("city" for "sydney").
LEAST_HEARD = 0.35
#: The same where an opposite or a value comes or goes.
LEAST_DELICATE = 0.5
#: The same, in letters, where a number is to have been said and a word of the same sound key was heard ("tin").
LEAST_NUMBER = 0.6
#: Words with content that may come, and that may go, without a word like them on the other side.
MOST_ADDED, MOST_DROPPED = 3, 2
#: What a recogniser writes for a word that it does not know ("<unk>").
UNHEARD = frozenset({"unk"})
#: Words that bound a request: without one it asks for more, or always.
LIMITING = frozenset("only except but instead if unless until till rather than non free".split())

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


@dataclass(frozen=True, slots=True)
class _Said:
    """What one text says, as far as the guard asks."""

    words: tuple[str, ...]
    bare: tuple[str, ...]
    negations: int
    sides: frozenset[Side]
    delicate: Counter[str]
    numbers: tuple[str, ...]
    letters: frozenset[str]


@lru_cache(maxsize=8_192)
def _said(text: str) -> _Said:
    words = spoken_words(text)
    words = [_as_switched(words, place) for place in range(len(words))]
    bare = bare_words(words)
    loose = PREPOSITIONS - {words[-1]} if words and SWITCHING.isdisjoint(words) else frozenset()
    terms, said_numbers = ENGLISH.terms(words), numbers(words)
    loose |= _LOOSE_COUNTED if said_numbers else LOOSE
    return _Said(
        tuple(words),
        bare,
        max(ENGLISH.negations_in(words), ENGLISH.negations_in(bare)),
        ENGLISH.sides_of(terms),
        Counter(term for term in ENGLISH.opposite_terms(terms) if term not in loose),
        said_numbers,
        frozenset(word for word in bare if len(word) == 1 and word.isalpha() and word not in "ai"),
    )


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
    if said.negations != proposed.negations or _reverses(said, proposed) or turns_round(said.bare, proposed.bare):
        return Reason.GUARD_POLARITY
    if said.numbers != proposed.numbers and not _misheard_number(said.words, proposed):
        return Reason.GUARD_NUMBER
    if reorders(said.words, proposed.words):
        return Reason.GUARD_WORD
    found = changes(said.bare, proposed.bare, floor)
    if any(_exchanges(change) for change in found):
        return Reason.GUARD_POLARITY
    if clear and _loses_clear(clear, found, said.bare):
        return Reason.GUARD_VALUE
    if said.delicate != proposed.delicate and _takes_side(said, proposed, found):
        return Reason.GUARD_POLARITY
    return Reason.GUARD_WORD if _strays(said, proposed, found) else None


def clear_values(
    slots: Mapping[str, str], known: Callable[[str, str], bool] = lambda slot, value: True
) -> frozenset[str]:
    """The canonical values of a request's own slots, several joined with ";", that are `known` for the slot."""
    values = ((slot, fold(value)) for slot, joined in slots.items() for value in joined.split(";"))
    return frozenset(value for slot, value in values if value and known(slot, value))


def _misheard_number(words: Sequence[str], proposed: _Said) -> bool:
    """Whether the numbers are the same once words that sound the same are written as in the target."""
    meant = list(words)
    for step in Levenshtein.opcodes(words, proposed.words):
        if step.tag == "replace":
            for place, other in zip(
                range(step.src_start, step.src_end), proposed.words[step.dest_start : step.dest_end], strict=False
            ):
                if _sounds_a_number(words[place], other):
                    meant[place] = other
    return numbers(meant) == proposed.numbers


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
        if any(_spelling("".join(piece.gone)) != _spelling("".join(piece.came)) for piece in replaced):
            return True
        if (replaced or change.before in edges or change.after in edges) and _puts_on(change):
            return True
        if any(word in said for word in bare_content(change.added)):
            return True
    return False


@lru_cache(maxsize=16_384)
def _clear_words(value: str) -> frozenset[str]:
    """The words of a value that must stay: those with content, or all where none has any ("i want you")."""
    words = bare_words(value.split())
    return frozenset(bare_content(words) or words)


@lru_cache(maxsize=16_384)
def _edges(value: str) -> frozenset[str]:
    words = bare_words(value.split())
    return frozenset((words[0], words[-1])) if words else frozenset()


def _puts_on(change: Change) -> bool:
    """Whether a word with content came in that took no other's place."""
    return bool(bare_content(change.added)) or any(
        bare_content(piece.came) and not bare_content(piece.gone) for piece in change.pieces
    )


def same_but_for_spelling(one: str, other: str) -> bool:
    """Whether two phrases are the same words as English may write them ("jon" / "john", "alarm" / "alarms")."""
    mine, theirs = one.split(), other.split()
    return len(mine) == len(theirs) and all(_spelling(a) == _spelling(b) for a, b in zip(mine, theirs, strict=True))


@lru_cache(maxsize=16_384)
def _spelling(word: str) -> str:
    """A word without what English writes in several ways for one sound: "john" -> "jon", "mickeys" -> "miki"."""
    word = word.removesuffix("s").replace("ph", "f").replace("ck", "k").replace("z", "s")
    word = re.sub(r"(?:ie|ey|y)$", "i", word)
    word = re.sub(r"(?<=o)h(?=n)", "", word)
    return re.sub(r"([lntm])\1$", r"\1", word).replace("c", "k")


def _reverses(said: _Said, proposed: _Said) -> bool:
    return said.sides != proposed.sides and Stance(False, said.sides).reverses(Stance(False, proposed.sides))


def _exchanges(change: Change) -> bool:
    """Whether a contrast is exchanged within one change, whatever stands elsewhere ("from monday to friday")."""
    gone = [word for piece in change.pieces for word in piece.gone] + list(change.dropped)
    came = [word for piece in change.pieces for word in piece.came] + list(change.added)
    return bool(gone and came) and Stance(False, _sides_of(*gone)).reverses(Stance(False, _sides_of(*came)))


@lru_cache(maxsize=16_384)
def _sides_of(*words: str) -> frozenset[Side]:
    return ENGLISH.sides(words)


def _takes_side(said: _Said, proposed: _Said, found: Sequence[Change]) -> bool:
    """Whether a word of a set of opposites came or went for no word like it."""
    sure = [piece for change in found for piece in change.pieces if piece.alike >= LEAST_DELICATE]
    for mine, theirs, words in (
        (proposed, said, frozenset(word for piece in sure for word in piece.came)),
        (said, proposed, frozenset(word for piece in sure for word in piece.gone)),
    ):
        for term in mine.delicate - theirs.delicate:
            if words.isdisjoint(term.split("_")) and not _said_otherwise(term, theirs):
                return True
    return False


def _said_otherwise(term: str, other: _Said) -> bool:
    """Whether the other text takes the same side in other words: "six am", "six in the morning"."""
    return not other.sides.isdisjoint(_sides_of(term)) and term not in other.delicate


def _strays(said: _Said, proposed: _Said, found: Sequence[Change]) -> bool:
    """Whether words came or went that cannot have been misheard for one another."""
    if proposed.letters - said.letters or widens(said.bare, proposed.bare):
        return True
    added = dropped = 0
    for change in found:
        came, gone = bare_content(change.added), bare_content(change.dropped)
        if not LIMITING.isdisjoint((*change.added, *change.dropped)):
            return True
        if any(word in UNHEARD for word in gone):
            gone, came = [word for word in gone if word not in UNHEARD], []
        if came and gone:
            return True
        added, dropped = added + len(came), dropped + len(gone)
    return added > MOST_ADDED or dropped > MOST_DROPPED
