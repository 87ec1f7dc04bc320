"""From counts to judged pairs: the chain proposes, the gate and the guards judge each by itself."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from markov import Reformulation
from rewrite.config import GateConfig
from rewrite.decision import rewrite_id
from rewrite.execution import MICRO
from rewrite.gate import LIVE_TURNS, Evidence, GateReason, Standing, Verdict, judge, settled
from rewrite.graph import Graph, Kind, Node, Tables, said
from rewrite.guards import strays, table_guard
from rewrite.posterior import Beta
from rewrite.shrinkage import shrink

#: Targets of each source that are put to the gate, the best first.
TARGETS_TRIED = 3

#: States of the chain looked at for these: several may stand for one text.
STATES_TRIED = 3 * TARGETS_TRIED

#: What others lead one to expect of a text counts as so many turns at most. Success is a probability here, which
#: scatters less than coin tosses, so that texts look more alike than they are; and a rewrite needs five users, not
#: fifty.
BORROWED = 2.0

#: Of a source's turns, how many must be taken as the target is for both to mean the same.
SAME_MEANING = 0.9

#: In a component with more states than this, only the sources that the gate could keep are searched: all pairs of a
#: component grow with the square of its size, and where one user is enough a log has one that holds a third of it.
LARGE_COMPONENT = 5_000

#: What was known of a request when its rewrite was turned on counts as so many turns, at most, while it is live.
REMEMBERED = 10.0

Pair = tuple[str, str]


class Alone(NamedTuple):
    """What an earlier bundle knew of a request left alone: success, and as how many turns that counts."""

    success: float
    turns: float


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
    known: Alone | None = None  # of the source, when the pair was turned on; None: it never was

    @property
    def id(self) -> str:
        """The name of the pair."""
        return rewrite_id(self.source, self.target)

    @property
    def pair(self) -> Pair:
        """Source and target."""
        return self.source, self.target

    def standing_at(self, standing: Standing, reason: GateReason | None = None) -> Candidate:
        """The same with another standing, and perhaps another reason."""
        return replace(self, verdict=replace(self.verdict, standing=standing, reason=reason or self.verdict.reason))


@dataclass(frozen=True, slots=True)
class Proposal:
    """A pair as the chain proposes it."""

    source: str
    target: str
    score: float
    states: tuple[Reformulation, ...]  # that stand for the target, the one with the highest score first

    @property
    def pair(self) -> Pair:
        """Source and target."""
        return self.source, self.target


def judge_all(
    graph: Graph, tables: Tables, priors: Beta, gate: GateConfig, live: Mapping[Pair, Alone] | None = None
) -> list[Candidate]:
    """Every reformulation with its verdict, in order of source and score.

    `priors` are of the texts of `tables`, in their order. `live` are the pairs that are on: where a source's target and
    a live one mean the same, the live one stays the target. Of sources in a component of more than LARGE_COMPONENT
    states, only those that could be kept.

    A request that is rewritten is hardly left alone any more, and what was known of it ages. It does not become less
    true by that: where the rewrite has a record, what was known is remembered (REMEMBERED), for new turns to speak
    against.
    """
    live = live or {}
    served = {(row["said"], row["rewrite"]): row for row in tables.served.to_pylist()}
    rows = _text_rows(graph, tables, priors, live)
    sources = _searched(graph, rows, {source for source, _ in [*served, *live]}, gate)
    found = graph.chain.reformulations(sources, k=STATES_TRIED, min_users=gate.min_users)
    proposals = [each for each in proposed(graph, found, live) if each.target in rows]
    evidence = [_remembering(live.get(each.pair), _evidence(each, graph, rows, served)) for each in proposals]
    judged = zip(proposals, evidence, judge(evidence, gate), strict=True)
    return [_candidate(graph, *each) for each in judged]


def expected(graph: Graph, tables: Tables) -> Beta:
    """What texts of the same interpretation, of the same intent, and all together lead one to expect of each text."""
    texts = tables.texts["said"].to_pylist()
    weight, success = (tables.texts[name].to_numpy() / MICRO for name in ("weight", "success"))
    meant = [graph.meaning[text] if graph.meaning[text] != text else None for text in texts]
    intents = [None if each is None else json.dumps(json.loads(each)[:2]) for each in meant]
    return shrink(np.minimum(success, weight), weight, [_numbered(meant), _numbered(intents)], most=BORROWED).prior


def _numbered(names: Sequence[str | None]) -> NDArray[np.int64]:
    """Equal numbers for equal names, -1 for none."""
    numbers: dict[str, int] = {}
    return np.array([-1 if name is None else numbers.setdefault(name, len(numbers)) for name in names], np.int64)


def proposed(graph: Graph, found: Sequence[Reformulation], live: Collection[Pair]) -> Iterator[Proposal]:
    """Reformulations as pairs of texts: the states that stand for one target are added up, the best pairs are kept."""
    target_of: dict[str, dict[str, str]] = {}  # source -> the meaning of its live target -> that target
    for source, target in live:
        target_of.setdefault(source, {})[graph.meaning.get(target, target)] = target
    by_source: dict[str, dict[str, list[Reformulation]]] = {}
    for each in found:
        source, state = _said(each.source), _node(each.target)
        text = target_of.get(source, {}).get(state.key) if state.kind is not Kind.SERVED else None
        text = text or graph.text_of(state, _node(each.route[-2]))
        if text is None or text == source or _same_meaning(graph, source, text):
            continue
        by_source.setdefault(source, {}).setdefault(text, []).append(each)
    for source, targets in by_source.items():
        best = [
            Proposal(
                source, text, sum(each.score for each in states),
                tuple(sorted(states, key=lambda each: (-each.score, _node(each.target)))),
            )
            for text, states in targets.items()
        ]  # fmt: skip
        yield from sorted(best, key=lambda each: (-each.score, each.target))[:TARGETS_TRIED]


def _same_meaning(graph: Graph, source: str, target: str) -> bool:
    """Whether NLU nearly always takes the source as the target: then the one cannot do better than the other."""
    taken = graph.taken.get(source, {}).get(graph.meaning.get(target, target))
    return taken is not None and taken.share >= SAME_MEANING


def _node(state: object) -> Node:
    assert isinstance(state, Node)
    return state


def _said(state: object) -> str:
    return _node(state).key


def _text_rows(graph: Graph, tables: Tables, priors: Beta, live: Collection[Pair]) -> dict[str, dict[str, Any]]:
    """Text -> its counts, and what others lead one to expect of it: of the texts that the chain may need."""
    expected = tables.texts.append_column("prior", pa.array(priors.mean))
    expected = expected.append_column("prior_turns", pa.array(priors.strength))
    needed = {*graph.spoken, *(target for _, target in live)}
    return {row["said"]: row for row in replace(tables, texts=expected).texts_of(needed).to_pylist()}


def _searched(
    graph: Graph, rows: Mapping[str, Mapping[str, Any]], live: Collection[str], gate: GateConfig
) -> list[Node]:
    """The states to look for targets of: texts that enough users said. Left out are those of large components that
    would not be kept even if all who went on had gone to one target that never fails, and that are not live.
    """
    chain = graph.chain
    _, label = connected_components(chain.Q, directed=True, connection="weak")
    large = np.bincount(label)[label] > LARGE_COMPONENT
    places = [n for n, node in enumerate(graph.nodes) if node.kind is Kind.SAID and node.key in rows]
    if not large.any():
        return [graph.nodes[n] for n in places]
    best = judge([_at_best(graph, n, rows[graph.nodes[n].key]) for n in places], gate)
    return [
        graph.nodes[n]
        for n, verdict in zip(places, best, strict=True)
        if not large[n] or verdict.kept or graph.nodes[n].key in live
    ]


def _at_best(graph: Graph, place: int, source: Mapping[str, Any]) -> Evidence:
    """The evidence for a target that all who went on meant, that never fails, and that is as good for all others."""
    weight, many = source["weight"] / MICRO, 1e6
    return Evidence(
        source_users=int(source["users"]),
        source_turns=weight,
        source_success=source["success"] / MICRO,
        target_users=int(many),
        target_turns=many,
        target_success=many,
        route_users=int(many),
        went_on=(weight + float(graph.borrowed[place])) * float(graph.went_on[place]),
        share=1.0,
        alike=1.0,
        source_prior=source["prior"],
        source_prior_turns=source["prior_turns"],
    )


def _evidence(
    proposal: Proposal,
    graph: Graph,
    rows: Mapping[str, Mapping[str, Any]],
    served: Mapping[Pair, Mapping[str, Any]],
) -> Evidence:
    place = graph.chain.index(said(proposal.source))
    u, j = rows[proposal.source], rows[proposal.target]
    on = served.get((proposal.source, proposal.target), {})
    went_on = float(graph.went_on[place])
    alike = graph.taken.get(proposal.source, {}).get(graph.meaning.get(proposal.target, proposal.target))
    turns = (u["weight"] + graph.rewritten.get(proposal.source, 0)) / MICRO
    return Evidence(
        source_users=int(u["users"]),
        source_turns=u["weight"] / MICRO,
        source_success=u["success"] / MICRO,
        target_users=int(j["users"]),
        target_turns=j["weight"] / MICRO,
        target_success=j["success"] / MICRO,
        route_users=proposal.states[0].support_users,
        went_on=(turns + float(graph.borrowed[place])) * went_on,
        share=min(_ended_there(proposal, graph, j) / went_on, 1.0) if went_on else 0.0,
        alike=alike.success if alike is not None else 0.0,
        served_turns=on.get("weight", 0) / MICRO,
        served_success=on.get("success", 0) / MICRO,
        source_prior=u["prior"],
        source_prior_turns=u["prior_turns"],
        target_prior=j["prior"],
        target_prior_turns=j["prior_turns"],
    )


def _remembering(before: Alone | None, evidence: Evidence) -> Evidence:
    """The evidence, with what was known of the source before in place of what its like lead one to expect."""
    if before is None or evidence.served_turns < LIVE_TURNS or before.turns <= evidence.source_prior_turns:
        return evidence
    return replace(evidence, source_prior=before.success, source_prior_turns=min(before.turns, REMEMBERED))


def _ended_there(proposal: Proposal, graph: Graph, target: Mapping[str, Any]) -> float:
    """P(the target is the last word, well or not) from the source.

    What ends in a state does so well or not: the score, N[u, j] R[j, success], is only the first. Of rewritten turns
    only those that went well say that the target was meant; they count as so many of which its own rate went well.
    """
    works = (target["success"] + MICRO / 2) / (target["weight"] + MICRO)
    total = 0.0
    for each in proposal.states:
        node = _node(each.target)
        ends = graph.chain.R[graph.chain.index(node)]
        total += each.score / works if node.kind is Kind.SERVED else each.score * float(ends.sum() / ends[0])
    return total


def _candidate(graph: Graph, proposal: Proposal, evidence: Evidence, verdict: Verdict) -> Candidate:
    """The pair with what the guards say of its words."""
    source, target = proposal.source, proposal.target
    guard = table_guard(source, target)
    if guard is not None and verdict.kept:
        verdict = replace(verdict, reason=GateReason.GUARDED)
    elif verdict.kept and not settled(evidence) and strays(source, target):
        verdict = replace(verdict, reason=GateReason.OTHER_GOAL)
    stops = (graph.label(_node(state)) for state in proposal.states[0].route[1:-1])
    route = tuple(dict.fromkeys([source, *stops, target]))
    return Candidate(source, target, verdict, evidence, proposal.score, route, proposal.states[0].support_turns, guard)


REWRITE_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("rewrite", pa.string()),  # the target as it is most often written: what is served
        ("target", pa.string()),
        ("rewrite_id", pa.string()),
        ("standing", pa.string()),
        ("reason", pa.string()),
        ("guard", pa.string()),
        ("chance", pa.float64()),
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
        ("source_prior", pa.float64()),
        ("source_prior_turns", pa.float64()),
        ("target_users", pa.int64()),
        ("target_turns", pa.float64()),
        ("target_success", pa.float64()),
        ("target_prior", pa.float64()),
        ("target_prior_turns", pa.float64()),
        ("went_on", pa.float64()),
        ("alike", pa.float64()),
        ("served_turns", pa.float64()),
        ("served_success", pa.float64()),
        ("known_alone", pa.float64()),
        ("known_turns", pa.float64()),
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
            "standing": verdict.standing.value,
            "reason": verdict.reason.value,
            "guard": each.guard,
            "chance": verdict.chance,
            "alone": verdict.alone,
            "alone_upper": verdict.alone_upper,
            "rewritten": verdict.rewritten,
            "rewritten_lower": verdict.rewritten_lower,
            "margin": verdict.rewritten_lower - verdict.alone_upper,
            "chain_score": each.score,
            "route": list(each.route),
            "route_turns": each.route_turns,
            "known_alone": each.known.success if each.known else None,
            "known_turns": each.known.turns if each.known else 0.0,
            **evidence,
        }
        yield {
            name: round(value, 6) if isinstance(value := row[name], float) else value for name in REWRITE_SCHEMA.names
        }
