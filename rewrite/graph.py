"""The chain of the mining job: counts over all users made into states and transitions.

SAID     a text; where the log has no interpretation, what others lead to as well. Its row is a superposition, after
         Ponnusamy et al. (NAACL 2022), in proportion to what age left of either: left alone it behaves as its own
         turns did; rewritten it moves on to SERVED
MEANT    an interpretation: all texts that NLU takes in the same way are one state, so that their evidence adds up
SERVED   a text that was rewritten to another, with what came of it: kept apart from what comes of either text by itself

Sources are looked up by text. A text borrows a little of the rows of its interpretations (P(interpretation | text) of
each), so that one said rarely goes where others go that mean the same. Success at a MEANT state is credited to a text
of that interpretation: of those that users went on to say from the state before, the one that surely works best (an
interpretation may hold more than one request, "how old is" and "who is"); at a SERVED state, to the text that was
served.

A *hub* is a state that at least `hub_sources` others lead to, and that for most of them is a minor way on (less than
`hub_share`): "stop", "yes" or "help" follow everything and rephrase nothing. Steps to it are taken out; like those that
too few users took they count as having gone elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from markov import AbsorbingChain, Counts, Edges
from rewrite.config import ChainConfig
from rewrite.execution import MICRO, Execution

Floats = NDArray[np.float64]

#: Of what is said for an interpretation from one state, a text must be so much to be served for it. Where it holds more
#: than one request, what few went on to say would be served to all.
OFTEN = 0.3


class Kind(IntEnum):
    """What a state of the chain is."""

    SAID = 0
    MEANT = 1
    SERVED = 2


class Reading(NamedTuple):
    """How often a text stands for a state."""

    share: float  # of its turns
    success: float  # of its turns that succeed


class Node(NamedTuple):
    """A state: a text, an interpretation (as JSON), or a text with the one that was served in its place."""

    kind: Kind
    key: str
    rewrite: str = ""


def said(text: str) -> Node:
    """The state of a text."""
    return Node(Kind.SAID, text)


def node_of(state: str) -> Node:
    """The state that a name in the tables stands for: an interpretation is a JSON array, a canonical text never is."""
    return Node(Kind.MEANT if state.startswith("[") else Kind.SAID, state)


@dataclass(frozen=True, slots=True)
class Tables:
    """What the chain is made of (`rewrite.counting`), in a fixed order; texts are those that enough users said."""

    texts: pa.Table
    said_states: pa.Table
    text_hops: pa.Table
    text_steps: pa.Table
    meanings: pa.Table
    meaning_hops: pa.Table
    meaning_steps: pa.Table
    served: pa.Table
    served_hops: pa.Table

    def texts_of(self, wanted: Collection[str]) -> pa.Table:
        """The rows of some texts: of all that enough users said, the chain needs few."""
        return self.texts.filter(pc.is_in(self.texts["said"], pa.array(sorted(wanted), pa.string())))

    @classmethod
    def read(cls, tables: Execution, min_users: int) -> Tables:
        """From the tables of a job."""
        served = f"SELECT * FROM served WHERE users >= {min_users}"
        return cls(
            tables.table(f"SELECT * FROM texts WHERE users >= {min_users} ORDER BY said"),
            tables.table("SELECT * FROM said_states ORDER BY said, weight DESC, state"),
            tables.table("SELECT * FROM text_hops ORDER BY said, next_state"),
            tables.table("SELECT * FROM text_steps ORDER BY said, next_state, next_said"),
            tables.table("SELECT * FROM meanings ORDER BY state"),
            tables.table("SELECT * FROM meaning_hops ORDER BY state, next_state"),
            tables.table("SELECT * FROM meaning_steps ORDER BY state, next_state, next_said"),
            tables.table(f"{served} AND said IN (SELECT said FROM texts) ORDER BY said, rewrite"),
            tables.table("SELECT * FROM served_hops ORDER BY said, rewrite, next_state"),
        )


@dataclass(frozen=True, eq=False)
class Graph:
    """The chain, and what its states have to do with texts."""

    chain: AbsorbingChain
    gone: Floats  # [states] float64, weight of all that moved on, to a state of the chain or elsewhere
    borrowed: Floats  # [states] float64, turns that were borrowed from interpretations
    taken: Mapping[str, Mapping[str, Reading]]  # text -> the states that its turns stand for
    meaning: Mapping[str, str]  # text -> the one that most of them stand for: an interpretation, or itself
    best_text: Mapping[str, str]  # interpretation -> the text of it that works best, to name it by
    steps: Mapping[tuple[Node, str], str]  # (state, interpretation that it leads to) -> the text that is said for it
    rewritten: Mapping[str, int]  # text -> to how many rewritten turns alike its own come, in millionths
    hubs: tuple[str, ...] = field(default=())

    @cached_property
    def went_on(self) -> Floats:
        """P(going on to another state, or to where too few users went on to) from each state [states] float64.

        Whoever went on was not content, and had not given up: of these, a target's share is what a rewrite is worth.
        Steps that too few users took are no hops, but their speakers meant something, and it was not the target:
        without them, a target that seven of sixty went on to would seem to be what all meant, only because the others
        went fifty-three ways. Saying the same again is neither staying nor going on.
        """
        counts = self.chain.counts
        edges, n = counts.edges, len(counts.states)
        same = edges.source == edges.target
        again = np.bincount(edges.source[same], edges.weight[same], n)
        hopped = np.bincount(edges.source, edges.weight, n)
        lost = np.minimum(np.maximum(self.gone - hopped, 0.0), counts.failure)
        stayed = counts.success + counts.failure - lost
        left = hopped - again + lost
        return np.asarray(left / np.maximum(left + stayed, 1e-12))

    def text_of(self, node: Node, before: Node) -> str | None:
        """The text that success at a state is credited to where one comes to it from the state `before`.

        None where no text that enough users said is said for it.
        """
        if node.kind is not Kind.MEANT:
            return node.rewrite or node.key
        own = self.steps.get((before, node.key))
        if own is None and before.kind is Kind.SAID:  # a step that was borrowed
            own = self.steps.get((node_of(self.meaning.get(before.key, before.key)), node.key))
        return own

    @property
    def spoken(self) -> set[str]:
        """All texts that may be a source or a target."""
        named = {node.rewrite or node.key for node in self.nodes if node.kind is not Kind.MEANT}
        return named | set(self.steps.values())

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The states of the chain."""
        return cast(tuple[Node, ...], self.chain.states)

    def label(self, node: Node) -> str:
        """A state in words: a text where there is one."""
        return self.best_text.get(node.key, node.key) if node.kind is Kind.MEANT else node.rewrite or node.key


