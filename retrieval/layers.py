"""The two layers that propose candidates: what works for everyone, and what worked for this user.

Both score against one table of vectors. A user's history is a slice of flat arrays; a search reads that slice
and nothing else, so no request of another user can be in the answer, whatever is asked.
"""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Generic, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from retrieval.dense import DenseRows
from retrieval.dense_index import dense_index, load_index
from retrieval.errors import DuplicateKeyError, InputError
from retrieval.exact import ExactIndex
from retrieval.folder import Folder, write_folder
from retrieval.index import Neighbours, VectorIndex, check_request, nearest
from retrieval.keys import KeyTable
from retrieval.vectors import Float32s, Int64s, Query, SparseRows, SparseVector, VectorRows

KIND = "personal layer"


class Layer(Enum):
    """Who a candidate comes from."""

    PERSONAL = "personal"
    GLOBAL = "global"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A request that a layer proposes: its row in the table, its cosine with the query, and the layer."""

    row: int
    similarity: float
    layer: Layer


class HistoryEntry(NamedTuple):
    """One request in a user's history."""

    user: str
    row: int  # of the table
    times: int  # how often it worked for this user
    last_seen: float  # seconds since 1970


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """One user's requests, by ascending row.

    rows       [requests] int32 or int64
    counts     [requests] int32
    last_seen  [requests] float64: seconds since 1970
    """

    rows: NDArray[Any]
    counts: NDArray[np.int32]
    last_seen: NDArray[np.float64]


