"""What was heard laid beside what is proposed: which words gave way to which, merges and splits allowed.

"play maj and dragons" / "play imagine dragons": "maj and" gave way to "imagine". Likeness is the greater of two: of the
letters and of the sounds (`dialogue.similarity.sound_key`), both as normalised indel similarity.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rapidfuzz.distance import Indel, Levenshtein

from dialogue.similarity import sound_key
from rewrite.guards import bare_content

Words = tuple[str, ...]
_Step = tuple[int, int, float]  # words gone, words that came, likeness

#: Words that one piece may hold on either side: what was heard splits and joins words, but not many at once.
WIDEST = 3
#: Longer changes are laid beside each other as one piece: they are no misheard word but another text.
LONGEST_CHANGE = 8
#: Least likeness of such a piece: any two long texts share a third of their letters in order.
LEAST_WHOLE = 0.6
#: What a recogniser writes for a word that it does not know ("<unk>").
UNHEARD = frozenset({"unk"})
#: Least likeness of a word that came into a value and the word in whose place it came.
LEAST_IN_VALUE = 0.5
_INFINITE, _NO_LESS = float("inf"), 1e-9
_similarity = Indel.normalized_similarity


class Piece(NamedTuple):
    """Words that gave way to words like them. `alike` is from 0 to 1; 0 where one side is empty."""

    gone: Words
    came: Words
    alike: float


class Change(NamedTuple):
    """One stretch in which two texts differ, in pieces; what is like nothing on the other side is left over.

    `before` and `after` are the words that both texts hold on either side of it, "" at an end.
    """

    pieces: tuple[Piece, ...]
    dropped: Words
    added: Words
    before: str = ""
    after: str = ""


def alike(gone: str, came: str) -> float:
    """How alike two phrases are, the better of letters and sounds, 0 to 1; where words end does not count."""
    sounds = Indel.normalized_similarity(sound_key(gone), sound_key(came))
    return max(sounds, Indel.normalized_similarity(gone.replace(" ", ""), came.replace(" ", "")))


def alike_ends(one: Sequence[str], other: Sequence[str]) -> tuple[int, int]:
    """How many words two texts begin with alike, and how many of the others they end with alike."""
    least = min(len(one), len(other))
    first = last = 0
    while first < least and one[first] == other[first]:
        first += 1
    least -= first
    while last < least and one[-1 - last] == other[-1 - last]:
        last += 1
    return first, last


def changes(source: Sequence[str], target: Sequence[str], floor: float) -> list[Change]:
    """The stretches in which two texts differ, each cut so that the least is left over at a likeness of `floor`."""
    found: list[Change] = []
    for start, end, begin, last in _differing(source, target):
        cut = _cut(tuple(source[start:end]), tuple(target[begin:last]), floor)
        before = source[start - 1] if start else ""
        after = source[end] if end < len(source) else ""
        found.append(Change(*cut[:3], before, after))
    return found


def _differing(source: Sequence[str], target: Sequence[str]) -> list[tuple[int, int, int, int]]:
    """The (source from, to, target from, to) of each stretch in which two texts differ."""
    found: list[tuple[int, int, int, int]] = []
    for step in Levenshtein.opcodes(source, target):
        if step.tag == "equal":
            continue
        if found and found[-1][1] == step.src_start and found[-1][3] == step.dest_start:
            found[-1] = (found[-1][0], step.src_end, found[-1][2], step.dest_end)
        else:
            found.append((step.src_start, step.src_end, step.dest_start, step.dest_end))
    return found


def _cut(gone: Words, came: Words, floor: float) -> Change:
    """The cheapest cut of one change: by dynamic programming over how many words of each side are dealt with."""
    if not gone or not came:
        return Change((), gone, came)
    if len(gone) == len(came) == 1 or max(len(gone), len(came)) > LONGEST_CHANGE:
        likeness = alike(" ".join(gone), " ".join(came))
        least = floor if len(gone) == len(came) == 1 else max(floor, LEAST_WHOLE)
        return Change((Piece(gone, came, likeness),), (), ()) if likeness >= least else Change((), gone, came)
    return _walked(gone, came, _cheapest(_phrases(gone), _phrases(came), floor))


Phrase = tuple[int, str, str, int]  # words, letters, sounds, how many letters


def _phrases(words: Words) -> list[list[Phrase]]:
    """The phrases of up to WIDEST words that begin at each place, the shortest first."""
    sounds = [sound_key(word) for word in words]
    found: list[list[Phrase]] = []
    for i in range(len(words)):
        letters = sound = ""
        here: list[Phrase] = []
        for end in range(i, min(i + WIDEST, len(words))):
            letters, sound = letters + words[end], sound + sounds[end]
            here.append((end - i + 1, letters, sound, len(letters)))
        found.append(here)
    return found


def _cheapest(mine: list[list[Phrase]], theirs: list[list[Phrase]], floor: float) -> list[list[_Step]]:
    """The last piece of the cheapest cut of each two beginnings."""
    many, most = len(mine), len(theirs)
    costs = [[_INFINITE] * (most + 1) for _ in range(many + 1)]
    steps: list[list[_Step]] = [[(0, 0, 0.0)] * (most + 1) for _ in range(many + 1)]
    costs[0][0] = 0.0
    for i in range(many + 1):
        for j in range(most + 1):
            so_far = costs[i][j]
            if i < many and j < most:
                for taken, one, sound, letters in mine[i]:
                    for given, other, other_sound, other_letters in theirs[j]:
                        if taken + given > WIDEST + 1:
                            break
                        likeness = _similarity(one, other)
                        if likeness < 1.0 and (heard := _similarity(sound, other_sound)) > likeness:
                            likeness = heard
                        if likeness >= floor:
                            cost = so_far + (letters + other_letters) * (1.0 - likeness)
                            if cost < costs[i + taken][j + given] - _NO_LESS:
                                costs[i + taken][j + given] = cost
                                steps[i + taken][j + given] = (taken, given, likeness)
            if i < many and (cost := so_far + mine[i][0][3]) < costs[i + 1][j] - _NO_LESS:
                costs[i + 1][j], steps[i + 1][j] = cost, (1, 0, 0.0)
            if j < most and (cost := so_far + theirs[j][0][3]) < costs[i][j + 1] - _NO_LESS:
                costs[i][j + 1], steps[i][j + 1] = cost, (0, 1, 0.0)
    return steps


def _walked(gone: Words, came: Words, steps: list[list[_Step]]) -> Change:
    pieces: list[Piece] = []
    dropped: list[str] = []
    added: list[str] = []
    i, j = len(gone), len(came)
    while i or j:
        taken, given, likeness = steps[i][j]
        i, j = i - taken, j - given
        if taken and given:
            pieces.append(Piece(gone[i : i + taken], came[j : j + given], likeness))
        elif taken:
            dropped.append(gone[i])
        else:
            added.append(came[j])
    return Change(tuple(reversed(pieces)), tuple(reversed(dropped)), tuple(reversed(added)))


def put_on(gone: Words, came: Words) -> frozenset[str]:
    """The words that came where two texts differ, and took the place of no word like them.

    A filler is no word whose place another takes; any word may stand where the recogniser heard one it does not know.
    Both sides as spelled (`rewrite.same_words.spelling`), so that "number" is no more than "numbers".
    """
    found: set[str] = set()
    for change in changes(gone, came, LEAST_IN_VALUE):
        if UNHEARD.isdisjoint(change.dropped):
            found.update(change.added)
        for piece in change.pieces:
            if bare_content(piece.came) and not bare_content(piece.gone):
                found.update(piece.came)
            elif len(piece.came) > 1:
                found.update(_idle(piece))
    return frozenset(found)


def _idle(piece: Piece) -> Words:
    """The words at an edge of what came without which the piece is no less alike: "raincoat", "evening rain coat"."""
    gone, came = " ".join(piece.gone), piece.came
    without = ((came[:1], came[1:]), (came[-1:], came[:-1]))
    return tuple(word for edge, rest in without if alike(gone, " ".join(rest)) >= piece.alike for word in edge)