def graph_of(tables: Tables, lower: Floats, config: ChainConfig) -> Graph | None:
    """The chain over what was counted; None where no step has enough users.

    `lower` [texts] float64 is the lower bound of success by which the text of an interpretation is chosen.
    """
    if not (tables.text_hops.num_rows or tables.served.num_rows):
        return None
    texts = tables.texts["said"].to_pylist()
    taken = _readings(tables.said_states, texts)
    meaning = {text: next(iter(states)) for text, states in taken.items()}
    hubs = _hubs([tables.text_hops, tables.meaning_hops], config)
    rows = _Rows(hubs)
    rows.said(tables, meaning)
    rows.meant(tables)
    rows.served(tables)
    rows.borrow(tables, config.borrowed_turns)
    users = tables.texts["users"].to_numpy()
    named = _best_texts(texts, meaning, lower, users)
    works = dict(zip(texts, lower.tolist(), strict=True))
    steps = _steps(tables.text_steps, meaning, works) | _steps(tables.meaning_steps, meaning, works)
    return rows.graph(taken, meaning, named, steps)


def _readings(said_states: pa.Table, texts: Sequence[str]) -> dict[str, dict[str, Reading]]:
    """Text -> what its turns stand for, most of them first; a text without any interpretation stands for itself."""
    rows: dict[str, list[tuple[str, int, int]]] = {}
    columns = (said_states[name].to_pylist() for name in ("said", "state", "weight", "success"))
    for text, state, weight, success in zip(*columns, strict=True):
        rows.setdefault(text, []).append((state, weight, success))
    found = {}
    for text in texts:
        states = rows.get(text, [(text, 1, 1)])
        turns, went = max(sum(row[1] for row in states), 1), max(sum(row[2] for row in states), 1)
        found[text] = {state: Reading(weight / turns, success / went) for state, weight, success in states}
    return found


