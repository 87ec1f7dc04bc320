"""Dense nearest neighbours through faiss: for more members than can be scored one by one in time.

How they differ from the exact index: faiss proposes somewhat more rows than were asked for, from a coarser
copy of the members, and the table scores them again. So a score is the table's, and comparable among layers;
what can be missed is a row that faiss did not propose.

    flat  every member, a byte a place with one step for all: misses nothing but what rounding hides
    hnsw  a graph of neighbours walked towards the query (Malkov & Yashunin, "Efficient and robust approximate
          nearest neighbor search using Hierarchical Navigable Small World graphs", TPAMI 2020); a byte a place
    ivf   lists around centres, of which the nearest are read (Jegou, Douze & Schmid, "Product quantization for
          nearest neighbor search", TPAMI 2011); a byte or half a byte a place

The effort of a search (nodes kept in view, or lists read) is raised at build, step by step, until recall at 10,
less its standard error, reaches what is wanted: on queries that are members half blended with another member,
or on real queries where they are given. The figure is kept with the index.

With one thread a build gives the same index for the same table, members and seed. With more the graph depends
on their timing: recall stays, single answers at its edge may differ. Lists do not depend on it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.dense import STEPS, DenseRows
from retrieval.dense_index import KIND, DenseExactIndex, IndexKind, open_index
from retrieval.errors import DamagedFolderError, FolderError, ForeignFolderError, InputError, MissingFileError
from retrieval.folder import REMEDY, Fact, write_folder
from retrieval.index import Neighbours, VectorIndex, check_request, members_of, nearest
from retrieval.vectors import Float32s, Int64s

FILE = "index.faiss"
ADDED = 1 << 14  # rows decoded and added at a time
TRAINED = 1 << 16  # members that set the range of a byte
CONSTRUCTION = 200  # nodes in view while a node is linked: requests of one form lie close together, and few see too few
LINKS = 32  # of a node of the graph, twice as many on its ground floor: 260 bytes a member
POINTS_PER_LIST = 40  # the least that faiss clusters without a warning
ENDS = 1 << 16  # bytes at each end of the file that are compared when it is loaded

RECALLED = 10
LEAST_RECALL = 0.98  # more than should be found: what a real recogniser mishears is further off than what is made up
PROBES = 1024  # queries on which recall is measured: its standard error is then about 0.005
BLEND = 0.5  # of another member in such a query: its cosine with its own member is then about 0.9
ROUNDING = 1e-6  # cosines nearer than this are a tie
EFFORTS = (32, 48, 64, 96, 128, 192, 256, 384)  # beyond, a search takes longer than all the rest of an answer
LIST_EFFORTS = (1, 2, 4, 6, 8, 12, 16, 24, *EFFORTS, 512, 768, 1024, 1536, 2048)
# How many rows the table scores again for k that were asked for, beside SPARE: what the copy's rounding needs.
PROPOSED = {IndexKind.FLAT: 2, IndexKind.HNSW: 2, IndexKind.IVF: 2, IndexKind.IVF4: 6}
SPARE = 12
CLASSES = {
    IndexKind.FLAT: "IndexScalarQuantizer",
    IndexKind.HNSW: "IndexHNSWSQ",
    IndexKind.IVF: "IndexIVFScalarQuantizer",
    IndexKind.IVF4: "IndexIVFScalarQuantizer",
}


class FaissIndex(VectorIndex[Float32s]):
    """Members of a table of dense rows, in a faiss index.

    members  [members] int64: their rows in the table, ascending; rows of zeros, never an answer, are left out
    kind     how they are searched
    effort   nodes kept in view (hnsw) or lists read (ivf); 0 for flat
    recall   the share of the exact index's ten best that the index finds, as measured when it was built

    Threads may search at once. A search sets faiss to one thread in the thread that calls it.
    """

    def __init__(
        self, table: DenseRows, members: Int64s, kind: IndexKind, faiss_index: Any, effort: int, recall: float
    ) -> None:
        self._faiss = _import_faiss(InputError)
        self.table, self.members, self.kind, self.recall = table, members, kind, recall
        self._index = faiss_index
        self._set_effort(effort)

    @classmethod
    def build(
        cls,
        table: DenseRows,
        members: Int64s | None = None,
        kind: IndexKind | None = None,
        seed: int = 0,
        *,
        threads: int = 1,
        least_recall: float = LEAST_RECALL,
        queries: Float32s | None = None,
    ) -> "FaissIndex":
        """Index `members`, all rows of the table when None, and find the effort that `least_recall` takes.

        `queries` are unit vectors, [queries, dim] float32, on which recall is measured in place of blended
        members. Where no effort reaches `least_recall` the greatest is kept: read `recall`. A build with HNSW
        takes about 0.3 ms a member of 384 places and thread, and memory for the index. Raises InputError.
        """
        faiss = _import_faiss(InputError)
        if queries is not None and (queries.ndim != 2 or not len(queries) or queries.shape[1] != table.dim):
            raise InputError(f"queries of shape {queries.shape} came, wanted [queries, {table.dim}], one at least")
        rows = members_of(table, members)
        rows = rows[table.scales[rows] > 0]
        chosen = kind or IndexKind.for_size(len(rows))
        if chosen is IndexKind.EXACT or not len(rows):
            raise InputError(
                f"{len(rows)} members that are not empty and kind {chosen.value} came, wanted one at least and a "
                "kind other than exact: use dense_index, or DenseExactIndex"
            )
        with _threads(faiss, threads):
            index = _filled(faiss, table, rows, chosen, seed)
        built = cls(table, rows, chosen, index, 0, 0.0)
        built._tune(_blended(table, rows, seed) if queries is None else queries, least_recall)
        return built

    @classmethod
    def load(cls, folder: Path, table: DenseRows) -> "FaissIndex":
        """Map a saved index over the table it was built from. Raises FolderError.

        The file's size and both its ends are compared with what was saved, and faiss checks its structure; a
        byte altered between shows in the digest that whoever publishes the folder keeps.
        """
        saved, kind = open_index(folder, table)
        if kind is IndexKind.EXACT:
            raise ForeignFolderError(f"{folder} holds an exact index, wanted one of faiss: use load_index")
        members, path = saved.array("members", np.int64), folder / FILE
        if not path.is_file():
            raise MissingFileError(f"{path} is missing: {REMEDY}")
        saved.require(path.stat().st_size == saved.fact("bytes"), f"{FILE} has another size than was saved")
        saved.require(_ends(path) == saved.fact("ends"), f"{FILE} was altered")
        index = _mapped(path)
        shape = (type(index).__name__, index.ntotal, index.d)
        wanted = (CLASSES[kind], len(members), table.dim)
        saved.require(shape == wanted, f"{FILE} holds {shape}, wanted {wanted}")
        return cls(table, members, kind, index, int(saved.fact("effort")), float(saved.fact("recall_at_10")))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / FILE
        path.unlink(missing_ok=True)
        self._faiss.write_index(self._index, str(path))
        facts = {"table_rows": len(self.table), "bytes": path.stat().st_size, "ends": _ends(path), **self.facts}
        write_folder(folder, KIND, {"members": self.members}, facts)

    @property
    def facts(self) -> dict[str, Fact]:
        """What a manifest should say of the index."""
        return {
            "index": self.kind.value,
            "members": len(self),
            "recall_at_10": self.recall,
            "effort": self.effort,
            "faiss": str(self._faiss.__version__),
        }

    def __len__(self) -> int:
        return len(self.members)

    def search(self, query: Float32s, k: int, floor: float) -> Neighbours:
        """As the role says, but for rows that faiss does not propose."""
        check_request(k, floor)
        vector = self.table.checked(query)
        rows = self.members[self._proposed(vector, min(len(self), PROPOSED[self.kind] * k + SPARE))]
        return nearest(rows, self.table.score(vector, rows), k, floor)

    def _proposed(self, query: Float32s, count: int) -> Int64s:
        """Positions in `members`: [up to count] int64."""
        if self.kind is IndexKind.FLAT:
            query = _whole(query)
        self._faiss.omp_set_num_threads(1)  # of the calling thread only; a second one lengthens the tail
        _, found = self._index.search(query[None], count, params=self._parameters)
        places: Int64s = found[0]
        return places[(places >= 0) & (places < len(self))]  # -1 fills up; beyond the end only in a damaged file

    def _set_effort(self, effort: int) -> None:
        faiss, self.effort = self._faiss, effort
        if self.kind is IndexKind.FLAT:
            self._parameters = None
        elif self.kind is IndexKind.HNSW:
            self._parameters = faiss.SearchParametersHNSW(efSearch=effort)
        else:
            # the lists are found by a graph of their centres, with twice as many of them in view
            self._centres = faiss.SearchParametersHNSW(efSearch=max(2 * effort, 16))
            self._parameters = faiss.SearchParametersIVF(nprobe=effort, quantizer_params=self._centres)

    def _tune(self, queries: Float32s, least_recall: float) -> None:
        best = DenseExactIndex(self.table, self.members).best_scores(queries, RECALLED)
        for effort in self._efforts():
            self._set_effort(effort)
            shares = self._shares(queries, best)
            self.recall = float(shares.mean())
            if self.recall - shares.std() / len(shares) ** 0.5 >= least_recall:
                break

    def _efforts(self) -> list[int]:
        if self.kind is IndexKind.FLAT:
            return [0]
        if self.kind is IndexKind.HNSW:
            return list(EFFORTS)
        return [*(effort for effort in LIST_EFFORTS if effort < self._index.nlist), self._index.nlist]

    def _shares(self, queries: Float32s, best: Float32s) -> NDArray[np.float64]:
        """Of each query's best scores, [queries, 10] float32 ascending, the share found: [queries] float64.

        A tie with the least of them counts as found; scores of 0 and below are not asked for.
        """
        shares = np.ones(len(queries))
        for number, scores in enumerate(best):
            wanted = scores[scores > 0]
            if len(wanted):
                found = self.search(queries[number], RECALLED, 0.0).scores
                shares[number] = np.count_nonzero(found >= wanted[0] - ROUNDING) / len(wanted)
        return shares


def _filled(faiss: Any, table: DenseRows, rows: Int64s, kind: IndexKind, seed: int) -> Any:
    """A faiss index of the rows, their positions being its numbers."""
    index = _empty(faiss, table.dim, len(rows), kind, seed)
    # A flat index takes whole numbers from -127 to 127, in steps that are the same for all rows.
    step = table.scales[rows].max()
    if not index.is_trained:
        index.train(table.vectors(_sample(rows, max(TRAINED, POINTS_PER_LIST * getattr(index, "nlist", 0)), seed)))
    for at in range(0, len(rows), ADDED):
        vectors = table.vectors(rows[at : at + ADDED])
        index.add(np.rint(vectors / step) if kind is IndexKind.FLAT else vectors)
    return index


def _empty(faiss: Any, dim: int, members: int, kind: IndexKind, seed: int) -> Any:
    product, sizes = faiss.METRIC_INNER_PRODUCT, faiss.ScalarQuantizer
    if kind is IndexKind.FLAT:
        return faiss.IndexScalarQuantizer(dim, sizes.QT_8bit_direct_signed, product)
    if kind is IndexKind.HNSW:
        index = faiss.IndexHNSWSQ(dim, sizes.QT_8bit, LINKS, product)
        index.hnsw.efConstruction = CONSTRUCTION
        index.hnsw.rng = faiss.RandomGenerator(seed)
        return index
    lists = max(1, min(int(4 * members**0.5), members // POINTS_PER_LIST))
    index = faiss.index_factory(dim, f"IVF{lists}_HNSW{LINKS},SQ{4 if kind is IndexKind.IVF4 else 8}", product)
    index.cp.seed = seed
    return index


def _whole(query: Float32s) -> Float32s:
    """The query in whole numbers up to 127, as a flat index multiplies bytes; its length does not matter there."""
    largest = float(np.abs(query).max())
    return np.asarray(np.rint(query * (STEPS / largest)), np.float32) if largest > 0 else query


def _sample(rows: Int64s, size: int, seed: int) -> Int64s:
    if len(rows) <= size:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, size, replace=False))


def _blended(table: DenseRows, rows: Int64s, seed: int) -> Float32s:
    """Queries like requests half understood: a member and half of another, at length 1."""
    random = np.random.default_rng(seed)
    own, other = (table.vectors(random.choice(rows, PROBES)) for _ in range(2))
    mixed = own + np.float32(BLEND) * other
    return np.asarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True))


def _import_faiss(error: type[FolderError] | type[InputError]) -> Any:
    try:
        import faiss
    except ImportError as absent:
        raise error('this index needs faiss: pip install "reprise-rewrite[dense]"') from absent
    return faiss


@contextmanager
def _threads(faiss: Any, threads: int) -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _mapped(path: Path) -> Any:
    faiss = _import_faiss(FolderError)
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except (RuntimeError, MemoryError) as error:  # what faiss raises for a file that is no index
        raise DamagedFolderError(f"{path} cannot be read ({error}): {REMEDY}") from error


def _ends(path: Path) -> str:
    """A digest of the file's first and last bytes."""
    with path.open("rb") as file:
        first = file.read(ENDS)
        file.seek(max(0, path.stat().st_size - ENDS))
        return blake2b(first + file.read(ENDS), digest_size=16).hexdigest()
