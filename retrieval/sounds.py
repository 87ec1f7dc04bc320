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
        found = [piece for word in words for piece in _letters(word)]
        sounds = f"<{''.join(map(sound_of, words))}>"
        if len(sounds) > 2:
            for length in range(self.shortest, self.longest + 1):
                found += _runs(sounds, length, _SOUND)
        buckets = self.buckets
        return [piece % buckets for piece in found]


#: What the hash of a run of sounds begins with, so that letters are told from sounds: that of one zero byte.
_SOUND = crc32(b"\0")


def _runs(text: str, length: int, begun: int = 0) -> list[int]:
    """The hash of every run of so many characters; `begun` is what it goes on from.

    Worked out anew for each text: a table of so many runs is read more slowly than these are made.
    """
    raw = text.encode("utf-8", "surrogatepass")
    starts = range(len(text) - length + 1)
    if len(raw) == len(text):
        return [crc32(raw[at : at + length], begun) for at in starts]
    return [crc32(text[at : at + length].encode("utf-8", "surrogatepass"), begun) for at in starts]


@lru_cache(CACHED_WORDS)
def _letters(word: str) -> list[int]:
    return _runs(f" {word} ", 3)


@lru_cache(CACHED_WORDS)
def sound_of(word: str) -> str:
    """The Metaphone code of a word; the word itself where it has none."""
    from jellyfish import metaphone  # a compiled module; loaded when a sound is first asked for

    return metaphone(word).replace(" ", "") or word


def sounds_of(words: Sequence[str]) -> str:
    """The codes of some words, one after the other."""
    return "".join(map(sound_of, words))
