"""Where the stages of the mining job run: portable SQL plus "map these Arrow batches", over named tables.

A stage says *what* table is made from which; an execution says where. The embedded one is DuckDB
(`duckdb_execution`); a cluster engine implements the same methods. Tables are written once, under a name,
and a table that is already whole is not made again: that is how a killed job goes on where it was.

SQL given to an execution must be portable: standard functions only, every window with a total order and
NULLS LAST. Sums are taken over integers (`MICRO`), since the order in which an engine adds floats is not fixed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa

#: Probabilities and weights travel as whole millionths, so that sums do not depend on the order of addition.
MICRO = 1_000_000

#: Turns of one user beyond this many may be handed to a mapped function in several batches.
LARGEST_GROUP = 200_000

BatchFunction = Callable[[pa.RecordBatch], pa.RecordBatch]


class Execution(ABC):
    """An engine that keeps named tables and makes new ones from them."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether the table is there and whole."""

    @abstractmethod
    def write(self, name: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
        """Keeps the batches as a table, unless it is already whole."""

    @abstractmethod
    def query(self, name: str, sql: str) -> None:
        """Keeps the answer of a query over the tables as a table, unless it is already whole."""

    @abstractmethod
    def drop(self, name: str) -> None:
        """Forgets a table, so that it is made again."""

    @abstractmethod
    def map(
        self,
        name: str,
        source: str,
        function: BatchFunction,
        schema: pa.Schema,
        *,
        whole: str,
        told: Callable[[int], None] = lambda rows: None,
    ) -> None:
        """Keeps the outputs of a function over the batches of `source`, in order, as a table.

        `source` is a table that was made with an ORDER BY that begins with the column `whole`; rows with
        equal `whole` come in one batch (up to LARGEST_GROUP rows). The function must be picklable and pure. `told`
        hears of the rows as they are done.
        """

    @abstractmethod
    def groups(self, source: str, whole: str) -> Iterator[pa.RecordBatch]:
        """The rows of a table in order, in the batches over which `map` maps a function."""

    @abstractmethod
    def read(self, sql: str, rows: int = 100_000) -> Iterator[pa.RecordBatch]:
        """The answer of a query, in batches of at most `rows` rows."""

    @abstractmethod
    def export(self, name: str, path: Path) -> None:
        """Writes a table to one Parquet file."""

    def table(self, sql: str) -> pa.Table:
        """A small answer, whole."""
        return pa.Table.from_batches(list(self.read(sql)))

    def one(self, sql: str) -> tuple[object, ...]:
        """The only row of an answer."""
        return tuple(column[0].as_py() for column in self.table(sql).columns)
