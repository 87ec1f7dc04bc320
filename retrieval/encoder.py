"""From text to vector: the role, and its first rung, which needs no model.

`NgramEncoder` sees a text as the runs of three characters inside its words, each weighed by how few texts
have it (tf-idf; Sparck Jones, "A statistical interpretation of term specificity", 1972). A misheard word
keeps most of its runs, so "play maj and dragons" stays near "play imagine dragons".
"""

import math
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Generic
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import InputError
from retrieval.folder import Folder, write_folder
from retrieval.vectors import Float32s, Int64s, Query, SparseRows, SparseVector, VectorRows, ragged, starts_of

KIND = "ngram encoder"
BLOCK = 1 << 15  # texts counted at a time
CACHED_WORDS = 1 << 16  # the words that make up nearly all requests
CACHED_LENGTH = 40  # a longer word is not worth keeping


class Encoder(ABC, Generic[Query]):
    """The role: canonical texts to unit vectors whose dot product is their likeness."""

    __slots__ = ()

    @abstractmethod
    def encode(self, texts: Iterable[str]) -> VectorRows[Query]:
        """One row a text, in order; for building tables."""

    @abstractmethod
    def encode_one(self, text: str) -> Query:
        """The same vector for one text, up to rounding; for serving."""


@dataclass(frozen=True, slots=True)
class NgramShape:
    """Which pieces of a word count.

    They are every run of `shortest` to `longest` characters of the word with a blank at each end, and the
    word whole if it has up to `whole` characters, as "on" and "off" must not drown.

    Pieces are hashed into `buckets` places by CRC-32, the same on every machine.
    """

    shortest: int = 3
    longest: int = 3
    whole: int = 4
    buckets: int = 1 << 18

    def __post_init__(self) -> None:
        if not (1 <= self.shortest <= self.longest and self.whole >= 0 and 1 <= self.buckets <= 2**31):
            raise InputError(f"{self}: wanted 1 <= shortest <= longest, whole >= 0, 1 <= buckets <= 2**31")

    def pieces(self, word: str) -> list[str]:
        """The pieces of a word, a repeated one repeated.

        >>> NgramShape().pieces("play"), NgramShape().pieces("a")
        ([' pl', 'pla', 'lay', 'ay ', ' play '], [' a '])
        """
        marked = f" {word} "
        lengths = range(self.shortest, self.longest + 1)
        pieces = [marked[at : at + n] for n in lengths for at in range(len(marked) - n + 1)]
        if not pieces or (len(word) <= self.whole and len(marked) > self.longest):
            pieces.append(marked)
        return pieces

    def places(self, word: str) -> list[int]:
        """The place of each piece, in 0..buckets-1."""
        return [crc32(piece.encode("utf-8", "surrogatepass")) % self.buckets for piece in self.pieces(word)]


DEFAULT_SHAPE = NgramShape()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class NgramEncoder(Encoder[SparseVector]):
    """Character n-grams inside words, weighed by tf-idf, in rows of length 1.

    idf  [buckets] float32: ln((1 + texts) / (1 + texts with it)) + 1, so a run never seen weighs most
    """

    idf: Float32s
    shape: NgramShape = DEFAULT_SHAPE
    _places: dict[str, list[int]] = field(init=False, default_factory=dict)

    @classmethod
    def fit(cls, texts: Iterable[str], shape: NgramShape = DEFAULT_SHAPE) -> "NgramEncoder":
        """Learn the weights from texts, read once in blocks."""
        having, total = np.zeros(shape.buckets, np.int64), 0
        for block in _blocks(texts):
            _, places, _ = _count(block, shape)
            having += np.bincount(places, minlength=shape.buckets)
            total += len(block)
        return cls((np.log((1 + total) / (1 + having)) + 1).astype(np.float32), shape)

    @classmethod
    def load(cls, folder: Path) -> "NgramEncoder":
        """Map a saved encoder. Raises FolderError."""
        saved = Folder(folder, KIND)
        shape = NgramShape(*(int(saved.fact(name)) for name in ("shortest", "longest", "whole", "buckets")))
        idf = saved.array("idf", np.float32)
        saved.require(len(idf) == shape.buckets, f"{len(idf)} weights for {shape.buckets} buckets")
        return cls(idf, shape)

    def save(self, folder: Path) -> None:
        """Write the encoder into `folder`."""
        facts = {name: getattr(self.shape, name) for name in ("shortest", "longest", "whole", "buckets")}
        write_folder(folder, KIND, {"idf": self.idf}, facts)

    def encode(self, texts: Iterable[str]) -> SparseRows:
        """One row a text, in order; a text without words is a row without terms."""
        return SparseRows.concatenate(map(self._encode_block, _blocks(texts)), self.shape.buckets)

    def encode_one(self, text: str) -> SparseVector:
        """The vector of one text, in some 10 microseconds for 30 characters once its words were seen."""
        counts: dict[int, int] = {}
        for word in text.split():
            for place in self._places.get(word) or self._learn(word):
                counts[place] = counts.get(place, 0) + 1
        if not counts:
            return SparseVector(np.empty(0, np.int32), np.empty(0, np.float32))
        indices = np.array(sorted(counts), np.int32)
        weights = self.idf[indices].astype(np.float64)
        if len(counts) < sum(counts.values()):
            weights *= [counts[place] for place in indices.tolist()]
        weights /= math.sqrt(weights.dot(weights))
        return SparseVector(indices, weights.astype(np.float32))

    def _learn(self, word: str) -> list[int]:
        places = self.shape.places(word)
        if len(self._places) < CACHED_WORDS and len(word) <= CACHED_LENGTH:
            self._places[word] = places
        return places

    def _encode_block(self, texts: list[str]) -> SparseRows:
        owner, places, counts = _count(texts, self.shape)
        weights = counts * self.idf[places].astype(np.float64)
        norms = np.sqrt(np.bincount(owner, weights * weights, minlength=len(texts)))
        starts = starts_of(np.bincount(owner, minlength=len(texts)))
        values = (weights / norms[owner]).astype(np.float32)
        return SparseRows(starts, places.astype(np.int32), values, self.shape.buckets)


def _blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    stream = iter(texts)
    return iter(lambda: list(islice(stream, BLOCK)), [])


def _count(texts: list[str], shape: NgramShape) -> tuple[Int64s, Int64s, NDArray[np.int64]]:
    """Which text has which place how often: three [terms] int64 arrays, by text and then by place.

    Requests share their words, so each distinct word is cut and hashed once and the rest is array arithmetic.
    """
    words: dict[str, int] = {}
    said, lengths = array("q"), array("q")  # word numbers of all texts, words in each text
    for text in texts:
        numbers = [words.setdefault(word, len(words)) for word in text.split()]
        said.extend(numbers)
        lengths.append(len(numbers))
    of_words = [shape.places(word) for word in words]
    starts = starts_of(np.array([len(places) for places in of_words], np.int64))
    flat = np.fromiter((place for places in of_words for place in places), np.int64, int(starts[-1]))
    spoken = np.array(said, np.int64)
    sizes = np.diff(starts)[spoken]  # [words said] int64: pieces in each
    owner = np.repeat(np.repeat(np.arange(len(texts)), np.array(lengths, np.int64)), sizes)
    pairs, counts = np.unique(owner * shape.buckets + flat[ragged(starts[spoken], sizes)], return_counts=True)
    return pairs // shape.buckets, pairs % shape.buckets, counts
