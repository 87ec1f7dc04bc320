"""What was heard laid beside what is proposed: which words gave way to which, merges and splits allowed.

"play maj and dragons" / "play imagine dragons": "maj and" gave way to "imagine". Likeness is the greater of two: of the
letters and of the sounds (`dialogue.similarity.sound_key`), both as normalised indel similarity.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rapidfuzz.distance import Indel, Levenshtein

from dialogue.similarity import sound_key

Words = tuple[str, ...]

#: Words that one piece may hold on either side: what was heard splits and joins words, but not many at once.
WIDEST = 3
#: Longer changes are laid beside each other as one piece: they are no misheard word but another text.
LONGEST_CHANGE = 8
#: Least likeness of such a piece: any two long texts share a third of their letters in order.
LEAST_WHOLE = 0.6


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


def changes(source: Sequence[str], target: Sequence[str], floor: float) -> list[Change]:
    """The stretches in which two texts differ, each cut so that the least is left over at a likeness of `floor`."""
    found: list[Change] = []
    steps = [step for step in Levenshtein.opcodes(source, target) if step.tag != "equal"]
    for place, step in enumerate(steps):
        if place and steps[place - 1].src_end == step.src_start and steps[place - 1].dest_end == step.dest_start:
            continue  # goes on the step before
        last = place
        while (
            last + 1 < len(steps)
            and steps[last].src_end == steps[last + 1].src_start
            and steps[last].dest_end == steps[last + 1].dest_start
        ):
            last += 1
        end = steps[last]
        cut = _cut(
            tuple(source[step.src_start : end.src_end]), tuple(target[step.dest_start : end.dest_end]), floor
        )
        before = source[step.src_start - 1] if step.src_start else ""
        after = source[end.src_end] if end.src_end < len(source) else ""
        found.append(cut._replace(before=before, after=after))
    return found


def _cut(gone: Words, came: Words, floor: float) -> Change:
    """The cheapest cut of one change: by dynamic programming over how many words of each side are dealt with."""
    if not gone or not came:
        return Change((), gone, came)
    if len(gone) == len(came) == 1 or max(len(gone), len(came)) > LONGEST_CHANGE:
        likeness = alike(" ".join(gone), " ".join(came))
        least = floor if len(gone) == len(came) == 1 else max(floor, LEAST_WHOLE)
        return Change((Piece(gone, came, likeness),), (), ()) if likeness >= least else Change((), gone, came)
    mine, theirs = _phrases(gone), _phrases(came)
    costs = [[float("inf")] * (len(came) + 1) for _ in range(len(gone) + 1)]
    steps: list[list[tuple[int, int, float]]] = [[(0, 0, 0.0)] * (len(came) + 1) for _ in range(len(gone) + 1)]
    costs[0][0] = 0.0
    for i in range(len(gone) + 1):
        for j in range(len(came) + 1):
            for taken, given, likeness, cost in _steps(mine, theirs, i, j, floor):
                if costs[i][j] + cost < costs[i + taken][j + given] - 1e-9:
                    costs[i + taken][j + given] = costs[i][j] + cost
                    steps[i + taken][j + given] = (taken, given, likeness)
    return _walked(gone, came, steps)


def _phrases(words: Words) -> list[list[tuple[str, str]]]:
    """(letters, sounds) of the phrases of up to WIDEST words that begin at each place, the shortest first."""
    sounds = [sound_key(word) for word in words]
    return [
        [("".join(words[i:end]), "".join(sounds[i:end])) for end in range(i + 1, min(i + WIDEST, len(words)) + 1)]
        for i in range(len(words))
    ]


def _steps(
    mine: list[list[tuple[str, str]]], theirs: list[list[tuple[str, str]]], i: int, j: int, floor: float
) -> list[tuple[int, int, float, float]]:
    """(words gone, words that came, likeness, cost) of each piece that may begin at a place, the smallest first."""
    found: list[tuple[int, int, float, float]] = []
    if i < len(mine) and j < len(theirs):
        for taken, (one, sound) in enumerate(mine[i], 1):
            for given, (other, other_sound) in enumerate(theirs[j][: WIDEST + 1 - taken], 1):
                likeness = max(
                    Indel.normalized_similarity(one, other), Indel.normalized_similarity(sound, other_sound)
                )
                if likeness >= floor:
                    found.append((taken, given, likeness, (len(one) + len(other)) * (1.0 - likeness)))
    if i < len(mine):
        found.append((1, 0, 0.0, float(len(mine[i][0][0]))))
    if j < len(theirs):
        found.append((0, 1, 0.0, float(len(theirs[j][0][0]))))
    return found


def _walked(gone: Words, came: Words, steps: list[list[tuple[int, int, float]]]) -> Change:
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
