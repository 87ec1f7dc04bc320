"""The SQL that adds up what each user did (`rewrite.own_counts`) over all: what the chain and the gate are made of.

by_user     a user's turns of one text, left alone
texts       the same over all users, each capped
own_texts   a user's turns of one text by interpretation and grade of evidence
text_grades, refined_texts      the grades of a text's turns over all users, and what they mean for this text
readings    how texts were interpreted, over all users, each capped
readings_on the steps from each text and interpretation to the next try
coarse      interpretations that are no states, since they hold texts that fare or go on differently
usual       the interpretation of a text's turns for which the log has none
said_states which states a text stands for
own_text_hops, text_hops        steps from a text to the next state, by user and over all users, each capped
text_steps, meaning_steps       which texts these steps led to, over all users
own_meanings, meanings          turns of an interpretation that is a state, by user and over all users, each capped
own_meaning_hops, meaning_hops  steps from such an interpretation to the next state
by_user_served  what was rewritten to what for a user
served      the same over all users, each capped, and how it went
served_hops steps from a rewritten turn to the next state

Each user is capped: what is left of their turns of one text, interpretation or rewrite comes to `user_cap` at most.
Weights and success are whole millionths, so that sums are exact in any order.
"""

from __future__ import annotations

from collections.abc import Iterator

from rewrite.config import GateConfig
from rewrite.execution import MICRO, Execution
from rewrite.own_counts import sum_of
from rewrite.refining import REFINED_SCHEMA, Refiner

#: An interpretation is too coarse for a state where its texts' success rates differ so many times more than chance lets
#: them and have so large a standard deviation, or where a smaller share of its texts goes on, mostly, to where most of
#: its turns go on.
MOST_SPREAD, MOST_DEVIATION, LEAST_AGREEMENT = 3.0, 0.2, 0.6

_SUMS = ("success", "ended_well", "moved_on")
#: One name for a text and its rewrite; no canonical text holds a bar.
_PAIR, _PAIR_OF_OWN = "concat(said, '|', rewrite)", "concat(own.said, '|', own.rewrite)"
#: Of a text's interpreted turns, how many must be of one interpretation for it to be taken for that of the others.
USUAL = 0.5


def count_all(tables: Execution, gate: GateConfig) -> Iterator[str]:
    """Makes all of these tables, one after the other."""
    queries = {
        "by_user": by_user(),
        "own_texts": own_texts(),
        "text_grades": text_grades(gate),
        "refined_texts": "text_grades",
        "texts": texts(gate),
        "readings": readings(gate),
        "readings_on": readings_on(gate),
        "coarse": coarse(),
        "usual": usual(),
        "said_states": said_states(),
        "own_text_hops": own_text_hops(),
        "text_hops": text_hops(gate),
        "text_steps": text_steps(),
        "graded_meanings": graded_meanings(),
        "own_meanings": own_meanings(),
        "meaning_grades": meaning_grades(gate),
        "refined_meanings": "meaning_grades",
        "meanings": meanings(gate),
        "own_meaning_hops": own_meaning_hops(),
        "meaning_hops": meaning_hops(gate),
        "meaning_steps": meaning_steps(),
        "by_user_served": by_user_served(),
        "served_grades": served_grades(gate),
        "refined_served": "served_grades",
        "served": served(gate),
        "served_hops": served_hops(gate),
    }
    for name, sql in queries.items():
        if name.startswith("refined_"):
            refiner = Refiner(float(str(tables.one(base_rate())[0])))
            tables.map(name, sql, refiner, REFINED_SCHEMA, whole="name")
        else:
            tables.query(name, sql)
        yield name


def by_user() -> str:
    """A user's turns of one text, left alone, however they were interpreted."""
    return f"""
        SELECT user_id, said, {_total("turns")}, {_totals("mass", "weight", "square", *_SUMS)},
               max(last_seen) AS last_seen FROM own_states GROUP BY user_id, said"""


def own_texts() -> str:
    """A user's turns of one text by interpretation and grade, with what all their turns of the text come to."""
    return """
        SELECT own.user_id AS user_id, own.said AS said, own.state AS state, own.grade AS grade, own.weight AS weight,
               own.success AS success, own.ended_well AS ended_well, by_user.mass AS mass
        FROM own_states AS own JOIN by_user ON by_user.user_id = own.user_id AND by_user.said = own.said"""


def text_grades(gate: GateConfig) -> str:
    """The evidence on a text by grade, each user's turns capped."""
    return graded("own_texts", "said", gate)


def base_rate() -> str:
    """The success rate of all turns."""
    return "SELECT coalesce(sum(success) * 1.0 / nullif(sum(weight), 0), 0.5) FROM text_grades"


