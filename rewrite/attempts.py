"""From turns to attempts: one row a turn, with how well it went and what the user tried next for the same goal.

The function that the mining job maps over each user's turns. Attempts at one goal form a path: a turn either leads to
the user's next try, with the probability that it is one (`link`), or ends there, in success or failure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dialogue.outcomes import OutcomeModel
from dialogue.session_batch import session_batch
from rephrase_detection import RephraseDetector
from rewrite.execution import MICRO

ATTEMPT_SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("said", pa.string(), nullable=False),
        pa.field("surface", pa.string(), nullable=False),
        pa.field("rewrite", pa.string()),  # what was served instead; null: left alone
        pa.field("timestamp", pa.float64(), nullable=False),
        pa.field("success", pa.int64(), nullable=False),  # P(success) in millionths
        pa.field("ended_well", pa.int64(), nullable=False),  # P(no further try, and success) in millionths
        pa.field("next_said", pa.string()),  # the next try at the same goal; null: none
        pa.field("link", pa.int64(), nullable=False),  # P(that it is one) in millionths
        pa.field("session_start", pa.bool_(), nullable=False),
    ]
)



@dataclass(frozen=True)
class AttemptFinder:
    """Cuts sessions, judges outcomes, and links each failed turn to what says it again.

    Takes whole users' turns (TURN_SCHEMA in order of user, time, turn id), gives rows of ATTEMPT_SCHEMA.
    """

    gap_s: float
    outcomes: OutcomeModel
    detector: RephraseDetector

    def __call__(self, turns: pa.RecordBatch) -> pa.RecordBatch:
        dialogue = session_batch(turns, self.gap_s)
        success = self.outcomes.judge(dialogue)
        links = self.detector.detect(dialogue, success)
        link = np.zeros(dialogue.num_rows)
        following = np.full(dialogue.num_rows, -1, np.int64)
        link[links.source] = links.probability
        following[links.source] = links.target
        session = dialogue["session"]
        return pa.RecordBatch.from_arrays(
            [
                dialogue["user_id"],
                dialogue["said"],
                dialogue["surface"],
                dialogue["rewrite"],
                dialogue["timestamp"],
                _millionths(success),
                _millionths((1 - link) * success),
                dialogue["said"].take(pa.array(following, mask=following < 0)),
                _millionths(link),
                _starts(session),
            ],
            schema=ATTEMPT_SCHEMA,
        )


def _millionths(shares: NDArray[np.float64]) -> pa.Array:
    return pa.array(np.rint(shares * MICRO).astype(np.int64))


def _starts(session: pa.Array) -> pa.Array:
    names = np.asarray(session.dictionary_encode().indices)
    return pa.array(np.append(True, names[1:] != names[:-1]) if len(names) else np.zeros(0, np.bool_))
