"""The arrays of the dense rung: what a trained retriever needs of a population, built by the mining job, mapped online.

    retriever/            in the bundle: the encoder, the reranker, and the thresholds (`rewrite.retriever`)
    index/dense/vectors   one vector for each row of texts, int8
    index/dense/global    the index over the rows that are known to work for everyone
    index/dense/fluency   how usual words are side by side among the requests known to work
    index/dense           of each row: who said it, how it is interpreted, and whether rewrites to it work

The personal layer is that of the sparse rung: rows, which are the same. A text that fewer than `min_users` said has a
vector, for the users whose own it is, and is in no index.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dialogue.canonical import Canonicaliser
from retrieval import DenseRows, GlobalLayer, KeyTable, PersonalLayer, dense_index
from retrieval.dense_index import EXACT_UP_TO
from retrieval.dual_encoder import DualEncoder
from retrieval.fluency import Fluency
from retrieval.folder import Folder, write_folder
from retrieval.misheard import Confusions
from rewrite.reranking import Interpretation
from rewrite.retriever import Retriever
from rewrite.serving import GOOD, ServingArrays

KIND = "dense arrays"
FOLDER, RETRIEVER = "dense", "retriever"
#: The rows whose words and interpretation are kept worked out, in each process.
CACHED_ROWS = 1 << 16
#: Misheard requests on which the recall of a large index is measured, and texts whose words may be heard in them.
PROBES, VOCABULARY_OF = 1_024, 20_000

Ints = NDArray[np.int32]
Shares = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DenseArrays:
    """What the dense rung answers from; rows are those of `ServingArrays.texts`.

    retriever        the trained models
    vectors          a vector for every row
    global_layer     over the rows that are known to work
    personal_layer   each user's own rows
    fluency          of the requests known to work
    users            [rows] int32: how many said it
    chain            [rows] float32: success that is expected of the best rewrite to it; NaN where there is none
    frame            [rows] int32: number of its interpretation in `frames`, or -1
    frames           key table of interpretations (`dialogue.table.interpretation_key`)
    values           key table of the values that slots have in requests known to work ("slot=value")
    words            key table of the words of requests known to work for everyone
    """

    retriever: Retriever
    vectors: DenseRows
    global_layer: GlobalLayer[NDArray[np.float32]]
    personal_layer: PersonalLayer[NDArray[np.float32]]
    fluency: Fluency
    users: Ints
    chain: Shares
    frame: Ints
    frames: KeyTable
    values: KeyTable
    words: KeyTable

    @classmethod
    def load(cls, bundle: Path) -> DenseArrays | None:
        """Maps the arrays of a bundle; None where it was learned without a retriever.

        Raises retrieval.FolderError or ModelError.
        """
        index = bundle / "index"
        if not (index / FOLDER).is_dir():
            return None
        return cls.open(index / FOLDER, index / "personal", Retriever.load(bundle / RETRIEVER))

    @classmethod
    def open(cls, folder: Path, personal: Path, retriever: Retriever) -> DenseArrays:
        """Maps the arrays in `folder`, and the personal layer in another, for a retriever that is open already.

        Raises retrieval.FolderError.
        """
        saved = Folder(folder, KIND)
        vectors = DenseRows.load(folder / "vectors")
        flat = {"users": np.int32, "chain": np.float32, "frame": np.int32}
        arrays: dict[str, Any] = {name: saved.array(name, kind) for name, kind in flat.items()}
        saved.require(all(len(each) == len(vectors) for each in arrays.values()), "arrays and vectors differ in length")
        width = retriever.encoder.dim
        saved.require(vectors.dim == width, f"vectors of {vectors.dim} dimensions, the encoder gives {width}")
        return cls(
            retriever=retriever,
            vectors=vectors,
            global_layer=GlobalLayer.load(folder / "global", vectors),
            personal_layer=PersonalLayer.load(personal, vectors),
            fluency=Fluency.load(folder / "fluency"),
            frames=KeyTable.load(folder / "frames"),
            values=KeyTable.load(folder / "values"),
            words=KeyTable.load(folder / "words"),
            **arrays,
        )

    def read(self, frame: int) -> Interpretation | None:
        """The interpretation of a number in `frame`; None for -1, where the log does not say."""
        return interpretation_of(self.frames.key(frame)) if frame >= 0 else None

    def frame_key(self, row: int) -> str | None:
        """The same as it was written down; None for no row, -1, as well."""
        number = int(self.frame[row]) if row >= 0 else -1
        return self.frames.key(number) if number >= 0 else None

    def knows_value(self, slot: str, value: str) -> bool:
        """Whether a request that is known to work has this value in this slot."""
        return self.values.get(f"{slot}={value}") >= 0


def build_dense(
    folder: Path,
    population: Population,
    frames: Mapping[str, str],
    retriever: Retriever,
    earlier: EarlierVectors | None = None,
    told: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Writes the arrays into `folder`, and says what the manifest should know.

    `frames` are interpretations by text; `earlier` vectors of an earlier bundle with the same encoder, which are taken
    over; `told` hears how many texts are encoded. The graph of more than 50,000 requests is built by all cores, and may
    then differ a little from one time to the next: its recall is measured either way.
    """
    texts, encoder = population.texts, retriever.encoder
    DenseRows.write(folder / "vectors", _blocks(encoder, texts, earlier, told), len(texts), encoder.dim)
    vectors = DenseRows.load(folder / "vectors")
    working = population.working
    queries = _misheard(encoder, working) if len(working) > EXACT_UP_TO else None
    index = dense_index(vectors, population.good, threads=os.cpu_count() or 1, queries=queries)
    GlobalLayer(index).save(folder / "global")
    Fluency.fit(working).save(folder / "fluency")
    known = sorted({frames[text] for text in texts if text in frames})
    KeyTable.build(known).save(folder / "frames")
    KeyTable.build(sorted(_values(frames[text] for text in working if text in frames))).save(folder / "values")
    KeyTable.build(sorted({word for text in working for word in text.split()})).save(folder / "words")
    place = {frame: number for number, frame in enumerate(known)}
    chain = np.full(len(texts), np.nan, np.float32)
    for row, success in population.targets.items():
        chain[row] = success
    arrays = {
        "users": population.users.astype(np.int32),
        "chain": chain,
        "frame": np.array([place.get(frames.get(text, ""), -1) for text in texts], np.int32),
    }
    write_folder(folder, KIND, arrays, {"texts": len(texts)})
    made_by = {"digest": retriever.digest, "encoder": retriever.encoder_digest, "dimensions": encoder.dim}
    return {**made_by, "index": dict(getattr(index, "facts", {}))}


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """The texts that an engine may need, one a row, as the dense rung is built from them.

    texts    canonical, in sorted order
    users    [rows] int: how many said each
    good     the rows known to work for everyone, ascending [good] int64
    targets  success that is expected of rewrites, by the row they lead to
    """

    texts: Sequence[str]
    users: NDArray[Any]
    good: NDArray[np.int64]
    targets: Mapping[int, float]

    @classmethod
    def over(cls, arrays: ServingArrays, users: NDArray[Any]) -> Population:
        """That of a bundle, with how many said each text."""
        targets = dict(zip(arrays.target.tolist(), arrays.score.tolist(), strict=True))
        texts = [arrays.texts.key(row) for row in range(len(arrays.texts))]
        return cls(texts, users, np.flatnonzero(arrays.status & GOOD).astype(np.int64), targets)

    @property
    def working(self) -> list[str]:
        """The texts known to work for everyone."""
        return [self.texts[row] for row in self.good.tolist()]


