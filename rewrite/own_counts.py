"""What each user did, counted: the tables that a bundle keeps, so that the next log can be added to them.

own_states       a user's turns of one text, one interpretation and one grade of evidence, left alone
own_hops         a user's steps from such a turn to the next try
own_served       what was rewritten to what for a user, and how it went
own_served_hops  a user's steps from a rewritten turn to the next try
own_surfaces     how a user writes a text
own_contexts     a user's turns of one text by all that surrounded them (`dialogue.context_tokens`), left alone
own_context_hops     a user's steps from such a turn to the next try
own_served_contexts  what was rewritten to what for a user, by what surrounded it
watermarks       the last turn of each user that was counted: nothing up to it is counted again

Everything is a sum over turns, each weighing 2^(-age / half-life): sums of an earlier bundle are multiplied by what the
time between has taken from them, and the new log's are added. So learning log by log gives what learning from all logs
at once gives, to rounding, as long as no session is cut in two. Evidence on rewrites that are live has a half-life of
its own: it keeps coming, and is the first to show that a rewrite went stale. When it does, what was counted of the
source before is of another time: but for a tenth it is forgotten with the next log, so that what is meant by it now can
be learned.

    turns       as the log holds them
    mass        sum d, d being what age leaves of a turn
    weight      sum d w, w = 1 / propensity being the turns that this one stands for (five at most)
    square      sum d w^2; weight^2 / square turns would tell as much if all were alike (Kish 1965, sec. 11.7)
    success, ended_well, moved_on   sum d w P(...)

All but `turns` are whole millionths, so that sums are exact in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rewrite.config import DecayConfig
from rewrite.execution import MICRO, Execution

#: Longer texts are no requests: they are read and judged, but never stored or rewritten.
LONGEST_TEXT = 300
#: Rows of which age has left less than this much of a turn are forgotten.
FORGOTTEN = 0.001
#: What is left of the older counts of a source that turned out to mean something else by now.
OF_ANOTHER_TIME = 0.1
#: Clocks may run ahead of most users' by so much, in seconds; turns further ahead are left out, until time gets there.
LEAD_S = 7 * 86_400.0
#: So many half-lives ahead, at most, a turn weighs more than one of now.
LEAD_HALF_LIVES = 10
#: Of all users, the share that must have reached a time for it to be now.
REACHED = 0.02

_TEXT = f"said <> '' AND length(said) <= {LONGEST_TEXT}"
_NEXT = f"next_said IS NOT NULL AND length(next_said) <= {LONGEST_TEXT}"
_SURROUNDED = "context <> ''"
_RATES = ("success", "ended_well", "moved_on")


@dataclass(frozen=True, slots=True)
class Kept:
    """A table of sums by user: its keys, what is summed, and which turns."""

    name: str
    names: tuple[str, ...]
    sums: tuple[str, ...]
    where: str
    live: bool = False  # whether it is about turns that were rewritten
    graded: bool = False  # whether turns of another grade of evidence are another row

    @property
    def keys(self) -> tuple[str, ...]:
        """What makes a row."""
        return (*self.names, "grade") if self.graded else self.names

    @property
    def least(self) -> str:
        """The sum that says whether anything is left of a row."""
        return self.sums[0]

    @property
    def schema(self) -> pa.Schema:
        """Types of the columns."""
        texts = [pa.field(name, pa.string(), nullable=False) for name in self.names]
        grade = [pa.field("grade", pa.int64(), nullable=False)] if self.graded else []
        figures = [pa.field(name, pa.int64(), nullable=False) for name in ("turns", *self.sums)]
        return pa.schema([*texts, *grade, *figures, pa.field("last_seen", pa.float64(), nullable=False)])

    def fresh(self, as_of: float, decay: DecayConfig) -> str:
        """The sums of the table `attempts`, as they are at `as_of` (seconds since the epoch)."""
        half_life = decay.live_half_life_days if self.live else decay.half_life_days
        columns = ", ".join(f"{sum_of(_SUMMED[name])} AS {name}" for name in self.sums)
        return f"""
            SELECT {", ".join(self.keys)}, count(*) AS turns, {columns}, max(timestamp) AS last_seen
            FROM (SELECT *, {_left(as_of, half_life)} AS d FROM attempts
                  WHERE {self.where} AND timestamp <= {as_of + LEAD_S!r}) AS aged
            GROUP BY {", ".join(self.keys)} HAVING {sum_of(_SUMMED[self.least])} >= {_forgotten()}"""

    def merged(self, earlier_as_of: float, as_of: float, decay: DecayConfig) -> str:
        """`new_<name>` and `old_<name>`, which is as it was at `earlier_as_of`, added up."""
        half_life = decay.live_half_life_days if self.live else decay.half_life_days
        left = _factor(as_of - earlier_as_of, half_life)
        kept = f"CASE WHEN said IN (SELECT said FROM stale) THEN {left * OF_ANOTHER_TIME!r} ELSE {left!r} END"
        if self.live:
            kept = f"{left!r}"  # the record of what turned bad
        columns = ", ".join(f"{sum_of(f'{name} * kept')} AS {name}" for name in self.sums)
        keys = ", ".join(self.keys)
        return f"""
            SELECT {keys}, CAST(sum(turns) AS BIGINT) AS turns, {columns}, max(last_seen) AS last_seen
            FROM (SELECT *, 1.0 AS kept FROM new_{self.name}
                  UNION ALL SELECT *, CAST({kept} AS DOUBLE) AS kept FROM old_{self.name}) AS both_
            GROUP BY {keys} HAVING {sum_of(f"{self.least} * kept")} >= {_forgotten()}"""


_SUMMED = {
    "mass": f"d * {MICRO}",
    "weight": f"d * represents * {MICRO}",
    "square": f"d * represents * represents * {MICRO}",
    "success": "d * represents * success",
    "ended_well": "d * represents * ended_well",
    "moved_on": "d * represents * link",
    "link": "d * represents * link",
}

KEPT = (
    Kept(
        "own_states", ("user_id", "said", "state"), ("mass", "weight", "square", *_RATES),
        f"rewrite IS NULL AND {_TEXT}", graded=True,
    ),
    Kept(
        "own_hops", ("user_id", "said", "state", "next_said", "next_state"), ("mass", "link"),
        f"rewrite IS NULL AND {_TEXT} AND {_NEXT}",
    ),
    Kept(
        "own_served", ("user_id", "said", "rewrite"), ("mass", "weight", "square", *_RATES),
        f"rewrite IS NOT NULL AND {_TEXT}", live=True, graded=True,
    ),
    Kept(
        "own_served_hops", ("user_id", "said", "rewrite", "next_said", "next_state"), ("mass", "link"),
        f"rewrite IS NOT NULL AND {_TEXT} AND {_NEXT}", live=True,
    ),
    Kept("own_surfaces", ("user_id", "said", "surface"), ("mass",), f"rewrite IS NULL AND {_TEXT}"),
    Kept(
        "own_contexts", ("user_id", "said", "context"), ("mass", "weight", "square", *_RATES),
        f"rewrite IS NULL AND {_TEXT} AND {_SURROUNDED}", graded=True,
    ),
    Kept(
        "own_context_hops", ("user_id", "said", "context", "next_said"), ("mass", "link"),
        f"rewrite IS NULL AND {_TEXT} AND {_NEXT} AND {_SURROUNDED}",
    ),
    Kept(
        "own_served_contexts", ("user_id", "said", "rewrite", "context"), ("mass", "weight", "square", "success"),
        f"rewrite IS NOT NULL AND {_TEXT} AND {_SURROUNDED}", live=True,
    ),
)  # fmt: skip

WATERMARKS = "watermarks"
WATERMARK_SCHEMA = pa.schema(
    [("user_id", pa.string()), ("last_seen", pa.float64()), ("last_turn", pa.string())]
)
_STALE = pa.schema([("said", pa.string())])
#: The tables of a bundle's folder `counts/`.
KEPT_TABLES = (*(each.name for each in KEPT), WATERMARKS)


def adopt(tables: Execution, folder: Path, stale: Iterable[str]) -> None:
    """Makes the tables kept in a bundle's folder those named `old_...`; `stale` are the sources that changed."""
    names = pa.RecordBatch.from_pylist([{"said": source} for source in sorted(set(stale))], schema=_STALE)
    tables.write("stale", iter([names]), _STALE)
    schemas = {each.name: each.schema for each in KEPT} | {WATERMARKS: WATERMARK_SCHEMA}
    for name, schema in schemas.items():
        tables.write(f"old_{name}", _batches(folder / f"{name}.parquet", schema), schema)


