"""The SQL that adds up what users did under each context token: what contextual rewrites are judged by.

context_turns    a user's turns of a text that enough users said, once for each token that they carried
context_steps    their steps from such a turn to the next try, likewise
context_sources  texts that enough users went on from under one token, and those that the table rewrites
context_pairs    text and token, of these texts and what they lead to, where enough users said the one under the other
context_sides    a user's turns of such a text *with* the token, and (`!token`) those *without* it
context_own, contexts    the same over grades, and over all users, each capped
contexts_on      steps from either side to the next try, over all users, each capped
contexts_served  what was rewritten under a token, and how it went
contexts_known   how often each text succeeded under each token, each user capped

A side without a token is everything else that the same users, and all others, said the text for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from rewrite.config import GateConfig
from rewrite.counting import base_rate, graded, over_users, share_of
from rewrite.execution import Execution
from rewrite.own_counts import FORGOTTEN, sum_of
from rewrite.refining import REFINED_SCHEMA, Refiner

#: How the side without a token is named; no token begins so.
WITHOUT = "!"

_FIGURES = ("turns", "mass", "weight", "square", "success", "ended_well", "moved_on")
_TEXT = pa.field("said", pa.string(), nullable=False)
_NAMES = [pa.field("user_id", pa.string(), nullable=False), _TEXT]
_SOURCES = pa.schema([_TEXT])


@dataclass(frozen=True)
class TokenRows:
    """Maps rows with a `context` to one row for each of its tokens: the columns in `names`, and `token`."""

    names: tuple[str, ...]

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        tokens = pc.split_pattern(batch["context"], "\n")
        kept = batch.select(list(self.names)).take(pc.list_parent_indices(tokens))
        return pa.RecordBatch.from_arrays([*kept.columns, pc.list_flatten(tokens)], schema=self.schema(batch.schema))

    def schema(self, of: pa.Schema) -> pa.Schema:
        """The schema of the outputs, for inputs with the schema `of`."""
        fields = [pa.field(name, of.field(name).type, nullable=False) for name in self.names]
        return pa.schema([*fields, pa.field("token", pa.string(), nullable=False)])


def count_contexts(tables: Execution, gate: GateConfig, rewritten: Iterable[str]) -> Iterator[str]:
    """Makes all of these tables, one after the other. `rewritten` are the sources of the table without contexts."""
    names = pa.RecordBatch.from_pylist([{"said": each} for each in sorted(rewritten)], schema=_SOURCES)
    tables.write("rewritten", iter([names]), _SOURCES)
    yield from _by_token(tables, gate)
    queries = {
        "context_sources": context_sources(gate),
        "context_pairs": context_pairs(gate),
        "context_sides": context_sides(),
        "context_own": context_own(),
        "context_grades": context_grades(gate),
        "refined_contexts": "",
        "contexts": over_users(
            "context_own", ("said", "token"), _PAIR, "context_grades", "refined_contexts", gate
        ),
        "context_step_sides": context_step_sides(),
        "contexts_on": contexts_on(gate),
        "contexts_served": contexts_served(gate),
        "contexts_known": contexts_known(gate),
    }
    for name, sql in queries.items():
        if sql:
            tables.query(name, sql)
        else:
            refiner = Refiner(float(str(tables.one(base_rate())[0])))
            tables.map(name, "context_grades", refiner, REFINED_SCHEMA, whole="name")
        yield name


#: One name for a text and a token; neither holds a bar.
_PAIR = "concat(said, '|', token)"


def _by_token(tables: Execution, gate: GateConfig) -> Iterator[str]:
    """The kept tables with a row for each token, of texts that enough users said."""
    known = f"(SELECT said FROM texts WHERE users >= {gate.min_users})"
    turns = ("user_id", "said", "grade", *_FIGURES)
    steps = ("user_id", "said", "next_said", "turns", "mass", "link")
    live = ("user_id", "said", "rewrite", "turns", "mass", "weight", "square", "success")
    for name, source, columns, more in (
        ("context_turns", "own_contexts", turns, ""),
        ("context_steps", "own_context_hops", steps, f" AND next_said IN {known} AND next_said <> said"),
        ("context_live", "own_served_contexts", live, f" AND rewrite IN {known}"),
    ):
        asked = f"SELECT {', '.join(columns)}, context FROM {source} WHERE said IN {known}{more}"
        tables.query(f"{name}_asked", f"{asked} ORDER BY user_id, said, context")
        rows = TokenRows(columns)
        types = {each: pa.string() for each in ("user_id", "said", "next_said", "rewrite")}
        schema = rows.schema(pa.schema([pa.field(each, types.get(each, pa.int64())) for each in columns]))
        tables.map(name, f"{name}_asked", rows, schema, whole="user_id")
        yield name


def context_sources(gate: GateConfig) -> str:
    """Texts whose users might be helped under a token, or left alone under one."""
    return f"""
        SELECT DISTINCT said FROM (
            SELECT said FROM context_steps GROUP BY said, token HAVING count(DISTINCT user_id) >= {gate.min_users}
            UNION ALL SELECT said FROM rewritten) AS found"""


def context_pairs(gate: GateConfig) -> str:
    """The pairs that are worth comparing with what there is without the token."""
    return f"""
        SELECT said, token FROM context_turns
        WHERE said IN (SELECT said FROM context_sources)
           OR said IN (SELECT next_said FROM context_steps WHERE said IN (SELECT said FROM context_sources)
                       GROUP BY said, token, next_said HAVING count(DISTINCT user_id) >= {gate.min_users})
        GROUP BY said, token HAVING count(DISTINCT user_id) >= {gate.min_users}"""


#: Less than this of a turn, in millionths, is no turn: rounding, or what age left.
_LEAST = round(FORGOTTEN * 1e6)


def context_sides() -> str:
    """A user's turns with and without a token, by grade."""
    return _sides("context_turns", "own_states", "grade", _FIGURES, ("mass", "square"))