def _best_texts(
    texts: Sequence[str], meaning: Mapping[str, str], lower: Floats, users: NDArray[np.int64]
) -> dict[str, str]:
    """Interpretation -> the text of it that surely works best; of equals what more users say, then the first."""
    best: dict[str, str] = {}
    for place in np.lexsort((np.arange(len(texts)), -users, -lower)).tolist():
        state = meaning[texts[place]]
        if node_of(state).kind is Kind.MEANT:
            best.setdefault(state, texts[place])
    return best


def _steps(
    steps: pa.Table, meaning: Mapping[str, str], works: Mapping[str, float]
) -> dict[tuple[Node, str], str]:
    """(State, interpretation that it leads to) -> of the texts that are often said for it, the one that works best."""
    said_for: dict[tuple[Node, str], list[tuple[str, int]]] = {}
    for source, state, text, weight in zip(*(column.to_pylist() for column in steps.columns), strict=True):
        if meaning.get(text) == state != text:
            said_for.setdefault((node_of(source), state), []).append((text, weight))
    found = {}
    for way, texts in said_for.items():
        often = OFTEN * sum(weight for _, weight in texts)
        ranked = sorted((-works[text], -weight, text) for text, weight in texts if weight >= often)
        if ranked:  # otherwise they scatter: it holds many requests
            found[way] = ranked[0][2]
    return found


def _hubs(hops: Sequence[pa.Table], config: ChainConfig) -> frozenset[str]:
    """The states that follow everything and rephrase nothing, by the criterion at the head of this file."""
    shares: dict[str, list[float]] = {}
    for table in hops:
        source = table.column_names[0]
        names = table[source].to_pylist()
        leaving: dict[str, float] = {}
        weights = table["weight"].to_numpy().tolist()
        for name, weight in zip(names, weights, strict=True):
            leaving[name] = leaving.get(name, 0.0) + weight
        for name, target, weight in zip(names, table["next_state"].to_pylist(), weights, strict=True):
            if name != target and leaving[name] > 0:
                shares.setdefault(target, []).append(weight / leaving[name])
    enough = {state: each for state, each in shares.items() if len(each) >= config.hub_sources}
    return frozenset(state for state, each in enough.items() if float(np.median(each)) < config.hub_share)


