"""Dense nearest neighbours, scored one by one: the oracle, and the right choice for some thousands.

Then the choice among indexes by size, and the way back from a saved one. `faiss_index.py` says how the others
differ. One more member costs the exact index 0.08 microseconds a search, so 50,000 take 4 ms.
"""

from enum import Enum
from pathlib import Path

import numpy as np

from retrieval.dense import BLOCK, DenseRows
from retrieval.errors import DamagedFolderError, ForeignFolderError
from retrieval.folder import REMEDY, Fact, Folder, write_folder
from retrieval.index import Neighbours, VectorIndex, check_request, members_of, nearest
from retrieval.vectors import Float32s, Int64s

KIND = "dense index"
PLAIN_UP_TO = 5_000  # members scored within half a millisecond by numpy alone
EXACT_UP_TO = 50_000  # members scored within a millisecond by faiss
HNSW_UP_TO = 4_000_000  # members whose graph takes 2.5 GB
IVF_UP_TO = 20_000_000  # members that take 8 GB at a byte a place


class IndexKind(Enum):
    """How the members are searched: everything, by a graph, or in the nearest of many lists."""

    EXACT = "exact"  # every member scored from the table, by numpy
    FLAT = "flat"  # every member scored by faiss from bytes
    HNSW = "hnsw"  # a graph of neighbours, from bytes
    IVF = "ivf"  # the nearest lists, from bytes
    IVF4 = "ivf4"  # the nearest lists, from half bytes

    @classmethod
    def for_size(cls, members: int) -> "IndexKind":
        """The kind for this many members."""
        limits = ((PLAIN_UP_TO, cls.EXACT), (EXACT_UP_TO, cls.FLAT), (HNSW_UP_TO, cls.HNSW), (IVF_UP_TO, cls.IVF))
        return next((kind for limit, kind in limits if members <= limit), cls.IVF4)


class DenseExactIndex(VectorIndex[Float32s]):
    """Scores every member of a table of dense rows.

    members  [members] int64: their rows in the table, ascending
    """

    kind = IndexKind.EXACT

    def __init__(self, table: DenseRows, members: Int64s | None = None) -> None:
        self.table = table
        self.members = members_of(table, members)

    @classmethod
    def load(cls, folder: Path, table: DenseRows) -> "DenseExactIndex":
        """Map a saved index over the table it was built from. Raises FolderError."""
        saved, kind = open_index(folder, table)
        if kind is not cls.kind:
            raise ForeignFolderError(f"{folder} holds a {kind.value} index, wanted an exact one: use load_index")
        return cls(table, saved.array("members", np.int64))

    def save(self, folder: Path) -> None:
        write_folder(folder, KIND, {"members": self.members}, {"table_rows": len(self.table), **self.facts})

    @property
    def facts(self) -> dict[str, Fact]:
        """What a manifest should say of the index."""
        return {"index": self.kind.value, "members": len(self), "recall_at_10": 1.0}

    def __len__(self) -> int:
        return len(self.members)

    def search(self, query: Float32s, k: int, floor: float) -> Neighbours:
        check_request(k, floor)
        return nearest(self.members, self.table.score(query, self.members), k, floor)

    def best_scores(self, queries: Float32s, k: int) -> Float32s:
        """The `k` highest cosines of many queries at once: [queries, dim] to [queries, k], -1 for none.

        Ascending. They are those of `search` up to the rounding of float32, and negative ones are among them.
        """
        best = np.full((len(queries), k), -1, np.float32)
        for at in range(0, len(self), BLOCK):
            scores = queries @ self.table.vectors(self.members[at : at + BLOCK]).T
            for number in np.flatnonzero(scores.max(axis=1) > best[:, 0]):  # soon only a few of them
                best[number] = np.sort(np.concatenate([best[number], scores[number]]))[-k:]
        return best


def dense_index(
    table: DenseRows,
    members: Int64s | None = None,
    *,
    kind: IndexKind | None = None,
    seed: int = 0,
    threads: int = 1,
    queries: Float32s | None = None,
) -> VectorIndex[Float32s]:
    """An index over `members`, all rows when None: of `kind`, or of the kind for their number.

    The other arguments are those of `FaissIndex.build`; the exact index has no use for them. Raises InputError,
    also where faiss is needed and not installed.
    """
    from retrieval.faiss_index import FaissIndex

    rows = members_of(table, members)
    chosen = kind or IndexKind.for_size(int(np.count_nonzero(table.scales[rows])))
    if chosen is IndexKind.EXACT:
        return DenseExactIndex(table, rows)
    return FaissIndex.build(table, rows, kind=chosen, seed=seed, threads=threads, queries=queries)


def load_index(folder: Path, table: DenseRows) -> VectorIndex[Float32s]:
    """Map a saved index of any kind over the table it was built from. Raises FolderError."""
    from retrieval.faiss_index import FaissIndex

    _, kind = open_index(folder, table)
    return DenseExactIndex.load(folder, table) if kind is IndexKind.EXACT else FaissIndex.load(folder, table)


def open_index(folder: Path, table: DenseRows) -> tuple[Folder, IndexKind]:
    """A saved index, checked against the table, and its kind. Raises FolderError."""
    saved = Folder(folder, KIND)
    saved.require_table(len(table))
    try:
        return saved, IndexKind(saved.fact("index"))
    except ValueError as error:
        kinds = [kind.value for kind in IndexKind]
        raise DamagedFolderError(f"{folder}: meta.json: {error}, wanted one of {kinds}: {REMEDY}") from error
