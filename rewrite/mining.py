"""From counts to rewrites: the chain proposes, the guards and the gate dispose."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from markov import AbsorbingChain, Counts, Edges, Reformulation
from rewrite.config import GateConfig
from rewrite.decision import rewrite_id
from rewrite.execution import MICRO
from rewrite.gate import Evidence, GateReason, Verdict, judge, lower_bound, settled, upper_bound
from rewrite.guards import strays, table_guard

#: Targets of each source that are put to the gate, the best first.
TARGETS_TRIED = 3

#: In a component with more states than this, only the sources that the gate could keep are searched: all pairs of a
#: component grow with the square of its size, and where one user is enough a log has one that holds a third of it.
LARGE_COMPONENT = 5_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pair that was judged. Texts are canonical; shares are probabilities; turns are as the log holds them."""

    source: str
    target: str
    verdict: Verdict
    evidence: Evidence
    score: float  # N[u, j] R[j, success]
    route: tuple[str, ...]
    route_turns: int
    guard: str | None = None
    carried: bool = field(default=False)  # kept from an earlier bundle, since this log does not speak of it

    @property
    def id(self) -> str:
        """The name of the pair."""
        return rewrite_id(self.source, self.target)


def chain_of(states: pa.Table, hops: pa.Table) -> AbsorbingChain | None:
    """The chain over texts; None where no hop has enough users. What is not a hop ends in success or failure."""
    if not hops.num_rows:
        return None
    names = states["said"].to_pylist()
    place = {name: number for number, name in enumerate(names)}
    source = np.array([place[name] for name in hops["said"].to_pylist()], np.int64)
    target = np.array([place[name] for name in hops["next_said"].to_pylist()], np.int64)
    weight = hops["weight"].to_numpy() / MICRO
    total, well = states["weight"].to_numpy() / MICRO, states["ended_well"].to_numpy() / MICRO
    moved_on = np.bincount(source, weight, len(names))
    edges = Edges(source, target, weight, hops["turns"].to_numpy(), hops["users"].to_numpy())
    failed = np.maximum(total - moved_on - well, 0.0)
    return AbsorbingChain.from_counts(
        Counts(tuple(names), edges, well, failed, states["turns"].to_numpy(), states["users"].to_numpy())
    )


def judge_all(chain: AbsorbingChain, states: pa.Table, served: pa.Table, gate: GateConfig) -> list[Candidate]:
    """Every reformulation with its verdict, in order of source and score; `states` as the chain was made of.

    Of sources in a component of more than LARGE_COMPONENT states, only those that could be kept.
    """
    live = {(row["said"], row["rewrite"]): row for row in served.to_pylist()}
    reached = chain.solution.success + elsewhere(chain, states)
    sources = _searched(chain, states, reached, {source for source, _ in live}, gate)
    found = chain.reformulations(sources, k=TARGETS_TRIED, min_users=gate.min_users)
    columns = {name: states[name].to_numpy() for name in ("users", "weight", "success")} | {"reached": reached}
    spoken = {state for each in found for state in (each.source, each.target)}
    rows = {str(state): _row(columns, chain.index(state)) for state in spoken}
    return [_candidate(each, rows, live, gate) for each in found]


def elsewhere(chain: AbsorbingChain, states: pa.Table) -> NDArray[np.float64]:
    """P(going on to a text that too few users went on to) from each state [states] float64.

    Such steps are no hops, but their speakers meant something, and it was not the target: without them, a target that
    seven of sixty went on to would seem to be what all meant, only because the others went fifty-three ways.
    """
    counts = chain.counts
    gone = states["moved_on"].to_numpy() / MICRO
    hopped = np.bincount(counts.edges.source, counts.edges.weight, len(counts.states))
    lost = np.minimum(np.maximum(gone - hopped, 0.0), counts.failure)
    ends = replace(counts, success=lost, failure=counts.success + counts.failure - lost)
    return AbsorbingChain.from_counts(ends).solution.success


def _searched(
    chain: AbsorbingChain, states: pa.Table, reached: NDArray[np.float64], live: Collection[str], gate: GateConfig
) -> list[str] | None:
    """The states to look for targets of; None for all. Left out are sources of large components that would not be kept
    even if all their goals ended in one target that never fails, and that are not live.
    """
    _, label = connected_components(chain.Q, directed=True, connection="weak")
    large = np.bincount(label)[label] > LARGE_COMPONENT
    if not large.any():
        return None
    weight, success = (states[name].to_numpy() / MICRO for name in ("weight", "success"))
    goals = weight * reached
    best = lower_bound(goals, goals, gate.confidence)
    hopeful = best > upper_bound(success, weight, gate.confidence) + gate.margin
    names = zip(map(str, chain.states), (~large | hopeful).tolist(), strict=True)
    return [name for name, searched in names if searched or name in live]


