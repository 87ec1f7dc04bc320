"""P(success) of every turn of a log, judged over whole sessions by what the log lets one observe."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dialogue.canonical import Canonicaliser
from dialogue.outcomes import OutcomeModel
from dialogue.session_batch import session_batch
from dialogue.sessions import GapHistogram, estimate_boundary
from dialogue.table import TURN_SCHEMA, turn_batch
from dialogue.turn import Turn
from eval.arrays import Floats, Ints

#: Turns whose outcomes are judged at once; whole users, so it may be more.
AT_ONCE = 50_000
_CANONICAL = Canonicaliser()


class JudgedSessions:
    """The turns of a log as narrow columns, judged once all are read: a session may cross blocks and files."""

    _STRINGS = ("user_id", "session_id", "said", "response", "outcome")
    _LEFT_OUT = frozenset(
        {"surface", "rewrite", "propensity", "interpretation", "device_type", "alternatives", "context"}
    )

    def __init__(self) -> None:
        self._tables: list[pa.Table] = []

    def add(self, turns: list[Turn]) -> None:
        """Some more turns, in the order of the log."""
        batch = turn_batch(turns, _CANONICAL)
        kept = {name: batch[name] for name in TURN_SCHEMA.names if name not in self._LEFT_OUT}
        self._tables.append(pa.table(kept | {name: batch[name].dictionary_encode() for name in self._STRINGS}))

    def p_success(self, gap_s: float | None) -> Floats:
        """P(success) of every turn, in the order of the log [turns] float64."""
        table = pa.concat_tables(self._tables).unify_dictionaries().combine_chunks()
        user = table["user_id"].chunk(0).indices if table.num_rows else pa.array([], pa.int32())
        keys = pa.table({"user": user, "timestamp": table["timestamp"], "turn_id": table["turn_id"]})
        order = np.asarray(pc.sort_indices(keys, [(name, "ascending") for name in keys.column_names])).astype(np.int64)
        users = np.asarray(user)[order]
        gap_s = gap_s or estimate_boundary(GapHistogram.from_gaps(_silences(table, order, users))).seconds
        found = np.empty(len(order))
        begins = np.append(np.flatnonzero(np.append(True, users[1:] != users[:-1])), len(order))
        begin, model = 0, OutcomeModel()
        while begin < len(order):  # whole users, some AT_ONCE turns of them
            end = int(begins[np.searchsorted(begins, min(begin + AT_ONCE, len(order)))])
            batch = session_batch(_wide(table, order[begin:end]), gap_s)
            found[np.asarray(batch["turn_id"].cast(pa.int64()))] = model.judge(batch)
            begin = end
        return found


def _silences(table: pa.Table, order: Ints, users: NDArray[Any]) -> Floats:
    """Seconds from the end of a turn to the user's next."""
    begun = np.asarray(table["timestamp"], np.float64)[order]
    ended = np.fmax(begun, table["end_timestamp"].to_numpy().astype(np.float64)[order])
    silences: Floats = (begun[1:] - ended[:-1])[users[1:] == users[:-1]]
    return silences


def _wide(table: pa.Table, rows: Ints) -> pa.RecordBatch:
    """The rows of a narrow table as TURN_SCHEMA; in place of its id, a turn has its number in the log."""
    part = table.take(pa.array(rows)).combine_chunks()
    columns = {name: part[name].chunk(0) for name in part.column_names} | {"turn_id": pa.array(rows)}
    for name in JudgedSessions._LEFT_OUT:
        columns[name] = pa.nulls(len(rows), TURN_SCHEMA.field(name).type)
    columns["surface"] = columns["said"]
    return pa.RecordBatch.from_arrays([columns[each.name].cast(each.type) for each in TURN_SCHEMA], schema=TURN_SCHEMA)
