"""Stages 9 and 10 of the mining job: the bundle on disk, and its publication."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rephrase_detection import RephraseDetector
from retrieval import HistoryEntry
from rewrite.bundle import COUNTS, Bundle, write_manifest
from rewrite.config import LearnConfig
from rewrite.context_entries import CONTEXT_SCHEMA, ContextEntry, context_records
from rewrite.contextual import ALONE, ContextCounts, ContextualEntries, ContextualEntry
from rewrite.dense_serving import Population
from rewrite.dense_writing import frames_of, write_dense, write_frames
from rewrite.detectors import carry
from rewrite.execution import MICRO, Execution
from rewrite.facts import Span
from rewrite.gate import GateReason, Standing
from rewrite.graph import Graph
from rewrite.mining import REWRITE_SCHEMA, Candidate, records
from rewrite.neighbourhood import STATE_SCHEMA, TRANSITION_SCHEMA, state_rows, transition_rows
from rewrite.overrides import Overrides
from rewrite.own_counts import KEPT_TABLES
from rewrite.progress import Progress
from rewrite.publish import locked, restore, swap_in
from rewrite.retriever import Retriever
from rewrite.serving import FAILING, GOOD, PUBLIC, Correction, TableEntry, build_serving
from rewrite.table import SUSPENSION_SCHEMA, Table

_PUBLIC_TABLES = {
    "requests": f"""SELECT said AS text, surface, users, turns, weight / {MICRO}.0 AS weight,
        success / {MICRO}.0 AS success, lower, upper, last_seen,
        CASE status WHEN {PUBLIC + GOOD} THEN 'good' WHEN {PUBLIC + FAILING} THEN 'failing'
                    WHEN {PUBLIC} THEN 'unknown' ELSE 'private' END AS status
        FROM population ORDER BY number""",
    "histories": f"""SELECT user_id, said AS text, turns, success / {MICRO}.0 AS success, last_seen
        FROM histories ORDER BY user_id, number""",
    "corrections": """SELECT user_id, said AS source, next_said AS target, turns
        FROM correction_rows ORDER BY user_id, source""",
}


def write_bundle(
    tables: Execution,
    draft: Path,
    config: LearnConfig,
    log: Mapping[str, Any],
    span: Span,
    graph: Graph | None,
    table: Table,
    detector: RephraseDetector,
    progress: Progress,
    retriever: Retriever | None = None,
    earlier: Bundle | None = None,
) -> None:
    """Stage 9, the writing: tables for the machine and people, the serving arrays, the models, and the manifest."""
    with progress.stage("writing the bundle"):
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        surface = _of_texts(tables, "surface", _named(table))
        _write_rows(draft / "candidates.parquet", records(table.candidates, surface), REWRITE_SCHEMA)
        _write_rows(draft / "rewrites.parquet", records(table.rewrites, surface), REWRITE_SCHEMA)
        _write_rows(draft / "contexts.parquet", context_records(table.contexts, surface), CONTEXT_SCHEMA)
        _write_rows(draft / "suspensions.parquet", map(asdict, table.suspensions), SUSPENSION_SCHEMA)
        _write_rows(draft / "states.parquet", state_rows(graph), STATE_SCHEMA)
        _write_rows(draft / "transitions.parquet", transition_rows(graph), TRANSITION_SCHEMA)
        with open(draft / "rewrites.jsonl", "w", encoding="utf-8", newline="\n") as lines:
            for row in records(table.rewrites, surface):
                lines.write(json.dumps(row, ensure_ascii=False) + "\n")
        for name, sql in _PUBLIC_TABLES.items():
            _write_table(draft / f"{name}.parquet", tables.read(sql))
        (draft / COUNTS).mkdir()
        for name in KEPT_TABLES:
            tables.export(name, draft / COUNTS / f"{name}.parquet")
        population = write_index(tables, draft / "index", table)
        frames = frames_of(tables, earlier, set(population.texts), config.gate.min_users)
        write_frames(draft, frames)
        dense: dict[str, Any] = {}
        if retriever is not None:
            dense = write_dense(draft, population, frames, retriever, earlier)
        counts = {
            "turns": span.turns,
            "users": _rows(tables, "watermarks"),
            "sessions": span.sessions,
            "rewrites": len(table.rewrites),
            "contexts": len(table.contexts),
            "trials": len(table.trials),
            "candidates": len(table.candidates),
            "suspensions": len(table.suspensions),
            "requests": len(population.texts),
            "known_good": len(population.good),
            "corrections": _rows(tables, "correction_rows"),
            "histories": _rows(tables, "histories"),
        }
        created = datetime.now(UTC).isoformat(timespec="seconds")
        write_manifest(
            draft,
            created=created,
            parameters=config.as_dict(),
            log=log,
            span=asdict(span),
            counts=counts,
            detector=carry(detector, draft),
            retriever=dense,
        )


def write_index(tables: Execution, index: Path, table: Table) -> Population:
    """Writes the arrays that an engine serves from into the folder `index`; the population that they are over."""
    columns = "said, surface, users, weight, success, status"
    population = tables.table(f"SELECT {columns} FROM population ORDER BY said")
    served = [*table.rewrites, *table.trials]
    row_of = _of_texts(tables, "number", _named(table))
    entries = [
        TableEntry(
            row_of[each.source],
            row_of[each.target],
            each.verdict.rewritten,
            each.verdict.rewritten_lower - each.verdict.alone_upper,
            each.evidence.route_users,
            each.verdict.chance,
            each.verdict.standing is Standing.ON,
            each.verdict.reason is not GateReason.HELD,
        )
        for each in served
    ]
    owned = tables.table("SELECT user_id, source, target, turns FROM correction_rows ORDER BY user_id, source")
    corrections = [Correction(*row) for row in zip(*(column.to_pylist() for column in owned.columns), strict=True)]
    build_serving(index, population, entries, _history_entries(tables), corrections)
    _write_contexts(tables, index / "context", table.contexts, row_of, population.num_rows)
    good = np.flatnonzero(population["status"].to_numpy() & GOOD).astype(np.int64)
    targets = {each.target: each.score for each in entries}
    return Population(population["said"].to_pylist(), population["users"].to_numpy(), good, targets)


def publish(draft: Path, out: Path, earlier: Bundle | None, progress: Progress) -> None:
    """Puts the draft in the place of the bundle at `out`, with the pins and blocks of both bundles that were."""
    with progress.stage("publishing"), locked(out, "edit", wait=True):
        restore(out)
        overrides = Overrides.load(out)
        if earlier is not None:
            overrides = overrides.over(earlier.overrides)
        if overrides.pinned or overrides.blocked:
            overrides.save(draft)
        swap_in(draft, out)


def _write_rows(path: Path, rows: Iterable[Mapping[str, object]], schema: pa.Schema) -> None:
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        writer.write_table(pa.Table.from_pylist(list(rows), schema=schema))


def _write_table(path: Path, batches: Iterator[pa.RecordBatch]) -> None:
    first = next(batches)
    with pq.ParquetWriter(path, first.schema, compression="zstd") as writer:
        writer.write_batch(first)
        for batch in batches:
            writer.write_batch(batch)


def _named(table: Table) -> set[str]:
    """The texts that a table leads from or to."""
    entries: list[Candidate | ContextEntry] = [*table.rewrites, *table.trials, *table.contexts]
    return {text for each in entries for text in (each.source, each.target) if text is not None}


def _of_texts(tables: Execution, column: str, wanted: set[str]) -> dict[str, Any]:
    """A column of the population, of the texts that are wanted."""
    found: dict[str, Any] = {}
    for batch in tables.read(f"SELECT said, {column} FROM population ORDER BY number"):
        pairs = zip(batch["said"].to_pylist(), batch[column].to_pylist(), strict=True)
        found |= {text: value for text, value in pairs if text in wanted}
    return found


def _history_entries(tables: Execution) -> Iterator[HistoryEntry]:
    for batch in tables.read("SELECT user_id, number, success, last_seen FROM histories ORDER BY user_id, number"):
        columns = (batch[name].to_pylist() for name in ("user_id", "number", "success", "last_seen"))
        for user, number, success, seen in zip(*columns, strict=True):
            yield HistoryEntry(user, number, max(1, round(success / MICRO)), seen)


def _write_contexts(
    tables: Execution, folder: Path, found: list[ContextEntry], row_of: Mapping[str, int], rows: int
) -> None:
    """The contextual rewrites, and under which tokens each request works, as arrays."""
    entries = [
        ContextualEntry(
            row_of[each.source],
            each.token,
            ALONE if each.target is None else row_of[each.target],
            each.verdict.rewritten,
            each.verdict.rewritten_lower - each.verdict.alone_upper,
            each.evidence.source_users,
            each.verdict.chance,
            each.strength,
        )
        for each in found
    ]
    ContextualEntries.build(entries).save(folder / "entries")
    counted = tables.table(
        """SELECT population.number AS number, known.token AS token, known.success AS success
           FROM contexts_known AS known JOIN population ON population.said = known.said ORDER BY number, token"""
    )
    successes = counted["success"].to_numpy() / MICRO
    counts = zip(counted["number"].to_pylist(), counted["token"].to_pylist(), successes.tolist(), strict=True)
    ContextCounts.build(rows, counts).save(folder / "counts")


def _rows(tables: Execution, name: str) -> int:
    return int(str(tables.one(f"SELECT count(*) FROM {name}")[0]))