def texts(gate: GateConfig) -> str:
    """All turns of a text, each user's capped.

    `total` is the sum of weights, to which `ended_well` and `moved_on` belong; `weight` is to how many turns alike it
    comes, to which `success` belongs.
    """
    return over_users("by_user", ("said",), "said", "text_grades", "refined_texts", gate)


def readings(gate: GateConfig) -> str:
    """How the texts that enough users said were interpreted; `judged` is success as it was judged turn by turn."""
    cap = share_of(gate.user_cap)
    return f"""
        SELECT own.said AS said, own.state AS state, {sum_of(f"own.weight * {cap}")} AS weight,
               {sum_of(f"own.success * {cap} * refined.factor")} AS success, {sum_of(f"own.success * {cap}")} AS judged
        FROM own_texts AS own
        JOIN refined_texts AS refined ON refined.name = own.said AND refined.grade = own.grade
        WHERE own.said IN (SELECT said FROM texts WHERE users >= {gate.min_users}) GROUP BY own.said, own.state"""


def readings_on(gate: GateConfig) -> str:
    """Steps that enough users took from a text and its interpretation to the next try."""
    return f"""
        SELECT hop.said AS said, hop.state AS state, hop.next_state AS next_state,
               {sum_of(f"hop.link * {share_of(gate.user_cap, 'by_user.mass')}")} AS weight
        FROM own_hops AS hop
        JOIN by_user ON by_user.user_id = hop.user_id AND by_user.said = hop.said
        WHERE hop.state <> hop.said
        GROUP BY hop.said, hop.state, hop.next_state HAVING count(DISTINCT hop.user_id) >= {gate.min_users}"""


def coarse() -> str:
    """Interpretations that hold texts which fare differently, or go on to different places: they are no states.

    That is what an intent without its slots does, or one for all that was not understood. Faring is compared by the
    spread of success rates: its ratio to what chance makes of it, and the variance that is left beyond chance
    (DerSimonian & Laird, "Meta-analysis in clinical trials", 1986, eq. 8); going on, by each text's commonest next
    state.
    """
    return f"""
        SELECT state FROM (
            SELECT state, texts, rate, (squares - judged * rate) / {MICRO} AS spread,
                   (weight - weights / weight) / {MICRO} AS others
            FROM (SELECT state, count(*) AS texts, sum(weight) * 1.0 AS weight, sum(judged) * 1.0 AS judged,
                         sum(judged) * 1.0 / sum(weight) AS rate, sum(judged * 1.0 * judged / weight) AS squares,
                         sum(weight * 1.0 * weight) AS weights
                  FROM readings WHERE state <> said AND weight > 0 GROUP BY state) AS added
        ) AS known
        WHERE texts > 1 AND others > 0
          AND spread > {MOST_SPREAD} * (texts - 1) * greatest(rate * (1 - rate), 0.01)
          AND spread - (texts - 1) * rate * (1 - rate) > {MOST_DEVIATION} * {MOST_DEVIATION} * others
        UNION
        SELECT apart.state AS state
        FROM (SELECT said, state, next_state FROM (
                SELECT said, state, next_state, row_number() OVER (
                    PARTITION BY said, state ORDER BY weight DESC NULLS LAST, next_state NULLS LAST) AS place
                FROM readings_on) AS ways WHERE place = 1) AS apart
        JOIN (SELECT state, next_state FROM (
                SELECT state, next_state, row_number() OVER (
                    PARTITION BY state ORDER BY sum(weight) DESC NULLS LAST, next_state NULLS LAST) AS place
                FROM readings_on GROUP BY state, next_state) AS ways WHERE place = 1) AS together
          ON together.state = apart.state
        GROUP BY apart.state
        HAVING avg(CASE WHEN apart.next_state = together.next_state THEN 1.0 ELSE 0.0 END) < {LEAST_AGREEMENT}"""


def usual() -> str:
    """The interpretation that most interpreted turns of a text have; no coarse one."""
    return f"""
        SELECT said, state FROM (
            SELECT said, state, weight, sum(weight) OVER (PARTITION BY said) AS all_,
                   row_number() OVER (PARTITION BY said ORDER BY weight DESC NULLS LAST, state NULLS LAST) AS place
            FROM readings WHERE state <> said
        ) AS ranked
        WHERE place = 1 AND weight >= {USUAL} * all_ AND state NOT IN (SELECT state FROM coarse)"""


def said_states() -> str:
    """Which states each text stands for, by weight."""
    return f"""
        SELECT said, state, {_totals("weight", "success")}
        FROM (SELECT turn.said AS said, {_state("turn")} AS state, turn.weight AS weight, turn.success AS success
              FROM readings AS turn {_usual("turn")}) AS named GROUP BY said, state"""


