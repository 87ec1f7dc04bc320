"""Vectors in rows, and the one thing asked of them: the cosine of a query with chosen rows.

Every vector has length 1 (an empty text has length 0), so a cosine is a dot product. There is one table of
vectors; the layers and indexes hold row numbers into it and never a second copy.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import InputError
from retrieval.folder import Arrays, Folder, write_folder

KIND = "sparse rows"
BLOCK = 1 << 15  # rows scored at a time: bounds the memory of scoring a whole table

Query = TypeVar("Query")
Int64s = NDArray[np.int64]
Float32s = NDArray[np.float32]


class VectorRows(ABC, Generic[Query]):
    """The role: an immutable table of unit vectors that can be scored against a query."""

    __slots__ = ()

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def score(self, query: Query, rows: Int64s) -> Float32s:
        """The cosine of `query` with each of `rows`: [rows] int64 to [rows] float32, in the same order."""


class SparseVector(NamedTuple):
    """A vector that is zero nearly everywhere: ascending places and their values."""

    indices: NDArray[np.int32]  # [terms] int32, ascending, each once
    values: Float32s  # [terms] float32


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SparseRows(VectorRows[SparseVector]):
    """Sparse vectors one after the other (compressed sparse rows).

    indptr   [rows + 1] int64: where each row begins
    indices  [terms] int32: the places of the row's values, ascending within a row, below `width`
    values   [terms] float32
    """

    indptr: Int64s
    indices: NDArray[np.int32]
    values: Float32s
    width: int
    _local: threading.local = field(init=False, default_factory=threading.local)

    def __post_init__(self) -> None:
        if not _spans(self.indptr, self.indices, self.values):
            raise InputError(
                f"indptr of length {len(self.indptr)} does not span {len(self.indices)} indices and "
                f"{len(self.values)} values: wanted indptr[0] = 0 and indptr[-1] = their number"
            )

    @classmethod
    def concatenate(cls, parts: Iterable["SparseRows"], width: int) -> "SparseRows":
        """The rows of all `parts`, in order."""
        none = cls(np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32), width)
        held = [none, *parts]
        lengths = np.concatenate([np.diff(part.indptr) for part in held])
        indices = np.concatenate([part.indices for part in held])
        return cls(starts_of(lengths), indices, np.concatenate([part.values for part in held]), width)

    @classmethod
    def load(cls, folder: Path) -> "SparseRows":
        """Map a saved table. Raises FolderError."""
        saved = Folder(folder, KIND)
        indptr, indices = saved.array("indptr", np.int64), saved.array("indices", np.int32)
        values = saved.array("values", np.float32)
        saved.require(_spans(indptr, indices, values), "indptr does not span the indices and values")
        return cls(indptr, indices, values, int(saved.fact("width")))

    def save(self, folder: Path) -> None:
        """Write the table into `folder`."""
        arrays: Arrays = {"indptr": self.indptr, "indices": self.indices, "values": self.values}
        write_folder(folder, KIND, arrays, {"width": self.width})

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def row(self, number: int) -> SparseVector:
        """One row as a vector."""
        span = slice(self.indptr[number], self.indptr[number + 1])
        return SparseVector(self.indices[span], self.values[span])

    def score(self, query: SparseVector, rows: Int64s) -> Float32s:
        """As the role says; about 25 ns for each term of the chosen rows."""
        with self._spread(query) as dense:
            if len(rows) <= BLOCK:
                return self._score_block(dense, rows)
            blocks = (rows[at : at + BLOCK] for at in range(0, len(rows), BLOCK))
            return np.concatenate([self._score_block(dense, block) for block in blocks])

    def _score_block(self, dense: Float32s, rows: Int64s) -> Float32s:
        starts = self.indptr[rows]
        lengths = self.indptr[rows + 1] - starts
        terms = ragged(starts, lengths)  # [terms of all rows] int64
        products = dense[self.indices[terms]] * self.values[terms]
        owner = np.repeat(np.arange(len(rows)), lengths)
        # bincount adds in float64, one term after the other: a row's score does not depend on its neighbours.
        return np.asarray(np.bincount(owner, products, minlength=len(rows)), np.float32)

    @contextmanager
    def _spread(self, query: SparseVector) -> Iterator[Float32s]:
        """The query as [width] float32, in an array that each thread keeps, all zero between uses."""
        dense: Float32s | None = getattr(self._local, "dense", None)
        if dense is None:
            dense = self._local.dense = np.zeros(self.width, np.float32)
        dense[query.indices] = query.values
        try:
            yield dense
        finally:
            dense[query.indices] = 0


def _spans(indptr: Int64s, indices: NDArray[np.int32], values: Float32s) -> bool:
    return bool(len(indptr) and indptr[0] == 0 and indptr[-1] == len(indices) == len(values))


def starts_of(lengths: Int64s) -> Int64s:
    """[n] lengths to [n + 1] int64 starts, the last being the total."""
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts


def ragged(starts: Int64s, lengths: Int64s) -> Int64s:
    """All positions of runs of unequal length, run after run: [n], [n] int64 -> [sum(lengths)] int64."""
    ends: Int64s = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(total)
