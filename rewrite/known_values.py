"""Whether a rewrite puts one known value in the place of another: "play thriller" -> "play killer".

Which words are a name no rule can tell, but working requests can: where the candidate has a value in a slot, and the
request says another one that working requests have in the same slot, the user said a value, and said it clearly. A
misheard value is hardly ever a known value of the very same slot.

A value that was said is given up where the target does not say it any more, or says it but fills its slot with words
that nobody said: "play taylor" -> "play taylor swift". It is not given up where such words took the place of words like
them ("food card" -> "food court"), nor where it is only spelled, joined or split otherwise ("rain coat" -> "raincoat"),
unless both are known and spelled as two names are ("jon" -> "john").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

from rewrite.alignment import Words, alike_ends, put_on
from rewrite.guards import bare_content
from rewrite.same_words import joined_in, same_letters, same_words, spelling, without_stutter

#: Words of the longest value that is looked for.
LONGEST_VALUE = 8
Known = Callable[[str, str], bool]


def exchanges_value(
    said: Sequence[str], slots: Sequence[tuple[str, str]], known: Known, target: Sequence[str] | None = None
) -> bool:
    """Whether the words `said` hold a value that is known in a slot of the target, which has another there.

    `slots` are those of the target, several values joined with ";"; `known(slot, value)` says what working requests
    have; `target` are the words of the target. Without them it is taken to say its values and nothing else, so that
    more is refused. A longer or a shorter value is another one ("taylor", "taylor swift"), another spelling is not.
    """
    if not slots:
        return False
    every = [(slot, _values(joined)) for slot, joined in slots]
    meant = tuple(target) if target is not None else _said_alone(every)
    heard, stutters = tuple(said), without_stutter(said, meant)
    if len(stutters) < len(heard) and not _names_twice(heard, every, known):
        heard = stutters
    if heard == meant:
        return False
    pair = _Pair(heard, meant, aligned=target is not None)
    return any(_loses(pair, slot, values, known) or _fills(pair, slot, values, known) for slot, values in every)


def cuts_value(said: Sequence[str], mine: Sequence[tuple[str, str]], theirs: Sequence[tuple[str, str]]) -> bool:
    """Whether a value that NLU read in what was said is a shorter one in the target: "us election", "elections".

    `mine` are the slots of the request, `theirs` those of the target. A word that was said twice in a row, or that says
    nothing, may go.
    """
    whole, meant = f" {' '.join(said)} ", dict(theirs)
    for slot, joined in mine:
        if meant.get(slot, joined) != joined:
            others = _values(meant[slot])
            for value in _values(joined):
                if f" {' '.join(value)} " in whole and any(_cut(value, other) for other in others):
                    return True
    return False


def _cut(value: Words, other: Words) -> bool:
    """Whether the other is the value without words that say something."""
    mine, theirs = ({spelling(word) for word in bare_content(words)} for words in (value, other))
    return bool(theirs) and theirs < mine


class _Pair:
    """The words of two texts, and where they differ: between what both begin and what both end with.

    said, meant  the words
    keys, theirs the same as they are spelled, padded and joined by spaces
    first, end   from where to where what was said differs
    gone, came   the words there
    new          those of them that came and are said more often
    said_twice   whether several words that were said twice in a row stand once: which were meant nobody knows
    touched      the runs that may be given up: they reach into what differs, and the target does not plainly say them
    """

    __slots__ = (
        "_put_on", "aligned", "came", "end", "first", "gone", "keys", "meant", "new", "said", "said_twice", "theirs",
        "touched",
    )  # fmt: skip

    def __init__(self, said: Words, meant: Words, *, aligned: bool) -> None:
        self.said, self.meant, self.aligned = said, meant, aligned
        first, last = alike_ends(said, meant)
        self.first, self.end = first, len(said) - last
        self.gone, self.came = said[first : self.end], meant[first : len(meant) - last]
        count = len(self.gone)
        self.said_twice = not self.came and count > 1 and said[max(first - count, 0) : first] == self.gone
        mine, theirs = [spelling(word) for word in said], [spelling(word) for word in meant]
        self.keys, self.theirs = _padded(mine), _padded(theirs)
        self.new = _new(mine[first : self.end], theirs[first : len(meant) - last], self.came)
        self.touched = _touched(said, mine, first, self.end, "" if self.said_twice else f" {' '.join(meant)} ")
        self._put_on: frozenset[str] | None = None

    def put_on(self) -> frozenset[str]:
        """The new words that took no place of words like them."""
        if self._put_on is None:
            self._put_on = self._found_put_on() if self.aligned and self.new else self.new
        return self._put_on

    def _found_put_on(self) -> frozenset[str]:
        if not self.gone:
            return self.new
        found = put_on(tuple(map(spelling, self.gone)), tuple(map(spelling, self.came)))
        return frozenset(word for word in self.new if spelling(word) in found)


def _padded(words: Sequence[str]) -> str:
    """Words in one text, each between spaces of its own, so that one that follows itself is found twice."""
    return f" {'  '.join(words)} "


def _new(gone: list[str], spelled: Sequence[str], came: Words) -> frozenset[str]:
    """The words that came, without those that are gone as well but for their spelling."""
    found = []
    for word, key in zip(came, spelled, strict=True):
        if key in gone:
            gone.remove(key)
        else:
            found.append(word)
    return frozenset(found)


def _touched(said: Words, keys: Sequence[str], first: int, end: int, target: str) -> list[str]:
    """The runs of words that reach into what differs, without those that are said once and stand in the target."""
    found, count = [], len(said)
    for start in range(max(0, first + 1 - LONGEST_VALUE), max(end, first)):
        once = keys.count(keys[start]) == 1
        inside = " ".join(said[start:first]) + " " if start < first else ""
        padded = " " + inside
        for place in range(max(start, first), min(start + LONGEST_VALUE, count)):
            padded += said[place] + " "
            if not once or padded not in target:
                found.append(padded[1:-1])
    return found


def _loses(pair: _Pair, slot: str, values: Sequence[Words], known: Known) -> bool:
    """Whether a known value is not said any more, in whatever spelling, or not as often."""
    for run in pair.touched:
        if known(slot, run):
            words = tuple(run.split())
            if pair.said_twice or _respelled(pair, slot, words, known):
                return True
            spelled = _padded([spelling(word) for word in words])
            if 0 < pair.keys.count(spelled) <= pair.theirs.count(spelled):
                continue
            left = max(_times(words, pair.meant), sum(same_words(words, value) for value in values))
            often = _times(words, pair.said)
            if often > left and often > left + joined_in(run, pair.said, pair.meant):
                return True
    return False


def _respelled(pair: _Pair, slot: str, words: Words, known: Known) -> bool:
    """Whether the target has, in the place of a value, another known one that only sounds like it."""
    if f" {' '.join(words)} " in f" {' '.join(pair.meant)} ":
        return False
    count, most = len(words), len(pair.meant)
    return any(
        same_words(words, other) and not same_letters(words, other) and known(slot, " ".join(other))
        for first in range(most)
        for last in range(first + max(1, count - 1), min(first + count + 1, most) + 1)
        if (other := pair.meant[first:last])
    )


def _fills(pair: _Pair, slot: str, values: Sequence[Words], known: Known) -> bool:
    """Whether the slot is filled with words that nobody said, and a known value that was said is no value there."""
    if not pair.new or all(pair.new.isdisjoint(value) for value in values):
        return False
    extra = pair.put_on()
    if all(extra.isdisjoint(value) for value in values):
        return False
    spelled = [_padded([spelling(word) for word in value]) for value in values]
    kept = [key for key, value in zip(spelled, values, strict=True) if extra.isdisjoint(value) and key in pair.keys]
    for run in _runs(pair.said):
        if known(slot, run):
            words = tuple(run.split())
            key = _padded([spelling(word) for word in words])
            left = sum([value.count(key) for value in kept if value != key]) + spelled.count(key)
            if pair.keys.count(key) > left and not any(same_words(words, value) for value in values):
                return True
    return False


def _names_twice(said: Words, every: Sequence[tuple[str, tuple[Words, ...]]], known: Known) -> bool:
    """Whether a word that is said twice in a row is part of a known value: "duran duran"."""
    doubled = [f" {one} {other} " for one, other in pairwise(said) if one == other]
    return any(
        known(slot, run)
        for run in _runs(said)
        if any(each in f" {run} " for each in doubled)
        for slot, _ in every
    )


def _times(words: Words, text: Words) -> int:
    """At how many places a text says words, in whatever spelling."""
    count, most = len(words), len(text)
    return sum(
        any(
            same_words(words, text[first:last])
            for last in range(first + max(1, count - 2), min(first + count + 2, most) + 1)
        )
        for first in range(most)
    )


def _runs(words: Words) -> list[str]:
    """All runs of up to LONGEST_VALUE words."""
    found, count = [], len(words)
    for first in range(count):
        run = words[first]
        found.append(run)
        for last in range(first + 1, min(first + LONGEST_VALUE, count)):
            run = f"{run} {words[last]}"
            found.append(run)
    return found


def _said_alone(every: Sequence[tuple[str, tuple[Words, ...]]]) -> Words:
    """The words of all values, with an empty word that nobody says between two."""
    found: list[str] = []
    for _, values in every:
        for value in values:
            found += (*value, "")
    return tuple(found)


@lru_cache(maxsize=16_384)
def _values(joined: str) -> tuple[Words, ...]:
    """The values of a slot, each in words."""
    return tuple(tuple(words) for value in joined.split(";") if (words := value.split()))
