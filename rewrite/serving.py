"""The arrays that the engine answers from: built by the mining job, mapped by every serving process.

Row numbers are those of the texts in `texts`, in sorted order. A million texts cost no loading time and one copy in
the page cache, however many processes serve.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval import GlobalLayer, HistoryEntry, KeyTable, NgramEncoder, PersonalLayer, SparseRows, SparseVector
from retrieval.folder import Folder, write_folder
from rewrite.contextual import ContextCounts, ContextualEntries

if TYPE_CHECKING:
    import pyarrow as pa

KIND = "serving arrays"

ON = 1  # an entry that is served; otherwise it is on trial, for engines that explore
SURE = 2  # and that clears the gate; otherwise it is on because it was before

GOOD = 1  # known to work for everyone
FAILING = 2  # known to fail more often than not
#: Share of success from which a text is left alone, and its words count as understood, whoever said it.
WORKS = 0.5
PUBLIC = 4  # said by enough users; any other text is there for the users whose own it is, and for nobody else

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int32]
Offsets = NDArray[np.int64]
Shares = NDArray[np.float32]


class TableEntry(NamedTuple):
    """One precomputed rewrite."""

    source: int  # rows of texts
    target: int
    score: float
    margin: float
    users: int
    chance: float = 1.0  # that it is better than leaving alone
    on: bool = True  # otherwise it is on trial
    sure: bool = True  # whether its chance clears the gate; otherwise it is on because it was before


class Correction(NamedTuple):
    """One user's own correction."""

    user: str
    source: int  # rows of texts
    target: int
    times: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ServingArrays:
    """Everything that an answer needs.

    texts        key table: canonical text -> row
    words        key table of the words of requests that work for whoever said them: they only ever stop a rewrite
    status       [rows] uint8: GOOD, FAILING and PUBLIC, added up
    success      [rows] float32: share of turns that succeeded when left alone
    surfaces     [bytes] uint8, at surface_offsets [rows + 1] int64: the text as it is written, empty where the same
    entry        [rows] int32: number of the row's precomputed rewrite, or -1
    target, score, margin, users, chance   [entries]: the precomputed rewrites
    standing     [entries] uint8: ON and SURE, added up
    corrections  [corrections, 3] int32 (source, target, count), at correction_offsets [owners + 1] int64
    owners       key table: user -> place in correction_offsets
    contextual, context_counts   what context changes (`rewrite.contextual`)
    """

    texts: KeyTable
    words: KeyTable
    owners: KeyTable
    status: Bytes
    success: Shares
    surfaces: Bytes
    surface_offsets: Offsets
    entry: Ints
    target: Ints
    score: Shares
    margin: Shares
    users: Ints
    chance: Shares
    standing: Bytes
    corrections: Ints
    correction_offsets: Offsets
    encoder: NgramEncoder
    global_layer: GlobalLayer[SparseVector]
    personal_layer: PersonalLayer[SparseVector]
    contextual: ContextualEntries
    context_counts: ContextCounts

    @classmethod
    def load(cls, folder: Path) -> ServingArrays:
        """Maps the arrays in `folder`. Raises retrieval.FolderError."""
        saved = Folder(folder, KIND)
        flat = {name: saved.array(name, kind) for name, kind in _FLAT.items()}
        corrections = saved.array("corrections", np.int32, dimensions=2)
        table = SparseRows.load(folder / "vectors")
        texts = KeyTable.load(folder / "texts")
        return cls(
            texts=texts,
            words=KeyTable.load(folder / "words"),
            owners=KeyTable.load(folder / "owners"),
            corrections=corrections,
            encoder=NgramEncoder.load(folder / "encoder"),
            global_layer=GlobalLayer.load(folder / "global", table),
            personal_layer=PersonalLayer.load(folder / "personal", table),
            contextual=ContextualEntries.load(folder / "context" / "entries"),
            context_counts=ContextCounts.load(folder / "context" / "counts", len(texts)),
            **flat,
        )

    def surface(self, row: int) -> str:
        """The text of a row as it is most often written."""
        span = self.surfaces[self.surface_offsets[row] : self.surface_offsets[row + 1]]
        return span.tobytes().decode() if len(span) else self.texts.key(row)


