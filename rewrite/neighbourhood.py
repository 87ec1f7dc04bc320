"""The chain around one request, as a bundle keeps it: states, transitions, and the way that was chosen.

Two tables hold the chain, in the order of its states: what can be asked of it (`rewrite show --source TEXT`) is
answered from them, with no job and no model. Whatever stands in them, at least `min_users` users said or did.

A neighbourhood follows the likeliest steps from its source, up to HOPS of them, to STATES states; what lies on the
chosen way is always among them. The tables are streamed, and only these rows kept: two passes over the states, and
about one a hop over the transitions. Of a million states and three million transitions that takes about 1 s and 200 MB.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from rewrite.errors import DamagedBundle
from rewrite.graph import Graph, Kind

if TYPE_CHECKING:
    from rewrite.bundle import Bundle

#: Steps from the source that are followed.
HOPS = 3
#: States that are shown, those that the chosen way adds not counted.
STATES = 12
_BATCH = 1 << 16  # rows

STATE_SCHEMA = pa.schema(
    [
        ("state", pa.int64()),
        ("kind", pa.string()),  # said, meant or served
        ("text", pa.string()),  # what stands for it in words
        ("key", pa.string()),  # the text, or the interpretation as JSON
        ("rewrite", pa.string()),  # of a served state: what was served
        ("users", pa.int64()),
        ("turns", pa.int64()),
        ("weight", pa.float64()),  # what age and the cap left of these turns
        ("direct", pa.float64()),  # share that ended here in success
        ("success", pa.float64()),  # P(success) from here, whatever is said next
    ]
)
TRANSITION_SCHEMA = pa.schema(
    [
        ("source", pa.int64()),
        ("target", pa.int64()),
        ("users", pa.int64()),
        ("turns", pa.int64()),
        ("weight", pa.float64()),
        ("share", pa.float64()),  # of all that leaves or ends at the source
    ]
)


def state_rows(graph: Graph | None) -> Iterator[dict[str, object]]:
    """The states of a chain as rows of STATE_SCHEMA."""
    if graph is None:
        return
    chain = graph.chain
    counts, direct, success = chain.counts, chain.R[:, 0], chain.solution.success
    weight = counts.success + counts.failure
    weight = weight + np.bincount(counts.edges.source, counts.edges.weight, len(weight))
    for number, node in enumerate(graph.nodes):
        yield {
            "state": number,
            "kind": node.kind.name.lower(),
            "text": graph.label(node),
            "key": node.key,
            "rewrite": node.rewrite or None,
            "users": int(counts.users[number]),
            "turns": int(counts.turns[number]),
            "weight": round(float(weight[number]), 6),
            "direct": round(float(direct[number]), 6),
            "success": round(float(success[number]), 6),
        }


def transition_rows(graph: Graph | None) -> Iterator[dict[str, object]]:
    """The transitions of a chain as rows of TRANSITION_SCHEMA."""
    if graph is None:
        return
    edges = graph.chain.counts.edges
    columns = (edges.source, edges.target, edges.users, edges.turns, edges.weight, graph.chain.Q.data)
    for source, target, users, turns, weight, share in zip(*(each.tolist() for each in columns), strict=True):
        row = {"source": source, "target": target, "users": users, "turns": turns}
        yield row | {"weight": round(weight, 6), "share": round(share, 6)}


# What is read from them


@dataclass(frozen=True, slots=True)
class State:
    """A state near the source, with what came of it. Shares are of all that leaves it or ends in it."""

    number: int  # its place in the chain
    kind: Kind
    text: str  # what stands for it in words
    key: str  # the text, or the interpretation as JSON
    rewrite: str | None  # of a served state: what was served
    users: int
    turns: int
    direct: float  # share that ended here in success
    failure: float  # share that gave up here, or went on where too few users did
    success: float  # P(success) from here, whatever is said next
    hops: int  # steps from the source, at least
    cut: int  # transitions that lead on to states that are not shown
    cut_share: float


@dataclass(frozen=True, slots=True)
class Transition:
    """A step from one shown state to another, or to itself: said again."""

    source: int
    target: int
    users: int
    turns: int
    share: float  # of all that leaves or ends at the source
    chosen: bool  # it lies on the chosen way


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """The chain around a request."""

    states: tuple[State, ...]  # the source first, by hops, then in the order of the chain
    transitions: tuple[Transition, ...]  # by source in that order, the largest share first
    route: tuple[int, ...]  # the chosen way, state by state; empty where none was chosen
    cut_states: int  # states that steps from those shown lead to, but that are not shown

    @classmethod
    def from_bundle(
        cls, opened: Bundle, source: str, route: Sequence[str] = (), *, hops: int = HOPS, most: int = STATES
    ) -> Neighbourhood | None:
        """Around a canonical text; None where the chain does not hold it. `route` has the texts of the chosen way.

        The state is that of the text itself, or else of the interpretation that the text stands for. Raises
        DamagedBundle where the tables cannot be read.
        """
        named = _states(opened, "text", {source, *route})
        of_source = [row for row in named if row["text"] == source and _kind(row) is not Kind.SERVED]
        if not of_source:
            return None
        start = min(of_source, key=_kind)["state"]
        steps = _Steps(opened)
        way = _way(steps, start, route, {row["state"]: row["text"] for row in named})
        shown = dict.fromkeys([*_likeliest(steps, start, hops, most), *way])
        steps.read(shown)
        rows = {row["state"]: row for row in _states(opened, "state", shown)}
        if missing := sorted(set(shown) - set(rows)):
            raise DamagedBundle(f"the table states of {opened.path} lacks the state {missing[0]}")
        distance = _distances(steps, start, rows)
        order = sorted(rows, key=lambda state: (distance[state], state))
        chosen = set(pairwise(way))
        transitions = (
            Transition(*step, chosen=(step.source, step.target) in chosen)
            for state in order
            for step in steps.leaving[state]
            if step.target in rows
        )
        beyond = {step.target for state in order for step in steps.leaving[state]} - set(rows)
        states = (_state(rows[state], steps.leaving[state], distance[state], beyond) for state in order)
        return cls(tuple(states), tuple(transitions), way, len(beyond))

    @property
    def source(self) -> State:
        """The state that all others are seen from."""
        return self.states[0]

    @property
    def cut_transitions(self) -> int:
        """Steps from the states shown that are not shown."""
        return sum(state.cut for state in self.states)

    def leaving(self, state: State) -> list[Transition]:
        """The steps from a state, the largest share first."""
        return [each for each in self.transitions if each.source == state.number]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        raw = asdict(self)
        for state, plain in zip(self.states, raw["states"], strict=True):
            plain["kind"] = state.kind.name.lower()
        return {**raw, "cut_transitions": self.cut_transitions}


class _Step(NamedTuple):
    source: int
    target: int
    users: int
    turns: int
    share: float


class _Steps:
    """Transitions by source, read when they are asked for."""

    def __init__(self, opened: Bundle) -> None:
        self._opened = opened
        self.leaving: dict[int, list[_Step]] = {}

    def read(self, states: Iterable[int]) -> bool:
        """Those of all of the states, in one pass over the table; whether any were not read before."""
        wanted = sorted(set(states) - set(self.leaving))
        if not wanted:
            return False
        self.leaving |= {state: [] for state in wanted}
        for row in _rows(self._opened, "transitions", "source", wanted, _Step._fields):
            self.leaving[row["source"]].append(_Step(**row))
        for state in wanted:
            self.leaving[state].sort(key=lambda step: (-step.share, step.target))
        return True


def _likeliest(steps: _Steps, start: int, hops: int, most: int) -> list[int]:
    """The states that are likeliest reached within some hops by one way, the likeliest first."""
    while True:  # again with what was read meanwhile, until nothing more is wanted
        found: list[int] = []
        queue = [(-1.0, 0, start)]
        while queue and len(found) < most:
            reach, hop, state = heapq.heappop(queue)
            if state in found:
                continue
            found.append(state)
            if hop < hops:
                for step in steps.leaving.get(state, ()):
                    heapq.heappush(queue, (reach * step.share, hop + 1, step.target))
        if not steps.read(found):
            return found


def _way(steps: _Steps, start: int, route: Sequence[str], texts: Mapping[int, str]) -> tuple[int, ...]:
    """The shortest way through states of these texts, in their order; empty where there is none.

    A route names each text once, though two states with one text may lie on the way.
    """
    seen = {(start, 0)}
    ways: list[tuple[tuple[int, ...], int]] = [((start,), 0)]  # a way, and how many texts of the route it has come past
    while ways and len(route) > 1:
        steps.read(way[-1] for way, _ in ways)
        longer = []
        for way, past in ways:
            for step in steps.leaving[way[-1]]:
                text = texts.get(step.target)
                now = past + 1 if text == route[past + 1] else past
                if text not in route[: now + 1] or (step.target, now) in seen:
                    continue
                seen.add((step.target, now))
                if now == len(route) - 1:
                    return *way, step.target
                longer.append(((*way, step.target), now))
        ways = longer
    return ()


def _distances(steps: _Steps, start: int, among: Iterable[int]) -> dict[int, int]:
    """The least steps to each state from the first by way of these."""
    left, edge, distance = set(among) - {start}, [start], {start: 0}
    while edge:
        edge = sorted({step.target for state in edge for step in steps.leaving[state]} & left)
        left -= set(edge)
        distance |= dict.fromkeys(edge, max(distance.values()) + 1)
    return distance


def _state(row: Mapping[str, Any], leaving: Sequence[_Step], hops: int, beyond: set[int]) -> State:
    cut = [step.share for step in leaving if step.target in beyond]
    failure = max(1.0 - row["direct"] - sum(step.share for step in leaving), 0.0)
    figures = {name: row[name] for name in ("text", "key", "rewrite", "users", "turns", "direct", "success")}
    return State(
        number=row["state"],
        kind=_kind(row),
        failure=round(failure, 6),
        hops=hops,
        cut=len(cut),
        cut_share=round(sum(cut), 6),
        **figures,
    )


def _kind(row: Mapping[str, Any]) -> Kind:
    return Kind[row["kind"].upper()]


def _states(opened: Bundle, column: str, values: Iterable[object]) -> list[dict[str, Any]]:
    return _rows(opened, "states", column, list(values), STATE_SCHEMA.names)


def _rows(
    opened: Bundle, table: str, column: str, values: Sequence[object], columns: Sequence[str]
) -> list[dict[str, Any]]:
    """The rows of a table that have one of these values in a column; the table is streamed."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    found: list[dict[str, Any]] = []
    try:
        with pq.ParquetFile(opened.path / f"{table}.parquet") as file:
            wanted = pa.array(values, file.schema_arrow.field(column).type)
            for batch in file.iter_batches(_BATCH, columns=list(columns)):
                found += batch.filter(pc.is_in(batch[column], wanted)).to_pylist()
    except (pa.ArrowException, OSError, KeyError) as error:
        raise DamagedBundle(f"the table {table} of {opened.path} is not readable: {error}") from error
    return found
