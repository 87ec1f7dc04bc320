"""Stage 6 of the mining job: rewrites of an earlier bundle that the new log does not speak of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa

from rewrite.bundle import Bundle
from rewrite.config import GateConfig
from rewrite.execution import MICRO, Execution
from rewrite.gate import LIVE_TURNS, lower_bound, upper_bound
from rewrite.mining import Candidate, candidate_from_record, judge_pair
from rewrite.populations import REQUEST_FIELDS

_PAIRS = pa.schema([("source", pa.string()), ("target", pa.string())])
_CARRIED = pa.schema(REQUEST_FIELDS)


def carry(tables: Execution, earlier: Bundle | None, candidates: list[Candidate], gate: GateConfig) -> list[Candidate]:
    """Stage 6: rewrites of an earlier bundle of which this log holds too little to judge them anew.

    While a rewrite is live, the request is hardly ever left alone, so that the log no longer shows why it was needed.
    It stays if the request was not left alone often enough to be judged by itself, if the earlier evidence and this
    log's, taken together, still pass this gate, if the new log does not show it to work, and if its target is not
    itself rewritten now.
    """
    kept = [candidate_from_record(row) for row in earlier.rewrites()] if earlier else []
    known = {each.source for each in candidates if each.verdict.kept}
    open_ = [each for each in kept if each.source not in known and each.target not in known]
    tables.write("earlier", iter([_pairs(open_)]), _PAIRS)
    ends = "SELECT source FROM earlier UNION SELECT target FROM earlier"
    texts = tables.table(f"SELECT said, users, weight, success FROM texts WHERE said IN ({ends})").to_pylist()
    seen = {row["said"]: row for row in texts}
    served = tables.table("SELECT * FROM served WHERE said IN (SELECT source FROM earlier)").to_pylist()
    live = {(row["said"], row["rewrite"]): row for row in served}
    merged = [_with_new(each, seen, live, gate) for each in open_]
    carried = [
        each
        for each, before in zip(merged, open_, strict=True)
        if each.verdict.kept
        and seen.get(each.source, _NOTHING)["weight"] / MICRO < min(LIVE_TURNS, before.evidence.source_turns)
        and not _works_now(seen.get(each.source, _NOTHING), gate)
        and not _failed_live(before, live.get((each.source, each.target), _NOTHING), gate)
    ]
    tables.write("carried", iter([_carried_texts(carried)]), _CARRIED)
    return carried


_NOTHING: dict[str, Any] = {"users": 0, "weight": 0, "success": 0}


def _with_new(
    earlier: Candidate, seen: dict[str, dict[str, Any]], live: dict[tuple[str, str], dict[str, Any]], gate: GateConfig
) -> Candidate:
    """The candidate with the new log's turns added to its evidence, judged again."""
    source, target = seen.get(earlier.source, _NOTHING), seen.get(earlier.target, _NOTHING)
    served = live.get((earlier.source, earlier.target), _NOTHING)
    old = earlier.evidence
    evidence = replace(
        old,
        source_users=max(old.source_users, source["users"]),
        source_turns=old.source_turns + source["weight"] / MICRO,
        source_success=old.source_success + source["success"] / MICRO,
        target_users=max(old.target_users, target["users"]),
        target_turns=old.target_turns + target["weight"] / MICRO,
        target_success=old.target_success + target["success"] / MICRO,
        served_turns=old.served_turns + served["weight"] / MICRO,
        served_success=old.served_success + served["success"] / MICRO,
    )
    return replace(earlier, evidence=evidence, verdict=judge_pair(earlier.source, earlier.target, evidence, gate)[0])


def _pairs(candidates: list[Candidate]) -> pa.RecordBatch:
    rows = [{"source": each.source, "target": each.target} for each in candidates]
    return pa.RecordBatch.from_pylist(rows, schema=_PAIRS)


def _works_now(source: dict[str, Any], gate: GateConfig) -> bool:
    """Whether the new log alone shows the source to work more often than not."""
    return bool(lower_bound(source["success"] / MICRO, source["weight"] / MICRO, gate.confidence) > 0.5)


def _failed_live(candidate: Candidate, served: dict[str, Any], gate: GateConfig) -> bool:
    turns = served["weight"] / MICRO
    best = float(upper_bound(served["success"] / MICRO, turns, gate.confidence))
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