def _batches(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    if not path.exists():  # a bundle made before there was such a table: nothing was counted of it
        return
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(100_000, columns=schema.names):
            yield batch.select(schema.names).cast(schema)


def no_watermarks(tables: Execution) -> None:
    """Where there is no earlier bundle, no turn was counted before."""
    tables.write(f"old_{WATERMARKS}", iter([]), WATERMARK_SCHEMA)


def last_seen() -> str:
    """When each user said something last, in this log or before, however wrong their clocks are."""
    return """
        SELECT user_id, max(last_seen) AS last_seen
        FROM (SELECT user_id, timestamp AS last_seen FROM ordered
              UNION ALL SELECT user_id, last_seen FROM old_watermarks) AS seen GROUP BY user_id"""


def as_of(min_users: int) -> str:
    """The time that the log has reached: that which `min_users` users and REACHED of all have reached.

    So no few clocks that run ahead take all weight from everybody else's turns.
    """
    return f"""
        SELECT coalesce(min(last_seen), 0.0) FROM (
            SELECT last_seen, row_number() OVER (ORDER BY last_seen DESC NULLS LAST, user_id NULLS LAST) AS place,
                   count(*) OVER () AS users
            FROM last_seen) AS ranked WHERE place <= greatest({min_users}, users * {REACHED})"""


def watermarks(as_of: float) -> str:
    """The last turn of each user that was counted, in this log or before."""
    known = f"""
        SELECT user_id, timestamp AS last_seen, turn_id AS last_turn FROM ordered WHERE timestamp <= {as_of + LEAD_S!r}
        UNION ALL SELECT user_id, last_seen, last_turn FROM old_watermarks"""
    return f"""
        SELECT known.user_id AS user_id, latest.last_seen AS last_seen, max(known.last_turn) AS last_turn
        FROM ({known}) AS known
        JOIN (SELECT user_id, max(last_seen) AS last_seen FROM ({known}) AS seen GROUP BY user_id) AS latest
          ON latest.user_id = known.user_id AND latest.last_seen = known.last_seen
        GROUP BY known.user_id, latest.last_seen"""


def count_own(tables: Execution, decay: DecayConfig, as_of: float, earlier_as_of: float | None) -> Iterator[str]:
    """Makes the kept tables, one after the other; `earlier_as_of` where those of an earlier bundle were adopted."""
    for kept in KEPT:
        if earlier_as_of is None:
            tables.query(kept.name, kept.fresh(as_of, decay))
        else:
            tables.query(f"new_{kept.name}", kept.fresh(as_of, decay))
            tables.query(kept.name, kept.merged(earlier_as_of, as_of, decay))
        yield kept.name
    tables.query(WATERMARKS, watermarks(as_of))
    yield WATERMARKS


def _left(as_of: float, half_life_days: float | None) -> str:
    """What age leaves of a turn, as SQL; 1 for ever where there is no half-life."""
    if half_life_days is None:
        return "CAST(1.0 AS DOUBLE)"
    half_life = half_life_days * 86_400.0
    return f"pow(CAST(2.0 AS DOUBLE), least((timestamp - {as_of!r}) / {half_life!r}, {LEAD_HALF_LIVES}))"


def _factor(seconds: float, half_life_days: float | None) -> float:
    return 1.0 if half_life_days is None else float(2.0 ** (-seconds / (half_life_days * 86_400.0)))


def _forgotten() -> int:
    return round(FORGOTTEN * MICRO)


def sum_of(expression: str) -> str:
    """The sum of an expression rounded to whole millionths."""
    return f"CAST(sum(CAST(round({expression}) AS BIGINT)) AS BIGINT)"
