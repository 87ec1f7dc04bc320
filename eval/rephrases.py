"""Annotated dialogues: which later turn truly says a turn again, and what a detector makes of them.

*Rows* number the turns of a list of sessions, session after session, from 0. What `gold.rephrase_of` says of a source:

a later turn of its session names it              that turn is its rephrase; of several the nearest
none does, and the next `reach` turns (those      it has none
that the session has, at least one) are annotated
anything else                                     not known, and not measured: so is the last turn of a session

Annotated is a turn whose gold has the field, null or not. A turn that names none of the turns before it in its session
is *out of reach*: it is counted, and no source's rephrase.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dialogue.canonical import Canonicaliser
from dialogue.errors import TooManyRejects
from dialogue.outcomes import OutcomeModel
from dialogue.reader import LogReader
from dialogue.sessions import cut_sessions
from dialogue.table import dialogue_batch
from dialogue.turn import Session, Turn
from eval.arrays import Ints, codes
from eval.errors import CaseError
from rephrase_detection import KINDS, Links, RephraseDetector
from rephrase_detection.errors import DetectorError
from rewrite.publish import write_beside

#: In place of a row: the source has no rephrase, or nobody knows.
NONE, UNKNOWN = -1, -2

#: Turns that a detector is given at once, in whole sessions, so that its memory stays flat.
TURNS_AT_ONCE = 4_000


@dataclass(frozen=True, slots=True)
class Dialogues:
    """A log's turns, and the same in sessions."""

    turns: tuple[Turn, ...]  # in the order of the log, each turn_id once
    sessions: tuple[Session, ...]  # of one user each; their turns by (timestamp, turn_id)
    repeated: int  # records with a turn_id that came before: left out

    @property
    def users(self) -> int:
        return len({session.user_id for session in self.sessions})


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What gold says of every turn as a source, by rows."""

    rephrase: Ints  # row of the turn that says it again, NONE or UNKNOWN [turns] int64
    kind: NDArray[np.int8]  # place in KINDS of why it was said again, or -1 [turns] int8
    annotated: NDArray[np.bool_]  # the turn's own gold says whether it is a rephrase [turns] bool
    user: Ints  # number of its user [turns] int64
    session: Ints  # number of its session [turns] int64
    out_of_reach: int  # turns that name no turn before them in their session

    def __len__(self) -> int:
        return len(self.rephrase)

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Whether gold says if the turn has a rephrase [turns] bool."""
        return np.asarray(self.rephrase != UNKNOWN, np.bool_)


def read_dialogues(
    log: LogReader, session_gap_s: float | None = None, told: Callable[[LogReader], None] | None = None
) -> Dialogues:
    """All of a log that is read with `keep_gold`; not one record may be bad.

    Sessions are those of the log by session_id. A user's other turns are one session, or cut at silences of more than
    `session_gap_s` seconds. `told` hears of the reader after each block. Raises CaseError, and dialogue.LogError.
    """
    if session_gap_s is not None and not session_gap_s > 0:
        raise ValueError(f"a session gap of {session_gap_s} seconds came: more than 0 are wanted")
    kept: dict[str, Turn] = {}
    records = 0
    for turns in _blocks(log):
        for turn in turns:
            kept.setdefault(turn.turn_id, turn)
        records += len(turns)
        if told:
            told(log)
    in_order = tuple(kept.values())
    sessions = cut_sessions(in_order, np.inf if session_gap_s is None else session_gap_s)
    return Dialogues(in_order, tuple(sessions), records - len(kept))


def _blocks(log: LogReader) -> Iterator[list[Turn]]:
    try:
        yield from log
    except TooManyRejects as error:
        report = error.report
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in report.rejected.items())
        raise CaseError(
            f"{report.rejected_records:,} of {report.records:,} records break the log format: {reasons}. A judge leaves"
            " no turn out: mend them first; `rewrite check` writes each with its line and reason"
        ) from error


def truth_of(sessions: Sequence[Session], reach: int = 1) -> Truth:
    """What gold says of every turn of the sessions; `reach` is how many turns after a source were looked at for it."""
    if reach < 1:
        raise ValueError(f"a reach of {reach} turns came: 1 or more are wanted")
    size = [len(session.turns) for session in sessions]
    session = np.repeat(np.arange(len(size)), size)
    user = codes([each.user_id for each in sessions])[0][session]
    turns = [turn for each in sessions for turn in each.turns]
    annotated = np.array([turn.gold is not None and "rephrase_of" in turn.gold.annotated for turn in turns], bool)
    rephrase = np.where(_looked_at(annotated, session, reach), NONE, UNKNOWN)
    kind = np.full(len(turns), -1, np.int8)
    out_of_reach = start = 0
    for each in sessions:
        row_of = {turn.turn_id: start + place for place, turn in enumerate(each.turns)}
        for row in reversed(range(start, start + len(each.turns))):  # so that the nearest has the last word
            gold = turns[row].gold
            if gold is None or gold.rephrase_of is None:
                continue
            source = row_of.get(gold.rephrase_of, row)
            if source >= row:
                out_of_reach += 1
                continue
            rephrase[source] = row
            kind[source] = KINDS.index(gold.rephrase_kind) if gold.rephrase_kind else -1
        start += len(each.turns)
    return Truth(rephrase, kind, annotated, user, session, out_of_reach)


