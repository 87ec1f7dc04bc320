"""From turns to attempts: one row a turn, with how well it went and what the user tried next for the same goal.

The function that the mining job maps over each user's turns. Attempts at one goal form a path: a turn either leads to
the user's next try, with the probability that it is one (`link`), or ends there, in success or failure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dialogue.context_batch import with_previous
from dialogue.outcomes import OutcomeModel
from dialogue.session_batch import session_batch
from rephrase_detection import RephraseDetector
from rewrite.execution import MICRO

ATTEMPT_SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("said", pa.string(), nullable=False),
        pa.field("surface", pa.string(), nullable=False),
        pa.field("state", pa.string(), nullable=False),  # the interpretation acted on, or `said` where there is none
        pa.field("rewrite", pa.string()),  # what was served instead; null: left alone
        pa.field("represents", pa.float64(), nullable=False),  # 1 / propensity of what was done: turns it stands for
        pa.field("timestamp", pa.float64(), nullable=False),
        pa.field("success", pa.int64(), nullable=False),  # P(success) in millionths
        pa.field("grade", pa.int64(), nullable=False),  # of the evidence for it, see GRADES
        pa.field("ended_well", pa.int64(), nullable=False),  # P(no further try, and success) in millionths
        pa.field("next_said", pa.string()),  # the next try at the same goal; null: none
        pa.field("next_state", pa.string()),  # its state
        pa.field("link", pa.int64(), nullable=False),  # P(that it is one) in millionths
        pa.field("session_start", pa.bool_(), nullable=False),
        pa.field("context", pa.string(), nullable=False),  # tokens of what surrounds it, a line each; empty: nothing
    ]
)

#: Probabilities of success at which the grades of evidence begin: turns of one grade are read anew together, in the
#: light of what their text does otherwise (`rewrite.refining`).
GRADES = np.array([0.02, 0.1, 0.3, 0.6, 0.8, 0.88, 0.94])

#: How an interpretation without slots ends (`dialogue.table.interpretation_key`).
WITHOUT_SLOTS = ",{}]"

#: A turn stands for at most so many (truncated importance sampling, Ionides 2008): with more, the few turns that are
#: still left alone would tell of today, but hardly anything would be left of what the many before them told.
MOST_REPRESENTED = 5.0


@dataclass(frozen=True)
class AttemptFinder:
    """Cuts sessions, judges outcomes, and links each failed turn to what says it again.

    Takes whole users' turns (TURN_SCHEMA in order of user, time, turn id), gives rows of ATTEMPT_SCHEMA.
    """

    gap_s: float
    outcomes: OutcomeModel
    detector: RephraseDetector

    def __call__(self, turns: pa.RecordBatch) -> pa.RecordBatch:
        dialogue = session_batch(with_previous(turns), self.gap_s)
        success = self.outcomes.judge(dialogue)
        links = self.detector.detect(dialogue, success)
        link = np.zeros(dialogue.num_rows)
        following = np.full(dialogue.num_rows, -1, np.int64)
        link[links.source] = links.probability
        following[links.source] = links.target
        session, state = dialogue["session"], states_of(dialogue)
        next_rows = pa.array(following, mask=following < 0)
        return pa.RecordBatch.from_arrays(
            [
                dialogue["user_id"],
                dialogue["said"],
                dialogue["surface"],
                state,
                dialogue["rewrite"],
                _represents(dialogue["propensity"]),
                dialogue["timestamp"],
                _millionths(success),
                pa.array(np.searchsorted(GRADES, success, side="right").astype(np.int64)),
                _millionths((1 - link) * success),
                dialogue["said"].take(next_rows),
                state.take(next_rows),
                _millionths(link),
                _starts(session),
                pc.fill_null(dialogue["context"], ""),
            ],
            schema=ATTEMPT_SCHEMA,
        )


def states_of(dialogue: pa.RecordBatch) -> pa.Array:
    """The state of each turn: the interpretation that was acted on; what was said where there is none, or none with
    slots, since chat and open questions are all alike without; or where the turn was rewritten, since the
    interpretation is then that of other words.
    """
    taken = dialogue["interpretation"]
    telling = pc.and_(pc.is_null(dialogue["rewrite"]), pc.invert(pc.ends_with(taken, WITHOUT_SLOTS)))
    return pc.coalesce(pc.if_else(telling, taken, pa.scalar(None, pa.string())), dialogue["said"])


def _represents(propensity: pa.Array) -> pa.Array:
    """How many turns each stands for, so that what was seldom chosen counts as if it had always been (Horvitz &
    Thompson 1952); without a propensity, itself.
    """
    chosen = np.asarray(pc.fill_null(propensity, 1.0), np.float64)
    chosen = np.where(chosen > 0, chosen, 1.0)  # what was done was not impossible
    return pa.array(1.0 / np.clip(chosen, 1.0 / MOST_REPRESENTED, 1.0))


def _millionths(shares: NDArray[np.float64]) -> pa.Array:
    return pa.array(np.rint(shares * MICRO).astype(np.int64))


def _starts(session: pa.Array) -> pa.Array:
    names = np.asarray(session.dictionary_encode().indices)
    return pa.array(np.append(True, names[1:] != names[:-1]) if len(names) else np.zeros(0, np.bool_))