def context_step_sides() -> str:
    """A user's steps from a text with and without a token, by where they lead."""
    return _sides("context_steps", "own_hops", "next_said", ("turns", "mass", "link"), ("mass",))


def _sides(part: str, whole: str, by: str, names: Sequence[str], telling: Sequence[str]) -> str:
    """What is in the table `part` with a token, and what is in `whole` without it: all of it that is not with.

    Rows are a user's of a text, apart by the column `by`, with the figures in `names`; without the token, those that
    have something left of what is in `telling`.
    """
    apart = ", ".join(f"greatest(own.{name} - coalesce(part.{name}, 0), 0) AS {name}" for name in names)
    left = " AND ".join(f"own.{name} - coalesce(part.{name}, 0) >= {_LEAST}" for name in telling)
    return f"""
        WITH part AS (
            SELECT each.user_id AS user_id, each.said AS said, each.token AS token, each.{by} AS {by},
                   {_totals("each", *names)}
            FROM {part} AS each
            JOIN context_pairs AS pair ON pair.said = each.said AND pair.token = each.token
            GROUP BY each.user_id, each.said, each.token, each.{by}),
        own AS (
            SELECT each.user_id AS user_id, each.said AS said, each.{by} AS {by}, {_totals("each", *names)}
            FROM {whole} AS each WHERE each.said IN (SELECT said FROM context_pairs)
            GROUP BY each.user_id, each.said, each.{by})
        SELECT user_id, said, token, {by}, {", ".join(names)} FROM part
        UNION ALL
        SELECT own.user_id AS user_id, own.said AS said, concat('{WITHOUT}', pair.token) AS token, own.{by} AS {by},
               {apart}
        FROM own JOIN context_pairs AS pair ON pair.said = own.said
        LEFT JOIN part ON part.user_id = own.user_id AND part.said = own.said AND part.token = pair.token
             AND part.{by} = own.{by}
        WHERE {left}"""


def context_own() -> str:
    """A user's turns of a text on one side of a token."""
    return f"""
        SELECT user_id, said, token, {_totals("side", *_FIGURES)}, CAST(0.0 AS DOUBLE) AS last_seen
        FROM context_sides AS side GROUP BY user_id, said, token"""


