"""What evidence means for this text: the probability of success of its turns, in the light of what it does otherwise.

`dialogue.outcomes` judges each turn by itself, as if nothing were known of what was said. A user who gives up without a
word leaves no evidence, and nine of ten turns without evidence went well; but not of a text that fails whenever there
is evidence. So the turns of each text are read anew, with the success rate of the text in place of that of all texts:

    odds(p'_g) = odds(theta) odds(p_g) / odds(b),        theta = sum_g w_g p'_g / sum_g w_g,

g being grades of evidence with the weight w_g and the mean probability p_g, and b the success rate of all turns. The
second is the M step and the first the E step of expectation maximisation (Dempster, Laird & Rubin 1977) for one rate
seen through known likelihood ratios. That b stands for the success rate of the logs on which the evidence was weighed
is a departure: in a log that fails more often, silence is taken for success more readily, which errs towards leaving
requests alone. One turn as likely to succeed as any other is added, so that a rate never runs to
0 or 1 on little evidence. It is done on sums, so that nothing but sums is kept from log to log.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rewrite.execution import MICRO

Floats = NDArray[np.float64]

REFINED_SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("grade", pa.int64(), nullable=False),
        pa.field("factor", pa.float64(), nullable=False),  # by which the successes of this grade are multiplied
    ]
)

#: Turns, each as likely to succeed as any, that are added to a text's own.
ADDED_TURNS = 1.0
#: Far more than it takes for the slowest text to settle to four digits.
ITERATIONS = 60
#: Probabilities are kept this far from 0 and 1.
_EDGE = 1e-6


@dataclass(frozen=True)
class Refiner:
    """Maps graded evidence (name, grade, weight, success; whole names) to factors (REFINED_SCHEMA).

    `base` is the success rate of all turns.
    """

    base: float

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        names = batch["name"].dictionary_encode().indices
        weight, success = (np.asarray(batch[name], np.float64) for name in ("weight", "success"))
        factor = refine(np.asarray(names, np.int64), weight, success, self.base)
        return pa.RecordBatch.from_arrays([batch["name"], batch["grade"], pa.array(factor)], schema=REFINED_SCHEMA)


def refine(text: NDArray[np.int64], weight: Floats, success: Floats, base: float) -> Floats:
    """Factors of the successes, [grades] float64, for rows of texts numbered from 0 by `text`, [grades] int64.

    `weight` and `success` are [grades] float64, in millionths of turns; `base` is a share.
    """
    p = np.clip(np.divide(success, weight, out=np.full(len(weight), base), where=weight > 0), _EDGE, 1 - _EDGE)
    ratio = _odds(p) / _odds(np.clip(base, _EDGE, 1 - _EDGE))
    count = int(text.max(initial=-1)) + 1
    turns, went = np.bincount(text, weight, count), np.bincount(text, success, count)
    added = ADDED_TURNS * MICRO
    rate = (went + added * base) / (turns + added)
    read = p
    for _ in range(ITERATIONS):
        odds = _odds(np.clip(rate, _EDGE, 1 - _EDGE))[text] * ratio
        read = odds / (1.0 + odds)
        rate = (np.bincount(text, weight * read, count) + added * base) / (turns + added)
    return np.asarray(read / p)


def _odds(p: Floats | float) -> Floats:
    return np.asarray(p / (1.0 - np.asarray(p)))
