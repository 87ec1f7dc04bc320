"""The SQL of the mining job: each function gives one portable query over the tables that came before.

turns       what the log holds, as read (TURN_SCHEMA)
duplicates  turn ids that came more than once
ordered     the turns, each id once, in order of user, time and turn id
gaps        the histogram of silences, for the session boundary
attempts    one row a turn: outcome and next try (rewrite.attempts)
(own_...)   what each user did, in sums that outlive the log (rewrite.own_counts)
(texts ...) the same over all users (rewrite.counting)
surfaces    how most users write a text
corrections a user's own step from a text that fails them to one that works for them
histories   a user's own texts that work for them
requests    the texts that an engine may need, numbered in order: a bundle's population

Weights and success are whole millionths, so that sums are exact in any order.
"""

from __future__ import annotations

from dialogue.sessions import BIN_WIDTH, BINS, GRID_LOW
from dialogue.table import TURN_SCHEMA
from rewrite.config import GateConfig

#: A share of success from which a text works for one user, and below which it fails them.
WORKS_FOR_USER, FAILS_USER = 0.6, 0.5
#: The same for what a user is given in place of their own words: more is asked of it.
CORRECTS_FOR_USER = 0.75


def duplicates() -> str:
    """Turn ids that came more than once."""
    return "SELECT turn_id, count(*) AS records FROM turns GROUP BY turn_id HAVING count(*) > 1"


def distinct(any_duplicates: bool) -> str:
    """Each turn id once: the earliest record."""
    if not any_duplicates:
        return "SELECT * FROM turns"
    first = ", ".join(f"{name} NULLS LAST" for name in ("timestamp", "user_id", *TURN_SCHEMA.names))
    columns = ", ".join(TURN_SCHEMA.names)
    return f"""
        SELECT {columns} FROM (
            SELECT {columns}, 1 AS place FROM turns WHERE turn_id NOT IN (SELECT turn_id FROM duplicates)
            UNION ALL
            SELECT {columns}, row_number() OVER (PARTITION BY turn_id ORDER BY {first}) AS place
            FROM turns WHERE turn_id IN (SELECT turn_id FROM duplicates)
        ) AS numbered WHERE place = 1"""


def ordered(any_duplicates: bool) -> str:
    """Each turn id once, without what an earlier bundle counted, in the order in which users are mapped."""
    columns = ", ".join(f"each.{name} AS {name}" for name in TURN_SCHEMA.names)
    return f"""
        SELECT {columns} FROM ({distinct(any_duplicates)}) AS each
        LEFT JOIN old_watermarks AS mark ON mark.user_id = each.user_id
        WHERE mark.user_id IS NULL OR each.timestamp > mark.last_seen
           OR (each.timestamp = mark.last_seen AND each.turn_id > mark.last_turn)
        ORDER BY user_id, timestamp NULLS LAST, turn_id NULLS LAST"""


def gaps() -> str:
    """Bins of the silences between consecutive turns of a user (`GapHistogram`); bin -1: zero or below."""
    return f"""
        SELECT CASE WHEN gap <= 0 THEN -1
                    ELSE greatest(0, least({BINS - 1}, CAST(floor((ln(gap) - ({GRID_LOW})) / {BIN_WIDTH}) AS INTEGER)))
               END AS bin, count(*) AS gaps
        FROM (
            SELECT timestamp - lag(greatest(timestamp, coalesce(end_timestamp, timestamp))) OVER (
                PARTITION BY user_id ORDER BY timestamp NULLS LAST, turn_id NULLS LAST) AS gap
            FROM ordered
        ) AS silences WHERE gap IS NOT NULL GROUP BY 1 ORDER BY 1"""


def surfaces() -> str:
    """How most users write a text, with how many they are; of ways as frequent, the first in order."""
    return """
        SELECT said, surface, users FROM (
            SELECT said, surface, users, row_number() OVER (
                PARTITION BY said ORDER BY users DESC, turns DESC, surface NULLS LAST) AS place
            FROM (SELECT said, surface, count(*) AS users, sum(turns) AS turns
                  FROM own_surfaces GROUP BY said, surface) AS ways
        ) AS ranked WHERE place = 1"""


