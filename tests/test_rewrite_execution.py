"""The embedded execution: tables that are made once, groups that stay whole, and a pool that keeps the order."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest

from rewrite.duckdb_execution import DuckDBExecution, Workers, _whole_groups
from rewrite.execution import MICRO

SCHEMA = pa.schema([("user_id", pa.string()), ("turns", pa.int64())])


def batch(rows: list[tuple[str, int]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"user_id": user, "turns": turns} for user, turns in rows], schema=SCHEMA)


@pytest.fixture
def tables(tmp_path: Path):
    execution = DuckDBExecution(tmp_path / "work")
    yield execution
    execution.close()


def test_a_query_over_what_was_written(tables: DuckDBExecution):
    tables.write("turns", iter([batch([("ann", 1), ("bob", 2)]), batch([("ann", 3)])]), SCHEMA)
    tables.query("sums", "SELECT user_id, CAST(sum(turns) AS BIGINT) AS turns FROM turns GROUP BY user_id")
    assert tables.table("SELECT * FROM sums ORDER BY user_id").to_pylist() == [
        {"user_id": "ann", "turns": 4},
        {"user_id": "bob", "turns": 2},
    ]


def test_a_whole_table_is_not_made_again(tables: DuckDBExecution):
    tables.write("turns", iter([batch([("ann", 1)])]), SCHEMA)
    tables.write("turns", iter([batch([("bob", 9)])]), SCHEMA)
    tables.query("turns", "SELECT 'carl' AS user_id")
    assert tables.table("SELECT user_id FROM turns").to_pylist() == [{"user_id": "ann"}]
    tables.drop("turns")
    assert not tables.has("turns")


def test_tables_outlive_the_execution_and_half_tables_do_not(tmp_path: Path):
    first = DuckDBExecution(tmp_path)
    first.write("turns", iter([batch([("ann", 1)])]), SCHEMA)
    first.close()
    (tmp_path / "sums.part").write_bytes(b"half")
    second = DuckDBExecution(tmp_path)
    assert second.has("turns")
    assert second.one("SELECT turns FROM turns") == (1,)
    assert not (tmp_path / "sums.part").exists()
    second.close()


def test_a_folder_that_looks_like_a_partition_adds_no_column(tmp_path: Path):
    execution = DuckDBExecution(tmp_path / "day=2026-03-02" / "work")
    execution.write("turns", iter([batch([("ann", 1)])]), SCHEMA)
    assert execution.table("SELECT * FROM turns").schema.names == ["user_id", "turns"]
    execution.close()


def test_an_answer_without_rows_has_its_columns(tables: DuckDBExecution):
    tables.write("turns", iter([]), SCHEMA)
    assert tables.table("SELECT * FROM turns").schema.names == ["user_id", "turns"]


def test_a_table_that_fails_is_not_there(tables: DuckDBExecution):
    def broken():
        yield batch([("ann", 1)])
        raise RuntimeError("the log ends here")

    with pytest.raises(RuntimeError, match="the log ends here"):
        tables.write("turns", broken(), SCHEMA)
    assert not tables.has("turns")


@pytest.mark.parametrize("name", ["Turns", "a b", "x; DROP", ""])
def test_odd_names_are_refused(tables: DuckDBExecution, name: str):
    with pytest.raises(ValueError, match="lower-case"):
        tables.has(name)


def test_groups_stay_whole(tables: DuckDBExecution, monkeypatch: pytest.MonkeyPatch):
    rows = [(f"u{user:03}", turn) for user in range(40) for turn in range(1 + user % 7)]
    tables.write("turns", iter([batch(rows)]), SCHEMA)
    monkeypatch.setattr("rewrite.duckdb_execution._ROW_GROUP", 10)
    pieces = list(_whole_groups(tables.folder / "turns.parquet", "user_id"))
    assert len(pieces) > 5
    users = [set(piece["user_id"].to_pylist()) for piece in pieces]
    assert all(not (a & b) for a, b in pairwise(users))
    assert [row for piece in pieces for row in piece.to_pylist()] == batch(rows).to_pylist()


def test_a_group_beyond_bounds_is_cut(tables: DuckDBExecution, monkeypatch: pytest.MonkeyPatch):
    tables.write("turns", iter([batch([("robot", turn) for turn in range(100)])]), SCHEMA)
    monkeypatch.setattr("rewrite.duckdb_execution._ROW_GROUP", 10)
    monkeypatch.setattr("rewrite.duckdb_execution.LARGEST_GROUP", 30)
    sizes = [piece.num_rows for piece in _whole_groups(tables.folder / "turns.parquet", "user_id")]
    assert sizes == [30, 30, 30, 10]


def double(number: int) -> int:
    return 2 * number


@pytest.mark.parametrize("count", [1, 2])
def test_workers_keep_the_order(count: int):
    workers = Workers(count)
    assert list(workers.map(double, range(50))) == [2 * number for number in range(50)]
    workers.close()


def fails_at_three(number: int) -> int:
    if number == 3:
        raise ValueError("three")
    return number


@pytest.mark.parametrize("count", [1, 2])
def test_a_fault_in_a_worker_comes_out(count: int):
    workers = Workers(count)
    with pytest.raises(ValueError, match="three"):
        list(workers.map(fails_at_three, range(50)))
    workers.close()


def test_sums_of_millionths_do_not_depend_on_the_order(tables: DuckDBExecution):
    rows = [("ann", round(0.1 * MICRO)) for _ in range(1000)]
    tables.write("turns", iter([batch(rows)]), SCHEMA)
    assert tables.one("SELECT CAST(sum(turns) AS BIGINT) FROM turns") == (100 * MICRO,)