@dataclass(frozen=True, slots=True)
class EarlierVectors:
    """The vectors of an earlier bundle, by text."""

    texts: KeyTable
    vectors: DenseRows

    @classmethod
    def of(cls, bundle: Path, digest: str, told: Mapping[str, Any]) -> EarlierVectors | None:
        """Those of a bundle whose encoder is the same; None otherwise."""
        if told.get("encoder") != digest:
            return None
        index = bundle / "index"
        return cls(KeyTable.load(index / "texts"), DenseRows.load(index / FOLDER / "vectors"))

    def vector(self, text: str) -> NDArray[np.float32] | None:
        """The vector of a text [dim] float32; None where there is none."""
        row = self.texts.get(text)
        return self.vectors.row(row) if row >= 0 else None


def _blocks(
    encoder: DualEncoder,
    texts: Sequence[str],
    earlier: EarlierVectors | None,
    told: Callable[[int], None],
    block: int = 512,
) -> Iterator[NDArray[np.float32]]:
    for at in range(0, len(texts), block):
        vectors = np.empty((len(texts[at : at + block]), encoder.dim), np.float32)
        for place, text in enumerate(texts[at : at + block]):
            known = earlier.vector(text) if earlier is not None else None
            vectors[place] = encoder.encode_one(text) if known is None else known
        yield vectors
        told(at + len(vectors))


def _misheard(encoder: DualEncoder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Vectors of requests as they may be misheard [PROBES, dim]: recall is measured on them, effort chosen for them."""
    draw = Random(0)
    sample = draw.sample(texts, min(len(texts), VOCABULARY_OF))
    known = Confusions.learned([], sample)
    return np.stack([encoder.encode_one(known.misheard(text, draw) or text) for text in sample[:PROBES]])


def _values(frames: Iterable[str]) -> set[str]:
    read = (interpretation_of(frame) for frame in frames)
    pairs = (pair for each in read if each is not None for pair in each.slots)
    return {f"{slot}={value.strip()}" for slot, joined in pairs for value in joined.split(";") if value.strip()}


@lru_cache(CACHED_ROWS)
def interpretation_of(key: str) -> Interpretation | None:
    """The interpretation that `dialogue.table.interpretation_key` wrote down; None for what it did not write."""
    try:
        domain, intent, slots = json.loads(key)
        return Interpretation.of(domain, intent, slots, _fold)
    except (ValueError, TypeError, AttributeError):
        return None


_fold = lru_cache(CACHED_ROWS)(Canonicaliser())  # values of slots are fewer than requests
