"""The exact index: `BruteForceIndex`'s answers from an inverted list of terms.

How it differs: a row whose cosine with the query reaches the floor must share the query's heavier terms, so
only their postings are opened (prefix filtering: Chaudhuri, Ganti & Kaushik, "A Primitive Operator for
Similarity Joins in Data Cleaning", ICDE 2006; with weights and a running score: Bayardo, Ma & Srikant,
"Scaling Up All Pairs Similarity Search", WWW 2007).

    Split the query q into the terms opened, a, and the rest, b. Rows have length 1, so by Cauchy-Schwarz
    cosine(q, r) = a.r + b.r <= a.r + |b|.

1. Terms are opened, the least postings for the weight first. Once |b| is below the floor, a row not met is
   out; opening goes on past that, as a posting costs a three-hundredth of scoring a row in full.
2. Each row met has its a.r, from the postings; those with a.r + |b| below the floor are out.
3. The rows with the largest a.r are scored in full. Their k-th best cosine, where it is above the floor, is
   as good a floor as the one given, and 2 is applied again with it.
4. What is left is scored in full from the table, so the scores are the table's own.

Cost: the postings opened (about 1.6 ns each), two passes over 4 bytes a member (0.3 ms at a million), and
half a microsecond for each row scored in full. All three grow with the number of members, so a query's time
is linear in the index; the floor buys only the share of it that is opened. The lower the floor, the more of
the common terms must be opened, and at 0 all of them. Past some millions of members, or for dense vectors, an
approximate index is the right rung.

Departures from the papers: postings hold the value rounded up to a byte, 5 bytes a posting instead of 8, so
a.r is an upper bound and not the score; terms are ordered by postings per squared weight rather than by one
global order, as the rows are indexed whole and any order will do.
"""

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import InputError
from retrieval.folder import Folder, write_folder
from retrieval.index import Neighbours, VectorIndex, check_request, members_of, nearest
from retrieval.vectors import Float32s, Int64s, SparseRows, SparseVector, ragged, starts_of

KIND = "exact index"
SLACK = 1e-4  # above the rounding of a sum of float32, far below a difference that matters
STEP = np.float32(1 / 255)  # the value of one step of a posting's byte
PROBE = 32  # rows scored first to raise the floor
# Where opening stops, measured at a million short requests: sooner scores more rows, later opens more.
DEPTH, LEAST_SUM = 0.4, 0.35
MAX_MEMBERS = 2**31


class ExactIndex(VectorIndex[SparseVector]):
    """Members of a table of sparse rows, by term.

    members  [members] int64: their rows in the table, ascending
    starts   [width + 1] int64: where each term's postings begin
    places   [postings] int32: positions in `members`, ascending within a term
    impacts  [postings] uint8: the value there in steps of 1/255, rounded up

    Threads may search at once; each keeps 4 bytes a member.
    """

    def __init__(
        self,
        table: SparseRows,
        members: Int64s,
        starts: Int64s,
        places: NDArray[np.int32],
        impacts: NDArray[np.uint8],
    ) -> None:
        self.table = table
        self.members, self.starts, self.places, self.impacts = members, starts, places, impacts
        self._local = threading.local()

    @classmethod
    def build(cls, table: SparseRows, members: Int64s | None = None) -> "ExactIndex":
        """Index `members`, all rows of the table when None; needs scipy and 20 bytes a term.

        Raises InputError.
        """
        from scipy.sparse import csr_array

        rows = members_of(table, members)
        if len(rows) >= MAX_MEMBERS:
            raise InputError(f"{len(rows)} members came, wanted fewer than {MAX_MEMBERS}: split the index")
        lengths = table.indptr[rows + 1] - table.indptr[rows]
        terms: Any = slice(None) if members is None else ragged(table.indptr[rows], lengths)
        impacts = np.clip(np.ceil(table.values[terms] / STEP), 0, 255).astype(np.uint8)
        shape = (len(rows), table.width)
        by_term = csr_array((impacts, table.indices[terms], starts_of(lengths)), shape=shape).tocsc()
        places = by_term.indices.astype(np.int32, copy=False)
        return cls(table, rows, by_term.indptr.astype(np.int64), places, by_term.data)

    @classmethod
    def load(cls, folder: Path, table: SparseRows) -> "ExactIndex":
        """Map a saved index over the table it was built from. Raises FolderError."""
        saved = Folder(folder, KIND)
        saved.require_table(len(table))
        members, starts = saved.array("members", np.int64), saved.array("starts", np.int64)
        places, impacts = saved.array("places", np.int32), saved.array("impacts", np.uint8)
        saved.require(len(starts) == table.width + 1, f"{len(starts)} starts for {table.width} terms")
        saved.require(starts[-1] == len(places) == len(impacts), "the starts do not span the postings")
        return cls(table, members, starts, places, impacts)

    def save(self, folder: Path) -> None:
        arrays = {name: getattr(self, name) for name in ("members", "starts", "places", "impacts")}
        write_folder(folder, KIND, arrays, {"table_rows": len(self.table)})

    def __len__(self) -> int:
        return len(self.members)

    def search(self, query: SparseVector, k: int, floor: float) -> Neighbours:
        check_request(k, floor)
        sums = self._sums()
        try:
            rest = self._open(query, max(floor * DEPTH, floor - LEAST_SUM), sums)
            places = np.flatnonzero(sums > max(0.0, floor - rest - SLACK))
            if len(places) > PROBE + k:
                floor = max(floor, self._kth_best(query, k, places, sums))
                places = places[sums[places] > max(0.0, floor - rest - SLACK)]
        finally:
            sums.fill(0)
        rows = self.members[places]
        return nearest(rows, self.table.score(query, rows), k, floor)

    def _open(self, query: SparseVector, until: float, sums: Float32s) -> float:
        """Add terms into `sums` until the length of the others is below `until`; return that length."""
        firsts, ends = self.starts[query.indices], self.starts[query.indices + 1]
        squares = query.values.astype(np.float64) ** 2
        order = np.argsort((ends - firsts) / squares, kind="stable")
        rests = np.sqrt(np.cumsum(squares[order][::-1])[::-1])  # [terms] float64: |b| before each
        opened = int(np.count_nonzero(rests >= until))
        for term in order[:opened].tolist():
            span = slice(firsts[term], ends[term])
            np.add.at(sums, self.places[span], self.impacts[span] * (query.values[term] * STEP))
        return float(rests[opened]) if opened < len(rests) else 0.0

    def _kth_best(self, query: SparseVector, k: int, places: Int64s, sums: Float32s) -> float:
        """The k-th best cosine among the places with the largest sums; none below it is wanted."""
        best = places[np.argpartition(sums[places], -PROBE - k)[-PROBE - k :]]
        return float(np.partition(self.table.score(query, self.members[best]), -k)[-k])

    def _sums(self) -> Float32s:
        # [members] float32, kept by each thread, zero between uses: fresh zeros cost page faults
        sums: Float32s | None = getattr(self._local, "sums", None)
        if sums is None:
            sums = self._local.sums = np.zeros(len(self.members), np.float32)
        return sums