def context_grades(gate: GateConfig) -> str:
    """The evidence on either side by grade, each user's turns capped."""
    own = """(SELECT side.user_id AS user_id, concat(side.said, '|', side.token) AS pair, side.grade AS grade,
                     side.weight AS weight, side.success AS success, side.ended_well AS ended_well, own.mass AS mass
              FROM context_sides AS side JOIN context_own AS own
                ON own.user_id = side.user_id AND own.said = side.said AND own.token = side.token)"""
    return graded(own, "pair", gate)


def contexts_on(gate: GateConfig) -> str:
    """Steps over users, each capped as their source is; with the token, those that enough users took."""
    return f"""
        SELECT step.said AS said, step.token AS token, step.next_said AS next_said,
               count(DISTINCT step.user_id) AS users, CAST(sum(step.turns) AS BIGINT) AS turns,
               {sum_of(f"step.link * {share_of(gate.user_cap, 'own.mass')}")} AS weight
        FROM context_step_sides AS step
        JOIN context_own AS own ON own.user_id = step.user_id AND own.said = step.said AND own.token = step.token
        GROUP BY step.said, step.token, step.next_said
        HAVING count(DISTINCT step.user_id) >= {gate.min_users} OR step.token LIKE '{WITHOUT}%'"""


def contexts_served(gate: GateConfig) -> str:
    """What was rewritten to what under a token, and how it went, each user capped."""
    summed = ", ".join(
        f"{sum_of(f'{name} * {share_of(gate.user_cap)}')} AS {name}" for name in ("weight", "success")
    )
    return f"""
        SELECT said, rewrite, token, count(*) AS users, {summed}
        FROM (SELECT user_id, said, rewrite, token, {_totals("live", "mass", "weight", "success")}
              FROM context_live AS live GROUP BY user_id, said, rewrite, token) AS own
        GROUP BY said, rewrite, token HAVING count(*) >= {gate.min_users}"""


def contexts_known(gate: GateConfig) -> str:
    """How often enough users succeeded with a text under a token, each user capped."""
    return f"""
        SELECT said, token, count(*) AS users, {sum_of(f"success * {share_of(gate.user_cap)}")} AS success
        FROM (SELECT user_id, said, token, {_totals("turn", "mass", "success")}
              FROM context_turns AS turn GROUP BY user_id, said, token) AS own
        GROUP BY said, token HAVING count(*) >= {gate.min_users}"""


def context_cells(gate: GateConfig) -> str:
    """The turns of the texts in `contextual`, by all that surrounded them, each user capped."""
    cap = share_of(gate.user_cap, "by_user.mass")
    return f"""
        SELECT own.said AS said, own.context AS context, {sum_of(f"own.weight * {cap}")} AS weight,
               {sum_of(f"own.success * {cap} * refined.factor")} AS success
        FROM own_contexts AS own
        JOIN by_user ON by_user.user_id = own.user_id AND by_user.said = own.said
        JOIN refined_texts AS refined ON refined.name = own.said AND refined.grade = own.grade
        WHERE own.said IN (SELECT said FROM contextual)
        GROUP BY own.said, own.context ORDER BY said, context"""


def context_cell_steps(gate: GateConfig) -> str:
    """Their steps to the next try, likewise."""
    return f"""
        SELECT hop.said AS said, hop.context AS context, hop.next_said AS next_said,
               {sum_of(f"hop.link * {share_of(gate.user_cap, 'by_user.mass')}")} AS weight
        FROM own_context_hops AS hop
        JOIN by_user ON by_user.user_id = hop.user_id AND by_user.said = hop.said
        WHERE hop.said IN (SELECT said FROM contextual)
        GROUP BY hop.said, hop.context, hop.next_said ORDER BY said, context, next_said"""


def _totals(of: str, *names: str) -> str:
    return ", ".join(f"CAST(sum({of}.{name}) AS BIGINT) AS {name}" for name in names)