class GlobalLayer(Generic[Query]):
    """Requests known to work for everyone: an index over some rows of the table."""

    def __init__(self, index: VectorIndex[Query]) -> None:
        self.index = index

    @overload
    @classmethod
    def build(cls, table: SparseRows, members: Int64s | None = None) -> "GlobalLayer[SparseVector]": ...

    @overload
    @classmethod
    def build(cls, table: DenseRows, members: Int64s | None = None) -> "GlobalLayer[Float32s]": ...

    @classmethod
    def build(cls, table: SparseRows | DenseRows, members: Int64s | None = None) -> "GlobalLayer[Any]":
        """Index `members` of the table, ascending rows, all when None: sparse ones exactly, dense ones by number."""
        if isinstance(table, DenseRows):
            return GlobalLayer(dense_index(table, members))
        return GlobalLayer(ExactIndex.build(table, members))

    @overload
    @classmethod
    def load(cls, folder: Path, table: SparseRows) -> "GlobalLayer[SparseVector]": ...

    @overload
    @classmethod
    def load(cls, folder: Path, table: DenseRows) -> "GlobalLayer[Float32s]": ...

    @classmethod
    def load(cls, folder: Path, table: SparseRows | DenseRows) -> "GlobalLayer[Any]":
        """Map a saved layer over the table it was built from. Raises FolderError."""
        if isinstance(table, DenseRows):
            return GlobalLayer(load_index(folder, table))
        return GlobalLayer(ExactIndex.load(folder, table))

    def save(self, folder: Path) -> None:
        """Write the layer into `folder`; the table is saved by itself."""
        self.index.save(folder)

    def search(self, query: Query, k: int, floor: float) -> list[Candidate]:
        """At most `k` candidates with similarity >= `floor`, the best first. Raises InputError."""
        return _candidates(self.index.search(query, k, floor), Layer.GLOBAL)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PersonalLayer(Generic[Query]):
    """Each user's own requests that worked, as row numbers into the common table.

    users      key table of the users
    offsets    [users + 1] int64: where each user's slice begins
    rows       [entries] int32, or int64 past 2**31 rows: ascending within a user
    counts     [entries] int32
    last_seen  [entries] float64: seconds since 1970
    """

    table: VectorRows[Query]
    users: KeyTable
    offsets: Int64s
    rows: NDArray[Any]
    counts: NDArray[np.int32]
    last_seen: NDArray[np.float64]

    @classmethod
    def build(cls, table: VectorRows[Query], entries: Iterable[HistoryEntry]) -> "PersonalLayer[Query]":
        """Read entries once, each user's together and in any order; 80 bytes an entry at the peak.

        Raises DuplicateKeyError for a row twice in a history or a user in two places, and InputError for a
        row outside the table.
        """
        names: list[str] = []
        firsts, rows, counts, last_seen = array("q"), array("q"), array("q"), array("d")
        for user, row, times, seen in entries:
            if not names or user != names[-1]:
                names.append(user)
                firsts.append(len(rows))
            rows.append(row)
            counts.append(times)
            last_seen.append(seen)
        offsets = np.append(np.array(firsts, np.int64), len(rows))
        owner, row_of = np.repeat(np.arange(len(names)), np.diff(offsets)), np.array(rows, np.int64)
        _check_rows(row_of, len(table))
        order = np.lexsort((row_of, owner))
        users, row_of = KeyTable.build(names), row_of[order]
        _refuse_twice(users, owner, row_of)
        return cls(
            table,
            users,
            offsets,
            row_of.astype(np.int32 if len(table) < 2**31 else np.int64),
            np.array(counts, np.int64)[order].astype(np.int32),
            np.array(last_seen, np.float64)[order],
        )

    @classmethod
    def load(cls, folder: Path, table: VectorRows[Query]) -> "PersonalLayer[Query]":
        """Map a saved layer over the table it was built from. Raises FolderError."""
        saved = Folder(folder, KIND)
        saved.require_table(len(table))
        users = KeyTable.load(folder / "users")
        offsets, rows = saved.array("offsets", np.int64), saved.array("rows")
        counts, last_seen = saved.array("counts", np.int32), saved.array("last_seen", np.float64)
        saved.require(len(offsets) == len(users) + 1, f"{len(offsets)} offsets for {len(users)} users")
        spans = offsets[0] == 0 and offsets[-1] == len(rows) == len(counts) == len(last_seen)
        saved.require(bool(spans), "the offsets do not span the entries")
        return cls(table, users, offsets, rows, counts, last_seen)

    def save(self, folder: Path) -> None:
        """Write the layer into `folder`; the table is saved by itself."""
        arrays = {name: getattr(self, name) for name in ("offsets", "rows", "counts", "last_seen")}
        write_folder(folder, KIND, arrays, {"table_rows": len(self.table)})
        self.users.save(folder / "users")

    def history(self, user: str) -> History:
        """The user's requests; none for a user not known."""
        span = self._span(user)
        return History(self.rows[span], self.counts[span], self.last_seen[span])

    def rows_of(self, user: str) -> Int64s:
        """The user's rows, ascending: [requests] int64; none for a user not known."""
        return self.rows[self._span(user)].astype(np.int64)

    def search(self, user: str, query: Query, k: int, floor: float) -> list[Candidate]:
        """At most `k` of the user's own requests, similarity >= `floor`, best first. Raises InputError."""
        check_request(k, floor)
        rows = self.rows_of(user)
        if not len(rows):
            return []
        return _candidates(nearest(rows, self.table.score(query, rows), k, floor), Layer.PERSONAL)

    def _span(self, user: str) -> slice:
        number = self.users.get(user)
        return slice(0, 0) if number < 0 else slice(self.offsets[number], self.offsets[number + 1])


def _candidates(found: Neighbours, layer: Layer) -> list[Candidate]:
    pairs = zip(found.rows.tolist(), found.scores.tolist(), strict=True)
    return [Candidate(row, similarity, layer) for row, similarity in pairs]


def _check_rows(rows: Int64s, table_rows: int) -> None:
    if len(rows) and (rows.min() < 0 or rows.max() >= table_rows):
        raise InputError(
            f"history rows {rows.min()} to {rows.max()} came, the table has rows 0..{table_rows - 1}: "
            "give rows of the table that the layer is built over"
        )


def _refuse_twice(users: KeyTable, owner: Int64s, rows: Int64s) -> None:
    twice = np.flatnonzero((owner[1:] == owner[:-1]) & (rows[1:] == rows[:-1]))
    if len(twice):
        user, row = users.key(int(owner[twice[0]])), int(rows[twice[0]])
        raise DuplicateKeyError(f"row {row} came twice for user {user!r}, wanted once: add up its counts")
