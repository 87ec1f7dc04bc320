"""The rule of `cut_sessions` over Arrow columns: the same sessions, for logs of any length."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dialogue.table import DIALOGUE_SCHEMA


def session_batch(turns: pa.RecordBatch, gap_s: float) -> pa.RecordBatch:
    """A dialogue batch of whole users' turns (TURN_SCHEMA, in order of user_id, timestamp, turn_id).

    Sessions are numbered from 0 within the batch, in order of user and first turn: names of the log's own may be
    shared by two users. `gap_s` is the silence, in seconds, that a session does not outlast.
    """
    number = _first_come(_session_keys(turns, gap_s))
    order = np.argsort(number, kind="stable")
    if len(order) and (np.diff(order) < 0).any():
        turns, number = turns.take(pa.array(order)), number[order]
    names = pa.array(number).cast(pa.string())
    return pa.RecordBatch.from_arrays([names, *turns.columns], schema=DIALOGUE_SCHEMA)


def _session_keys(turns: pa.RecordBatch, gap_s: float) -> NDArray[np.int64]:
    """A number for the session of each turn, equal for turns of one session [turns] int64."""
    user = _codes(turns["user_id"])
    name = _codes(turns["session_id"])
    given = np.asarray(pc.fill_null(pc.not_equal(turns["session_id"], ""), False), np.bool_)
    begun = np.asarray(turns["timestamp"], np.float64)
    ended = np.fmax(begun, turns["end_timestamp"].to_numpy(zero_copy_only=False))
    cut = np.flatnonzero(~given)
    opens = np.ones(len(cut), np.bool_)
    opens[1:] = (user[cut][1:] != user[cut][:-1]) | (begun[cut][1:] - ended[cut][:-1] > gap_s)
    keys = -1 - (user * (name.max(initial=0) + 1) + name)  # below zero: the log's own sessions
    keys[cut] = np.cumsum(opens)
    return np.asarray(keys, np.int64)


def _first_come(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """The keys renumbered from 0 in the order in which they first come."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    ranked: NDArray[np.int64] = rank[inverse]
    return ranked


def _codes(column: pa.Array) -> NDArray[np.int64]:
    """Equal numbers for equal strings, 0 for null [turns] int64."""
    encoded = column.dictionary_encode().indices
    return np.asarray(pc.add(pc.fill_null(encoded, -1), 1)).astype(np.int64)