def own_text_hops() -> str:
    """A user's steps from a text to the next state."""
    return f"""
        SELECT user_id, said, next_state, {_totals("turns", "link")}
        FROM (SELECT hop.user_id AS user_id, hop.said AS said, {_state("hop", "next_")} AS next_state,
                     hop.turns AS turns, hop.link AS link FROM own_hops AS hop {_usual("hop", "next_")}) AS named
        GROUP BY user_id, said, next_state"""


def text_hops(gate: GateConfig) -> str:
    """The edges of the chain that leave a text: steps that enough users took, each user capped as in `texts`."""
    return _hops("own_text_hops", ("said",), "by_user", gate)


def text_steps() -> str:
    """Which texts the steps that leave a text led to."""
    return f"""
        SELECT hop.said AS said, hop.next_state AS next_state, step.next_said AS next_said,
               CAST(sum(step.link) AS BIGINT) AS weight
        FROM (SELECT hop.said AS said, {_state("hop", "next_")} AS next_state, hop.next_said AS next_said,
                     hop.link AS link FROM own_hops AS hop {_usual("hop", "next_")}) AS step
        JOIN text_hops AS hop ON hop.said = step.said AND hop.next_state = step.next_state
        GROUP BY hop.said, hop.next_state, step.next_said"""


def meaning_steps() -> str:
    """Which texts the steps that leave an interpretation led to."""
    return f"""
        SELECT hop.state AS state, hop.next_state AS next_state, step.next_said AS next_said,
               CAST(sum(step.link) AS BIGINT) AS weight
        FROM (SELECT {_state("hop")} AS state, {_state("hop", "next_")} AS next_state, hop.next_said AS next_said,
                     hop.link AS link FROM own_hops AS hop {_usual("hop")} {_usual("hop", "next_")}) AS step
        JOIN meaning_hops AS hop ON hop.state = step.state AND hop.next_state = step.next_state
        GROUP BY hop.state, hop.next_state, step.next_said"""


def graded_meanings() -> str:
    """A user's turns of an interpretation that is a state, by grade of evidence."""
    sums = ("mass", "weight", "square", *_SUMS)
    return f"""
        SELECT user_id, state, grade, {_totals("turns", *sums)}, max(last_seen) AS last_seen
        FROM (SELECT turn.user_id AS user_id, turn.said AS said, {_state("turn")} AS state, turn.grade AS grade,
                     turn.turns AS turns, {", ".join(f"turn.{name} AS {name}" for name in sums)},
                     turn.last_seen AS last_seen FROM own_states AS turn {_usual("turn")}) AS named
        WHERE state <> said GROUP BY user_id, state, grade"""


def own_meanings() -> str:
    """The same, whatever the grade."""
    return f"""
        SELECT user_id, state, {_totals("turns", "mass", "weight", "square", *_SUMS)}, max(last_seen) AS last_seen
        FROM graded_meanings GROUP BY user_id, state"""


def meaning_grades(gate: GateConfig) -> str:
    """The evidence on an interpretation by grade, each user's turns capped."""
    own = """(SELECT graded.user_id AS user_id, graded.state AS state, graded.grade AS grade,
                     graded.weight AS weight, graded.success AS success, graded.ended_well AS ended_well,
                     own.mass AS mass
              FROM graded_meanings AS graded
              JOIN own_meanings AS own ON own.user_id = graded.user_id AND own.state = graded.state)"""
    return graded(own, "state", gate)


def meanings(gate: GateConfig) -> str:
    """The same over all users, each capped."""
    return over_users("own_meanings", ("state",), "state", "meaning_grades", "refined_meanings", gate)


def own_meaning_hops() -> str:
    """A user's steps from an interpretation that is a state to the next state."""
    return f"""
        SELECT user_id, state, next_state, {_totals("turns", "link")}
        FROM (SELECT hop.user_id AS user_id, hop.said AS said, {_state("hop")} AS state,
                     {_state("hop", "next_")} AS next_state, hop.turns AS turns, hop.link AS link
              FROM own_hops AS hop {_usual("hop")} {_usual("hop", "next_")}) AS named
        WHERE state <> said GROUP BY user_id, state, next_state"""


def meaning_hops(gate: GateConfig) -> str:
    """The edges of the chain that leave an interpretation."""
    return _hops("own_meaning_hops", ("state",), "own_meanings", gate)


def by_user_served() -> str:
    """What was rewritten to what for a user, whatever the grade of the evidence."""
    return f"""
        SELECT user_id, said, rewrite, {_totals("turns", "mass", "weight", "square", *_SUMS)}, max(last_seen) AS
        last_seen FROM own_served GROUP BY user_id, said, rewrite"""


def served_grades(gate: GateConfig) -> str:
    """The evidence on a rewrite by grade, each user's turns capped."""
    own = f"""(SELECT own.user_id AS user_id, {_PAIR_OF_OWN} AS pair, own.grade AS grade, own.weight AS weight,
                      own.success AS success, own.ended_well AS ended_well, by_user_served.mass AS mass
               FROM own_served AS own JOIN by_user_served ON by_user_served.user_id = own.user_id
                    AND by_user_served.said = own.said AND by_user_served.rewrite = own.rewrite)"""
    return graded(own, "pair", gate)


