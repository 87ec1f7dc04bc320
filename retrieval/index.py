"""Nearest neighbours: the role, and the plain implementation that says what the right answer is.

`BruteForceIndex` scores every row, so its cost grows with the terms of the whole table: about 0.3 s a query
at a million short requests. `exact.py` gives the same answers and opens only what could matter.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

import numpy as np

from retrieval.errors import InputError
from retrieval.folder import Folder, write_folder
from retrieval.vectors import Float32s, Int64s, Query, VectorRows

KIND = "brute force index"


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The rows found, the most alike first, and the lower row first where two are equally alike.

    rows    [found] int64: rows of the table, not of the index
    scores  [found] float32: cosines
    """

    rows: Int64s
    scores: Float32s


class VectorIndex(ABC, Generic[Query]):
    """The role: finds the nearest of its members, some or all rows of one table of vectors."""

    __slots__ = ()

    @abstractmethod
    def search(self, query: Query, k: int, floor: float) -> Neighbours:
        """At most `k` >= 1 members with cosine >= `floor` (0 to 1) and above 0. Raises InputError."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write what the index holds beside the table into `folder`."""


class BruteForceIndex(VectorIndex[Query]):
    """Scores every member; the oracle for every other index."""

    def __init__(self, table: VectorRows[Query], members: Int64s | None = None) -> None:
        self.table = table
        self.members = members_of(table, members)

    @classmethod
    def load(cls, folder: Path, table: VectorRows[Query]) -> "BruteForceIndex[Query]":
        """Map a saved index over the table it was built from. Raises FolderError."""
        saved = Folder(folder, KIND)
        saved.require_table(len(table))
        return cls(table, saved.array("members", np.int64))

    def save(self, folder: Path) -> None:
        write_folder(folder, KIND, {"members": self.members}, {"table_rows": len(self.table)})

    def search(self, query: Query, k: int, floor: float) -> Neighbours:
        check_request(k, floor)
        return nearest(self.members, self.table.score(query, self.members), k, floor)


def nearest(rows: Int64s, scores: Float32s, k: int, floor: float) -> Neighbours:
    """The best `k` of `rows` with a score of at least `floor` and above 0, in the order of Neighbours."""
    kept = np.flatnonzero((scores >= np.float32(floor)) & (scores > 0))
    if len(kept) > k:
        kth = np.partition(scores[kept], len(kept) - k)[len(kept) - k]
        kept = kept[scores[kept] >= kth]
    order = kept[np.lexsort((rows[kept], -scores[kept]))][:k]
    return Neighbours(rows[order], scores[order])


def members_of(table: VectorRows[Query], members: Int64s | None) -> Int64s:
    """The members as ascending int64, all rows of the table when None. Raises InputError."""
    if members is None:
        return np.arange(len(table), dtype=np.int64)
    checked = np.asarray(members, np.int64)
    if len(checked) and (checked[0] < 0 or checked[-1] >= len(table) or not (np.diff(checked) > 0).all()):
        raise InputError(
            f"members from {checked[0]} to {checked[-1]} came, wanted rows 0..{len(table) - 1}, ascending, "
            "each once: pass np.unique(members)"
        )
    return checked


def check_request(k: int, floor: float) -> None:
    """Raise InputError unless k >= 1 and 0 <= floor <= 1."""
    if k < 1 or not 0 <= floor <= 1:
        raise InputError(f"k = {k} and floor = {floor} came, wanted k >= 1 and a floor from 0 to 1")
