"""Deterministic guards: a rewrite must never flip or exchange a meaning, whatever the statistics say.

All texts are canonical. The words are English; a team adds its own language's by passing other `Contrasts`.

* `exchanges_meaning`: one word of a set of contrasts gives way to another (on / off, monday / tuesday), or a
  negation appears or disappears.
* `changes_numbers`: a number that was said is missing or another one.
* `changes_words`: a word that was understood is replaced or dropped, or a word with content is added.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz.distance import Levenshtein

from rewrite.decision import Reason


@dataclass(frozen=True)
class Contrasts:
    """Sets of sides that exclude each other; each side is a string of words that mean the same."""

    sets: tuple[tuple[str, ...], ...]
    negations: frozenset[str]

    def sides(self, words: Iterable[str]) -> frozenset[tuple[int, int]]:
        """The (set, side) of every word that belongs to one."""
        return frozenset(side for word in words for side in self._sides.get(word, ()))

    @property
    def _sides(self) -> dict[str, tuple[tuple[int, int], ...]]:
        return _sides_by_word(self.sets)

    def negated(self, words: Iterable[str]) -> bool:
        """Whether the words hold an odd number of negations."""
        return sum(word in self.negations or word.endswith("n't") for word in words) % 2 == 1


@lru_cache(maxsize=8)
def _sides_by_word(sets: tuple[tuple[str, ...], ...]) -> dict[str, tuple[tuple[int, int], ...]]:
    found: dict[str, tuple[tuple[int, int], ...]] = {}
    for number, sides in enumerate(sets):
        for side, words in enumerate(sides):
            for word in words.split():
                found[word] = (*found.get(word, ()), (number, side))
    return found


ENGLISH = Contrasts(
    sets=(
        ("on enable activate", "off disable deactivate"),
        ("up increase raise higher louder brighter warmer hotter maximum",
         "down decrease reduce lower quieter softer dimmer cooler colder minimum"),
        ("open", "close shut"),
        ("lock locked arm", "unlock unlocked disarm"),
        ("start begin resume continue", "stop end quit pause cancel"),
        ("play", "stop pause"),
        ("mute silence", "unmute"),
        ("add insert include", "remove delete erase exclude"),
        ("create make new", "remove delete erase"),
        ("set", "cancel delete unset"),
        ("show", "hide"),
        ("accept answer", "decline reject ignore"),
        ("connect", "disconnect"),
        ("follow", "unfollow"), ("like", "dislike unlike"), ("subscribe", "unsubscribe"),
        ("more", "less fewer"), ("most", "least"), ("before", "after"), ("next", "previous last"),
        ("first", "last"), ("forward", "back backward rewind"), ("with", "without"),
        ("arrive arriving arrival", "leave leaving depart departing departure"), ("from", "to"),
        ("yes yeah yep", "no nope"), ("right correct", "wrong incorrect"), ("left", "right"),
        ("buy purchase", "sell"), ("send", "receive"), ("text message", "call phone"),
        ("always", "never"), ("all everything", "none nothing"), ("cheap inexpensive", "expensive", "moderate"),
        ("hot", "cold"), ("good best", "bad worst"), ("true", "false"), ("in inside", "out outside"),
        ("morning", "afternoon", "evening", "night", "noon", "midnight"), ("am", "pm"),
        ("yesterday", "today", "tonight", "tomorrow"),
        ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
        ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
         "november", "december"),
        ("second seconds", "minute minutes", "hour hours", "day days", "week weeks", "month months", "year years"),
        ("north northern", "south southern", "east eastern", "west western", "centre center central"),
        ("red", "orange", "yellow", "green", "blue", "purple violet", "pink", "white", "black", "brown", "gray grey"),
        ("celsius", "fahrenheit"),
        ("mom mum mother mama", "dad father papa", "brother", "sister", "wife", "husband", "son", "daughter",
         "grandma grandmother", "grandpa grandfather", "aunt", "uncle"),
        ("he him his", "she her hers"),
        ("kitchen", "bedroom", "bathroom", "garage", "hallway", "basement", "attic", "office", "nursery", "patio"),
    ),
    negations=frozenset("not no never without cannot don't dont neither nor nothing none except".split()),
)  # fmt: skip

_UNITS = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
        " seventeen eighteen nineteen".split()
    )
}
_TENS = {
    word: 10 * (2 + place)
    for place, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split())
}
_ORDINALS = {
    word: 1 + place
    for place, word in enumerate("first second third fourth fifth sixth seventh eighth ninth tenth".split())
}
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000}
_QUANTITIES = {"half": "1/2", "quarter": "1/4", "double": "x2", "twice": "x2", "once": "x1", "triple": "x3"}
_DIGITS = re.compile(r"\d")
_ORDINAL_DIGITS = re.compile(r"(\d+)(?:st|nd|rd|th)")

#: Words without content of their own: they may come and go between two forms of one request.
FILLERS = frozenset(
    "a an the uh um er oh please now just some me my for of i i'd i'm like want would could can you to is it's it"
    " hey ok okay and so then well that this".split()
)

def numbers(words: Sequence[str]) -> tuple[str, ...]:
    """The numbers that the words say, in order: "twenty five percent at 7:30" -> ("25", "7:30")."""
    found: list[str] = []
    run: list[str] = []
    for word in [*words, ""]:
        if word in _UNITS or word in _TENS or (word in _SCALES and run) or (word == "and" and run[-1:] == ["hundred"]):
            run.append(word)
            continue
        found += _spoken(run)
        run = []
        if word in _ORDINALS and word != "second":
            found.append(f"{_ORDINALS[word]}th")
        elif word in _QUANTITIES:
            found.append(_QUANTITIES[word])
        elif match := _ORDINAL_DIGITS.fullmatch(word):
            found.append(f"{match[1]}th")
        elif _DIGITS.search(word):
            found.append(word.removesuffix(".0").removesuffix(":00"))
    return tuple(found)


def _spoken(run: Sequence[str]) -> list[str]:
    """The numbers in a run of number words; a word that cannot go on the number before it begins a new one."""
    found: list[str] = []
    total, current, room = 0, -1, 0
    for word in run:
        if word == "and":
            continue
        if word in _SCALES:
            scale = _SCALES[word]
            if scale == 100:
                current, room = max(current, 1) * 100, 100
            else:
                total, current, room = total + max(current, 1) * scale, 0, scale
            continue
        value = _UNITS.get(word, _TENS.get(word, 0))
        if current >= 0 and value < room and value > 0:
            current += value
        else:
            if current >= 0:
                found.append(str(total + current))
            total, current = 0, value
        room = 10 if word in _TENS else (0 if word in _UNITS else room)
    if current >= 0:
        found.append(str(total + current))
    return found


def exchanges_meaning(source: Sequence[str], target: Sequence[str], contrasts: Contrasts = ENGLISH) -> bool:
    """Whether the target says, in some set of contrasts, another side than the source; or negates what it does not."""
    if contrasts.negated(source) != contrasts.negated(target):
        return True
    said, proposed = contrasts.sides(source), contrasts.sides(target)
    lost, gained = {number for number, _ in said - proposed}, {number for number, _ in proposed - said}
    return bool(lost & gained)


def changes_numbers(source: Sequence[str], target: Sequence[str], *, may_add: bool) -> bool:
    """Whether a number that was said is missing or another one; with `may_add`, a number may come where none was."""
    said, proposed = numbers(source), numbers(target)
    if may_add and not said:
        return False
    return sorted(said) != sorted(proposed)


def changes_words(
    source: Sequence[str], target: Sequence[str], known: Callable[[str], bool], *, may_add: bool
) -> bool:
    """Whether the target replaces or drops words that were understood, or (unless `may_add`) adds words of content.

    A known word, one that some working request holds, was understood: its neighbour in sound is another request.
    So only unknown words and fillers give way, and words of content come only where an unknown word stood.
    """
    for change in Levenshtein.opcodes(source, target):
        said = source[change.src_start : change.src_end]
        proposed = target[change.dest_start : change.dest_end]
        if change.tag == "equal":
            continue
        if any(known(word) and word not in FILLERS for word in said):
            return True
        misheard = any(word not in FILLERS for word in said)
        adds = any(word not in FILLERS for word in proposed)
        if adds and not misheard and not (may_add and change.tag == "insert"):
            return True
    return False


def table_guard(source: str, target: str) -> Reason | None:
    """The guard of a pair that many users' corrections support: None, or why it is refused all the same."""
    said, proposed = source.split(), target.split()
    if exchanges_meaning(said, proposed):
        return Reason.GUARD_POLARITY
    if changes_numbers(said, proposed, may_add=True):
        return Reason.GUARD_NUMBER
    return None


def layer_guard(source: str, target: str, known: Callable[[str], bool], *, may_add: bool) -> Reason | None:
    """The guard of a candidate that is merely near: None, or why it is refused."""
    said, proposed = source.split(), target.split()
    if exchanges_meaning(said, proposed) or ENGLISH.sides(proposed) - ENGLISH.sides(said):
        return Reason.GUARD_POLARITY  # nothing near is so sure that a side may come in that was not said
    if changes_numbers(said, proposed, may_add=False):
        return Reason.GUARD_NUMBER
    if changes_words(said, proposed, known, may_add=may_add):
        return Reason.GUARD_WORD
    return None
