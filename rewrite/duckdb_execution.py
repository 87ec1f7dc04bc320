"""The embedded execution: DuckDB over Parquet files in a work folder, and a pool of processes for mapped functions.

One table is one Parquet file, written beside and renamed when whole, so a killed job finds its finished tables
again. Memory is bounded by DuckDB's limit (it spills to the work folder) plus a few batches per worker.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rewrite.errors import LearnError
from rewrite.execution import LARGEST_GROUP, BatchFunction, Execution

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_ROW_GROUP = 100_000

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class DuckDBExecution(Execution):
    """Tables as Parquet files in `folder`."""

    def __init__(
        self, folder: Path, *, threads: int = 2, memory_limit: str = "1GB", workers: Workers | None = None
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in [*folder.glob("*.part"), *folder.glob("answer-*.parquet")]:
            leftover.unlink()
        self._connection = duckdb.connect(
            config={
                "threads": threads,
                "memory_limit": memory_limit,
                "temp_directory": str(folder / "spill"),
                "preserve_insertion_order": False,
            }
        )
        self._workers = workers or Workers(1)
        self._answers = 0
        for table in sorted(folder.glob("*.parquet")):
            try:
                self._register(table.stem)
            except duckdb.Error:  # cut short when the machine went down: it is made again
                table.unlink()

    def close(self) -> None:
        """Ends the connection; the tables stay."""
        self._connection.close()

    def has(self, name: str) -> bool:
        return self._path(name).exists()

    def write(self, name: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
        if self.has(name):
            return
        part = self._path(name).with_suffix(".part")
        with pq.ParquetWriter(part, schema, compression="zstd", compression_level=1) as writer:
            for batch in batches:
                writer.write_batch(batch, row_group_size=_ROW_GROUP)
        self._publish(name, part)

    def query(self, name: str, sql: str) -> None:
        if self.has(name):
            return
        part = self._path(name).with_suffix(".part")
        self._copy(sql, part)
        self._publish(name, part)

    def drop(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

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
        if self.has(name):
            return
        self.write(name, _counted(self._workers.map(function, self.groups(source, whole)), told), schema)

    def groups(self, source: str, whole: str) -> Iterator[pa.RecordBatch]:
        return _whole_groups(self._path(source), whole)

    def read(self, sql: str, rows: int = 100_000) -> Iterator[pa.RecordBatch]:
        self._answers += 1
        path = self.folder / f"answer-{self._answers}.parquet"
        self._copy(sql, path)
        try:
            with pq.ParquetFile(path) as answer:
                yielded = False
                for batch in answer.iter_batches(rows):
                    yielded = True
                    yield batch
                if not yielded:
                    yield pa.RecordBatch.from_pylist([], schema=answer.schema_arrow)
        finally:
            path.unlink(missing_ok=True)

    def export(self, name: str, path: Path) -> None:
        shutil.copyfile(self._path(name), path)

    def _copy(self, sql: str, path: Path) -> None:
        target = str(path).replace("'", "''")
        try:
            self._connection.execute(
                f"COPY ({sql}) TO '{target}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1,"
                f" ROW_GROUP_SIZE {_ROW_GROUP})"
            )
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            raise LearnError(
                f"DuckDB could not write {path.name} in {self.folder}: {error}. Free some disk space or give more"
                " memory (memory_limit in the configuration), and run the same command again: it goes on from"
                " the last finished stage"
            ) from error

    def _publish(self, name: str, part: Path) -> None:
        os.replace(part, self._path(name))
        self._register(name)

    def _register(self, name: str) -> None:
        target = str(self._path(name)).replace("'", "''")
        table = f"read_parquet('{target}', hive_partitioning = false)"  # "a=1" in a folder's name is no column
        self._connection.execute(f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM {table}")

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"a table's name is lower-case letters, digits and underscores, not {name!r}")
        return self.folder / f"{name}.parquet"


class Workers:
    """A pool of processes that maps in order and keeps few inputs in flight; with one worker, no pool at all."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ProcessPoolExecutor | None = None

    def map(self, function: Callable[[_In], _Out], inputs: Iterable[_In]) -> Iterator[_Out]:
        """The outputs in the order of the inputs; at most two inputs a worker are held at a time."""
        if self.count <= 1:
            yield from map(function, inputs)
            return
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self.count, mp_context=get_context("spawn"), initializer=_live_and_die_with_the_job
            )
        running: deque[Future[Any]] = deque()
        try:
            for each in inputs:
                running.append(self._pool.submit(function, each))
                if len(running) >= 2 * self.count:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        except BrokenProcessPool as error:
            raise LearnError(
                f"a worker process ended abruptly ({error}); most often the memory gave out. Give fewer workers, and"
                " run the same command again: it goes on from the last finished stage"
            ) from error
        finally:
            for future in running:
                future.cancel()

    def close(self) -> None:
        """Ends the processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


def _live_and_die_with_the_job() -> None:
    """Begins each worker: Ctrl-C, which reaches them all, is for the job to answer; a killed job leaves no orphans."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_after_the_job, daemon=True).start()


def _end_after_the_job() -> None:
    job = parent_process()
    if job is not None:
        job.join()
        os._exit(1)


def _whole_groups(path: Path, key: str) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet file, in order, in batches that no group of equal keys straddles."""
    held: pa.Table | None = None
    with pq.ParquetFile(path) as source:
        for batch in source.iter_batches(_ROW_GROUP):
            table = pa.Table.from_batches([batch]) if held is None else pa.concat_tables([held, pa.table(batch)])
            last = table[key][table.num_rows - 1]
            cut = pc.index(table[key], last).as_py()  # sorted: the first row of the last, perhaps unfinished, group
            if cut == 0 and table.num_rows >= LARGEST_GROUP:
                cut = table.num_rows
            if cut:
                yield _one_batch(table.slice(0, cut))
            held = table.slice(cut)
        if held is not None and held.num_rows:
            yield _one_batch(held)


def _counted(batches: Iterable[pa.RecordBatch], told: Callable[[int], None]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        told(batch.num_rows)
        yield batch


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    return table.combine_chunks().to_batches()[0]