def own_corrections() -> str:
    """Of each user and text that fails them, the text that works for them and that they most often said next.

    Not one that was served to them and failed.
    """
    return f"""
        SELECT user_id, said, next_said, turns FROM (
            SELECT hop.user_id AS user_id, hop.said AS said, hop.next_said AS next_said,
                   CAST(hop.turns AS BIGINT) AS turns,
                   row_number() OVER (PARTITION BY hop.user_id, hop.said
                                      ORDER BY hop.turns DESC, hop.last_seen DESC NULLS LAST, hop.next_said) AS place
            FROM (SELECT user_id, said, next_said, sum(turns) AS turns, max(last_seen) AS last_seen
                  FROM own_hops GROUP BY user_id, said, next_said) AS hop
            JOIN by_user AS source ON source.user_id = hop.user_id AND source.said = hop.said
            JOIN by_user AS target ON target.user_id = hop.user_id AND target.said = hop.next_said
            WHERE hop.said <> hop.next_said
              AND source.success < {FAILS_USER} * source.weight
              AND target.success >= {CORRECTS_FOR_USER} * target.weight
              AND NOT EXISTS (
                  SELECT 1 FROM by_user_served AS live
                  WHERE live.user_id = hop.user_id AND live.said = hop.said AND live.rewrite = hop.next_said
                    AND live.success < {FAILS_USER} * live.weight)
        ) AS ranked WHERE place = 1 ORDER BY user_id, said"""


def own_requests(per_user: int) -> str:
    """Each user's own texts that work for them, the most successful first, at most `per_user`."""
    return f"""
        SELECT user_id, said, turns, success, last_seen FROM (
            SELECT user_id, said, turns, success, last_seen,
                   row_number() OVER (PARTITION BY user_id
                                      ORDER BY success DESC, last_seen DESC NULLS LAST, said) AS place
            FROM (SELECT user_id, said, turns, CAST(round(success * 1.0 * mass / weight) AS BIGINT) AS success,
                         last_seen
                  FROM by_user WHERE success >= {WORKS_FOR_USER} * weight) AS working
        ) AS ranked WHERE place <= {per_user}"""


def requests(gate: GateConfig) -> str:
    """The texts that an engine may need, numbered in order: what enough users said, and what its own users need."""
    return f"""
        SELECT row_number() OVER (ORDER BY said) - 1 AS number, said, surface, users, turns, weight, success, last_seen
        FROM (
            SELECT texts.said AS said, CASE WHEN surfaces.users >= {gate.min_users} OR texts.users < {gate.min_users}
                        THEN surfaces.surface ELSE texts.said END AS surface,
                   texts.users AS users, texts.turns AS turns, texts.weight AS weight,
                   texts.success AS success, texts.last_seen AS last_seen
            FROM texts JOIN surfaces ON surfaces.said = texts.said
            WHERE texts.users >= {gate.min_users} OR texts.said IN (SELECT said FROM own_requests)
               OR texts.said IN (SELECT said FROM corrections) OR texts.said IN (SELECT next_said FROM corrections)
        ) AS needed ORDER BY said"""


def frames(min_users: int) -> str:
    """How most users' turns of a text are interpreted, of those left alone; of ways as frequent, the first in order.

    Only what enough users share: the slots of an interpretation may say what only one user has.
    """
    return f"""
        SELECT said, interpretation FROM (
            SELECT said, interpretation, row_number() OVER (
                PARTITION BY said ORDER BY users DESC, turns DESC, interpretation NULLS LAST) AS place
            FROM (SELECT said, interpretation, count(DISTINCT user_id) AS users, count(*) AS turns FROM ordered
                  WHERE rewrite IS NULL AND interpretation IS NOT NULL GROUP BY said, interpretation
                  HAVING count(DISTINCT user_id) >= {min_users}) AS ways
        ) AS ranked WHERE place = 1 ORDER BY said"""


def shared_states(min_users: int) -> str:
    """Texts with the interpretations, of those with slots, that enough users' turns of them had."""
    return f"""
        SELECT said, state FROM own_states WHERE state <> said GROUP BY said, state
        HAVING count(DISTINCT user_id) >= {min_users} ORDER BY said, state"""


def histories() -> str:
    """`own_requests` with the row of each text, in order of user and row."""
    return """
        SELECT user_id, number, own_requests.said AS said, own_requests.turns AS turns,
               own_requests.success AS success, own_requests.last_seen AS last_seen
        FROM own_requests JOIN requests ON requests.said = own_requests.said ORDER BY user_id, number"""


def correction_rows() -> str:
    """`corrections` with the rows of both texts, in order of user and row."""
    return """
        SELECT user_id, source.number AS source, target.number AS target, corrections.turns AS turns,
               corrections.said AS said, corrections.next_said AS next_said
        FROM corrections JOIN requests AS source ON source.said = corrections.said
        JOIN requests AS target ON target.said = corrections.next_said ORDER BY user_id, source.number"""