def _looked_at(annotated: NDArray[np.bool_], session: Ints, reach: int) -> NDArray[np.bool_]:
    """Whether all of the next turns that there are, and at least one, are annotated [turns] bool."""
    looked = np.ones(len(session), bool)
    for distance in range(1, min(reach, len(session)) + 1):
        inside = np.append(session[distance:] == session[:-distance], np.zeros(distance, bool))
        seen = np.append(annotated[distance:], np.zeros(distance, bool))
        looked &= seen if distance == 1 else seen | ~inside
        if distance == 1:
            looked &= inside
    return looked


def predict(
    sessions: Sequence[Session],
    *detectors: RephraseDetector,
    told: Callable[[int], None] | None = None,
    at_once: int = TURNS_AT_ONCE,
) -> list[Links]:
    """The best link of every source, however improbable, by rows of the sessions; of each detector.

    P(success) is the default model's. Detectors are given whole sessions, `at_once` turns or one session at a time, and
    `told` hears how many turns were done. Raises DetectorError where what a detector gives are no links.
    """
    found: list[list[Links]] = [[] for _ in detectors]
    canonical, outcomes = Canonicaliser(), OutcomeModel()
    start = 0
    for several in _chunks(sessions, at_once):
        batch = dialogue_batch(several, canonical)
        p_success = outcomes.judge(batch)
        for detector, links in zip(detectors, found, strict=True):
            here = checked(detector.score(batch, p_success), [len(each.turns) for each in several])
            links.append(replace(here, source=here.source + start, target=here.target + start))
        start += batch.num_rows
        if told:
            told(batch.num_rows)
    return [joined(links) for links in found]


def _chunks(sessions: Sequence[Session], at_once: int) -> Iterator[list[Session]]:
    several: list[Session] = []
    turns = 0
    for session in sessions:
        if several and turns + len(session.turns) > at_once:
            yield several
            several, turns = [], 0
        several.append(session)
        turns += len(session.turns)
    if several:
        yield several


def joined(links: Sequence[Links]) -> Links:
    """One after the other."""
    if not links:
        return Links(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int8))
    return Links(
        np.concatenate([each.source for each in links]),
        np.concatenate([each.target for each in links]),
        np.concatenate([each.probability for each in links]),
        np.concatenate([each.kind for each in links]),
    )


def checked(links: Links, sizes: Sequence[int]) -> Links:
    """The links themselves, if they can be of sessions of these sizes, in turns; DetectorError otherwise."""
    session = np.repeat(np.arange(len(sizes)), sizes)
    source, target, p = links.source, links.target, links.probability
    inside = len(source) == 0 or (source.min() >= 0 and max(source.max(), target.max()) < len(session))
    if not inside or not ((source < target) & (session[source] == session[target])).all():
        raise DetectorError("the detector linked a turn to none of the later turns of its session: it is broken")
    if (np.diff(source) <= 0).any():
        raise DetectorError("the detector gave a source twice, or not in order: one link each is wanted")
    if not ((p >= 0) & (p <= 1)).all():
        raise DetectorError("the detector gave a probability that is not from 0 to 1: it is broken")
    return links


def write_predictions(path: Path, dialogues: Dialogues, links: Links, threshold: float) -> None:
    """A line of JSON for every turn, in the order of the log; the file is written whole or not at all.

    `source`, `rephrase` (turn ids; the latter null below the threshold), `probability` that there is a rephrase, 0
    without a candidate, and `kind`, null where it is not known or there is no rephrase.
    """
    name = [turn.turn_id for session in dialogues.sessions for turn in session.turns]
    rows = zip(
        links.source.tolist(), links.target.tolist(), links.probability.tolist(), links.kind.tolist(), strict=True
    )
    found = {name[source]: (target, p, kind) for source, target, p, kind in rows}
    lines = []
    for turn in dialogues.turns:
        target, p, kind = found.get(turn.turn_id, (NONE, 0.0, -1))
        there = target != NONE and p >= threshold
        record = {
            "source": turn.turn_id,
            "rephrase": name[target] if there else None,
            "probability": p,
            "kind": KINDS[kind].value if there and kind >= 0 else None,
        }
        lines.append(json.dumps(record, ensure_ascii=False) + "\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_beside(path, "".join(lines).encode("utf-8"))
