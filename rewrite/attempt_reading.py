"""From logs to what a retriever is trained from: requests whose fate the log shows, as the engine would have seen them.

A turn that was left alone tells either that its request is right as it was said (it went well, and nothing was said
again), or that another was meant (the user said it again until that went well). What is uncertain teaches nothing. What
the gate or the tables of the bundle answer never comes to the retriever, and is left out.

The fate of a request is judged by all that the log holds; what was known when it was said, by what came before it alone
(`rewrite.past`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dialogue.canonical import Canonicaliser
from dialogue.context_batch import with_previous
from dialogue.outcomes import OutcomeModel
from dialogue.session_batch import session_batch
from dialogue.table import dialogue_batch
from dialogue.turn import Asr, Nlu, Outcome, Session, Signals, Turn
from rephrase_detection import RephraseDetector
from rewrite.dense_rung import Request
from rewrite.dense_serving import interpretation_of
from rewrite.past import Past
from rewrite.reranking import NAN
from rewrite.retriever_training import Attempt
from rewrite.serving import FAILING, GOOD, ON, PUBLIC, ServingArrays

#: P(success) from which a request counts as right, and below which as failed; P(link) from which it was said again.
RIGHT, FAILED, SAID_AGAIN = 0.7, 0.4, 0.5
#: Tries at one goal that are followed.
MOST_TRIES = 8
_IN_TIME = [("user_id", "ascending"), ("timestamp", "ascending"), ("turn_id", "ascending")]


class AttemptReader:
    """Reads attempts for the engine of a bundle."""

    def __init__(self, arrays: ServingArrays, canonical: Canonicaliser, detector: RephraseDetector) -> None:
        self.arrays, self.canonical, self.detector = arrays, canonical, detector

    def read(self, sessions: Sequence[Session]) -> Iterator[Attempt]:
        """The attempts of some sessions, user by user and in time."""
        batch = dialogue_batch(sorted(sessions, key=_place_in_time), self.canonical)
        order = np.asarray(pc.sort_indices(batch, sort_keys=_IN_TIME))  # sessions of one user may overlap
        told = with_previous(batch.take(pa.array(order)))
        yield from self._read(told.take(pa.array(np.argsort(order))))

    def read_turns(self, turns: pa.RecordBatch, gap_s: float) -> Iterator[Attempt]:
        """The same of whole users' turns (TURN_SCHEMA, in order of user_id, timestamp, turn_id), whose sessions end at
        silences of `gap_s` seconds.
        """
        yield from self._read(session_batch(with_previous(turns), gap_s))

    def _read(self, batch: pa.RecordBatch) -> Iterator[Attempt]:
        success = OutcomeModel().judge(batch)
        rows = _Rows(batch, success, _following(self.detector, batch, success))
        past, user = Past(), None
        for place in rows.in_time():
            if rows.user[place] != user:
                past, user = Past(), rows.user[place]
            if (attempt := self._attempt(rows, place, past)) is not None:
                yield attempt
            past.add(rows.turn(place), rows.said[place], rows.rewrite[place])

    def _attempt(self, rows: _Rows, place: int, past: Past) -> Attempt | None:
        said, fate = rows.said[place], rows.fate(place)
        if fate is None or not said or rows.rewrite[place] is not None or self._answered(said, past):
            return None
        last = place if fate == "right" else rows.end(place)
        served = rows.rewrite[last] or rows.said[last]  # what worked may have been a rewrite
        if fate == "failed" and (served == said or rows.success[last] < RIGHT):
            return None
        frame = rows.interpretation[last]
        meant = None if fate == "right" else served
        return Attempt(self._request(rows, place, past), fate == "right", meant, frame, rows.user[place])

    def _answered(self, said: str, past: Past) -> bool:
        """Whether the engine has an answer before the retriever is asked."""
        if past.worked(said):
            return True
        row = self.arrays.texts.get(said)
        if row < 0:
            return False
        status, entry = self.arrays.status[row], self.arrays.entry[row]
        rewritten = entry >= 0 and self.arrays.standing[entry] & ON
        return bool(status & GOOD or (status & PUBLIC and not status & FAILING) or rewritten)

    def _request(self, rows: _Rows, place: int, past: Past) -> Request:
        key = rows.interpretation[place]
        return Request(
            rows.said[place],
            self.arrays.texts.get(rows.said[place]),
            "\0" + rows.user[place],  # no user of the bundle's: what that knows of this one, it knows from later turns
            interpretation=interpretation_of(key) if key else None,
            nlu_confidence=rows.nlu_confidence[place],
            asr_confidence=rows.asr_confidence[place],
            nbest=tuple((rows.alternatives[place] or "").split("\n")) if rows.alternatives[place] else (),
            tokens=frozenset((rows.context[place] or "").split("\n")) - {""},
            recent=past.recent(rows.time[place]),
            live=past.requests(),
            device=rows.device[place] or "",
        )


def _place_in_time(session: Session) -> tuple[str, float, str]:
    first = session.turns[0]
    return first.user_id, first.timestamp, first.turn_id


class _Rows:
    """The columns of a dialogue batch, as lists."""

    def __init__(self, batch: pa.RecordBatch, success: np.ndarray[Any, Any], again: np.ndarray[Any, Any]) -> None:
        columns = {name: batch[name].to_pylist() for name in batch.schema.names}
        self.user, self.said, self.rewrite = (columns[name] for name in ("user_id", "said", "rewrite"))
        names = ("timestamp", "interpretation", "alternatives", "context", "device_type")
        self.time, self.interpretation, self.alternatives, self.context, self.device = (
            columns[name] for name in names
        )
        self.nlu_confidence, self.asr_confidence = (
            [NAN if value is None else value for value in columns[name]]
            for name in ("nlu_confidence", "asr_confidence")
        )
        self.success, self.again = success.tolist(), again.tolist()
        self._columns = columns

    def turn(self, place: int) -> Turn:
        """What of a turn tells how it went, and when."""
        told = {name: column[place] for name, column in self._columns.items()}
        signals = {name: told[name] for name in ("barge_in", "cancelled", "engaged_s", "rating", "clicked")}
        return Turn(
            told["turn_id"], told["user_id"], told["timestamp"], told["surface"],
            session_id=told["session_id"],
            asr=Asr(told["asr_confidence"]),
            nlu=Nlu(confidence=told["nlu_confidence"]),
            response=told["response"],
            signals=None if all(value is None for value in signals.values()) else Signals(**signals),
            outcome=None if told["outcome"] is None else Outcome(told["outcome"]),
        )  # fmt: skip

    def in_time(self) -> list[int]:
        """All places, user by user and in time."""
        return sorted(range(len(self.said)), key=lambda place: (self.user[place], self.time[place], place))

    def fate(self, place: int) -> str | None:
        """ "right", "failed", or None where the log does not say."""
        if self.again[place] >= 0:
            return "failed" if self.success[place] < FAILED else None
        return "right" if self.success[place] >= RIGHT else None

    def end(self, place: int) -> int:
        """The last try at the goal of a turn."""
        for _ in range(MOST_TRIES):
            if self.again[place] < 0:
                break
            place = self.again[place]
        return place


def _following(
    detector: RephraseDetector, batch: pa.RecordBatch, success: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """The row of the next try at each turn's goal, or -1 [rows] int64."""
    links = detector.detect(batch, success)
    following = np.full(batch.num_rows, -1, np.int64)
    sure = np.asarray(links.probability) >= SAID_AGAIN
    following[np.asarray(links.source)[sure]] = np.asarray(links.target)[sure]
    return following