def served(gate: GateConfig) -> str:
    """What was rewritten to what, and how it went, each user capped."""
    return over_users("by_user_served", ("said", "rewrite"), _PAIR, "served_grades", "refined_served", gate)


def served_hops(gate: GateConfig) -> str:
    """The edges of the chain that leave a rewritten turn: what its user said when the rewrite did not help."""
    own = f"""(SELECT step.user_id AS user_id, step.said AS said, step.rewrite AS rewrite,
                      {_state("step", "next_")} AS next_state, step.turns AS turns, step.link AS link
               FROM own_served_hops AS step {_usual("step", "next_")})"""
    return _hops(own, ("said", "rewrite"), "by_user_served", gate)


def _state(row: str, which: str = "") -> str:
    """The state of a turn (of the next try: `next_`), as SQL: its interpretation, or the usual one of its text where
    the log has none, unless that is coarse; and otherwise its text. Goes with `_usual`.
    """
    state, said = f"{row}.{which}state", f"{row}.{which}said"
    return f"""CASE WHEN {state} IN (SELECT state FROM coarse) THEN {said}
                    WHEN {state} = {said} THEN coalesce({which}usual.state, {said}) ELSE {state} END"""


def _usual(row: str, which: str = "") -> str:
    return f"LEFT JOIN usual AS {which}usual ON {which}usual.said = {row}.{which}said"


def graded(own: str, name: str, gate: GateConfig) -> str:
    """The evidence by grade over users, each capped, in order of name: what `rewrite.refining` reads."""
    cap = share_of(gate.user_cap)
    summed = ", ".join(f"{sum_of(f'{each} * {cap}')} AS {each}" for each in ("weight", "success", "ended_well"))
    return f"""
        SELECT {name} AS name, grade, {summed} FROM {own} AS own GROUP BY {name}, grade
        ORDER BY name NULLS LAST, grade NULLS LAST"""


def over_users(own: str, keys: tuple[str, ...], name: str, grades: str, refined: str, gate: GateConfig) -> str:
    """Sums over users, each capped: no user's turns come to more than `user_cap`; successes by `refined`."""
    cap, names = share_of(gate.user_cap), ", ".join(keys)
    summed = ", ".join(f"{sum_of(f'{each} * {cap}')} AS {each}" for each in ("mass", "weight", "square", "moved_on"))
    return f"""
        SELECT {", ".join(f"added.{key} AS {key}" for key in keys)}, users, turns, mass, weight AS total,
               CAST(round(weight * 1.0 * weight / square) AS BIGINT) AS weight,
               CAST(round(went.success * 1.0 * weight / square) AS BIGINT) AS success,
               went.ended_well AS ended_well, moved_on, last_seen
        FROM (SELECT {names}, {name} AS name, count(*) AS users, {_total("turns")}, {summed},
                     max(last_seen) AS last_seen
              FROM {own} GROUP BY {names}) AS added
        JOIN (SELECT graded.name AS name, {sum_of("graded.success * refined.factor")} AS success,
                     {sum_of("graded.ended_well * refined.factor")} AS ended_well
              FROM {grades} AS graded
              JOIN {refined} AS refined ON refined.name = graded.name AND refined.grade = graded.grade
              GROUP BY graded.name) AS went ON went.name = added.name"""


def _hops(own: str, keys: tuple[str, ...], sources: str, gate: GateConfig) -> str:
    """Steps over users, each capped as their source is; those that too few users took are left out."""
    names = ", ".join(f"hop.{key} AS {key}" for key in keys)
    same = " AND ".join(f"source.{key} = hop.{key}" for key in ("user_id", *keys))
    grouped = ", ".join(f"hop.{key}" for key in keys)
    return f"""
        SELECT {names}, hop.next_state AS next_state, count(DISTINCT hop.user_id) AS users,
               CAST(sum(hop.turns) AS BIGINT) AS turns,
               {sum_of(f"hop.link * {share_of(gate.user_cap, 'source.mass')}")} AS weight
        FROM {own} AS hop JOIN {sources} AS source ON {same}
        GROUP BY {grouped}, hop.next_state HAVING count(DISTINCT hop.user_id) >= {gate.min_users}"""


def _total(name: str) -> str:
    return f"CAST(sum({name}) AS BIGINT) AS {name}"


def _totals(*names: str) -> str:
    return ", ".join(map(_total, names))


def share_of(cap: float, mass: str = "mass") -> str:
    """By how much a user's sums are scaled so that what is left of their turns does not exceed the cap."""
    return f"least(1.0, {cap * MICRO} / CAST({mass} AS DOUBLE))"
