"""Turns as flat Arrow columns: what the stages of the mining job read, and what any engine can carry.

A *dialogue batch* is a RecordBatch of DIALOGUE_SCHEMA that holds whole sessions, ordered by
(session, timestamp, turn_id): outcomes and rephrases are judged batch by batch, with no other state.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pyarrow as pa

from dialogue.context_tokens import context_tokens
from dialogue.turn import Asr, Context, Nlu, Served, Session, Signals, Turn

TURN_SCHEMA = pa.schema(
    [
        pa.field("turn_id", pa.string(), nullable=False),
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("timestamp", pa.float64(), nullable=False),
        pa.field("end_timestamp", pa.float64()),
        pa.field("session_id", pa.string()),
        pa.field("said", pa.string(), nullable=False),  # canonical text of what the user said
        pa.field("surface", pa.string(), nullable=False),  # the same as it was written in the log
        pa.field("rewrite", pa.string()),  # canonical text that was served instead; null: left alone
        pa.field("propensity", pa.float64()),
        pa.field("asr_confidence", pa.float64()),
        pa.field("nlu_confidence", pa.float64()),
        pa.field("interpretation", pa.string()),  # `interpretation_key` of what was acted on
        pa.field("response", pa.string()),
        pa.field("barge_in", pa.bool_()),
        pa.field("cancelled", pa.bool_()),
        pa.field("engaged_s", pa.float64()),
        pa.field("rating", pa.int8()),
        pa.field("clicked", pa.bool_()),
        pa.field("outcome", pa.string()),
        pa.field("device_type", pa.string()),
        pa.field("alternatives", pa.string()),  # what else was heard, canonical, best first, a line each
        pa.field("context", pa.string()),  # what surrounds it (`dialogue.context_tokens`), in order, a line each
    ]
)

#: Hypotheses of the recogniser that are kept beside the best: later ones are hardly ever what was said.
ALTERNATIVES = 9

DIALOGUE_SCHEMA = TURN_SCHEMA.insert(0, pa.field("session", pa.string(), nullable=False))


def interpretation_key(nlu: Nlu | None) -> str | None:
    """One string for one interpretation (domain, intent, slots in order of their names); None where there is none."""
    if nlu is None or (nlu.domain is None and nlu.intent is None):
        return None
    slots = {name: nlu.slots[name] for name in sorted(nlu.slots)}
    return _JSON.encode([nlu.domain, nlu.intent, slots])


def turn_batch(turns: Sequence[Turn], canonical: Callable[[str], str]) -> pa.RecordBatch:
    """The turns as one RecordBatch of TURN_SCHEMA, in the order given."""
    asr = [turn.asr or _NO_ASR for turn in turns]
    nlu = [turn.nlu or _NO_NLU for turn in turns]
    signals = [turn.signals or _NO_SIGNALS for turn in turns]
    context = [turn.context or _NO_CONTEXT for turn in turns]
    served = [turn.served or _NOT_SERVED for turn in turns]
    said = [turn.said for turn in turns]
    canonical_of = {text: canonical(text) for text in set(said)}  # half of a log's texts come again in a block
    columns = [
        [turn.turn_id for turn in turns],
        [turn.user_id for turn in turns],
        [turn.timestamp for turn in turns],
        [turn.end_timestamp for turn in turns],
        [turn.session_id for turn in turns],
        [canonical_of[text] for text in said],
        said,
        [_rewrite(turn, canonical) for turn in turns],
        [each.propensity for each in served],
        [each.confidence for each in asr],
        [each.confidence for each in nlu],
        [interpretation_key(turn.nlu) for turn in turns],
        [turn.response for turn in turns],
        [each.barge_in for each in signals],
        [each.cancelled for each in signals],
        [each.engaged_s for each in signals],
        [each.rating for each in signals],
        [each.clicked for each in signals],
        [turn.outcome for turn in turns],
        [each.device_type for each in context],
        [_alternatives(turn, canonical) for turn in turns],
        [_tokens(turn.context) for turn in turns],
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, TURN_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=TURN_SCHEMA)


def dialogue_batch(sessions: Sequence[Session], canonical: Callable[[str], str]) -> pa.RecordBatch:
    """The sessions' turns as one dialogue batch, sessions in the order given.

    They are numbered from 0, as by `session_batch`: names of the log's own may be shared by two users.
    """
    turns = [turn for session in sessions for turn in session.turns]
    names = [str(number) for number, session in enumerate(sessions) for _ in session.turns]
    batch = turn_batch(turns, canonical)
    return pa.RecordBatch.from_arrays([pa.array(names, pa.string()), *batch.columns], schema=DIALOGUE_SCHEMA)


def _alternatives(turn: Turn, canonical: Callable[[str], str]) -> str | None:
    """The next best hypotheses that differ from what was said and from each other, a line each; None without any."""
    if turn.asr is None or len(turn.asr.nbest) < 2:
        return None
    heard = dict.fromkeys(canonical(each.text) for each in turn.asr.nbest[: ALTERNATIVES + 1])
    return "\n".join(text for text in heard if text and text != canonical(turn.said)) or None


def _tokens(context: Context | None) -> str | None:
    """The tokens of the context alone: what went before is another turn's."""
    if context is None:
        return None
    told = {name: getattr(context, name) for name in _SURROUNDING}
    return "\n".join(sorted(context_tokens(told))) or None


def _rewrite(turn: Turn, canonical: Callable[[str], str]) -> str | None:
    """What was served instead of what was said; None where that is the same: a rewriter may log that it passed."""
    if turn.served is None:
        return None
    rewrite = canonical(turn.text)
    return None if rewrite == canonical(turn.said) else rewrite


_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_NO_ASR, _NO_NLU, _NO_SIGNALS, _NO_CONTEXT = Asr(), Nlu(), Signals(), Context()
_SURROUNDING = ("device_type", "has_screen", "device_state", "activity", "local_hour")
_NOT_SERVED = Served(original="", rewrite="")
