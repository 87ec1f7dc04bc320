"""Whether two runs of words are the same words: spelled, joined or split otherwise, or one said twice in a row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from dialogue.contrasts import ENGLISH
from rewrite.guards import BARE_FILLERS, PARTICLES, WIDENING
from rewrite.spoken import says_number

Words = tuple[str, ...]

#: Letters that a recogniser writes apart from the word that they end.
CLITICS = frozenset("s t d m re ve ll".split())
#: A part of a joined word has as many letters; "a part" and "apart", "no where" and "nowhere" are not the same.
SHORTEST_PART = 3
#: Words that say something else when they are joined to the next ("any more", "all ways", "after noon", "some one").
APART = (
    BARE_FILLERS | PARTICLES | WIDENING | ENGLISH.negations
    | frozenset("any some every each after before over under with here there where".split())
) - {"every"}  # fmt: skip
#: Words whose "ie" is no plural's "y": "movies" is of "movie", but "parties" of "party".
_IN_IE = frozenset("movie cookie calorie selfie zombie smoothie brownie hoodie genie prairie".split())
#: Letters of the shortest plural in "ies" of a word in "y".
SHORTEST_IES = 6
_TENS = frozenset("twenty thirty forty fifty sixty seventy eighty ninety".split())
_LAST_OF_TENS = frozenset("first second third fourth fifth sixth seventh eighth ninth".split())
#: Words that sound like a number: of two, one may be the number.
_LIKE_NUMBERS = frozenset("to too for fore forth won ate oh o".split())


def same_words(one: Words, other: Words) -> bool:
    """Whether two runs are the same words as English may write them.

    "jon" / "john", "alarm" / "alarms", "rain coat" / "raincoat", "dentist s visit" / "dentist's visit".
    """
    if one == other:
        return True
    if not one or not other or spelling(one[0])[:1] != spelling(other[0])[:1]:
        return False
    mine, theirs = _glued(one), _glued(other)
    if len(mine) == len(theirs):
        return all(map(_spelled_alike, mine, theirs))
    if spelling("".join(mine)) != spelling("".join(theirs)):
        return False
    apart = {word for word in mine if word not in theirs} | {word for word in theirs if word not in mine}
    return all(len(word) >= SHORTEST_PART and word not in APART for word in apart)


def _glued(words: Words) -> Words:
    """Words without apostrophes, letters that end a word joined to it: "dentist s" -> "dentists"."""
    found: list[str] = []
    for word in words:
        if word in CLITICS and found:
            found[-1] += word
        else:
            found.append(word.replace("'", ""))
    return tuple(found)


def _spelled_alike(one: str, other: str) -> bool:
    return one == other or spelling(one) == spelling(other)


@lru_cache(maxsize=16_384)
def spelling(word: str) -> str:
    """A word without what English writes in several ways for one sound: "john" -> "jon", "mickeys" -> "miki"."""
    word = word.replace("'", "")
    if (word.endswith("ies") and len(word) >= SHORTEST_IES) or word in _IN_IE:
        word = word.removesuffix("s").removesuffix("ie") + "y"
    word = word.removesuffix("s").replace("ph", "f").replace("ck", "k").replace("z", "s")
    word = re.sub(r"(?<=[bt])re$", "er", word)
    word = re.sub(r"(?<=[a-z]{2})our", "or", word)
    word = re.sub(r"(?:ey|y)$", "i", word)
    word = re.sub(r"(?<=o)h(?=n)", "", word)
    word = re.sub(r"([lntm])\1$", r"\1", word)
    return re.sub(r"c(?![eiy])", "k", word)


def same_letters(one: Words, other: Words) -> bool:
    """Whether two runs are written in the same letters, but for plurals, apostrophes, joins and "-tre", "-our"."""
    return one == other or "".join(map(_plain, _glued(one))) == "".join(map(_plain, _glued(other)))


def _plain(word: str) -> str:
    word = re.sub(r"(?<=[bt])re$", "er", word.replace("'", "").removesuffix("s"))
    return re.sub(r"(?<=[a-z]{2})our", "or", word)


def without_stutter(said: Sequence[str], target: Sequence[str]) -> Words:
    """The words of what was said; one that is said twice in a row, and once in the target at that place, once.

    No number, as digits are said like that ("channel five five"), but "twenty twenty first"; and no negation.
    """
    found = tuple(said)
    if len(set(found)) == len(found):
        return found
    return tuple(
        word
        for place, word in enumerate(found)
        if not (place and word == found[place - 1] and _stutters(found, place) and _stands_once(found, place, target))
    )


def _stutters(said: Words, place: int) -> bool:
    word, after = said[place], said[place + 1] if place + 1 < len(said) else ""
    if says_number(word):
        return word in _TENS and after in _LAST_OF_TENS
    return len(word) > 1 and word not in ENGLISH.negations and word not in _LIKE_NUMBERS


def _stands_once(said: Words, place: int, target: Sequence[str]) -> bool:
    """Whether the target has the word after the same word as was said, and then goes on with what was said."""
    word, first = said[place], place - 1
    while first and said[first - 1] == word:
        first -= 1
    before, rest = said[first - 1] if first else "", (*said[place + 1 :], "")
    padded = ("", *target, "")
    places = [at for at, other in enumerate(padded) if other == word]
    if any(padded[at + 1] == word for at in places):
        return False
    return any(padded[at - 1] == before and padded[at + 1] in rest for at in places)


def joined_in(word: str, said: Words, target: Words) -> int:
    """How often a word was said that the target writes in one with the word beside it: "rain", in "raincoat"."""
    new = [other for other in target if other not in said]
    return sum(
        word in two and min(map(len, two)) >= SHORTEST_PART and any(same_words(two, (other,)) for other in new)
        for two in pairwise(said)
    )
