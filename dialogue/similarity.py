"""How alike two requests are, in letters, words and sound. Pairs are parallel lists of canonical texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz, process
from rapidfuzz.distance import Indel

#: Longer texts are compared by their beginning only: edit distance is quadratic, and no request is longer.
COMPARED_CHARACTERS = 300

Shares = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Likeness:
    """The four similarities of some pairs, each 0 to 1 [pairs] float32."""

    letters: Shares
    words: Shares
    shared_words: Shares
    sound: Shares


def letters(left: Sequence[str], right: Sequence[str]) -> Shares:
    """Normalised indel similarity of each pair, 0 to 1 [pairs] float32: 2 * LCS / (|a| + |b|)."""
    return _pairwise(left, right, Indel.normalized_similarity, 1.0)


def words(left: Sequence[str], right: Sequence[str]) -> Shares:
    """Similarity of each pair with words in sorted order, 0 to 1 [pairs] float32."""
    return _pairwise(left, right, fuzz.token_sort_ratio, 0.01)


def shared_words(left: Sequence[str], right: Sequence[str]) -> Shares:
    """Jaccard similarity of each pair's sets of words, 0 to 1 [pairs] float32."""
    pairs = zip(map(_word_set, left), map(_word_set, right), strict=True)
    return np.array([len(a & b) / max(len(a | b), 1) for a, b in pairs], np.float32)


def sound(left: Sequence[str], right: Sequence[str]) -> Shares:
    """Normalised indel similarity of each pair's sound keys, 0 to 1 [pairs] float32."""
    return _pairwise(
        list(map(sound_key, left)), list(map(sound_key, right)), Indel.normalized_similarity, 1.0
    )


def differing_sound(left: Sequence[str], right: Sequence[str]) -> Shares:
    """Sound similarity of the words that only one text of each pair has, 0 to 1 [pairs] float32.

    0 where one text has no words of its own: words were added or left out, and nothing was misheard for them.
    """
    own = [
        _own_words(a[:COMPARED_CHARACTERS], b[:COMPARED_CHARACTERS]) for a, b in zip(left, right, strict=True)
    ]
    alike = sound([a for a, _ in own], [b for _, b in own])
    return np.where([bool(a and b) for a, b in own], alike, np.float32(0)).astype(np.float32)


def _own_words(left: str, right: str) -> tuple[str, str]:
    shared = set(left.split()) & set(right.split())
    first, second = ([word for word in text.split() if word not in shared] for text in (left, right))
    return " ".join(first), " ".join(second)


def sound_key(text: str) -> str:
    """The Metaphone codes of the words of a text (Philips 1990), one after the other without spaces.

    Without spaces because a misheard request often differs in where its words end ("imagine" / "a mad gin").
    Words outside the Latin alphabet stand for themselves.
    """
    return "".join(map(word_sound, text[:COMPARED_CHARACTERS].split()))


def distinct_letters(texts: Sequence[str], left: Rows, right: Rows) -> Shares:
    """`letters` of pairs given as rows of `texts`, each distinct pair compared once [pairs] float32."""
    a, b, place = distinct_pairs(left, right, len(texts))
    return letters([texts[row] for row in a], [texts[row] for row in b])[place]


def compare(texts: Sequence[str], left: Rows, right: Rows) -> Likeness:
    """All four similarities of pairs given as rows of `texts`; no text or pair is worked on twice."""
    a, b, place = distinct_pairs(left, right, len(texts))
    used, rows = np.unique(np.concatenate([a, b]), return_inverse=True)
    cut = [texts[row][:COMPARED_CHARACTERS] for row in used]
    first, second = rows[: len(a)].tolist(), rows[len(a) :].tolist()
    keys, sets = list(map(sound_key, cut)), list(map(_word_set, cut))
    one, other = [cut[row] for row in first], [cut[row] for row in second]
    overlap = [
        len(sets[x] & sets[y]) / max(len(sets[x] | sets[y]), 1) for x, y in zip(first, second, strict=True)
    ]
    heard = [keys[row] for row in first], [keys[row] for row in second]
    return Likeness(
        letters(one, other)[place],
        words(one, other)[place],
        np.array(overlap, np.float32)[place],
        _pairwise(*heard, Indel.normalized_similarity, 1.0)[place],
    )


def distinct_pairs(left: Rows, right: Rows, texts: int) -> tuple[list[int], list[int], Rows]:
    """The distinct pairs of rows of `texts` [distinct] each, and the place of every given pair among them [pairs]."""
    pairs, place = np.unique(left * texts + right, return_inverse=True)
    return (pairs // max(texts, 1)).tolist(), (pairs % max(texts, 1)).tolist(), place


def _word_set(text: str) -> frozenset[str]:
    return frozenset(text[:COMPARED_CHARACTERS].split())


@lru_cache(maxsize=200_000)
def word_sound(word: str) -> str:
    """The Metaphone code of one word; the word itself where it has none."""
    from jellyfish import metaphone  # a compiled module; loaded when a sound is first asked for

    return metaphone(word).replace(" ", "") or word


def _pairwise(left: Sequence[str], right: Sequence[str], scorer: object, scale: float) -> Shares:
    if len(left) == 0:
        return np.zeros(0, np.float32)
    a = [text[:COMPARED_CHARACTERS] for text in left]
    b = [text[:COMPARED_CHARACTERS] for text in right]
    scores = process.cpdist(a, b, scorer=scorer, dtype=np.float32, workers=1)  # type: ignore[arg-type]
    return np.asarray(scores, np.float32) * np.float32(scale)
