"""The sound channel: a request as the runs of its sounds and letters, since most errors are misheard words.

Sounds are the Metaphone codes of the words (Philips, "Hanging on the Metaphone", 1990), one after the other without
spaces, as a misheard request often differs in where its words end: "maj and" and "imagine" share MJN. Letters are runs
of three inside each word. Each piece is hashed into a bucket; what a bucket weighs is learned
(`retrieval.dual_encoder`), as in fastText (Bojanowski et al., "Enriching Word Vectors with Subword Information", TACL
2017, section 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

from retrieval.errors import InputError

#: Words that make up nearly all requests, and characters of a request that count.
CACHED_WORDS, LONGEST = 1 << 16, 300


@dataclass(frozen=True, slots=True)
class SoundShape:
    """Which runs of a request's sounds count, and into how many buckets the pieces go."""

    shortest: int = 2
    longest: int = 4
    buckets: int = 1 << 15

    def __post_init__(self) -> None:
        if not (1 <= self.shortest <= self.longest and 1 <= self.buckets <= 2**31):
            raise InputError(f"{self} came; 1 <= shortest <= longest and 1 <= buckets <= 2**31 are wanted")

    def pieces(self, text: str) -> list[int]:
        """The bucket of every piece of a canonical text, a repeated piece repeated; none for an empty text."""
        words = text[:LONGEST].split()
        found = [place % self.buckets for word in words for place in _letters(word)]
        sounds = f"<{''.join(map(sound_of, words))}>"
        if len(sounds) == 2:
            return found
        lengths = range(self.shortest, self.longest + 1)
        runs = [sounds[at : at + n] for n in lengths for at in range(len(sounds) - n + 1)]
        return found + [_hashed(run) % self.buckets for run in runs]


@lru_cache(CACHED_WORDS)
def sound_of(word: str) -> str:
    """The Metaphone code of a word; the word itself where it has none."""
    from jellyfish import metaphone  # a compiled module; loaded when a sound is first asked for

    return metaphone(word).replace(" ", "") or word


def sounds_of(words: Sequence[str]) -> str:
    """The codes of some words, one after the other."""
    return "".join(map(sound_of, words))


@lru_cache(CACHED_WORDS)
def _letters(word: str) -> tuple[int, ...]:
    marked = f" {word} "
    return tuple(crc32(marked[at : at + 3].encode("utf-8", "surrogatepass")) for at in range(max(len(marked) - 2, 1)))


@lru_cache(CACHED_WORDS)
def _hashed(run: str) -> int:
    return crc32(b"\0" + run.encode("utf-8", "surrogatepass"))