_FLAT: Mapping[str, Any] = {
    "status": np.uint8,
    "success": np.float32,
    "surfaces": np.uint8,
    "surface_offsets": np.int64,
    "entry": np.int32,
    "target": np.int32,
    "score": np.float32,
    "margin": np.float32,
    "users": np.int32,
    "chance": np.float32,
    "standing": np.uint8,
    "correction_offsets": np.int64,
}


def build_serving(
    folder: Path,
    population: pa.Table,
    table: Sequence[TableEntry],
    histories: Iterable[HistoryEntry],
    corrections: Sequence[Correction],
) -> None:
    """Writes the arrays into `folder`.

    `population` has the columns said, surface (strings), weight, success (millionths) and status, one row a text, in
    order of `said`. Histories and corrections of one user stand together.
    """
    _build_lookups(folder, population, table, corrections)
    encoder = NgramEncoder.fit(_strings(population, "said"))
    vectors = encoder.encode(_strings(population, "said"))
    good = np.flatnonzero(population["status"].to_numpy() & GOOD)
    encoder.save(folder / "encoder")
    vectors.save(folder / "vectors")
    GlobalLayer.build(vectors, good.astype(np.int64)).save(folder / "global")
    PersonalLayer.build(vectors, histories).save(folder / "personal")


def _build_lookups(
    folder: Path, population: pa.Table, table: Sequence[TableEntry], corrections: Sequence[Correction]
) -> None:
    KeyTable.build(_strings(population, "said")).save(folder / "texts")
    status = population["status"].to_numpy()
    success = (population["success"].to_numpy() / population["weight"].to_numpy()).astype(np.float32)
    works = zip(_strings(population, "said"), (success >= WORKS).tolist(), strict=True)
    KeyTable.build(sorted({word for text, well in works if well for word in text.split()})).save(folder / "words")
    owners = list(dict.fromkeys(each.user for each in corrections))
    KeyTable.build(owners).save(folder / "owners")
    place = {user: number for number, user in enumerate(owners)}
    owned: Sequence[int] = []
    if corrections:
        owned = np.bincount([place[each.user] for each in corrections], minlength=len(owners)).tolist()
    pairs = zip(_strings(population, "surface"), _strings(population, "said"), strict=True)
    surfaces = [b"" if surface == text else surface.encode() for surface, text in pairs]
    entry = np.full(population.num_rows, -1, np.int32)
    entry[[each.source for each in table]] = np.arange(len(table), dtype=np.int32)
    arrays: dict[str, NDArray[Any]] = {
        "status": status,
        "success": success,
        "surfaces": np.frombuffer(b"".join(surfaces), np.uint8),
        "surface_offsets": np.cumsum([0, *map(len, surfaces)], dtype=np.int64),
        "entry": entry,
        "target": np.array([each.target for each in table], np.int32),
        "score": np.array([each.score for each in table], np.float32),
        "margin": np.array([each.margin for each in table], np.float32),
        "users": np.array([each.users for each in table], np.int32),
        "chance": np.array([each.chance for each in table], np.float32),
        "standing": np.array([ON * each.on + SURE * each.sure for each in table], np.uint8),
        "corrections": np.array([each[1:] for each in corrections], np.int32).reshape(-1, 3),
        "correction_offsets": np.cumsum([0, *owned], dtype=np.int64),
    }
    write_folder(folder, KIND, arrays, {"texts": population.num_rows})


def _strings(table: pa.Table, name: str) -> Iterator[str]:
    for chunk in table[name].chunks:
        yield from chunk.to_pylist()