class _Rows:
    """Rows of the chain while they are put together."""

    def __init__(self, hubs: frozenset[str]) -> None:
        self.hubs = hubs
        self.ends: dict[Node, dict[str, float]] = {}  # state -> total, success, gone, borrowed, turns, users
        self.edges: dict[tuple[Node, Node], list[float]] = {}  # weight, turns, users
        self.rewritten: dict[str, int] = {}

    def said(self, tables: Tables, meaning: Mapping[str, str]) -> None:
        """Texts that something leads to or from: their own turns, by the mass that age left of them."""
        hops = tables.text_hops
        wanted = {*hops["said"].to_pylist(), *tables.served["said"].to_pylist(), *_states(tables, Kind.SAID)}
        rare = set(tables.meaning_hops["state"].to_pylist())
        wanted |= {text for text, state in meaning.items() if state in rare}
        scale: dict[str, float] = {}
        for row in tables.texts_of(wanted).to_pylist():
            scale[row["said"]] = share = row["mass"] / row["total"] if row["total"] else 0.0
            self._end(said(row["said"]), row, share)
        for row in hops.to_pylist():
            self._hop(said(row["said"]), row, scale.get(row["said"], 0.0))

    def meant(self, tables: Tables) -> None:
        """Interpretations that something leads to or from."""
        wanted = {*tables.meaning_hops["state"].to_pylist(), *_states(tables, Kind.MEANT)}
        for row in tables.meanings.to_pylist():
            if row["state"] in wanted:
                self._end(node_of(row["state"]), row, 1.0)
        for row in tables.meaning_hops.to_pylist():
            self._hop(node_of(row["state"]), row, 1.0)

    def served(self, tables: Tables) -> None:
        """Rewritten turns: a text leads to them as often as it was rewritten."""
        for row in tables.served.to_pylist():
            node, source = Node(Kind.SERVED, row["said"], row["rewrite"]), said(row["said"])
            if source not in self.ends:
                continue
            self._end(node, row, 1.0)
            self.rewritten[row["said"]] = self.rewritten.get(row["said"], 0) + row["weight"]
            self.ends[source]["total"] += row["mass"] / MICRO
            self.ends[source]["gone"] += row["mass"] / MICRO
            self._edge(source, node, row["mass"] / MICRO, row["turns"], row["users"])
        for row in tables.served_hops.to_pylist():
            node = Node(Kind.SERVED, row["said"], row["rewrite"])
            if node in self.ends:
                self._hop(node, row, 1.0)

    def borrow(self, tables: Tables, turns: float) -> None:
        """Adds to each text so many turns that behave as its interpretations do, as far as others bear that out."""
        own: dict[str, list[tuple[Node, float]]] = {}
        columns = (tables.said_states[name].to_pylist() for name in ("said", "state", "weight"))
        for text, state, weight in zip(*columns, strict=True):
            own.setdefault(text, []).append((node_of(state), weight / MICRO))
        leaving: dict[Node, list[tuple[Node, list[float]]]] = {}
        for (source, target), edge in self.edges.items():
            if source.kind is Kind.MEANT:
                leaving.setdefault(source, []).append((target, list(edge)))
        for text, states in own.items():
            total = sum(weight for _, weight in states)
            for state, weight in states:
                if state.kind is Kind.MEANT and state in leaving and said(text) in self.ends:
                    others = max(self.ends[state]["total"] - weight, 0.0)
                    amount = min(turns * weight / total, others) if total else 0.0
                    if amount > 0.0:
                        self._lend(state, said(text), amount, leaving[state])

    def graph(
        self,
        taken: Mapping[str, Mapping[str, Reading]],
        meaning: Mapping[str, str],
        best_text: Mapping[str, str],
        steps: Mapping[tuple[Node, str], str],
    ) -> Graph:
        """All rows as a chain, states in order."""
        nodes = sorted(self.ends)
        place = {node: number for number, node in enumerate(nodes)}
        known = ((pair, edge) for pair, edge in self.edges.items() if pair[0] in place and pair[1] in place)
        pairs = sorted([place[a], place[b], *edge] for (a, b), edge in known)
        flat = np.array(pairs, np.float64).reshape(-1, 5)
        source, target, turns, users = (flat[:, column].astype(np.int64) for column in (0, 1, 3, 4))
        figures = {name: np.array([self.ends[node][name] for node in nodes]) for name in _ENDS}
        moved_on = np.bincount(source, flat[:, 2], len(nodes))
        failure = np.maximum(figures["total"] - moved_on - figures["success"], 0.0)
        said_by = (figures[name].astype(np.int64) for name in ("turns", "users"))
        edges = Edges(source, target, flat[:, 2], turns, users)
        chain = AbsorbingChain.from_counts(Counts(tuple(nodes), edges, figures["success"], failure, *said_by))
        hubs = tuple(sorted(self.hubs))
        gone, borrowed = figures["gone"], figures["borrowed"]
        return Graph(chain, gone, borrowed, taken, meaning, best_text, steps, self.rewritten, hubs)

    def _end(self, node: Node, row: Mapping[str, Any], share: float) -> None:
        scale = share / MICRO
        self.ends[node] = {
            "total": row["total"] * scale,
            "success": row["ended_well"] * scale,
            "gone": row["moved_on"] * scale,
            "borrowed": 0.0,
            "turns": row["turns"],
            "users": row["users"],
        }

    def _hop(self, source: Node, row: Mapping[str, Any], share: float) -> None:
        if row["next_state"] not in self.hubs:
            self._edge(source, node_of(row["next_state"]), row["weight"] * share / MICRO, row["turns"], row["users"])

    def _edge(self, source: Node, target: Node, weight: float, turns: int, users: int) -> None:
        edge = self.edges.setdefault((source, target), [0.0, 0, 0])
        edge[0] += weight
        edge[1], edge[2] = max(edge[1], turns), max(edge[2], users)

    def _lend(
        self, state: Node, text: Node, amount: float, edges: Iterable[tuple[Node, list[float]]]
    ) -> None:
        row, lender = self.ends[text], self.ends[state]
        scale = amount / lender["total"]
        row["total"] += amount
        row["borrowed"] += amount
        row["success"] += lender["success"] * scale
        row["gone"] += lender["gone"] * scale
        for target, (weight, turns, users) in edges:
            self._edge(text, target, weight * scale, int(turns), int(users))


_ENDS = ("total", "success", "gone", "borrowed", "turns", "users")


def _states(tables: Tables, kind: Kind) -> set[str]:
    """The states of a kind that steps lead to."""
    names = (name for table in (tables.text_hops, tables.meaning_hops, tables.served_hops)
             for name in table["next_state"].to_pylist())  # fmt: skip
    return {name for name in names if node_of(name).kind is kind}
