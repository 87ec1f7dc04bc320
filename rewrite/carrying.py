"""Stage 6 of the mining job: rewrites of an earlier bundle that the new log does not speak of."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from rewrite.bundle import Bundle
from rewrite.config import GateConfig
from rewrite.execution import MICRO, Execution
from rewrite.gate import LIVE_TURNS, upper_bound
from rewrite.guards import table_guard
from rewrite.mining import Candidate, candidate_from_record

_PAIRS = pa.schema([("source", pa.string()), ("target", pa.string())])
_CARRIED = pa.schema(
    [
        ("said", pa.string()),
        ("surface", pa.string()),
        ("users", pa.int64()),
        ("turns", pa.int64()),
        ("weight", pa.int64()),
        ("success", pa.int64()),
        ("last_seen", pa.float64()),
    ]
)


def carry(tables: Execution, earlier: Bundle | None, candidates: list[Candidate], gate: GateConfig) -> list[Candidate]:
    """Stage 6: rewrites of an earlier bundle of which this log holds too little to judge them anew.

    While a rewrite is live, the request is hardly ever left alone, so that the log no longer shows why it was needed.
    It stays unless it was left alone often enough to be judged, or failed while it was served.
    """
    kept = [candidate_from_record(row) for row in earlier.rewrites()] if earlier else []
    known = {each.source for each in candidates if each.verdict.kept}
    open_ = [each for each in kept if each.source not in known and table_guard(each.source, each.target) is None]
    tables.write("earlier", iter([_pairs(open_)]), _PAIRS)
    alone = tables.table("SELECT texts.said AS said, weight FROM texts WHERE said IN (SELECT source FROM earlier)")
    weight = dict(zip(alone["said"].to_pylist(), alone["weight"].to_pylist(), strict=True))
    served = tables.table("SELECT * FROM served WHERE said IN (SELECT source FROM earlier)").to_pylist()
    live = {(row["said"], row["rewrite"]): (row["success"] / MICRO, row["weight"] / MICRO) for row in served}
    carried = [
        each
        for each in open_
        if weight.get(each.source, 0) / MICRO < min(LIVE_TURNS, each.evidence.source_turns)
        and not _failed_live(each, live.get((each.source, each.target), (0.0, 0.0)), gate)
    ]
    tables.write("carried", iter([_carried_texts(carried)]), _CARRIED)
    return carried


def _pairs(candidates: list[Candidate]) -> pa.RecordBatch:
    rows = [{"source": each.source, "target": each.target} for each in candidates]
    return pa.RecordBatch.from_pylist(rows, schema=_PAIRS)


def _failed_live(candidate: Candidate, live: tuple[float, float], gate: GateConfig) -> bool:
    success, turns = live
    best = float(upper_bound(success, turns, gate.confidence))
    return turns > 0 and best < candidate.verdict.alone_upper + gate.margin


def _carried_texts(carried: list[Candidate]) -> pa.RecordBatch:
    """The texts of carried rewrites, in case the log does not hold them any more."""
    texts: dict[str, dict[str, Any]] = {}
    for each in carried:
        seen = each.evidence
        for text, users, turns, success in (
            (each.source, seen.source_users, seen.source_turns, seen.source_success),
            (each.target, seen.target_users, seen.target_turns, seen.target_success),
        ):
            weight, well = round(turns * MICRO), round(success * MICRO)
            texts[text] = {"said": text, "surface": text, "users": users, "turns": round(turns), "weight": weight}
            texts[text] |= {"success": well, "last_seen": 0.0}
    return pa.RecordBatch.from_pylist(list(texts.values()), schema=_CARRIED)