def _row(columns: Mapping[str, NDArray[Any]], number: int) -> dict[str, float]:
    return {name: column[number].item() for name, column in columns.items()}


def chosen(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The best kept candidate of each source, by source.

    They form no loop: where u goes to j, j's success lies above u's with confidence, so j does not go back to u.
    """
    best: dict[str, Candidate] = {}
    for each in candidates:
        if each.verdict.kept:
            best.setdefault(each.source, each)
    return [best[source] for source in sorted(best)]


def _candidate(
    found: Reformulation,
    rows: Mapping[str, dict[str, float]],
    live: Mapping[tuple[str, str], dict[str, int]],
    gate: GateConfig,
) -> Candidate:
    source, target = str(found.source), str(found.target)
    u, j, on = rows[source], rows[target], live.get((source, target), {})
    evidence = Evidence(
        source_users=int(u["users"]),
        source_turns=u["weight"] / MICRO,
        source_success=u["success"] / MICRO,
        target_users=int(j["users"]),
        target_turns=j["weight"] / MICRO,
        target_success=j["success"] / MICRO,
        route_users=found.support_users,
        goals=u["weight"] / MICRO * u["reached"],
        share=min(found.score / u["reached"], 1.0) if u["reached"] else 0.0,
        served_turns=on.get("weight", 0) / MICRO,
        served_success=on.get("success", 0) / MICRO,
    )
    verdict, guard = judge_pair(source, target, evidence, gate)
    route = tuple(str(state) for state in found.route)
    return Candidate(source, target, verdict, evidence, found.score, route, found.support_turns, guard)


def judge_pair(source: str, target: str, evidence: Evidence, gate: GateConfig) -> tuple[Verdict, str | None]:
    """The verdict on a pair by its evidence and by its words; and what the guard says of it."""
    verdict, guard = judge(evidence, gate), table_guard(source, target)
    if guard is not None and verdict.kept:
        verdict = replace(verdict, reason=GateReason.GUARDED)
    elif verdict.kept and not settled(evidence) and strays(source, target):
        verdict = replace(verdict, reason=GateReason.OTHER_GOAL)
    return verdict, guard


REWRITE_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("rewrite", pa.string()),  # the target as it is most often written: what is served
        ("target", pa.string()),
        ("rewrite_id", pa.string()),
        ("reason", pa.string()),
        ("guard", pa.string()),
        ("alone", pa.float64()),
        ("alone_upper", pa.float64()),
        ("rewritten", pa.float64()),
        ("rewritten_lower", pa.float64()),
        ("margin", pa.float64()),
        ("share", pa.float64()),
        ("chain_score", pa.float64()),
        ("route", pa.list_(pa.string())),
        ("route_users", pa.int64()),
        ("route_turns", pa.int64()),
        ("source_users", pa.int64()),
        ("source_turns", pa.float64()),
        ("source_success", pa.float64()),
        ("target_users", pa.int64()),
        ("target_turns", pa.float64()),
        ("target_success", pa.float64()),
        ("goals", pa.float64()),
        ("served_turns", pa.float64()),
        ("served_success", pa.float64()),
        ("carried", pa.bool_()),
    ]
)


def records(candidates: Sequence[Candidate], surface: Mapping[str, str]) -> Iterator[dict[str, object]]:
    """The candidates as rows of REWRITE_SCHEMA; shares to six digits, so that the text is stable."""
    for each in candidates:
        verdict, evidence = each.verdict, asdict(each.evidence)
        row: dict[str, object] = {
            "source": each.source,
            "rewrite": surface.get(each.target, each.target),
            "target": each.target,
            "rewrite_id": each.id,
            "reason": verdict.reason.value,
            "guard": each.guard,
            "alone": verdict.alone,
            "alone_upper": verdict.alone_upper,
            "rewritten": verdict.rewritten,
            "rewritten_lower": verdict.rewritten_lower,
            "margin": verdict.rewritten_lower - verdict.alone_upper,
            "chain_score": each.score,
            "route": list(each.route),
            "route_turns": each.route_turns,
            "carried": each.carried,
            **evidence,
        }
        yield {
            name: round(value, 6) if isinstance(value := row[name], float) else value for name in REWRITE_SCHEMA.names
        }


def candidate_from_record(row: Mapping[str, object]) -> Candidate:
    """A candidate read back from a bundle, marked as carried."""
    numbers = {name: row[name] for name in Evidence.__dataclass_fields__}
    verdict = Verdict(
        GateReason(str(row["reason"])),
        *(float(str(row[name])) for name in ("alone", "alone_upper", "rewritten", "rewritten_lower")),
    )
    route = row["route"] if isinstance(row["route"], list) else []
    return Candidate(
        str(row["source"]),
        str(row["target"]),
        verdict,
        Evidence(**numbers),  # type: ignore[arg-type]
        float(str(row["chain_score"])),
        tuple(map(str, route)),
        int(str(row["route_turns"])),
        carried=True,
    )
