"""From logs to what a retriever is trained from: requests whose fate the log shows, as the engine would have seen them.

A turn that was left alone tells either that its request is right as it was said (it went well, and nothing was said
again), or that another was meant (the user said it again until that went well). What is uncertain teaches nothing. What
the gate or the tables of the bundle answer never comes to the retriever, and is left out. What was a user's own is what
they had said before that turn, and not since.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from dialogue.canonical import Canonicaliser
from dialogue.outcomes import OutcomeModel
from dialogue.table import dialogue_batch
from dialogue.turn import Session
from rephrase_detection import RephraseDetector
from rewrite.dense_rung import Request
from rewrite.dense_serving import interpretation_of
from rewrite.reranking import NAN
from rewrite.retriever_training import Attempt
from rewrite.serving import FAILING, GOOD, ON, PUBLIC, ServingArrays

#: P(success) from which a request counts as right, and below which as failed; P(link) from which it was said again.
RIGHT, FAILED, SAID_AGAIN = 0.7, 0.4, 0.5
#: Tries at one goal that are followed, and turns before a request that it may come back to.
MOST_TRIES, BEFORE = 8, 5
#: A user's own working requests that are looked back on.
MOST_OWN = 200


@dataclass(frozen=True, slots=True)
class _Own:
    """A text that worked for a user before (`rewrite.dense_rung.LiveText`); frozen, as attempts keep what was then."""

    said: str
    surface: str
    successes: float
    turns: int
    judged: int
    last_seen: float


class AttemptReader:
    """Reads attempts for the engine of a bundle."""

    def __init__(self, arrays: ServingArrays, canonical: Canonicaliser, detector: RephraseDetector) -> None:
        self.arrays, self.canonical, self.detector = arrays, canonical, detector

    def read(self, sessions: Sequence[Session]) -> Iterator[Attempt]:
        """The attempts of some sessions, user by user and in time."""
        ordered = sorted(sessions, key=_place_in_time)
        batch = dialogue_batch(ordered, self.canonical)
        success = OutcomeModel().judge(batch)
        again = _following(self.detector, batch, success)
        rows = _Rows(batch, success, again)
        own: dict[str, _Own] = {}
        user = None
        for place in rows.in_time():  # sessions of one user may overlap
            if rows.user[place] != user:
                own, user = {}, rows.user[place]
            if (attempt := self._attempt(rows, place, own)) is not None:
                yield attempt
            _remember(own, rows, place)

    def _attempt(self, rows: _Rows, place: int, own: Mapping[str, _Own]) -> Attempt | None:
        said, fate = rows.said[place], rows.fate(place)
        if fate is None or not said or rows.rewritten[place] or self._answered(said, own):
            return None
        last = place if fate == "right" else rows.end(place)
        if fate == "failed" and (rows.said[last] == said or rows.success[last] < RIGHT):
            return None
        frame = rows.interpretation[last]
        meant = None if fate == "right" else rows.said[last]
        return Attempt(self._request(rows, place, own), fate == "right", meant, frame, rows.user[place])

    def _answered(self, said: str, own: Mapping[str, _Own]) -> bool:
        """Whether the engine has an answer before the retriever is asked."""
        if said in own:
            return True
        row = self.arrays.texts.get(said)
        if row < 0:
            return False
        status, entry = self.arrays.status[row], self.arrays.entry[row]
        rewritten = entry >= 0 and self.arrays.standing[entry] & ON
        return bool(status & GOOD or (status & PUBLIC and not status & FAILING) or rewritten)

    def _request(self, rows: _Rows, place: int, own: Mapping[str, _Own]) -> Request:
        latest = sorted(own.values(), key=lambda each: (-each.last_seen, each.said))[:MOST_OWN]
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
            recent=rows.before(place),
            live=latest,
            device=rows.device[place] or "",
        )


def _place_in_time(session: Session) -> tuple[str, float, str]:
    first = session.turns[0]
    return first.user_id, first.timestamp, first.turn_id


class _Rows:
    """The columns of a dialogue batch, as lists."""

    def __init__(self, batch: pa.RecordBatch, success: np.ndarray[Any, Any], again: np.ndarray[Any, Any]) -> None:
        self.user, self.session, self.said, self.surface = (
            batch[name].to_pylist() for name in ("user_id", "session", "said", "surface")
        )
        names = ("timestamp", "interpretation", "alternatives", "context", "device_type")
        self.time, self.interpretation, self.alternatives, self.context, self.device = (
            batch[name].to_pylist() for name in names
        )
        self.nlu_confidence, self.asr_confidence = (
            [NAN if value is None else value for value in batch[name].to_pylist()]
            for name in ("nlu_confidence", "asr_confidence")
        )
        self.rewritten = [value is not None for value in batch["rewrite"].to_pylist()]
        self.success, self.again = success.tolist(), again.tolist()

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

    def before(self, place: int) -> tuple[tuple[str, float], ...]:
        """What was said before in the session, with P(success)."""
        first = max(place - BEFORE, 0)
        same = [at for at in range(first, place) if self.session[at] == self.session[place]]
        return tuple((self.said[at], self.success[at]) for at in same)


def _following(
    detector: RephraseDetector, batch: pa.RecordBatch, success: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """The row of the next try at each turn's goal, or -1 [rows] int64."""
    links = detector.detect(batch, success)
    following = np.full(batch.num_rows, -1, np.int64)
    sure = np.asarray(links.probability) >= SAID_AGAIN
    following[np.asarray(links.source)[sure]] = np.asarray(links.target)[sure]
    return following


def _remember(own: dict[str, _Own], rows: _Rows, place: int) -> None:
    """A text that worked is the user's own from then on."""
    said, success = rows.said[place], rows.success[place]
    if not said or rows.rewritten[place] or rows.again[place] >= 0 or success < RIGHT:
        return
    known = own.get(said) or _Own(said, rows.surface[place], 0.0, 0, 0, 0.0)
    own[said] = replace(
        known, successes=known.successes + success, turns=known.turns + 1, judged=known.judged + 1,
        last_seen=rows.time[place],
    )  # fmt: skip
