"""`context_tokens` over Arrow columns: what surrounds each turn of a log, the turn before it among them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from dialogue.context_tokens import AFTER_S, after_token


def with_previous(turns: pa.RecordBatch) -> pa.RecordBatch:
    """The turns (TURN_SCHEMA, in order of user_id, timestamp, turn_id), their `context` with what each comes after.

    The turn before is the same user's, whatever the session: a request that is served knows no session either.
    """
    context = [_joined(*row) for row in zip(turns["context"].to_pylist(), _after(turns), strict=True)]
    place = turns.schema.get_field_index("context")
    return turns.set_column(place, turns.schema.field(place), pa.array(context, pa.string()))


def _after(turns: pa.RecordBatch) -> Iterator[str | None]:
    """The `after:` token of each turn, or None."""
    if not turns.num_rows:
        return
    user = turns["user_id"].dictionary_encode().indices.to_numpy()
    apart = np.diff(np.asarray(turns["timestamp"], np.float64))
    near = (user[1:] == user[:-1]) & (apart <= AFTER_S)
    before = turns.slice(0, turns.num_rows - 1)
    meant, said = before["interpretation"].to_pylist(), before["said"].to_pylist()
    yield None
    for place, seconds in enumerate(apart.tolist()):
        domain, intent = json.loads(meant[place])[:2] if near[place] and meant[place] else (None, None)
        yield after_token(domain, intent, said[place], seconds) if near[place] else None


def _joined(context: str | None, after: str | None) -> str | None:
    """Tokens in order, a line each."""
    if after is None:
        return context
    return "\n".join(sorted([after, *(context.split("\n") if context else ())]))
