"""How usual a run of words is among requests that work: a bigram model in a hashed table.

A request that was misheard often holds words that hardly ever stand side by side. Probabilities of a word after
another are smoothed towards the word's own (Witten-Bell smoothing with a fixed number of types; Chen & Goodman, "An
Empirical Study of Smoothing Techniques", 1999, section 2.4). Counts live in hashed tables of fixed size, mapped from
disk; a collision makes a word look a little more usual than it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from retrieval.folder import Folder, write_folder

KIND = "fluency"
#: Places of words and of pairs of words, powers of two; counts end at MOST.
WORDS, PAIRS, MOST = 1 << 17, 1 << 20, 65_535
#: As how many further words the word's own probability counts.
STRENGTH = 2.0
START, END = "<", ">"

Counts = NDArray[np.uint16]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Fluency:
    """words [WORDS] uint16, pairs [PAIRS] uint16: how often each was seen; `total`: words in all."""

    words: Counts
    pairs: Counts
    total: int

    @classmethod
    def fit(cls, texts: Iterable[str]) -> Fluency:
        """Counts the words of canonical texts, read once."""
        words, pairs, total = np.zeros(WORDS, np.int64), np.zeros(PAIRS, np.int64), 0
        for text in texts:
            run = [START, *text.split(), END]
            np.add.at(words, [_word(word) for word in run], 1)
            np.add.at(pairs, [_pair(*both) for both in pairwise(run)], 1)
            total += len(run)
        return cls(np.minimum(words, MOST).astype(np.uint16), np.minimum(pairs, MOST).astype(np.uint16), total)

    @classmethod
    def load(cls, folder: Path) -> Fluency:
        """Maps saved counts. Raises FolderError."""
        saved = Folder(folder, KIND)
        words, pairs = saved.array("words", np.uint16), saved.array("pairs", np.uint16)
        saved.require(len(words) == WORDS and len(pairs) == PAIRS, "the tables have other sizes than this program's")
        total = saved.fact("total")
        saved.require(isinstance(total, int) and total >= 0, f"{total!r} words in all")
        return cls(words, pairs, total)

    def save(self, folder: Path) -> None:
        """Writes the counts into `folder`."""
        write_folder(folder, KIND, {"words": self.words, "pairs": self.pairs}, {"total": self.total})

    def __call__(self, words: Sequence[str]) -> tuple[float, float]:
        """(the least, the mean) natural log-probability of a word given the one before, the ends included."""
        run = [START, *words, END]
        found, before = [], int(self.words[_word(START)])
        for one, other in pairwise(run):
            count = int(self.words[_word(other)])
            own = (count + 0.5) / (self.total + 1.0)
            both = min(int(self.pairs[_pair(one, other)]), before)
            found.append(math.log((both + STRENGTH * own) / (before + STRENGTH)))
            before = count
        return min(found), math.fsum(found) / len(found)


def _word(word: str) -> int:
    return crc32(word.encode("utf-8", "surrogatepass")) & (WORDS - 1)


def _pair(one: str, other: str) -> int:
    return crc32(f"{one} {other}".encode("utf-8", "surrogatepass")) & (PAIRS - 1)
